//! SPOP and SRANDMEMBER: members chosen at random, each as likely as any other.

use rubine_base::hash::HashSet;
use rubine_base::random::Random;
use rubine_keyspace::Key;
use rubine_resp::writer::{Progress, Reply, ReplyStream};
use rubine_structures::set::{Member, Set, SetEncoding, SetLimits};
use rubine_structures::value::Value;

use super::read::{MEMBERS_AT_ONCE_MAX, cost_of, write_members};
use super::{find, find_mut, find_mut_again, form_limits, note_changes, write_member};
use crate::args::Args;
use crate::command::Command;
use crate::computation::Computation;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;
use crate::sample::{Choice, Sample};

/// So many members are named by one SREM in the journal.
const MEMBERS_PER_SREM_MAX: usize = 1024;

/// If so many times more members go than stay, those that stay are collected rather than those that go.
const GOING_PER_STAYING_MIN: u64 = 5;

/// More picks than these are made by a stream.
const PICKS_AT_ONCE_MAX: u64 = 512;

/// Picking one by one beats walking through all members if there are so many more of them.
const MEMBERS_PER_PICK_MIN: u64 = 3;

pub(super) const SPOP: Command = Command::new("SPOP", spop)
    .summary(
        "Takes a random member of a set, or several, and returns it. A set without members is removed.",
    )
    .syntax("key [count]")
    .complexity("O(N) with N the number of members returned.")
    .tips("nondeterministic_output")
    .arity(-2)
    .writes()
    .fast()
    .key("RW ACCESS DELETE");

fn spop(cx: &mut Context<'_, '_>) -> CommandResult {
    if has_count(cx.args)? { pop_some(cx) } else { pop_one(cx) }
}

fn pop_one(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let Some(set) = find_mut(&mut cx.keys, key)? else {
        cx.reply.null();
        return Ok(());
    };
    let member = take_random(set, cx.random);
    let is_emptied = set.is_empty();
    cx.touched(key, Event::SPOP);
    if is_emptied {
        cx.remove_emptied(key);
    }
    cx.replicate(&[b"SREM", key.bytes(), &member]);
    cx.reply.bulk(&member);
    Ok(())
}

fn pop_some(cx: &mut Context<'_, '_>) -> CommandResult {
    let count = cx.args.count(2).ok_or(CommandError::NotPositive)? as u64;
    let key = cx.key(1);
    let limits = form_limits(cx.limits);
    let in_place_max = cx.client.steps_at_once_max;
    if count == 0 {
        // Another type is an error all the same, but this is no lookup for reading.
        find_mut(&mut cx.keys, key)?;
        cx.reply.set(0);
        return Ok(());
    }
    if find(&mut cx.keys, key)?.is_none() {
        cx.reply.set(0);
        return Ok(());
    }
    let set = find_mut_again(&mut cx.keys, key).expect("it was found just now");
    let len = set.len();
    if len <= count {
        pop_all(cx, key, len);
        return Ok(());
    }
    let popped = if count <= in_place_max && count < GOING_PER_STAYING_MIN * (len - count) {
        (0..count).map(|_| take_random(set, cx.random)).collect()
    } else {
        let split = Split { set: set.clone(), count, seed: cx.random.next_u64(), limits };
        let Some((going, staying)) = cx.compute(split) else {
            return Ok(());
        };
        let set = find_mut_again(&mut cx.keys, key).expect("it was found just now");
        let all = std::mem::replace(set, staying);
        cx.keys.discard(Value::Set(all));
        going
    };
    note_changes(cx, key, Event::SPOP, count);
    cx.replicate_nothing();
    if cx.effects.is_journalled {
        for batch in popped.chunks(MEMBERS_PER_SREM_MAX) {
            let members = batch.iter().map(Vec::as_slice);
            let command: Vec<&[u8]> = [b"SREM", key.bytes()].into_iter().chain(members).collect();
            cx.replicate(&command);
        }
    }
    cx.reply.set(popped.len());
    let mut popped = Popped { members: popped.into_iter() };
    if PICKS_AT_ONCE_MAX < count {
        cx.reply.stream(Box::new(popped));
    } else {
        popped.fill(&mut cx.reply, usize::MAX);
    }
    Ok(())
}

/// Members that were taken and are still to be written.
#[derive(Debug)]
struct Popped {
    members: std::vec::IntoIter<Vec<u8>>,
}

impl ReplyStream for Popped {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        let mut spent = 0;
        while spent < budget_bytes {
            let Some(member) = self.members.next() else { return Progress::Done };
            reply.bulk(&member);
            spent += cost_of(Member::Text(&member));
        }
        Progress::More
    }

    fn pinned_bytes(&self) -> usize {
        self.members.as_slice().iter().take(1).map(Vec::len).sum::<usize>() * self.members.len()
    }
}

/// Replies with all `len` members of the set under `key` and removes it.
fn pop_all(cx: &mut Context<'_, '_>, key: Key<'_>, len: u64) {
    let record = cx.keys.take(key).expect("the set was found just now");
    let Value::Set(set) = record.into_value() else {
        unreachable!("it was a set just now");
    };
    cx.reply.set(len as usize);
    write_members(&mut cx.reply, &set, None);
    cx.keys.discard(Value::Set(set));
    note_changes(cx, key, Event::SPOP, len);
    cx.notify(key, Event::DEL);
    cx.replicate(&[b"UNLINK", key.bytes()]);
}

/// Takes a random member out of a set that has some.
fn take_random(set: &mut Set, random: &mut Random) -> Vec<u8> {
    let member = set.nth(random.below(set.len())).expect("a rank is below the length").to_vec();
    set.remove(&member);
    member
}

