//! The processes: whether they start chunks, and their temp space against limit and quota.

use super::event;
use crate::dashboard::{
    answer::{Part, nothing},
    show,
    table::{Column, table},
};
use chunk_handler::{
    settings::{MIB, Profile},
    state::{AttemptRow, Capacity, LiveProcess, ProcessTemp},
};
use maud::{Markup, html};
use std::collections::BTreeMap;
use time::OffsetDateTime;

const COLUMNS: [Column; 8] = [
    ("Process", false),
    ("State", false),
    ("Since", false),
    ("Seen", false),
    ("Chunks", true),
    ("Temp now", true),
    ("High water, at most", true),
    ("Of limit and quota", false),
];
/// Units of the bar, up to the quota.
const BAR: i64 = 120;

/// A table of the processes.
pub(super) fn processes(
    live: &Part<Vec<LiveProcess>>,
    temps: &Part<Vec<ProcessTemp>>,
    attempts: &[AttemptRow],
    capacity: &Capacity,
) -> Markup {
    let nothing = nothing(live, "No process is there; nothing runs until one starts.");
    let live = live.as_deref().unwrap_or_default();
    let unsaid = temps.as_ref().err();
    let died = event::died(attempts, live);
    let now: BTreeMap<&str, &ProcessTemp> =
        temps.iter().flatten().map(|temp| (temp.owner.as_str(), temp)).collect();
    let high = high_water(attempts);
    let limit = i64::from(capacity.storage_limit_mb) * mib();
    let quota = quota_bytes(&capacity.environment).unwrap_or(limit).max(limit);
    let rows: Vec<Markup> = live
        .iter()
        .map(|process| {
            let owner = process.owner.as_str();
            let (chunks, temp) =
                now.get(owner).map_or((0, 0), |temp| (temp.running_chunks, temp.temp_bytes));
            let high = high.get(owner).copied().unwrap_or(0).max(temp);
            html! { tr {
                th scope="row" { (owner) }
                @match &process.degraded {
                    _ if died.contains(owner) => td { span.state.failed { "✕ died" } },
                    Some(why) => td.long { span.state.failed { "✕ degraded" } " " (show::prose(why)) },
                    None => td { span.state.completed { "✓ starts chunks" } },
                }
                td { (show::moment(process.since)) }
                td { (show::moment(process.seen_at)) }
                @if let Some(why) = unsaid {
                    td.n colspan="2" { (why) }
                } @else {
                    td.n { (show::count(chunks)) }
                    td.n { (show::bytes(temp)) }
                }
                td.n { (show::bytes(high)) }
                td { (bar(owner, high, limit, quota)) }
            } }
        })
        .collect();
    html! {
        (table("Processes", &COLUMNS, &rows, nothing))
        p.quiet {
            "Limit " (show::bytes(limit)) ", quota of the platform " (show::bytes(quota))
            ". The high water is that of the last half hour: the peaks of chunks that ran at once, added."
        }
    }
}

fn mib() -> i64 {
    i64::try_from(MIB).unwrap_or(i64::MAX)
}

/// What the platform gives, of the profile with this name.
fn quota_bytes(environment: &str) -> Option<i64> {
    let profiles = [Profile::Local, Profile::Azure, Profile::AzureFunctions];
    let profile = profiles.into_iter().find(|profile| profile.to_string() == environment)?;
    i64::try_from(profile.quota_mb() * MIB).ok()
}

fn bar(owner: &str, high: i64, limit: i64, quota: i64) -> Markup {
    let x = |bytes: i64| (bytes.min(quota).saturating_mul(BAR) / quota.max(1)).max(0);
    let fill = if high > limit { "failed-fill" } else { "running-fill" };
    html! {
        svg role="img" width=(BAR + 4) height="16" viewBox={ "0 0 " (BAR + 4) " 16" } {
            title { (owner) ": at most " (show::bytes(high)) " of " (show::bytes(limit)) ", quota " (show::bytes(quota)) }
            rect.none-fill x="0" y="4" width=(BAR) height="8" {}
            rect.(fill) x="0" y="4" width=(x(high)) height="8" {}
            path.limit d={ "M" (x(limit)) " 1V15" } {}
            path.quota d={ "M" (BAR + 1) " 1V15" } {}
        }
    }
}

/// For each process the largest sum of the peaks of chunks that it had at once: it held no more.
fn high_water(attempts: &[AttemptRow]) -> BTreeMap<&str, i64> {
    let mut changes: BTreeMap<&str, Vec<(OffsetDateTime, i64)>> = BTreeMap::new();
    for attempt in attempts {
        if let (Some(peak), Some(end)) = (attempt.temp_peak_bytes, attempt.finished_at) {
            let changes = changes.entry(&attempt.owner).or_default();
            changes.extend([(attempt.claimed_at, peak), (end, -peak)]);
        }
    }
    changes
        .into_iter()
        .map(|(owner, mut changes)| {
            // Where one ends as another begins, the end comes first.
            changes.sort_unstable();
            let mut held = 0;
            let sums = changes.iter().map(|(_, change)| {
                held += change;
                held
            });
            (owner, sums.max().unwrap_or(0))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::{Duration, macros::datetime};

    /// Peaks add up where claims overlap, and only there.
    #[test]
    fn the_high_water_is_the_sum_of_peaks_at_once() {
        let t0 = datetime!(2026-11-27 12:00 UTC);
        let attempt = |from: i64, to: i64, peak| AttemptRow {
            job_id: 7,
            chunk_index: 0,
            fence: 1,
            owner: "p".into(),
            invocation_id: "i".into(),
            claimed_at: t0 + Duration::seconds(from),
            finished_at: Some(t0 + Duration::seconds(to)),
            outcome: Some("completed".into()),
            error_code: None,
            temp_peak_bytes: Some(peak),
            slot_no: None,
        };
        let attempts = [attempt(0, 10, 5), attempt(5, 20, 7), attempt(20, 30, 9)];
        assert_eq!(high_water(&attempts).get("p"), Some(&12));
        assert_eq!(quota_bytes("azure_functions"), Some(500 << 20));
        assert_eq!(quota_bytes("of another release"), None);
    }
}
