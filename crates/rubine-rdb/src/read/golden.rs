//! Files that real servers wrote, and beside each what those servers said is in it:
//!
//! ```text
//! database 'key' deadline|- type content ..
//! ```

use std::fmt::Write as _;

use rubine_base::number::DoubleText;
use rubine_structures::set::Member;
use rubine_structures::stream::{Direction, Stream, StreamId};
use rubine_structures::value::Value;
use rubine_testing::mutate;

use super::{Item, Reader};
use crate::decode::ValueLimits;
use crate::encode::{self, Encoder};
use crate::error::{Fault, ReadError};
use crate::fuzz::{fuzz_file, fuzz_payload};
use crate::version::{Version, VersionCheck};
use crate::write::{self, Writer};

struct Golden {
    file: &'static [u8],
    content: &'static str,
    version: Version,
}

const GOLDEN: [Golden; 2] = [
    Golden {
        file: include_bytes!("../../tests/golden/redis-7.0.15.dump"),
        content: include_str!("../../tests/golden/redis-7.0.15.txt"),
        version: Version::Redis(10),
    },
    Golden {
        file: include_bytes!("../../tests/golden/valkey-9.1.2.dump"),
        content: include_str!("../../tests/golden/valkey-9.1.2.txt"),
        version: Version::Valkey(80),
    },
];

#[test]
fn what_real_servers_wrote_is_read() {
    for golden in GOLDEN {
        let mut reader = Reader::new(golden.file, VersionCheck::Strict).unwrap();
        assert_eq!(reader.version(), golden.version);
        check(&content_of(&mut reader), golden.content);
    }
}

/// Through our own encoder, in the version of the original and, where it can hold the data, in others.
#[test]
fn what_is_written_again_is_the_same() {
    for golden in GOLDEN {
        for version in [golden.version, Version::Redis(15), Version::COMMON] {
            let is_enough = version != Version::COMMON || golden.version == Version::Redis(10);
            if is_enough {
                let file = written_again(golden.file, version);
                let mut reader = Reader::new(&file[..], VersionCheck::Strict).unwrap();
                check(&content_of(&mut reader), golden.content);
            }
        }
    }
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    for golden in GOLDEN {
        for at in (0..golden.file.len()).step_by(997) {
            let mut file = golden.file.to_vec();
            file[at] ^= 0x10;
            let Ok(mut reader) = Reader::new(&file[..], VersionCheck::Strict) else { continue };
            let end = std::iter::from_fn(|| reader.next_item().transpose()).find_map(Result::err);
            assert!(end.is_some(), "byte {at}");
        }
    }
}

/// Whatever is missing at the end, it is said that something is.
#[test]
fn no_missing_byte_goes_unnoticed() {
    for golden in GOLDEN {
        // The large values apart, whose bytes are alike.
        let places = (0..golden.file.len()).step_by(29).chain(0..300);
        for len in places.chain(golden.file.len() - 300..golden.file.len()) {
            let damage = match Reader::new(&golden.file[..len], VersionCheck::Strict) {
                Ok(mut reader) => {
                    std::iter::from_fn(|| reader.next_item().transpose()).find_map(Result::err)
                }
                Err(error) => Some(error),
            };
            let damage = damage.unwrap_or_else(|| panic!("{len} bytes"));
            let ReadError::Damaged(damage) = damage else { panic!("{len} bytes: {damage}") };
            assert!(damage.fault == Fault::Truncated && damage.offset <= len as u64, "{damage}");
        }
    }
}

/// What fuzzers look for, from files of real servers on.
#[test]
fn no_mutation_breaks_a_promise() {
    for (seed, golden) in GOLDEN.iter().enumerate() {
        let choice = [1, 3][seed];
        mutate::for_each(golden.file, seed as u64, |bad| {
            fuzz_file(&[&[choice], bad.get(9..).unwrap_or_default()].concat());
        });
        let mut reader = Reader::new(golden.file, VersionCheck::Strict).unwrap();
        while let Some(item) = reader.next_item().unwrap() {
            let Item::Entries(batch) = item else { continue };
            // A payload of each value by itself, so that small ones get their turn as well.
            for (number, entry) in batch.entries().enumerate() {
                let payload = [&[choice, entry.kind.byte()], entry.value].concat();
                let small = &payload[..payload.len().min(2000)];
                mutate::for_each(small, number as u64, fuzz_payload);
            }
        }
    }
}

