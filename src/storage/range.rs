//! Parts of large blobs, in pieces as they come.

use super::{CALL_DEADLINE, Error, Storage, call};
use azure_core::http::{AsyncResponseBody, Etag};
use azure_storage_blob::models::BlobClientDownloadOptions;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use std::{fmt, num::NonZero, ops::Range};

/// The pieces of a part of a blob.
pub struct RangeReader(AsyncResponseBody);

impl fmt::Debug for RangeReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RangeReader")
    }
}

impl RangeReader {
    /// The next piece; none: this was all. However slow the line is, a piece comes within 30 s.
    ///
    /// # Errors
    ///
    /// [`Error::Away`] when the connection ended or brings nothing; the part can be asked for again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        call("read blob", CALL_DEADLINE, self.0.try_next()).await
    }
}

impl Storage {
    /// Reads a part of a blob of the dataset container, of the version that was seen. The range must not
    /// be empty.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] when another version is there, [`Error::Missing`] when none is.
    pub async fn read_range(
        &self,
        name: &str,
        seen: &Etag,
        range: Range<u64>,
    ) -> Result<RangeReader, Error> {
        let blob = self.blob(&self.dataset_container, name)?;
        // One request: the SDK would fan out otherwise.
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let options = BlobClientDownloadOptions {
            if_match: Some(seen.clone()),
            parallel: NonZero::new(1),
            partition_size: NonZero::new(length),
            range: Some(range.into()),
            ..Default::default()
        };
        let answer = call("read blob", CALL_DEADLINE, blob.download(Some(options))).await;
        answer.map(|answer| RangeReader(answer.body)).map_err(|error| error.about(name))
    }
}
