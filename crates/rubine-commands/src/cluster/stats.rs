//! CLUSTER SLOT-STATS: what the slots of this node and its shard hold and take. Counts nothing itself.

use std::cmp::Reverse;

use rubine_base::crc::SLOT_COUNT;

use super::{check_mode, named_slot};
use crate::command::{Command, Flags};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::slot_usage::SlotUsage;

pub(super) const SLOT_STATS: Command = Command::new("SLOT-STATS", slot_stats)
    .summary("Returns what slots of this node hold, and what requests about them take.")
    .syntax("<SLOTSRANGE start-slot end-slot | ORDERBY metric [LIMIT limit] [ASC | DESC]>")
    .since("8.0.0")
    .complexity("O(N) with N the number of slots; O(N log N) with ORDERBY.")
    .tips("nondeterministic_output request_policy:all_shards")
    .arity(-4)
    .flag(Flags::STALE.union(Flags::LOADING))
    .each_shard();

fn slot_stats(cx: &mut Context<'_, '_>) -> CommandResult {
    check_mode(cx)?;
    let is = |word: &str| cx.args.at(2).eq_ignore_ascii_case(word.as_bytes());
    match cx.args.len() {
        5 if is("SLOTSRANGE") => slots_range(cx),
        4.. if is("ORDERBY") => order_by(cx),
        _ => Err(CommandError::wrong_form(cx.args.get(1), "CLUSTER")),
    }
}

fn slots_range(cx: &mut Context<'_, '_>) -> CommandResult {
    let (start, end) = (named_slot(cx.args, 3)?, named_slot(cx.args, 4)?);
    if end < start {
        let text = format!("ERR Start slot number {start} is greater than end slot number {end}");
        return Err(CommandError::Other(text.into()));
    }
    let slots: Vec<u16> = own_slots(cx).filter(|it| (start..=end).contains(it)).collect();
    reply_with(cx, &slots);
    Ok(())
}

/// What slots are ordered by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Metric {
    KeyCount,
    CpuUs,
    BytesIn,
    BytesOut,
}

fn order_by(cx: &mut Context<'_, '_>) -> CommandResult {
    let counts_usage = usage_of(cx, 0).is_some();
    let mut options = cx.args.options(3);
    let metric = match () {
        () if options.keyword("KEY-COUNT") => Metric::KeyCount,
        () if counts_usage && options.keyword("CPU-USEC") => Metric::CpuUs,
        () if counts_usage && options.keyword("NETWORK-BYTES-IN") => Metric::BytesIn,
        () if counts_usage && options.keyword("NETWORK-BYTES-OUT") => Metric::BytesOut,
        () => return Err(CommandError::text("ERR Unrecognized sort metric for ORDERBY.")),
    };
    let (mut limit, mut is_ascending) = (None, None);
    while !options.is_at_end() {
        let is_twice;
        if 2 <= options.remaining() && options.keyword("LIMIT") {
            let error = "ERR Limit has to lie in between 1 and 16384 (maximum number of slots).";
            let number = options.integer().ok().and_then(|it| usize::try_from(it).ok());
            let number = number.filter(|it| (1..=usize::from(SLOT_COUNT)).contains(it));
            is_twice = limit.replace(number.ok_or(CommandError::text(error))?).is_some();
        } else if options.keyword("ASC") {
            is_twice = is_ascending.replace(true).is_some();
        } else if options.keyword("DESC") {
            is_twice = is_ascending.replace(false).is_some();
        } else {
            return Err(CommandError::Syntax);
        }
        if is_twice {
            let error = "ERR Multiple filters of the same type are disallowed.";
            return Err(CommandError::text(error));
        }
    }
    let mut slots: Vec<(u64, u16)> =
        own_slots(cx).map(|it| (value_of(cx, it, metric), it)).collect();
    if is_ascending == Some(true) {
        slots.sort_unstable();
    } else {
        slots.sort_unstable_by_key(|&(value, slot)| (Reverse(value), slot));
    }
    slots.truncate(limit.unwrap_or(usize::from(SLOT_COUNT)));
    let slots: Vec<u16> = slots.into_iter().map(|(_, slot)| slot).collect();
    reply_with(cx, &slots);
    Ok(())
}

/// The slots of this node's shard.
fn own_slots(cx: &Context<'_, '_>) -> impl Iterator<Item = u16> {
    let owners = cx.limits.slot_owners.clone();
    (0..SLOT_COUNT).filter(move |slot| owners.as_ref().is_some_and(|it| it.is_of_our_shard(*slot)))
}

fn usage_of(cx: &Context<'_, '_>, slot: u16) -> Option<SlotUsage> {
    cx.limits.slot_owners.as_ref()?.usage(slot)
}

fn value_of(cx: &Context<'_, '_>, slot: u16, metric: Metric) -> u64 {
    let usage = usage_of(cx, slot).unwrap_or_default();
    match metric {
        Metric::KeyCount => cx.keys.slot_len_of_all_dbs(slot) as u64,
        Metric::CpuUs => usage.cpu_us,
        Metric::BytesIn => usage.bytes_in,
        Metric::BytesOut => usage.bytes_out,
    }
}

fn reply_with(cx: &mut Context<'_, '_>, slots: &[u16]) {
    cx.reply.array(slots.len());
    for &slot in slots {
        let usage = usage_of(cx, slot);
        cx.reply.array(2);
        cx.reply.integer(i64::from(slot));
        cx.reply.map(if usage.is_some() { 4 } else { 1 });
        cx.reply.bulk(b"key-count");
        cx.reply.integer(cx.keys.slot_len_of_all_dbs(slot) as i64);
        let Some(SlotUsage { cpu_us, bytes_in, bytes_out }) = usage else { continue };
        let fields = [
            ("cpu-usec", cpu_us),
            ("network-bytes-in", bytes_in),
            ("network-bytes-out", bytes_out),
        ];
        for (name, value) in fields {
            cx.reply.bulk(name.as_bytes());
            cx.reply.integer(value as i64);
        }
    }
}
