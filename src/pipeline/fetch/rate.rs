//! The least rate of a body.

use super::TryError;
use crate::chunk::Reason;
use std::time::Duration;

/// Over which the minimum rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// The minimum rate over windows of [`RATE_WINDOW`].
pub(super) struct Rate {
    min_bytes: u64,
    bytes: u64,
    spent: Duration,
}

impl Rate {
    pub(super) fn new(min_bytes_per_second: u64) -> Self {
        Self {
            min_bytes: min_bytes_per_second.saturating_mul(RATE_WINDOW.as_secs()),
            bytes: 0,
            spent: Duration::ZERO,
        }
    }

    pub(super) fn remaining(&self) -> Duration {
        RATE_WINDOW.saturating_sub(self.spent)
    }

    pub(super) fn check(&mut self, bytes: u64, spent: Duration) -> Result<(), TryError> {
        self.bytes += bytes;
        self.spent += spent;
        if self.spent < RATE_WINDOW {
            return Ok(());
        }
        if self.bytes < self.min_bytes {
            // No further try helps against an origin that drips.
            return Err(TryError::Final(Reason::Timeout));
        }
        (self.bytes, self.spent) = (0, Duration::ZERO);
        Ok(())
    }
}
