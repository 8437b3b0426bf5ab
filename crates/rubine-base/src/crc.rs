//! The two checksums that the wire and the files are built on: CRC16 for hash slots, CRC64 for dumps.

use crc_fast::{CrcAlgorithm, Digest};
use memchr::memchr;

/// How many hash slots a cluster has.
pub const SLOT_COUNT: u16 = 16_384;

/// CRC-16/XMODEM.
#[inline]
pub fn crc16(bytes: &[u8]) -> u16 {
    let (blocks, rest) = bytes.as_chunks();
    let crc = blocks.iter().fold(0, |crc, block| crc16_of_block(crc, *block));
    rest.iter()
        .fold(crc, |crc, byte| (crc << 8) ^ CRC16_TABLES[0][usize::from((crc >> 8) as u8 ^ byte)])
}

/// Bytes that are looked up at once: no look-up waits for another's result.
const BLOCK: usize = 8;

#[inline]
fn crc16_of_block(crc: u16, mut block: [u8; BLOCK]) -> u16 {
    let [high, low] = crc.to_be_bytes();
    block[0] ^= high;
    block[1] ^= low;
    let parts = block.iter().zip(CRC16_TABLES.iter().rev());
    parts.fold(0, |sum, (byte, table)| sum ^ table[usize::from(*byte)])
}

/// The hash slot of `key`, below [`SLOT_COUNT`]. Where the key has a tag, what stands between the first `{`
/// and the next `}`, only the tag counts, if it is not empty.
#[inline]
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(tag_of(key).unwrap_or(key)) % SLOT_COUNT
}

/// The tag of `key` that alone decides its slot, if it has one.
#[inline]
pub fn tag_of(key: &[u8]) -> Option<&[u8]> {
    if has_no_brace(key) { None } else { tag_behind_brace(key) }
}

/// Whether a key certainly has no `{`: most keys are short and have none, for which a few instructions do.
#[inline]
fn has_no_brace(key: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    const BRACES: u64 = u64::from_ne_bytes([b'{'; 8]);
    const LEN_MAX: usize = 64;
    let has_brace = |chunk: &[u8; 8]| {
        let difference = u64::from_ne_bytes(*chunk) ^ BRACES;
        // A byte that is zero borrows from its top bit.
        difference.wrapping_sub(ONES) & !difference & TOPS != 0
    };
    let (chunks, rest) = key.as_chunks();
    key.len() <= LEN_MAX
        && !chunks.iter().any(has_brace)
        && match key.last_chunk() {
            Some(last) => rest.is_empty() || !has_brace(last),
            None => !rest.contains(&b'{'),
        }
}

fn tag_behind_brace(key: &[u8]) -> Option<&[u8]> {
    let after = &key[memchr(b'{', key)? + 1..];
    let tag = &after[..memchr(b'}', after)?];
    (!tag.is_empty()).then_some(tag)
}

/// The one slot of all keys that match a pattern, where the pattern tells: it has a tag, or no wildcard at all. It does not
/// where a character is escaped, as elsewhere.
pub fn slot_of_pattern(pattern: &[u8]) -> Option<u16> {
    let wildcard = pattern.iter().position(|byte| b"*?[\\".contains(byte));
    let Some(wildcard) = wildcard else { return Some(slot_of(pattern)) };
    let tag = tag_of(&pattern[..wildcard])?;
    Some(crc16(tag) % SLOT_COUNT)
}

/// Continues `crc`, zero at the start, over `bytes`: CRC-64 as Jones defined it and dump files carry it.
pub fn crc64(crc: u64, bytes: &[u8]) -> u64 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc64Redis, crc);
    digest.update(bytes);
    digest.finalize()
}

/// What a byte makes of the checksum, by how many bytes come after it.
static CRC16_TABLES: [[u16; 256]; BLOCK] = {
    const POLYNOMIAL: u16 = 0x1021;
    let mut tables = [[0; 256]; BLOCK];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut after = 0;
        while after < BLOCK {
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ POLYNOMIAL };
                bit += 1;
            }
            tables[after][index] = crc;
            after += 1;
        }
        index += 1;
    }
    tables
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{crc16, crc64, has_no_brace, slot_of, tag_of};

    #[test]
    fn check_values() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(0, b""), 0);
    }

    #[test]
    fn only_a_tag_that_is_not_empty_decides() {
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b"{foo}bar"), slot_of(b"foo"));
        assert_eq!(tag_of(b"a{b}{c}"), Some(&b"b"[..]));
        assert_eq!(tag_of(b"a{{b}}"), Some(&b"{b"[..]));
        for untagged in [&b"foo{}{bar}"[..], b"foo{bar", b"foo}bar", b"foo}{bar", b""] {
            assert_eq!(tag_of(untagged), None);
        }
    }

    /// The definition, bit by bit.
    fn crc16_slowly(bytes: &[u8]) -> u16 {
        bytes.iter().fold(0, |crc: u16, &byte| {
            (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
            })
        })
    }

    fn crc64_slowly(crc: u64, bytes: &[u8]) -> u64 {
        const POLYNOMIAL_REFLECTED: u64 = 0xad93_d235_94c9_35a9_u64.reverse_bits();
        bytes.iter().fold(crc, |crc, &byte| {
            (0..8).fold(crc ^ u64::from(byte), |crc, _| {
                if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ POLYNOMIAL_REFLECTED }
            })
        })
    }

    proptest! {
        #[test]
        fn a_brace_is_seen_wherever_it_stands(key in prop::collection::vec(prop::sample::select(b"a|z\xfb\0\x01{".to_vec()), 0..80)) {
            prop_assert_eq!(has_no_brace(&key), key.len() <= 64 && !key.contains(&b'{'));
        }

        #[test]
        fn crc16_follows_its_definition(bytes: Vec<u8>) {
            prop_assert_eq!(crc16(&bytes), crc16_slowly(&bytes));
        }

        #[test]
        fn crc64_follows_its_definition_and_continues(first: Vec<u8>, second: Vec<u8>) {
            let whole = [&first[..], &second[..]].concat();
            prop_assert_eq!(crc64(0, &whole), crc64_slowly(0, &whole));
            prop_assert_eq!(crc64(crc64(0, &first), &second), crc64(0, &whole));
        }
    }
}
