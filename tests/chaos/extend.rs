//! Lists that are added to a job at the same time, one of them twice.

use crate::{
    jobs::{self, CHUNK_SIZE, TOKEN},
    plan::{Dice, Fault},
    site::Site,
    submit::{PATIENCE, Submission},
};
use serde_json::Value;
use std::{sync::Arc, time::Instant};
use tokio::{task::JoinSet, time::sleep};

/// Numbers of the jobs that grow.
const FIRST: i64 = 300;

/// A list by which a job grew.
#[derive(Debug, Clone)]
pub struct Extension {
    job: i64,
    list: String,
    urls: Vec<String>,
}

impl Extension {
    /// Adds it; the index of its first chunk, if it was taken, now or before.
    fn add(&self, site: &Site) -> Option<i32> {
        let job = self.job.to_string();
        let fixed = ["submit", "--json", "--job-id", &job, "--extend", "--urls", &self.list];
        let said = site.chunkctl(&fixed);
        let json: Value = serde_json::from_str(said.stdout.trim()).ok()?;
        i32::try_from(json["first_chunk"].as_i64()?).ok()
    }

    /// The chunks that it became.
    fn chunks(&self, first: i32) -> jobs::Chunks {
        let chunks = self.urls.chunks(CHUNK_SIZE).map(<[String]>::to_vec);
        (first..).zip(chunks).map(|(index, urls)| ((self.job, index), urls)).collect()
    }
}

/// Two lists, one of them twice, for a job of one chunk; pictures of all three are the same.
pub async fn at_once(site: &Arc<Site>, dice: &mut Dice) {
    let job = FIRST + site.number() as i64;
    let url = |n: usize| site.rig.origin.url(&format!("/same/{job}{:02}/{n}?sig={TOKEN}", n % 7));
    let urls: Vec<String> = (0..6 * CHUNK_SIZE).map(url).collect();
    let list = |name: &str, urls: &[String]| {
        site.rig.list(&format!("{job}{name}.txt"), urls).display().to_string()
    };
    let (own, others) = urls.split_at(CHUNK_SIZE);
    let submission = Submission { job, list: list("", own), size: CHUNK_SIZE };
    if !until(|| submission.submit(site)).await {
        return site.found(format!("I13: nobody could submit job {job} within {PATIENCE:?}"));
    }
    site.expect(jobs::by_chunk(job, own, CHUNK_SIZE));
    site.submitted(submission);
    site.tally.count(Fault::Extend);
    // It may have ended by then.
    sleep(dice.millis(0, 4000)).await;
    let (a, b) = others.split_at(CHUNK_SIZE * (1 + dice.below(3)));
    let of = |name, urls: &[String]| Extension { job, list: list(name, urls), urls: urls.to_vec() };
    let lists = [of("a", a), of("b", b)];
    let mut running = JoinSet::new();
    for extension in [&lists[0], &lists[1], &lists[0]].map(Clone::clone) {
        let site = Arc::clone(site);
        running.spawn(async move { extension.add(&site) });
    }
    running.join_all().await;
    for extension in lists {
        // The server may be away: whoever adds a list tries again.
        if !until(|| extension.add(site).is_some()).await {
            return site.found(format!("I13: nobody could extend job {job} within {PATIENCE:?}"));
        }
        site.extended(extension);
    }
}

/// Tries until it is done.
async fn until(mut is_done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while !is_done() {
        if Instant::now() > end {
            return false;
        }
        sleep(std::time::Duration::from_millis(500)).await;
    }
    true
}

/// Adds every list once more: it is there as often as before, or again when the database forgot it. Where
/// its chunks are then is where they must be in the end.
pub fn confirm(site: &Site) {
    for extension in site.extensions() {
        match extension.add(site) {
            Some(first) => site.expect(extension.chunks(first)),
            None => site.found(format!("I1: job {} is not extended again", extension.job)),
        }
    }
}
