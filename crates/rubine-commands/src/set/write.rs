//! SADD, SREM and SMOVE. Never chooses a member by itself.

use rubine_structures::record::RecordRef;
use rubine_structures::set::Set;
use rubine_structures::value::ValueRef;

use super::{find_mut, find_mut_again, form_limits, note_changes, store};
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

pub(super) const SADD: Command = Command::new("SADD", sadd)
    .summary("Adds members to a set. Returns how many are new.")
    .syntax("key member [member ...]")
    .complexity("O(N) with N the number of members to be added.")
    .arity(-3)
    .writes()
    .denies_oom()
    .fast()
    .key("RW INSERT")
    .members(2, 1);

fn sadd(cx: &mut Context<'_, '_>) -> CommandResult {
    let (args, key) = (cx.args, cx.key(1));
    let limits = form_limits(cx.limits);
    let members = args.from(2);
    let count = members.len();
    let add_all =
        |set: &mut Set| members.map(|member| u64::from(set.add(member, limits))).sum::<u64>();
    let added = if let Some(set) = find_mut(&mut cx.keys, key)? {
        set.expect(count, limits);
        add_all(set)
    } else {
        let mut set = Set::for_members(args.at(2), count, limits);
        let added = add_all(&mut set);
        store(cx, key, set);
        added
    };
    if 0 < added {
        note_changes(cx, key, Event::SADD, added);
    }
    cx.reply.integer(added as i64);
    Ok(())
}

pub(super) const SREM: Command = Command::new("SREM", srem)
    .summary("Removes members from a set. A set without members is removed.")
    .syntax("key member [member ...]")
    .complexity("O(N) with N the number of members to be removed.")
    .arity(-3)
    .writes()
    .fast()
    .key("RW DELETE")
    .members(2, 1);

fn srem(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let Some(set) = find_mut(&mut cx.keys, key)? else {
        cx.reply.integer(0);
        return Ok(());
    };
    let removed = cx.args.from(2).filter(|member| set.remove(member)).count() as u64;
    let is_emptied = set.is_empty();
    if 0 < removed {
        note_changes(cx, key, Event::SREM, removed);
    }
    if is_emptied {
        cx.remove_emptied(key);
    }
    cx.reply.integer(removed as i64);
    Ok(())
}

pub(super) const SMOVE: Command = Command::new("SMOVE", smove)
    .summary("Moves a member from one set to another.")
    .syntax("source destination member")
    .complexity("O(1)")
    .arity(4)
    .writes()
    .fast()
    .key_at(1, "RW ACCESS DELETE")
    .key_at(2, "RW INSERT");

fn smove(cx: &mut Context<'_, '_>) -> CommandResult {
    let (source, destination, member) = (cx.key(1), cx.key(2), cx.args.at(3));
    let limits = form_limits(cx.limits);
    let found = cx.keys.find_to_write(destination).map(RecordRef::value);
    let is_other_type = found.is_some_and(|it| !matches!(it, ValueRef::Set(_)));
    let found = find_mut(&mut cx.keys, source)?.map(|set| set.contains(member));
    // Another type at the destination is no error as long as there is no source.
    if found.is_some() && is_other_type {
        return Err(CommandError::WrongType);
    }
    let is_member = found == Some(true);
    if is_member && source.bytes() != destination.bytes() {
        let set = find_mut_again(&mut cx.keys, source).expect("it was there");
        set.remove(member);
        let is_emptied = set.is_empty();
        cx.touched(source, Event::SREM);
        if is_emptied {
            cx.remove_emptied(source);
        }
        let is_new = if let Some(set) = find_mut_again(&mut cx.keys, destination) {
            set.add(member, limits)
        } else {
            let mut set = Set::for_members(member, 1, limits);
            set.add(member, limits);
            store(cx, destination, set);
            true
        };
        if is_new {
            cx.touched(destination, Event::SADD);
        }
    }
    cx.reply.integer(i64::from(is_member));
    Ok(())
}
