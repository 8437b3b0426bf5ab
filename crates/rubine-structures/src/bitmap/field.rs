//! Integers of 1 to 64 bits at any bit of a string, and what becomes of those that do not fit.

/// The type of an integer: whether it can be negative, and its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    is_signed: bool,
    /// 1 to 64 if signed, 1 to 63 if not: so every value is an `i64`.
    width: u32,
}

/// What becomes of an integer that its field cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Its upper bits are lost.
    Wrap,
    /// The nearest that the field can hold takes its place.
    Saturate,
    /// It is refused.
    Fail,
}

/// Bytes in which any field lies wholly, wherever in the first of them it begins; all of a register, to work on at once.
const WINDOW_LEN: usize = size_of::<u128>();

impl Field {
    /// `None` if there is no such type: unsigned integers of 64 bits cannot be told to clients.
    pub fn new(is_signed: bool, width: i64) -> Option<Self> {
        let width_max = if is_signed { 64 } else { 63 };
        (1..=width_max).contains(&width).then_some(Self { is_signed, width: width as u32 })
    }

    /// Its bits.
    pub fn width(self) -> u32 {
        self.width
    }

    /// The integer at bit number `offset`. Behind the end, there are zeros.
    pub fn get(self, bytes: &[u8], offset: u64) -> i64 {
        let from_top = (window(bytes, offset) << (offset % 8)) as i128;
        let unused = u128::BITS - self.width;
        if self.is_signed {
            (from_top >> unused) as i64
        } else {
            (from_top as u128 >> unused) as i64
        }
    }

    /// Puts an integer that fits at bit number `offset`.
    ///
    /// # Panics
    /// If it would reach behind the end.
    pub fn put(self, bytes: &mut [u8], offset: u64, value: i64) {
        let shift = u128::BITS - self.width - (offset % 8) as u32;
        let mask = u128::MAX >> (u128::BITS - self.width) << shift;
        let changed = window(bytes, offset) & !mask | (value as u128) << shift & mask;
        let (first, behind) = (offset / 8, (offset + u64::from(self.width)).div_ceil(8));
        let field = &mut bytes[first as usize..behind as usize];
        field.copy_from_slice(&changed.to_be_bytes()[..field.len()]);
    }

    /// What the field holds when it is set to `value`; `None` if that is refused. An unsigned field takes a negative
    /// number for the large one of the same 64 bits. A signed one is filled up by the most negative numbers, too: those
    /// whose distance from its maximum has no place in 64 bits. Redis counts so, and logs of it are to be read.
    pub fn fit(self, value: i64, overflow: Overflow) -> Option<i64> {
        let (_, max) = self.bounds();
        let is_far_below = self.is_signed && i128::from(i64::MAX) < max - i128::from(value);
        if is_far_below && self.width < i64::BITS && overflow == Overflow::Saturate {
            return Some(max as i64);
        }
        let value = if self.is_signed { i128::from(value) } else { i128::from(value as u64) };
        self.fit_wide(value, overflow)
    }

    /// What the field holds when `increment` is added to `value`; `None` if that is refused.
    pub fn add(self, value: i64, increment: i64, overflow: Overflow) -> Option<i64> {
        self.fit_wide(i128::from(value) + i128::from(increment), overflow)
    }

    /// The least and the largest value.
    fn bounds(self) -> (i128, i128) {
        if self.is_signed {
            let half = 1 << (self.width - 1);
            (-half, half - 1)
        } else {
            (0, (1 << self.width) - 1)
        }
    }

    fn fit_wide(self, value: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.bounds();
        if (min..=max).contains(&value) {
            return Some(value as i64);
        }
        let unused = i128::BITS - self.width;
        match overflow {
            Overflow::Wrap if self.is_signed => Some((value << unused >> unused) as i64),
            Overflow::Wrap => Some((value & max) as i64),
            Overflow::Saturate => Some(value.clamp(min, max) as i64),
            Overflow::Fail => None,
        }
    }
}

/// The bytes from that of bit number `offset` on, the first one on top, with zeros behind the end.
fn window(bytes: &[u8], offset: u64) -> u128 {
    let mut window = [0; WINDOW_LEN];
    let start = usize::try_from(offset / 8).unwrap_or(usize::MAX).min(bytes.len());
    let available = &bytes[start..bytes.len().min(start.saturating_add(WINDOW_LEN))];
    window[..available.len()].copy_from_slice(available);
    u128::from_be_bytes(window)
}
