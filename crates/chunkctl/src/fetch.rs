//! `chunkctl fetch`: a job's folder, brought to a directory.

mod digest;
mod part;
mod place;
mod transfer;

use crate::{
    Session, few_valid,
    folder::{Interrupted, Listing, Member, Pair},
    progress::Progress,
};
use anyhow::{Context as _, bail};
use chunk_handler::{jobs::DOCUMENTS, spool, state::JobProgress, storage::ListedBlob};
use clap::Args;
use digest::Told;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::HumanBytes;
use serde::{Deserialize, Serialize};
use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
    process::ExitCode,
};
use transfer::{Counts, Failed, Transfer};

/// What stands behind the options.
const HELP: &str = "Examples:
  chunkctl fetch --job-id 7 --to cats
  chunkctl fetch --job-id 7 --to /data/cats --parallel 16
  chunkctl verify --from cats

The directory becomes the job's folder as it stands in storage: chunks/chunk_00000.tar, ..., and
load_dataset(\"cats\") loads it. What is there with its length and hash is left alone, so the same
command goes on after Ctrl-C or a crash, also inside a shard, and brings what is new after a retry.
Of a job that is not over what is complete comes, and the exit code is 0. Files that the job does
not have are named and stay. Exit code 1: something is damaged or missing in storage.";

/// How often a chunk is looked at again because another version came meanwhile.
const ROUNDS: usize = 5;
/// The exit code of a program that was interrupted.
const INTERRUPTED: u8 = 130;
/// Names that are shown of a kind.
const SHOWN: usize = 5;

/// Its options.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Fetch {
    /// The job's number.
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
    job_id: i64,
    /// The directory; it is made if it is not there.
    #[arg(long, value_name = "DIRECTORY")]
    to: PathBuf,
    /// Files that come at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
}

/// What a fetch did, as programs read it.
#[derive(Debug, Default, Serialize)]
struct Summary {
    job_id: i64,
    directory: PathBuf,
    /// As in the view; none: the database does not know the job any more.
    status: Option<String>,
    is_over: bool,
    /// Chunks that are here whole.
    chunks: usize,
    /// Bytes of the folder.
    bytes: u64,
    files_fetched: u64,
    files_kept: u64,
    bytes_fetched: u64,
    /// Files that could not be brought, with the reason.
    failed: Vec<String>,
    /// Chunks that are being written right now.
    unfinished: Vec<i32>,
    /// Files here that the job does not have.
    leftovers: Vec<String>,
    /// Names in storage that are none of a job's folder.
    strangers: Vec<String>,
}

impl Session {
    pub(crate) async fn fetch(&self, fetch: Fetch) -> anyhow::Result<ExitCode> {
        let directory = fetch.to.clone();
        tokio::select! {
            // Boxed: the SDK's futures are large.
            done = Box::pin(self.bring(fetch)) => done,
            _ = tokio::signal::ctrl_c() => {
                eprintln!("interrupted: the same command goes on; so far is in {}", directory.display());
                Ok(ExitCode::from(INTERRUPTED))
            }
        }
    }

    async fn bring(&self, fetch: Fetch) -> anyhow::Result<ExitCode> {
        let Fetch { job_id, to: directory, parallel } = fetch;
        self.refuse_another_place().await?;
        let job = self.database.job_progress(Some(job_id)).await?.pop();
        let listing = Listing::read(&self.storage, job_id, "").await?;
        if job.is_none() && listing.is_empty() {
            bail!("job {job_id} is unknown and has nothing in storage; see `chunkctl status`");
        }
        fs::create_dir_all(directory.join("chunks"))
            .with_context(|| format!("creating {}", directory.display()))?;
        let _lock = place::lock(&directory)?;
        let (there, parts) = place::members(&directory)?;
        place::refuse_another_job(&directory, &there, job_id)?;
        let plan = Plan::new(listing);
        plan.remove_other_parts(&directory, &parts)?;
        let lacking = place::lacking(&directory, plan.files());
        place::refuse_without_room(&directory, lacking, spool::free_bytes(&directory))?;
        let total = plan.files().map(|(_, blob)| blob.bytes).sum();
        let progress = match self.json {
            true => Progress::hidden(),
            false => Progress::of_bytes("fetching", total),
        };
        let transfer = Transfer {
            storage: &self.storage,
            directory: &directory,
            progress: &progress,
            counts: Counts::default(),
            done: RefCell::default(),
        };
        let mut summary = Summary {
            job_id,
            is_over: job.as_ref().is_none_or(few_valid::is_over),
            status: job.as_ref().map(|job| job.status.clone()),
            leftovers: plan.leftovers(&there),
            strangers: plan.others.clone(),
            ..Summary::default()
        };
        let brought = bring_all(plan, &transfer, usize::from(parallel), &mut summary).await;
        progress.end();
        brought.with_context(|| {
            format!("not all of job {job_id} came; the same command goes on from here")
        })?;
        if summary.is_over {
            summary.note_missing(&directory)?;
        }
        summary.files_fetched = transfer.counts.files_fetched.get();
        summary.files_kept = transfer.counts.files_kept.get();
        summary.bytes_fetched = transfer.counts.bytes_fetched.get();
        summary.directory = directory;
        self.say(&serde_json::to_value(&summary)?, &summary.line());
        summary.warnings(job.as_ref()).iter().for_each(|line| eprintln!("{line}"));
        Ok(ExitCode::from(u8::from(!summary.failed.is_empty())))
    }
}

