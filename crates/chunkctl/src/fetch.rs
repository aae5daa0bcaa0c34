//! `chunkctl fetch`: a job's folder, brought to a directory.

mod digest;
mod lost;
pub(crate) mod mark;
mod part;
pub(crate) mod place;
mod plan;
mod summary;
mod transfer;

use crate::{
    Session,
    failure::{Failure, bail_as},
    folder::{Interrupted, Listing},
    known::{self, Known},
    progress::Progress,
};
use anyhow::Context as _;
use chunk_handler::{spool, state::JobProgress};
use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mark::Mark;
use nix::libc;
use plan::Plan;
use std::{cell::RefCell, collections::BTreeMap, fs, path::PathBuf, process::ExitCode};
use summary::Summary;
use time::format_description::well_known::Rfc3339;
use tokio::signal::unix::{SignalKind, signal};
use transfer::{Counts, Transfer};

/// What stands behind the options.
const HELP: &str = "Examples:
  chunkctl fetch --job-id 7 --to cats
  chunkctl fetch --job-id 7 --to /data/cats --parallel 16
  chunkctl verify --from cats

The directory becomes the job's folder as it stands in storage: chunks/chunk_00000.tar, ..., and
load_dataset(\"cats\") loads it. What is there with its length and hash is left alone, so the same
command goes on after Ctrl-C or a crash, also inside a shard, and brings what is new after a retry.
Of a job that is not over what is complete comes, without documents, and the exit code is 0. A
directory with such files that no fetch of this job brought is refused (.fetch.json says whose it
is). A document that you changed stays, and a newer one comes beside it: README.md.new. Files that
the job does not have are named and stay. Exit code 1: something is damaged or lost in storage; 130: Ctrl-C.";

/// How often a chunk is looked at again because another version came meanwhile.
const ROUNDS: usize = 5;
/// The exit code of a program that was interrupted.
const INTERRUPTED: i32 = 130;
/// Names that are shown of a kind.
const SHOWN: usize = 5;

/// Its options.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Fetch {
    /// The job's number, 0 to 2^63 - 1.
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
    job_id: i64,
    /// The directory; it is made if it is not there.
    #[arg(long, value_name = "DIRECTORY")]
    to: PathBuf,
    /// Files that come at once, 1 to 64.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
}

impl Session {
    pub(crate) async fn fetch(&self, fetch: Fetch) -> anyhow::Result<ExitCode> {
        let directory = fetch.to.clone();
        tokio::select! {
            // Boxed: the SDK's futures are large.
            done = Box::pin(self.bring(fetch)) => done,
            _ = tokio::signal::ctrl_c() => {
                let so_far = format!("interrupted: so far is in {}", directory.display());
                Failure::interrupted(so_far, "the same command goes on").tell(self.json);
                // At once: a file that is being hashed would be waited for.
                std::process::exit(INTERRUPTED)
            }
        }
    }

    async fn bring(&self, fetch: Fetch) -> anyhow::Result<ExitCode> {
        let Fetch { job_id, to: directory, parallel } = fetch;
        self.refuse_another_place().await?;
        let before = self.known_job(job_id).await?;
        let plan = self.plan(job_id, before.as_ref()).await?;
        if before.is_none() && plan.there.is_empty() && plan.documents.is_empty() {
            bail_as!(
                JobUnknown,
                "job {job_id} is unknown and has nothing in storage; see `chunkctl status`"
            );
        }
        let own = self.mark(job_id, before.as_ref())?;
        let mark = place::refuse_another_job(&directory, &own)?;
        place::make(&directory)?;
        let _lock = place::lock(&directory)?;
        // With a handler a write beyond the shell's limit of a file's length fails, and does not kill.
        let _limit = signal(SignalKind::from_raw(libc::SIGXFSZ));
        let progress = match self.json {
            true => Progress::hidden(),
            false => {
                Progress::of_bytes("fetching", plan.files().map(|(_, blob)| blob.head.bytes).sum())
            }
        };
        let transfer = Transfer {
            storage: &self.storage,
            directory: &directory,
            progress: &progress,
            counts: Counts::default(),
            done: RefCell::default(),
            mark: RefCell::new(own.after(mark.as_ref())),
            changed: RefCell::default(),
        };
        let parallel = usize::from(parallel);
        prepare(&plan, &transfer, mark.is_some(), parallel).await?;
        let mut summary = Summary { job_id, ..Summary::default() };
        let brought = self.bring_all(plan, &transfer, parallel, &mut summary).await;
        progress.end();
        let job = brought.with_context(|| {
            format!("not all of job {job_id} came; the same command goes on from here")
        })?;
        summary.files_fetched = transfer.counts.files_fetched.get();
        summary.files_kept = transfer.counts.files_kept.get();
        summary.bytes_fetched = transfer.counts.bytes_fetched.get();
        summary.changed = transfer.changed_documents();
        summary.directory = directory;
        self.say(&serde_json::to_value(&summary)?, &summary.line());
        summary.warnings(job.as_ref()).iter().for_each(|line| eprintln!("{line}"));
        Ok(ExitCode::from(u8::from(!summary.failed.is_empty())))
    }

