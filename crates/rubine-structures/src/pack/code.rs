//! How one item is stored: a code of one byte that is its length, or says how wide the length is that
//! stands before and after it. Knows nothing of blocks.

/// What stands around one item: its code and, if it is long, its length.
pub(super) struct Frame {
    pub(super) code: u8,
    length: [u8; 8],
}

/// Codes up to this one are the length itself; the next three say how wide the length is.
pub(super) const SHORT_MAX: u8 = 252;
const LENGTH_IN_2_BYTES: u8 = 253;
const LENGTH_IN_4_BYTES: u8 = 254;
const LENGTH_IN_8_BYTES: u8 = 255;

impl Frame {
    #[inline]
    pub(super) fn of(item: &[u8]) -> Self {
        Self { code: code_of(item.len()), length: (item.len() as u64).to_le_bytes() }
    }

    pub(super) fn length(&self) -> &[u8] {
        &self.length[..length_width(self.code)]
    }
}

#[inline]
pub(super) fn code_of(item_len: usize) -> u8 {
    if item_len <= usize::from(SHORT_MAX) {
        item_len as u8
    } else if u16::try_from(item_len).is_ok() {
        LENGTH_IN_2_BYTES
    } else if u32::try_from(item_len).is_ok() {
        LENGTH_IN_4_BYTES
    } else {
        LENGTH_IN_8_BYTES
    }
}

/// How many bytes the length takes before and again after an item.
#[inline]
pub(super) const fn length_width(code: u8) -> usize {
    match code {
        LENGTH_IN_2_BYTES => 2,
        LENGTH_IN_4_BYTES => 4,
        LENGTH_IN_8_BYTES => 8,
        _ => 0,
    }
}

#[inline]
pub(super) fn width_at_front(code: u8, data: &[u8]) -> usize {
    if code <= SHORT_MAX { usize::from(code) } else { long_width(&data[..length_width(code)]) }
}

#[inline]
pub(super) fn width_at_back(code: u8, data: &[u8]) -> usize {
    if code <= SHORT_MAX {
        usize::from(code)
    } else {
        long_width(&data[data.len() - length_width(code)..])
    }
}

#[cold]
fn long_width(length: &[u8]) -> usize {
    let mut bytes = [0; 8];
    bytes[..length.len()].copy_from_slice(length);
    u64::from_le_bytes(bytes) as usize + 2 * length.len()
}

#[inline]
pub(super) fn without_length(code: u8, stored: &[u8]) -> &[u8] {
    if code <= SHORT_MAX {
        stored
    } else {
        &stored[length_width(code)..stored.len() - length_width(code)]
    }
}

/// So few codes that their sum fits 16 bits, which lets the compiler add eight at once.
pub(super) const SUM_BLOCK: usize = 128;
const _: () = assert!(SUM_BLOCK * (SHORT_MAX as usize) <= u16::MAX as usize);

/// The bytes that items with these codes take, unless one of them is long.
#[inline]
pub(super) fn sum_of_short(codes: &[u8]) -> Option<usize> {
    let largest = codes.iter().fold(0, |largest, &code| largest.max(code));
    let sum = codes.iter().fold(0u16, |sum, &code| sum.wrapping_add(u16::from(code)));
    (largest <= SHORT_MAX).then_some(usize::from(sum))
}
