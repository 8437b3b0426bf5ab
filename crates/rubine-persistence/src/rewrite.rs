//! Writes keys as the commands that make them, for a base without RDB. Never looks at the clock: what is due is written
//! with its deadline.

use std::collections::BTreeSet;
use std::io::{self, Write};

use rubine_base::number::DoubleText;
use rubine_resp::command::{write_argument, write_command, write_header};
use rubine_structures::record::RecordRef;
use rubine_structures::stream::{Direction, Group, Producers, Stream, StreamId};
use rubine_structures::value::ValueRef;

/// Elements that one command adds, so that no command of the file is large for its number of elements.
const ELEMENTS_PER_COMMAND: usize = 64;

/// Writes the command that selects `database`.
pub fn write_select(database: usize, out: &mut impl Write) -> io::Result<()> {
    let mut digits = itoa::Buffer::new();
    write_command(&[b"SELECT", digits.format(database).as_bytes()], out)
}

/// Writes the commands that make a key.
pub fn write_record(record: RecordRef<'_>, out: &mut impl Write) -> io::Result<()> {
    let key = record.key();
    match record.value() {
        ValueRef::Int(number) => {
            write_command(&[b"SET", key, itoa::Buffer::new().format(number).as_bytes()], out)?;
        }
        ValueRef::Bytes { bytes, .. } => write_command(&[b"SET", key, bytes], out)?,
        ValueRef::Shared(bytes) => write_command(&[b"SET", key, bytes], out)?,
        ValueRef::List(list) => {
            write_elements(b"RPUSH", key, list.iter().map(|item| [item]), out)?;
        }
        ValueRef::Set(set) => {
            write_elements(b"SADD", key, set.iter().map(|member| [member.to_vec()]), out)?;
        }
        ValueRef::SortedSet(set) => {
            let elements = set.iter().map(|(member, score)| {
                [DoubleText::of(score).as_bytes().to_vec(), member.to_vec()]
            });
            write_elements(b"ZADD", key, elements, out)?;
        }
        ValueRef::Hash(hash) => {
            write_elements(b"HSET", key, hash.iter().map(|it| [it.key, it.value]), out)?;
            for field in hash.iter() {
                let Some(deadline) = field.deadline else { continue };
                let mut digits = itoa::Buffer::new();
                let deadline = digits.format(deadline).as_bytes();
                write_command(&[b"HPEXPIREAT", key, deadline, b"FIELDS", b"1", field.key], out)?;
            }
        }
        ValueRef::Stream(stream) => write_stream(key, stream, out)?,
    }
    if let Some(deadline) = record.deadline() {
        let mut digits = itoa::Buffer::new();
        write_command(&[b"PEXPIREAT", key, digits.format(deadline).as_bytes()], out)?;
    }
    Ok(())
}

fn write_stream(key: &[u8], stream: &Stream, out: &mut impl Write) -> io::Result<()> {
    // No command makes an entry pending that is not there. So those that are gone are there for a while.
    let gone = gone_but_pending(stream);
    let mut stand_ins = gone.iter().copied().peekable();
    for entry in stream.range(StreamId::MIN, StreamId::MAX, Direction::Ascending) {
        while let Some(id) = stand_ins.next_if(|&id| id < entry.id) {
            write_stand_in(key, id, out)?;
        }
        let id = entry.id.text();
        let mut arguments: Vec<&[u8]> = vec![b"XADD", key, id.as_bytes()];
        arguments.extend(entry.fields().flat_map(|(name, value)| [name, value]));
        write_command(&arguments, out)?;
    }
    stand_ins.try_for_each(|id| write_stand_in(key, id, out))?;
    let last_id = stream.last_id().text();
    if stream.is_empty() && gone.is_empty() {
        // An entry has to come and go for the stream to be there. None has the identifier 0-0.
        let id = if stream.last_id().is_zero() { StreamId::new(0, 1).text() } else { last_id };
        write_command(&[b"XADD", key, b"MAXLEN", b"0", id.as_bytes(), b"x", b"y"], out)?;
    }
    stream.groups().try_for_each(|(name, group)| write_group(key, name, group, out))?;
    remove_stand_ins(key, stream, &gone, out)?;
    let mut added = itoa::Buffer::new();
    let deleted = stream.max_deleted_id().text();
    let (added, deleted) = (added.format(stream.entries_added()).as_bytes(), deleted.as_bytes());
    let last_id = last_id.as_bytes();
    let words = [b"XSETID", key, last_id, b"ENTRIESADDED", added, b"MAXDELETEDID", deleted];
    write_command(&words, out)?;
    stream.producers().map_or(Ok(()), |it| write_producers(key, it, out))
}

/// The identifiers of entries that are pending in some group, but not in the stream any more.
fn gone_but_pending(stream: &Stream) -> BTreeSet<StreamId> {
    let pending = stream.groups().flat_map(|(_, group)| group.pending_from(StreamId::MIN));
    pending.map(|it| it.0).filter(|&id| !stream.contains(id)).collect()
}

fn write_stand_in(key: &[u8], id: StreamId, out: &mut impl Write) -> io::Result<()> {
    write_command(&[b"XADD", key, id.text().as_bytes(), b"x", b"y"], out)
}