fn check(lines: &[String], expected: &str) {
    let expected: Vec<_> = expected.lines().collect();
    for (line, expected) in lines.iter().zip(&expected) {
        assert_eq!(line, expected);
    }
    assert_eq!(lines.len(), expected.len());
}

fn content_of(reader: &mut Reader<&[u8]>) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        let Item::Entries(batch) = item else { continue };
        for entry in batch.entries() {
            let deadline = entry.attributes.deadline.map_or("-".to_owned(), |it| it.to_string());
            let value = entry.decode(&ValueLimits::default()).unwrap();
            let type_name = value.as_ref().type_of().name();
            assert_eq!(type_name, entry.kind.type_name());
            let key = quoted(&entry.key().unwrap());
            let body = body_of(&value).join(" ");
            lines.push(format!("{} {key} {deadline} {type_name} {body}", batch.db()));
        }
    }
    lines.sort();
    lines
}

fn written_again(file: &[u8], version: Version) -> Vec<u8> {
    let mut reader = Reader::new(file, VersionCheck::Strict).unwrap();
    let options = write::Options { version, compresses: true, sums: true };
    let mut writer = Writer::new(Vec::new(), options).unwrap();
    let mut encoder = Encoder::new(encode::Options { version, compresses: true });
    while let Some(item) = reader.next_item().unwrap() {
        match item {
            Item::SelectDb(db) => writer.select_db(db, 0, 0).unwrap(),
            Item::Entries(batch) => {
                for entry in batch.entries() {
                    let value = entry.decode(&ValueLimits::default()).unwrap();
                    let key = entry.key().unwrap();
                    encoder.entry(&mut writer, &key, entry.attributes, value.as_ref()).unwrap();
                }
            }
            _ => {}
        }
    }
    writer.finish().unwrap()
}

fn quoted(bytes: &[u8]) -> String {
    format!("'{}'", bytes.escape_ascii())
}

fn body_of(value: &Value<'_>) -> Vec<String> {
    match value {
        Value::Int(integer) => vec![quoted(integer.to_string().as_bytes())],
        Value::Bytes(bytes) | Value::Raw(bytes) => vec![quoted(bytes)],
        Value::Shared(bytes) => vec![quoted(bytes)],
        Value::List(list) => list.iter().map(quoted).collect(),
        Value::Set(set) => {
            let mut members: Vec<_> = set.iter().map(Member::to_vec).collect();
            members.sort();
            members.iter().map(|member| quoted(member)).collect()
        }
        Value::SortedSet(set) => set
            .iter()
            .map(|(member, score)| {
                let score = DoubleText::of(score).as_bytes().escape_ascii().to_string();
                format!("{}={score}", quoted(member))
            })
            .collect(),
        Value::Hash(hash) => {
            let mut fields: Vec<_> = hash.iter().collect();
            fields.sort_by_key(|field| field.key);
            let deadline = |at: Option<i64>| at.map_or(String::new(), |at| format!("@{at}"));
            fields
                .iter()
                .map(|it| {
                    format!("{}={}{}", quoted(it.key), quoted(it.value), deadline(it.deadline))
                })
                .collect()
        }
        Value::Stream(stream) => body_of_stream(stream),
    }
}

fn body_of_stream(stream: &Stream) -> Vec<String> {
    let mut body = vec![format!(
        "{} {} {} {} {}",
        stream.len(),
        stream.first_id(),
        stream.last_id(),
        stream.max_deleted_id(),
        stream.entries_added()
    )];
    for entry in stream.range(StreamId::MIN, StreamId::MAX, Direction::Ascending) {
        let fields: Vec<_> =
            entry.fields().flat_map(|(name, value)| [quoted(name), quoted(value)]).collect();
        body.push(format!("{}:{}", entry.id, fields.join(",")));
    }
    for (name, group) in stream.groups() {
        let entries_read = group.entries_read.map_or("?".to_owned(), |it| it.to_string());
        let mut line = format!("group {} {} {entries_read}", quoted(name), group.last_id);
        for (id, pending) in group.pending_from(StreamId::MIN) {
            let owner = group.consumer(pending.owner().unwrap());
            let (owner, count) = (quoted(owner.name()), pending.delivery_count);
            write!(line, " pending {id} {owner} {count}").unwrap();
        }
        for (_, consumer) in group.consumers() {
            let (name, count) = (quoted(consumer.name()), consumer.pending_count());
            write!(line, " consumer {name} {count}").unwrap();
        }
        body.push(line);
    }
    body
}
