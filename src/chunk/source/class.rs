//! What of a list's texts is a class.

use super::trimmed;

/// Up to here a double holds every integer: beyond it one may have been rounded.
const EXACT: i64 = 1 << 53;

/// The class that a cell or value is: the digits of an integer of 64 bits; none: it is none.
///
/// `.0` may be behind them, which pandas writes where another row has no class; `1.000` may be a thousand.
/// Nothing is rounded, nor was it before, and `007` may be somebody's code.
pub fn class_of(text: &str) -> Option<i64> {
    let text = trimmed(text);
    let whole = text.strip_suffix(".0").unwrap_or(text);
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_code = digits.len() > 1 && digits.starts_with('0');
    let class: i64 = whole.parse().ok().filter(|_| is_number && !is_code)?;
    let is_exact = whole.len() == text.len() || (-EXACT..=EXACT).contains(&class);
    is_exact.then_some(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 400: a class is an integer of 64 bits, spelled as one; whatever else it is stays in the meta.
    #[test]
    fn a_class_is_an_integer_and_is_never_guessed() {
        for (text, class) in [
            ("3", 3),
            (" -1 ", -1),
            ("3.0", 3),
            ("0", 0),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            // A double would make another integer of it.
            ("9007199254740993", 9_007_199_254_740_993),
            ("-9007199254740992.0", -EXACT),
        ] {
            assert_eq!(class_of(text), Some(class), "{text}");
        }
        for text in [
            "cat",
            "",
            "-",
            ".0",
            "3.",
            "3.5",
            "3.01",
            "3.00",
            "1.000",
            "1.000.0",
            "1e3",
            "007",
            "-01",
            "+3",
            "0x1F",
            "1,000",
            "1 000",
            "1_000",
            "٣",
            "true",
            "9223372036854775808",
            "-9223372036854775809",
            "3.0.0",
            "9007199254740994.0",
        ] {
            assert_eq!(class_of(text), None, "{text}");
        }
    }
}
