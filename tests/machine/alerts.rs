//! The alerts fire on what the handler sends: its own envelopes become rows, and the rules of the
//! deployment are evaluated over them, with every row 90 s late and at any phase of the evaluation.
//!
//! A handler really sends each kind of row. What takes minutes, rows that come again or lie apart, is
//! made of such rows at other times.

pub mod kql;
pub mod row;
mod rule;

use functions_host::storage::Account;
use row::{MINUTE, Row, last, repeated};
use rule::{Fired, Rule};
use serde_json::{Value, json};
use std::{fs, sync::Arc, time::Duration};
use support::{
    checkout::root,
    ingestion::{Ingestion, serve},
    rig::{Handler, Rig, all, inline, wait_for},
};

/// Milliseconds of a second.
const SECOND: i64 = 1000;
/// Between two health checks.
const TIMER: i64 = 5 * MINUTE;

/// The resources of this type, as they are deployed with profile `azure_functions`.
pub fn resources(kind: &str) -> Vec<Value> {
    let text = fs::read(root().join("infra/snapshots/azure_functions-public-all.json")).unwrap();
    let snapshot: Value = serde_json::from_slice(&text).unwrap();
    let resources = snapshot["predictedResources"].as_array().unwrap();
    resources.iter().filter(|resource| resource["type"] == kind).cloned().collect()
}

/// The resources of the log alerts.
fn rules() -> Vec<Value> {
    let rules = resources("Microsoft.Insights/scheduledQueryRules");
    assert_eq!(rules.len(), 8, "{rules:?}");
    rules
}

/// A rule, once something of its properties and its criterion was changed.
fn changed(name: &str, change: impl Fn(&mut Value)) -> Rule {
    let found = rules().into_iter().find(|resource| resource["name"] == name);
    let mut resource = found.unwrap_or_else(|| panic!("no rule {name}"));
    change(&mut resource["properties"]);
    Rule::of(&resource)
}

fn rule(name: &str) -> Rule {
    changed(name, |_| {})
}

/// One who is told of in every phase.
#[track_caller]
fn assert_fires(rule: &str, rows: &[Row], who: &[&str]) {
    assert_each_phase(rule, &self::rule(rule).fires(rows), Some(who));
}

#[track_caller]
fn assert_quiet(rule: &str, rows: &[Row]) {
    assert_each_phase(rule, &self::rule(rule).fires(rows), None);
}

#[track_caller]
fn assert_each_phase(rule: &str, phases: &[Fired], who: Option<&[&str]>) {
    let who = who.map(|who| who.iter().map(|&part| part.to_owned()).collect());
    let expected: Fired = who.into_iter().collect();
    assert!(phases.iter().all(|fired| *fired == expected), "{rule} fires for {phases:?}");
}

