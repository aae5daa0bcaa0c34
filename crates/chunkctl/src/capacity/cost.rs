//! What work costs each month, by the sums of the README's part on deployment. Prices differ by region
//! and change: where the README names none, the user does.

use super::history::{History, Speed, float, ratio};
use clap::Args;
use serde::Serialize;

/// Prices in one currency, before tax.
#[derive(Debug, Clone, Args)]
pub(crate) struct Prices {
    /// For a second of a GB of an instance at work, from 0.
    #[arg(long, value_name = "PRICE", default_value_t = 0.000_026, value_parser = price)]
    pub(crate) price_gb_second: f64,
    /// For a GB of logs, from 0; the first 5 GB of a month are free.
    #[arg(long, value_name = "PRICE", default_value_t = 2.30, value_parser = price)]
    pub(crate) price_log_gb: f64,
    /// For an hour of the database, of the size that is named, from 0.
    #[arg(long, value_name = "PRICE", value_parser = price)]
    pub(crate) price_database_hour: Option<f64>,
    /// For a GB of blobs and month, from 0.
    #[arg(long, value_name = "PRICE", value_parser = price)]
    pub(crate) price_storage_gb: Option<f64>,
}

/// Amounts of a month of 30 days, each with what it costs, as far as its price is known.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cost {
    /// GB of an instance x seconds in which it has a chunk.
    pub(crate) compute_gb_seconds: f64,
    pub(crate) compute: f64,
    /// Of host and handler, those that are free included.
    pub(crate) logs_gb: f64,
    pub(crate) logs: f64,
    /// Always, busy or not.
    pub(crate) database_hours: f64,
    pub(crate) database: Option<f64>,
    /// What each month adds, and keeps.
    pub(crate) storage_gb: f64,
    pub(crate) storage: Option<f64>,
}

const DAYS: f64 = 30.0;
const HOUR: f64 = 3600.0;
const HOURS_A_DAY: f64 = 24.0;
const GB: f64 = 1e9;
/// Of an instance.
const MB_A_GB: f64 = 1024.0;
const LOG_BYTES_A_CHUNK: f64 = 6e3;
const LOG_BYTES_AN_INSTANCE_DAY: f64 = 10e6;
const FREE_LOG_GB: f64 = 5.0;

impl Cost {
    /// Where instances have as many chunks at once as they had.
    pub(crate) fn of(
        history: &History,
        speed: &Speed,
        images_per_day: f64,
        instances: f64,
        prices: &Prices,
    ) -> Self {
        let slot_hours = images_per_day / speed.images_per_slot_hour;
        let instance_hours =
            (slot_hours / history.slots.chunks_at_once.max(1.0)).min(HOURS_A_DAY * instances);
        let gb = float(history.limits.memory_mb) / MB_A_GB;
        let compute_gb_seconds = DAYS * instance_hours * HOUR * gb;
        let chunks = ratio(images_per_day, speed.images_per_chunk);
        let log_bytes = chunks * LOG_BYTES_A_CHUNK + instances * LOG_BYTES_AN_INSTANCE_DAY;
        let logs_gb = DAYS * log_bytes / GB;
        let database_hours = DAYS * HOURS_A_DAY;
        let storage_gb = DAYS * images_per_day * speed.shard_bytes_per_image / GB;
        Self {
            compute_gb_seconds,
            compute: compute_gb_seconds * prices.price_gb_second,
            logs_gb,
            logs: (logs_gb - FREE_LOG_GB).max(0.0) * prices.price_log_gb,
            database_hours,
            database: prices.price_database_hour.map(|price| database_hours * price),
            storage_gb,
            storage: prices.price_storage_gb.map(|price| storage_gb * price),
        }
    }
}

/// A price is a finite number from 0 on.
fn price(text: &str) -> Result<f64, String> {
    let price: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if price.is_finite() && price >= 0.0 {
        Ok(price)
    } else {
        Err("a price is a number from 0 on".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures that are not the user's are those of the README.
    #[test]
    fn prices_are_those_of_the_readme() {
        let readme =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md"))
                .unwrap();
        for figure in
            ["0.000026 $", "about 2.30 $, 5 GB free", "about 6 kB an invocation", "10 MB a day"]
        {
            assert!(readme.contains(figure), "README.md does not say {figure}");
        }
        assert!(price("-1").is_err() && price("NaN").is_err() && price("inf").is_err());
        assert_eq!(price("0"), Ok(0.0));
    }
}
