//! What a run says: JSON on stdout for programs, a table on stderr for people.

use crate::{plan::Fault, round::Outcome};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// The sums of a run.
#[derive(Debug)]
pub struct Totals {
    seed: u64,
    rounds: u32,
    faults: BTreeMap<Fault, u64>,
    left_out: BTreeMap<Fault, &'static str>,
    violations: Vec<String>,
    took: Duration,
    /// The longest that work or a job took after the last fault of a round, in seconds.
    went_on: f64,
    ended: f64,
}

impl Totals {
    pub fn new(seed: u64) -> Self {
        let (faults, left_out, violations) = Default::default();
        let (took, went_on, ended) = Default::default();
        Self { seed, rounds: 0, faults, left_out, violations, took, went_on, ended }
    }

    /// Adds a round and says how it was.
    pub fn add(&mut self, outcome: &Outcome) {
        let Outcome {
            round,
            faults,
            violations,
            claims,
            deadlocks,
            went_on,
            ended,
            took,
            settled,
            ..
        } = outcome;
        let n: u64 = faults.values().sum();
        eprintln!(
            "round {round:3}: {n:3} faults, {} violations, {:3.0} s, at rest {:3.0} s after the last fault",
            violations.len(),
            took.as_secs_f64(),
            settled.as_secs_f64()
        );
        let claims: Vec<_> = claims.iter().map(|(outcome, n)| format!("{n} {outcome}")).collect();
        eprintln!("  claims: {}; {deadlocks} deadlocks", claims.join(", "));
        let jobs: Vec<_> = ended.iter().map(|(job, after)| format!("{job} {after:.1} s")).collect();
        let next = went_on.map_or("none".to_owned(), |after| format!("{after:.1} s"));
        eprintln!("  after the last fault: next claim {next}, jobs ended: {}", jobs.join(", "));
        for violation in violations {
            eprintln!("  {violation}");
        }
        self.left_out.extend(&outcome.left_out);
        self.went_on = went_on.unwrap_or_default().max(self.went_on);
        self.ended = ended.iter().map(|(_, after)| *after).fold(self.ended, f64::max);
        println!("{}", line(self.seed, &json!({"round": round}), faults, violations));
        self.rounds += 1;
        self.took += *took;
        self.violations.extend(violations.iter().cloned());
        for (fault, n) in faults {
            *self.faults.entry(*fault).or_default() += n;
        }
    }

    /// The table and the last line; whether nothing was violated.
    pub fn finish(&self) -> bool {
        eprintln!("\n{:22} {:>6}", "fault", "done");
        for fault in Fault::all() {
            let n = self.faults.get(&fault).copied().unwrap_or_default();
            let why = self.left_out.get(&fault).map(|why| format!("  not run: {why}"));
            eprintln!("{:22} {n:6}{}", fault.name(), why.unwrap_or_default());
        }
        let n: u64 = self.faults.values().sum();
        eprintln!("{:22} {n:6}\n", "all");
        eprintln!("{:10} {:>8} {:>10}", "invariant", "checked", "violations");
        let ids = (1..=13).map(|n| format!("I{n}"));
        let ids = ids.chain(["I16", "H3", "M3"].map(str::to_owned));
        for id in ids {
            let is_of = |text: &&String| text.split(':').next() == Some(id.as_str());
            let violations = self.violations.iter().filter(is_of).count();
            eprintln!("{id:10} {:8} {violations:10}", self.rounds);
        }
        eprintln!(
            "\nafter the last fault of a round: the next claim within {:.1} s, every job ended within {:.1} s",
            self.went_on, self.ended
        );
        eprintln!("seed {}, {} rounds in {:.0?}", self.seed, self.rounds, self.took);
        println!(
            "{}",
            line(self.seed, &json!({"rounds": self.rounds}), &self.faults, &self.violations)
        );
        self.violations.is_empty()
    }
}

fn line(seed: u64, n: &Value, faults: &BTreeMap<Fault, u64>, violations: &[String]) -> Value {
    let faults: BTreeMap<_, _> = faults.iter().map(|(fault, n)| (fault.name(), n)).collect();
    let mut line = json!({"seed": seed, "faults": faults, "violations": violations});
    if let (Some(line), Some(n)) = (line.as_object_mut(), n.as_object()) {
        line.extend(n.clone());
    }
    line
}