/// What is to be here.
struct Plan {
    pairs: Vec<Pair>,
    /// In the order in which they are written.
    documents: Vec<(&'static str, ListedBlob)>,
    others: Vec<String>,
}

/// What became of a chunk.
enum Brought {
    Here(u64),
    Unfinished(i32),
    Failed(String),
}

impl Plan {
    fn new(mut listing: Listing) -> Self {
        let pairs = listing.pairs().collect();
        let document = |name: &&'static str| Some((*name, listing.documents.remove(*name)?));
        let documents = DOCUMENTS.iter().filter_map(document).collect();
        Self { pairs, documents, others: listing.others }
    }

    fn files(&self) -> impl Iterator<Item = (Member, &ListedBlob)> {
        let of_pairs = self.pairs.iter().flat_map(|pair| {
            let Pair { index, shard, manifest } = pair;
            [(Member::Shard(*index), shard), (Member::Manifest(*index), manifest)]
        });
        of_pairs.chain(self.documents.iter().map(|(name, blob)| (Member::Document(name), blob)))
    }

    /// Takes away what earlier fetches began of versions that are not there any more.
    fn remove_other_parts(&self, directory: &Path, parts: &[PathBuf]) -> anyhow::Result<()> {
        let path =
            |(member, blob)| part::path(&transfer::place(directory, member), &Told::of(blob));
        let wanted: BTreeSet<PathBuf> = self.files().map(path).collect();
        for part in parts.iter().filter(|part| !wanted.contains(*part)) {
            fs::remove_file(part).with_context(|| format!("removing {}", part.display()))?;
        }
        Ok(())
    }

    /// What is there and is not of the job.
    fn leftovers(&self, there: &[Member]) -> Vec<String> {
        let wanted: BTreeSet<Member> = self.files().map(|(member, _)| member).collect();
        let others = there.iter().filter(|member| !wanted.contains(member));
        others.map(|member| member.name()).collect()
    }

