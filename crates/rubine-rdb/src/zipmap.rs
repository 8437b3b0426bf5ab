//! Zipmaps: what small hashes were before Redis 2.6. Only read.
//!
//! ```text
//! | pairs (1), at most | field length | field | value length | unused (1) | value | unused bytes | .. | 0xff |
//! ```
//!
//! A length is a byte below 254, or 254 and four bytes.

use crate::cursor::Cursor;
use crate::error::{Damage, Fault};

const LONG: u8 = 0xfe;
const END: u8 = 0xff;

/// Hands each field with its value to `visit`.
pub(crate) fn for_each_pair(
    bytes: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Damage>,
) -> Result<(), Damage> {
    let mut cursor = Cursor::new(bytes);
    let count = cursor.byte().map_err(too_short)?;
    let mut found = 0;
    while let Some(field_len) = length(&mut cursor)? {
        let field = cursor.take(u64::from(field_len)).map_err(too_short)?;
        let Some(value_len) = length(&mut cursor)? else {
            return Err(cursor.fault(Fault::Zipmap("a field without a value")));
        };
        let unused = cursor.byte().map_err(too_short)?;
        let value = cursor.take(u64::from(value_len)).map_err(too_short)?;
        cursor.take(u64::from(unused)).map_err(too_short)?;
        visit(field, value)?;
        found += 1;
    }
    if count < LONG && usize::from(count) != found {
        return Err(cursor.fault(Fault::Zipmap("its number of pairs is not that in its header")));
    }
    cursor.finish()
}

/// A length, or `None` where the end is.
fn length(cursor: &mut Cursor<'_>) -> Result<Option<u32>, Damage> {
    match cursor.byte().map_err(too_short)? {
        END => Ok(None),
        LONG => {
            let length = u32::from_le_bytes(cursor.array().map_err(too_short)?);
            let is_needed = u32::from(LONG) <= length;
            let fault = || cursor.fault(Fault::Zipmap("a short length in a long form"));
            is_needed.then_some(Some(length)).ok_or_else(fault)
        }
        short => Ok(Some(u32::from(short))),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives it away")]
fn too_short(damage: Damage) -> Damage {
    Damage { fault: Fault::Zipmap("too short"), ..damage }
}

#[cfg(test)]
mod tests {
    use super::for_each_pair;

    fn pairs_of(bytes: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut pairs = Vec::new();
        for_each_pair(bytes, |field, value| {
            pairs.push((field.to_vec(), value.to_vec()));
            Ok(())
        })
        .ok()?;
        Some(pairs)
    }

    #[test]
    fn pairs_with_unused_bytes() {
        let bytes = b"\x02\x03foo\x03\x02bar--\x05hello\x05\x00world\xff";
        let expected = [("foo", "bar"), ("hello", "world")]
            .map(|(field, value)| (field.as_bytes().to_vec(), value.as_bytes().to_vec()));
        assert_eq!(pairs_of(bytes), Some(expected.to_vec()));
        for len in 0..bytes.len() {
            assert_eq!(pairs_of(&bytes[..len]), None, "{len}");
        }
        assert_eq!(pairs_of(b"\x00\xff"), Some(Vec::new()));
        assert_eq!(pairs_of(b"\x01\xfe\x03\0\0\0foo\x01\0x\xff"), None);
        assert_eq!(pairs_of(b"\x01\x03foo\xff"), None);
    }
}
