//! Extended precision: `INCRBYFLOAT` and its relatives calculate in the 80-bit numbers of the x87, and their
//! results are stored as text. Calculated in software, so that every machine gives the same digits.

use std::fmt;
use std::io::Write;

use rustc_apfloat::ieee::X87DoubleExtended;
use rustc_apfloat::{Float, Round};

/// Text this long or longer is refused before anything is read.
const TEXT_BYTES_MAX: usize = 5 * 1024;
/// Exponents are cut here: far beyond what any mantissa of [`TEXT_BYTES_MAX`] digits could bring back.
const EXPONENT_MAX: i64 = 100_000;
/// Digits behind the point in [`LongDouble::write_human`].
const FRACTION_DIGITS: u32 = 17;

/// A floating point number with a mantissa of 64 bits and an exponent of 15.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct LongDouble {
    value: X87DoubleExtended,
}

impl LongDouble {
    /// What a missing value counts as.
    pub const ZERO: Self = Self { value: X87DoubleExtended::ZERO };

    /// `value`, exactly.
    pub fn from_i64(value: i64) -> Self {
        Self { value: X87DoubleExtended::from_i128(i128::from(value)).value }
    }

    /// Reads decimal or hexadecimal text with an optional sign, point and exponent, or `inf` or `infinity` in
    /// any case. Refuses not-a-number, blanks, and what is too large or too small to be anything but infinity or zero.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if TEXT_BYTES_MAX <= text.len() {
            return None;
        }
        if let Some(integer) = super::parse_i64(text) {
            return Some(Self::from_i64(integer));
        }
        let text = std::str::from_utf8(text).ok()?;
        let (negative, magnitude) = match text.as_bytes() {
            [b'-', ..] => (true, &text[1..]),
            [b'+', ..] => (false, &text[1..]),
            _ => (false, text),
        };
        let names_infinity =
            ["inf", "infinity"].iter().any(|name| magnitude.eq_ignore_ascii_case(name));
        let value = if names_infinity {
            X87DoubleExtended::INFINITY
        } else if let Some(value) = parse_short(magnitude.as_bytes()) {
            value
        } else {
            let literal = Literal::of(magnitude)?;
            let value = literal.to_string().parse::<X87DoubleExtended>().ok()?;
            let underflows = value.is_zero() && literal.is_not_zero();
            if value.is_infinite() || underflows {
                return None;
            }
            value
        };
        Some(Self { value: if negative { -value } else { value } })
    }

    pub fn is_nan(self) -> bool {
        self.value.is_nan()
    }

    pub fn is_infinite(self) -> bool {
        self.value.is_infinite()
    }

    /// `factor` times the value, rounded up to an integer; as large as it can be where that is not enough. Zero for
    /// not-a-number.
    pub fn times_rounded_up(self, factor: i64) -> i128 {
        let product = (self.value * Self::from_i64(factor).value).value;
        product.to_i128_r(128, Round::TowardPositive, &mut false).value
    }

    /// Appends the value rounded to 17 digits behind the point, without an exponent and without the zeros at the end.
    pub fn write_human(self, out: &mut Vec<u8>) {
        if self.is_nan() {
            out.extend_from_slice(b"nan");
            return;
        }
        let sign_at = out.len();
        if self.value.is_negative() {
            out.push(b'-');
        }
        if self.is_infinite() {
            out.extend_from_slice(b"inf");
            return;
        }
        let (mantissa, exponent) = self.mantissa_and_exponent();
        if 0 <= exponent {
            write_shifted(out, mantissa, exponent as u32);
        } else {
            write_fraction(out, mantissa, exponent.unsigned_abs());
        }
        if &out[sign_at..] == b"-0" {
            out.remove(sign_at);
        }
    }

    /// The magnitude as `mantissa * 2^exponent`.
    fn mantissa_and_exponent(self) -> (u64, i32) {
        const EXPONENT_BIAS: i32 = 16_383;
        const EXPONENT_MASK: u128 = 0x7fff;
        const MANTISSA_BITS: i32 = 64;
        let bits = self.value.to_bits();
        let exponent_field = (bits >> MANTISSA_BITS & EXPONENT_MASK) as i32;
        // A denormal has the exponent of the smallest normal number.
        (bits as u64, exponent_field.max(1) - EXPONENT_BIAS - (MANTISSA_BITS - 1))
    }
}

impl std::ops::Add for LongDouble {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { value: (self.value + other.value).value }
    }
}

/// Reads the form that nearly every number has: at most 18 digits, perhaps a point among them.
fn parse_short(text: &[u8]) -> Option<X87DoubleExtended> {
    const DIGITS_MAX: usize = 18;
    let (integer, fraction) = match memchr::memchr(b'.', text) {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &[][..]),
    };
    let digit_count = integer.len() + fraction.len();
    if digit_count == 0 || DIGITS_MAX < digit_count {
        return None;
    }
    let digits = integer.iter().chain(fraction).try_fold(0_u64, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0'))
    })?;
    if digits == 0 {
        return Some(X87DoubleExtended::ZERO);
    }
    // Digits and power of ten have at most 60 bits each, so a dividend of 128 bits leaves a quotient of 68 or more:
    // its last bit is beyond the mantissa and can say that something follows, and the rounding to come is the only one.
    let shift = u128::from(digits).leading_zeros();
    let (dividend, divisor) =
        (u128::from(digits) << shift, u128::from(10_u64.pow(fraction.len() as u32)));
    let has_rest = !dividend.is_multiple_of(divisor);
    let quotient = X87DoubleExtended::from_u128((dividend / divisor) | u128::from(has_rest)).value;
    Some(quotient.scalbn(-(shift as i32)))
}

