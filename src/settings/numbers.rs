//! Settings that are numbers, each with its bounds.

use super::{Provenance, reader::Reader};
use std::time::Duration;

impl Reader {
    /// A whole number with bounds. `T` must hold the bounds.
    pub(super) fn number<T>(&mut self, name: &str, default: u64, min: u64, max: u64) -> T
    where
        T: TryFrom<u64> + Default,
    {
        self.whole(name, default, min, max, Provenance::Default)
    }

    /// A whole number whose default is the profile's.
    pub(super) fn profiled<T>(&mut self, name: &str, default: u64, min: u64, max: u64) -> T
    where
        T: TryFrom<u64> + Default,
    {
        self.whole(name, default, min, max, Provenance::Profile)
    }

    fn whole<T>(&mut self, name: &str, default: u64, min: u64, max: u64, from: Provenance) -> T
    where
        T: TryFrom<u64> + Default,
    {
        let default = (default, default.to_string(), from);
        let value = self.parsed(name, default, |text| match text.parse::<u64>() {
            Ok(value) if (min..=max).contains(&value) => Ok(value),
            _ => Err(format!("must be a whole number from {min} to {max}")),
        });
        T::try_from(value).unwrap_or_default()
    }

    /// Decimal MB as integer bytes; bounds in millionths of a MB.
    pub(super) fn megabytes(
        &mut self,
        name: &str,
        default: &str,
        min_millionths: u64,
        max_millionths: u64,
    ) -> u64 {
        let bytes = |millionths: u64| millionths * 1_048_576 / 1_000_000;
        let default =
            (millionths(default).map_or(0, bytes), default.to_owned(), Provenance::Default);
        self.parsed(name, default, |text| match millionths(text) {
            Some(value) if (min_millionths..=max_millionths).contains(&value) => Ok(bytes(value)),
            _ => Err(format!(
                "must be a number of MB from {} to {}",
                shown_millionths(min_millionths),
                shown_millionths(max_millionths)
            )),
        })
    }

    /// Seconds, fractions allowed.
    pub(super) fn seconds(&mut self, name: &str, default: u64, min: f64, max: f64) -> Duration {
        let default = (Duration::from_secs(default), default.to_string(), Provenance::Default);
        self.parsed(name, default, |text| match text.parse::<f64>() {
            Ok(value) if value >= min && value <= max => Ok(Duration::from_secs_f64(value)),
            _ => Err(format!("must be a number of seconds from {min} to {max}")),
        })
    }
}

/// Decimal text with at most six fraction digits as whole millionths.
fn millionths(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 6 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction)
}

fn shown_millionths(value: u64) -> String {
    let text = format!("{}.{:06}", value / 1_000_000, value % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
