//! Payloads there and back, and payloads that real servers made.

use proptest::prelude::*;
use rubine_structures::value::Value;

use super::{Checks, DumpError, decode, decode_libraries, encode, encode_libraries};
use crate::decode::ValueLimits;
use crate::testing::{Content, content_of, value};
use crate::version::{Version, VersionCheck};

fn restore(payload: &[u8]) -> Result<Value<'static>, DumpError> {
    decode(payload, Checks::default(), &ValueLimits::default())
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

/// All forms of the same value, as versions from 1 to 11 wrote them.
#[test]
fn every_form_of_a_value_is_read() {
    let check = |forms: &[&[u8]]| {
        let contents: Vec<_> = forms
            .iter()
            .map(|body| {
                let value = restore(&payload(body, 11));
                content_of(&value.unwrap_or_else(|error| panic!("{body:?}: {error}")))
            })
            .collect();
        for (body, content) in forms.iter().zip(&contents) {
            assert_eq!(*content, contents[0], "{body:?}");
        }
    };
    let one = 1_f64.to_le_bytes();
    let infinite = f64::INFINITY.to_le_bytes();
    // As it is, as numbers of three sizes, and compressed.
    check(&[b"\x00\x0212", b"\x00\xc0\x0c", b"\x00\xc1\x0c\0", b"\x00\xc2\x0c\0\0\0"]);
    check(&[b"\x00\x0aaaaaaaaaaa", b"\x00\xc3\x05\x0a\0a\xe0\0\0"]);
    let ziplist = b"\x0e\x0e\0\0\0\x0a\0\0\0\x01\0\0\x01a\xff";
    check(&[
        b"\x01\x01\x01a",
        &[b"\x0a", &ziplist[..]].concat(),
        &[b"\x0e\x01", &ziplist[..]].concat(),
        b"\x12\x01\x01\x01a",
        b"\x12\x01\x02\x0a\x0a\0\0\0\x01\0\x81a\x02\xff",
    ]);
    check(&[
        b"\x02\x01\x015",
        b"\x0b\x0a\x02\0\0\0\x01\0\0\0\x05\0",
        b"\x0b\x0c\x04\0\0\0\x01\0\0\0\x05\0\0\0",
        b"\x0b\x10\x08\0\0\0\x01\0\0\0\x05\0\0\0\0\0\0\0",
        b"\x14\x09\x09\0\0\0\x01\0\x05\x01\xff",
    ]);
    check(&[
        b"\x03\x01\x01a\x011",
        &[b"\x05\x01\x01a", &one[..]].concat(),
        b"\x0c\x11\x11\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\x011\xff",
        b"\x11\x0c\x0c\0\0\0\x02\0\x81a\x02\x01\x01\xff",
    ]);
    check(&[b"\x03\x01\x01a\xfe", &[b"\x05\x01\x01a", &infinite[..]].concat()]);
    check(&[
        b"\x04\x01\x01f\x01v",
        b"\x09\x07\x01\x01f\x01\0v\xff",
        b"\x0d\x11\x11\0\0\0\x0d\0\0\0\x02\0\0\x01f\x03\x01v\xff",
        b"\x10\x0d\x0d\0\0\0\x02\0\x81f\x02\x81v\x02\xff",
    ]);
}

/// What this server has no type for is refused by name, never left out.
#[test]
fn what_cannot_be_held_is_named() {
    let check = |body: &[u8], version: u16, word: &str| {
        let error = restore(&payload(body, version)).expect_err(word).to_string();
        assert!(error.contains(word), "{error}");
    };
    check(b"\x07\x81\x00\x10\x83\x10\x51\x87\x20\x00\x02\x07\x00", 11, "ABCDEFGHI");
    check(b"\x06\x01", 11, "module");
    check(b"\x1c\x00", 15, "array");
    check(b"\x08\x01a", 11, "unknown type or opcode 8");
    check(b"\x21\x01a", 15, "unknown type or opcode 33");
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

#[test]
fn what_function_dump_makes_is_taken_apart() {
    let unchecked = Checks { version: VersionCheck::Relaxed, checksum: false };
    // By Redis 7.0 and by Valkey: one library, of the code "#!lua name=a".
    for version in [10, 80] {
        let payload = [&b"\xf5\x0c#!lua name=a"[..], &[version, 0], &[7; 8]].concat();
        let codes = decode_libraries(&payload, unchecked);
        assert_eq!(codes.ok(), Some(vec![b"#!lua name=a".to_vec()]));
    }
    assert!(decode_libraries(b"\xf5\x0c#!lua na\x0a\0\0\0\0\0\0\0\0\0", unchecked).is_err());
    assert!(decode_libraries(b"short", unchecked).is_err());
    let checked = Checks { version: VersionCheck::Strict, checksum: true };
    let code = b"#!lua name=a\nreturn".as_slice();
    let mut payload = encode_libraries([code].into_iter(), Version::COMMON).expect("into memory");
    assert_eq!(decode_libraries(&payload, checked).ok(), Some(vec![code.to_vec()]));
    payload[3] ^= 1;
    assert!(decode_libraries(&payload, checked).is_err());
}
