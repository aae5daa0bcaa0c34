//! What the metrics API answers: <https://learn.microsoft.com/rest/api/monitor/metrics/list>.

use super::{AzureState, Point, SPAN, Unavailable, shown};
use serde::Deserialize;
use time::OffsetDateTime;

#[derive(Deserialize)]
pub(super) struct MetricsResponse {
    value: Vec<Metric>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metric {
    name: Name,
    /// Of this metric alone: the others in a 200 may be good.
    error_code: Option<String>,
    error_message: Option<String>,
    #[serde(default)]
    timeseries: Vec<Series>,
}

#[derive(Deserialize)]
struct Name {
    value: String,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    data: Vec<RawPoint>,
}

#[derive(Deserialize)]
struct RawPoint {
    #[serde(rename = "timeStamp", with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    average: Option<f64>,
    /// Only when it is asked for.
    maximum: Option<f64>,
}

impl MetricsResponse {
    /// The newest point with a value: Azure lists minutes that it knows nothing of yet.
    pub(super) fn newest(&self, metric: &str, now: OffsetDateTime) -> Result<Point, Unavailable> {
        let known =
            self.points(metric)?.filter_map(|p| Some(Point { value: p.average?, at: p.at }));
        let newest = known.max_by_key(|point| point.at);
        let stale = |cause: String| Unavailable { state: AzureState::Stale, cause };
        match newest {
            Some(point) if now - point.at <= SPAN => Ok(point),
            Some(point) => Err(stale(format!("the newest point is of {}", shown(point.at)))),
            None => Err(stale("no point in the last ten minutes".into())),
        }
    }

    /// The highest value of each interval that has one, in the order of the answer; where no highest was
    /// asked for, its average.
    pub(super) fn values(&self, metric: &str) -> Result<Vec<f64>, Unavailable> {
        Ok(self.points(metric)?.filter_map(|p| p.maximum.or(p.average)).collect())
    }

    fn points(&self, metric: &str) -> Result<impl Iterator<Item = &RawPoint>, Unavailable> {
        let found = self.value.iter().find(|m| m.name.value.eq_ignore_ascii_case(metric));
        let found =
            found.ok_or_else(|| Unavailable::error(format!("no {metric} in the answer")))?;
        if let Some(code) = found.error_code.as_deref().filter(|code| *code != "Success") {
            let message = found.error_message.as_deref().unwrap_or_default();
            return Err(Unavailable::error(format!("{code} {message}").trim_end().to_owned()));
        }
        Ok(found.timeseries.iter().flat_map(|series| &series.data))
    }
}
