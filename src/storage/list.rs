//! Lists of any length, read a piece at a time, and only when they have changed.

use super::{Error, Storage, call};
use azure_core::http::{Etag, StatusCode};
use azure_storage_blob::models::BlobClientDownloadOptions;
use futures_util::TryStreamExt as _;
use std::{num::NonZero, time::Duration};

/// A list of 128 MB comes within it.
const LIST_DEADLINE: Duration = Duration::from_secs(120);

impl Storage {
    /// Hands the pieces of a blob of the source container on, as they come; answers its version, or none
    /// when it is still the one that was `seen`, of which no piece comes.
    ///
    /// # Errors
    ///
    /// As every call, also in the middle: what was handed on is void then. [`Error::TooLarge`] above `limit`
    /// bytes.
    pub(crate) async fn read_list(
        &self,
        name: &str,
        seen: Option<Etag>,
        limit: usize,
        mut each: impl FnMut(&[u8]),
    ) -> Result<Option<Etag>, Error> {
        let doing = "read list";
        let blob = self.blob(&self.source_container, name)?;
        let read = call(doing, LIST_DEADLINE, async {
            let options = BlobClientDownloadOptions {
                if_none_match: seen,
                // One request: the SDK would fan out otherwise.
                parallel: NonZero::new(1),
                partition_size: NonZero::new(limit),
                ..Default::default()
            };
            let mut answer = match blob.download(Some(options)).await {
                Ok(answer) => answer,
                Err(error) if error.http_status() == Some(StatusCode::NotModified) => {
                    return Ok(Some(None));
                }
                Err(error) => return Err(error),
            };
            let etag = answer.properties.etag.clone().unwrap_or_else(|| Etag::from(""));
            let mut len = 0;
            while let Some(piece) = answer.body.try_next().await? {
                len += piece.len();
                if len > limit {
                    return Ok(None);
                }
                each(&piece);
            }
            Ok(Some(Some(etag)))
        });
        read.await?.ok_or(Error::TooLarge { doing })
    }
}
