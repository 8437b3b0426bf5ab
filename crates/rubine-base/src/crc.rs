//! The two checksums that the wire and the files are built on: CRC16 for hash slots, CRC64 for dumps.

use crc_fast::{CrcAlgorithm, Digest};
use memchr::memchr;

/// How many hash slots a cluster has.
pub const SLOT_COUNT: u16 = 16_384;

/// CRC-16/XMODEM.
#[inline]
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes
        .iter()
        .fold(0, |crc: u16, byte| (crc << 8) ^ CRC16_TABLE[usize::from((crc >> 8) as u8 ^ byte)])
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
    let after = &key[memchr(b'{', key)? + 1..];
    let tag = &after[..memchr(b'}', after)?];
    (!tag.is_empty()).then_some(tag)
}

/// Continues `crc`, zero at the start, over `bytes`: CRC-64 as Jones defined it and dump files carry it.
pub fn crc64(crc: u64, bytes: &[u8]) -> u64 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc64Redis, crc);
    digest.update(bytes);
    digest.finalize()
}

const CRC16_TABLE: [u16; 256] = {
    const POLYNOMIAL: u16 = 0x1021;
    let mut table = [0; 256];
    let mut index = 0;
    while index < table.len() {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ POLYNOMIAL };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{crc16, crc64, slot_of, tag_of};

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
        fn crc64_follows_its_definition_and_continues(first: Vec<u8>, second: Vec<u8>) {
            let whole = [&first[..], &second[..]].concat();
            prop_assert_eq!(crc64(0, &whole), crc64_slowly(0, &whole));
            prop_assert_eq!(crc64(crc64(0, &first), &second), crc64(0, &whole));
        }
    }
}