/// A handler that sends metrics twice a second under the name of an instance, with a temp root of its own.
pub async fn handler(rig: &Rig, connection: &str, instance: &str) -> Handler {
    let temp = rig.temp.path().join(instance);
    fs::create_dir_all(&temp).unwrap();
    rig.handler_with(&[
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", connection),
        ("WEBSITE_SITE_NAME", "pixcrawler"),
        ("HOSTNAME", instance),
        ("PIXCRAWLER_TEMP_DIR", temp.to_str().unwrap()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
    ])
    .await
}

/// A dead process leaves so many megabytes in the temp root of an instance.
async fn leave_behind(rig: &Rig, instance: &str, megabytes: u64) {
    let temp = rig.temp.path().join(instance);
    let dead = rig.handler_with(&[("PIXCRAWLER_TEMP_DIR", temp.to_str().unwrap())]).await;
    let prefix = format!("{}-", dead.pid());
    dead.kill9();
    let mut found = fs::read_dir(temp.join("pixcrawler-chunks")).unwrap().flatten();
    let is_its = |name: String| name.starts_with(&prefix) && !name.ends_with(".lock");
    let its = found.find(|entry| is_its(entry.file_name().into_string().unwrap())).unwrap();
    let spooled = fs::File::create(its.path().join("0.body")).unwrap();
    spooled.set_len(megabytes * 1024 * 1024).unwrap();
}

/// Waits until rows hold, and gives all there are then.
pub async fn rows(seen: &Ingestion, what: &str, holds: impl Fn(&[Row]) -> bool) -> Vec<Row> {
    let mut rows = Vec::new();
    wait_for(what, async || {
        rows = Row::all(seen);
        holds(&rows)
    })
    .await;
    rows
}

/// What a run of the timer sends, when so many chunks wait.
async fn checked(handler: &Handler, seen: &Ingestion, pending: f64) -> Vec<Row> {
    handler.post("/health_check", "timer", r#"{"Data":{},"Metadata":{}}"#.into()).await;
    let is_last = |rows: &[Row]| {
        let found = rows.iter().rev().find(|row| row.name == "pending_chunks");
        found.is_some_and(|row| row.value == pending)
    };
    let found = rows(seen, "the gauges of the timer", is_last).await;
    let gauges = ["active_chunks", "max_chunks", "pending_chunks"];
    gauges.iter().map(|name| last(&found, name).clone()).collect()
}

/// The last row of a metric that an instance sent.
fn last_of(rows: &[Row], name: &str, instance: &str) -> Row {
    let of: Vec<Row> = rows.iter().filter(|row| row.role_instance == instance).cloned().collect();
    last(&of, name).clone()
}

/// A2 A7 X19 M2: 460 MB that a dead process left fire for that instance only, and page when they stay;
/// 300 MB on each of two instances are no reason.
pub async fn temp_fires_for_the_instance_whose_disk_is_full() {
    let rig = Rig::new().await;
    let seen = Arc::new(Ingestion::default());
    let connection = serve(&seen).await;
    let names = ["first", "second"];
    let handlers = all(names.map(|name| handler(&rig, &connection, name))).await;
    for name in names {
        leave_behind(&rig, name, 300).await;
    }
    let of_each = |rows: &[Row], mb: f64| {
        names.map(|name| {
            rows.iter().any(|row| {
                row.name == "temp_storage_mb" && row.role_instance == name && row.value >= mb
            })
        })
    };
    let found = rows(&seen, "300 MB on both", |rows| of_each(rows, 300.0) == [true, true]).await;
    assert_quiet("temp", &found);
    leave_behind(&rig, "first", 460).await;
    let found = rows(&seen, "460 MB on one", |rows| of_each(rows, 460.0) == [true, false]).await;
    drop(handlers);
    // Those of a moment are missed by some phases, which see them neither in time nor later. There is
    // one report a minute: what stays for two minutes is seen by all.
    let told: Fired = rule("temp").fires(&found).into_iter().flatten().collect();
    assert_eq!(told, Fired::from([vec!["first".to_owned()]]));
    let reports = names.map(|name| last_of(&found, "temp_storage_mb", name));
    assert_fires("temp", &repeated(&reports, MINUTE, 3), &["first"]);
    // Five minutes until it is told, one and a half until it is heard, and a minute for the sweep.
    assert_quiet("temp-lasting", &repeated(&reports, MINUTE, 8));
    assert_fires("temp-lasting", &repeated(&reports, MINUTE, 26), &["first"]);
    // The control: a gauge has no maximum of its own.
    let other = changed("temp", |rule| {
        rule["criteria"]["allOf"][0]["metricMeasureColumn"] = "valueMax".into();
    });
    assert_each_phase("valueMax", &other.fires(&found), None);
    let calm = reports.each_ref().map(|report| report.with(300.0));
    assert_quiet("temp", &repeated(&calm, MINUTE, 30));
}

/// A3 A7 X20 M3: six chunks that fail fire, five do not; 3 + 3 do when they are at most three minutes apart,
/// over any boundary, and not when they are eleven apart; what goes on for ten minutes more is the manager's.
pub async fn failed_fires_for_six_chunks_and_not_for_five() {
    let rig = Rig::new().await;
    let seen = Arc::new(Ingestion::default());
    let handler = handler(&rig, &serve(&seen).await, "one").await;
    let fail = async |index| {
        let urls = ["http://192.0.2.1.invalid/".to_owned()];
        handler.deliver("fails", &inline(1, index, &urls)).await;
    };
    all((0..5).map(fail)).await;
    let failed = |rows: &[Row]| {
        rows.iter().filter(|row| row.name == "failed_chunks").map(|row| row.value).sum::<f64>()
    };
    let five = rows(&seen, "five failed chunks", |rows| failed(rows) == 5.0).await;
    assert_quiet("failed", &five);
    fail(5).await;
    let six = rows(&seen, "six failed chunks", |rows| failed(rows) == 6.0).await;
    assert_fires("failed", &six, &[]);
    assert_quiet("failed-lasting", &six);
    let three = last(&six, "failed_chunks").with(3.0);
    for apart in [0, 30, 60, 90, 120, 150, 180] {
        assert_fires("failed", &[three.at(0), three.at(apart * SECOND)], &[]);
    }
    assert_quiet("failed", &[three.at(0), three.at(11 * MINUTE)]);
    // The control: bins of the clock's ten minutes cut what belongs together.
    let cut = changed("failed", |rule| {
        let query = &mut rule["criteria"]["allOf"][0]["query"];
        let bins = "| summarize valueSum = sum(valueSum) by bin(timestamp, 10m)";
        *query = format!("{}{bins}", query.as_str().unwrap()).into();
    });
    let apart = [three.at(9 * MINUTE), three.at(11 * MINUTE)];
    assert_fires("failed", &apart, &[]);
    let phases = cut.fires(&apart);
    assert!(phases.contains(&Fired::new()), "{phases:?}");
    assert_quiet("failed-lasting", &[three.with(60.0).at(0)]);
    let burst = three.with(6.0);
    assert_quiet("failed-lasting", &[burst.at(0), burst.at(MINUTE), burst.at(2 * MINUTE)]);
    assert_fires("failed-lasting", &repeated(&[three], 2 * MINUTE, 20), &[]);
}

/// M3: a message that can never work fires, and so does one that the host gave up on.
pub async fn rejected_fires_for_a_bad_message_and_for_poison() {
    let rejected = "select count(*) = 1 from chunk_handler.rejected_message";
    for is_poison in [false, true] {
        let rig = Rig::new().await;
        let seen = Arc::new(Ingestion::default());
        if is_poison {
            let poison = Account::parse(&rig.storage).unwrap().queue("chunks-poison");
            poison.create().await.unwrap();
            poison.put("nonsense").await.unwrap();
        }
        let handler = handler(&rig, &serve(&seen).await, "one").await;
        if !is_poison {
            handler.deliver("bad", &json!({"version": 9})).await;
        }
        rig.until(rejected).await;
        let come = |rows: &[Row]| rows.iter().any(|row| row.name == "rejected_messages");
        let found = rows(&seen, "the rejected message is counted", come).await;
        assert_eq!(seen.sum("rejected_messages"), Some(1.0));
        assert_fires("rejected", &found, &[]);
    }
}

/// A1 X18: ten of ten chunks are no reason for `active`, nor for `saturated` while nothing waits; full while
/// chunks wait is; a single point over the limit is seen; a timer that stops is missed.
pub async fn active_saturated_and_silent_follow_the_timer() {
    let rig = Rig::new().await;
    let seen = Arc::new(Ingestion::default());
    let handler = handler(&rig, &serve(&seen).await, "one").await;
    rig.origin.set_delay(Duration::from_secs(60));
    let urls = rig.pictures(1);
    let deliver = async |index| handler.deliver("slow", &inline(1, index, &urls)).await;
    let scenario = async {
        rig.until("select active_chunks = 10 from chunk_handler.capacity").await;
        let full = checked(&handler, &seen, 0.0).await;
        deliver(10).await;
        (full, checked(&handler, &seen, 1.0).await)
    };
    let (full, waiting) = tokio::select! {
        found = scenario => found,
        _ = all((0..10).map(deliver)) => panic!("a chunk ended"),
    };
    drop(handler);
    for (name, value) in [("active_chunks", 10.0), ("max_chunks", 10.0)] {
        assert_eq!(last(&full, name).value, value);
    }
    let [full, waiting] = [full, waiting].map(|rows| repeated(&rows, TIMER, 12));
    assert_quiet("active", &full);
    assert_quiet("saturated", &full);
    assert_fires("saturated", &waiting, &[]);
    let over = [last(&full, "active_chunks").with(11.0).at(0)];
    assert_fires("active", &over, &[]);
    // The control: a window of one period loses the point in some phases, for it comes late.
    let short = changed("active", |rule| rule["windowSize"] = "PT5M".into()).fires(&over);
    assert!(short.contains(&Fired::new()), "{short:?}");
    // Of a timer that goes on, and after it stopped.
    let silent = rule("silent");
    let (first, end) = (15 * MINUTE, 11 * TIMER);
    // All that it sent before is out of the window.
    let stopped = end + 15 * MINUTE;
    assert_each_phase("silent", &silent.fires_between(&full, first, end), None);
    assert_each_phase(
        "silent",
        &silent.fires_between(&full, stopped, stopped + 30 * MINUTE),
        Some(&[]),
    );
}

/// Nothing fires for a fleet that has nothing to do, as long as its timer runs.
pub async fn nothing_fires_for_a_fleet_at_rest() {
    let rig = Rig::new().await;
    let seen = Arc::new(Ingestion::default());
    let handler = handler(&rig, &serve(&seen).await, "one").await;
    let checked = checked(&handler, &seen, 0.0).await;
    let own =
        rows(&seen, "its own gauges", |rows| rows.iter().any(|row| row.name == "temp_storage_mb"))
            .await;
    drop(handler);
    let mut hour = repeated(&checked, TIMER, 12);
    hour.extend(repeated(&[last(&own, "temp_storage_mb").clone()], MINUTE, 60));
    for rule in rules().iter().map(Rule::of) {
        assert_each_phase(&rule.name, &rule.fires_between(&hour, 15 * MINUTE, 56 * MINUTE), None);
    }
}
