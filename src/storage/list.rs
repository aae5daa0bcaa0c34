//! Lists of any length, read a piece at a time, and only when they have changed.

use super::{Error, Storage, call};
use azure_core::http::Etag;
use azure_storage_blob::models::{
    BlobClientDownloadOptions, BlobClientGetPropertiesResultHeaders as _,
};
use futures_util::TryStreamExt as _;
use std::{num::NonZero, time::Duration};

/// A list of 128 MB comes within it.
const LIST_DEADLINE: Duration = Duration::from_secs(120);

/// What became of a list that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ListRead {
    /// It is still the version that was seen.
    Unchanged,
    /// All pieces of this version were handed on.
    Whole(Etag),
    /// This version is too long: what was handed on of it, if anything, is void.
    TooLarge(Etag),
}

impl Storage {
    /// Hands the pieces of a blob of the source container on, as they come, unless it is still the version
    /// that was `seen`. Its properties are asked for first: nothing is downloaded of one above `limit` bytes.
    ///
    /// # Errors
    ///
    /// As every call, also in the middle: what was handed on is void then.
    pub(crate) async fn read_list(
        &self,
        name: &str,
        seen: Option<&Etag>,
        limit: usize,
        mut each: impl FnMut(&[u8]),
    ) -> Result<ListRead, Error> {
        let blob = self.blob(&self.source_container, name)?;
        let read = call("read list", LIST_DEADLINE, async {
            let there = blob.get_properties(None).await?;
            let etag = there.etag()?;
            if etag.is_some() && etag.as_ref() == seen {
                return Ok(ListRead::Unchanged);
            }
            let is_too_long =
                |bytes: u64| usize::try_from(bytes).map_or(true, |bytes| bytes > limit);
            if there.content_length()?.is_some_and(is_too_long) {
                return Ok(ListRead::TooLarge(etag.unwrap_or_else(|| Etag::from(""))));
            }
            let options = BlobClientDownloadOptions {
                // One request: the SDK would fan out otherwise.
                parallel: NonZero::new(1),
                partition_size: NonZero::new(limit),
                ..Default::default()
            };
            let mut answer = blob.download(Some(options)).await?;
            // Not the one above: it may have changed meanwhile, and grown.
            let etag = answer.properties.etag.clone().unwrap_or_else(|| Etag::from(""));
            let mut len = 0;
            while let Some(piece) = answer.body.try_next().await? {
                len += piece.len();
                if len > limit {
                    return Ok(ListRead::TooLarge(etag));
                }
                each(&piece);
            }
            Ok(ListRead::Whole(etag))
        });
        read.await.map_err(|error| error.about(name))
    }
}
