//! LMOVE, its older and longer forms, and those of them that wait: from one list to another, or round one list.

use rubine_keyspace::Key;
use rubine_structures::list::End;

use super::{
    chunk_limit, discard, find_mut, note_popped, parse_end, push_event, push_items, range,
};
use crate::args::Args;
use crate::command::Command;
use crate::context::{Context, Nothing};
use crate::error::{CommandError, CommandResult};

pub(super) const LMOVE: Command = Command::new("LMOVE", lmove)
    .summary(
        "Takes an element from one end of a list, puts it at one end of another, and returns it.",
    )
    .syntax("source destination <LEFT | RIGHT> <LEFT | RIGHT>")
    .since("6.2.0")
    .complexity("O(1)")
    .arity(5)
    .writes()
    .denies_oom()
    .key_at(1, "RW ACCESS DELETE")
    .key_at(2, "RW INSERT");

fn lmove(cx: &mut Context<'_, '_>) -> CommandResult {
    let ends = Ends::parse(cx.args)?;
    if !move_one(cx, ends)? {
        cx.reply.null();
    }
    Ok(())
}

pub(super) const RPOPLPUSH: Command = Command::new("RPOPLPUSH", rpoplpush)
    .summary("Takes the last element of a list, puts it in front of another, and returns it.")
    .syntax("source destination")
    .since("1.2.0")
    .complexity("O(1)")
    .arity(3)
    .writes()
    .denies_oom()
    .key_at(1, "RW ACCESS DELETE")
    .key_at(2, "RW INSERT");

fn rpoplpush(cx: &mut Context<'_, '_>) -> CommandResult {
    if !move_one(cx, Ends::RIGHT_LEFT)? {
        cx.reply.null();
    }
    Ok(())
}

pub(super) const BLMOVE: Command = Command::new("BLMOVE", blmove)
    .summary(
        "Moves an element from one list to another and returns it; waits for one if there is none.",
    )
    .syntax("source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout")
    .since("6.2.0")
    .complexity("O(1)")
    .arity(6)
    .writes()
    .denies_oom()
    .blocks()
    .key_at(1, "RW ACCESS DELETE")
    .key_at(2, "RW INSERT");

fn blmove(cx: &mut Context<'_, '_>) -> CommandResult {
    let ends = Ends::parse(cx.args)?;
    let deadline = cx.args.deadline(5, cx.now)?;
    if !move_one(cx, ends)? {
        return wait_for_source(cx, deadline);
    }
    let args = cx.args;
    cx.replicate(&[b"LMOVE", args.at(1), args.at(2), args.at(3), args.at(4)]);
    Ok(())
}

pub(super) const BRPOPLPUSH: Command = Command::new("BRPOPLPUSH", brpoplpush)
    .summary("Moves the last element of a list in front of another and returns it; waits for one if there is none.")
    .syntax("source destination timeout")
    .since("2.2.0")
    .complexity("O(1)")
    .arity(4)
    .writes()
    .denies_oom()
    .blocks()
    .key_at(1, "RW ACCESS DELETE")
    .key_at(2, "RW INSERT");

fn brpoplpush(cx: &mut Context<'_, '_>) -> CommandResult {
    let deadline = cx.args.deadline(3, cx.now)?;
    if !move_one(cx, Ends::RIGHT_LEFT)? {
        return wait_for_source(cx, deadline);
    }
    let args = cx.args;
    cx.replicate(&[b"RPOPLPUSH", args.at(1), args.at(2)]);
    Ok(())
}

/// Waits for the source of a single element. Where nobody may wait, the reply is another nothing than after the wait.
fn wait_for_source(cx: &mut Context<'_, '_>, deadline: Option<i64>) -> CommandResult {
    if !cx.client.may_wait {
        cx.reply.null();
        return Ok(());
    }
    cx.wait_for([1], deadline, Nothing::NullArray)
}

/// From where to where.
#[derive(Clone, Copy)]
struct Ends {
    from: End,
    to: End,
}

impl Ends {
    const RIGHT_LEFT: Self = Self { from: End::Back, to: End::Front };

    /// Reads arguments 3 and 4.
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        Ok(Self { from: parse_end(args.at(3))?, to: parse_end(args.at(4))? })
    }
}

/// Moves an element from the list of argument 1 to that of argument 2 and replies with it; false if there is none.
fn move_one(cx: &mut Context<'_, '_>, ends: Ends) -> Result<bool, CommandError> {
    let (source, destination) = (cx.key(1), cx.key(2));
    let limit = chunk_limit(cx.limits);
    let Some(list) = find_mut(&mut cx.keys, source)? else { return Ok(false) };
    let item = list.item_at(ends.from).expect("no key holds an empty list").to_vec();
    find_mut(&mut cx.keys, destination)?;

    let list = find_mut(&mut cx.keys, source)?.expect("it was there");
    let is_rotation = source.bytes() == destination.bytes();
    if is_rotation {
        list.rotate(ends.from, ends.to, limit);
    } else {
        list.drop_item(ends.from, limit);
    }
    let is_emptied = list.is_empty();
    if !is_rotation {
        push_items(cx, destination, ends.to, std::iter::once(&*item))?;
    }
    note_moved(cx, source, destination, ends, 1, is_emptied);
    cx.reply.bulk(&item);
    Ok(true)
}

