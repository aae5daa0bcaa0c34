//! `doctor`: settings with their origin, limits, and every dependency with what to do.

mod blocklists;
mod database;
mod remedy;
mod storage;

use super::{SCHEMA_OF_THE_APP, Session, kept, memory::memory_limit, out};
use chunk_handler::{
    redact::cause_chain,
    settings::{DatabaseCredential, MIB, Setting},
    spool::TempDir,
    state::{Database, Error, TableSize},
    telemetry::Export,
};
use serde_json::json;
use std::{borrow::Cow, path::Path, process::ExitCode, time::Duration};
use time::OffsetDateTime;

/// One dependency that was checked.
struct Check {
    what: &'static str,
    result: Result<String, String>,
    remedy: Cow<'static, str>,
}

impl Check {
    /// What the database would have been asked.
    fn not_asked(what: &'static str) -> Self {
        let result = Err("not asked: there is no login to Postgres".to_owned());
        Self { what, result, remedy: "mend what Postgres says above".into() }
    }
}

/// A clock that is off by more than this confuses leases shown to people, and signatures.
const SKEW_LIMIT: Duration = Duration::from_secs(30);
/// Twice the period of the timer, which starts a process where none is.
const UNATTENDED_SECONDS: f64 = 600.0;

impl Session {
    pub(super) async fn doctor(&self) -> anyhow::Result<ExitCode> {
        let (mut checks, mut sizes) = (Vec::new(), Vec::new());
        match self.check_login().await {
            Some(hindered) => {
                // Each of them would wait for the same, as long as a call may take.
                checks.push(hindered);
                checks.extend(["schema", "rights", "handlers", "jobs"].map(Check::not_asked));
            }
            None => {
                checks.extend([
                    self.check_database().await,
                    self.check_schema().await,
                    self.check_rights().await,
                    self.check_processes().await,
                    self.check_jobs().await,
                ]);
                // Without an answer the checks say why.
                sizes = self.database.table_sizes().await.unwrap_or_default();
            }
        }
        checks.extend([
            self.check_blob().await,
            self.check_queue().await,
            self.check_storage_clock().await,
            self.check_blocklists().await,
            self.check_handler(),
            self.check_temp(),
            self.check_telemetry().await,
            check_memory(),
        ]);
        let failed = checks.iter().any(|check| check.result.is_err());
        if self.json {
            out(format_args!("{}", self.as_json(&checks, &sizes)));
        } else {
            out(format_args!("{}", self.as_text(&checks, &sizes)));
        }
        Ok(ExitCode::from(u8::from(failed)))
    }

    async fn check_schema(&self) -> Check {
        let known = Database::known_schema_version();
        let remedy = match self.settings.database_credential {
            DatabaseCredential::Password => "run `chunkctl migrate`",
            DatabaseCredential::Entra => SCHEMA_OF_THE_APP,
        };
        let (result, remedy) = match self.database.schema_version().await {
            Ok(Some(version)) if version == known => (Ok(format!("version {version}")), remedy),
            Ok(Some(version)) if version > known => (
                Err(format!("version {version}, this release knows {known}")),
                "a newer release was here: install it everywhere, handler and chunkctl",
            ),
            Ok(version) => (
                Err(format!("version {}, this release needs {known}", version.unwrap_or(0))),
                remedy,
            ),
            // Who may not use the schema is told that there is none.
            Err(error) => match self.database.obstacle().await {
                Ok(Some(_)) => {
                    (Err("hidden from this login".to_owned()), "mend what rights names below")
                }
                Ok(None) | Err(_) => (Err(cause_chain(&error)), remedy),
            },
        };
        Check { what: "schema", result, remedy: remedy.into() }
    }

    /// Whether this login could do the handler's work.
    async fn check_rights(&self) -> Check {
        let found = async {
            let obstacle = self.database.obstacle().await?;
            Ok::<_, Error>((obstacle, self.database.connection_limit().await?))
        };
        let remedy = "grant what is missing to the role of DATABASE_URL; for a server or login that is \
                      read-only see Postgres above";
        let few = "raise the limit, or take it off with `connection limit -1`";
        let (result, remedy) = match found.await {
            Ok((Some(obstacle), _)) => (Err(obstacle), remedy.into()),
            Ok((None, Some(few_connections))) => (Err(few_connections), few.into()),
            Ok((None, None)) => {
                (Ok("this login may do the handler's work".to_owned()), remedy.into())
            }
            Err(error) => (Err(cause_chain(&error)), self.unanswered(&error)),
        };
        Check { what: "rights", result, remedy }
    }

