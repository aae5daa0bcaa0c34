//! The timer trigger: one run at a time, and a status that survives the host.
//!
//! The real host keeps the status in the blob container `azure-webjobs-hosts` and lets one of all its
//! instances fire. Here the status is a file, and every stand-in fires.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::Function;
use crate::cron::Schedule;
use crate::invoke::Invoker;
use crate::log::{self, HOST, STAND_IN};
use crate::payload::{self, NEVER, ScheduleStatus, Sys};

/// Fires one timer function.
#[derive(Debug)]
pub struct Timer {
    function: Function,
    schedule: Schedule,
    run_on_startup: bool,
    /// None for a timer that keeps no status.
    status_file: Option<PathBuf>,
    status: Mutex<Option<ScheduleStatus>>,
    invoker: Arc<Invoker>,
}

impl Timer {
    /// A timer; one that fires more than once a minute keeps no status, as on the real host.
    pub fn new(
        function: Function,
        schedule: Schedule,
        (use_monitor, run_on_startup): (bool, bool),
        status_dir: &Path,
        invoker: Arc<Invoker>,
    ) -> Self {
        let monitored = use_monitor && !schedule.is_sub_minute(OffsetDateTime::now_utc());
        let status_file = monitored.then(|| status_dir.join(format!("{}.json", function.name)));
        Self { function, schedule, run_on_startup, status_file, status: Mutex::default(), invoker }
    }

    /// Fires until `stop`; the last run may go on after that.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let started = OffsetDateTime::now_utc();
        let past_due = self.recall(started);
        if past_due || self.run_on_startup {
            self.fire(started, past_due).await;
        }
        while let Some(next) = self.next_run() {
            let wait = Duration::try_from(next - OffsetDateTime::now_utc()).unwrap_or_default();
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            // A timer that fired a moment early counts as on time.
            self.fire(OffsetDateTime::now_utc().max(next), false).await;
        }
        log::warn(HOST, format!("the schedule of {} has no next run", self.function.name));
    }

    /// When the schedule has its first run.
    pub fn first_run(&self) -> Option<OffsetDateTime> {
        self.schedule.next_after(OffsetDateTime::now_utc())
    }

    /// One run by hand; it may overlap with the schedule's.
    pub async fn fire_by_hand(&self, input: Option<&str>) {
        let body = self.body(false, input);
        self.invoker.invoke(&self.function.name, body).await;
    }

    /// A run that was due while something took long is made up for, once.
    fn next_run(&self) -> Option<OffsetDateTime> {
        let recorded = self.status().map(|status| status.next);
        recorded.or_else(|| self.schedule.next_after(OffsetDateTime::now_utc()))
    }

    async fn fire(&self, at: OffsetDateTime, past_due: bool) {
        let body = self.body(past_due, None);
        self.invoker.invoke(&self.function.name, body).await;
        if self.status_file.is_some()
            && let Some(next) = self.schedule.next_after(at)
        {
            self.remember(ScheduleStatus { last: at, next, last_updated: at });
        }
    }

    fn body(&self, past_due: bool, input: Option<&str>) -> String {
        let name = &self.function.name;
        let sys = Sys { function: name, now: OffsetDateTime::now_utc(), guid: Uuid::new_v4() };
        payload::timer(&self.function.binding, self.status(), past_due, input, &sys)
    }

    fn status(&self) -> Option<ScheduleStatus> {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_status(&self, status: ScheduleStatus) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }

    /// Reads or begins the record; true when a run was missed while no host was there.
    fn recall(&self, now: OffsetDateTime) -> bool {
        let Some(file) = &self.status_file else { return false };
        let Some(next) = self.schedule.next_after(now) else { return false };
        match read(file) {
            Ok(Some(recorded)) => {
                let since =
                    if recorded.last == NEVER { recorded.last_updated } else { recorded.last };
                // The schedule may have been edited since.
                let next = self.schedule.next_after(since).unwrap_or(next);
                self.set_status(ScheduleStatus { next, ..recorded });
                now > next
            }
            Ok(None) => {
                self.remember(ScheduleStatus { last: NEVER, next, last_updated: now });
                self.set_status(ScheduleStatus { last: NEVER, next, last_updated: NEVER });
                false
            }
            Err(error) => {
                log::error(STAND_IN, format!("{error:#}"));
                self.set_status(ScheduleStatus { last: NEVER, next, last_updated: NEVER });
                false
            }
        }
    }

    fn remember(&self, status: ScheduleStatus) {
        self.set_status(status);
        let Some(file) = &self.status_file else { return };
        let written = write(file, status).with_context(|| format!("writing {}", file.display()));
        if let Err(error) = written {
            log::error(STAND_IN, format!("{error:#}"));
        }
    }
}

fn write(file: &Path, status: ScheduleStatus) -> Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let new = file.with_extension("new");
    std::fs::write(&new, status.to_json())?;
    Ok(std::fs::rename(new, file)?)
}

fn read(file: &Path) -> Result<Option<ScheduleStatus>> {
    let text = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("reading {}", file.display()))?,
    };
    let value: serde_json::Value = serde_json::from_str(&text)?;
    let time = |key: &str| -> Result<OffsetDateTime> {
        let text =
            value[key].as_str().with_context(|| format!("{} has no {key}", file.display()))?;
        Ok(OffsetDateTime::parse(text, &Rfc3339)?)
    };
    let status = ScheduleStatus {
        last: time("Last")?,
        next: time("Next")?,
        last_updated: time("LastUpdated")?,
    };
    Ok(Some(status))
}
