//! Hosts in the rig of a test.

use crate::client::{HostOptions, HostProcess, stage};
use std::{path::Path, time::Duration};
use support::{programs, rig::Rig};

/// A host that is ready, with the handler under test and the rig's settings.
pub async fn host(rig: &Rig, extra: &[(&str, &str)]) -> HostProcess {
    host_of(rig, "app", Path::new(&programs::handler()), extra).await
}

/// The same with another program as the handler, in an app root of this name.
pub async fn host_of(rig: &Rig, name: &str, handler: &Path, extra: &[(&str, &str)]) -> HostProcess {
    let root = rig.temp.path().join(name);
    stage(&root, handler).expect("an app root");
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
