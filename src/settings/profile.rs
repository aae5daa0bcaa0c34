//! The three profiles and the limits that follow from them, in integers.

use super::{MIB, reader::Reader};
use serde::Deserialize;
use std::{fmt, sync::LazyLock};

/// A preset of limits (rows P1-P3); `infra/profiles.json` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// A developer's machine.
    Local,
    /// A plan of Azure with a disk of its own.
    Azure,
    /// Flex Consumption, whose instances have little temp space.
    AzureFunctions,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Azure => "azure",
            Self::AzureFunctions => "azure_functions",
        })
    }
}

impl Profile {
    /// The explicit setting first, then what the platform says (rows S1, S14, X10, X12).
    pub(super) fn read(reader: &mut Reader, on_azure: bool) -> Self {
        let detected = if on_azure { Self::AzureFunctions } else { Self::Local };
        reader.profile(detected)
    }

    /// Chunks at once, of one instance.
    pub fn max_chunks(self) -> u64 {
        self.row().max_chunks
    }

    /// Temp space we may use, in MB.
    pub fn temp_mb(self) -> u64 {
        self.row().temp_mb
    }

    /// Temp space the platform gives, in MB.
    pub fn quota_mb(self) -> u64 {
        self.row().quota_mb
    }

    fn row(self) -> &'static Row {
        match self {
            Self::Local => &TABLE.local,
            Self::Azure => &TABLE.azure,
            Self::AzureFunctions => &TABLE.azure_functions,
        }
    }
}

/// What a profile stands for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    max_chunks: u64,
    temp_mb: u64,
    quota_mb: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    local: Row,
    azure: Row,
    azure_functions: Row,
}

/// The file that the deployment reads, too: thresholds of alerts and limits are one table. If it could
/// not be read, every limit would be 0, and settings with such limits are refused.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../infra/profiles.json")).unwrap_or_default()
});

/// How many chunks may run here and how many bytes they may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// S2: chunks at once, of one instance.
    pub max_concurrent_chunks: u32,
    /// S3, in MB as configured.
    pub temp_storage_mb: u64,
    /// S4: images of a chunk.
    pub chunk_size_images: u32,
    /// S5.
    pub estimated_image_bytes: u64,
    /// The largest image that is kept.
    pub max_image_bytes: u64,
    /// Memory for bodies and blocks of the whole process.
    pub max_buffer_bytes: u64,
}

/// The largest block that is staged: fewer calls do not pay beyond it.
const MAX_BLOCK_BYTES: u64 = 8 * MIB;

impl Limits {
    pub(super) fn read(reader: &mut Reader, profile: Profile) -> Self {
        let limits = Self {
            max_concurrent_chunks: reader.profiled(
                "MAX_CONCURRENT_CHUNKS",
                profile.max_chunks(),
                1,
                100,
            ),
            temp_storage_mb: reader.profiled(
                "MAX_TEMP_STORAGE_MB",
                profile.temp_mb(),
                100,
                100_000,
            ),
            chunk_size_images: reader.number("CHUNK_SIZE_IMAGES", 500, 1, 10_000),
            estimated_image_bytes: reader.megabytes(
                "ESTIMATED_IMAGE_SIZE_MB",
                "0.5",
                1_000,
                10_000_000,
            ),
            max_image_bytes: reader.megabytes("MAX_IMAGE_SIZE_MB", "10", 10_000, 1_000_000_000),
            max_buffer_bytes: reader.number::<u64>("MAX_BUFFER_MB", 96, 16, 100_000) * MIB,
        };
        if limits.streaming_max_chunks() == 0 {
            let shown = reader.shown("PIXCRAWLER_MAX_IMAGE_SIZE_MB");
            reader.violation(
                "PIXCRAWLER_MAX_IMAGE_SIZE_MB",
                &shown,
                format!(
                    "no chunk could ever start: an image may need more than the {} MB that 80 % \
                     of PIXCRAWLER_MAX_TEMP_STORAGE_MB leave; lower the one or raise the other",
                    limits.temp_budget_bytes() / MIB
                ),
            );
        }
        limits
    }

    /// Temp bytes the process may hold: one headroom everywhere, 80 % (X6).
    pub fn temp_budget_bytes(&self) -> u64 {
        self.temp_storage_mb * MIB * 8 / 10
    }

    /// S8: bytes of a whole chunk at its estimated size.
    pub fn materialized_chunk_bytes(&self) -> u64 {
        u64::from(self.chunk_size_images) * self.estimated_image_bytes
    }

    /// S6: chunks whose images all lie on disk at once; only reported (X1, X15).
    pub fn max_chunks_by_storage(&self) -> u64 {
        self.temp_storage_mb * MIB / self.estimated_image_bytes / u64::from(self.chunk_size_images)
    }

    /// S7, reported: what the guide's formula allows.
    pub fn materialized_max_chunks(&self) -> u64 {
        self.max_chunks_by_storage().min(u64::from(self.max_concurrent_chunks))
    }

    /// S7, the instance limit: chunks that stream, each holding at least its largest image.
    pub fn streaming_max_chunks(&self) -> u64 {
        (self.temp_budget_bytes() / self.max_image_bytes).min(u64::from(self.max_concurrent_chunks))
    }

    /// S8, streaming: temp bytes that one chunk may hold.
    pub fn chunk_temp_share_bytes(&self) -> u64 {
        self.temp_budget_bytes() / self.streaming_max_chunks().max(1)
    }

    /// Bytes of one block: with a buffer for each chunk, at most half of the memory is blocks.
    pub(crate) fn block_bytes(&self) -> u64 {
        MAX_BLOCK_BYTES.min(self.max_buffer_bytes / (2 * self.streaming_max_chunks().max(1)))
    }

    /// Memory left for bodies when every chunk has its block buffer.
    pub(crate) fn body_buffer_bytes(&self) -> u64 {
        self.max_buffer_bytes - self.block_bytes() * self.streaming_max_chunks()
    }
}
