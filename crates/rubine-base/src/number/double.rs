//! Double precision: scores, and every reply that is a floating point number.

mod digits;

use std::io::Write;

use self::digits::Digits;
use super::{DIGITS_MAX, parse_i64};

/// Integers up to here have the same text by their digits.
const INTEGER_PLAIN_MAX: f64 = 1e6;
/// Integral values up to here are written as integers.
const INTEGER_MAX: f64 = (i64::MAX / 2) as f64;
/// Longest text: a sign, a zero, a point, six zeros and as many digits as a double can have.
const TEXT_BYTES_MAX: usize = 32;

/// Reads a finite or infinite number: decimal, with an optional sign, point and exponent, or `inf` or
/// `infinity` in any case. Refuses not-a-number, blanks, hexadecimal, and what is too large or too small to be
/// anything but infinity or zero.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    if text.len() < DIGITS_MAX
        && let Some(integer) = parse_i64(text)
    {
        return Some(integer as f64);
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let names_infinity = matches!(text, [b'i' | b'I', ..] | [_, b'i' | b'I', ..]);
    let overflows = value.is_infinite() && !names_infinity;
    let underflows = value == 0.0
        && text
            .iter()
            .take_while(|byte| !matches!(byte, b'e' | b'E'))
            .any(|byte| matches!(byte, b'1'..=b'9'));
    (!value.is_nan() && !overflows && !underflows).then_some(value)
}

/// Appends the text of `value`, see [`DoubleText`].
pub fn write_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(DoubleText::of(value).as_bytes());
}

/// Appends `value` with so many digits behind the point. What is too large for an integer with as many digits more is
/// as large as that can be.
pub fn write_rounded(out: &mut Vec<u8>, value: f64, fraction_digits: u32) {
    let power = 10_u64.pow(fraction_digits);
    let scaled = (value * power as f64).round_ties_even() as i64;
    if scaled < 0 {
        out.push(b'-');
    }
    let magnitude = scaled.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(magnitude / power).as_bytes());
    out.push(b'.');
    let mut place = power;
    while 1 < place {
        place /= 10;
        out.push(b'0' + (magnitude / place % 10) as u8);
    }
}

/// Appends `value`, which is finite, rounded to 17 digits behind the point, without the zeros at the end: a double as
/// [`super::LongDouble::write_human`] writes it.
pub fn write_human_f64(out: &mut Vec<u8>, value: f64) {
    let start = out.len();
    write!(out, "{value:.17}").expect("a Vec takes all that is written");
    let without_zeros = out.iter().rposition(|&byte| byte != b'0').map_or(0, |at| at + 1);
    out.truncate(without_zeros);
    if out.last() == Some(&b'.') {
        out.pop();
    }
    if &out[start..] == b"-0" {
        out.remove(start);
    }
}

/// A text that reads back as the same number, digit for digit that of Redis: integers without a point, exponents only where
/// the plain form would be long, `inf`, `-inf` and `nan`. Lives on the stack.
pub struct DoubleText {
    bytes: [u8; TEXT_BYTES_MAX],
    len: usize,
}

impl DoubleText {
    pub fn of(value: f64) -> Self {
        let mut text = Self { bytes: [0; TEXT_BYTES_MAX], len: 0 };
        if value.is_nan() {
            text.push(b"nan");
        } else if value.is_infinite() {
            text.push(if value < 0.0 { b"-inf" } else { b"inf" });
        } else if value == 0.0 {
            text.push(if value.is_sign_negative() { b"-0" } else { b"0" });
        } else if value.abs() <= INTEGER_MAX && value.fract() == 0.0 {
            text.push(itoa::Buffer::new().format(value as i64).as_bytes());
        } else {
            if value < 0.0 {
                text.push(b"-");
            }
            write(&Digits::of(value.abs()), &mut text);
        }
        text
    }

    /// As [`Self::of`], but integers are written like other numbers: with an exponent if they are long.
    pub fn of_digits(value: f64) -> Self {
        let is_long_integer = INTEGER_PLAIN_MAX < value.abs() && value.is_finite();
        if !is_long_integer {
            return Self::of(value);
        }
        let mut text = Self { bytes: [0; TEXT_BYTES_MAX], len: 0 };
        if value < 0.0 {
            text.push(b"-");
        }
        write(&Digits::of(value.abs()), &mut text);
        text
    }

    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn push_zeros(&mut self, count: i32) {
        self.bytes[self.len..][..count as usize].fill(b'0');
        self.len += count as usize;
    }
}

