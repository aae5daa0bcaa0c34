//! The end of the pipeline: verdicts, duplicates, the shard.

use super::{Arrived, Error, Inspected, Outcome, Work, dedupe::Kept, shard, upload::Upload};
use crate::{
    chunk::{
        ChunkMessage, DedupeScope, Item, ItemReport, Reason, Rejection, Status, Totals, Traffic,
        hex,
    },
    redact::bare_url,
    state::{Database, Lease, until_answered},
};
use std::{collections::HashMap, future::pending, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

/// Hashes looked up in one statement. Images of slow origins arrive one at a time: a statement for
/// each would be hundreds for a chunk.
const BATCH: usize = 32;
/// How long a batch that is not full waits.
const BATCH_WAIT: Duration = Duration::from_secs(2);
/// How long it waits when a body in it is on disk: other downloads may be waiting for that space.
const DISK_WAIT: Duration = Duration::from_millis(100);

/// Takes what arrives, gives each URL its verdict and writes samples.
#[derive(Debug)]
pub(super) struct Collector<'a> {
    database: &'a Database,
    lease: &'a Lease,
    message: &'a ChunkMessage,
    items: &'a [Item],
    upload: Upload<'a>,
    keep_query: bool,
    kept: Kept,
    reports: Vec<Option<ItemReport>>,
    n_downloaded: u64,
    n_samples: u64,
    is_cut: bool,
}

impl<'a> Collector<'a> {
    pub(super) fn new(
        database: &'a Database,
        work: &'a Work<'a>,
        upload: Upload<'a>,
        keep_query: bool,
    ) -> Self {
        work.lease.progress().begin(work.items.len());
        Self {
            database,
            lease: work.lease,
            message: work.message,
            items: &work.items,
            upload,
            keep_query,
            kept: Kept::default(),
            reports: vec![None; work.items.len()],
            n_downloaded: 0,
            n_samples: 0,
            is_cut: false,
        }
    }

    /// Collects until every sender is gone.
    pub(super) async fn collect_all(
        &mut self,
        mut receiver: mpsc::Receiver<Arrived>,
    ) -> Result<(), Error> {
        while let Some(first) = receiver.recv().await {
            let batch = match self.message.dedupe.scope {
                DedupeScope::Job => fill_batch(first, &mut receiver).await,
                // Nothing is asked.
                DedupeScope::Chunk => vec![first],
            };
            let known = self.known(&batch).await?;
            for arrived in batch {
                self.collect(arrived, &known).await?;
            }
        }
        Ok(())
    }

    /// Which of the batch's images other completed chunks hold: those of the job, else those of the jobs
    /// that the message names. A picture that this chunk has kept is its own, whoever has it since.
    async fn known(&self, batch: &[Arrived]) -> Result<HashMap<Vec<u8>, String>, Error> {
        let dedupe = &self.message.dedupe;
        let mut hashes: Vec<Vec<u8>> = match dedupe.scope {
            DedupeScope::Job => batch
                .iter()
                .filter_map(|arrived| Some(arrived.result.as_ref().ok()?.sha256.clone()))
                .collect(),
            DedupeScope::Chunk => Vec::new(),
        };
        if hashes.is_empty() {
            return Ok(HashMap::new());
        }
        // The chunk's deadline ends these waits: `run` drops the whole pipeline then.
        let ask = || self.database.known_hashes(self.message.id(), &hashes);
        let mut known = until_answered(pending(), |error| self.lease.waits_for(error), ask).await?;
        hashes.retain(|hash| !known.contains_key(hash) && !self.kept.has(hash));
        if hashes.is_empty() || dedupe.with_jobs.is_empty() {
            return Ok(known);
        }
        let ask = || self.database.hashes_of_other_jobs(&dedupe.with_jobs, &hashes);
        known.extend(until_answered(pending(), |error| self.lease.waits_for(error), ask).await?);
        Ok(known)
    }

    async fn collect(
        &mut self,
        arrived: Arrived,
        known: &HashMap<Vec<u8>, String>,
    ) -> Result<(), Error> {
        let Arrived { idx, downloaded, is_cut, result } = arrived;
        let Some(item) = self.items.get(idx) else { return Ok(()) };
        self.n_downloaded += u64::from(downloaded);
        self.is_cut |= is_cut;
        let mut report = match result {
            Err(refused) => {
                tracing::debug!(idx, reason = %refused.rejection, "image rejected");
                ItemReport {
                    format: refused.format,
                    width: refused.width,
                    height: refused.height,
                    file_size: refused.file_size,
                    ..self.report(idx, item, refused.rejection)
                }
            }
            Ok(image) => self.collect_image(idx, item, image, known).await?,
        };
        report.retry_of = item.retry_of;
        if let Some(entry) = self.reports.get_mut(idx) {
            *entry = Some(report);
            self.lease.progress().item_done();
        }
        Ok(())
    }

