//! Payloads there and back, and payloads that real servers made.

use proptest::prelude::*;
use rubine_structures::value::Value;

use super::{Checks, DumpError, decode, encode};
use crate::decode::Limits;
use crate::testing::{Content, content_of, value};
use crate::version::Version;

fn restore(payload: &[u8]) -> Result<Value<'static>, DumpError> {
    decode(payload, Checks::default(), &Limits::default())
}

#[test]
fn a_payload_is_what_redis_7_0_makes_of_it() {
    let value = Value::string(b"foo").into_owned();
    let payload = encode(value.as_ref(), Version::Redis(10)).unwrap();
    assert_eq!(payload, b"\x00\x03foo\x0a\x00sI9\xdbM\xc1\xba\x97");
}

/// A payload of this version with a checksum that is right.
fn payload(body: &[u8], version: u16) -> Vec<u8> {
    let mut payload = [body, &version.to_le_bytes()].concat();
    payload.extend_from_slice(&rubine_base::crc::crc64(0, &payload).to_le_bytes());
    payload
}

#[test]
fn hashes_bring_the_names_of_their_template_along() {
    let names = b"\x17\x17\0\0\0\x02\0\x86field1\x07\x86field2\x07\xff";
    let values = b"\x0d\x0d\0\0\0\x03\0\0\x01\x01\x01\x02\x01\xff";
    let packed = [&b"\x1d\0"[..], names, values].concat();
    let array = b"\x1f\x01\x02\x06field1\x06field2\xc0\x01\xc0\x02";
    for body in [&packed[..], array] {
        let value = restore(&payload(body, 15)).unwrap();
        let fields = [("field1", "1"), ("field2", "2")]
            .map(|(name, value)| (name.as_bytes().to_vec(), (value.as_bytes().to_vec(), None)));
        assert_eq!(content_of(&value), Content::Hash(fields.into_iter().collect()));
    }
    // One value too few, no fields, and the number of a template, which no payload can have.
    let few = [&b"\x1d\0"[..], names, b"\x0b\x0b\0\0\0\x02\0\0\x01\x01\x01\xff"].concat();
    for body in [&few[..], b"\x1f\x01\0", b"\x20\x05\xc0\x01\xc0\x02"] {
        assert!(matches!(restore(&payload(body, 15)), Err(DumpError::Damaged(_))));
    }
}

#[test]
fn one_number_is_two_types() {
    let hash = b"\x16\x01\x01f\x01v";
    let deadline = 1000_i64.to_le_bytes();
    assert!(restore(&payload(&[&hash[..], &deadline].concat(), 80)).is_ok());
    assert!(restore(&payload(b"\x16\x01\x43\xe8\x01f\x01v", 12)).is_ok());
    assert!(restore(&payload(&[&hash[..], &deadline].concat(), 12)).is_err());
    assert!(restore(&payload(&[&hash[..], &deadline].concat(), 11)).is_err());
    assert!(matches!(restore(&payload(hash, 16)), Err(DumpError::Footer)));
    assert!(matches!(restore(&payload(hash, 81)), Err(DumpError::Footer)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_dumped_is_restored(value in value(), at: prop::sample::Index, bit in 0..8_u32) {
        for version in [Version::Redis(15), Version::newest_common(value.as_ref())] {
            let mut payload = encode(value.as_ref(), version).unwrap();
            prop_assert_eq!(content_of(&restore(&payload).unwrap()), content_of(&value));
            let at = at.index(payload.len());
            payload[at] ^= 1_u8 << bit;
            prop_assert!(matches!(restore(&payload), Err(DumpError::Footer)));
        }
    }

    #[test]
    fn nothing_makes_it_panic(mut payload: Vec<u8>, version in 0..90_u16) {
        let _ = restore(&payload);
        payload.extend_from_slice(&version.to_le_bytes());
        let checksum = rubine_base::crc::crc64(0, &payload);
        payload.extend_from_slice(&checksum.to_le_bytes());
        let _ = restore(&payload);
    }
}