/// `count` items were pushed to the destination and popped from the source, which counts as one change an item.
fn note_moved(
    cx: &mut Context<'_, '_>,
    source: Key<'_>,
    destination: Key<'_>,
    ends: Ends,
    count: usize,
    is_emptied: bool,
) {
    cx.keys.note_touch(destination);
    cx.notify(destination, push_event(ends.to));
    note_popped(cx, source, ends.from, count, is_emptied);
}

pub(super) const LMOVEM: Command = Command::new("LMOVEM", lmovem)
    .summary(
        "Moves several elements from one end of a list to one end of another and returns them.",
    )
    .syntax(
        "source destination <LEFT | RIGHT> <LEFT | RIGHT> \
         [<COUNT count | EXACTLY exactly> <OBO | BULK>]",
    )
    .since("8.10.0")
    .complexity("O(N) with N the number of elements moved.")
    .arity(-5)
    .writes()
    .denies_oom()
    .key_at(1, "RW ACCESS DELETE")
    .key_at(2, "RW INSERT");

fn lmovem(cx: &mut Context<'_, '_>) -> CommandResult {
    let ends = Ends::parse(cx.args)?;
    let amount = Amount::parse(cx.args, 5)?;
    if !move_some(cx, ends, amount)? {
        cx.reply.null_array();
    }
    Ok(())
}

pub(super) const BLMOVEM: Command = Command::new("BLMOVEM", blmovem)
    .summary("Moves several elements from one list to another and returns them; waits until there are enough.")
    .syntax(
        "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout \
         [<COUNT count | EXACTLY exactly> <OBO | BULK>]",
    )
    .since("8.10.0")
    .complexity("O(N) with N the number of elements moved.")
    .arity(-6)
    .writes()
    .denies_oom()
    .blocks()
    .key_at(1, "RW ACCESS DELETE")
    .key_at(2, "RW INSERT");

fn blmovem(cx: &mut Context<'_, '_>) -> CommandResult {
    let ends = Ends::parse(cx.args)?;
    let deadline = cx.args.deadline(5, cx.now)?;
    let amount = Amount::parse(cx.args, 6)?;
    if !move_some(cx, ends, amount)? {
        return cx.wait_for([1], deadline, Nothing::NullArray);
    }
    let mut effect: Vec<&[u8]> = vec![b"LMOVEM"];
    effect.extend(cx.args.from(1).take(4));
    effect.extend(cx.args.from(6));
    cx.replicate(&effect);
    Ok(())
}

/// How many elements move, and how they lie afterwards.
#[derive(Clone, Copy)]
struct Amount {
    count_min: usize,
    count_max: usize,
    order: Order,
}

/// How moved elements lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// As if each were pushed when it is popped.
    OneByOne,
    /// As they lay before.
    Bulk,
}

impl Amount {
    /// Reads `[<COUNT count | EXACTLY exactly> <OBO | BULK>]`, of which the first is argument `at`.
    fn parse(args: Args<'_>, at: usize) -> Result<Self, CommandError> {
        let mut options = args.options(at);
        if options.is_at_end() {
            let order = Order::OneByOne;
            return Ok(Self { count_min: 1, count_max: 1, order });
        }
        let is_exact = options.keyword("EXACTLY");
        if !is_exact && !options.keyword("COUNT") || options.is_at_end() {
            return Err(CommandError::Syntax);
        }
        let count = options.count().filter(|&it| 0 < it).ok_or(CommandError::CountNotPositive)?;
        let order = match options.required()? {
            word if word.eq_ignore_ascii_case(b"OBO") => Order::OneByOne,
            word if word.eq_ignore_ascii_case(b"BULK") => Order::Bulk,
            _ => return Err(CommandError::Syntax),
        };
        options.expect_end()?;
        let count_min = if is_exact { count } else { 1 };
        Ok(Self { count_min, count_max: count, order })
    }
}

/// Moves elements from the list of argument 1 to that of argument 2 and replies with them in their new order; false if
/// there are not enough. All are popped before the first is pushed.
fn move_some(cx: &mut Context<'_, '_>, ends: Ends, amount: Amount) -> Result<bool, CommandError> {
    let (source, destination) = (cx.key(1), cx.key(2));
    let limit = chunk_limit(cx.limits);
    let Some(list) = find_mut(&mut cx.keys, source)? else { return Ok(false) };
    if list.len() < amount.count_min {
        return Ok(false);
    }
    let before = list.clone();
    find_mut(&mut cx.keys, destination)?;

    let count = before.len().min(amount.count_max);
    let range = match ends.from {
        End::Front => 0..count,
        End::Back => before.len() - count..before.len(),
    };
    let list = find_mut(&mut cx.keys, source)?.expect("it was there");
    list.remove_range(range.clone(), limit);
    let is_emptied = list.is_empty() && source.bytes() != destination.bytes();

    // From which end of the range the elements are pushed: a push at the head turns their order round.
    let first_pushed = match amount.order {
        Order::OneByOne => ends.from,
        Order::Bulk if ends.to == End::Front => End::Back,
        Order::Bulk => End::Front,
    };
    match first_pushed {
        End::Front => {
            push_items(cx, destination, ends.to, before.iter_from(range.start).take(count))?;
        }
        End::Back => {
            push_items(cx, destination, ends.to, before.iter_back_from(range.end).take(count))?;
        }
    }
    // The reply has the order of the destination.
    let first_replied = match ends.to {
        End::Front => first_pushed.opposite(),
        End::Back => first_pushed,
    };
    range::reply(&mut cx.reply, &before, range, first_replied);
    discard(cx, Some(before));
    note_moved(cx, source, destination, ends, count, is_emptied);
    Ok(true)
}
