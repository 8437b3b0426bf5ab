//! The keys of slots as commands, in pieces. In a process of its own, which places keys by slot.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use rubine_keyspace::{Key, Keyspace, ShardSet};
use rubine_storage::slot_writer::SlotWriter;
use rubine_structures::record::Record;
use rubine_structures::value::Value;

#[test]
fn keys_of_slots_are_written_in_pieces() {
    rubine_keyspace::place_by_slot(4);
    let keyspace = Keyspace::new().0;
    let mut expected = BTreeSet::new();
    for number in 0..3000_usize {
        let (db, key) = (number % 3, format!("{{{}}}{number}", number % 7));
        let place = Key::new(key.as_bytes()).place();
        let record = Record::new(key.as_bytes(), Value::Int(number as i64), None, 0);
        let records = [(db, place.table_hash(), record)];
        keyspace.load(place.shard(), records.into_iter(), false, |_, _| panic!("it is new"));
        if number % 7 < 3 {
            expected.insert((db, key, number.to_string()));
        }
    }
    let slots: Vec<u16> = (0..3).map(|it| Key::new(it.to_string().as_bytes()).slot()).collect();
    let images = {
        let mut locked = keyspace.lock(&ShardSet::of_slots(slots.iter().copied()));
        locked.snapshot_slots(&slots)
    };
    let mut writer = SlotWriter::new(images);
    let (mut written, mut pieces) = (Vec::new(), 0);
    while {
        let before = written.len();
        let has_more = writer.write_some(1000, &mut written).unwrap();
        assert!(written.len() - before < 3000, "a piece is bounded");
        has_more
    } {
        pieces += 1;
    }
    assert!(10 < pieces && writer.progress().0 == writer.progress().1);
    let text = String::from_utf8(written).unwrap();
    let words: Vec<&str> = text.split("\r\n").filter(|it| !it.starts_with(['*', '$'])).collect();
    let (mut db, mut found, mut at) = (None, BTreeSet::new(), 0);
    while at < words.len() && !words[at].is_empty() {
        if words[at] == "SELECT" {
            db = Some(words[at + 1].parse().unwrap());
            at += 2;
        } else {
            assert_eq!(words[at], "SET");
            found.insert((db.unwrap(), words[at + 1].to_owned(), words[at + 2].to_owned()));
            at += 3;
        }
    }
    assert_eq!(found, expected);
    assert_eq!(writer.selected(), Some(2));
}
