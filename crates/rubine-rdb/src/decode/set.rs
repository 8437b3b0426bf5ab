//! Sets: plain, as an intset, as a listpack.

use rubine_structures::set::{Set, SetLimits};

use super::list::within;
use crate::cursor::Cursor;
use crate::error::{Damage, Fault};
use crate::{intset, listpack};

pub(super) fn plain(cursor: &mut Cursor<'_>, limits: SetLimits) -> Result<Set, Damage> {
    let count = cursor.count("set")?;
    let mut set = Set::new();
    set.expect(count, limits);
    for _ in 0..count {
        let start = cursor.offset();
        add(&mut set, &cursor.string()?, limits, start)?;
    }
    Ok(set)
}

pub(super) fn intset(cursor: &mut Cursor<'_>, limits: SetLimits) -> Result<Set, Damage> {
    let start = cursor.offset();
    let bytes = cursor.string()?;
    let integers = intset::integers(&bytes).map_err(within(start))?;
    let mut set = Set::new();
    let mut buffer = itoa::Buffer::new();
    for integer in integers {
        add(&mut set, buffer.format(integer).as_bytes(), limits, start)?;
    }
    not_empty(set, start)
}

pub(super) fn listpack(cursor: &mut Cursor<'_>, limits: SetLimits) -> Result<Set, Damage> {
    let start = cursor.offset();
    let bytes = cursor.string()?;
    let mut items = listpack::Items::new(&bytes).map_err(within(start))?;
    let mut buffer = Vec::new();
    let mut set: Option<Set> = None;
    while let Some(item) = items.next().map_err(within(start))? {
        let member = item.text_in(&mut buffer);
        let count = items.count_hint().unwrap_or(usize::MAX);
        // A listpack stays one, even where its members look like integers.
        let set = set.get_or_insert_with(|| Set::for_members(b"", count, limits));
        add(set, member, limits, start)?;
    }
    not_empty(set.unwrap_or_default(), start)
}

fn add(set: &mut Set, member: &[u8], limits: SetLimits, start: usize) -> Result<(), Damage> {
    if set.add(member, limits) { Ok(()) } else { Err(Fault::Duplicate("set member").at(start)) }
}

fn not_empty(set: Set, start: usize) -> Result<Set, Damage> {
    if set.is_empty() { Err(Fault::Empty("set").at(start)) } else { Ok(set) }
}