/// Takes stand-ins away: those in front of all entries as if they were trimmed, since the stream remembers what was
/// deleted from among others.
fn remove_stand_ins(
    key: &[u8],
    stream: &Stream,
    gone: &BTreeSet<StreamId>,
    out: &mut impl Write,
) -> io::Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    if stream.is_empty() {
        return write_command(&[b"XTRIM", key, b"MAXLEN", b"0"], out);
    }
    let first_id = stream.first_id();
    if gone.first().is_some_and(|&id| id < first_id) {
        write_command(&[b"XTRIM", key, b"MINID", first_id.text().as_bytes()], out)?;
    }
    let ids = gone.range(first_id..).map(|id| [id.text().as_bytes().to_vec()]);
    write_elements(b"XDEL", key, ids, out)
}

fn write_producers(key: &[u8], producers: &Producers, out: &mut impl Write) -> io::Result<()> {
    let retention = producers.retention();
    let (mut duration, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let duration = duration.format(retention.duration).as_bytes();
    let count = count.format(retention.count_max).as_bytes();
    let words = [b"XCFGSET", key, b"IDMP-DURATION", duration, b"IDMP-MAXSIZE", count];
    write_command(&words, out)?;
    producers.records().try_for_each(|(producer, token, id)| {
        let id = id.text();
        let words = [b"XIDMPRECORD", key, producer, token, id.as_bytes()];
        write_command(&words, out)
    })
}

fn write_group(key: &[u8], name: &[u8], group: &Group, out: &mut impl Write) -> io::Result<()> {
    let last_id = group.last_id.text();
    // Redis reads -1 as not known.
    let read = group.entries_read.map_or(-1, |it| it as i64);
    let mut digits = itoa::Buffer::new();
    let read = digits.format(read).as_bytes();
    let words =
        [b"XGROUP", b"CREATE".as_slice(), key, name, last_id.as_bytes(), b"ENTRIESREAD", read];
    write_command(&words, out)?;
    for (_, consumer) in group.consumers() {
        let words = [b"XGROUP", b"CREATECONSUMER".as_slice(), key, name, consumer.name()];
        write_command(&words, out)?;
    }
    for (id, pending) in group.pending_from(StreamId::MIN) {
        let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
        let time = time.format(pending.delivered_at).as_bytes();
        let count = count.format(pending.delivery_count).as_bytes();
        let id = id.text();
        let id = id.as_bytes();
        let Some(owner) = pending.owner() else {
            let words: [&[u8]; 10] =
                [b"XNACK", key, name, b"FAIL", b"IDS", b"1", id, b"RETRYCOUNT", count, b"FORCE"];
            write_command(&words, out)?;
            continue;
        };
        let consumer = group.consumer(owner).name();
        let words: [&[u8]; 12] = [
            b"XCLAIM",
            key,
            name,
            consumer,
            b"0",
            id,
            b"TIME",
            time,
            b"RETRYCOUNT",
            count,
            b"JUSTID",
            b"FORCE",
        ];
        write_command(&words, out)?;
    }
    Ok(())
}

/// Writes commands that add elements, of `PARTS` arguments each, to a key.
fn write_elements<const PARTS: usize, A: AsRef<[u8]>>(
    name: &[u8],
    key: &[u8],
    elements: impl Iterator<Item = [A; PARTS]>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut batch: Vec<[A; PARTS]> = Vec::with_capacity(ELEMENTS_PER_COMMAND);
    let mut elements = elements.peekable();
    while elements.peek().is_some() {
        batch.extend(elements.by_ref().take(ELEMENTS_PER_COMMAND));
        write_header(b'*', (2 + batch.len() * PARTS) as u64, out)?;
        write_argument(name, out)?;
        write_argument(key, out)?;
        for part in batch.drain(..).flatten() {
            write_argument(part.as_ref(), out)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use rubine_structures::hash::Hash;
    use rubine_structures::record::Record;
    use rubine_structures::value::Value;

    use super::*;
    use crate::log::LogReader;

    fn check(value: Value<'_>, deadline: Option<i64>, expected: &[&str]) {
        let record = Record::new(b"k", value, deadline, 0);
        let mut bytes = Vec::new();
        write_record(record.as_ref(), &mut bytes).expect("memory takes what is written");
        let mut reader = LogReader::new(bytes.as_slice(), 0);
        let mut seen = Vec::new();
        while let Some(unit) = reader.next_unit().expect("what was written is whole") {
            seen.extend(unit.commands().map(|(bytes, args)| {
                let words = args.iter().map(|it| String::from_utf8_lossy(it.of(bytes)));
                words.collect::<Vec<_>>().join(" ")
            }));
        }
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_key_becomes_the_commands_that_make_it() {
        check(Value::Int(-7), None, &["SET k -7"]);
        check(Value::Bytes(Cow::Borrowed(b"a")), Some(5), &["SET k a", "PEXPIREAT k 5"]);
        let mut hash = Hash::new();
        let limits = rubine_structures::hash::HashLimits { entries: 8, value_bytes: 8 };
        hash.set(b"f", b"v", rubine_structures::trie::Deadline::At(9), limits);
        check(Value::Hash(hash), None, &["HSET k f v", "HPEXPIREAT k 9 FIELDS 1 f"]);
    }
}
