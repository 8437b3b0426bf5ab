//! Commands on parts of strings: APPEND, SETRANGE, GETRANGE. A long string that nobody else holds is changed where it
//! lies; never copied as a whole for a small change.

use std::sync::Arc;

use rubine_structures::record::ValueMut;
use rubine_structures::table::RecordMut;
use rubine_structures::value::{Value, ValueRef};

use super::{StringRef, check_len, expect_string, store};
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

pub(super) const APPEND: Command = Command::new("APPEND", append)
    .summary("Appends to the string under a key; a missing key counts as empty.")
    .syntax("key value")
    .since("2.0.0")
    .complexity("O(1) for a short value: a string has room to grow.")
    .arity(3)
    .writes()
    .denies_oom()
    .fast()
    .key("RW INSERT");

fn append(cx: &mut Context<'_, '_>) -> CommandResult {
    let (key, value) = (cx.key(1), cx.args.at(2));
    let old_len = cx.keys.find_to_write(key).map(expect_string).transpose()?.map(StringRef::len);
    let len = if let Some(old_len) = old_len {
        check_len(cx, old_len.checked_add(value.len()))?;
        let record = cx.keys.find_mut_again(key).expect("the key was just seen");
        edit(record, old_len + value.len(), |bytes| bytes.extend_from_slice(value))?;
        old_len + value.len()
    } else {
        store(cx, key, Value::string(value), None);
        value.len()
    };
    cx.touched(key, Event::APPEND);
    cx.reply.integer(len as i64);
    Ok(())
}

pub(super) const SETRANGE: Command = Command::new("SETRANGE", setrange)
    .summary(
        "Overwrites a part of the string under a key; what lies before it is filled with zeros.",
    )
    .syntax("key offset value")
    .since("2.2.0")
    .complexity("O(N) with N the length of the value, and of the zeros before it.")
    .arity(4)
    .writes()
    .denies_oom()
    .key("RW UPDATE");

fn setrange(cx: &mut Context<'_, '_>) -> CommandResult {
    let (key, value) = (cx.key(1), cx.args.at(3));
    let Ok(offset) = usize::try_from(cx.args.integer(2)?) else {
        return Err(CommandError::text("ERR offset is out of range"));
    };
    let old_len = cx.keys.find_to_write(key).map(expect_string).transpose()?.map(StringRef::len);
    if value.is_empty() {
        cx.reply.integer(old_len.unwrap_or(0) as i64);
        return Ok(());
    }
    let end = offset.checked_add(value.len());
    check_len(cx, end)?;
    let end = end.expect("an overflow was refused");

    let overwrite = |bytes: &mut Vec<u8>| {
        bytes.resize(bytes.len().max(end), 0);
        bytes[offset..end].copy_from_slice(value);
    };
    if old_len.is_some() {
        let record = cx.keys.find_mut_again(key).expect("the key was just seen");
        edit(record, end, overwrite)?;
    } else {
        let mut bytes = Vec::new();
        reserve_for(&mut bytes, end)?;
        overwrite(&mut bytes);
        store(cx, key, Value::raw(bytes), None);
    }
    cx.touched(key, Event::SETRANGE);
    cx.reply.integer(old_len.unwrap_or(0).max(end) as i64);
    Ok(())
}