/// Which members go, and a set of those that stay.
struct Split {
    set: Set,
    count: u64,
    seed: u64,
    limits: SetLimits,
}

impl Computation for Split {
    type Output = (Vec<Vec<u8>>, Set);

    fn steps(&self) -> u64 {
        if self.collects_staying() { self.set.len() } else { self.count }
    }

    /// Any choice at random is as good as another.
    fn is_same(&self, other: &Self) -> bool {
        self.limits == other.limits && self.set.is_same(&other.set)
    }

    fn compute(&self) -> Self::Output {
        let mut random = Random::with_seed(self.seed);
        if self.collects_staying() {
            return split(&self.set, Sample { count: self.count, random }, self.limits);
        }
        let mut staying = self.set.clone();
        let going = (0..self.count).map(|_| take_random(&mut staying, &mut random)).collect();
        (going, staying)
    }
}

impl Split {
    fn collects_staying(&self) -> bool {
        GOING_PER_STAYING_MIN * (self.set.len() - self.count) <= self.count
    }
}

/// A sample of the members, and a set of those that are not in it.
fn split(set: &Set, sample: Sample, limits: SetLimits) -> (Vec<Vec<u8>>, Set) {
    let mut going = Vec::with_capacity(sample.count as usize);
    let mut staying = match set.encoding() {
        SetEncoding::Intset => Set::new(),
        // What shrinks so much may become small again.
        SetEncoding::Hashtable | SetEncoding::Listpack => Set::for_members(b"text", 1, limits),
    };
    let mut choice = Choice::new(set.len(), Some(sample));
    for member in set.iter() {
        let member = member.to_vec();
        if choice.takes() {
            going.push(member);
        } else {
            staying.add(&member, limits);
        }
    }
    (going, staying)
}

pub(super) const SRANDMEMBER: Command = Command::new("SRANDMEMBER", srandmember)
    .summary("Returns random members of a set.")
    .syntax("key [count]")
    .complexity("O(N) with N the number of members returned.")
    .tips("nondeterministic_output")
    .arity(-2)
    .reads()
    .key("RO ACCESS");

fn srandmember(cx: &mut Context<'_, '_>) -> CommandResult {
    let count = if has_count(cx.args)? { Some(cx.args.integer(2)?) } else { None };
    if count == Some(i64::MIN) {
        return Err(CommandError::NotSymmetric);
    }
    let set = find(&mut cx.keys, cx.args.key(1))?;
    match (set, count) {
        (None, None) => cx.reply.null(),
        (None, Some(_)) | (Some(_), Some(0)) => cx.reply.array(0),
        (Some(set), None) => write_member(&mut cx.reply, pick(set, cx.random)),
        (Some(set), Some(count)) => {
            let write = if 0 < count { write_distinct } else { write_repeated };
            write(&mut cx.reply, set, count.unsigned_abs(), cx.random);
        }
    }
    Ok(())
}

/// Whether argument 2, a count, is there; an error if there are more.
fn has_count(args: Args<'_>) -> Result<bool, CommandError> {
    match args.len() {
        2 => Ok(false),
        3 => Ok(true),
        _ => Err(CommandError::Syntax),
    }
}

/// A random member of a set that has some.
fn pick<'s>(set: &'s Set, random: &mut Random) -> Member<'s> {
    set.nth(random.below(set.len())).expect("a rank is below the length")
}

/// Writes up to `count` different members.
fn write_distinct(reply: &mut Reply<'_>, set: &Set, count: u64, random: &mut Random) {
    let count = count.min(set.len());
    reply.array(count as usize);
    let is_few = count <= PICKS_AT_ONCE_MAX && MEMBERS_AT_ONCE_MAX < set.len();
    if !is_few || set.len() / MEMBERS_PER_PICK_MIN < count {
        let random = Random::with_seed(random.next_u64());
        return write_members(reply, set, Some(Sample { count, random }));
    }
    let mut ranks = HashSet::default();
    while (ranks.len() as u64) < count {
        let rank = random.below(set.len());
        if ranks.insert(rank) {
            write_member(reply, set.nth(rank).expect("a rank is below the length"));
        }
    }
}

/// Writes `count` members, of which several may be the same.
fn write_repeated(reply: &mut Reply<'_>, set: &Set, count: u64, random: &mut Random) {
    reply.array(usize::try_from(count).unwrap_or(usize::MAX));
    let random = Random::with_seed(random.next_u64());
    let mut picks = Picks { set: set.clone(), remaining: count, random };
    if PICKS_AT_ONCE_MAX < count {
        reply.stream(Box::new(picks));
    } else {
        picks.fill(reply, usize::MAX);
    }
}

/// Picks that are still to be written.
#[derive(Debug)]
struct Picks {
    set: Set,
    remaining: u64,
    random: Random,
}

impl ReplyStream for Picks {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        // Each pick of a small set is one step only if its members lie ready.
        let is_small = self.set.len() <= MEMBERS_AT_ONCE_MAX;
        let ready: Option<Vec<_>> = is_small.then(|| self.set.iter().collect());
        let mut spent = 0;
        while 0 < self.remaining && spent < budget_bytes {
            let member = match &ready {
                Some(members) => members[self.random.below(members.len() as u64) as usize],
                None => pick(&self.set, &mut self.random),
            };
            write_member(reply, member);
            self.remaining -= 1;
            spent += cost_of(member);
        }
        if 0 < self.remaining { Progress::More } else { Progress::Done }
    }

    fn pinned_bytes(&self) -> usize {
        self.set.unshared_bytes()
    }
}
