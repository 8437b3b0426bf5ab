//! HRANDFIELD: fields chosen at random, each once or again and again. Never changes a hash.

use rubine_base::hash::HashSet;
use rubine_base::random::Random;
use rubine_resp::writer::{Progress, Reply, ReplyStream};
use rubine_structures::hash::Hash;
use rubine_structures::trie::Element;

use super::walk::{FIELDS_AT_ONCE_MAX, Layout, write_fields};
use super::{Sight, find};
use crate::command::Command;
use crate::context::Context;
use crate::error::CommandResult;
use crate::sample::{Sample, SampleRequest};

/// Where fields are hidden, this many tries to hit one that is not.
const TRIES: usize = 100;

/// More picks than these are made by a stream.
const PICKS_AT_ONCE_MAX: u64 = 512;

/// Picking one by one beats walking through all fields if there are so many more of them.
const FIELDS_PER_PICK_MIN: u64 = 3;

pub(super) const HRANDFIELD: Command = Command::new("HRANDFIELD", hrandfield)
    .summary("Returns random fields of a hash.")
    .syntax("key [count [WITHVALUES]]")
    .since("6.2.0")
    .complexity("O(N) with N the number of fields returned.")
    .tips("nondeterministic_output")
    .arity(-2)
    .reads()
    .key("RO ACCESS");

fn hrandfield(cx: &mut Context<'_, '_>) -> CommandResult {
    let sight = Sight::of(cx);
    let request = SampleRequest::parse(cx.args, "WITHVALUES")?;
    let hash = find(&mut cx.keys, cx.args.key(1))?;
    let Some(SampleRequest { count, is_paired }) = request else {
        let element = hash.and_then(|hash| Picker::new(hash, sight).pick(cx.random));
        match element {
            Some(element) => cx.reply.bulk(element.key),
            None => cx.reply.null(),
        }
        return Ok(());
    };
    let Some(hash) = hash.filter(|_| count != 0) else {
        cx.reply.array(0);
        return Ok(());
    };
    let layout = if is_paired { Layout::Pairs } else { Layout::Fields };
    let write = if 0 < count { write_distinct } else { write_repeated };
    write(&mut cx.reply, hash, sight, layout, count.unsigned_abs(), cx.random);
    Ok(())
}

/// Picks fields that are seen.
struct Picker<'h> {
    hash: &'h Hash,
    sight: Sight,
    /// All of a small hash that are seen, so that each pick is one step.
    seen: Option<Vec<Element<'h>>>,
}

impl<'h> Picker<'h> {
    /// For one pick, or a few.
    fn new(hash: &'h Hash, sight: Sight) -> Self {
        Self { hash, sight, seen: None }
    }

    /// For many picks.
    fn of_many(hash: &'h Hash, sight: Sight) -> Self {
        let is_small = hash.len() <= FIELDS_AT_ONCE_MAX;
        let seen = is_small.then(|| hash.iter().filter(|&element| sight.sees(element)).collect());
        Self { hash, sight, seen }
    }

    /// A random field that is seen. `None` if there seems to be none.
    fn pick(&self, random: &mut Random) -> Option<Element<'h>> {
        if let Some(seen) = &self.seen {
            let index = random.below(seen.len().max(1) as u64);
            return seen.get(index as usize).copied();
        }
        let mut elements = (0..TRIES).filter_map(|_| self.hash.nth(random.below(self.hash.len())));
        elements.find(|&element| self.sight.sees(element))
    }
}

/// Writes up to `count` different fields.
pub(super) fn write_distinct(
    reply: &mut Reply<'_>,
    hash: &Hash,
    sight: Sight,
    layout: Layout,
    count: u64,
    random: &mut Random,
) {
    let is_few = count <= PICKS_AT_ONCE_MAX && FIELDS_AT_ONCE_MAX < hash.len();
    if !is_few || hash.len() / FIELDS_PER_PICK_MIN < count {
        let random = Random::with_seed(random.next_u64());
        return write_fields(reply, hash, sight, layout, Some(Sample { count, random }));
    }
    let mut ranks = HashSet::default();
    let mut written = 0;
    let header = reply.array_deferred();
    for _ in 0..10 * count + TRIES as u64 {
        if written == count {
            break;
        }
        let rank = random.below(hash.len());
        let element = hash.nth(rank).filter(|&element| sight.sees(element));
        if let Some(element) = element
            && ranks.insert(rank)
        {
            layout.write(reply, element);
            written += 1;
        }
    }
    let len = layout.array_len(written as usize, reply.protocol());
    reply.set_array_len(header, len);
}

/// Writes `count` fields, of which several may be the same.
pub(super) fn write_repeated(
    reply: &mut Reply<'_>,
    hash: &Hash,
    sight: Sight,
    layout: Layout,
    count: u64,
    random: &mut Random,
) {
    let picker = Picker::of_many(hash, sight);
    let Some(first) = picker.pick(random) else { return reply.array(0) };
    // Where all tries fail later on, this one is repeated: the number of fields is announced already.
    layout.write_header(reply, usize::try_from(count).unwrap_or(usize::MAX));
    if count <= PICKS_AT_ONCE_MAX {
        layout.write(reply, first);
        for _ in 1..count {
            layout.write(reply, picker.pick(random).unwrap_or(first));
        }
        return;
    }
    let first = first.key.to_vec();
    let random = Random::with_seed(random.next_u64());
    let hash = hash.clone();
    reply.stream(Box::new(Picks { hash, sight, layout, first, remaining: count, random }));
}

/// Picks that are still to be written.
#[derive(Debug)]
struct Picks {
    hash: Hash,
    sight: Sight,
    layout: Layout,
    /// A field that is seen.
    first: Vec<u8>,
    remaining: u64,
    random: Random,
}

impl ReplyStream for Picks {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        const PICK_COST: usize = 16;
        let picker = Picker::of_many(&self.hash, self.sight);
        let mut spent = 0;
        while 0 < self.remaining && spent < budget_bytes {
            let picked = picker.pick(&mut self.random).or_else(|| self.hash.get(&self.first));
            let element = picked.expect("the handle still has the first field");
            self.layout.write(reply, element);
            self.remaining -= 1;
            spent += PICK_COST + element.key.len() + element.value.len();
        }
        if 0 < self.remaining { Progress::More } else { Progress::Done }
    }

    fn pinned_bytes(&self) -> usize {
        self.hash.unshared_bytes()
    }
}
