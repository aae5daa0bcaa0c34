//! The options of `submit` that say which images are kept, and how they are called.

use chunk_handler::{
    chunk::{
        Dedupe, DedupeScope, Mode, Output, OutputExtension, OutputText, RobotsTxt, Validation,
    },
    state::Submission,
};
use clap::{Args, ValueEnum};
use imagecheck::{Format, Level};

/// What a job's messages ask of its images.
#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// How thoroughly images are checked.
    #[arg(long, value_enum, default_value_t = CheckLevel::Medium)]
    level: CheckLevel,
    /// Which minimum sizes count, and whether an image that is not wanted is left out at all.
    #[arg(long, value_enum, default_value_t = SizeMode::Lenient)]
    mode: SizeMode,
    /// The least width and height in pixels, as 200x100, or 200 for both sides; wins over the mode.
    #[arg(long, value_name = "WxH", value_parser = size)]
    min_size: Option<(u32, u32)>,
    /// The largest file in megabytes, above 0 and at most 100000; counts when it is smaller than `PIXCRAWLER_MAX_IMAGE_SIZE_MB`.
    #[arg(long, value_name = "MB", value_parser = above_zero)]
    max_file_mb: Option<f64>,
    /// The only formats that are kept, as jpeg,png,webp.
    #[arg(long, value_enum, value_delimiter = ',')]
    formats: Vec<WantedFormat>,
    /// The most pixels of an image, width times height, 1 or more.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    max_pixels: Option<u64>,
    /// The longest side, in parts of the shorter one, 1 or more: 3 keeps 300x100 and leaves 301x100 out.
    #[arg(long, value_parser = ratio)]
    max_aspect_ratio: Option<f64>,
    /// What the image members of shards are called: all .jpg, or by their formats.
    #[arg(long, value_enum, default_value_t = MemberExtension::Jpg)]
    extension: MemberExtension,
    /// Give each sample of the shards a `.txt`: its caption, or its label.
    #[arg(long, value_enum)]
    text: Option<Text>,
    /// Give each sample of the shards a `.cls`: its class, or -1.
    #[arg(long)]
    class: bool,
    /// Other jobs, as 5,6, at most 100, each 0 to 2^63 - 1: a picture that one of their completed chunks
    /// holds is a duplicate, too, and not kept again.
    #[arg(long, value_name = "JOBS", value_delimiter = ',', value_parser = clap::value_parser!(i64).range(0..))]
    dedupe_with: Vec<i64>,
    /// Whether a URL is only asked for where the robots.txt of its host allows it; default: what
    /// `PIXCRAWLER_RESPECT_ROBOTS` of the handlers says.
    #[arg(long, value_enum)]
    robots: Option<RobotsWord>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CheckLevel {
    /// Signature and dimensions.
    Fast,
    /// Also the container, to its end.
    Medium,
    /// Also the data of the picture.
    Slow,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SizeMode {
    /// 2048 bytes, 100 x 100 px.
    Strict,
    /// 512 bytes, 25 x 25 px.
    Lenient,
    /// Every picture is kept; what it lacks is recorded.
    ReportOnly,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WantedFormat {
    #[value(alias = "jpg")]
    Jpeg,
    Png,
    Gif,
    Bmp,
    Webp,
    #[value(alias = "tif")]
    Tiff,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MemberExtension {
    /// .jpg, whatever the format.
    Jpg,
    /// That of the image's format.
    Original,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Text {
    /// What the list has as `caption`.
    Caption,
    /// What it has as `label`.
    Label,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RobotsWord {
    /// What it forbids is not asked for.
    Respect,
    /// Nobody asks for it.
    Ignore,
}

impl Wanted {
    /// What robots.txt is to the messages; none: they do not say.
    pub(super) fn robots(&self) -> Option<RobotsTxt> {
        self.robots.map(|word| match word {
            RobotsWord::Respect => RobotsTxt::Respect,
            RobotsWord::Ignore => RobotsTxt::Ignore,
        })
    }

    /// The checks that the messages ask for.
    pub(super) fn validation(&self) -> Validation {
        let mut formats: Vec<Format> = self.formats.iter().map(|format| format.meant()).collect();
        // The same formats in another order are the same option.
        formats.sort_by_key(|format| format.as_str());
        formats.dedup();
        Validation {
            level: match self.level {
                CheckLevel::Fast => Level::Fast,
                CheckLevel::Medium => Level::Medium,
                CheckLevel::Slow => Level::Slow,
            },
            mode: match self.mode {
                SizeMode::Strict => Mode::Strict,
                SizeMode::Lenient => Mode::Lenient,
                SizeMode::ReportOnly => Mode::ReportOnly,
            },
            min_width: self.min_size.map(|(width, _)| width),
            min_height: self.min_size.map(|(_, height)| height),
            min_file_size_bytes: None,
            max_file_size_mb: self.max_file_mb,
            formats: (!formats.is_empty()).then_some(formats),
            max_pixels: self.max_pixels,
            max_aspect_ratio: self.max_aspect_ratio,
        }
    }

    /// Where the messages look for duplicates.
    pub(super) fn dedupe(&self) -> Dedupe {
        let with_jobs = self.dedupe_with.iter().copied().collect();
        Dedupe { scope: DedupeScope::Job, with_jobs }
    }

    /// How the messages ask for shards to be written.
    pub(super) fn output(&self) -> Output {
        Output {
            prefix: None,
            extension: match self.extension {
                MemberExtension::Jpg => OutputExtension::Jpg,
                MemberExtension::Original => OutputExtension::Original,
            },
            text: self.text.map(|text| match text {
                Text::Caption => OutputText::Caption,
                Text::Label => OutputText::Label,
            }),
            class: self.class,
        }
    }
}

impl WantedFormat {
    fn meant(self) -> Format {
        match self {
            Self::Jpeg => Format::Jpeg,
            Self::Png => Format::Png,
            Self::Gif => Format::Gif,
            Self::Bmp => Format::Bmp,
            Self::Webp => Format::Webp,
            Self::Tiff => Format::Tiff,
        }
    }
}

/// Width and height of 200x100, or of 200.
fn size(text: &str) -> Result<(u32, u32), String> {
    let (width, height) = text.split_once('x').unwrap_or((text, text));
    match (width.parse(), height.parse()) {
        (Ok(width), Ok(height)) => Ok((width, height)),
        _ => Err("give pixels, as 200x100, or 200 for both sides".to_owned()),
    }
}

/// Megabytes; what else they must be the check of all messages says.
fn above_zero(text: &str) -> Result<f64, String> {
    let mb: Option<f64> = text.parse().ok().filter(|mb| *mb > 0.0 && *mb <= 100_000.0);
    mb.ok_or_else(|| "give megabytes, above 0 and at most 100000".to_owned())
}

/// The longer side in parts of the shorter one.
fn ratio(text: &str) -> Result<f64, String> {
    let ratio: Option<f64> = text.parse().ok();
    let ratio = ratio.filter(|ratio| ratio.is_finite() && *ratio >= 1.0);
    ratio.ok_or_else(|| "give a number of 1 or more".to_owned())
}

/// An option with its value, as people write it.
type Named = (&'static str, String);

/// The options of a submission that say what is kept, each with its value.
pub(super) fn options(submission: &Submission) -> Vec<Named> {
    let Submission { validation, dedupe, output, robots, .. } = submission;
    let Validation { min_width, min_height, formats, .. } = validation;
    let min_size = min_width.zip(*min_height).map(|(width, height)| format!("{width}x{height}"));
    let words = |formats: &Vec<Format>| {
        formats.iter().map(|format| format.as_str()).collect::<Vec<_>>().join(",")
    };
    let extension = match output.extension {
        OutputExtension::Jpg => "jpg",
        OutputExtension::Original => "original",
    };
    let others: Vec<String> = dedupe.with_jobs.iter().map(i64::to_string).collect();
    vec![
        ("--level", format!("{:?}", validation.level).to_lowercase()),
        ("--mode", mode_word(validation.mode).to_owned()),
        ("--min-size", or_none(min_size)),
        ("--max-file-mb", or_none(validation.max_file_size_mb)),
        ("--formats", or_none(formats.as_ref().map(words))),
        ("--max-pixels", or_none(validation.max_pixels)),
        ("--max-aspect-ratio", or_none(validation.max_aspect_ratio)),
        ("--extension", extension.to_owned()),
        ("--text", or_none(output.text.map(OutputText::word))),
        ("--class", if output.class { "on" } else { "off" }.to_owned()),
        ("--dedupe-with", or_none((!others.is_empty()).then(|| others.join(",")))),
        ("--robots", or_none(robots.map(RobotsTxt::word))),
    ]
}

fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Strict => "strict",
        Mode::Lenient => "lenient",
        Mode::ReportOnly => "report-only",
    }
}

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}
