//! The rules of the deployment, evaluated as Azure Monitor evaluates a log search alert.
//!
//! At each evaluation the query sees the rows of the last periods that have arrived. What it found is
//! split by the dimensions, and its time column says which period a row belongs to; a result without
//! one belongs to the last. The rule fires for a combination of dimensions of which enough periods are
//! over the threshold. What is left out: the state of an alert that has fired before, and its resolving.

use super::{
    kql::{Search, search},
    row::{LATE, MINUTE, Row},
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Between two phases of the evaluation that are tried.
const STEP: i64 = 20_000;

/// What of a period is compared with the threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Aggregation {
    Count,
    Maximum,
    Total,
}

/// An alert rule of type `scheduledQueryRules`.
#[derive(Debug)]
pub struct Rule {
    pub name: String,
    query: String,
    /// The length of one period.
    window: i64,
    frequency: i64,
    aggregation: Aggregation,
    measure: Option<String>,
    dimensions: Vec<String>,
    threshold: f64,
    n_periods: i64,
    n_failing: usize,
}

/// Who a rule fires for at one evaluation: values of its dimensions.
pub type Fired = BTreeSet<Vec<String>>;

impl Rule {
    /// Reads the resource.
    pub fn of(resource: &Value) -> Self {
        let (properties, text) = (&resource["properties"], |value: &Value| {
            value.as_str().unwrap_or_else(|| panic!("{value} in {resource}")).to_owned()
        });
        let [criterion] = &properties["criteria"]["allOf"].as_array().unwrap()[..] else {
            panic!("one criterion: {resource}")
        };
        assert_eq!(
            (&properties["enabled"], &criterion["operator"]),
            (&true.into(), &"GreaterThan".into())
        );
        let failing = &criterion["failingPeriods"];
        Self {
            name: text(&resource["name"]),
            query: text(&criterion["query"]),
            window: minutes(&text(&properties["windowSize"])),
            frequency: minutes(&text(&properties["evaluationFrequency"])),
            aggregation: match criterion["timeAggregation"].as_str() {
                Some("Count") => Aggregation::Count,
                Some("Maximum") => Aggregation::Maximum,
                Some("Total") => Aggregation::Total,
                other => panic!("aggregation {other:?}: {resource}"),
            },
            measure: criterion["metricMeasureColumn"].as_str().map(str::to_owned),
            dimensions: dimensions(&criterion["dimensions"]),
            threshold: criterion["threshold"].as_f64().unwrap(),
            n_periods: failing["numberOfEvaluationPeriods"].as_i64().unwrap_or(1),
            n_failing: failing["minFailingPeriodsToAlert"]
                .as_u64()
                .unwrap_or(1)
                .try_into()
                .unwrap(),
        }
    }

    /// Who it fires for over these rows, for each phase of the evaluation that is tried; evaluations go
    /// on until nothing of the rows is left to see.
    pub fn fires(&self, rows: &[Row]) -> Vec<Fired> {
        let times = rows.iter().map(|row| row.timestamp);
        let (first, last) = (times.clone().min().unwrap_or(0), times.max().unwrap_or(0));
        self.fires_between(rows, first, last + LATE + self.n_periods * self.window)
    }

    /// The same for evaluations from one time to another.
    pub fn fires_between(&self, rows: &[Row], from: i64, to: i64) -> Vec<Fired> {
        let moments: Vec<i64> = (0..).map(|n| from + n * STEP).take_while(|at| *at <= to).collect();
        let (lookback, query) = (self.n_periods * self.window, self.query.as_str());
        let searches = moments.iter().map(|to| Search { query, from: to - lookback, to: *to });
        let found = search(rows, &searches.collect::<Vec<_>>());
        let mut phases = vec![Fired::new(); usize::try_from(self.frequency / STEP).unwrap()];
        for (n, (at, rows)) in moments.iter().zip(&found).enumerate() {
            let n_phases = phases.len();
            phases[n % n_phases].extend(self.evaluate(*at, rows));
        }
        phases
    }

    /// Who it fires for at this time, when its query found these rows.
    fn evaluate(&self, at: i64, found: &[Value]) -> Fired {
        let mut periods: BTreeMap<Vec<String>, BTreeMap<i64, Vec<&Value>>> = BTreeMap::new();
        for row in found {
            let who = self.dimensions.iter().map(|name| row[name].as_str().unwrap().to_owned());
            let age =
                row.get("timestamp").map_or(0, |time| (at - time.as_i64().unwrap()) / self.window);
            periods.entry(who.collect()).or_default().entry(age).or_default().push(row);
        }
        let is_over = |rows: &&Vec<&Value>| self.aggregate(rows) > self.threshold;
        let failing = |ages: &BTreeMap<i64, Vec<&Value>>| ages.values().filter(is_over).count();
        let fired = periods.iter().filter(|(_, ages)| failing(ages) >= self.n_failing);
        fired.map(|(who, _)| who.clone()).collect()
    }

    fn aggregate(&self, rows: &[&Value]) -> f64 {
        let values =
            || rows.iter().filter_map(|row| row[self.measure.as_deref().unwrap()].as_f64());
        match self.aggregation {
            Aggregation::Count => rows.len() as f64,
            Aggregation::Maximum => values().fold(f64::NEG_INFINITY, f64::max),
            Aggregation::Total => values().sum(),
        }
    }
}

/// The names of the dimensions, which all take every value.
fn dimensions(given: &Value) -> Vec<String> {
    let given = given.as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |dimension: &Value| {
        let all = (&dimension["operator"], &dimension["values"]);
        assert_eq!(all, (&"Include".into(), &serde_json::json!(["*"])));
        dimension["name"].as_str().unwrap().to_owned()
    };
    given.iter().map(of).collect()
}

/// Milliseconds of a period like `PT10M`.
fn minutes(period: &str) -> i64 {
    let minutes = period.strip_prefix("PT").and_then(|rest| rest.strip_suffix('M'));
    minutes.and_then(|n| n.parse::<i64>().ok()).expect(period) * MINUTE
}
