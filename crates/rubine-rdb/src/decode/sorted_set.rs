//! Sorted sets: plain with scores in text or binary, as a ziplist, as a listpack.

use std::borrow::Cow;

use rubine_base::hash::HashSet;
use rubine_base::number::parse_f64;
use rubine_structures::sorted_set::{SortedSet, SortedSetLimits};

use super::list::within;
use crate::cursor::Cursor;
use crate::error::{Damage, Fault};
use crate::kind::Kind;
use crate::listpack::{self, Item};
use crate::ziplist;

/// What the length of a score in text says where it is no length.
const NAN: u8 = 253;
const INFINITY: u8 = 254;
const NEGATIVE_INFINITY: u8 = 255;

pub(super) fn plain(
    kind: Kind,
    cursor: &mut Cursor<'_>,
    limits: SortedSetLimits,
) -> Result<SortedSet, Damage> {
    let start = cursor.offset();
    let count = cursor.count("sorted set")?;
    let mut elements = Vec::new();
    for _ in 0..count {
        let member = cursor.string()?;
        let place = cursor.offset();
        let score = match kind {
            Kind::SortedSet => f64::from_le_bytes(cursor.array()?),
            _ => score_in_text(cursor)?,
        };
        if score.is_nan() {
            return Err(Fault::Score.at(place));
        }
        elements.push((member, score));
    }
    build(elements, limits, start)
}

pub(super) fn packed(
    kind: Kind,
    cursor: &mut Cursor<'_>,
    limits: SortedSetLimits,
) -> Result<SortedSet, Damage> {
    let start = cursor.offset();
    let bytes = cursor.string()?;
    let mut elements = Vec::new();
    if kind == Kind::SortedSetZiplist {
        let mut items = ziplist::Items::new(&bytes).map_err(within(start))?;
        collect(|| items.next(), &mut elements).map_err(within(start))?;
    } else {
        let mut items = listpack::Items::new(&bytes).map_err(within(start))?;
        collect(|| items.next(), &mut elements).map_err(within(start))?;
    }
    if elements.is_empty() {
        return Err(Fault::Empty("sorted set").at(start));
    }
    build(elements, limits, start)
}

/// Takes members with their scores from `next`.
fn collect<'a>(
    mut next: impl FnMut() -> Result<Option<Item<'a>>, Damage>,
    elements: &mut Vec<(Cow<'a, [u8]>, f64)>,
) -> Result<(), Damage> {
    while let Some(member) = next()? {
        let Some(score) = next()? else {
            return Err(Fault::Uneven("members and scores").at(0));
        };
        let score = match score {
            Item::Integer(integer) => Some(integer as f64),
            Item::Text(text) => parse_f64(text),
        };
        let score = score.ok_or_else(|| Fault::Score.at(0))?;
        let member = match member {
            Item::Text(text) => Cow::Borrowed(text),
            Item::Integer(_) => Cow::Owned(member.text_in(&mut Vec::new()).to_vec()),
        };
        elements.push((member, score));
    }
    Ok(())
}

fn score_in_text(cursor: &mut Cursor<'_>) -> Result<f64, Damage> {
    let place = cursor.offset();
    match cursor.byte()? {
        NAN => Ok(f64::NAN),
        INFINITY => Ok(f64::INFINITY),
        NEGATIVE_INFINITY => Ok(f64::NEG_INFINITY),
        len => parse_f64(cursor.take(u64::from(len))?).ok_or_else(|| Fault::Score.at(place)),
    }
}

fn build(
    elements: Vec<(Cow<'_, [u8]>, f64)>,
    limits: SortedSetLimits,
    start: usize,
) -> Result<SortedSet, Damage> {
    let mut seen = HashSet::default();
    if !elements.iter().all(|(member, _)| seen.insert(&**member)) {
        return Err(Fault::Duplicate("member of a sorted set").at(start));
    }
    drop(seen);
    Ok(SortedSet::from_elements(elements, limits))
}