    async fn collect_image(
        &mut self,
        idx: usize,
        item: &Item,
        image: Inspected,
        known: &HashMap<Vec<u8>, String>,
    ) -> Result<ItemReport, Error> {
        let key = self.message.id().sample_key(idx);
        let mut report = self.report(idx, item, Reason::ExactDuplicate);
        report.format = Some(image.info.format);
        report.width = Some(image.info.width);
        report.height = Some(image.info.height);
        report.file_size = Some(image.body.len());
        report.sha256 = Some(hex(&image.sha256));
        report.phash = image.info.phash.map(|phash| phash.to_string());
        let first = known.get(&image.sha256).cloned();
        report.duplicate_of = first.or_else(|| self.kept.keep(&image.sha256, &key));
        if report.duplicate_of.is_some() {
            report.meta.clone_from(&item.meta);
        } else {
            report.status = Status::Valid;
            report.reason = None;
            report.violations.clone_from(&image.violations);
            let phash = image.info.phash;
            report.near_duplicate = phash.and_then(|phash| self.kept.compare(phash, &key));
            self.write_sample(&mut report, &key, item, image).await?;
            report.key = Some(key);
        }
        Ok(report)
    }

    async fn write_sample(
        &mut self,
        report: &mut ItemReport,
        key: &str,
        item: &Item,
        image: Inspected,
    ) -> Result<(), Error> {
        let len = image.body.len();
        let extension = shard::extension(self.message.output.extension, &image.info);
        self.upload.write(&shard::header(&format!("{key}.{extension}"), len)?).await?;
        report.offset = Some(self.upload.position());
        report.length = Some(len);
        let mut pieces = image.body.into_pieces();
        while let Some(piece) = pieces.next().await? {
            self.upload.write(&piece).await?;
        }
        drop(pieces);
        self.upload.write(shard::padding(len)).await?;
        let sha256 = report.sha256.as_deref().unwrap_or_default();
        let sidecar = shard::sidecar(item, &report.url, &image.info, len, sha256);
        self.write_member(&format!("{key}.json"), &sidecar).await?;
        for (extension, bytes) in shard::others(&self.message.output, item) {
            self.write_member(&format!("{key}.{extension}"), &bytes).await?;
        }
        self.n_samples += 1;
        Ok(())
    }

    async fn write_member(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.upload.write(&shard::header(name, len)?).await?;
        self.upload.write(bytes).await?;
        Ok(self.upload.write(shard::padding(len)).await?)
    }

    /// Ends the shard and adds up; the downloads know the rest of the traffic.
    pub(super) async fn finish(mut self, traffic: Traffic) -> Result<Outcome, Error> {
        self.upload.write(&shard::END).await?;
        let staged = self.upload.finish(self.n_samples).await?;
        let items: Vec<ItemReport> = self.reports.into_iter().flatten().collect();
        let bytes_out = staged.shard.bytes;
        let traffic = Traffic { downloaded: self.n_downloaded, bytes_out, ..traffic };
        let totals = Totals::of(&items, &traffic);
        Ok(Outcome { staged, items, totals, is_cut: self.is_cut })
    }

    /// What the manifest says of an item that is not in the shard.
    fn report(&self, idx: usize, item: &Item, why: impl Into<Rejection>) -> ItemReport {
        let (url, label) = (self.shown_url(item), item.label.clone());
        let (caption, class) = (item.caption.clone(), item.class);
        ItemReport { caption, class, ..ItemReport::rejected(idx, url, label, why) }
    }

    /// The URL as manifests and sidecars may show it.
    fn shown_url(&self, item: &Item) -> String {
        if self.keep_query { item.url.clone() } else { bare_url(&item.url) }
    }
}

impl Arrived {
    fn is_on_disk(&self) -> bool {
        self.result.as_ref().is_ok_and(|image| image.body.is_on_disk())
    }
}

async fn fill_batch(first: Arrived, receiver: &mut mpsc::Receiver<Arrived>) -> Vec<Arrived> {
    let since = Instant::now();
    let mut wait = BATCH_WAIT;
    let mut batch = vec![first];
    while batch.len() < BATCH {
        if batch.last().is_some_and(Arrived::is_on_disk) {
            wait = DISK_WAIT;
        }
        match timeout_at(since + wait, receiver.recv()).await {
            Ok(Some(arrived)) => batch.push(arrived),
            Ok(None) | Err(_) => break,
        }
    }
    batch
}
