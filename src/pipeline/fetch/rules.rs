//! What the downloads of a chunk keep to.

use crate::{blocklist::Blocklist, pipeline::filters::Filters};
use std::sync::Arc;

/// What a chunk's downloads keep to.
#[derive(Debug)]
pub(in super::super) struct Rules {
    /// Of a body.
    pub max_bytes: u64,
    /// Of the header of a picture.
    pub filters: Option<Arc<Filters>>,
    /// Of hosts, and of whole bodies.
    pub blocked: Arc<Blocklist>,
}
