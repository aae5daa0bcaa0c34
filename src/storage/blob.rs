//! Blobs: sources are read, shards are staged and committed, small blobs are put.

use super::{CALL_DEADLINE, Error, PROBE_DEADLINE, Storage, call};
use azure_core::http::{Body, Etag};
use azure_storage_blob::{
    BlobClient, BlobContainerClient,
    models::{
        BlobClientDeleteOptions, BlobClientDownloadOptions,
        BlobClientGetPropertiesResultHeaders as _, BlobClientSetMetadataOptions,
        BlockBlobClientCommitBlockListOptions, BlockBlobClientUploadOptions, BlockLookupList,
        LeaseStatus,
    },
};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use std::{collections::HashMap, num::NonZero, time::Duration};

/// When a write takes effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Only if there is no such blob.
    Absent,
    /// Only if the blob is still the one seen.
    Unchanged(Etag),
}

impl Condition {
    fn if_none_match(&self) -> Option<Etag> {
        matches!(self, Self::Absent).then(|| Etag::from("*"))
    }

    fn if_match(&self) -> Option<Etag> {
        match self {
            Self::Unchanged(etag) => Some(etag.clone()),
            Self::Absent => None,
        }
    }
}

/// What is known of a blob without reading it.
#[derive(Debug, Clone)]
pub struct BlobHead {
    /// Which version.
    pub etag: Etag,
    /// Its length.
    pub bytes: u64,
    /// Keys in lower case.
    pub metadata: HashMap<String, String>,
    /// What keeps it from being overwritten; none: nothing that its properties show.
    pub blocked: Option<&'static str>,
}

/// The largest list of URLs that is read: 10000 items of 3 kB.
pub const SOURCE_LIMIT: usize = 32 * 1024 * 1024;
/// The largest manifest that is read, and that is written: what it has of its list, and 3 kB for each
/// item.
pub(crate) const DOCUMENT_LIMIT: usize = 64 * 1024 * 1024;

/// The blob that probes ask for; it never exists.
const PROBE: &str = "probe";

impl Storage {
    pub(super) fn blob(&self, container: &str, name: &str) -> Result<BlobClient, Error> {
        let url = self.url(&self.endpoints.blob, &format!("{container}/{name}"));
        let options = azure_storage_blob::BlobClientOptions {
            client_options: self.client_options(),
            ..Default::default()
        };
        BlobClient::new(url, self.credential.clone(), Some(options))
            .map_err(|error| super::classify("blob client", &error))
    }

    pub(super) fn container(&self, container: &str) -> Result<BlobContainerClient, Error> {
        let url = self.url(&self.endpoints.blob, container);
        let options = azure_storage_blob::BlobContainerClientOptions {
            client_options: self.client_options(),
            ..Default::default()
        };
        BlobContainerClient::new(url, self.credential.clone(), Some(options))
            .map_err(|error| super::classify("container client", &error))
    }

    pub(super) async fn create_container(&self, container: &str) -> Result<(), Error> {
        let client = self.container(container)?;
        match call("create container", CALL_DEADLINE, client.create(None)).await {
            Ok(_) | Err(Error::Conflict { .. } | Error::Refused { .. }) => Ok(()),
            // ContainerBeingDeleted: it can be made again soon.
            Err(error) => Err(error),
        }
    }

    /// Reads a list of URLs, in pieces as they came.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when there is no such blob.
    pub(crate) async fn read_source(&self, name: &str) -> Result<Vec<Bytes>, Error> {
        Ok(self.read_pieces("read source", &self.source_container, name, SOURCE_LIMIT).await?.1)
    }

    /// Writes a list of URLs where there is none; the same list may be there already.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] when another one is there: what may be registered is never overwritten.
    pub async fn create_source(&self, name: &str, bytes: Vec<u8>) -> Result<(), Error> {
        let (doing, container) = ("write source", &self.source_container);
        let bytes = Bytes::from(bytes);
        let put = self.put(doing, container, name, bytes.clone(), None, &Condition::Absent);
        let done = put.await;
        if !matches!(done, Err(Error::Conflict { .. })) {
            return done;
        }
        let (_, there) = self.read(doing, container, name, SOURCE_LIMIT).await?;
        if there == bytes {
            return Ok(());
        }
        let cause = "another list has this name, and no list is overwritten".to_owned();
        Err(Error::Conflict { doing, cause })
    }

