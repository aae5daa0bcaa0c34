//! How often a chunk asks the database and storage.

use crate::{
    measure::Measured,
    photo::{Album, Way},
    world::{Bench, World},
};
use anyhow::Result;
use std::collections::BTreeMap;
use support::{
    proxy::{Calls, Fate, Proxy, Wire},
    rig::Handler,
};

/// 500 images of 0.5 MB: a shard of 250 MB.
const IMAGES: u64 = 500;
const MEAN_BYTES: u64 = 500_000;
/// What is asked in any case every few seconds, chunk or not.
const BACKGROUND: [&str; 9] = [
    "renew",
    "reclaim",
    "check_in",
    "take_waker",
    "capacity",
    "judge_touched",
    "take_removal",
    "set_up",
    "GET messages",
];

/// A world whose handler reaches database and storage through proxies that count.
struct Counted {
    world: World,
    handler: Handler,
    calls: Calls,
    _proxies: [Proxy; 3],
}

pub async fn run(bench: &Bench) -> Result<Vec<Measured>> {
    let counted = Counted::new(bench).await?;
    let (mut fast, mut new, mut slow) = (Counts::default(), Counts::default(), Counts::default());
    for n in 0..=bench.samples() as u64 {
        let album = counted.album(Way::Fast, 2 * n, 1);
        let first = counted.count(&album, false).await?;
        let second = counted.count(&Album { first: album.first + IMAGES, ..album }, true).await?;
        // The first time, each connection learns its statements.
        if n > 0 {
            new.push(first);
            fast.push(second);
        }
    }
    for n in 0..if bench.quick { 1 } else { 3 } {
        slow.push(counted.count(&counted.album(Way::Slow, 1000 + n, 4), true).await?);
    }
    eprintln!("  registered: {}", fast.names);
    eprintln!("  new: {}", new.names);
    eprintln!("  slow origin: {}", slow.names);
    Ok(vec![
        Measured::median_of("calls_database", &fast.database),
        Measured::median_of("calls_database_new", &new.database),
        Measured::median_of("calls_database_slow", &slow.database),
        Measured::median_of("calls_storage", &fast.storage),
        Measured::median_of("calls_storage_slow", &slow.storage),
    ])
}

/// Statements and storage calls of several chunks, and the names of the last one's.
#[derive(Default)]
struct Counts {
    database: Vec<f64>,
    storage: Vec<f64>,
    names: String,
}

impl Counts {
    fn push(&mut self, (database, storage, names): (usize, usize, String)) {
        self.database.push(database as f64);
        self.storage.push(storage as f64);
        self.names = names;
    }
}

impl Counted {
    async fn new(bench: &Bench) -> Result<Self> {
        let world = World::new(bench, "calls", 0).await?;
        let calls = Calls::default();
        let database = world.database_address();
        let upstream = world.sink.map(|address| address.to_string());
        let proxies = [
            Proxy::start("database", Wire::Postgres, &database, &calls).await?,
            Proxy::start("storage", Wire::Http, &upstream[0], &calls).await?,
            Proxy::start("storage", Wire::Http, &upstream[1], &calls).await?,
        ];
        let url = world.database_url.replace(&database, &proxies[0].address().to_string());
        let storage = World::storage([proxies[1].address(), proxies[2].address()]);
        let extra = [("DATABASE_URL", url.as_str()), ("ChunkStorage", storage.as_str())];
        let handler = world.handler(&extra).await;
        Ok(Self { world, handler, calls, _proxies: proxies })
    }

    fn album(&self, way: Way, n: u64, hosts: usize) -> Album {
        Album { first: n * IMAGES, ..self.world.album(way, MEAN_BYTES, IMAGES, hosts) }
    }

    /// Statements and storage calls of a chunk, registered before or new, and their names.
    async fn count(&self, album: &Album, is_known: bool) -> Result<(usize, usize, String)> {
        let message = self.world.message(album).await?;
        if is_known {
            self.world.register(&message).await?;
        }
        self.calls.restart(|_| Fate::Pass);
        self.world.deliver(&self.handler, &message).await?;
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        let (mut database, mut storage) = (0, 0);
        for call in self.calls.seen() {
            let name = call.what.strip_prefix("run ").unwrap_or(&call.what);
            if BACKGROUND.contains(&name) || name.starts_with("prepare ") || name == "sync" {
                continue;
            }
            match call.proxy {
                "database" => database += 1,
                _ => storage += 1,
            }
            *names.entry(name.to_owned()).or_default() += 1;
        }
        let names: Vec<String> = names.iter().map(|(name, n)| format!("{n} {name}")).collect();
        Ok((database, storage, names.join(", ")))
    }
}
