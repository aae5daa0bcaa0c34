//! The checks that a message asks for.

use super::MessageError;
use imagecheck::{Format, Level, MAX_SIDE_PX};
use serde::{Deserialize, Serialize};

/// Which minimum sizes apply; the figures are PixCrawler's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// 2048 B, 100 x 100 px.
    Strict,
    /// 512 B, 25 x 25 px.
    #[default]
    Lenient,
    /// Whatever is a picture is kept; violations of 1024 B, 1 x 1 px are recorded.
    ReportOnly,
}

/// The checks a message asks for; explicit fields win over the mode.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Validation {
    /// How thoroughly.
    #[serde(default)]
    pub level: Level,
    /// Which minimum sizes.
    #[serde(default)]
    pub mode: Mode,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_width: Option<u32>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_height: Option<u32>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_file_size_bytes: Option<u64>,
    /// MiB; wins over the setting when smaller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_file_size_mb: Option<f64>,
    /// The only formats that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formats: Option<Vec<Format>>,
    /// Pixels in all, width times height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pixels: Option<u64>,
    /// The longer side in parts of the shorter one, 1 or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_aspect_ratio: Option<f64>,
}

impl Validation {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`MessageError::Value`] for the first one that is out of its bounds, or that no picture fulfils together
    /// with the others.
    pub fn check(&self) -> Result<(), MessageError> {
        let is_size = |mb: f64| mb > 0.0 && mb <= 100_000.0;
        let is_ratio = |ratio: f64| ratio.is_finite() && ratio >= 1.0;
        let (field, problem) = if !self.max_file_size_mb.is_none_or(is_size) {
            ("validation.max_file_size_mb", "must be above 0, at most 100000")
        } else if self.max_bytes(u64::MAX) < 1 {
            ("validation.max_file_size_mb", "must be a byte or more")
        } else if self.formats.as_ref().is_some_and(Vec::is_empty) {
            ("validation.formats", "must name a format at least")
        } else if self.max_pixels == Some(0) {
            ("validation.max_pixels", "must be 1 or more")
        } else if !self.max_aspect_ratio.is_none_or(is_ratio) {
            ("validation.max_aspect_ratio", "must be a number of 1 or more")
        } else {
            return Ok(());
        };
        Err(MessageError::Value { field, problem: problem.to_owned() })
    }

    /// The same of checks that somebody asks for now. What is registered stays as it is, whichever release
    /// took it.
    ///
    /// # Errors
    ///
    /// As [`Self::check`]; also when no picture could fulfil them.
    pub fn check_new(&self) -> Result<(), MessageError> {
        self.check()?;
        self.keeps_nothing().map_or(Ok(()), |(field, problem)| {
            Err(MessageError::Value { field, problem: problem.to_owned() })
        })
    }

    /// What no picture can fulfil: the field, and why. Where violations are only recorded all can.
    fn keeps_nothing(&self) -> Option<(&'static str, &'static str)> {
        let (width, height) = self.min_dimensions();
        let pixels = u64::from(width) * u64::from(height);
        if self.mode == Mode::ReportOnly {
            None
        } else if u64::from(width) > MAX_SIDE_PX {
            Some(("validation.min_width", "must be at most 12000, the longest side of a picture"))
        } else if u64::from(height) > MAX_SIDE_PX {
            Some(("validation.min_height", "must be at most 12000, the longest side of a picture"))
        } else if self.max_pixels.is_some_and(|most| most < pixels) {
            let why = "must be at least the least width times the least height, or nothing is kept";
            Some(("validation.max_pixels", why))
        } else if self.max_bytes(u64::MAX) < self.min_bytes() {
            let why = "must be at least the least file size, or nothing is kept";
            Some(("validation.max_file_size_mb", why))
        } else {
            None
        }
    }

    /// The smallest accepted file, in bytes.
    pub(crate) fn min_bytes(&self) -> u64 {
        self.min_file_size_bytes.unwrap_or(match self.mode {
            Mode::Strict => 2048,
            Mode::Lenient => 512,
            Mode::ReportOnly => 1024,
        })
    }

    /// The smallest accepted width and height, in pixels.
    pub(crate) fn min_dimensions(&self) -> (u32, u32) {
        let side = match self.mode {
            Mode::Strict => 100,
            Mode::Lenient => 25,
            Mode::ReportOnly => 1,
        };
        (self.min_width.unwrap_or(side), self.min_height.unwrap_or(side))
    }

    /// The largest accepted file in bytes, at most `setting_bytes`.
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "parse() allows only 0 < mb <= 100000, far inside both ranges"
    )]
    pub(crate) fn max_bytes(&self, setting_bytes: u64) -> u64 {
        self.max_file_size_mb
            .map_or(setting_bytes, |mb| setting_bytes.min((mb * 1_048_576.0) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ChunkMessage;

    /// Case 323: checks that no picture can pass are refused, and named.
    #[test]
    fn checks_that_keep_nothing_are_refused() {
        let check = |json: &str| serde_json::from_str::<Validation>(json).unwrap().check_new();
        for (json, said) in [
            (r#"{"min_width":12001}"#, "min_width must be at most 12000"),
            (r#"{"min_height":12001}"#, "min_height must be at most 12000"),
            (r#"{"min_width":200,"min_height":200,"max_pixels":39999}"#, "max_pixels must"),
            (r#"{"mode":"strict","max_pixels":9999}"#, "max_pixels must be at least the least"),
            (r#"{"max_file_size_mb":0.0000001}"#, "max_file_size_mb must be a byte or more"),
            (r#"{"max_file_size_mb":0.0004}"#, "max_file_size_mb must be at least the least"),
            (r#"{"max_aspect_ratio":0.99}"#, "max_aspect_ratio must be a number of 1 or more"),
        ] {
            let why = check(json).unwrap_err().to_string();
            assert!(why.contains(said), "{json}: {why}");
        }
        for json in [
            r#"{"min_width":12000,"min_height":1}"#,
            r#"{"min_width":200,"min_height":200,"max_pixels":40000}"#,
            r#"{"max_file_size_mb":0.0005}"#,
            r#"{"mode":"report_only","min_width":12001,"max_pixels":1,"max_file_size_mb":0.0001}"#,
        ] {
            assert!(check(json).is_ok(), "{json}");
        }
    }

    /// A chunk that an earlier release registered with such checks has its verdicts, as it would have had.
    #[test]
    fn checks_that_keep_nothing_stay_what_they_were_when_they_are_registered() {
        let text = r#"{"version":1,"job_id":7,"chunk_index":0,"validation":{"min_width":12001}}"#;
        assert!(ChunkMessage::parse(text).is_err());
        assert!(ChunkMessage::from_json(text).is_ok());
    }
}
