//! Two jobs in one handler: what a hostile list costs the one beside it.
//!
//! Each attack is delivered as a chunk, or as several; while it is under way a job of good pictures runs,
//! whose time is compared with what it takes alone. That of the slow host and that of the host that
//! refuses is for pictures of the very same host.

use crate::{
    measure::{Measured, median},
    world::{Bench, World},
};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use support::{
    attack::{Attack, Hostile, at_level},
    rig::Handler,
};
use tokio::task::JoinSet;

/// Pictures of the second job.
const PICTURES: usize = 60;
/// What a job has not done by then it does not do: a job that waits ends before this.
const PATIENCE: Duration = Duration::from_secs(60);
/// URLs of a hostile chunk, and chunks of a job of many hosts.
const HOSTILE: u64 = 500;
const HOSTS: usize = 2000;

/// The case of an attack.
fn case(attack: Attack) -> &'static str {
    match attack {
        Attack::SlowHost => "fair_slow_host",
        Attack::Refusals => "fair_refusals",
        Attack::SilentNames => "fair_names",
        Attack::Heavy => "fair_heavy",
        Attack::ManyHosts => "fair_hosts",
        Attack::TinyChunks => "fair_tiny_chunks",
        Attack::Silence => "fair_silence",
    }
}

/// Measures one attack. It ends by itself: a sample in which the second job is not whole is the last.
pub async fn run(bench: &Bench, attack: Attack) -> Result<Vec<Measured>> {
    chunk_handler::descriptors::raise();
    let fair = Fair::new(bench, attack).await?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for sample in 0..bench.samples() {
        alone.push(fair.second_job(2 * sample).await?);
        let mut attacking = fair.begin().await?;
        beside.push(fair.second_job(2 * sample + 1).await?);
        if attacking.try_join_next().is_some() {
            eprintln!("  {attack:?}: a chunk of the attack was over first");
        }
        drop(attacking);
        fair.end().await;
        eprintln!("  {attack:?}: alone {:.2} s, beside {:.2} s", alone[sample], beside[sample]);
        if alone[sample].max(beside[sample]).is_infinite() {
            return Ok(vec![Measured::new(case(attack), f64::INFINITY)]);
        }
    }
    Ok(vec![Measured::new(case(attack), median(&beside) / median(&alone))])
}

/// A handler, what attacks it, and the good pictures.
struct Fair {
    attack: Attack,
    world: World,
    hostile: Hostile,
    second: Hostile,
    handler: tokio::sync::Mutex<Arc<Handler>>,
}

impl Fair {
    async fn new(bench: &Bench, attack: Attack) -> Result<Self> {
        let world = World::new(bench, case(attack), 0).await?;
        let hostile = Hostile::start(if attack == Attack::ManyHosts { HOSTS } else { 1 }, 6000);
        let second = Hostile::start(1, 1);
        let handler = start(&world, &hostile, &second).await;
        let handler = tokio::sync::Mutex::new(Arc::new(handler));
        Ok(Self { attack, world, hostile, second, handler })
    }

    /// Delivers the attack and waits until it is under way.
    async fn begin(&self) -> Result<JoinSet<()>> {
        let n = if self.attack == Attack::ManyHosts { HOSTS as u64 } else { HOSTILE };
        let urls = self.hostile.urls(self.attack, n);
        let mut attacking = JoinSet::new();
        for urls in urls.chunks(HOSTILE as usize) {
            let message = self.message(urls).await?;
            let handler = Arc::clone(&*self.handler.lock().await);
            attacking.spawn(async move {
                handler.deliver(&uuid::Uuid::new_v4().to_string(), &message).await;
            });
        }
        let until = Instant::now() + Duration::from_secs(20);
        while !self.hostile.has_begun(self.attack) {
            ensure!(Instant::now() < until, "the attack does not begin");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Its queues are filled.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(attacking)
    }

    /// Ends the attack with the process, and starts the next one.
    async fn end(&self) {
        let mut handler = self.handler.lock().await;
        handler.kill9();
        *handler = Arc::new(start(&self.world, &self.hostile, &self.second).await);
    }

    async fn message(&self, urls: &[String]) -> Result<Value> {
        let message = self.world.message_of(urls).await?;
        Ok(if self.attack == Attack::Heavy { at_level("slow", message) } else { message })
    }

    /// Seconds of the second job; one that loses a picture is never done.
    async fn second_job(&self, sample: usize) -> Result<f64> {
        let of_same_host = matches!(self.attack, Attack::SlowHost | Attack::Refusals);
        let host = if of_same_host { &self.hostile.raw } else { &self.second.raw };
        let url = |n: usize| host.url(&format!("/good/{}", sample * PICTURES + n));
        let urls: Vec<String> = (0..PICTURES).map(url).collect();
        let message = self.message(&urls).await?;
        let handler = Arc::clone(&*self.handler.lock().await);
        let since = Instant::now();
        let id = uuid::Uuid::new_v4().to_string();
        let delivered = tokio::time::timeout(PATIENCE, handler.deliver(&id, &message)).await;
        let wall = since.elapsed().as_secs_f64();
        let Ok((_, answer)) = delivered else {
            eprintln!("  {:?}: not done after {wall:.0} s", self.attack);
            return Ok(f64::INFINITY);
        };
        let said = answer["Logs"][0].as_str().unwrap_or_default();
        let is_whole = said.contains(&format!("{PICTURES} of {PICTURES} images valid"));
        if !is_whole {
            eprintln!("  {:?}: {said}", self.attack);
        }
        Ok(if is_whole { wall } else { f64::INFINITY })
    }
}

async fn start(world: &World, hostile: &Hostile, second: &Hostile) -> Handler {
    let environment = hostile.environment(&[second.raw.address]);
    let extra: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    world.handler(&extra).await
}