    /// What to do when a question about the work is not answered although the login works.
    fn unanswered(&self, error: &Error) -> Cow<'static, str> {
        match error.hindrance() {
            Some(_) => self.remedy_of(error),
            None => "mend what schema or rights names above; if they name nothing, somebody changed the \
                     schema by hand: compare it with one that `chunkctl migrate` makes"
                .into(),
        }
    }

    /// Whether the handlers that are there can work, and any is there when there is work.
    async fn check_processes(&self) -> Check {
        let found = async {
            let waits = self.database.gauges().await?.oldest_pending_seconds;
            Ok::<_, Error>((self.database.processes().await?, waits))
        };
        let result = match found.await {
            Ok((processes, Some(waits))) if processes.is_empty() && waits > UNATTENDED_SECONDS => {
                return Check {
                    what: "handlers",
                    result: Err(format!("none is there, and a chunk waits since {waits:.0} s")),
                    remedy:
                        "start the app; its own log says what it lacks, and a role that may not \
                             write the tables cannot say it here"
                            .into(),
                };
            }
            Ok((processes, _)) => {
                let degraded: Vec<String> = processes
                    .iter()
                    .filter_map(|p| Some(format!("{}: {}", p.owner, p.degraded.as_ref()?)))
                    .collect();
                let found = format!("{} there, {} degraded", processes.len(), degraded.len());
                if degraded.is_empty() {
                    Ok(found)
                } else {
                    Err(format!("{found}: {}", degraded.join("; ")))
                }
            }
            Err(error) => {
                let remedy = self.unanswered(&error);
                return Check { what: "handlers", result: Err(cause_chain(&error)), remedy };
            }
        };
        Check {
            what: "handlers",
            result,
            remedy: "mend what each of them names; they go on by themselves".into(),
        }
    }

    /// Whether jobs that are over can be ended, and no chunk waits for a blob that somebody keeps.
    async fn check_jobs(&self) -> Check {
        let found = async {
            let ends = self.database.stuck_ends().await?;
            let ends = ends.iter().map(|(id, why)| format!("job {id} cannot end: {why}"));
            Ok::<_, Error>(self.blocked(None).await?.into_iter().chain(ends).collect::<Vec<_>>())
        };
        let result = match found.await {
            Ok(stuck) if stuck.is_empty() => Ok("each that is over ends".to_owned()),
            Ok(stuck) => Err(stuck.join("; ")),
            Err(error) => {
                let remedy = self.unanswered(&error);
                return Check { what: "jobs", result: Err(cause_chain(&error)), remedy };
            }
        };
        Check { what: "jobs", result, remedy: "free the blob, or mend blob storage below".into() }
    }

    /// Whether a handler would start with these settings, in this directory.
    fn check_handler(&self) -> Check {
        let problems = &self.settings.of_handler;
        Check {
            what: "settings of the handler",
            result: if problems.is_empty() {
                Ok("it would start with them".to_owned())
            } else {
                Err(problems.join("; "))
            },
            remedy:
                "a handler does not start like this: correct host.json of its app, or the variable \
                     that is named; if this directory is another app's, run `doctor` elsewhere"
                    .into(),
        }
    }

    fn check_temp(&self) -> Check {
        let root = &self.settings.temp_root;
        let budget = self.settings.limits.temp_budget_bytes() / MIB;
        let (result, remedy) = match TempDir::create(root) {
            Err(error) => (
                Err(error.to_string()),
                "set PIXCRAWLER_TEMP_DIR to a directory the handler may write",
            ),
            Ok(directory) => {
                let free = directory.free_bytes().map(|bytes| bytes / MIB);
                // Theirs to use, free or not.
                let held = directory.others_bytes() / MIB;
                let found = format!(
                    "{}: {} MB free, {held} MB held by handlers, {budget} MB may be used",
                    root.display(),
                    free.map_or("?".into(), |mb| mb.to_string())
                );
                match free {
                    Some(free) if free + held < budget => (
                        Err(found),
                        "free some space there, lower PIXCRAWLER_MAX_TEMP_STORAGE_MB, or set \
                         PIXCRAWLER_TEMP_DIR to a larger disk",
                    ),
                    _ => (Ok(found), ""),
                }
            }
        };
        Check { what: "temp space", result, remedy: remedy.into() }
    }

    /// Whether alerts could see our metrics.
    async fn check_telemetry(&self) -> Check {
        let export = Export::open(&self.settings, &tokio::runtime::Handle::current());
        let (result, remedy) = match export {
            Ok(None) if self.settings.host.on_azure => (
                Err("APPLICATIONINSIGHTS_CONNECTION_STRING is not set".to_owned()),
                "no alert can fire without it: set it to that of the Application Insights component"
                    .into(),
            ),
            Ok(None) => (Ok("off, no connection string".to_owned()), Cow::default()),
            Err(error) => {
                (Err(error.to_string()), "correct what it names".into())
            }
            Ok(Some(export)) => match export.probe().await {
                Ok(()) => (Ok("takes our metrics".to_owned()), Cow::default()),
                Err(problem) => {
                    let remedy = format!("alerts see nothing of us: {}", problem.remedy);
                    (Err(problem.what), remedy.into())
                }
            },
        };
        Check { what: "telemetry", result, remedy }
    }

    fn as_text(&self, checks: &[Check], sizes: &[TableSize]) -> String {
        let limits = &self.settings.limits;
        let mut lines = vec![format!("profile {}", self.settings.profile), String::new()];
        lines.push("settings".into());
        for Setting { name, value, provenance } in &self.settings.table {
            lines.push(format!("  {name} = {value}   [{provenance}]"));
        }
        lines.extend([
            String::new(),
            "limits".into(),
            format!(
                "  streaming: {} chunks at once on one instance",
                limits.streaming_max_chunks()
            ),
            format!(
                "  materialized: {} chunks, were whole chunks kept on disk (the guide's formula)",
                limits.materialized_max_chunks()
            ),
            format!(
                "  a chunk: {} MB at its estimated size, {} MB of temp space at once",
                limits.materialized_chunk_bytes() / MIB,
                limits.chunk_temp_share_bytes() / MIB
            ),
            format!(
                "  temp space: {} MB configured, of {} MB that the platform gives",
                limits.temp_storage_mb,
                self.settings.profile.quota_mb()
            ),
            String::new(),
            "kept in the database".into(),
        ]);
        lines.extend(kept::as_text(sizes, self.settings.keep));
        lines.extend([String::new(), "checks".into()]);
        lines.extend(checks.iter().map(|check| match &check.result {
            Ok(found) => format!("  ok      {}: {found}", check.what),
            Err(problem) => {
                format!("  FAILED  {}: {problem}\n          {}", check.what, check.remedy)
            }
        }));
        lines.join("\n")
    }

    fn as_json(&self, checks: &[Check], sizes: &[TableSize]) -> serde_json::Value {
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
            "kept": kept::as_json(sizes, self.settings.keep),
            "checks": checks.iter().map(|check| json!({
                "what": check.what,
                "ok": check.result.is_ok(),
                "found": check.result.as_ref().ok(),
                "problem": check.result.as_ref().err(),
                "remedy": check.result.as_ref().err().map(|_| &check.remedy),
            })).collect::<Vec<_>>(),
        })
    }
}

