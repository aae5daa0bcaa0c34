//! What must hold for every input.

use imagecheck::{ImageInfo, Level, Refusal, inspect};
use std::{
    any::Any,
    fmt,
    io::{BufReader, Cursor},
    panic::{AssertUnwindSafe, catch_unwind},
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
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(level, message) => write!(f, "panicked at {level:?}: {message}"),
            Self::Disagree(both) => f.write_str(both),
        }
    }
}

/// Inspects at every level, and returns what each says if all of it goes together.
///
/// A deeper level repeats the refusal of a shallower one, and measures what a shallower one measured.
pub fn judge(
    bytes: &[u8],
    inspect: impl Fn(&[u8], Level) -> Verdict,
) -> Result<Vec<(Level, Verdict)>, Fault> {
    let mut verdicts: Vec<(Level, Verdict)> = Vec::new();
    for &level in Level::ALL {
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
    use imagecheck::Format;

    const INFO: ImageInfo = ImageInfo { format: Format::Gif, width: 1, height: 1, phash: None };

    #[test]
    fn a_panic_is_a_fault() {
        let fault = judge(b"", |_, level| match level {
            Level::Fast => Ok(INFO),
            _ => panic!("at {level:?}"),
        });
        assert_eq!(fault, Err(Fault::Panicked(Level::Medium, "at Medium".to_owned())));
    }

    #[test]
    fn a_deeper_level_must_not_accept_what_a_shallower_one_refused() {
        let accepts =
            |level| judge(b"", |_, at| if at == level { Ok(INFO) } else { Err(Refusal::Corrupt) });
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
        assert!(matches!(judge(b"", |_, level| another(level)), Err(Fault::Disagree(_))));
        let wider = |level| Ok(ImageInfo { width: 1 + u32::from(level == Level::Slow), ..INFO });
        assert!(matches!(judge(b"", |_, level| wider(level)), Err(Fault::Disagree(_))));
    }
}
