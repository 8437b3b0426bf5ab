//! Storing what was computed under a key, and ZRANGESTORE. Never changes a source.

use std::ops::Range;

use rubine_keyspace::Key;
use rubine_structures::sorted_set::{Direction, SortedSet, SortedSetEncoding, SortedSetLimits};
use rubine_structures::value::Value;

use super::range::{Use, Wanted};
use super::{find, form_limits};
use crate::command::Command;
use crate::computation::Computation;
use crate::context::Context;
use crate::error::CommandResult;
use crate::event::Event;

/// Puts a result under `key`, in place of whatever is there, and replies with its length. An empty one removes the key.
pub(crate) fn store(cx: &mut Context<'_, '_>, key: Key<'_>, result: SortedSet, event: Event) {
    let count = result.len();
    if 0 < count {
        if cx.keys.store(key, Value::SortedSet(result), None) {
            cx.notify(key, Event::NEW);
        }
        cx.touched(key, event);
    } else if cx.keys.remove(key) {
        cx.touched(key, Event::DEL);
    }
    cx.reply.integer(count as i64);
}

pub(super) const ZRANGESTORE: Command = Command::new("ZRANGESTORE", zrangestore)
    .summary("Stores the members in a range of ranks, scores or the alphabet under a key.")
    .syntax("destination source min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]")
    .since("6.2.0")
    .complexity("O(log(N)+M) with N the number of members and M the number of those stored.")
    .arity(-5)
    .writes()
    .denies_oom()
    .key_at(1, "OW UPDATE")
    .key_at(2, "RO ACCESS");

fn zrangestore(cx: &mut Context<'_, '_>) -> CommandResult {
    let wanted = Wanted::parse(cx.args, 3, None, None, Use::Store)?;
    let (destination, source) = (cx.key(1), cx.key(2));
    let limits = form_limits(cx.limits);
    let result = match find(&mut cx.keys, source)? {
        None => SortedSet::new(),
        Some(set) => {
            let part = Part { set: set.clone(), ranks: wanted.ranks(set), limits };
            let Some(result) = cx.compute(part) else { return Ok(()) };
            result
        }
    };
    store(cx, destination, result, Event::ZRANGESTORE);
    Ok(())
}

/// The elements of a sorted set with some ranks, as a sorted set of their own.
struct Part {
    set: SortedSet,
    ranks: Range<u64>,
    limits: SortedSetLimits,
}

impl Part {
    /// What is left is most of the set, so it is best made as a copy without the others.
    fn is_most(&self) -> bool {
        let kept = self.count();
        let is_large = self.set.encoding() == SortedSetEncoding::Skiplist
            && (self.limits.entries as u64) < kept;
        is_large && self.set.len() - kept <= kept / 2
    }

    fn count(&self) -> u64 {
        self.ranks.end.saturating_sub(self.ranks.start)
    }
}

impl Computation for Part {
    type Output = SortedSet;

    fn steps(&self) -> u64 {
        if self.is_most() { self.set.len() - self.count() } else { self.count() }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.limits == other.limits && self.set.is_same(&other.set)
    }

    fn compute(&self) -> SortedSet {
        let ranks = self.ranks.clone();
        if self.is_most() {
            let mut part = self.set.clone();
            part.remove_range(ranks.end..part.len());
            part.remove_range(0..ranks.start);
            return part;
        }
        let elements = self.set.iter_range(ranks, Direction::Ascending).collect();
        SortedSet::from_elements(elements, self.limits)
    }
}
