//! Files that are written and read again, files with something wrong, and every opcode by hand.

use proptest::prelude::*;
use rubine_structures::stream::{self, Group, Stream, StreamId};
use rubine_structures::value::Value;

use super::{AccessHint, Attributes, Item, Reader};
use crate::decode::ValueLimits;
use crate::encode::{self, Encoder};
use crate::error::{Fault, ReadError, WriteError};
use crate::fuzz::{fuzz_file, fuzz_payload};
use crate::testing::{Content, content_of, string, value};
use crate::version::{Version, VersionCheck};
use crate::write::{self, Writer};

/// All items of a file, and the keys with what belongs to them.
type Read = (Vec<Item>, Vec<(u64, Vec<u8>, Attributes, Value<'static>)>);

fn read(file: &[u8]) -> Result<Read, ReadError> {
    let mut reader = Reader::new(file, VersionCheck::Strict)?;
    let (mut items, mut keys) = (Vec::new(), Vec::new());
    while let Some(item) = reader.next_item()? {
        if let Item::Entries(batch) = &item {
            for entry in batch.entries() {
                let value = entry.decode(&ValueLimits::default())?;
                keys.push((batch.db(), entry.key()?.into_owned(), entry.attributes, value));
            }
        }
        items.push(item);
    }
    Ok((items, keys))
}

fn fault_of(file: &[u8]) -> (u64, Fault) {
    match read(file).unwrap_err() {
        ReadError::Damaged(damage) => (damage.offset, damage.fault),
        ReadError::Io { error, .. } => panic!("{error}"),
    }
}

/// A file of a version that has no checksum.
fn old_file(body: &[u8]) -> Vec<u8> {
    [b"REDIS0004", body, b"\xff"].concat()
}

#[test]
fn every_opcode() {
    let body: &[&[u8]] = &[
        b"\xfa\x03key\x05value",
        b"\xf5\x05#!lua",
        // A module's remark: an identity, then a number, a double, a string, and the end.
        b"\xf7\x81\x00\x10\x83\x10\x51\x87\x20\x00\x02\x07\x04\0\0\0\0\0\0\0\0\x05\x01x\x00",
        b"\xfe\x03",
        b"\xfb\x02\x01",
        b"\xf4\x0a\x02\x01",
        b"\xfd\x0a\0\0\0\x00\x01a\x01b",
        b"\xfc\x0b\0\0\0\0\0\0\0\xf9\x07\x00\x01c\xc0\x05",
        b"\xf8\x41\x00\x00\x01d\xc1\xff\xff",
    ];
    let (items, keys) = read(&old_file(&body.concat())).unwrap();
    assert!(matches!(&items[0], Item::Aux { key, value } if key == b"key" && value == b"value"));
    assert!(matches!(&items[1], Item::Function(code) if code == b"#!lua"));
    assert!(matches!(&items[2], Item::ModuleAux { module } if module == "ABCDEFGHI"));
    assert!(matches!(&items[3], Item::SelectDb(3)));
    assert!(matches!(&items[4], Item::ResizeDb { keys: 2, expires: 1 }));
    assert!(matches!(&items[5], Item::SlotInfo { slot: 10, keys: 2, expires: 1 }));
    assert_eq!(items.len(), 7);
    let attributes: Vec<_> = keys.iter().map(|(db, key, it, _)| (*db, &key[..], *it)).collect();
    let expected = [
        (3, &b"a"[..], Attributes { deadline: Some(10_000), access: None }),
        (3, b"c", Attributes { deadline: Some(11), access: Some(AccessHint::Frequency(7)) }),
        (3, b"d", Attributes { deadline: None, access: Some(AccessHint::IdleSeconds(256)) }),
    ];
    assert_eq!(attributes, expected);
    assert!(matches!(keys[1].3, Value::Int(5)));
    assert!(matches!(keys[2].3, Value::Int(-1)));
}

#[test]
fn slots_that_are_imported_are_known_to_valkey_alone() {
    let body = b"\xf3\x03job\x02\x00\x0a\x7f\xff\x7f\xff\xff\0\0\0\0\0\0\0\0";
    let file = [b"VALKEY080", &body[..]].concat();
    let (items, _) = read(&file).unwrap();
    assert!(matches!(&items[0], Item::SlotImport { job, ranges }
        if job == b"job" && *ranges == [(0, 10), (16_383, 16_383)]));
    let file = [b"REDIS0011", &body[..]].concat();
    assert_eq!(fault_of(&file), (9, Fault::UnknownType(243)));
}

#[test]
fn what_is_wrong_has_a_name_and_a_place() {
    let check = |body: &[u8], offset: u64, fault: Fault| {
        assert_eq!(fault_of(&old_file(body)), (offset, fault));
    };
    check(b"\x08\x01a\x01b", 9, Fault::UnknownType(8));
    check(b"\x00\x01a\xc4", 12, Fault::StringEncoding(4));
    check(b"\x00\x01a\x82", 12, Fault::Length);
    check(b"\x00\x01a\xc3\x02\x04\x20\x01", 12, Fault::Compressed);
    check(b"\x02\x01a\x00", 12, Fault::Empty("set"));
    check(b"\x02\x01a\x02\x01x\x01x", 15, Fault::Duplicate("set member"));
    check(b"\x03\x01a\x01\x01x\xfd", 15, Fault::Score);
    check(b"\x06\x01a\x01", 12, Fault::OldModule);
    check(b"\x07\x01a\x00\x00", 13, Fault::Module("AAAAAAAAA".to_owned()));
    check(b"\xf6", 10, Fault::OldFunction);
    // A length that is far more than what follows.
    check(b"\x00\x01a\x80\xff\xff\xff\xff", 18, Fault::Truncated);
    check(b"\x00\x01a\x81\xff\xff\xff\xff\xff\xff\xff\xff", 22, Fault::Truncated);
    check(b"\x01\x01a\x81\xff\xff\xff\xff\xff\xff\xff\xff", 21, Fault::StringEncoding(63));
    assert_eq!(fault_of(b"REDIS"), (5, Fault::Truncated));
    assert_eq!(fault_of(b"rubine, it"), (0, Fault::NotDumpFile));
    let future = Version::Redis(16);
    assert_eq!(fault_of(b"REDIS0016\xff"), (0, Fault::UnknownVersion(future)));
}

#[test]
fn the_checksum_is_compared_unless_it_is_zero() {
    let sums = |sums| write::Options { version: Version::COMMON, compresses: true, sums };
    for has_checksum in [true, false] {
        let writer = Writer::new(Vec::new(), sums(has_checksum)).unwrap();
        let mut file = writer.finish().unwrap();
        assert!(read(&file).is_ok());
        let mut reader = Reader::new(&file[..], VersionCheck::Strict).unwrap();
        assert!(reader.next_item().unwrap().is_none());
        assert_eq!(reader.is_unsummed(), !has_checksum);
        file[17] ^= 1;
        let mut reader = Reader::new(&file[..], VersionCheck::Strict).unwrap();
        reader.ignore_checksum();
        assert!(reader.next_item().unwrap().is_none());
        let (offset, fault) = fault_of(&file);
        assert!(offset == 10 && matches!(fault, Fault::Checksum { .. }));
    }
}

#[test]
fn what_follows_a_file_is_not_lost() {
    let mut reader = Reader::new(&b"REDIS0004\xff*1\r\n"[..], VersionCheck::Strict).unwrap();
    assert!(reader.next_item().unwrap().is_none());
    let (_, rest) = reader.into_rest();
    assert_eq!(rest, b"*1\r\n");
}

#[test]
fn a_version_that_cannot_hold_a_value_says_so() {
    use rubine_structures::hash::Hash;
    use rubine_structures::trie::Deadline;

    let mut hash = Hash::new();
    hash.set(b"field", b"value", Deadline::At(1), ValueLimits::default().hash);
    let value = Value::Hash(hash);
    assert_eq!(Version::newest_common(value.as_ref()), Version::Valkey(80));
    let options = encode::Options { version: Version::Redis(11), compresses: false };
    let mut out = Vec::new();
    let error = Encoder::new(options)
        .entry(&mut out, b"key", Attributes::default(), value.as_ref())
        .unwrap_err();
    assert!(matches!(error, WriteError::Unrepresentable { .. }));
    assert!(out.is_empty());
}

#[test]
fn streams_of_old_versions_know_less() {
    let mut stream = Stream::new();
    let limits = stream::BlockLimits { block_bytes: 1000, block_entries: 10 };
    for seq in 1..=30 {
        stream.append(StreamId::new(5, seq), [&b"f"[..], b"v"].into_iter(), limits);
    }
    stream.remove(StreamId::new(5, 15));
    let mut group = Group::new(StreamId::new(5, 1), Some(1));
    let consumer = group.add_consumer(b"c", 100);
    group.note_active(consumer, 200);
    group.assign(StreamId::new(5, 1), Some(consumer), 300, 2);
    stream.add_group(b"g", group);
    let value = Value::Stream(stream);
    let read_back = |number| {
        let version = Version::Redis(number);
        let mut file = version.magic().to_vec();
        let mut encoder = Encoder::new(encode::Options { version, compresses: false });
        encoder.entry(&mut file, b"s", Attributes::default(), value.as_ref()).unwrap();
        file.extend_from_slice(b"\xff\0\0\0\0\0\0\0\0");
        let (_, mut keys) = read(&file).unwrap();
        match keys.remove(0).3 {
            Value::Stream(stream) => stream,
            other => panic!("{other:?}"),
        }
    };
    let active_at = |stream: &Stream| {
        let group = stream.group(b"g").unwrap();
        group.consumer(group.find_consumer(b"c").unwrap()).active_at
    };
    let newest = read_back(11);
    assert_eq!(content_of(&Value::Stream(newest.clone())), content_of(&value));
    assert_eq!(active_at(&newest), Some(200));
    let second = read_back(10);
    assert_eq!((second.entries_added(), active_at(&second)), (30, Some(100)));
    assert_eq!(second.max_deleted_id(), StreamId::new(5, 15));
    let first = read_back(9);
    assert_eq!((first.entries_added(), first.max_deleted_id()), (29, StreamId::MIN));
    assert_eq!(first.first_id(), StreamId::new(5, 1));
    assert_eq!(first.group(b"g").unwrap().entries_read, Some(1));
}

#[test]
fn hashes_share_field_names_and_modules_talk_about_keys() {
    let parts: [&[u8]; 6] = [
        b"REDIS0015",
        // Template 7 has the names "a" and "bc".
        b"\xf2\x07\x02\x01a\x02bc",
        // A module's remark on the key that follows.
        b"\xf3\x01meta\x02\x05\x00\xfc\x0a\0\0\0\0\0\0\0",
        b"\x20\x01x\x07\xc0\x01\x01v",
        b"\x1e\x01y\x0e\x0e\0\0\0\x03\0\x07\x01\x01\x01\x81w\x02\xff",
        b"\xff\0\0\0\0\0\0\0\0",
    ];
    let (_, keys) = read(&parts.concat()).unwrap();
    let contents: Vec<_> = keys.iter().map(|key| content_of(&key.3)).collect();
    let hash = |bc: &[u8]| {
        let fields =
            [(b"a".to_vec(), (b"1".to_vec(), None)), (b"bc".to_vec(), (bc.to_vec(), None))];
        Content::Hash(fields.into_iter().collect())
    };
    assert_eq!(contents, [hash(b"v"), hash(b"w")]);
    assert_eq!(keys[0].2.deadline, Some(10));
    let file = parts.concat();
    let mut reader = Reader::new(&file[..], VersionCheck::Strict).unwrap();
    while reader.next_item().unwrap().is_some() {}
    assert_eq!(reader.keys_with_meta(), 1);
    let without_template = [parts[0], parts[3], parts[5]].concat();
    assert_eq!(fault_of(&without_template), (12, Fault::Template(7)));
}

#[test]
fn deadlines_of_fields_in_the_forms_of_redis() {
    let field = |at| (b"f".to_vec(), (b"v".to_vec(), at));
    let other = (b"g".to_vec(), (b"w".to_vec(), None));
    let check = |body: &[u8]| {
        let file = [b"REDIS0012", body, b"\xff\0\0\0\0\0\0\0\0"].concat();
        let (_, keys) = read(&file).unwrap();
        let expected = Content::Hash([field(Some(1000)), other.clone()].into_iter().collect());
        assert_eq!(content_of(&keys[0].3), expected);
    };
    check(b"\x18\x01h\xe7\x03\0\0\0\0\0\0\x02\x02\x01f\x01v\x00\x01g\x01w");
    check(b"\x16\x01h\x02\x43\xe8\x01f\x01v\x00\x01g\x01w");
    let listpack =
        b"\x18\x18\0\0\0\x06\0\x81f\x02\x81v\x02\xc3\xe8\x02\x81g\x02\x81w\x02\x00\x01\xff";
    check(&[b"\x19\x01h\xe8\x03\0\0\0\0\0\0", &listpack[..]].concat());
    check(&[b"\x17\x01h", &listpack[..]].concat());
}

/// A reader that gives a few bytes at a time, and is interrupted now and then.
struct Slow<'a> {
    bytes: &'a [u8],
    step: usize,
    turn: usize,
}

impl std::io::Read for Slow<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.turn += 1;
        if self.turn.is_multiple_of(3) {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let len = self.step.min(buf.len()).min(self.bytes.len());
        buf[..len].copy_from_slice(&self.bytes[..len]);
        self.bytes = &self.bytes[len..];
        Ok(len)
    }
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let access = prop_oneof![
        any::<u8>().prop_map(AccessHint::Frequency),
        any::<u64>().prop_map(AccessHint::IdleSeconds),
    ];
    (prop::option::of(any::<i64>()), prop::option::of(access))
        .prop_map(|(deadline, access)| Attributes { deadline, access })
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![(9..16_u16).prop_map(Version::Redis), Just(Version::Valkey(80)),]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(
        entries in prop::collection::vec((string(), attributes(), value()), 0..8),
        version in version(),
        compresses: bool,
        step in 1..2000_usize,
    ) {
        let mut encoder = Encoder::new(encode::Options { version, compresses });
        let options = write::Options { version, compresses, sums: true };
        let mut writer = Writer::new(Vec::new(), options).unwrap();
        writer.aux(b"redis-ver", b"7.2.4").unwrap();
        writer.select_db(1, entries.len() as u64, 0).unwrap();
        let mut expected = Vec::new();
        for (key, attributes, value) in &entries {
            if version.number() < 11 && matches!(value, Value::Stream(_)) {
                // Older generations do not know everything: `streams_of_old_versions_know_less`.
                continue;
            }
            let mut bytes = Vec::new();
            match encoder.entry(&mut bytes, key, *attributes, value.as_ref()) {
                Ok(()) => expected.push((1, key.clone(), *attributes, content_of(value))),
                Err(WriteError::Unrepresentable { .. }) => {
                    prop_assert!(Version::newest_common(value.as_ref()) != Version::COMMON);
                    prop_assert!(bytes.is_empty());
                }
                Err(WriteError::Io(error)) => panic!("{error}"),
            }
            writer.append_encoded(&bytes).unwrap();
        }
        let file = writer.finish().unwrap();
        let (_, keys) = read(&file).unwrap();
        let keys: Vec<_> =
            keys.into_iter().map(|(db, key, it, value)| (db, key, it, content_of(&value))).collect();
        prop_assert_eq!(&keys, &expected);

        let slow = Slow { bytes: &file, step, turn: 0 };
        let mut reader = Reader::new(slow, VersionCheck::Strict).unwrap();
        let mut count = 0;
        while let Some(item) = reader.next_item().unwrap() {
            if let Item::Entries(batch) = item {
                count += batch.len();
            }
        }
        prop_assert_eq!(count, expected.len());
        prop_assert_eq!(reader.offset(), file.len() as u64);
        for cut in [file.len() - 1, file.len() / 2, file.len() / 3] {
            prop_assert!(read(&file[..cut]).is_err());
        }
    }

    #[test]
    fn nothing_makes_it_panic(body: Vec<u8>, kind in 0..33_u8, magic in 0..3_usize) {
        let magic = [b"REDIS0004", b"REDIS0015", b"VALKEY080"][magic];
        let _ = read(&[magic, &body[..]].concat());
        let _ = read(&[&magic[..], &[kind, 1, b'k'], &body[..], b"\xff"].concat());
    }

    #[test]
    fn promises_hold_for_any_bytes(body: Vec<u8>, kind in 0..33_u8, choice: u8) {
        fuzz_file(&[&[choice, kind, 1, b'k'], &body[..], b"\xff\0\0\0\0\0\0\0\0"].concat());
        fuzz_payload(&[&[choice, kind], &body[..]].concat());
    }

    #[test]
    fn a_flipped_bit_is_found_or_harmless(value in value(), at: prop::sample::Index, bit in 0..8_u32) {
        let version = Version::newest_common(value.as_ref());
        let options = encode::Options { version, compresses: true };
        let mut file = version.magic().to_vec();
        Encoder::new(options)
            .entry(&mut file, b"key", Attributes::default(), value.as_ref())
            .unwrap();
        file.extend_from_slice(b"\xff\0\0\0\0\0\0\0\0");
        let at = at.index(file.len());
        file[at] ^= 1_u8 << bit;
        let _ = read(&file);
        let choice = [1, 3][usize::from(version == Version::VALKEY_FIELD_DEADLINES)];
        fuzz_file(&[&[choice], &file[9..]].concat());
    }
}
