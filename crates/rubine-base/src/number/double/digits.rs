//! The decimal digits of a double, as Redis and Valkey choose them. Writes no text.
//!
//! They print with Grisu2 (Florian Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with Integers",
//! 2010). It looks for the shortest digits between the neighbours of a number with 64-bit integers, and since these are
//! not quite exact, it stays a little inside: about one double in a thousand gets a digit more than it needs, or digits
//! that are not the closest. Whoever wants the same text needs the same algorithm, with the same powers of ten.

/// No double has more digits.
pub(super) const DIGITS_MAX: usize = 17;

const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
const HIDDEN_BIT: u64 = 1 << FRACTION_BITS;
const EXPONENT_BIAS: i32 = 1023 + FRACTION_BITS as i32;

/// Powers of ten are tabulated in steps of this many, from the first on.
const STEP: i32 = 8;
const POWER_FIRST: i32 = -348;
const POWERS: usize = 87;

/// A product with a power has an exponent in this range, so that its integer part has 4 to 32 bits.
const EXPONENT_MIN: i32 = -60;
const EXPONENT_MAX: i32 = -32;

/// A positive number as its decimal digits: `digits * 10^exponent`.
pub(super) struct Digits {
    /// ASCII, the highest place first.
    places: [u8; DIGITS_MAX],
    count: usize,
    pub(super) exponent: i32,
}

/// `fraction * 2^exponent`.
#[derive(Clone, Copy)]
struct Scaled {
    fraction: u64,
    exponent: i32,
}

impl Scaled {
    const fn normalized(self) -> Self {
        let zeros = self.fraction.leading_zeros();
        Self { fraction: self.fraction << zeros, exponent: self.exponent - zeros as i32 }
    }

    /// The product, rounded to 64 bits.
    fn times(self, other: Self) -> Self {
        const HALF: u128 = 1 << 63;
        let product = u128::from(self.fraction) * u128::from(other.fraction);
        let fraction = ((product + HALF) >> u64::BITS) as u64;
        Self { fraction, exponent: self.exponent + other.exponent + u64::BITS as i32 }
    }
}

impl Digits {
    /// Of a positive, finite number.
    pub(super) fn of(value: f64) -> Self {
        let bits = value.to_bits();
        let (biased, fraction) = ((bits >> FRACTION_BITS) as i32, bits & (HIDDEN_BIT - 1));
        let exact = match biased {
            0 => Scaled { fraction, exponent: 1 - EXPONENT_BIAS },
            _ => Scaled { fraction: fraction | HIDDEN_BIT, exponent: biased - EXPONENT_BIAS },
        };
        // What is above the middle between the number and the next one reads back as the next one, and so below. Under a
        // power of two, numbers are twice as close.
        let upper = Scaled { fraction: exact.fraction * 2 + 1, exponent: exact.exponent - 1 };
        let upper = upper.normalized();
        let closeness = if exact.fraction == HIDDEN_BIT { 2 } else { 1 };
        let below = (exact.fraction << closeness) - 1;
        let lower = Scaled {
            fraction: below << (exact.exponent - closeness - upper.exponent),
            exponent: upper.exponent,
        };

        let (power, power_exponent) = power_for(upper.exponent);
        let value = exact.normalized().times(power);
        let mut upper = upper.times(power);
        let mut lower = lower.times(power);
        // Each product may be off by one.
        lower.fraction += 1;
        upper.fraction -= 1;

        let mut digits = Self { places: [0; DIGITS_MAX], count: 0, exponent: -power_exponent };
        digits.generate(upper, upper.fraction - value.fraction, upper.fraction - lower.fraction);
        digits
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.places[..self.count]
    }

    /// Writes the digits of `upper`, until what is left of it is less than `room`: then they name a number between the
    /// bounds. The last is lowered while that brings it nearer to the number, `distance` below `upper`.
    fn generate(&mut self, upper: Scaled, mut distance: u64, mut room: u64) {
        let shift = -upper.exponent;
        let one = 1u64 << shift;
        let (mut integer, mut fraction) = (upper.fraction >> shift, upper.fraction & (one - 1));
        let mut unit = 1_000_000_000;
        for position in (0..10).rev() {
            self.push(integer / unit);
            integer %= unit;
            let rest = (integer << shift) + fraction;
            if rest <= room {
                self.exponent += position;
                self.approach(rest, distance, room, unit << shift);
                return;
            }
            unit /= 10;
        }
        // None of these overflows: what is left is less than one, and more than room and distance.
        loop {
            fraction *= 10;
            room *= 10;
            distance *= 10;
            self.exponent -= 1;
            self.push(fraction >> shift);
            fraction &= one - 1;
            if fraction < room {
                self.approach(fraction, distance, room, one);
                return;
            }
        }
    }

