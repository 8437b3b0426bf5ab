//! Payloads there and back, and payloads that real servers made.

use proptest::prelude::*;
use rubine_structures::value::Value;

use super::{DumpError, decode, encode};
use crate::decode::Limits;
use crate::testing::{borrowed, content_of, value};
use crate::version::{Version, VersionCheck};

fn restore(payload: &[u8]) -> Result<Value<'static>, DumpError> {
    decode(payload, VersionCheck::Strict, &Limits::default())
}

#[test]
fn a_payload_is_what_redis_7_0_makes_of_it() {
    let value = Value::string(b"foo").into_owned();
    let payload = encode(borrowed(&value), Version::Redis(10)).unwrap();
    assert_eq!(payload, b"\x00\x03foo\x0a\x00sI9\xdbM\xc1\xba\x97");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_dumped_is_restored(value in value(), at: prop::sample::Index, bit in 0..8_u32) {
        for version in [Version::Redis(15), Version::Valkey(80)] {
            let mut payload = encode(borrowed(&value), version).unwrap();
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
