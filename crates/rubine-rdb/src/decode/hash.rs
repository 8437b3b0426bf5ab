//! Hashes: plain, with deadlines in the forms of Redis and Valkey, as a zipmap, ziplist, listpack.

use rubine_structures::hash::{Hash, HashLimits};
use rubine_structures::trie::Deadline;

use super::Templates;
use super::list::within;
use crate::cursor::Cursor;
use crate::error::{Damage, Fault};
use crate::kind::Kind;
use crate::listpack::{self, Item};
use crate::{ziplist, zipmap};

/// Deadlines end here, as in real servers.
const DEADLINE_MAX: i64 = (1 << 46) - 1;

/// Field names come as a listpack, or as a number and so many strings.
const NAMES_IN_LISTPACK: u8 = 0;
const NAMES_IN_ARRAY: u8 = 1;

/// A number of fields, each with its value and what the kind has in addition.
pub(super) fn plain(
    kind: Kind,
    cursor: &mut Cursor<'_>,
    limits: HashLimits,
) -> Result<Hash, Damage> {
    let first = if kind == Kind::HashMetadata { first_deadline(cursor)? } else { 0 };
    let count = cursor.count("hash")?;
    let mut hash = Hash::new();
    hash.expect(count, limits);
    for _ in 0..count {
        let start = cursor.offset();
        let before = match kind {
            Kind::HashMetadata => relative_deadline(cursor, first)?,
            Kind::HashMetadataOld => absolute_deadline(cursor)?,
            _ => Deadline::Never,
        };
        let field = cursor.string()?;
        let value = cursor.string()?;
        let deadline =
            if kind == Kind::HashDeadlines { deadline_or_minus_one(cursor)? } else { before };
        set(&mut hash, &field, &value, deadline, limits).map_err(within(start))?;
    }
    Ok(hash)
}

pub(super) fn zipmap(cursor: &mut Cursor<'_>, limits: HashLimits) -> Result<Hash, Damage> {
    let start = cursor.offset();
    let bytes = cursor.string()?;
    let mut hash = Hash::new();
    zipmap::for_each_pair(&bytes, |field, value| {
        set(&mut hash, field, value, Deadline::Never, limits)
    })
    .map_err(within(start))?;
    not_empty(hash, start)
}

pub(super) fn packed(
    kind: Kind,
    cursor: &mut Cursor<'_>,
    limits: HashLimits,
) -> Result<Hash, Damage> {
    let start = cursor.offset();
    let bytes = cursor.string()?;
    let mut hash = Hash::new();
    if kind == Kind::HashZiplist {
        let mut items = ziplist::Items::new(&bytes).map_err(within(start))?;
        set_pairs(&mut hash, || items.next(), limits).map_err(within(start))?;
    } else {
        let mut items = listpack::Items::new(&bytes).map_err(within(start))?;
        hash.expect(items.count_hint().map_or(0, |count| count / 2), limits);
        set_pairs(&mut hash, || items.next(), limits).map_err(within(start))?;
    }
    not_empty(hash, start)
}

/// Triples of field, value and deadline, 0 for none. What stands before them follows from them.
pub(super) fn packed_with_deadlines(
    kind: Kind,
    cursor: &mut Cursor<'_>,
    limits: HashLimits,
) -> Result<Hash, Damage> {
    if kind == Kind::HashListpackEx {
        first_deadline(cursor)?;
    }
    let start = cursor.offset();
    let bytes = cursor.string()?;
    let mut items = listpack::Items::new(&bytes).map_err(within(start))?;
    let mut hash = Hash::new();
    let (mut field_buffer, mut value_buffer) = (Vec::new(), Vec::new());
    while let Some(field) = items.next().map_err(within(start))? {
        let value = items.next().map_err(within(start))?;
        let deadline = items.next().map_err(within(start))?;
        let (Some(value), Some(deadline)) = (value, deadline) else {
            return Err(Fault::Uneven("fields, values and deadlines").at(start));
        };
        let deadline = match deadline {
            Item::Integer(0) => Deadline::Never,
            Item::Integer(at @ 1..=DEADLINE_MAX) => Deadline::At(at),
            _ => return Err(Fault::Deadline.at(start)),
        };
        let field = field.text_in(&mut field_buffer);
        set(&mut hash, field, value.text_in(&mut value_buffer), deadline, limits)
            .map_err(within(start))?;
    }
    not_empty(hash, start)
}

