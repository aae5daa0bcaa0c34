//! `doctor`: settings with their origin, limits, and every dependency with what to do.

mod blocklists;
mod database;
mod fleet;
mod remedy;
mod report;
mod storage;
mod unset;

pub(crate) use unset::say_what_to_set;

use super::{SCHEMA_OF_THE_APP, Session, memory::memory_limit};
use chunk_handler::{
    redact::cause_chain,
    settings::{DatabaseCredential, MIB},
    spool::TempDir,
    state::{Database, Error, TableSize},
    telemetry::Export,
};
use fleet::Fleet;
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
        let result = Err("not asked: see Postgres".to_owned());
        Self { what, result, remedy: "mend what Postgres says above".into() }
    }
}

/// All that was found.
struct Found {
    checks: Vec<Check>,
    sizes: Vec<TableSize>,
    /// None: no handler has said it, or the database does not.
    fleet: Option<Fleet>,
}

/// A clock that is off by more than this confuses leases shown to people, and signatures.
const SKEW_LIMIT: Duration = Duration::from_secs(30);
/// Twice the period of the timer, which starts a process where none is.
const UNATTENDED_SECONDS: f64 = 600.0;

impl Session {
    pub(super) async fn doctor(&self) -> anyhow::Result<ExitCode> {
        let (mut checks, mut sizes, mut fleet) = (Vec::new(), Vec::new(), None);
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
                fleet = self.fleet().await;
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
        let found = Found { checks, sizes, fleet };
        self.say(&self.as_json(&found), &self.as_text(&found));
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
            Err(error) => {
                if let Some(check) = self.without_login("schema", &error).await {
                    return check;
                }
                // Who may not use the schema is told that there is none.
                match self.database.obstacle().await {
                    Ok(Some(_)) => {
                        (Err("hidden from this login".to_owned()), "mend what rights names below")
                    }
                    // A server that does not answer says nothing about its schema.
                    Ok(None) | Err(_) if !error.lacks_schema() => {
                        return self.unanswered("schema", &error).await;
                    }
                    Ok(None) | Err(_) => (Err(cause_chain(&error)), remedy),
                }
            }
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
            Ok((Some(obstacle), _)) => (Err(obstacle), remedy),
            Ok((None, Some(few_connections))) => (Err(few_connections), few),
            Ok((None, None)) => (Ok("this login may do the handler's work".to_owned()), remedy),
            Err(error) => return self.unanswered("rights", &error).await,
        };
        Check { what: "rights", result, remedy: remedy.into() }
    }

    /// A question that no login could be had for, although one worked before; none: it was asked. The pool
    /// has one word for every login that does not come about: another one is tried beside it.
    async fn without_login(&self, what: &'static str, error: &Error) -> Option<Check> {
        if !error.is_away() {
            return None;
        }
        let (hindrance, remedy) = self.refused_login().await?;
        Some(Check { what, result: Err(format!("{}: {hindrance}", cause_chain(error))), remedy })
    }

    /// A question about the work that is not answered although the login works.
    async fn unanswered(&self, what: &'static str, error: &Error) -> Check {
        if let Some(check) = self.without_login(what, error).await {
            return check;
        }
        // A server that does not answer says nothing about its schema.
        let is_known = error.is_away() || error.hindrance().is_some();
        let remedy = match is_known {
            true => self.remedy_of(error),
            false => "mend what schema or rights names above; if they name nothing, somebody changed the \
                      schema by hand: compare it with one that `chunkctl migrate` makes"
                .into(),
        };
        Check { what, result: Err(cause_chain(error)), remedy }
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
            Err(error) => return self.unanswered("handlers", &error).await,
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
            Err(error) => return self.unanswered("jobs", &error).await,
        };
        Check { what: "jobs", result, remedy: "free the blob, or mend blob storage below".into() }
    }

    /// Whether a handler would start with these settings, in this directory.
    fn check_handler(&self) -> Check {
        let problems = &self.settings.of_handler;
        Check {
            what: "settings of the handler",
            result: if problems.is_empty() {
                Ok("it would start with them, and get its messages".to_owned())
            } else {
                Err(problems.join("; "))
            },
            remedy: "a handler does not start or not work like this: correct host.json of its app, or the \
                     variable that is named; if this directory is another app's, run `doctor` elsewhere"
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
