//! Goals, what was measured, and the statistics between them.

use serde_json::{Value, json};
use std::time::Duration;

/// What a case must not exceed.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    pub case: &'static str,
    pub unit: &'static str,
    pub limit: f64,
}

impl Goal {
    pub const fn new(case: &'static str, unit: &'static str, limit: f64) -> Self {
        Self { case, unit, limit }
    }

    /// The row of this goal, with its own figure if there is one.
    pub fn met_by(self, all: &[Measured]) -> Row {
        Row { goal: self, measured: all.iter().find(|one| one.case == self.case).copied() }
    }
}

/// A figure, and of how many samples it is the median.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    case: &'static str,
    value: f64,
    n_samples: usize,
}

impl Measured {
    pub fn new(case: &'static str, value: f64) -> Self {
        Self { case, value, n_samples: 1 }
    }

    pub fn median_of(case: &'static str, samples: &[f64]) -> Self {
        Self { case, value: median(samples), n_samples: samples.len() }
    }
}

/// A line of the table.
#[derive(Debug)]
pub struct Row {
    goal: Goal,
    measured: Option<Measured>,
}

impl Row {
    fn passes(&self) -> Option<bool> {
        self.measured.map(|measured| measured.value <= self.goal.limit)
    }

    pub fn json(&self) -> Value {
        json!({
            "case": self.goal.case,
            "unit": self.goal.unit,
            "goal": self.goal.limit,
            "measured": self.measured.map(|measured| measured.value),
            "pass": self.passes(),
            "samples": self.measured.map_or(0, |measured| measured.n_samples),
        })
    }
}

pub fn print_table(rows: &[Row]) {
    eprintln!();
    eprintln!(
        "{:<20} {:<16} {:>8} {:>10} {:>8}  verdict",
        "case", "unit", "goal", "measured", "samples"
    );
    for row in rows {
        let (measured, n_samples) = match row.measured {
            Some(it) => (format!("{:.3}", it.value), it.n_samples.to_string()),
            None => ("-".into(), "-".into()),
        };
        let verdict = match row.passes() {
            Some(true) => "meets the goal",
            Some(false) => "MISSES THE GOAL",
            None => "not run",
        };
        let Goal { case, unit, limit } = row.goal;
        eprintln!("{case:<20} {unit:<16} {limit:>8} {measured:>10} {n_samples:>8}  {verdict}");
    }
}

/// The middle, or the mean of the two in the middle.
pub fn median(samples: &[f64]) -> f64 {
    let sorted = sorted(samples);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The smallest sample that `share` of all do not exceed.
pub fn percentile(samples: &[f64], share: f64) -> f64 {
    let sorted = sorted(samples);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    assert!(!samples.is_empty(), "nothing was measured");
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}
