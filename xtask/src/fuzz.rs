//! `cargo xtask fuzz`: changed inputs against everything that reads what strangers write.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use fuzz::target::{SECONDS, SEED};
use support::child;

use crate::build::cargo;

const EXAMPLES: &str = "\
Examples:
  cargo xtask fuzz                           every target, for a minute each
  cargo xtask fuzz --target slow,head        two of them
  cargo xtask fuzz --seconds 3600            for an hour each
  cargo xtask fuzz --target url --seed 7     the same changes again
  cargo xtask fuzz target/fuzz/*             pictures that earlier runs have found, again";

/// Levels of the checks of images, which have a program of their own: pictures are large and many.
const LEVELS: [&str; 3] = ["fast", "medium", "slow"];

/// The other targets: tests beside the code that they try, by package and kind of target.
const TESTS: [(&str, &[&str], &str); 10] = [
    ("list", &["chunkctl", "--bins"], "list::tests::fuzz_lists"),
    ("parquet", &["chunkctl", "--bins"], "list::tests::parquet::fuzz_parquet"),
    ("source", &["pixcrawler-chunk-handler", "--lib"], "chunk::source::tests::fuzz_source_blobs"),
    ("message", &["pixcrawler-chunk-handler", "--lib"], "chunk::message::tests::fuzz_messages"),
    ("envelope", &["pixcrawler-chunk-handler", "--lib"], "host::envelope::tests::fuzz_envelopes"),
    ("head", &["pixcrawler-chunk-handler", "--lib"], "pipeline::fetch::head::tests::fuzz_heads"),
    (
        "headers",
        &["pixcrawler-chunk-handler", "--lib"],
        "pipeline::fetch::answer::tests::fuzz_header_values",
    ),
    ("url", &["pixcrawler-chunk-handler", "--lib"], "pipeline::fetch::address::tests::fuzz_urls"),
    (
        "robots",
        &["pixcrawler-chunk-handler", "--lib"],
        "pipeline::fetch::robots::text::tests::fuzz_robots",
    ),
    ("settings", &["pixcrawler-chunk-handler", "--lib"], "settings::tests::fuzz_settings"),
];

/// Change inputs at random and read them: none may make a reader panic or contradict itself, take more
/// than ten seconds or a gigabyte.
///
/// An input that does is written below target/fuzz. The targets are fast, medium and slow (pictures at
/// these levels), list, parquet, source, message, envelope, head, headers, url, robots and settings.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// How long each target runs
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Only these
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    target: Vec<String>,
    /// Decides the changes [default: a fresh one, printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Inspect these pictures once, and change nothing
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    if !options.files.is_empty() {
        // It runs in the root of the checkout, wherever the files were named from.
        let files: Vec<String> = options
            .files
            .iter()
            .map(|file| Ok(std::path::absolute(file)?.display().to_string()))
            .collect::<Result<_>>()?;
        return pictures(&files).await;
    }
    let names = || LEVELS.into_iter().chain(TESTS.iter().map(|(name, ..)| *name));
    if let Some(unknown) = options.target.iter().find(|target| names().all(|name| name != **target))
    {
        bail!("there is no target {unknown}; there are {}", names().collect::<Vec<_>>().join(", "));
    }
    let mut code = ExitCode::SUCCESS;
    for name in names() {
        if !options.target.is_empty() && !options.target.iter().any(|target| target == name) {
            continue;
        }
        let ended = match TESTS.iter().find(|(test, ..)| *test == name) {
            Some((_, package, test)) => self::test(package, test, &options).await?,
            None => {
                let mut arguments = vec!["--level".to_owned(), name.to_owned()];
                arguments.extend(["--seconds".to_owned(), options.seconds.to_string()]);
                arguments.extend(options.seed.map(|seed| format!("--seed={seed}")));
                pictures(&arguments).await?
            }
        };
        if ended != ExitCode::SUCCESS {
            eprintln!("target {name} has found something; the others go on");
            code = ended;
        }
    }
    Ok(code)
}

/// Runs the program for pictures.
async fn pictures(arguments: &[String]) -> Result<ExitCode> {
    eprintln!("building the fuzzer (optimised; the first time this takes minutes)");
    let mut fuzz = cargo(&["run", "--profile", "checked", "--locked", "--package", "fuzz"]);
    fuzz.args(["--bin", "fuzz", "--"]).args(arguments);
    let status = child::run("cargo run --package fuzz", fuzz).await?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a target that is a test, alone in its process.
async fn test(package: &[&str], test: &str, options: &Options) -> Result<ExitCode> {
    let mut fuzz = cargo(&["test", "--locked", "--quiet", "--package"]);
    fuzz.args(package).args(["--", "--exact", test, "--nocapture"]);
    fuzz.env(SECONDS, options.seconds.to_string());
    if let Some(seed) = options.seed {
        fuzz.env(SEED, seed.to_string());
    }
    let status = child::run(test, fuzz).await?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target whose test is gone would run nothing, and pass.
    #[test]
    fn every_target_is_a_test() {
        let tests = support::catalogue::tests();
        for (name, _, path) in TESTS {
            let test = path.rsplit("::").next().unwrap();
            assert!(tests.iter().any(|known| known.name == test), "{name}: {path}");
        }
    }
}
