//! How a message asks for its shard to be written.

use serde::{Deserialize, Serialize};
use std::ops::Not;

/// The extension of the image members of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputExtension {
    /// `jpg` for every member: loaders want one extension in a shard.
    #[default]
    Jpg,
    /// The usual extension of the image's true format.
    Original,
}

/// What the `.txt` of each sample holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputText {
    /// The item's caption.
    Caption,
    /// The item's label.
    Label,
}

impl OutputText {
    /// Its word in a message.
    pub fn word(self) -> &'static str {
        match self {
            Self::Caption => "caption",
            Self::Label => "label",
        }
    }
}

/// How the shard is written. What is not asked for is not written out: the hash over a chunk's work is
/// that of a message without it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Output {
    /// Always `job_{job_id}`: two jobs must not share a place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The extension of the image members.
    #[serde(default)]
    pub extension: OutputExtension,
    /// What the `.txt` of each sample holds; none: no sample has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<OutputText>,
    /// Whether each sample has a `.cls`, its class.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub class: bool,
}
