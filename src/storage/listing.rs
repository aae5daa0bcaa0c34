//! Listings of the dataset container, a page at a time.

use super::{BlobHead, CALL_DEADLINE, Error, Storage, call};
use azure_core::http::Etag;
use azure_storage_blob::models::{
    BlobContainerClientListBlobsOptions, BlobItem, ListBlobsIncludeItem,
};
use futures_util::TryStreamExt as _;

/// A blob as a listing shows it.
#[derive(Debug, Clone)]
pub struct ListedBlob {
    /// Its name in the container.
    pub name: String,
    /// Of its bytes, where the service made one: of a blob that came in one request.
    pub md5: Option<Vec<u8>>,
    /// Version, length and metadata.
    pub head: BlobHead,
}

impl ListedBlob {
    fn new(item: BlobItem) -> Option<Self> {
        let properties = item.properties?;
        let metadata = item.metadata.and_then(|metadata| metadata.values).unwrap_or_default();
        let metadata = metadata.into_iter().map(|(k, v)| (k.to_lowercase(), v)).collect();
        let etag = properties.etag.unwrap_or_else(|| Etag::from(""));
        let bytes = properties.content_length?;
        let head = BlobHead { etag, bytes, metadata, blocked: None };
        Some(Self { name: item.name?, md5: properties.content_md5, head })
    }
}

/// Blobs in one answer of a listing: the most that the service gives.
const PAGE_LENGTH: i32 = 5000;

impl Storage {
    /// Lists the blobs of the dataset container whose names begin with a prefix, a page at a time.
    pub async fn list_dataset(
        &self,
        prefix: String,
        mut each: impl FnMut(ListedBlob),
    ) -> Result<(), Error> {
        let options = BlobContainerClientListBlobsOptions {
            prefix: Some(prefix),
            include: Some(vec![ListBlobsIncludeItem::Metadata]),
            maxresults: Some(PAGE_LENGTH),
            ..Default::default()
        };
        let failed = |error| super::classify("list blobs", &error);
        let container = self.container(&self.dataset_container)?;
        let mut pages = container.list_blobs(Some(options)).map_err(failed)?.into_pages();
        while let Some(page) = call("list blobs", CALL_DEADLINE, pages.try_next()).await? {
            let page = page.into_model().map_err(failed)?;
            page.blob_items.into_iter().filter_map(ListedBlob::new).for_each(&mut each);
        }
        Ok(())
    }

    /// Whether the dataset container has a blob whose name begins with a prefix.
    ///
    /// # Errors
    ///
    /// When storage is away or refuses.
    pub async fn has_dataset(&self, prefix: String) -> Result<bool, Error> {
        let options = BlobContainerClientListBlobsOptions {
            prefix: Some(prefix),
            maxresults: Some(1),
            ..Default::default()
        };
        let failed = |error| super::classify("list blobs", &error);
        let container = self.container(&self.dataset_container)?;
        let mut pages = container.list_blobs(Some(options)).map_err(failed)?.into_pages();
        // A page may be empty and not the last one.
        while let Some(page) = call("list blobs", CALL_DEADLINE, pages.try_next()).await? {
            if !page.into_model().map_err(failed)?.blob_items.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
