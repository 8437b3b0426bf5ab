//! Number text exactly as Redis reads and writes it. What is stored, compared and replicated depends on every
//! digit, so nothing here is lenient and nothing rounds twice.

mod double;
mod long_double;

pub use double::{DoubleText, parse_f64, write_f64, write_human_f64, write_rounded};
pub use long_double::LongDouble;

/// Digits of `u64::MAX`.
const DIGITS_MAX: usize = 20;

/// Reads a canonical decimal integer: what [`write_i64`] writes and nothing else. No plus sign, no blank, no
/// leading zero, no `-0`.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', magnitude @ ..] => match parse_magnitude(magnitude)? {
            0 => None,
            magnitude => 0_i64.checked_sub_unsigned(magnitude),
        },
        _ => i64::try_from(parse_magnitude(text)?).ok(),
    }
}

/// Reads a canonical decimal integer that is not negative.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    parse_magnitude(text)
}

/// Reads an integer that is not negative as Redis reads cursors and stream IDs: what is not canonical goes through C's
/// `strtoull`, which skips blanks, takes a sign, and counts negative ones from the other end.
pub fn parse_u64_loosely(text: &[u8]) -> Option<u64> {
    if let Some(number) = parse_i64(text) {
        return u64::try_from(number).ok();
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let text = &text[text.iter().take_while(|it| is_blank(it)).count()..];
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let add = |number: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    let number = digits.iter().try_fold(0, add).filter(|_| !digits.is_empty())?;
    Some(if is_negative { number.wrapping_neg() } else { number })
}

/// Appends `value` in decimal.
#[inline]
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[inline]
fn parse_magnitude(text: &[u8]) -> Option<u64> {
    const DIGITS_SAFE: usize = DIGITS_MAX - 1;
    match text {
        [digit @ b'0'..=b'9'] => Some(u64::from(digit - b'0')),
        [] | [b'0', ..] => None,
        _ if text.len() <= DIGITS_SAFE => text.iter().try_fold(0, |value, byte| {
            byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0'))
        }),
        _ if text.len() == DIGITS_MAX => text.iter().try_fold(0_u64, |value, byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            value.checked_mul(10)?.checked_add(digit)
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{parse_i64, parse_u64, parse_u64_loosely, write_i64};

    #[test]
    fn only_canonical_integers_are_read() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(parse_i64(text.as_bytes()), expected, "{text}");
        };
        check("0", Some(0));
        check("7", Some(7));
        check("-1", Some(-1));
        check("9223372036854775807", Some(i64::MAX));
        check("-9223372036854775808", Some(i64::MIN));
        for refused in [
            "",
            "-",
            "+1",
            " 1",
            "1 ",
            "01",
            "-0",
            "-01",
            "00",
            "1a",
            "a",
            "0x1",
            "1.0",
            "1e3",
            "--1",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "99999999999999999999",
            "100000000000000000000000",
        ] {
            check(refused, None);
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"-1"), None);
        assert_eq!(parse_u64_loosely(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64_loosely(b"18446744073709551616"), None);
        assert_eq!(parse_u64_loosely(b" +017"), Some(17));
        assert_eq!(parse_u64_loosely(b"-01"), Some(u64::MAX));
        for refused in [&b"-1"[..], b"", b" ", b"-", b"+ 1", b"1 ", b"0x1", b"1.0"] {
            assert_eq!(parse_u64_loosely(refused), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value: i64) {
            let mut text = Vec::new();
            write_i64(&mut text, value);
            prop_assert_eq!(parse_i64(&text), Some(value));
        }
    }
}
