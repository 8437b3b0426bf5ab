//! PFCOUNT and PFMERGE: estimates, and unions. A union is made of registers; no source changes.

use rubine_structures::hyperloglog::{self, Encoding, Registers};
use rubine_structures::value::Value;

use super::expect_hll;
use crate::command::{Command, Flags};
use crate::context::Context;
use crate::error::CommandResult;
use crate::event::Event;
use crate::string::{part, store};

pub(super) const PFCOUNT: Command = Command::new("PFCOUNT", pfcount)
    .summary(
        "Estimates how many different elements were added to a HyperLogLog, or to any of several.",
    )
    .syntax("key [key ...]")
    .since("2.8.9")
    .complexity(
        "O(1) for one key whose estimate is known; O(N) with N the number of keys otherwise.",
    )
    .arity(-2)
    .reads()
    .flag(Flags::MAY_REPLICATE)
    .key_range(1, -1, 1, "RW ACCESS");

fn pfcount(cx: &mut Context<'_, '_>) -> CommandResult {
    if cx.args.len() == 2 {
        return estimate_one(cx);
    }
    let mut union = Registers::new();
    for index in 1..cx.args.len() {
        if let Some(record) = cx.keys.find(cx.key(index)) {
            union.merge(&expect_hll(record)?.0.text())?;
        }
    }
    cx.reply.integer(union.estimate() as i64);
    Ok(())
}

/// The estimate of one is kept in its header, so reading it may write it.
fn estimate_one(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let Some(record) = cx.keys.find(key) else {
        cx.reply.integer(0);
        return Ok(());
    };
    let (string, _) = expect_hll(record)?;
    let bytes = string.text();
    if let Some(estimate) = hyperloglog::known_estimate(&bytes) {
        cx.reply.integer(estimate as i64);
        return Ok(());
    }
    let estimate = hyperloglog::estimate(&bytes)?;
    let len = bytes.len();
    let record = cx.keys.find_mut(key).expect("the key was just seen");
    part::edit_within(record, len, |bytes| hyperloglog::note_estimate(bytes, estimate))?;
    cx.keys.note_change(key);
    cx.reply.integer(estimate as i64);
    Ok(())
}

pub(super) const PFMERGE: Command = Command::new("PFMERGE", pfmerge)
    .summary("Adds what was added to some HyperLogLogs to another one, which is created if there is none.")
    .syntax("destkey [sourcekey [sourcekey ...]]")
    .since("2.8.9")
    .complexity("O(N) with N the number of keys.")
    .arity(-2)
    .writes()
    .denies_oom()
    .key("RW ACCESS INSERT")
    .key_range(2, -1, 1, "RO ACCESS");

fn pfmerge(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let mut union = Registers::new();
    let mut is_dense = false;
    for index in 1..cx.args.len() {
        if let Some(record) = cx.keys.find(cx.key(index)) {
            let (string, encoding) = expect_hll(record)?;
            is_dense |= encoding == Encoding::Dense;
            union.merge(&string.text())?;
        }
    }

    let len_max = cx.limits.hll_sparse_max_bytes;
    let merge = |bytes: &mut Vec<u8>| {
        if is_dense {
            hyperloglog::to_dense(bytes).expect("what could be merged is sound");
        }
        union.write_to(bytes, len_max);
    };
    if let Some(record) = cx.keys.find_mut(key) {
        part::edit(record, 0, merge)?;
    } else {
        let mut bytes = hyperloglog::empty();
        merge(&mut bytes);
        store(cx, key, Value::raw(bytes), None);
    }
    cx.touched(key, Event::PFADD);
    cx.reply.ok();
    Ok(())
}
