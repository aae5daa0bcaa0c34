//! `chunkctl urls`: what became of each URL of a job, as a list that can be submitted again.
//!
//! A URL that was asked for again is shown once, with its last try. A few chunks are held at a time, and
//! a pair of keys for each URL that was asked for again.

mod cell;
mod row;
pub(crate) mod told;

pub(crate) use cell::restored;

use crate::{Session, chunks::AHEAD, failure::bail_as, words::count};
use anyhow::Context as _;
use chunk_handler::{
    chunk::{Item, ItemReport, Manifest, Reason, Status, UrlKey},
    jobs::{list_of, manifest_of},
    state::JobChunk,
};
use clap::{Args, ValueEnum};
use futures_util::TryStreamExt as _;
use row::{Form, Output, Row};
use std::{
    collections::{HashMap, HashSet},
    future::ready,
    io::{self, BufWriter},
    pin::pin,
    process::ExitCode,
};

/// What stands behind the options.
const HELP: &str = "Examples:
  chunkctl urls --job-id 7 --status failed,invalid --format csv > bad.csv
  chunkctl urls --job-id 7 --reason http_403,opt_out
  chunkctl urls --job-id 7 --json | jq '.urls[].reason'
  chunkctl urls --job-id 7 --transient | chunkctl submit --job-id 7 --extend --urls - --format jsonl

A row has the fields of the manifest, and url, label, caption, class and meta as the list had them: all
of them go back in as they are. in_vain names a later try whose chunk failed or was cancelled. Chunks that are not complete have no manifest yet, and are named on
stderr. In CSV a text that a spreadsheet would run as a formula begins with a ', which a submit takes
away.";

/// Its options.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Urls {
    /// The job, 0 to 2^63 - 1.
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
    job_id: i64,
    /// Only these verdicts.
    #[arg(long, value_enum, value_delimiter = ',')]
    status: Vec<Verdict>,
    /// Only these reasons, by the words of the manifests: timeout, `http_404`, `not_image`, robots and their like.
    #[arg(long, value_delimiter = ',')]
    reason: Vec<Reason>,
    /// Only what may work at another time: timeouts, connections, 429, 5xx and their like.
    #[arg(long)]
    transient: bool,
    /// Only this chunk, 0 to 99999.
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(0..=99_999))]
    chunk_index: Option<i32>,
    /// How it is written; with --json it is one document, whatever this says.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Verdict {
    Valid,
    Duplicate,
    Invalid,
    Failed,
}

impl Verdict {
    fn is(self, status: Status) -> bool {
        match self {
            Self::Valid => status == Status::Valid,
            Self::Duplicate => status == Status::Duplicate,
            Self::Invalid => status == Status::Invalid,
            Self::Failed => status == Status::Failed,
        }
    }
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// An object a line.
    Jsonl,
    /// A table with commas, whose first line names the columns.
    Csv,
    /// A URL a line, and nothing else.
    Txt,
}

impl Urls {
    fn wants(&self, report: &ItemReport) -> bool {
        let is_reason = |reason: Reason| {
            // By word: two reasons share one, and the verdict tells them apart.
            let word = reason.to_string();
            self.reason.iter().any(|wanted| wanted.to_string() == word)
        };
        let is_transient = |reason: Reason| reason.is_transient(report.detail, report.status);
        (self.status.is_empty() || self.status.iter().any(|verdict| verdict.is(report.status)))
            && (self.reason.is_empty() || report.reason.is_some_and(is_reason))
            && (!self.transient || report.reason.is_some_and(is_transient))
    }
}

impl Session {
    pub(crate) async fn urls(&self, urls: Urls) -> anyhow::Result<ExitCode> {
        let form = match self.json {
            true => Form::Document { job_id: urls.job_id },
            false => Form::Rows(urls.format),
        };
        let mut output = Output::new(form, BufWriter::new(io::stdout().lock()));
        match self.write_urls(&urls, &mut output).await {
            // A reader that has seen enough (`| head`) is no failure.
            Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
            done => done.map(|()| ExitCode::SUCCESS),
        }
    }

