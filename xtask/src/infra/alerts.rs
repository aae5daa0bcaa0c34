//! The alert rules: the table of what fires when, for whom.

use anyhow::Result;
use regex_lite::Regex;
use serde_json::{Value, json};

use super::app::{fleet, profile};
use super::exact::differences;
use super::facts::{Facts, Kind};
use super::snapshot::{Snapshot, id, text};

/// A log rule as it must be.
struct Rule {
    name: &'static str,
    /// The metric it measures; none: its query returns a row when the alert is due.
    measured: Option<&'static str>,
    /// Minutes of one period.
    window: u32,
    /// Periods that must all fail.
    periods: u32,
    aggregation: &'static str,
    threshold: fn(&Snapshot) -> u64,
    groups: &'static [&'static str],
    severity: u32,
}

const fn rule(name: &'static str, measured: Option<&'static str>) -> Rule {
    Rule {
        name,
        measured,
        window: 15,
        periods: 1,
        aggregation: "Count",
        threshold: |_| 0,
        groups: &["notify"],
        severity: 1,
    }
}

fn rules() -> [Rule; 8] {
    let quota = |snapshot: &Snapshot| profile(snapshot).quota_mb() * 9 / 10;
    let temp = Some("temp_storage_mb");
    let failed = Rule {
        window: 10,
        aggregation: "Total",
        threshold: |_| 5,
        ..rule("failed", Some("failed_chunks"))
    };
    [
        Rule {
            window: 10,
            aggregation: "Maximum",
            threshold: fleet,
            severity: 2,
            ..rule("active", Some("active_chunks"))
        },
        Rule { severity: 3, ..rule("saturated", None) },
        Rule {
            window: 5,
            aggregation: "Maximum",
            threshold: quota,
            groups: &["storage", "notify"],
            ..rule("temp", temp)
        },
        Rule {
            window: 5,
            // One longer than a leak that the sweep after the first alert mends is seen in any phase.
            periods: 4,
            aggregation: "Maximum",
            threshold: quota,
            groups: &["oncall"],
            severity: 0,
            ..rule("temp-lasting", temp)
        },
        Rule { groups: &["oncall"], ..failed },
        // A window of ten minutes shows one burst to two evaluations.
        Rule { name: "failed-lasting", periods: 3, groups: &["manager"], severity: 0, ..failed },
        Rule { groups: &["oncall"], ..rule("silent", None) },
        Rule { aggregation: "Total", severity: 2, ..rule("rejected", Some("rejected_messages")) },
    ]
}

/// Only the timer sends these, so a window has to hold two of its points.
const OF_THE_TIMER: [&str; 4] = ["active_chunks", "max_chunks", "pending_chunks", "queue_depth"];

/// What is wrong with the alert rules of a snapshot.
pub(super) fn check(snapshot: &Snapshot, facts: &Facts) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let found: Vec<&Value> = snapshot.of("Microsoft.Insights/scheduledQueryRules").collect();
    let wanted = rules();
    for wanted in &wanted {
        match found.iter().find(|one| text(one, "/name") == wanted.name) {
            None => findings.push(format!("alert {}: missing", wanted.name)),
            Some(found) => findings.extend(log_rule(snapshot, facts, wanted, found)?),
        }
    }
    findings.extend(metric_rules(snapshot));
    Ok(findings)
}

fn log_rule(
    snapshot: &Snapshot,
    facts: &Facts,
    wanted: &Rule,
    found: &Value,
) -> Result<Vec<String>> {
    let properties = &found["properties"];
    let criteria = &properties["criteria"]["allOf"][0];
    let by_instance =
        json!([{ "name": "cloud_RoleInstance", "operator": "Include", "values": ["*"] }]);
    let is_of_temp = wanted.measured == Some("temp_storage_mb");
    let exactly = json!({
        "displayName": wanted.name,
        "description": properties["description"],
        "enabled": true,
        "severity": wanted.severity,
        "scopes": [id(snapshot.one("Microsoft.Insights/components"))],
        "targetResourceTypes": ["microsoft.insights/components"],
        "evaluationFrequency": "PT5M",
        "windowSize": format!("PT{}M", wanted.window),
        "autoMitigate": true,
        "criteria": { "allOf": [{
            "query": criteria["query"],
            "timeAggregation": wanted.aggregation,
            "metricMeasureColumn": wanted.measured.map(|_| "valueSum"),
            "dimensions": if is_of_temp { by_instance } else { json!([]) },
            "operator": "GreaterThan",
            "threshold": (wanted.threshold)(snapshot),
            "failingPeriods": {
                "numberOfEvaluationPeriods": wanted.periods,
                "minFailingPeriodsToAlert": wanted.periods,
            },
        }] },
        "actions": { "actionGroups": groups(snapshot, wanted.groups) },
    });
    let mut findings = differences("", properties, &exactly);
    if found["kind"] != "LogAlert" {
        findings.push(format!("its kind is {}", found["kind"]));
    }
    let query = text(criteria, "/query");
    let names = metrics_of(query)?;
    let of_the_timer = names.iter().any(|name| OF_THE_TIMER.contains(&name.as_str()));
    let minutes = text(properties, "/windowSize").trim_start_matches("PT").trim_end_matches('M');
    if of_the_timer && minutes.parse().unwrap_or(0) < 2 * facts.timer_minutes {
        findings.push(format!("window of {minutes} min: shorter than twice the timer's period"));
    }
    findings.extend(query_problems(query, facts, wanted.measured.is_some())?);
    // The rule itself aggregates: the query does nothing but choose.
    let chooses = |measured: &str| format!("customMetrics\n| where name == \"{measured}\"");
    if let Some(measured) = wanted.measured
        && query.trim() != chooses(measured)
    {
        findings.push(format!("measures {names:?}, and {measured} alone is wanted: {query:?}"));
    }
    Ok(findings.into_iter().map(|finding| format!("alert {}: {finding}", wanted.name)).collect())
}