    /// Reads a blob of the dataset container with its version; none when there is none.
    pub(crate) async fn read_dataset(&self, name: &str) -> Result<Option<(Etag, Vec<u8>)>, Error> {
        match self.read("read blob", &self.dataset_container, name, DOCUMENT_LIMIT).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn read(
        &self,
        doing: &'static str,
        container: &str,
        name: &str,
        limit: usize,
    ) -> Result<(Etag, Vec<u8>), Error> {
        let (etag, pieces) = self.read_pieces(doing, container, name, limit).await?;
        Ok((etag, pieces.concat()))
    }

    async fn read_pieces(
        &self,
        doing: &'static str,
        container: &str,
        name: &str,
        limit: usize,
    ) -> Result<(Etag, Vec<Bytes>), Error> {
        let blob = self.blob(container, name)?;
        let read = call(doing, CALL_DEADLINE, async {
            // One request: the SDK would fan out otherwise.
            let options = BlobClientDownloadOptions {
                parallel: NonZero::new(1),
                partition_size: NonZero::new(limit),
                ..Default::default()
            };
            let mut answer = blob.download(Some(options)).await?;
            let etag = answer.properties.etag.clone().unwrap_or_else(|| Etag::from(""));
            let (mut pieces, mut len) = (Vec::new(), 0);
            while let Some(piece) = answer.body.try_next().await? {
                len += piece.len();
                if len > limit {
                    return Ok(None);
                }
                pieces.push(piece);
            }
            Ok(Some((etag, pieces)))
        });
        let read = read.await.map_err(|error| error.about(name))?;
        read.ok_or(Error::TooLarge { doing })
    }

    /// Version, length and metadata of a blob of the dataset container; none when there is none.
    pub async fn head_dataset(&self, name: &str) -> Result<Option<BlobHead>, Error> {
        let blob = self.blob(&self.dataset_container, name)?;
        let head = call("read blob properties", CALL_DEADLINE, async {
            let answer = blob.get_properties(None).await?;
            let metadata = answer.metadata()?;
            let metadata = metadata.into_iter().map(|(k, v)| (k.to_lowercase(), v)).collect();
            let etag = answer.etag()?.unwrap_or_else(|| Etag::from(""));
            let bytes = answer.content_length()?.unwrap_or_default();
            let blocked = if answer.legal_hold()? == Some(true) {
                Some("it has a legal hold")
            } else if answer.lease_status()? == Some(LeaseStatus::Locked) {
                Some("somebody has a lease on it (LeaseIdMissing)")
            } else if answer.access_tier()?.as_deref() == Some("Archive") {
                Some("nothing of it can be read or replaced (BlobArchived)")
            } else {
                None
            };
            Ok(BlobHead { etag, bytes, metadata, blocked })
        });
        match head.await {
            Ok(head) => Ok(Some(head)),
            Err(Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the version of a blob of the dataset container that was seen.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] when another one is there.
    pub(crate) async fn remove_dataset(&self, name: &str, seen: Etag) -> Result<(), Error> {
        let blob = self.blob(&self.dataset_container, name)?;
        let options = BlobClientDeleteOptions { if_match: Some(seen), ..Default::default() };
        match call("remove blob", CALL_DEADLINE, blob.delete(Some(options))).await {
            Ok(_) | Err(Error::Missing { .. }) => Ok(()),
            Err(error) => Err(error.about(name)),
        }
    }

    /// Gives the version of a blob of the dataset container that was seen another name, with the same
    /// bytes and metadata: a write that is conditional on the one that was seen changes nothing any more.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] when another one is there.
    pub(crate) async fn seal_dataset(&self, name: &str, seen: &BlobHead) -> Result<(), Error> {
        let blob = self.blob(&self.dataset_container, name)?;
        let options = BlobClientSetMetadataOptions {
            if_match: Some(seen.etag.clone()),
            ..Default::default()
        };
        let seal = blob.set_metadata(&seen.metadata, Some(options));
        let done = call("seal shard", CALL_DEADLINE, seal).await;
        done.map(drop).map_err(|error| error.about(name))
    }

    /// Whether blobs can be listed, without which no job ends.
    ///
    /// # Errors
    ///
    /// As every call: refused, away, or no container.
    pub async fn probe_listing(&self) -> Result<(), Error> {
        self.list_dataset(PROBE.to_owned(), drop).await
    }

    /// Whether lists can be read and shards written: asks for a list that nobody made, stages a block
    /// that the service removes after a week, and commits it where it cannot be.
    pub async fn probe_blobs(&self) -> Result<(), Error> {
        let source = self.blob(&self.source_container, PROBE)?;
        let read = async { source.get_properties(None).await.map(drop) };
        match call("read list", PROBE_DEADLINE, read).await {
            Ok(()) | Err(Error::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
        let shard = self.blob(&self.dataset_container, PROBE)?.block_blob_client();
        let content = Body::Bytes(Bytes::from_static(b"probe")).into();
        let stage = shard.stage_block(b"probe", 5, content, None);
        call("stage block", PROBE_DEADLINE, stage).await?;
        // Over a version that does not exist: who may commit is told that the condition does not hold.
        let options = BlockBlobClientCommitBlockListOptions {
            if_match: Condition::Unchanged(Etag::from("\"0x0\"")).if_match(),
            ..Default::default()
        };
        let list = BlockLookupList { latest: Some(vec![b"probe".to_vec()]), ..Default::default() };
        let list = list.try_into().map_err(|error| super::classify("commit shard", &error))?;
        match call("commit shard", PROBE_DEADLINE, shard.commit_block_list(list, Some(options)))
            .await
        {
            Ok(_) | Err(Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Stages a block of a shard. Without Content-MD5, which took a third of all CPU time (`cargo xtask
    /// bench cpu_http`): TLS notices damage on the way, and the shard's SHA-256 is in its metadata.
    pub async fn stage(&self, name: &str, block_id: &str, bytes: Bytes) -> Result<(), Error> {
        let blob = self.blob(&self.dataset_container, name)?.block_blob_client();
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let content = Body::Bytes(bytes).into();
        let stage = blob.stage_block(block_id.as_bytes(), len, content, None);
        let staged = call("stage block", CALL_DEADLINE, stage).await;
        staged.map(drop).map_err(|error| error.about(name))
    }

    /// Commits a shard's block list. It is visible from this moment.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] when the condition does not hold or a block is gone.
    pub async fn commit(
        &self,
        name: &str,
        block_ids: &[String],
        metadata: HashMap<String, String>,
        condition: &Condition,
        deadline: Duration,
    ) -> Result<(), Error> {
        let blob = self.blob(&self.dataset_container, name)?.block_blob_client();
        let list = BlockLookupList {
            latest: Some(block_ids.iter().map(|id| id.as_bytes().to_vec()).collect()),
            ..Default::default()
        };
        let options = BlockBlobClientCommitBlockListOptions {
            metadata: Some(metadata),
            blob_content_type: Some("application/x-tar".into()),
            if_none_match: condition.if_none_match(),
            if_match: condition.if_match(),
            ..Default::default()
        };
        let list = list.try_into().map_err(|error| super::classify("commit shard", &error))?;
        let commit = blob.commit_block_list(list, Some(options));
        let done = call("commit shard", deadline, commit).await;
        done.map(drop).map_err(|error| error.about(name))
    }

    /// Writes a JSON blob of the dataset container, with a word about it in its metadata: a listing, or
    /// [`Self::head_dataset`], tells whose it is, however large it is.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] when the condition does not hold.
    pub(crate) async fn put_dataset(
        &self,
        name: &str,
        bytes: Bytes,
        (word, value): (&str, String),
        condition: &Condition,
    ) -> Result<(), Error> {
        let metadata = HashMap::from([(word.to_owned(), value)]);
        let container = &self.dataset_container;
        self.put("write blob", container, name, bytes, Some(metadata), condition).await
    }

    async fn put(
        &self,
        doing: &'static str,
        container: &str,
        name: &str,
        bytes: Bytes,
        metadata: Option<HashMap<String, String>>,
        condition: &Condition,
    ) -> Result<(), Error> {
        let blob = self.blob(container, name)?.block_blob_client();
        let options = BlockBlobClientUploadOptions {
            metadata,
            blob_content_type: Some(content_type(name).into()),
            if_none_match: condition.if_none_match(),
            if_match: condition.if_match(),
            // One request: random block ids of the managed upload would collide with ours.
            partition_size: NonZero::new(u64::MAX),
            ..Default::default()
        };
        let content = Body::Bytes(bytes).into();
        let done = call(doing, CALL_DEADLINE, blob.upload(content, Some(options))).await;
        done.map(drop).map_err(|error| error.about(name))
    }
}

fn content_type(name: &str) -> &'static str {
    if name.ends_with(".md") { "text/markdown; charset=utf-8" } else { "application/json" }
}
