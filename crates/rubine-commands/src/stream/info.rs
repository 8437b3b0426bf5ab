//! XINFO: what there is to know of a stream, its groups and their consumers. Never changes one.

use rubine_resp::writer::Reply;
use rubine_structures::stream::{Direction, Group, Producers, Stream, StreamId};

use super::entries::{Wanted, write_entry, write_id, write_range};
use super::pending::{Layout, write_rows};
use super::{find, no_group_for_key, subcommand_syntax};
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};

/// Entries of each kind that XINFO STREAM FULL shows if it is not told how many.
const COUNT_DEFAULT: u64 = 10;

pub(super) const XINFO: Command = <Command>::container("XINFO", unknown_form, FORMS)
    .summary("Tells what there is to know of a stream and its groups.")
    .since("5.0.0")
    .complexity("O(N) with N the number of groups or consumers.");

const FORMS: &[Command] = &[CONSUMERS, GROUPS, STREAM];

fn unknown_form(cx: &mut Context<'_, '_>) -> CommandResult {
    Err(CommandError::unknown_subcommand(cx.args.get(1), "XINFO"))
}

const CONSUMERS: Command = Command::new("CONSUMERS", consumers)
    .summary("Tells of a group's consumers what is pending for them and when they were seen.")
    .syntax("key group")
    .since("5.0.0")
    .complexity("O(N) with N the number of consumers.")
    .tips("nondeterministic_output")
    .arity(4)
    .reads()
    .key_at(2, "RO ACCESS");

fn consumers(cx: &mut Context<'_, '_>) -> CommandResult {
    let (key, name, now) = (cx.key(2), cx.args.at(3), cx.now);
    let stream = find(&mut cx.keys, key)?.ok_or(CommandError::NoSuchKey)?;
    let group = stream.group(name).ok_or_else(|| no_group_for_key(key.bytes(), name))?;
    let reply = &mut cx.reply;
    reply.array(group.consumer_count());
    for (_, consumer) in group.consumers() {
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(consumer.name());
        pair(reply, "pending", consumer.pending_count() as i64);
        pair(reply, "idle", now.saturating_sub(consumer.seen_at).max(0));
        pair(reply, "inactive", consumer.active_at.map_or(-1, |it| now.saturating_sub(it)));
    }
    Ok(())
}

const GROUPS: Command = Command::new("GROUPS", groups)
    .summary("Tells of a stream's groups how far they have read and how much is pending.")
    .syntax("key")
    .since("5.0.0")
    .complexity("O(N) with N the number of groups.")
    .arity(3)
    .reads()
    .key_at(2, "RO ACCESS");

fn groups(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(2);
    let stream = find(&mut cx.keys, key)?.ok_or(CommandError::NoSuchKey)?;
    let reply = &mut cx.reply;
    reply.array(stream.group_count());
    for (name, group) in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(name);
        pair(reply, "consumers", group.consumer_count() as i64);
        pair(reply, "pending", group.pending_count() as i64);
        id_pair(reply, "last-delivered-id", group.last_id);
        write_progress(reply, stream, group);
    }
    Ok(())
}

const STREAM: Command = Command::new("STREAM", stream)
    .summary("Tells what there is to know of a stream, or all of it.")
    .syntax("key [FULL [COUNT count]]")
    .since("5.0.0")
    .complexity("O(N) with N what is shown of entries, groups, consumers and what is pending.")
    .arity(-3)
    .reads()
    .key_at(2, "RO ACCESS");

fn stream(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(2);
    let stream = find(&mut cx.keys, key)?.ok_or(CommandError::NoSuchKey)?;
    let mut options = cx.args.options(3);
    let is_full = options.keyword("FULL");
    let mut count_max = COUNT_DEFAULT;
    if options.remaining() == 2 && is_full && options.keyword("COUNT") {
        count_max = match options.integer()? {
            0 => u64::MAX,
            count => u64::try_from(count).unwrap_or(COUNT_DEFAULT),
        };
    }
    if !options.is_at_end() {
        return Err(subcommand_syntax(cx, "XINFO"));
    }
    let reply = &mut cx.reply;
    let producer_pairs = if stream.producers().is_some() { PRODUCER_PAIRS } else { 0 };
    reply.map(producer_pairs + if is_full { 9 } else { 10 });
    write_facts(reply, stream);
    if let Some(producers) = stream.producers() {
        write_producers(reply, producers);
    }
    if is_full {
        reply.bulk(b"entries");
        write_range(reply, stream, Wanted::from(StreamId::MIN, count_max));
        reply.bulk(b"groups");
        reply.array(stream.group_count());
        for (name, group) in stream.groups() {
            write_group(reply, stream, name, group, count_max);
        }
    } else {
        pair(reply, "groups", stream.group_count() as i64);
        for (name, direction) in
            [("first-entry", Direction::Ascending), ("last-entry", Direction::Descending)]
        {
            reply.bulk(name.as_bytes());
            match stream.range(StreamId::MIN, StreamId::MAX, direction).next() {
                Some(entry) => write_entry(reply, &entry),
                None => reply.null(),
            }
        }
    }
    Ok(())
}

