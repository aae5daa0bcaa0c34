//! What must hold for every input.

use imagecheck::{ImageInfo, Level, Refusal, inspect};
use std::{
    any::Any,
    fmt,
    io::{BufReader, Cursor},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// What `inspect` says of an input.
pub type Verdict = Result<ImageInfo, Refusal>;

/// What must never happen.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// `inspect` panicked, with this message.
    Panicked(Level, String),
    /// A deeper level disagrees with what a shallower one refused or measured: what both say.
    Disagree(String),
    /// It took longer than any input may.
    Slow(Duration),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(level, message) => write!(f, "panicked at {level:?}: {message}"),
            Self::Disagree(both) => f.write_str(both),
            Self::Slow(took) => write!(f, "took {} ms", took.as_millis()),
        }
    }
}

/// Inspects at every level down to the deepest, and returns what each says if all of it goes together.
///
/// A deeper level repeats the refusal of a shallower one, and measures what a shallower one measured.
pub fn judge(
    bytes: &[u8],
    deepest: Level,
    inspect: impl Fn(&[u8], Level) -> Verdict,
) -> Result<Vec<(Level, Verdict)>, Fault> {
    let mut verdicts: Vec<(Level, Verdict)> = Vec::new();
    for &level in
        Level::ALL.iter().take(1 + Level::ALL.iter().take_while(|level| **level != deepest).count())
    {
        let verdict = catch_unwind(AssertUnwindSafe(|| inspect(bytes, level)))
            .map_err(|panic| Fault::Panicked(level, message(&*panic)))?;
        if let Some(&(shallow, before)) = verdicts.last()
            && !goes_together(before, verdict)
        {
            let both = format!("{shallow:?} says {before:?}, but {level:?} says {verdict:?}");
            return Err(Fault::Disagree(both));
        }
        verdicts.push((level, verdict));
    }
    Ok(verdicts)
}

fn goes_together(before: Verdict, after: Verdict) -> bool {
    match (before, after) {
        (Err(before), after) => after == Err(before),
        (Ok(_), Err(_)) => true,
        (Ok(before), Ok(after)) => ImageInfo { phash: None, ..after } == before,
    }
}

/// Inspects through a small buffer, as a file would be, so that its edges fall everywhere.
pub fn inspect_bytes(bytes: &[u8], level: Level) -> Verdict {
    let len = bytes.len().try_into().expect("a length");
    inspect(&mut BufReader::with_capacity(61, Cursor::new(bytes)), len, level)
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fuzz::mutate;
    use imagecheck::Format;

    const INFO: ImageInfo = ImageInfo { format: Format::Gif, width: 1, height: 1, phash: None };

    #[test]
    fn a_panic_is_a_fault() {
        let fault = judge(b"", Level::Slow, |_, level| match level {
            Level::Fast => Ok(INFO),
            _ => panic!("at {level:?}"),
        });
        assert_eq!(fault, Err(Fault::Panicked(Level::Medium, "at Medium".to_owned())));
    }

    #[test]
    fn a_deeper_level_must_not_accept_what_a_shallower_one_refused() {
        let accepts = |level| {
            judge(
                b"",
                Level::Slow,
                |_, at| if at == level { Ok(INFO) } else { Err(Refusal::Corrupt) },
            )
        };
        assert!(accepts(Level::Fast).is_ok());
        assert!(matches!(accepts(Level::Medium), Err(Fault::Disagree(_))));
        assert!(matches!(accepts(Level::Slow), Err(Fault::Disagree(_))));
    }

    #[test]
    fn a_deeper_level_must_not_change_the_reason_or_the_size() {
        let another = |level| match level {
            Level::Fast => Err(Refusal::Corrupt),
            _ => Err(Refusal::Truncated),
        };
        assert!(matches!(
            judge(b"", Level::Slow, |_, level| another(level)),
            Err(Fault::Disagree(_))
        ));
        let wider = |level| Ok(ImageInfo { width: 1 + u32::from(level == Level::Slow), ..INFO });
        assert!(matches!(
            judge(b"", Level::Slow, |_, level| wider(level)),
            Err(Fault::Disagree(_))
        ));
    }

    fn seeds() -> Vec<Vec<u8>> {
        let fixtures = fuzz::root().join("tests/fixtures/images");
        ["03-gray-16-bit.png", "13-animated.webp"]
            .map(|file| std::fs::read(fixtures.join(file)).unwrap())
            .to_vec()
    }

    #[test]
    fn checksums_of_a_png_are_mended() {
        let mut file = seeds()[0].clone();
        file[19] ^= 1;
        let verdict = |file: &[u8]| judge(file, Level::Slow, inspect_bytes).unwrap()[0].1.is_ok();
        assert!(!verdict(&file));
        mutate::mend_png(&mut file);
        assert!(verdict(&file), "another width, and its checksum");
    }

    /// A short run: inputs are both accepted and refused, at every level.
    #[test]
    fn inputs_reach_every_level() {
        let (seeds, mut rng) = (seeds(), fastrand::Rng::with_seed(3));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let verdicts =
                judge(&mutate::change(&mut rng, &seeds), Level::Slow, inspect_bytes).unwrap();
            for (n, (_, verdict)) in verdicts.into_iter().enumerate() {
                seen.insert((n, verdict.is_ok()));
            }
        }
        assert_eq!(seen.len(), 2 * Level::ALL.len(), "{seen:?}");
    }
}