/// Field names, by themselves or by the number of a template, and their values in the same order, as a listpack behind
/// the number of a template or one by one.
pub(super) fn of_template(
    kind: Kind,
    cursor: &mut Cursor<'_>,
    templates: &Templates,
    limits: HashLimits,
) -> Result<Hash, Damage> {
    let start = cursor.offset();
    let own_names = match kind {
        Kind::HashTemplateListpack | Kind::HashTemplateArray => Some(names(cursor)?),
        _ => None,
    };
    let find = |number: u64| {
        let names = own_names.as_deref().or_else(|| templates.get(&number).map(|it| &*it.0));
        names.ok_or_else(|| Fault::Template(number).at(start))
    };
    let mut hash = Hash::new();
    if matches!(kind, Kind::HashTemplateListpack | Kind::HashTemplateListpackRef) {
        let bytes = cursor.string()?;
        let mut items = listpack::Items::new(&bytes).map_err(within(start))?;
        let Some(Item::Integer(number)) = items.next().map_err(within(start))? else {
            return Err(Fault::Uneven("fields and values").at(start));
        };
        let mut buffer = Vec::new();
        for name in find(number as u64)? {
            let Some(value) = items.next().map_err(within(start))? else {
                return Err(Fault::Uneven("fields and values").at(start));
            };
            set(&mut hash, name, value.text_in(&mut buffer), Deadline::Never, limits)
                .map_err(within(start))?;
        }
        if items.next().map_err(within(start))?.is_some() {
            return Err(Fault::Uneven("fields and values").at(start));
        }
    } else {
        let number = if kind == Kind::HashTemplateArrayRef { cursor.length()? } else { 0 };
        for name in find(number)? {
            let value = cursor.string()?;
            set(&mut hash, name, &value, Deadline::Never, limits).map_err(within(start))?;
        }
    }
    not_empty(hash, start)
}

/// The names that a payload has in place of a template.
fn names(cursor: &mut Cursor<'_>) -> Result<Vec<Vec<u8>>, Damage> {
    let start = cursor.offset();
    let mut names = Vec::new();
    match cursor.byte()? {
        NAMES_IN_LISTPACK => {
            let bytes = cursor.string()?;
            let mut items = listpack::Items::new(&bytes).map_err(within(start))?;
            let mut buffer = Vec::new();
            while let Some(name) = items.next().map_err(within(start))? {
                names.push(name.text_in(&mut buffer).to_vec());
            }
        }
        NAMES_IN_ARRAY => {
            for _ in 0..cursor.count("hash")? {
                names.push(cursor.string()?.into_owned());
            }
        }
        _ => return Err(Fault::Length.at(start)),
    }
    Ok(names)
}

fn set_pairs<'a>(
    hash: &mut Hash,
    mut next: impl FnMut() -> Result<Option<Item<'a>>, Damage>,
    limits: HashLimits,
) -> Result<(), Damage> {
    let (mut field_buffer, mut value_buffer) = (Vec::new(), Vec::new());
    while let Some(field) = next()? {
        let Some(value) = next()? else {
            return Err(Fault::Uneven("fields and values").at(0));
        };
        let field = field.text_in(&mut field_buffer);
        set(hash, field, value.text_in(&mut value_buffer), Deadline::Never, limits)?;
    }
    Ok(())
}

fn set(
    hash: &mut Hash,
    field: &[u8],
    value: &[u8],
    deadline: Deadline,
    limits: HashLimits,
) -> Result<(), Damage> {
    let is_new = hash.set(field, value, deadline, limits);
    if is_new { Ok(()) } else { Err(Fault::Duplicate("hash field").at(0)) }
}

fn not_empty(hash: Hash, start: usize) -> Result<Hash, Damage> {
    if hash.is_empty() { Err(Fault::Empty("hash").at(start)) } else { Ok(hash) }
}

/// The deadline that those of the fields are relative to.
fn first_deadline(cursor: &mut Cursor<'_>) -> Result<i64, Damage> {
    cursor.i64()
}

/// 0 for none, or how far behind the first deadline it is, plus one.
fn relative_deadline(cursor: &mut Cursor<'_>, first: i64) -> Result<Deadline, Damage> {
    let start = cursor.offset();
    let behind = cursor.length()?;
    if behind == 0 {
        return Ok(Deadline::Never);
    }
    let at = first.checked_add_unsigned(behind - 1);
    valid(at, start)
}

/// 0 for none.
fn absolute_deadline(cursor: &mut Cursor<'_>) -> Result<Deadline, Damage> {
    let start = cursor.offset();
    match cursor.length()? {
        0 => Ok(Deadline::Never),
        at => valid(i64::try_from(at).ok(), start),
    }
}

/// -1 for none.
fn deadline_or_minus_one(cursor: &mut Cursor<'_>) -> Result<Deadline, Damage> {
    let start = cursor.offset();
    match cursor.i64()? {
        -1 => Ok(Deadline::Never),
        at if 0 <= at => Ok(Deadline::At(at)),
        _ => Err(Fault::Deadline.at(start)),
    }
}

fn valid(at: Option<i64>, start: usize) -> Result<Deadline, Damage> {
    match at {
        Some(at @ 0..=DEADLINE_MAX) => Ok(Deadline::At(at)),
        _ => Err(Fault::Deadline.at(start)),
    }
}
