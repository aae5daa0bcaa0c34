//! The one table that says what a row of `customMetrics` becomes of a metric that the handler sent.

use serde::Serialize;
use serde_json::Value;
use support::ingestion::Ingestion;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// How late a row can be searched after its time.
pub const LATE: i64 = 90_000;

/// Milliseconds of a minute.
pub const MINUTE: i64 = 60_000;

/// A row of `customMetrics`, as far as the handler fills it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Milliseconds since 1970, as are all times here.
    pub timestamp: i64,
    pub arrived: i64,
    pub name: String,
    pub value: f64,
    pub value_count: Option<f64>,
    pub value_sum: f64,
    pub value_min: Option<f64>,
    pub value_max: Option<f64>,
    #[serde(rename = "cloud_RoleName")]
    pub role_name: String,
    #[serde(rename = "cloud_RoleInstance")]
    pub role_instance: String,
}

impl Row {
    /// The row of one envelope:
    ///
    /// | sent as | `valueSum` | `valueCount`, `valueMin`, `valueMax` |
    /// | --- | --- | --- |
    /// | measurement (gauge) | its value | null |
    /// | aggregation without a count (counter) | its value | null |
    /// | aggregation with a count (histogram) | its value, a sum | as sent |
    ///
    /// The service may know more of a measurement than null; a rule must not need it.
    fn of(envelope: &Value) -> Self {
        let data = &envelope["data"]["baseData"];
        let [point] = &data["metrics"].as_array().unwrap()[..] else { panic!("{envelope}") };
        let kind = point["kind"].as_str().unwrap();
        assert!(matches!(kind, "Measurement" | "Aggregation"), "{envelope}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let sent = |name: &str| point[name].as_f64();
        let time = OffsetDateTime::parse(envelope["time"].as_str().unwrap(), &Rfc3339).unwrap();
        let timestamp = i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap();
        let value = point["value"].as_f64().unwrap();
        Self {
            timestamp,
            arrived: timestamp + LATE,
            name: text(&point["name"]),
            value,
            value_count: sent("count"),
            value_sum: value,
            value_min: sent("min"),
            value_max: sent("max"),
            role_name: text(&envelope["tags"]["ai.cloud.role"]),
            role_instance: text(&envelope["tags"]["ai.cloud.roleInstance"]),
        }
    }

    /// Everything that arrived, as rows.
    pub fn all(seen: &Ingestion) -> Vec<Self> {
        let envelopes = seen.envelopes.lock().unwrap();
        let metrics = envelopes.iter().filter(|e| e["data"]["baseType"] == "MetricData");
        metrics.map(Self::of).collect()
    }

    /// The same, sent at another time.
    pub fn at(&self, timestamp: i64) -> Self {
        Self { timestamp, arrived: timestamp + LATE, ..self.clone() }
    }

    /// The same with another value; only of what is no histogram.
    pub fn with(&self, value: f64) -> Self {
        assert_eq!(self.value_count, None, "{self:?}");
        Self { value, value_sum: value, ..self.clone() }
    }
}

/// The last row of a metric.
pub fn last<'r>(rows: &'r [Row], name: &str) -> &'r Row {
    let found = rows.iter().rev().find(|row| row.name == name);
    found.unwrap_or_else(|| panic!("{name} never came"))
}

/// Rows sent again and again, so often, from time 0 on.
pub fn repeated(rows: &[Row], every: i64, times: i64) -> Vec<Row> {
    let at = |n: i64| rows.iter().map(move |row| row.at(n * every));
    (0..times).flat_map(at).collect()
}
