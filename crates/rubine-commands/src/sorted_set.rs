//! Sorted set commands: the list of them all, and what they share. Handlers do no I/O; their keys are already locked.

use rubine_keyspace::{Key, View};
use rubine_structures::record::{RecordRef, ValueMut};
use rubine_structures::sorted_set::{SortedSet, SortedSetLimits};
use rubine_structures::table::RecordMut;
use rubine_structures::value::ValueRef;

use crate::command::Command;
use crate::context::Context;
use crate::error::CommandError;
use crate::event::Event;
use crate::limits::Limits;

mod combine;
mod elements;
mod interval;
mod pop;
mod random;
mod range;
mod read;
mod remove;
mod score;
mod store;

pub(crate) use score::{Conditions, add};
pub(crate) use store::store;

pub(crate) const COMMANDS: &[Command] = &[
    pop::BZMPOP,
    pop::BZPOPMAX,
    pop::BZPOPMIN,
    score::ZADD,
    read::ZCARD,
    interval::ZCOUNT,
    combine::ZDIFF,
    combine::ZDIFFSTORE,
    score::ZINCRBY,
    combine::ZINTER,
    combine::ZINTERCARD,
    combine::ZINTERSTORE,
    interval::ZLEXCOUNT,
    pop::ZMPOP,
    read::ZMSCORE,
    remove::ZPOPMAX,
    remove::ZPOPMIN,
    random::ZRANDMEMBER,
    range::ZRANGE,
    range::ZRANGEBYLEX,
    range::ZRANGEBYSCORE,
    store::ZRANGESTORE,
    read::ZRANK,
    remove::ZREM,
    remove::ZREMRANGEBYLEX,
    remove::ZREMRANGEBYRANK,
    remove::ZREMRANGEBYSCORE,
    range::ZREVRANGE,
    range::ZREVRANGEBYLEX,
    range::ZREVRANGEBYSCORE,
    read::ZREVRANK,
    read::ZSCAN,
    read::ZSCORE,
    combine::ZUNION,
    combine::ZUNIONSTORE,
];

/// The sorted set under a key, for reading; an error if there is something else.
#[inline]
pub(crate) fn find<'v>(
    keys: &'v mut View<'_, '_>,
    key: Key<'_>,
) -> Result<Option<&'v SortedSet>, CommandError> {
    match keys.find(key).map(RecordRef::value) {
        None => Ok(None),
        Some(ValueRef::SortedSet(set)) => Ok(Some(set)),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// The sorted set under a key, to be changed where it lies; an error if there is something else.
#[inline]
fn find_mut<'v>(
    keys: &'v mut View<'_, '_>,
    key: Key<'_>,
) -> Result<Option<&'v mut SortedSet>, CommandError> {
    match keys.find_mut(key).map(RecordMut::into_value_mut) {
        None => Ok(None),
        Some(ValueMut::SortedSet(set)) => Ok(Some(set)),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// How large the packed form may become.
#[inline]
pub(crate) fn form_limits(limits: &Limits) -> SortedSetLimits {
    SortedSetLimits {
        entries: limits.zset_max_listpack_entries,
        value_bytes: limits.zset_max_listpack_value,
    }
}

/// `count` elements, at least one, were taken out of the set under `key`. If they were all, the key goes too.
#[inline]
fn note_removed(
    cx: &mut Context<'_, '_>,
    key: Key<'_>,
    event: Event,
    count: u64,
    is_emptied: bool,
) {
    cx.touched(key, event);
    cx.keys.add_dirty(count - 1);
    if is_emptied {
        cx.remove_emptied(key);
    }
}