/// Lets `change` work on a string, which will have room for `len` bytes.
pub(crate) fn edit(
    mut record: RecordMut<'_>,
    len: usize,
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<(), CommandError> {
    if let ValueMut::Shared(shared) = record.value_mut()
        && let Some(bytes) = Arc::get_mut(shared)
    {
        reserve_for(bytes, len)?;
        change(bytes);
        return Ok(());
    }
    let old = expect_string(record.get()).expect("its type was just seen").text();
    let mut bytes = Vec::new();
    reserve_for(&mut bytes, len.max(old.len()))?;
    bytes.extend_from_slice(&old);
    change(&mut bytes);
    record.set_value(Value::raw(bytes));
    Ok(())
}

/// As [`edit`], for a change of bytes where they lie: of a short string too. There are zeros behind it if it is shorter than `len`.
pub(crate) fn edit_within(
    mut record: RecordMut<'_>,
    len: usize,
    change: impl FnOnce(&mut [u8]),
) -> Result<(), CommandError> {
    if is_raw(&record)
        && let ValueMut::Bytes(bytes) = record.value_mut()
        && len <= bytes.len()
    {
        change(bytes);
        return Ok(());
    }
    edit(record, len, |bytes| {
        bytes.resize(bytes.len().max(len), 0);
        change(bytes);
    })
}

/// Whether a string is reported as edited in place.
pub(crate) fn is_raw(record: &RecordMut<'_>) -> bool {
    matches!(record.get().value(), ValueRef::Bytes { raw: true, .. } | ValueRef::Shared(_))
}

/// Makes room for `len` bytes in all, and for more of the same if the buffer has to grow.
fn reserve_for(bytes: &mut Vec<u8>, len: usize) -> Result<(), CommandError> {
    // A small string doubles; a large one grows by an eighth, so that it never wastes much.
    const DOUBLED_LEN_MAX: usize = 1024 * 1024;
    if len <= bytes.capacity() {
        return Ok(());
    }
    let is_growing = !bytes.is_empty();
    let spare = if is_growing { len.min(DOUBLED_LEN_MAX).max(len / 8) } else { 0 };
    let wanted = len.saturating_add(spare) - bytes.len();
    bytes.try_reserve_exact(wanted).map_err(|_| CommandError::StringTooLong)
}

pub(super) const GETRANGE: Command = Command::new("GETRANGE", getrange)
    .summary("Returns a part of the string under a key.")
    .syntax("key start end")
    .since("2.4.0")
    .complexity("O(N) with N the length of the part; a long one is not copied.")
    .arity(4)
    .reads()
    .key("RO ACCESS");

pub(super) const SUBSTR: Command = Command::new("SUBSTR", getrange)
    .summary("Returns a part of the string under a key; the old name of GETRANGE.")
    .syntax("key start end")
    .complexity("O(N) with N the length of the part; a long one is not copied.")
    .arity(4)
    .reads()
    .key("RO ACCESS");

fn getrange(cx: &mut Context<'_, '_>) -> CommandResult {
    let (start, end) = (cx.args.integer(2)?, cx.args.integer(3)?);
    let string = cx.keys.find(cx.key(1)).map(expect_string).transpose()?;
    let part = string.and_then(|it| Some((it, part_of(it.len(), start, end)?)));
    match part {
        Some((StringRef(ValueRef::Shared(bytes)), range)) => cx.reply.shared_range(bytes, range),
        Some((string, range)) => cx.reply.bulk(&string.text()[range]),
        None => cx.reply.bulk(b""),
    }
    Ok(())
}

/// The bytes from `start` to `end`, both included, negative ones counted from the end; `None` if there are none.
fn part_of(len: usize, start: i64, end: i64) -> Option<std::ops::Range<usize>> {
    if start < 0 && end < 0 && end < start {
        return None;
    }
    let from_start = |index: i64| {
        let index = if index < 0 { index.saturating_add(len as i64) } else { index };
        index.max(0) as usize
    };
    let (start, end) = (from_start(start), from_start(end).min(len.checked_sub(1)?));
    (start <= end).then_some(start..end + 1)
}

#[cfg(test)]
mod tests {
    use super::{part_of, reserve_for};

    #[test]
    fn parts() {
        let check = |len, start, end, expected: &str| {
            let part = part_of(len, start, end).map(|range| &"Hello"[range]);
            assert_eq!(part.unwrap_or(""), expected, "{len} {start} {end}");
        };
        check(5, 0, -1, "Hello");
        check(5, 0, 0, "H");
        check(5, -3, -1, "llo");
        check(5, -100, 1, "He");
        check(5, 0, -100, "H");
        check(5, 1, i64::MAX, "ello");
        check(5, i64::MIN, i64::MAX, "Hello");
        check(5, 5, 9, "");
        check(5, 3, 2, "");
        check(5, -1, -3, "");
        check(0, 0, -1, "");
    }

    #[test]
    fn a_string_that_grows_by_little_is_seldom_moved() {
        let mut bytes = vec![0; 2000];
        let mut moves = 0;
        for len in (2000..20_000_000).step_by(100) {
            moves += usize::from(bytes.capacity() < len);
            reserve_for(&mut bytes, len).expect("there is memory");
            bytes.resize(len, 0);
            assert!(bytes.capacity() <= 2 * len + 1024);
        }
        assert!(moves < 100, "{moves}");
        assert!(reserve_for(&mut bytes, usize::MAX).is_err());
    }
}