    /// What is to come of a job as it is now.
    async fn plan(&self, job_id: i64, job: Option<&Known>) -> anyhow::Result<Plan> {
        let is_over = known::is_over(job);
        // Rows first: blobs are written before the row that names them.
        let rows = match job {
            Some(_) if is_over => {
                Some(lost::rows(self.database.dataset_rows(job_id).await?.shards.0)?)
            }
            _ => None,
        };
        let listing = Listing::read(&self.storage, job_id, "").await?;
        let listed = match job {
            Some(_) => rows,
            None => lost::listed_there(&self.storage, &listing).await?,
        };
        Ok(Plan::new(listing, is_over, listed.as_deref()))
    }

    /// The mark of a directory with this job.
    fn mark(&self, job_id: i64, job: Option<&Known>) -> anyhow::Result<Mark> {
        let created_at = job.map(|(job, _)| job.created_at.format(&Rfc3339)).transpose()?;
        Ok(Mark {
            job_id,
            storage: self.settings.place(),
            documents: BTreeMap::default(),
            created_at,
            is_over: Some(known::is_over(job)),
            chunks: job.map(|(job, _)| job.total_chunks),
        })
    }

    /// Brings everything. A job that ran on or ended meanwhile has other documents, and perhaps shards: what
    /// it has now comes then. What storage seems to have lost is looked for twice, since it may just be
    /// being written.
    async fn bring_all(
        &self,
        mut plan: Plan,
        transfer: &Transfer<'_>,
        parallel: usize,
        summary: &mut Summary,
    ) -> anyhow::Result<Option<JobProgress>> {
        let (job_id, mut has_lost) = (summary.job_id, false);
        for round in 1..=ROUNDS {
            let is_last = round == ROUNDS;
            match plan.bring(transfer, parallel, summary).await {
                Ok(()) => {
                    let job = self.known_job(job_id).await?;
                    let is_over = known::is_over(job.as_ref());
                    let rows = match &job {
                        Some(_) if is_over => {
                            lost::rows(self.database.dataset_rows(job_id).await?.shards.0)?
                        }
                        _ => Vec::new(),
                    };
                    let lost = lost::find(&plan, transfer, job.is_some().then_some(&rows[..]));
                    let is_settled = is_over == plan.is_over && (lost.is_empty() || has_lost);
                    has_lost = !lost.is_empty();
                    if is_settled || is_last {
                        let there = place::there(transfer.directory)?;
                        summary.failed.extend(lost);
                        summary.leftovers = plan.leftovers(&there.members, &rows);
                        summary.leftovers.extend(there.strangers);
                        summary.strangers = plan.others;
                        summary.is_over = plan.is_over;
                        let job = job.map(|(job, _)| job);
                        summary.status = job.as_ref().map(|job| job.status.clone());
                        summary.total_chunks = job.as_ref().map(|job| job.total_chunks);
                        return Ok(job);
                    }
                }
                Err(Interrupted::Changed) if !is_last => {}
                Err(error) => return Err(error.into()),
            }
            let job = self.known_job(job_id).await?;
            plan = self.plan(job_id, job.as_ref()).await?;
            transfer.mark_anew(self.mark(job_id, job.as_ref())?)?;
        }
        Err(Interrupted::Changed.into())
    }
}

/// Looks at what is there, and begins only where nothing of others is written over and there is room.
async fn prepare(
    plan: &Plan,
    transfer: &Transfer<'_>,
    is_marked: bool,
    parallel: usize,
) -> anyhow::Result<()> {
    let directory = transfer.directory;
    let looks = stream::iter(plan.files()).map(|(member, blob)| transfer.look(member, blob));
    looks.buffer_unordered(parallel).try_collect::<()>().await?;
    let is_right = |member| transfer.done.borrow().contains_key(&member);
    let there = place::there(directory)?;
    place::refuse_strangers(directory, is_marked, &there.members, is_right)?;
    let chunks = directory.join("chunks");
    fs::create_dir_all(&chunks).with_context(|| format!("creating {}", chunks.display()))?;
    // Before any file: one that is there without it is somebody else's.
    transfer.mark.borrow().write(directory)?;
    plan.remove_other_parts(directory, &there.parts)?;
    let lacking = place::lacking(directory, plan.files(), is_right);
    place::refuse_without_room(directory, lacking, spool::free_bytes(directory))
}

/// The first names of a list. Those of others may hold anything.
pub(crate) fn shown(names: &[String]) -> String {
    let mut text: Vec<String> =
        names.iter().take(SHOWN).map(|name| name.escape_debug().to_string()).collect();
    if names.len() > SHOWN {
        text.push(format!("... ({} in all)", names.len()));
    }
    text.join(", ")
}
