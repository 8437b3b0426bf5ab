//! PFADD. An element that changes nothing costs no copy.

use rubine_keyspace::Key;
use rubine_structures::hyperloglog::{self, Corrupted, Element, Encoding};
use rubine_structures::value::Value;

use super::expect_hll;
use crate::command::Command;
use crate::context::Context;
use crate::error::CommandResult;
use crate::event::Event;
use crate::string::{part, store};

pub(super) const PFADD: Command = Command::new("PFADD", pfadd)
    .summary("Adds elements to a HyperLogLog, which is created if there is none.")
    .syntax("key [element [element ...]]")
    .since("2.8.9")
    .complexity("O(1) for each element.")
    .arity(-2)
    .writes()
    .denies_oom()
    .fast()
    .key("RW INSERT");

fn pfadd(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let Some(record) = cx.keys.find_mut(key) else {
        create(cx, key);
        return Ok(());
    };
    let len_max = cx.limits.hll_sparse_max_bytes;
    let mut elements = cx.args.from(2).map(Element::of);

    let (string, encoding) = expect_hll(record.get())?;
    let bytes = string.text();
    let is_one = elements.len() <= 1;
    if encoding == Encoding::Sparse && !is_one && !hyperloglog::is_sound(&bytes) {
        // One of the elements might fail after others have been added.
        let mut copy = bytes.to_vec();
        for element in elements.clone() {
            hyperloglog::add(&mut copy, element, len_max)?;
        }
    }
    let mut first = None;
    for element in elements.by_ref() {
        first = hyperloglog::lack(&bytes, element)?;
        if first.is_some() {
            break;
        }
    }
    let Some(first) = first else {
        cx.reply.integer(0);
        return Ok(());
    };

    let mut changes: Result<u64, Corrupted> = Ok(0);
    let len = bytes.len();
    part::edit(record, len, |bytes| {
        changes = hyperloglog::fill(bytes, first, len_max).and_then(|()| {
            elements.try_fold(1, |changes, element| {
                let changed = hyperloglog::add(bytes, element, len_max)?;
                Ok(changes + u64::from(changed))
            })
        });
    })?;
    finish(cx, key, changes?);
    Ok(())
}

/// There is no such key.
fn create(cx: &mut Context<'_, '_>, key: Key<'_>) {
    let mut bytes = hyperloglog::empty();
    hyperloglog::make_stale(&mut bytes);
    let mut changes = 1;
    for element in cx.args.from(2).map(Element::of) {
        let changed = hyperloglog::add(&mut bytes, element, cx.limits.hll_sparse_max_bytes);
        changes += u64::from(changed.expect("one that was just made is sound"));
    }
    store(cx, key, Value::raw(bytes), None);
    finish(cx, key, changes);
}

/// Tells of so many changes, of which there is at least one.
fn finish(cx: &mut Context<'_, '_>, key: Key<'_>, changes: u64) {
    cx.touched(key, Event::PFADD);
    cx.keys.add_dirty(changes - 1);
    cx.reply.integer(1);
}
