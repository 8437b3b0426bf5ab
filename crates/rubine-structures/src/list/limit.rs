//! How large a chunk may be, and how large a list would be as a listpack, which decides the name
//! of its encoding. Never builds a listpack.

use rubine_base::number;

use crate::pack::Pack;

/// How much one chunk of a list holds: the directive `list-max-listpack-size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimit {
    /// Largest allocation of a chunk that is not one single item.
    pub(super) bytes: usize,
    /// Most items of a chunk, if the directive counts items.
    items: Option<usize>,
}

/// The sizes that -1 to -5 stand for.
const BYTES_BY_LEVEL: [usize; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
/// The size of a chunk when the directive counts items.
const BYTES_WHEN_COUNTED: usize = 8 << 10;

impl ChunkLimit {
    /// The directive's value: a number of items, or -1 to -5 for 4 to 64 KB. Values beyond count as
    /// the nearest.
    pub const fn from_directive(value: i64) -> Self {
        if value < 0 {
            let level = value.unsigned_abs() as usize - 1;
            let last = BYTES_BY_LEVEL.len() - 1;
            let bytes = BYTES_BY_LEVEL[if level < last { level } else { last }];
            Self { bytes, items: None }
        } else {
            let items = if value == 0 { 1 } else { value as usize };
            Self { bytes: BYTES_WHEN_COUNTED, items: Some(items) }
        }
    }

    /// An item of this length has a chunk of its own.
    pub(super) fn is_large(self, item_len: usize) -> bool {
        self.bytes < item_len
    }

    pub(super) fn items(self) -> usize {
        self.items.unwrap_or(usize::MAX)
    }

    /// `pack` may take one more item of this length.
    pub(super) fn admits(self, pack: &Pack, item_len: usize) -> bool {
        !self.is_large(item_len)
            && pack.len() < self.items()
            && (pack.is_empty() || pack.heap_bytes_needed_with(item_len) <= self.bytes)
    }

    /// A listpack of this size has to become a quicklist.
    pub(super) fn is_exceeded_by(self, listpack_bytes: usize, items: usize) -> bool {
        self.bytes < listpack_bytes || self.items() < items
    }

    /// A quicklist of one chunk becomes a listpack again only when it has shrunk to half of the limit,
    /// so that a list around the limit does not change its encoding all the time.
    pub(super) fn half(self) -> Half {
        match self.items {
            Some(items) => Half { bytes: usize::MAX, items: items / 2 },
            None => Half { bytes: self.bytes / 2, items: usize::MAX },
        }
    }
}

impl Default for ChunkLimit {
    fn default() -> Self {
        Self::from_directive(-2)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Half {
    pub(super) bytes: usize,
    pub(super) items: usize,
}

/// Header and end mark of a listpack.
pub(crate) const LISTPACK_EMPTY_BYTES: usize = 6 + 1;

/// How large the items of `pack` would be as a listpack.
pub(super) fn listpack_bytes(pack: &Pack) -> usize {
    LISTPACK_EMPTY_BYTES + pack.iter().map(listpack_item_bytes).sum::<usize>()
}

/// How many bytes an item takes in a listpack: its encoding, then the length of that for reading
/// backwards.
pub(crate) fn listpack_item_bytes(item: &[u8]) -> usize {
    let encoded = match number::parse_i64(item) {
        Some(0..=127) => 1,
        Some(-4096..=4095) => 2,
        Some(number) if i16::try_from(number).is_ok() => 3,
        Some(-8_388_608..=8_388_607) => 4,
        Some(number) if i32::try_from(number).is_ok() => 5,
        Some(_) => 9,
        None if item.len() < 64 => 1 + item.len(),
        None if item.len() < 4096 => 2 + item.len(),
        None => 5 + item.len(),
    };
    let backward = match encoded {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        2_097_152..=268_435_455 => 4,
        _ => 5,
    };
    encoded + backward
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directive_is_read_as_redis_reads_it() {
        let cases = [
            (-1, 4096, usize::MAX),
            (-2, 8192, usize::MAX),
            (-5, 65_536, usize::MAX),
            (-6, 65_536, usize::MAX),
            (i64::MIN, 65_536, usize::MAX),
            (0, 8192, 1),
            (1, 8192, 1),
            (128, 8192, 128),
        ];
        for (value, bytes, items) in cases {
            let limit = ChunkLimit::from_directive(value);
            assert_eq!((limit.bytes, limit.items()), (bytes, items), "{value}");
        }
    }

    #[test]
    fn items_are_measured_as_in_a_listpack() {
        let long = "x".repeat(5000);
        let cases = [
            ("", 2),
            ("0", 2),
            ("127", 2),
            ("128", 3),
            ("-1", 3),
            ("-4096", 3),
            ("4096", 4),
            ("-32768", 4),
            ("32768", 5),
            ("8388608", 6),
            ("2147483648", 10),
            ("-9223372036854775808", 10),
            ("01", 4),
            ("-0", 4),
            ("9223372036854775808", 21),
            (&long[..63], 65),
            (&long[..64], 67),
            (&long[..126], 130),
            (&long[..4095], 4099),
            (&long[..4096], 4103),
        ];
        for (item, bytes) in cases {
            assert_eq!(listpack_item_bytes(item.as_bytes()), bytes, "{item}");
        }
    }
}
