//! Two submissions of one file at the same time, with the same options or with others.

use crate::{
    jobs::{self, CHUNK_SIZE, TOKEN},
    plan::{Dice, Fault},
    site::Site,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep};

/// Numbers of the jobs that are made this way.
const FIRST: i64 = 100;
const URLS: usize = 3 * CHUNK_SIZE;
/// How long an operator repeats a command that fails.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// What was submitted, and with which size of chunks it was taken.
#[derive(Debug, Clone)]
pub struct Submission {
    pub job: i64,
    pub list: String,
    pub size: usize,
}

impl Submission {
    /// Whether it was taken.
    pub fn submit(&self, site: &Site) -> bool {
        let Self { job, list, size } = self;
        let (job, size) = (job.to_string(), size.to_string());
        let arguments = ["submit", "--job-id", &job, "--urls", list, "--chunk-size", &size];
        site.chunkctl(&arguments).code == Some(0)
    }
}

pub async fn twice(site: &Arc<Site>, dice: &mut Dice) {
    let job = FIRST + site.number() as i64;
    let url = |n| site.rig.origin.url(&format!("/img/{job}{n:03}?sig={TOKEN}"));
    let urls: Vec<String> = (0..URLS).map(url).collect();
    let list = site.rig.list(&format!("{job}.txt"), &urls).display().to_string();
    let sizes = [CHUNK_SIZE, CHUNK_SIZE - dice.below(2)];
    let both = sizes.map(|size| Submission { job, list: list.clone(), size });
    site.tally.count(Fault::SubmitTwice);
    let end = Instant::now() + PATIENCE;
    let mut taken = at_once(site, &both).await;
    // The server may be away: whoever submits tries again.
    while taken.is_empty() && Instant::now() < end {
        sleep(Duration::from_millis(500)).await;
        taken.extend(both.iter().find(|submission| submission.submit(site)).cloned());
    }
    let Some(first) = taken.first() else {
        return site.found(format!("I13: nobody could submit job {job} within {PATIENCE:?}"));
    };
    if taken.iter().any(|other| other.size != first.size) {
        site.found(format!("I1: job {job} was taken twice, with chunks of {sizes:?}"));
    }
    site.expect(jobs::by_chunk(job, &urls, first.size));
    site.submitted(first.clone());
}

/// Those that were taken, when all are submitted at once.
async fn at_once(site: &Arc<Site>, submissions: &[Submission]) -> Vec<Submission> {
    let mut running = JoinSet::new();
    for submission in submissions.iter().cloned() {
        let site = Arc::clone(site);
        running.spawn(async move { submission.submit(&site).then_some(submission) });
    }
    running.join_all().await.into_iter().flatten().collect()
}
