//! ZRANDMEMBER: members chosen at random, each once or again and again. Never changes a set.

use rubine_base::hash::HashSet;
use rubine_base::random::Random;
use rubine_resp::writer::{Progress, Reply, ReplyStream};
use rubine_structures::sorted_set::{Direction, SortedSet, SortedSetCursor};

use super::elements::{COUNT_AT_ONCE_MAX, Layout, write_range};
use super::find;
use crate::command::Command;
use crate::context::Context;
use crate::error::CommandResult;
use crate::sample::{Choice, Sample, SampleRequest};

/// Picking one by one beats walking through all members if there are so many more of them.
const MEMBERS_PER_PICK_MIN: u64 = 3;

/// Bytes of output that an element counts as, beyond its member: looking at it costs something too.
const ELEMENT_COST: usize = 24;

pub(super) const ZRANDMEMBER: Command = Command::new("ZRANDMEMBER", zrandmember)
    .summary("Returns random members of a sorted set.")
    .syntax("key [count [WITHSCORES]]")
    .since("6.2.0")
    .complexity("O(N) with N the number of members returned.")
    .tips("nondeterministic_output")
    .arity(-2)
    .reads()
    .key("RO ACCESS");

fn zrandmember(cx: &mut Context<'_, '_>) -> CommandResult {
    let request = SampleRequest::parse(cx.args, "WITHSCORES")?;
    let key = cx.key(1);
    let set = find(&mut cx.keys, key)?;
    let Some(SampleRequest { count, is_paired }) = request else {
        match set {
            Some(set) => cx.reply.bulk(pick(set, cx.random).0),
            None => cx.reply.null(),
        }
        return Ok(());
    };
    let layout = Layout::of(is_paired, cx.reply.protocol());
    match set {
        Some(set) if 0 < count => {
            write_distinct(&mut cx.reply, set, layout, count.unsigned_abs(), cx.random);
        }
        Some(set) if count < 0 => {
            write_repeated(&mut cx.reply, set, layout, count.unsigned_abs(), cx.random);
        }
        _ => cx.reply.array(0),
    }
    Ok(())
}

/// A random element of a set that has some.
fn pick<'s>(set: &'s SortedSet, random: &mut Random) -> (&'s [u8], f64) {
    set.nth(random.below(set.len())).expect("a rank is below the length")
}

/// Writes up to `count` different elements.
fn write_distinct(
    reply: &mut Reply<'_>,
    set: &SortedSet,
    layout: Layout,
    count: u64,
    random: &mut Random,
) {
    if set.len() <= count {
        return write_range(reply, set, 0..set.len(), Direction::Ascending, layout);
    }
    layout.write_header(reply, count);
    let is_few = count <= COUNT_AT_ONCE_MAX && COUNT_AT_ONCE_MAX < set.len();
    if is_few && count <= set.len() / MEMBERS_PER_PICK_MIN {
        let mut ranks = HashSet::default();
        while (ranks.len() as u64) < count {
            let rank = random.below(set.len());
            if ranks.insert(rank) {
                let (member, score) = set.nth(rank).expect("a rank is below the length");
                layout.write(reply, member, score);
            }
        }
        return;
    }
    let sample = Sample { count, random: Random::with_seed(random.next_u64()) };
    let choice = Choice::new(set.len(), Some(sample));
    let cursor = SortedSetCursor::new(set, 0..set.len(), Direction::Ascending);
    let mut chosen = Chosen { cursor, layout, choice };
    if set.len() <= COUNT_AT_ONCE_MAX {
        chosen.fill(reply, usize::MAX);
    } else {
        reply.stream(Box::new(chosen));
    }
}

/// Writes `count` elements, of which several may be the same.
fn write_repeated(
    reply: &mut Reply<'_>,
    set: &SortedSet,
    layout: Layout,
    count: u64,
    random: &mut Random,
) {
    layout.write_header(reply, count);
    let random = Random::with_seed(random.next_u64());
    let mut picks = Picks { set: set.clone(), layout, remaining: count, random };
    if COUNT_AT_ONCE_MAX < count {
        reply.stream(Box::new(picks));
    } else {
        picks.fill(reply, usize::MAX);
    }
}

/// A sample that is still to be written.
struct Chosen {
    cursor: SortedSetCursor,
    layout: Layout,
    choice: Choice,
}

impl ReplyStream for Chosen {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        let Self { cursor, layout, choice } = self;
        let has_more =
            cursor.next_slice(budget_bytes / ELEMENT_COST, budget_bytes, |member, score| {
                if choice.takes() {
                    layout.write(reply, member, score);
                }
            });
        if has_more && 0 < choice.wanted() { Progress::More } else { Progress::Done }
    }

    fn pinned_bytes(&self) -> usize {
        self.cursor.unshared_bytes()
    }
}

/// Picks that are still to be written.
struct Picks {
    set: SortedSet,
    layout: Layout,
    remaining: u64,
    random: Random,
}

impl ReplyStream for Picks {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        let mut spent = 0;
        while 0 < self.remaining && spent < budget_bytes {
            let (member, score) = pick(&self.set, &mut self.random);
            self.layout.write(reply, member, score);
            self.remaining -= 1;
            spent += ELEMENT_COST + member.len();
        }
        if 0 < self.remaining { Progress::More } else { Progress::Done }
    }

    fn pinned_bytes(&self) -> usize {
        self.set.unshared_bytes()
    }
}
