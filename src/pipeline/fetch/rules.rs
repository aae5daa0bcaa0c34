//! What the downloads of a chunk keep to.

use crate::{
    blocklist::Blocklist, chunk::ChunkMessage, pipeline::filters::Filters, settings::Settings,
};
use std::sync::Arc;

/// What a chunk's downloads keep to.
#[derive(Debug)]
pub(in super::super) struct Rules {
    /// Of a body.
    pub max_bytes: u64,
    /// Of the header of a picture.
    pub filters: Option<Arc<Filters>>,
    /// Whether robots.txt is asked before any URL of an origin.
    pub respects_robots: bool,
    /// Of hosts, and of whole bodies.
    pub blocked: Arc<Blocklist>,
}

impl Rules {
    /// What a message, the settings and an operator's lists say together.
    pub(in super::super) fn of(
        message: &ChunkMessage,
        settings: &Settings,
        blocked: Arc<Blocklist>,
    ) -> Self {
        Self {
            max_bytes: message.validation.max_bytes(settings.limits.max_image_bytes),
            filters: Filters::of(&message.validation),
            respects_robots: message.respects_robots(settings.download.respect_robots),
            blocked,
        }
    }
}
