//! Hosts in the rig of a test.

use crate::client::{HostOptions, HostProcess, stage};
use std::{path::Path, time::Duration};
use support::{programs, rig::Rig};

/// The setting that host.json is made for.
const CHUNKS_AT_ONCE: &str = "PIXCRAWLER_MAX_CONCURRENT_CHUNKS";

/// As many invocations at once as the handler has permits: the product's own host.json says ten.
fn deliver_at_most(root: &Path, chunks: u64) {
    let path = root.join("host.json");
    let text = std::fs::read(&path).expect("host.json");
    let mut host: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    host["extensions"]["queues"]["newBatchThreshold"] = (chunks - 1).into();
    std::fs::write(&path, host.to_string()).expect("host.json");
}

/// A host that is ready, with the handler under test and the rig's settings.
pub async fn host(rig: &Rig, extra: &[(&str, &str)]) -> HostProcess {
    host_of(rig, "app", Path::new(&programs::handler()), extra).await
}

/// The same with another program as the handler, in an app root of this name.
pub async fn host_of(rig: &Rig, name: &str, handler: &Path, extra: &[(&str, &str)]) -> HostProcess {
    let root = rig.temp.path().join(name);
    stage(&root, handler).expect("an app root");
    for (_, chunks) in extra.iter().filter(|(name, _)| *name == CHUNKS_AT_ONCE) {
        deliver_at_most(&root, chunks.parse().expect("a number of chunks"));
    }
    let mut options = HostOptions::new(root).env("AzureWebJobsStorage", &rig.storage);
    for (name, value) in rig.environment() {
        options = options.env(name, value);
    }
    for (name, value) in extra {
        options = options.env(*name, *value);
    }
    let host = HostProcess::start(options).expect("the stand-in starts");
    host.ready(Duration::from_secs(30)).await.expect("its handler answers");
    host
}