    async fn write_urls(
        &self,
        urls: &Urls,
        output: &mut Output<impl io::Write>,
    ) -> anyhow::Result<()> {
        let job_id = urls.job_id;
        self.refuse_another_place().await?;
        if self.database.has_ended(job_id).await?.is_none() {
            bail_as!(
                JobUnknown,
                "job {job_id} is unknown; `chunkctl status` shows those that are known"
            );
        }
        let mut said = Said::default();
        let mut tries = self.tries(job_id).await?;
        let is_asked =
            |chunk: &JobChunk| urls.chunk_index.is_none_or(|i| i == chunk.id.chunk_index);
        let behind = urls.chunk_index.map_or(-1, |index| index - 1);
        let chunks = self.chunks_behind(job_id, behind);
        let chunks = chunks.try_take_while(|chunk| ready(Ok(is_asked(chunk))));
        let mut chunks =
            pin!(chunks.map_ok(|chunk| self.read_chunk(urls, chunk)).try_buffered(AHEAD));
        let mut is_there = false;
        while let Some(read) = chunks.try_next().await? {
            is_there = true;
            write_chunk(urls, read, &mut tries, output, &mut said)?;
        }
        if let Some(only) = urls.chunk_index.filter(|_| !is_there) {
            bail_as!(ChunkUnknown, "job {job_id} has no chunk {only}");
        }
        output.end()?;
        said.lines(job_id, output.left_out).iter().for_each(|line| eprintln!("{line}"));
        Ok(())
    }

    async fn read_chunk(&self, urls: &Urls, chunk: JobChunk) -> anyhow::Result<Read> {
        let manifest = manifest_of(&self.storage, &chunk).await?;
        let wants = |manifest: &Manifest| manifest.items.iter().any(|report| urls.wants(report));
        let items = match &manifest {
            Some(manifest) if wants(manifest) => list_of(&self.storage, &chunk).await?,
            _ => None,
        };
        Ok(Read { chunk, manifest, items })
    }

    /// The tries of the URLs that were asked for again.
    async fn tries(&self, job_id: i64) -> anyhow::Result<Tries> {
        let mut tries = Tries::default();
        for (first, last) in self.database.chunks_that_ask_again(job_id).await? {
            let chunks = self.chunks_behind(job_id, first - 1);
            let chunks = chunks.try_take_while(|chunk| ready(Ok(chunk.id.chunk_index <= last)));
            let mut chunks = pin!(chunks.map_ok(|chunk| self.firsts_of(chunk)).try_buffered(AHEAD));
            while let Some((chunk, firsts)) = chunks.try_next().await? {
                firsts.into_iter().zip(0..).for_each(|(first, idx)| tries.add(&chunk, first, idx));
            }
        }
        Ok(tries)
    }

    /// Of each URL of a chunk its first try, if that was in an earlier chunk.
    async fn firsts_of(&self, chunk: JobChunk) -> anyhow::Result<(JobChunk, Vec<Option<UrlKey>>)> {
        if let Some(items) = list_of(&self.storage, &chunk).await? {
            return Ok((chunk, items.into_iter().map(|item| item.retry_of).collect()));
        }
        // What it was to ask for and never got is not shown with it.
        if !chunk.is_complete && !chunk.is_open {
            return Ok((chunk, Vec::new()));
        }
        let manifest = manifest_of(&self.storage, &chunk).await?;
        let manifest = manifest.with_context(|| {
            format!(
                "chunk {} asks again for URLs, and its list is gone: which is not known",
                chunk.id
            )
        })?;
        Ok((chunk, manifest.items.into_iter().map(|item| item.retry_of).collect()))
    }
}

/// What was read of a chunk before its turn.
struct Read {
    chunk: JobChunk,
    manifest: Option<Manifest>,
    /// None: the list is gone, or nothing of the chunk is wanted.
    items: Option<Vec<Item>>,
}