/// The parts of an unsigned number as C would read it, before it is known whether they fit.
struct Literal<'a> {
    radix: Radix,
    /// Digits with at most one point.
    mantissa: &'a str,
    exponent: i64,
}

#[derive(Clone, Copy, PartialEq)]
enum Radix {
    Decimal,
    Hexadecimal,
}

impl<'a> Literal<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (radix, text) = match text.as_bytes() {
            [b'0', b'x' | b'X', ..] => (Radix::Hexadecimal, &text[2..]),
            _ => (Radix::Decimal, text),
        };
        let exponent_marks = match radix {
            Radix::Decimal => ['e', 'E'],
            Radix::Hexadecimal => ['p', 'P'],
        };
        let (mantissa, exponent) = match text.split_once(exponent_marks) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (text, 0),
        };
        let is_digit = |byte: &u8| match radix {
            Radix::Decimal => byte.is_ascii_digit(),
            Radix::Hexadecimal => byte.is_ascii_hexdigit(),
        };
        let digit_count = mantissa.bytes().filter(is_digit).count();
        let point_count = mantissa.bytes().filter(|&byte| byte == b'.').count();
        let is_well_formed =
            0 < digit_count && point_count <= 1 && digit_count + point_count == mantissa.len();
        is_well_formed.then_some(Self { radix, mantissa, exponent })
    }

    fn is_not_zero(&self) -> bool {
        self.mantissa.bytes().any(|byte| !matches!(byte, b'0' | b'.'))
    }
}

impl fmt::Display for Literal<'_> {
    /// The number in the one form that the arithmetic library reads: digits on both sides, an exponent always.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, mark) = match self.radix {
            Radix::Decimal => ("", 'e'),
            Radix::Hexadecimal => ("0x", 'p'),
        };
        write!(formatter, "{prefix}0{}", self.mantissa)?;
        if self.mantissa.ends_with('.') {
            formatter.write_str("0")?;
        }
        write!(formatter, "{mark}{}", self.exponent)
    }
}

/// A signed run of digits, cut at [`EXPONENT_MAX`].
fn parse_exponent(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] | digits => (1, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let magnitude = digits.iter().try_fold(0_i64, |value, byte| {
        byte.is_ascii_digit().then(|| (value * 10 + i64::from(byte - b'0')).min(EXPONENT_MAX))
    })?;
    Some(sign * magnitude)
}

/// Appends `mantissa * 2^-shift`, rounded half to even, without zeros at the end.
fn write_fraction(out: &mut Vec<u8>, mantissa: u64, shift: u32) {
    const ONE: u128 = 10_u128.pow(FRACTION_DIGITS);
    let scaled = u128::from(mantissa) * ONE;
    let rounded = match scaled.checked_shr(shift) {
        // `scaled` has at most 121 bits: shifted this far it is below a half.
        None => 0,
        Some(floor) => {
            let rest = scaled - (floor << shift);
            let half = 1_u128 << (shift - 1);
            let rounds_up = half < rest || (rest == half && floor & 1 == 1);
            floor + u128::from(rounds_up)
        }
    };
    let (integer, fraction) = (rounded / ONE, (rounded % ONE) as u64);
    out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
    if fraction != 0 {
        let digits = format!("{fraction:0width$}", width = FRACTION_DIGITS as usize);
        out.push(b'.');
        out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
    }
}

/// Appends `mantissa * 2^shift`, all of it, up to five thousand digits.
fn write_shifted(out: &mut Vec<u8>, mantissa: u64, shift: u32) {
    const LIMB: u64 = 10_u64.pow(LIMB_DIGITS as u32);
    const LIMB_DIGITS: usize = 18;
    const SHIFT_STEP: u32 = 64;
    if shift <= u64::BITS {
        let integer = u128::from(mantissa) << shift;
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
        return;
    }
    // Limbs to the base 10^18, the lowest first.
    let mut limbs = vec![mantissa % LIMB, mantissa / LIMB];
    let mut shift_left = shift;
    while 0 < shift_left {
        let step = shift_left.min(SHIFT_STEP);
        let mut carry = 0_u128;
        for limb in &mut limbs {
            let product = (u128::from(*limb) << step) + carry;
            *limb = (product % u128::from(LIMB)) as u64;
            carry = product / u128::from(LIMB);
        }
        while carry != 0 {
            limbs.push((carry % u128::from(LIMB)) as u64);
            carry /= u128::from(LIMB);
        }
        shift_left -= step;
    }
    let mut digits = Vec::with_capacity(limbs.len() * LIMB_DIGITS);
    for limb in limbs.iter().rev() {
        write!(digits, "{limb:0LIMB_DIGITS$}").expect("a Vec takes all that is written");
    }
    let leading_zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    out.extend_from_slice(&digits[leading_zeros..]);
}

#[cfg(test)]
mod tests;