/// The ids of action groups, by their names.
fn groups(snapshot: &Snapshot, names: &[&str]) -> Vec<Value> {
    let of = |name: &&str| {
        let mut groups = snapshot.of("Microsoft.Insights/actionGroups");
        id(groups.find(|one| text(one, "/name") == *name).unwrap_or(&Value::Null))
    };
    names.iter().map(of).collect()
}

/// What is wrong with a query, whoever asks it.
pub(super) fn query_problems(query: &str, facts: &Facts, measured: bool) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let names = metrics_of(query)?;
    let unknown = names.iter().filter(|name| !facts.metrics.contains_key(*name));
    findings.extend(unknown.map(|name| format!("no metric is named {name}")));
    let all = |kind: Kind| names.iter().all(|name| facts.metrics.get(name) == Some(&kind));
    let columns = Regex::new(r"\bvalue(Max|Min|Count)\b")?;
    if let Some(column) = columns.find(query)
        && !all(Kind::Histogram)
    {
        findings
            .push(format!("{} is empty for a counter and no measure of a gauge", column.as_str()));
    }
    let cuts = Regex::new(r"\b(bin|summarize|project)\b")?;
    if measured && let Some(cut) = cuts.find(query) {
        findings.push(format!("{} in a measured query", cut.as_str()));
    }
    if query.contains("__") || query.contains("{0}") || query.contains('\r') {
        findings.push("something is left to be filled in".to_owned());
    }
    Ok(findings)
}

/// The names of metrics that a query asks for: the texts it compares `name` with.
pub(super) fn metrics_of(query: &str) -> Result<Vec<String>> {
    let compared = Regex::new(r#"\bname\s*(==|in)\s*(\([^)]*\)|"[^"]*")"#)?;
    let quoted = Regex::new(r#""([^"]*)""#)?;
    let mut names: Vec<String> = compared
        .captures_iter(query)
        .flat_map(|found| {
            quoted
                .captures_iter(found.get(2).map_or("", |list| list.as_str()))
                .map(|name| name[1].to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

fn metric_rules(snapshot: &Snapshot) -> Vec<String> {
    let mut findings = Vec::new();
    let server = snapshot.one("Microsoft.DBforPostgreSQL/flexibleServers");
    // 80 % of the user connections of the smallest server: a count, for the metric is one.
    let connections = match text(server, "/sku/name") {
        "Standard_B1ms" => 28,
        other => {
            findings.push(format!("the snapshots are of Standard_B1ms, and this is {other}"));
            return findings;
        }
    };
    let wanted = [
        ("database-storage", "storage_percent", 80),
        ("database-connections", "active_connections", connections),
    ];
    for (name, metric, threshold) in wanted {
        let Some(found) =
            snapshot.of("Microsoft.Insights/metricAlerts").find(|one| text(one, "/name") == name)
        else {
            findings.push(format!("alert {name}: missing"));
            continue;
        };
        let group = groups(snapshot, &["notify"]);
        let exactly = json!({
            "description": found["properties"]["description"],
            "enabled": true,
            "severity": 2,
            "scopes": [server["id"]],
            "evaluationFrequency": "PT5M",
            "windowSize": "PT15M",
            "autoMitigate": true,
            "criteria": {
                "odata.type": "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria",
                "allOf": [{
                    "criterionType": "StaticThresholdCriterion",
                    "name": metric,
                    "metricNamespace": "Microsoft.DBforPostgreSQL/flexibleServers",
                    "metricName": metric,
                    "timeAggregation": "Maximum",
                    "operator": "GreaterThan",
                    "threshold": threshold,
                }],
            },
            "actions": [{ "actionGroupId": group[0] }],
        });
        let wrong = differences("", &found["properties"], &exactly);
        findings.extend(wrong.into_iter().map(|finding| format!("alert {name}: {finding}")));
    }
    findings
}
