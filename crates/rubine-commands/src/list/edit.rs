//! LINSERT, LREM, LSET, LTRIM: what changes a list somewhere in the middle.

use rubine_structures::list::{ChunkLimit, End, List};

use super::{ITEMS_PER_STEP, chunk_limit, discard, find_mut, range};
use crate::command::Command;
use crate::computation::Computation;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

pub(super) const LINSERT: Command = Command::new("LINSERT", linsert)
    .summary("Puts an element before or after the first one that equals the pivot.")
    .syntax("key <BEFORE | AFTER> pivot element")
    .since("2.2.0")
    .complexity("O(N) with N the number of elements up to the pivot.")
    .arity(5)
    .writes()
    .denies_oom()
    .key("RW INSERT");

fn linsert(cx: &mut Context<'_, '_>) -> CommandResult {
    let offset = match cx.args.at(2) {
        place if place.eq_ignore_ascii_case(b"before") => 0,
        place if place.eq_ignore_ascii_case(b"after") => 1,
        _ => return Err(CommandError::Syntax),
    };
    let (key, pivot, item) = (cx.key(1), cx.args.at(3), cx.args.at(4));
    let limit = chunk_limit(cx.limits);
    let Some(list) = find_mut(&mut cx.keys, key)? else {
        cx.reply.integer(0);
        return Ok(());
    };
    // Redis makes room before it looks for the pivot, which shows in the encoding.
    list.grow_for(item.len(), 1, limit);
    let Some(found) = list.position(pivot, 0..list.len(), End::Front) else {
        cx.reply.integer(-1);
        return Ok(());
    };
    list.insert(found + offset, item, limit);
    let len = list.len();
    cx.touched(key, Event::LINSERT);
    cx.reply.integer(len as i64);
    Ok(())
}

pub(super) const LSET: Command = Command::new("LSET", lset)
    .summary("Replaces the element of a list at an index; a negative one counts from the tail.")
    .syntax("key index element")
    .complexity("O(log(N)) with N the number of elements.")
    .arity(4)
    .writes()
    .denies_oom()
    .key("RW UPDATE");

fn lset(cx: &mut Context<'_, '_>) -> CommandResult {
    let (key, item) = (cx.key(1), cx.args.at(3));
    let limit = chunk_limit(cx.limits);
    let list = find_mut(&mut cx.keys, key)?.ok_or(CommandError::NoSuchKey)?;
    let index = cx.args.integer(2)?;
    // Redis makes room before it checks the index, which shows in the encoding.
    list.grow_for(item.len(), 1, limit);
    let index = range::item_index(index, list.len()).ok_or(CommandError::IndexOutOfRange)?;
    list.set(index, item, limit);
    cx.touched(key, Event::LSET);
    cx.reply.ok();
    Ok(())
}

pub(super) const LREM: Command = Command::new("LREM", lrem)
    .summary("Removes elements that equal the one given. A list without elements is removed.")
    .syntax("key count element")
    .complexity("O(N) with N the number of elements.")
    .arity(4)
    .writes()
    .key("RW DELETE");

fn lrem(cx: &mut Context<'_, '_>) -> CommandResult {
    let count = cx.args.integer(2)?;
    let end = if count < 0 { End::Back } else { End::Front };
    let count_max = match count {
        i64::MIN => return Err(CommandError::NotSymmetric),
        0 => usize::MAX,
        count => count.unsigned_abs() as usize,
    };
    let (key, needle) = (cx.key(1), cx.args.at(3));
    let limit = chunk_limit(cx.limits);
    let in_place_max = cx.client.steps_at_once_max;
    let Some(list) = find_mut(&mut cx.keys, key)? else {
        cx.reply.integer(0);
        return Ok(());
    };
    let removed = if list.len() as u64 / ITEMS_PER_STEP <= in_place_max {
        list.remove_matching(needle, count_max, end, limit)
    } else {
        let removal =
            Removal { list: list.clone(), needle: needle.to_vec(), count_max, end, limit };
        let Some((rest, removed)) = cx.compute(removal) else { return Ok(()) };
        if 0 < removed {
            let list = find_mut(&mut cx.keys, key)?.expect("it was found just now");
            let old = std::mem::replace(list, rest);
            discard(cx, Some(old));
        }
        removed
    };
    let is_emptied = find_mut(&mut cx.keys, key)?.is_none_or(|list| list.is_empty());
    if 0 < removed {
        cx.touched(key, Event::LREM);
        cx.keys.add_dirty(removed as u64 - 1);
        if is_emptied {
            cx.remove_emptied(key);
        }
    }
    cx.reply.integer(removed as i64);
    Ok(())
}

/// A list without items that equal a needle.
struct Removal {
    list: List,
    needle: Vec<u8>,
    count_max: usize,
    end: End,
    limit: ChunkLimit,
}

impl Computation for Removal {
    type Output = (List, usize);

    fn steps(&self) -> u64 {
        self.list.len() as u64 / ITEMS_PER_STEP
    }

    fn is_same(&self, other: &Self) -> bool {
        self.limit == other.limit && self.list.is_same(&other.list)
    }

    fn compute(&self) -> (List, usize) {
        let mut rest = self.list.clone();
        let removed = rest.remove_matching(&self.needle, self.count_max, self.end, self.limit);
        (rest, removed)
    }
}

pub(super) const LTRIM: Command = Command::new("LTRIM", ltrim)
    .summary("Removes the elements outside a range. A list without elements is removed.")
    .syntax("key start stop")
    .complexity(
        "O(log(N)) with N the number of elements; what is removed is freed in the background.",
    )
    .arity(4)
    .writes()
    .key("RW DELETE");

fn ltrim(cx: &mut Context<'_, '_>) -> CommandResult {
    let (start, stop) = (cx.args.integer(2)?, cx.args.integer(3)?);
    let key = cx.key(1);
    let limit = chunk_limit(cx.limits);
    let Some(list) = find_mut(&mut cx.keys, key)? else {
        cx.reply.ok();
        return Ok(());
    };
    let len = list.len();
    let kept = range::between(start, stop, len);
    let removed = len - kept.len();
    // A list that goes altogether goes with its key, to be freed elsewhere.
    if !kept.is_empty() {
        let tail = range::remove(list, kept.end..len, limit);
        let head = range::remove(list, 0..kept.start, limit);
        discard(cx, tail);
        discard(cx, head);
    }
    if removed == 0 {
        cx.notify(key, Event::LTRIM);
    } else {
        cx.touched(key, Event::LTRIM);
        cx.keys.add_dirty(removed as u64 - 1);
    }
    if kept.is_empty() {
        cx.remove_emptied(key);
    }
    cx.reply.ok();
    Ok(())
}