/// Writes a positive number: plain where that is not long, else with an exponent.
fn write(digits: &Digits, text: &mut DoubleText) {
    let exponent = digits.exponent;
    let digits = digits.as_bytes();
    let count = digits.len() as i32;
    let leading_exponent = exponent + count - 1;
    let is_plain_integer = 0 <= exponent && leading_exponent < count + 7;
    let is_plain_fraction = exponent < 0 && (-7 < exponent || leading_exponent.abs() < 4);
    if is_plain_integer {
        text.push(digits);
        text.push_zeros(exponent);
    } else if is_plain_fraction {
        let integer_digits = count + exponent;
        if integer_digits <= 0 {
            text.push(b"0.");
            text.push_zeros(-integer_digits);
            text.push(digits);
        } else {
            let (integer, fraction) = digits.split_at(integer_digits as usize);
            text.push(integer);
            text.push(b".");
            text.push(fraction);
        }
    } else {
        text.push(&digits[..1]);
        if 1 < count {
            text.push(b".");
            text.push(&digits[1..]);
        }
        text.push(if leading_exponent < 0 { b"e-" } else { b"e+" });
        text.push(itoa::Buffer::new().format(leading_exponent.abs()).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::LongDouble;
    use super::{parse_f64, write_f64, write_human_f64, write_rounded};

    fn text_of(value: f64) -> String {
        let mut out = Vec::new();
        write_f64(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_are_written_like_this() {
        let check = |value: f64, expected: &str| assert_eq!(text_of(value), expected);
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.0, "1");
        check(-17.0, "-17");
        check(3.25, "3.25");
        check(0.1 + 0.2, "0.30000000000000004");
        check(1e17, "100000000000000000");
        check(1e18, "1000000000000000000");
        check(1e19, "1e+19");
        check(1e20, "1e+20");
        check(12_345_678_901_234_567_890.0, "12345678901234567000");
        check(1.5e300, "1.5e+300");
        check(-2.5e-5, "-0.000025");
        check(1e-7, "1e-7");
        check(1e-6, "0.000001");
        check(1.25e-7, "1.25e-7");
        check(0.001_234_567_89, "0.00123456789");
        check(5e-324, "5e-324");
        check(f64::MAX, "1.7976931348623157e+308");
        check(f64::INFINITY, "inf");
        check(f64::NEG_INFINITY, "-inf");
        check(f64::NAN, "nan");
        check(100.5, "100.5");
        check(1_000_200.000_3, "1000200.0003");
    }

    /// What Valkey 9.1 prints, where it is not the shortest text or not the closest.
    #[test]
    fn digits_are_those_of_valkey() {
        let check = |value: f64, expected: &str| assert_eq!(text_of(value), expected);
        check(2.116_828_930_620_547, "2.1168289306205468");
        check(4.776_652_386_244_296, "4.7766523862442956");
        check(5_852.829_432_127_573, "5852.8294321275735");
        check(-5.329_070_518_200_751e-15, "-5.3290705182007514e-15");
        check(7.044_203_657_368_27e-133, "7.044203657368269e-133");
        check(5.411_060_640_602_767e-233, "5.4110606406027666e-233");
        check(3.686_800_097_311_08e261, "3.6868000973110798e+261");
        check(2.954_553_157_691_435_4e-126, "2.9545531576914355e-126");
        check(2.980_232_238_769_531_2e-8, "2.9802322387695313e-8");
        check(f64::MIN_POSITIVE, "2.2250738585072014e-308");
        check(f64::EPSILON, "2.220446049250313e-16");
    }

    #[test]
    fn doubles_are_rounded_like_this() {
        let check = |value: f64, expected: &str| {
            let mut out = Vec::new();
            write_rounded(&mut out, value, 4);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(0.0, "0.0000");
        check(-0.0, "0.0000");
        check(0.00005, "0.0000");
        check(0.00025, "0.0002");
        check(0.775, "0.7750");
        check(-1.5, "-1.5000");
        check(166_274.151_6, "166274.1516");
        check(1e300, "922337203685477.5807");
    }

    #[test]
    fn doubles_are_read_like_this() {
        let check = |text: &str, expected: Option<f64>| {
            assert_eq!(
                parse_f64(text.as_bytes()).map(f64::to_bits),
                expected.map(f64::to_bits),
                "{text}"
            );
        };
        check("1", Some(1.0));
        check("-1.5e3", Some(-1500.0));
        check("+1", Some(1.0));
        check("-0", Some(-0.0));
        check("0e999999", Some(0.0));
        check(".5", Some(0.5));
        check("5.", Some(5.0));
        check("inf", Some(f64::INFINITY));
        check("+INF", Some(f64::INFINITY));
        check("-Infinity", Some(f64::NEG_INFINITY));
        check("5e-324", Some(5e-324));
        check("9223372036854775807", Some(9_223_372_036_854_775_807.0));
        for refused in [
            "", " 1", "1 ", "nan", "-nan", "0x10", "1e", "1e+", ".", "-", "e5", "1e400", "-1e400",
            "1e-400", "1_000", "infin", "1,5", "--1", "1\0",
        ] {
            check(refused, None);
        }
        assert_eq!(parse_f64(b"\xff"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(parse_f64(text_of(value).as_bytes()).map(f64::to_bits), Some(bits));
        }

        #[test]
        fn human_text_is_that_of_long_doubles(number in -1_000_000_000..1_000_000_000_i64, halvings in 0..20) {
            let value = number as f64 / f64::from(1 << halvings);
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            write_human_f64(&mut out, value);
            LongDouble::parse(format!("{value:.20}").as_bytes()).unwrap().write_human(&mut expected);
            prop_assert_eq!(out, expected);
        }

        #[test]
        fn garbage_never_panics(text in "[-+.eEinfaxy0-9]{0,30}") {
            let _ = parse_f64(text.as_bytes());
        }
    }
}