    /// Brings the chunks, then the documents; [`Interrupted::Changed`] when one of these was written anew.
    async fn bring(
        &self,
        transfer: &Transfer<'_>,
        parallel: usize,
        summary: &mut Summary,
    ) -> Result<(), Interrupted> {
        (summary.chunks, summary.bytes) = (0, 0);
        (summary.unfinished, summary.failed) = (Vec::new(), Vec::new());
        let pairs =
            stream::iter(&self.pairs).map(|pair| bring_pair(transfer, summary.job_id, pair));
        let brought: Vec<Brought> = pairs.buffer_unordered(parallel).try_collect().await?;
        for chunk in brought {
            match chunk {
                Brought::Here(bytes) => {
                    summary.chunks += 1;
                    summary.bytes += bytes;
                }
                Brought::Unfinished(index) => summary.unfinished.push(index),
                Brought::Failed(why) => summary.failed.push(why),
            }
        }
        // After the shards that they name; the last one says that the others are there.
        for (name, blob) in &self.documents {
            match transfer.bring(Member::Document(name), blob).await {
                Ok(()) => summary.bytes += blob.bytes,
                Err(Failed::Interrupted(error)) => return Err(error),
                Err(error @ Failed::Damaged) => summary.failed.push(format!("{name}: {error}")),
            }
        }
        Ok(())
    }
}

/// Brings everything. A job that ran on and ended meanwhile has other documents, and perhaps shards: what
/// it has now comes then.
async fn bring_all(
    mut plan: Plan,
    transfer: &Transfer<'_>,
    parallel: usize,
    summary: &mut Summary,
) -> Result<(), Interrupted> {
    let mut rounds = 1;
    loop {
        match plan.bring(transfer, parallel, summary).await {
            Err(Interrupted::Changed) if rounds < ROUNDS => rounds += 1,
            done => return done,
        }
        plan = Plan::new(Listing::read(transfer.storage, summary.job_id, "").await?);
    }
}

/// Brings shard and manifest of a chunk, of one claim.
async fn bring_pair(
    transfer: &Transfer<'_>,
    job_id: i64,
    pair: &Pair,
) -> Result<Brought, Interrupted> {
    let (index, mut pair) = (pair.index, pair.clone());
    for _ in 0..ROUNDS {
        let both = [(Member::Shard(index), &pair.shard), (Member::Manifest(index), &pair.manifest)];
        match bring_both(transfer, both).await {
            Ok(()) => return Ok(Brought::Here(pair.shard.bytes + pair.manifest.bytes)),
            Err((_, Failed::Interrupted(Interrupted::Changed))) => {}
            Err((_, Failed::Interrupted(error))) => return Err(error),
            Err((member, error @ Failed::Damaged)) => {
                return Ok(Brought::Failed(format!("{}: {error}", member.name())));
            }
        }
        // It ran again meanwhile: what it has now comes instead.
        let shard = Member::Shard(index).name();
        let prefix = shard.trim_end_matches("tar");
        let Some(now) = Listing::read(transfer.storage, job_id, prefix).await?.pair(index) else {
            break;
        };
        pair = now;
    }
    Ok(Brought::Unfinished(index))
}

async fn bring_both(
    transfer: &Transfer<'_>,
    both: [(Member, &ListedBlob); 2],
) -> Result<(), (Member, Failed)> {
    for (member, blob) in both {
        transfer.bring(member, blob).await.map_err(|error| (member, error))?;
    }
    Ok(())
}

impl Summary {
    /// Looks whether everything came that `dataset.json` lists.
    fn note_missing(&mut self, directory: &Path) -> anyhow::Result<()> {
        #[derive(Deserialize)]
        struct Dataset {
            shards: Vec<Shard>,
        }
        #[derive(Deserialize)]
        struct Shard {
            file: String,
            bytes: u64,
        }
        let Ok(file) = File::open(directory.join("dataset.json")) else {
            self.failed.push("dataset.json: it is not in storage, although the job is over".into());
            return Ok(());
        };
        let dataset: Dataset = serde_json::from_reader(BufReader::new(file))
            .context("reading dataset.json, which came as it is")?;
        for shard in dataset.shards {
            let is_here = Member::of(&shard.file).is_some_and(|member| {
                transfer::has_length(&transfer::place(directory, member), shard.bytes)
            });
            if !is_here {
                self.failed.push(format!(
                    "{}: dataset.json lists it with {} bytes, and storage has no such shard with its \
                     manifest",
                    shard.file, shard.bytes
                ));
            }
        }
        Ok(())
    }

    fn line(&self) -> String {
        format!(
            "job {}: {} chunks, {}, in {}; {} files came ({}), {} were there",
            self.job_id,
            self.chunks,
            HumanBytes(self.bytes),
            self.directory.display(),
            self.files_fetched,
            HumanBytes(self.bytes_fetched),
            self.files_kept
        )
    }

    /// What a person should know besides.
    fn warnings(&self, job: Option<&JobProgress>) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(job) = job.filter(|_| !self.is_over) {
            lines.push(format!(
                "note: the job is {}, and {} of {} chunks are here; the same command brings the rest when \
                 it is over",
                job.status, self.chunks, job.total_chunks
            ));
        }
        if !self.leftovers.is_empty() {
            lines.push(format!(
                "warning: these files are none of what the job has now, and stay: {}",
                shown(&self.leftovers)
            ));
        }
        if !self.strangers.is_empty() {
            lines.push(format!(
                "warning: storage has blobs in the job's folder that are none of it, which did not come: {}",
                shown(&self.strangers)
            ));
        }
        lines.extend(self.failed.iter().take(SHOWN).map(|why| format!("error: {why}")));
        if self.failed.len() > SHOWN {
            lines.push(format!("error: ... and {} more", self.failed.len() - SHOWN));
        }
        if !self.failed.is_empty() {
            lines.push(format!(
                "`chunkctl verify --job-id {0}` says what is wrong in storage; `chunkctl control retry --job-id {0} \
                 --chunk-index I --again` makes a chunk again",
                self.job_id
            ));
        }
        lines
    }
}

/// The first names of a list. Those of others may hold anything.
fn shown(names: &[String]) -> String {
    let mut text: Vec<String> =
        names.iter().take(SHOWN).map(|name| name.escape_debug().to_string()).collect();
    if names.len() > SHOWN {
        text.push(format!("... ({} in all)", names.len()));
    }
    text.join(", ")
}