fn write_chunk(
    urls: &Urls,
    Read { chunk, manifest, items }: Read,
    tries: &mut Tries,
    output: &mut Output<impl io::Write>,
    said: &mut Said,
) -> io::Result<()> {
    let Some(manifest) = manifest else {
        said.incomplete.push(chunk.id.chunk_index);
        return Ok(());
    };
    let shard = manifest.shard.blob;
    let mut reports = manifest.items;
    reports.retain(|report| tries.shows(&chunk, report) && urls.wants(report));
    if items.is_none() && !reports.is_empty() {
        said.without_list.push(chunk.id.chunk_index);
    }
    for report in reports {
        let item: Option<&Item> = items.as_ref().and_then(|items| items.get(report.idx));
        let in_vain = tries.in_vain(&chunk, &report);
        output.write(Row::new(chunk.id, &shard, report, item, in_vain))?;
    }
    Ok(())
}

/// The key of a URL of a chunk; none: it has no such place.
fn key(chunk: &JobChunk, idx: usize) -> Option<UrlKey> {
    let chunk_index = u32::try_from(chunk.id.chunk_index).ok()?;
    Some(UrlKey { chunk_index, idx: u32::try_from(idx).ok()? })
}

/// The tries of URLs that were asked for more than once, each by the first.
#[derive(Default)]
struct Tries {
    /// The last that has a verdict, or may get one.
    last: HashMap<UrlKey, UrlKey>,
    /// The one behind it that ended without one.
    in_vain: HashMap<UrlKey, UrlKey>,
    /// Those that were valid already.
    valid: HashSet<UrlKey>,
}

impl Tries {
    /// Adds the next try of a URL.
    fn add(&mut self, chunk: &JobChunk, first: Option<UrlKey>, idx: usize) {
        let Some((first, own)) = first.zip(key(chunk, idx)) else { return };
        if chunk.is_complete || chunk.is_open {
            self.last.insert(first, own);
            self.in_vain.remove(&first);
        } else {
            // It failed or was cancelled: what is known of the URL is what the try before said.
            self.in_vain.insert(first, own);
        }
    }

    /// The try behind all that have a verdict, if it ended without one.
    fn in_vain(&self, chunk: &JobChunk, report: &ItemReport) -> Option<UrlKey> {
        let first = report.retry_of.or_else(|| key(chunk, report.idx))?;
        self.in_vain.get(&first).copied()
    }

    /// Whether a URL is shown with this try: the valid one, else the last. What was valid and was asked for
    /// again all the same is its own duplicate then.
    fn shows(&mut self, chunk: &JobChunk, report: &ItemReport) -> bool {
        let Some(own) = key(chunk, report.idx) else { return true };
        let first = report.retry_of.unwrap_or(own);
        let Some(last) = self.last.get(&first) else { return true };
        if report.status == Status::Valid {
            return self.valid.insert(first);
        }
        *last == own && !self.valid.contains(&first)
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_one = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.downcast_ref().is_some_and(is_one)
}

/// What is to be said beside the rows.
#[derive(Debug, Default)]
struct Said {
    incomplete: Vec<i32>,
    without_list: Vec<i32>,
}

impl Said {
    fn lines(&self, job_id: i64, left_out: usize) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.incomplete.is_empty() {
            lines.push(format!(
                "warning: no manifest yet of {} of job {job_id}: their URLs are not here; `chunkctl \
                 status --job-id {job_id}` says why; one that is gone from storage is made again by \
                 `chunkctl control retry --job-id {job_id} --chunk-index I --again`",
                chunks(&self.incomplete)
            ));
        }
        if !self.without_list.is_empty() {
            lines.push(format!(
                "warning: the lists of {} of job {job_id} are gone: their URLs and labels are as the \
                 manifests show them, and their meta is not here",
                chunks(&self.without_list)
            ));
        }
        if left_out > 0 {
            lines.push(format!(
                "warning: {left_out} URLs have line ends or are none, and are no lines of text; --format \
                 jsonl has them"
            ));
        }
        lines
    }
}

/// Chunks that are named.
const NAMED: usize = 10;

fn chunks(indexes: &[i32]) -> String {
    let named: Vec<String> = indexes.iter().take(NAMED).map(i32::to_string).collect();
    let more = if indexes.len() > NAMED { ", ..." } else { "" };
    format!("{} ({}{more})", count(indexes.len(), "chunk"), named.join(", "))
}