fn write_facts(reply: &mut Reply<'_>, stream: &Stream) {
    let blocks = stream.block_count() as i64;
    pair(reply, "length", stream.len() as i64);
    pair(reply, "radix-tree-keys", blocks);
    // There is no such tree; one with these keys would have a node for each and one above, at least.
    pair(reply, "radix-tree-nodes", blocks + 1);
    id_pair(reply, "last-generated-id", stream.last_id());
    id_pair(reply, "max-deleted-entry-id", stream.max_deleted_id());
    pair(reply, "entries-added", stream.entries_added() as i64);
    id_pair(reply, "recorded-first-entry-id", stream.first_id());
}

const PRODUCER_PAIRS: usize = 6;

fn write_producers(reply: &mut Reply<'_>, producers: &Producers) {
    let retention = producers.retention();
    pair(reply, "idmp-duration", retention.duration as i64);
    pair(reply, "idmp-maxsize", retention.count_max as i64);
    pair(reply, "pids-tracked", producers.producer_count() as i64);
    pair(reply, "iids-tracked", producers.record_count() as i64);
    pair(reply, "iids-added", producers.added as i64);
    pair(reply, "iids-duplicates", producers.duplicates as i64);
}

/// All that there is to know of a group, but of no more than `count_max` pending entries.
fn write_group(reply: &mut Reply<'_>, stream: &Stream, name: &[u8], group: &Group, count_max: u64) {
    let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
    reply.map(7);
    reply.bulk(b"name");
    reply.bulk(name);
    id_pair(reply, "last-delivered-id", group.last_id);
    write_progress(reply, stream, group);
    pair(reply, "pel-count", group.pending_count() as i64);
    reply.bulk(b"pending");
    let ids = group.pending_from(StreamId::MIN).map(|it| it.0).take(count_max).collect();
    write_rows(reply, group, ids, Layout::Owner);
    reply.bulk(b"consumers");
    reply.array(group.consumer_count());
    for (_, consumer) in group.consumers() {
        reply.map(5);
        reply.bulk(b"name");
        reply.bulk(consumer.name());
        pair(reply, "seen-time", consumer.seen_at);
        pair(reply, "active-time", consumer.active_at.unwrap_or(-1));
        pair(reply, "pel-count", consumer.pending_count() as i64);
        reply.bulk(b"pending");
        let ids = consumer.pending_from(StreamId::MIN).take(count_max).collect();
        write_rows(reply, group, ids, Layout::Plain);
    }
}

/// How much a group has read, and how much it has not.
fn write_progress(reply: &mut Reply<'_>, stream: &Stream, group: &Group) {
    reply.bulk(b"entries-read");
    match group.entries_read {
        Some(count) => reply.integer(count as i64),
        None => reply.null(),
    }
    reply.bulk(b"lag");
    match lag(stream, group) {
        Some(lag) => reply.integer(lag as i64),
        None => reply.null(),
    }
}

/// How many entries a group has not read, if that can be told.
fn lag(stream: &Stream, group: &Group) -> Option<u64> {
    if stream.is_empty() {
        return Some(0);
    }
    // All that is left is ahead of the group, and nothing is missing in it.
    let first_id = stream.first_id();
    if group.last_id < first_id && stream.max_deleted_id() < first_id {
        return Some(stream.len());
    }
    let is_counted = !stream.may_have_gap_from(group.last_id);
    let read = group.entries_read.filter(|_| is_counted);
    let read = read.or_else(|| stream.entries_until(group.last_id))?;
    Some(stream.entries_added().wrapping_sub(read))
}

fn pair(reply: &mut Reply<'_>, name: &str, number: i64) {
    reply.bulk(name.as_bytes());
    reply.integer(number);
}

fn id_pair(reply: &mut Reply<'_>, name: &str, id: StreamId) {
    reply.bulk(name.as_bytes());
    write_id(reply, id);
}
