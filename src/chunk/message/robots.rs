//! What robots.txt is to a chunk.

use serde::{Deserialize, Serialize};

/// What robots.txt is to a chunk; wins over the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RobotsTxt {
    /// A URL is only asked for where the robots.txt of its origin allows it.
    Respect,
    /// Nobody asks for it.
    Ignore,
}

impl RobotsTxt {
    /// The word of messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Respect => "respect",
            Self::Ignore => "ignore",
        }
    }
}