/// Whether another clock agrees with ours.
fn on_time(clock: OffsetDateTime, found: String) -> Result<String, String> {
    let skew = (OffsetDateTime::now_utc() - clock).abs();
    if skew <= SKEW_LIMIT {
        return Ok(found);
    }
    Err(format!("{found}; its clock and ours are {} s apart", skew.whole_seconds()))
}

fn check_memory() -> Check {
    let limit = memory_limit(Path::new("/"));
    Check {
        what: "memory limit",
        result: Ok(limit.map_or("none".into(), |bytes| format!("{} MB", bytes / MIB))),
        remedy: "".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_handler::{
        settings::{Program, Settings},
        state::LeaseTerms,
        storage::Storage,
    };

    fn session() -> Session {
        let variables = [
            ("DATABASE_URL", "postgres://someone:hush@db:5432/d"),
            ("ChunkStorage", "UseDevelopmentStorage=true"),
            ("PIXCRAWLER_ENVIRONMENT", "azure_functions"),
            ("PIXCRAWLER_TEMP_DIR", "/scratch"),
            ("APPLICATIONINSIGHTS_CONNECTION_STRING", "InstrumentationKey=hush"),
        ];
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = Settings::parse(Program::Chunkctl, environment.into(), [].into()).unwrap();
        let terms = LeaseTerms::new(settings.lease);
        let database = Database::open(settings.database_url.expose(), terms).unwrap();
        let storage = Storage::open(&settings).unwrap();
        Session { settings, database, storage, json: false }
    }

    fn checks() -> [Check; 2] {
        [
            Check { what: "Postgres", result: Ok("version 15.4, 12 MB".into()), remedy: "".into() },
            Check {
                what: "schema",
                result: Err("version 2, this release needs 3".into()),
                remedy: "run `chunkctl migrate`".into(),
            },
        ]
    }

    /// What people and programs read, to the letter; no secret is in it.
    #[tokio::test]
    async fn doctor_shows_settings_limits_and_checks() {
        let sizes = [TableSize { name: "image_hash".into(), rows: 7, bytes: 3 << 20 }];
        insta::assert_snapshot!(session().as_text(&checks(), &sizes));
        insta::assert_json_snapshot!(session().as_json(&checks(), &sizes));
    }
}
