//! HGETALL, HKEYS, HVALS, and the stream that writes what is too much to be written at once. Never changes a hash.

use rubine_resp::writer::{Progress, Protocol, Reply, ReplyStream};
use rubine_structures::hash::{Hash, HashWalk};
use rubine_structures::trie::Element;

use super::read::write_value;
use super::{Sight, find};
use crate::command::Command;
use crate::context::Context;
use crate::error::CommandResult;
use crate::sample::{Choice, Sample};

/// A hash of more fields is written by a stream.
pub(super) const FIELDS_AT_ONCE_MAX: u64 = 512;
/// A hash of more bytes is written by a stream.
const BYTES_AT_ONCE_MAX: usize = 64 * 1024;

pub(super) const HGETALL: Command = Command::new("HGETALL", |cx| write_all(cx, Layout::Map))
    .summary("Returns all fields with their values.")
    .syntax("key")
    .since("2.0.0")
    .complexity("O(N) with N the number of fields.")
    .tips("nondeterministic_output_order")
    .arity(2)
    .reads()
    .key("RO ACCESS");

pub(super) const HKEYS: Command = Command::new("HKEYS", |cx| write_all(cx, Layout::Fields))
    .summary("Returns all fields.")
    .syntax("key")
    .since("2.0.0")
    .complexity("O(N) with N the number of fields.")
    .tips("nondeterministic_output_order")
    .arity(2)
    .reads()
    .key("RO ACCESS");

pub(super) const HVALS: Command = Command::new("HVALS", |cx| write_all(cx, Layout::Values))
    .summary("Returns the values of all fields.")
    .syntax("key")
    .since("2.0.0")
    .complexity("O(N) with N the number of fields.")
    .tips("nondeterministic_output_order")
    .arity(2)
    .reads()
    .key("RO ACCESS");

fn write_all(cx: &mut Context<'_, '_>, layout: Layout) -> CommandResult {
    let sight = Sight::of(cx);
    match find(&mut cx.keys, cx.args.key(1))? {
        Some(hash) => write_fields(&mut cx.reply, hash, sight, layout, None),
        None => layout.write_header(&mut cx.reply, 0),
    }
    Ok(())
}

/// What is replied of each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Fields,
    Values,
    /// Both, as a map.
    Map,
    /// Both, each in an array of two; one flat array in RESP2.
    Pairs,
}

impl Layout {
    /// Writes what stands in front of `count` fields.
    pub(super) fn write_header(self, reply: &mut Reply<'_>, count: usize) {
        match self {
            Self::Fields | Self::Values => reply.array(count),
            Self::Map => reply.map(count),
            Self::Pairs => reply.array(self.array_len(count, reply.protocol())),
        }
    }

    /// The length of the array that holds `count` fields.
    pub(super) fn array_len(self, count: usize, protocol: Protocol) -> usize {
        let is_flat = self == Self::Pairs && protocol == Protocol::Resp2;
        if is_flat { count.saturating_mul(2) } else { count }
    }

    pub(super) fn write(self, reply: &mut Reply<'_>, element: Element<'_>) {
        if self == Self::Pairs && reply.protocol() == Protocol::Resp3 {
            reply.array(2);
        }
        if self != Self::Values {
            reply.bulk(element.key);
        }
        if self != Self::Fields {
            write_value(reply, element);
        }
    }

    fn bytes_of(self, element: Element<'_>) -> usize {
        let key = if self == Self::Values { 0 } else { element.key.len() };
        let value = if self == Self::Fields { 0 } else { element.value.len() };
        key + value
    }
}

/// Writes the fields that are seen, or a sample of them: at once if they are few, else by a stream.
pub(super) fn write_fields(
    reply: &mut Reply<'_>,
    hash: &Hash,
    sight: Sight,
    layout: Layout,
    sample: Option<Sample>,
) {
    let is_small = hash.len() <= FIELDS_AT_ONCE_MAX && hash.heap_bytes() <= BYTES_AT_ONCE_MAX;
    let count = if sight.sees_all(hash) {
        Some(hash.len())
    } else if is_small {
        Some(hash.iter().filter(|&element| sight.sees(element)).count() as u64)
    } else {
        None
    };
    match count {
        Some(count) if is_small => {
            let mut choice = Choice::new(count, sample);
            layout.write_header(reply, choice.wanted() as usize);
            for element in hash.iter() {
                if sight.sees(element) && choice.takes() {
                    layout.write(reply, element);
                }
            }
        }
        _ => {
            let walk = HashWalk::new(hash);
            let step = match count {
                Some(count) => begin(reply, layout, count, sample),
                None => Step::Count { count: 0, sample },
            };
            reply.stream(Box::new(Fields { walk, sight, layout, step }));
        }
    }
}

/// Writes the header before `count` fields, or of those that are chosen of them.
fn begin(reply: &mut Reply<'_>, layout: Layout, count: u64, sample: Option<Sample>) -> Step {
    let choice = Choice::new(count, sample);
    layout.write_header(reply, choice.wanted() as usize);
    Step::Write(choice)
}

/// A long reply that is still to be written.
#[derive(Debug)]
struct Fields {
    walk: HashWalk,
    sight: Sight,
    layout: Layout,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// Some fields may be hidden: how many are seen has to be known first.
    Count {
        count: u64,
        sample: Option<Sample>,
    },
    Write(Choice),
}

impl ReplyStream for Fields {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        // A field that is only looked at costs something too.
        const FIELD_COST: usize = 8;
        let Self { walk, sight, layout, step } = self;
        let mut spent = 0;
        while spent < budget_bytes {
            match step {
                Step::Count { count, sample } => {
                    let has_more = walk.visit_some(|element| {
                        *count += u64::from(sight.sees(element));
                        spent += FIELD_COST;
                    });
                    if !has_more {
                        walk.restart();
                        let sample = sample.take();
                        *step = begin(reply, *layout, *count, sample);
                    }
                }
                Step::Write(choice) => {
                    let has_more = walk.visit_some(|element| {
                        spent += FIELD_COST;
                        if sight.sees(element) && choice.takes() {
                            layout.write(reply, element);
                            spent += layout.bytes_of(element);
                        }
                    });
                    if !has_more || choice.wanted() == 0 {
                        return Progress::Done;
                    }
                }
            }
        }
        Progress::More
    }

    fn pinned_bytes(&self) -> usize {
        self.walk.unshared_bytes()
    }
}
