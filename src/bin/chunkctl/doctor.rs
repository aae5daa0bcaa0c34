//! `doctor`: settings with their origin, limits, and every dependency with what to do.

use super::{Session, out};
use chunk_handler::{
    settings::{MIB, Setting},
    spool::TempDir,
    storage::CHUNKS,
    telemetry::cause_chain,
};
use serde_json::json;
use std::{path::Path, process::ExitCode};

/// One thing that was looked at.
struct Check {
    what: &'static str,
    result: Result<String, String>,
    remedy: &'static str,
}

impl Session {
    pub(super) async fn doctor(&self) -> anyhow::Result<ExitCode> {
        let checks = [
            self.check_database().await,
            self.check_schema().await,
            self.check_blob().await,
            self.check_queue().await,
            self.check_temp(),
            check_memory(),
        ];
        let failed = checks.iter().any(|check| check.result.is_err());
        if self.json {
            out(format_args!("{}", self.as_json(&checks)));
        } else {
            self.print(&checks);
        }
        Ok(ExitCode::from(u8::from(failed)))
    }

    async fn check_database(&self) -> Check {
        let result = self.database.describe().await;
        Check {
            what: "Postgres",
            result: result
                .map(|(version, mb)| format!("version {version}, {mb} MB"))
                .map_err(|error| cause_chain(&error)),
            remedy: "is the server up, does DATABASE_URL name its host, port, user and password, \
                     and does a firewall let port 5432 through?",
        }
    }

    async fn check_schema(&self) -> Check {
        let result = self.database.capacity().await;
        Check {
            what: "schema",
            result: result
                .map(|c| format!("{} of {} slots taken", c.active_chunks, c.max_chunks))
                .map_err(|error| cause_chain(&error)),
            remedy: "run `chunkctl migrate`",
        }
    }

    async fn check_blob(&self) -> Check {
        let result = self.storage.head_dataset("doctor").await;
        Check {
            what: "blob storage",
            result: result.map(|_| "answers".into()).map_err(|error| error.to_string()),
            remedy: "check ChunkStorage: the endpoint, and the key or the role Storage Blob Data \
                     Contributor",
        }
    }

    async fn check_queue(&self) -> Check {
        let result = self.storage.depth(CHUNKS).await;
        Check {
            what: "queue storage",
            result: result
                .map(|n| format!("about {n} messages in {CHUNKS}"))
                .map_err(|error| error.to_string()),
            remedy: "run `chunkctl migrate` if the queue is missing; else check ChunkStorage and \
                     the role Storage Queue Data Contributor",
        }
    }

    fn check_temp(&self) -> Check {
        let root = &self.settings.temp_root;
        let writable = TempDir::create(root).map_err(|error| error.to_string());
        Check {
            what: "temp space",
            result: writable.map(|_| {
                let budget = self.settings.limits.temp_budget_bytes() / MIB;
                format!("{} is writable, at most {budget} MB will be used", root.display())
            }),
            remedy: "set PIXCRAWLER_TEMP_DIR to a directory the handler may write",
        }
    }

    fn print(&self, checks: &[Check]) {
        out(format_args!("profile {}", self.settings.profile));
        out(format_args!("\nsettings"));
        for Setting { name, value, provenance } in &self.settings.table {
            out(format_args!("  {name} = {value}   [{provenance}]"));
        }
        let limits = &self.settings.limits;
        out(format_args!("\nlimits"));
        out(format_args!(
            "  streaming: {} chunks at once on one instance",
            limits.streaming_max_chunks()
        ));
        out(format_args!(
            "  materialized: {} chunks, were whole chunks kept on disk (the guide's formula)",
            limits.materialized_max_chunks()
        ));
        out(format_args!(
            "  a chunk: {} MB at its estimated size, {} MB of temp space at once",
            limits.materialized_chunk_bytes() / MIB,
            limits.chunk_temp_share_bytes() / MIB
        ));
        out(format_args!(
            "  temp space: {} MB configured, of {} MB that the platform gives",
            limits.temp_storage_mb,
            self.settings.profile.quota_mb()
        ));
        out(format_args!("\nchecks"));
        for check in checks {
            match &check.result {
                Ok(found) => out(format_args!("  ok      {}: {found}", check.what)),
                Err(problem) => {
                    out(format_args!(
                        "  FAILED  {}: {problem}\n          {}",
                        check.what, check.remedy
                    ));
                }
            }
        }
    }

    fn as_json(&self, checks: &[Check]) -> serde_json::Value {
        let limits = &self.settings.limits;
        let settings = self.settings.table.iter();
        json!({
            "profile": self.settings.profile.to_string(),
            "settings": settings.map(|s| json!({
                "name": s.name, "value": s.value, "from": s.provenance.to_string(),
            })).collect::<Vec<_>>(),
            "streaming_max_chunks": limits.streaming_max_chunks(),
            "materialized_max_chunks": limits.materialized_max_chunks(),
            "max_chunks_by_storage": limits.max_chunks_by_storage(),
            "materialized_chunk_mb": limits.materialized_chunk_bytes() / MIB,
            "chunk_temp_share_mb": limits.chunk_temp_share_bytes() / MIB,
            "platform_quota_mb": self.settings.profile.quota_mb(),
            "checks": checks.iter().map(|check| json!({
                "what": check.what,
                "ok": check.result.is_ok(),
                "found": check.result.as_ref().ok(),
                "problem": check.result.as_ref().err(),
                "remedy": check.result.as_ref().err().map(|_| check.remedy),
            })).collect::<Vec<_>>(),
        })
    }
}

/// The container's memory limit, version 2 then version 1, of this process's own group.
fn check_memory() -> Check {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let v2 = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let v1 = groups.lines().find_map(|line| line.split_once(":memory:").map(|(_, path)| path));
    let candidates = [
        format!("/sys/fs/cgroup{v2}/memory.max"),
        "/sys/fs/cgroup/memory.max".to_owned(),
        format!("/sys/fs/cgroup/memory{}/memory.limit_in_bytes", v1.unwrap_or("")),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    let limit = candidates.iter().find_map(|path| read_limit(Path::new(path)));
    Check {
        what: "memory limit",
        result: Ok(limit.map_or("none".into(), |bytes| format!("{} MB", bytes / MIB))),
        remedy: "",
    }
}

/// "max" and the huge number of version 1 both mean no limit.
fn read_limit(path: &Path) -> Option<u64> {
    let bytes: u64 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    (bytes < 1 << 60).then_some(bytes)
}
