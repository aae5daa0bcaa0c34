//! Check-in: a process tells its fleet that it is there, and compares what the fleet says with itself.
//! Not a duty: it goes on while storage hangs, or nobody would see why.

use super::rounds::{PREPARING_PERIOD, UPKEEP_PERIOD};
use crate::{
    circuit::Part,
    process::Process,
    redact::cause_chain,
    state::{self, CheckIn, Database},
    upkeep::Upkeep,
};
use std::sync::Arc;
use time::OffsetDateTime;
use tokio::time::sleep;

/// Checks in again and again until the process drains.
pub(super) async fn check_in_until_stopped(process: Arc<Process>, upkeep: Arc<Upkeep>) {
    let (mut done_before, mut is_failing) = (Before::default(), false);
    while !process.shutdown.is_intake_stopped() {
        let done = check_in(&process, &upkeep, &mut done_before).await;
        // Before the first one the schema may not be there yet, which the rounds say.
        let has_started = !process.circuits.is_open(Part::Start);
        if let Err(error) = &done
            && has_started
            && !is_failing
        {
            tracing::warn!(cause = cause_chain(error), "not checked in, trying again");
        }
        is_failing = done.is_err();
        tokio::select! {
            () = process.shutdown.intake_stopped() => {}
            () = sleep(if has_started { UPKEEP_PERIOD } else { PREPARING_PERIOD }) => {}
        }
    }
}

/// What earlier check-ins led to.
#[derive(Default)]
struct Before {
    /// The process announced its limits once, whoever did so before.
    is_announced: bool,
    /// The last request for a sweep that was followed.
    swept_for: Option<OffsetDateTime>,
}

async fn check_in(
    process: &Process,
    upkeep: &Upkeep,
    before: &mut Before,
) -> Result<(), state::Error> {
    let Process { database, settings, owner, circuits, started, .. } = process;
    let degraded = circuits.degraded();
    let fleet = database.check_in(owner, started.elapsed(), degraded.as_deref()).await?;
    compare(process, &fleet);
    // A row that nobody announced is new: its schema was made again under living processes. One that
    // an older process announced was restored to an earlier point.
    let is_announced = before.is_announced && fleet.is_announced;
    if !circuits.is_open(Part::Account) && !is_announced {
        database.announce(settings, started.elapsed()).await?;
        before.is_announced = true;
    }
    circuits.close(Part::Start);
    // What was written above is what was known before it was compared: a process that has just
    // started would be shown as degraded until the next time.
    let compared = circuits.degraded();
    if compared != degraded {
        database.check_in(owner, started.elapsed(), compared.as_deref()).await?;
    }
    if fleet.sweep_asked_at > before.swept_for {
        upkeep.sweep().await;
        before.swept_for = fleet.sweep_asked_at;
    }
    Ok(())
}

fn compare(process: &Process, fleet: &CheckIn) {
    let Process { settings, circuits, .. } = process;
    let known = Database::known_schema_version();
    if i64::from(fleet.min_handler) > known {
        let needed = fleet.min_handler;
        let cause = format!(
            "the schema needs a release that knows migration {needed}, this one knows {known}"
        );
        circuits.explain(Part::Release, &cause);
    } else {
        circuits.close(Part::Release);
    }
    let own = settings.place();
    match &fleet.storage {
        Some(other) if *other != own => {
            let cause =
                format!("the database belongs to account and containers {other}, this is {own}");
            circuits.explain(Part::Account, &cause);
        }
        Some(_) | None => circuits.close(Part::Account),
    }
}
