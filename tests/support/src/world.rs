//! A rig whose handlers reach Postgres, blob and queue through proxies.

use crate::proxy::{Calls, Fate, Proxy, Wire};
use crate::rig::{Handler, Rig, wake_up};
use std::{sync::Arc, time::Duration};

/// Pictures of a chunk.
pub const PICTURES: u64 = 3;
/// The job of a chunk that stays next in line, so that the end of a run sends a message.
const NEXT_IN_LINE: i64 = 1;

/// A rig whose handlers may be put behind proxies.
pub struct World {
    pub rig: Rig,
    pub calls: Calls,
    /// What a handler behind them has in its environment.
    pub behind: [(&'static str, String); 2],
    /// Before Postgres, blob and queue.
    pub proxies: [Proxy; 3],
}

impl World {
    pub async fn new() -> Arc<Self> {
        let world = Arc::new(Self::around(Rig::new().await).await);
        world.submit(NEXT_IN_LINE).await;
        world
    }

    /// Puts proxies before the services of a rig.
    pub async fn around(rig: Rig) -> Self {
        let calls = Calls::default();
        let Lane { proxies, behind } = Lane::start(&rig.database_url, &rig.storage, &calls).await;
        Self { rig, calls, behind, proxies }
    }

    /// Registers a job of one chunk whose list is a blob, past the proxies.
    pub async fn submit(self: &Arc<Self>, job: i64) {
        let (world, urls) = (Arc::clone(self), self.rig.pictures(PICTURES));
        let submit = move || world.rig.submit(job, &urls, urls.len());
        tokio::task::spawn_blocking(submit).await.unwrap();
    }

    /// A handler behind the proxies whose first pass is over, with somebody else next in line.
    pub async fn handler(&self) -> Handler {
        self.calls.restart(|_| Fate::Pass);
        let extra = self.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
        let handler = self.rig.handler_with(&extra).await;
        self.calls.quiet(Duration::from_millis(150)).await;
        self.rig.execute("update chunk_handler.chunk set woken_at = null where job_id = 1").await;
        handler
    }

    /// Plays the host: wakes the chunk until it is completed; what the answers said.
    pub async fn completes(&self, handler: &Handler, job: i64) -> Vec<String> {
        let mut said = Vec::new();
        for round in 1..=20 {
            let sql = "update chunk_handler.chunk set not_before = null where state = 'pending'";
            self.rig.execute(sql).await;
            let (status, answer) =
                handler.deliver(&format!("{job}-{round}"), &wake_up(job, 0)).await;
            assert_eq!(status, 200, "{answer}");
            said.push(answer["Logs"][0].as_str().unwrap_or_default().to_owned());
            if self.status(job).await == "completed" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        said
    }

    /// Lets every lease run out now.
    pub async fn expire(&self) {
        let sql = "update chunk_handler.chunk
            set lease_until = clock_timestamp() - interval '1 s' where state = 'processing'";
        self.rig.execute(sql).await;
    }

    pub async fn status(&self, job: i64) -> String {
        let sql = "select status from chunk_handler.chunk_status where job_id = $1";
        sqlx::query_scalar(sql).bind(job).fetch_one(&self.rig.pool).await.unwrap()
    }
}

/// Proxies of their own before the services of one handler.
pub struct Lane {
    /// Before Postgres, blob and queue.
    pub proxies: [Proxy; 3],
    /// What a handler behind them has in its environment.
    pub behind: [(&'static str, String); 2],
}

impl Lane {
    /// Puts proxies before a database and a storage account; their calls are counted together with
    /// those of others.
    pub async fn start(database_url: &str, storage: &str, calls: &Calls) -> Self {
        let database = address(database_url.split('@').nth(1).unwrap());
        let blob = address(storage.split("BlobEndpoint=http://").nth(1).unwrap());
        let queue = address(storage.split("QueueEndpoint=http://").nth(1).unwrap());
        let start = async |name, wire, upstream: &str| {
            Proxy::start(name, wire, upstream, calls).await.unwrap()
        };
        let proxies = [
            start("postgres", Wire::Postgres, &database).await,
            start("blob", Wire::Http, &blob).await,
            start("queue", Wire::Http, &queue).await,
        ];
        let [of_database, of_blob, of_queue] = proxies.each_ref().map(|p| p.address().to_string());
        let storage = storage.replace(&blob, &of_blob).replace(&queue, &of_queue);
        let behind = [
            ("DATABASE_URL", database_url.replace(&database, &of_database)),
            ("ChunkStorage", storage),
        ];
        Self { proxies, behind }
    }
}

/// The `host:port` that a text begins with.
fn address(text: &str) -> String {
    text.split(['/', '?', ';']).next().unwrap().to_owned()
}