    /// Adds a digit, unless it is a zero before the first.
    fn push(&mut self, digit: u64) {
        if digit != 0 || self.count != 0 {
            self.places[self.count] = b'0' + digit as u8;
            self.count += 1;
        }
    }

    /// Lowers the last digit, which stands for `unit`, while what is written comes nearer: it is `rest` below the upper
    /// bound, and should be `distance` below it, in any case less than `room`.
    fn approach(&mut self, mut rest: u64, distance: u64, room: u64, unit: u64) {
        let is_nearer =
            |rest: u64| rest + unit < distance || rest + unit - distance < distance - rest;
        while rest < distance && unit <= room - rest && is_nearer(rest) {
            self.places[self.count - 1] -= 1;
            rest += unit;
        }
    }
}

/// The power of ten that brings a number with this exponent into range, and its exponent of ten.
fn power_for(exponent: i32) -> (Scaled, i32) {
    const LOG10_OF_2: f64 = 0.301_029_995_663_981_14;
    // Where two would do, the guess decides.
    let guess = (-f64::from(exponent + POWERS as i32) * LOG10_OF_2) as i32;
    let mut index = (guess - POWER_FIRST) / STEP;
    loop {
        let power = TABLE[index as usize];
        let product_exponent = exponent + power.exponent + u64::BITS as i32;
        if product_exponent < EXPONENT_MIN {
            index += 1;
        } else if EXPONENT_MAX < product_exponent {
            index -= 1;
        } else {
            return (power, POWER_FIRST + index * STEP);
        }
    }
}

/// The powers of ten from [`POWER_FIRST`] on, rounded to 64 bits.
static TABLE: [Scaled; POWERS] = table();

/// Limbs of the numbers that the table is made with: room for 10^340, and for 10^-348 to be exact enough.
const LIMBS: usize = 40;
const BITS: i32 = (LIMBS * u64::BITS as usize) as i32;

const fn table() -> [Scaled; POWERS] {
    const TEN_TO_THE_STEP: u64 = 100_000_000;
    let mut table = [Scaled { fraction: 0, exponent: 0 }; POWERS];
    // No power in the table is 1: they are 4 away from the multiples of 8.
    let first_positive = ((4 - POWER_FIRST) / STEP) as usize;
    let mut positive = [0; LIMBS];
    positive[0] = 10_000;
    let mut index = first_positive;
    while index < POWERS {
        table[index] = leading(&positive, 0);
        multiply(&mut positive, TEN_TO_THE_STEP);
        index += 1;
    }
    // 2^(BITS - 1), to be divided.
    let mut negative = [0; LIMBS];
    negative[LIMBS - 1] = 1 << (u64::BITS - 1);
    divide(&mut negative, 10_000);
    index = first_positive;
    while 0 < index {
        index -= 1;
        table[index] = leading(&negative, 1 - BITS);
        divide(&mut negative, TEN_TO_THE_STEP);
    }
    table
}

const fn multiply(number: &mut [u64; LIMBS], factor: u64) {
    let (mut carry, mut limb) = (0, 0);
    while limb < LIMBS {
        let product = number[limb] as u128 * factor as u128 + carry;
        number[limb] = product as u64;
        carry = product >> u64::BITS;
        limb += 1;
    }
}

const fn divide(number: &mut [u64; LIMBS], divisor: u64) {
    let (mut rest, mut limb) = (0, LIMBS);
    while 0 < limb {
        limb -= 1;
        let dividend = (rest << u64::BITS) | number[limb] as u128;
        number[limb] = (dividend / divisor as u128) as u64;
        rest = dividend % divisor as u128;
    }
}

/// The 64 bits that a number times `2^exponent` begins with, rounded.
const fn leading(number: &[u64; LIMBS], exponent: i32) -> Scaled {
    let mut top = LIMBS - 1;
    while number[top] == 0 {
        top -= 1;
    }
    let zeros = number[top].leading_zeros();
    let next = if top < 1 { 0 } else { number[top - 1] };
    let after = if top < 2 { 0 } else { number[top - 2] };
    let joined = ((number[top] as u128) << u64::BITS) | next as u128;
    let joined = if zeros == 0 {
        joined
    } else {
        (joined << zeros) | (after >> (u64::BITS - zeros)) as u128
    };
    let round_up = (joined >> (u64::BITS - 1)) & 1;
    let fraction = (joined >> u64::BITS) as u64 + round_up as u64;
    Scaled { fraction, exponent: exponent + (top as i32) * u64::BITS as i32 - zeros as i32 }
}
