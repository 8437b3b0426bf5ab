//! Commands that look at one set: SCARD, SISMEMBER, SMISMEMBER, SMEMBERS, SSCAN, and the stream that writes what is too
//! much to be written at once. Never changes a set.

use rubine_base::number::parse_u64_loosely;
use rubine_resp::writer::{Progress, Reply, ReplyStream};
use rubine_structures::set::{Member, Set, SetWalk};

use super::{find, write_member};
use crate::command::Command;
use crate::context::Context;
use crate::element_scan::{ElementScan, Extra};
use crate::error::{CommandError, CommandResult};
use crate::sample::{Choice, Sample};

/// A set of more members is written by a stream.
pub(super) const MEMBERS_AT_ONCE_MAX: u64 = 512;
/// A set of more bytes is written by a stream.
const BYTES_AT_ONCE_MAX: usize = 64 * 1024;

pub(super) const SCARD: Command = Command::new("SCARD", scard)
    .summary("Returns how many members a set has.")
    .syntax("key")
    .complexity("O(1)")
    .arity(2)
    .reads()
    .fast()
    .key("RO");

fn scard(cx: &mut Context<'_, '_>) -> CommandResult {
    let set = find(&mut cx.keys, cx.args.key(1))?;
    cx.reply.integer(set.map_or(0, Set::len) as i64);
    Ok(())
}

pub(super) const SISMEMBER: Command = Command::new("SISMEMBER", sismember)
    .summary("Tells whether something is a member of a set.")
    .syntax("key member")
    .complexity("O(1)")
    .arity(3)
    .reads()
    .fast()
    .key("RO")
    .members(2, 1);

fn sismember(cx: &mut Context<'_, '_>) -> CommandResult {
    let set = find(&mut cx.keys, cx.args.key(1))?;
    let is_member = set.is_some_and(|set| set.contains(cx.args.at(2)));
    cx.reply.integer(i64::from(is_member));
    Ok(())
}

pub(super) const SMISMEMBER: Command = Command::new("SMISMEMBER", smismember)
    .summary("Tells of several things whether they are members of a set.")
    .syntax("key member [member ...]")
    .since("6.2.0")
    .complexity("O(N) with N the number of members asked for.")
    .arity(-3)
    .reads()
    .fast()
    .key("RO ACCESS")
    .members(2, 1);

fn smismember(cx: &mut Context<'_, '_>) -> CommandResult {
    let set = find(&mut cx.keys, cx.args.key(1))?;
    let members = cx.args.from(2);
    cx.reply.array(members.len());
    for member in members {
        cx.reply.integer(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

pub(super) const SMEMBERS: Command = Command::new("SMEMBERS", smembers)
    .summary("Returns all members of a set.")
    .syntax("key")
    .complexity("O(N) with N the number of members.")
    .tips("nondeterministic_output_order")
    .arity(2)
    .reads()
    .key("RO ACCESS");

fn smembers(cx: &mut Context<'_, '_>) -> CommandResult {
    match find(&mut cx.keys, cx.args.key(1))? {
        Some(set) => {
            cx.reply.set(set.len() as usize);
            write_members(&mut cx.reply, set, None);
        }
        None => cx.reply.set(0),
    }
    Ok(())
}

pub(super) const SSCAN: Command = Command::new("SSCAN", sscan)
    .summary("Returns some members of a set and the cursor with which the next call goes on.")
    .syntax("key cursor [MATCH pattern] [COUNT count]")
    .since("2.8.0")
    .complexity("O(1) for every call, O(N) for all of a set, with N the number of its members.")
    .tips("nondeterministic_output")
    .arity(-3)
    .reads()
    .key("RO ACCESS");

fn sscan(cx: &mut Context<'_, '_>) -> CommandResult {
    let cursor = parse_u64_loosely(cx.args.at(2)).ok_or(CommandError::InvalidCursor)?;
    let Some(set) = find(&mut cx.keys, cx.args.key(1))? else {
        // Nothing is said about wrong options then, as in Redis.
        cx.reply.array(2);
        cx.reply.bulk(b"0");
        cx.reply.array(0);
        return Ok(());
    };
    let options = ElementScan::parse(cx.args, Extra::Nothing)?;
    let mut found = Vec::new();
    let next = set.scan(cursor, options.count, |member| {
        let member = member.to_vec();
        if options.matches(&member) {
            found.push(member);
        }
    });
    cx.reply.array(2);
    cx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    cx.reply.array(found.len());
    for member in found {
        cx.reply.bulk(&member);
    }
    Ok(())
}

/// Whether all of a set can be written or gone through at once.
pub(super) fn is_small(set: &Set) -> bool {
    set.len() <= MEMBERS_AT_ONCE_MAX && set.heap_bytes() <= BYTES_AT_ONCE_MAX
}

/// Writes all members, or a sample of them, behind a header that is written already: at once if they are few, else by a
/// stream.
pub(super) fn write_members(reply: &mut Reply<'_>, set: &Set, sample: Option<Sample>) {
    let mut choice = Choice::new(set.len(), sample);
    if is_small(set) {
        set.iter().filter(|_| choice.takes()).for_each(|member| write_member(reply, member));
    } else {
        reply.stream(Box::new(Members { walk: SetWalk::new(set), choice }));
    }
}

/// Members that are still to be written.
#[derive(Debug)]
struct Members {
    walk: SetWalk,
    choice: Choice,
}

impl ReplyStream for Members {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        let Self { walk, choice } = self;
        let mut spent = 0;
        while 0 < choice.wanted() {
            if budget_bytes <= spent {
                return Progress::More;
            }
            let has_more = walk.visit_some(|member| {
                spent += cost_of(member);
                if choice.takes() {
                    write_member(reply, member);
                }
            });
            assert!(has_more, "no more members are chosen than come by");
        }
        Progress::Done
    }

    fn pinned_bytes(&self) -> usize {
        self.walk.unshared_bytes()
    }
}

/// What a member costs a stream, in bytes written: one that is only looked at costs something too.
pub(super) fn cost_of(member: Member<'_>) -> usize {
    const MEMBER_COST: usize = 8;
    match member {
        Member::Text(text) => MEMBER_COST + text.len(),
        Member::Integer(_) => 2 * MEMBER_COST,
    }
}
