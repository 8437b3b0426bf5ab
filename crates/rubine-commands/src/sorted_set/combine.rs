//! The union, intersection and difference of sorted sets and sets: as a reply, as a count, or stored. Never changes a
//! source.

use std::borrow::Cow;
use std::ops::ControlFlow;

use rubine_base::hash::HashMap;
use rubine_base::number::parse_f64;
use rubine_keyspace::Key;
use rubine_structures::record::RecordRef;
use rubine_structures::set::{Member, Set};
use rubine_structures::sorted_set::{Direction, SortedSet, SortedSetLimits};
use rubine_structures::value::ValueRef;

use super::elements::{Layout, write_range};
use super::form_limits;
use super::store::store;
use crate::command::Command;
use crate::computation::Computation;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

const WEIGHT_NOT_FLOAT: CommandError = CommandError::text("ERR weight value is not a float");
const NEGATIVE_LIMIT: CommandError = CommandError::text("ERR LIMIT can't be negative");

pub(super) const ZUNION: Command = Command::new("ZUNION", |cx| reply(cx, Operation::Union))
    .summary("Returns the members that are in any of several sorted sets.")
    .syntax("numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX | COUNT>] [WITHSCORES]")
    .since("6.2.0")
    .complexity("O(N+M*log(M)) with N the members of all sets and M those returned.")
    .arity(-3)
    .reads()
    .keys_counted(1, "RO ACCESS");

pub(super) const ZINTER: Command = Command::new("ZINTER", |cx| reply(cx, Operation::Intersection))
    .summary("Returns the members that several sorted sets have in common.")
    .syntax("numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX | COUNT>] [WITHSCORES]")
    .since("6.2.0")
    .complexity("O(N*K+M*log(M)) with N the members of the smallest of K sets and M those returned.")
    .arity(-3)
    .reads()
    .keys_counted(1, "RO ACCESS");

pub(super) const ZDIFF: Command = Command::new("ZDIFF", |cx| reply(cx, Operation::Difference))
    .summary("Returns the members of a sorted set that are in none of some others.")
    .syntax("numkeys key [key ...] [WITHSCORES]")
    .since("6.2.0")
    .complexity("O(N*K+M*log(M)) with N the members of the first of K sets and M those returned.")
    .arity(-3)
    .reads()
    .keys_counted(1, "RO ACCESS");

fn reply(cx: &mut Context<'_, '_>, operation: Operation) -> CommandResult {
    let request = Request::parse(cx, 1, operation, Form::Reply)?;
    let layout = Layout::of(request.with_scores, cx.reply.protocol());
    let limits = form_limits(cx.limits);
    let combination = Combination { request, operation, limits, is_stored: false };
    let Some(result) = cx.compute_reply(combination) else { return Ok(()) };
    write_range(&mut cx.reply, &result, 0..result.len(), Direction::Ascending, layout);
    Ok(())
}

pub(super) const ZINTERCARD: Command = Command::new("ZINTERCARD", zintercard)
    .summary("Counts the members that several sorted sets have in common.")
    .syntax("numkeys key [key ...] [LIMIT limit]")
    .since("7.0.0")
    .complexity("O(N*K) with N the members of the smallest of K sets.")
    .arity(-3)
    .reads()
    .keys_counted(1, "RO ACCESS");

fn zintercard(cx: &mut Context<'_, '_>) -> CommandResult {
    let request = Request::parse(cx, 1, Operation::Intersection, Form::Count)?;
    let Some(count) = cx.compute_reply(Count(request)) else { return Ok(()) };
    cx.reply.integer(count as i64);
    Ok(())
}

/// How many members the sources have in common, up to a limit.
struct Count(Request);

impl Computation for Count {
    type Output = u64;

    fn steps(&self) -> u64 {
        self.0.steps(Operation::Intersection)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(&other.0)
    }

    fn compute(&self) -> u64 {
        let mut count = 0;
        self.0.intersect(|_, _| {
            count += 1;
            if count == self.0.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        count
    }
}

pub(super) const ZUNIONSTORE: Command =
    Command::new("ZUNIONSTORE", |cx| combine(cx, Operation::Union, Event::ZUNIONSTORE))
        .summary("Stores the members that are in any of several sorted sets. Returns how many they are.")
        .syntax("destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX | COUNT>]")
        .since("2.0.0")
        .complexity("O(N+M*log(M)) with N the members of all sets and M those stored.")
        .arity(-4)
        .writes()
        .denies_oom()
        .key_at(1, "OW UPDATE")
        .keys_counted(2, "RO ACCESS");

pub(super) const ZINTERSTORE: Command =
    Command::new("ZINTERSTORE", |cx| combine(cx, Operation::Intersection, Event::ZINTERSTORE))
        .summary("Stores the members that several sorted sets have in common. Returns how many they are.")
        .syntax("destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX | COUNT>]")
        .since("2.0.0")
        .complexity("O(N*K+M*log(M)) with N the members of the smallest of K sets and M those stored.")
        .arity(-4)
        .writes()
        .denies_oom()
        .key_at(1, "OW UPDATE")
        .keys_counted(2, "RO ACCESS");

pub(super) const ZDIFFSTORE: Command =
    Command::new("ZDIFFSTORE", |cx| combine(cx, Operation::Difference, Event::ZDIFFSTORE))
        .summary("Stores the members of a sorted set that are in none of some others. Returns how many they are.")
        .syntax("destination numkeys key [key ...]")
        .since("6.2.0")
        .complexity("O(N*K+M*log(M)) with N the members of the first of K sets and M those stored.")
        .arity(-4)
        .writes()
        .denies_oom()
        .key_at(1, "OW UPDATE")
        .keys_counted(2, "RO ACCESS");

fn combine(cx: &mut Context<'_, '_>, operation: Operation, event: Event) -> CommandResult {
    let request = Request::parse(cx, 2, operation, Form::Store)?;
    let limits = form_limits(cx.limits);
    let combination = Combination { request, operation, limits, is_stored: true };
    let Some(result) = cx.compute(combination) else { return Ok(()) };
    let destination = cx.key(1);
    store(cx, destination, result, event);
    Ok(())
}

/// What is to be replied or stored.
struct Combination {
    request: Request,
    operation: Operation,
    limits: SortedSetLimits,
    is_stored: bool,
}

impl Computation for Combination {
    type Output = SortedSet;

    fn steps(&self) -> u64 {
        self.request.steps(self.operation)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.limits == other.limits && self.request.is_same(&other.request)
    }

    fn compute(&self) -> SortedSet {
        let elements = self.request.result(self.operation);
        let has_minus_zero =
            elements.iter().any(|(_, score)| score.to_bits() == (-0.0_f64).to_bits());
        // Only in the large form does a zero keep its sign; Redis replies with it, and loses it where it stores.
        let keeps_zero_sign = has_minus_zero && !self.is_stored;
        let entries = if keeps_zero_sign { 0 } else { self.limits.entries };
        SortedSet::from_elements(elements, SortedSetLimits { entries, ..self.limits })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// What becomes of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Reply,
    Store,
    Count,
}

/// What the scores of one member become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
    /// The sum of the weights alone.
    Count,
}

impl Aggregate {
    fn from_name(name: &[u8]) -> Option<Self> {
        let names =
            [("sum", Self::Sum), ("min", Self::Min), ("max", Self::Max), ("count", Self::Count)];
        let mut names = names.into_iter();
        names.find(|(it, _)| name.eq_ignore_ascii_case(it.as_bytes())).map(|(_, it)| it)
    }

    /// The part that a source contributes, which may be not a number.
    fn part(self, score: f64, weight: f64) -> f64 {
        if self == Self::Count { weight } else { score * weight }
    }

    fn join(self, total: f64, part: f64) -> f64 {
        match self {
            Self::Sum | Self::Count => zero_if_nan(total + part),
            Self::Min if part < total => part,
            Self::Max if total < part => part,
            Self::Min | Self::Max => total,
        }
    }
}

/// Infinities that cancel each other out leave nothing.
fn zero_if_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// A set to be combined: a handle, which nothing that happens to the key can change.
enum Source {
    Missing,
    Set(Set),
    SortedSet(SortedSet),
}

impl Source {
    fn find(cx: &mut Context<'_, '_>, key: Key<'_>) -> Result<Self, CommandError> {
        match cx.keys.find(key).map(RecordRef::value) {
            None => Ok(Self::Missing),
            Some(ValueRef::Set(set)) => Ok(Self::Set(set.clone())),
            Some(ValueRef::SortedSet(set)) => Ok(Self::SortedSet(set.clone())),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// Whether the other is a handle of the same value still.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Missing, Self::Missing) => true,
            (Self::Set(ours), Self::Set(theirs)) => ours.is_same(theirs),
            (Self::SortedSet(ours), Self::SortedSet(theirs)) => ours.is_same(theirs),
            _ => false,
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Missing => 0,
            Self::Set(set) => set.len(),
            Self::SortedSet(set) => set.len(),
        }
    }

    /// The members of a set have a score of 1.
    fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Missing => None,
            Self::Set(set) => set.contains(member).then_some(1.0),
            Self::SortedSet(set) => set.score(member),
        }
    }

    fn elements(&self) -> impl Iterator<Item = (Cow<'_, [u8]>, f64)> {
        let (mut set, mut sorted) = (None, None);
        match self {
            Self::Missing => {}
            Self::Set(it) => set = Some(it.iter().map(|member| (text_of(member), 1.0))),
            Self::SortedSet(it) => {
                let elements = it.iter_by_place();
                sorted = Some(elements.map(|(member, score)| (Cow::Borrowed(member), score)));
            }
        }
        set.into_iter().flatten().chain(sorted.into_iter().flatten())
    }
}

fn text_of(member: Member<'_>) -> Cow<'_, [u8]> {
    match member {
        Member::Text(text) => Cow::Borrowed(text),
        Member::Integer(_) => Cow::Owned(member.to_vec()),
    }
}

/// What is to be combined, and how.
struct Request {
    /// With their weights.
    sources: Vec<(Source, f64)>,
    aggregate: Aggregate,
    with_scores: bool,
    /// 0 for none.
    limit: u64,
}

impl Request {
    /// Reads `numkeys key [key ...]` and the options behind, of which the first is argument `at`. As in Redis, what is
    /// wrong with a key is told before what is wrong with an option.
    fn parse(
        cx: &mut Context<'_, '_>,
        at: usize,
        operation: Operation,
        form: Form,
    ) -> Result<Self, CommandError> {
        let count = cx.args.integer(at)?;
        let Some(count) = usize::try_from(count).ok().filter(|&count| 0 < count) else {
            let name = String::from_utf8_lossy(cx.args.at(0)).to_lowercase();
            let text = format!("ERR at least 1 input key is needed for '{name}' command");
            return Err(CommandError::Other(text.into()));
        };
        if cx.args.len() - at - 1 < count {
            return Err(CommandError::Syntax);
        }
        let mut sources = Vec::with_capacity(count);
        for index in at + 1..=at + count {
            let key = cx.key(index);
            sources.push((Source::find(cx, key)?, 1.0));
        }
        let mut request = Self { sources, aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        request.read_options(cx, at + 1 + count, operation, form)?;
        if operation != Operation::Difference {
            // Few members to look for come first, as in Redis: sums depend on the order.
            request.sources.sort_by_key(|(source, _)| source.len());
        }
        Ok(request)
    }

    fn read_options(
        &mut self,
        cx: &Context<'_, '_>,
        from: usize,
        operation: Operation,
        form: Form,
    ) -> CommandResult {
        let computes_scores = operation != Operation::Difference && form != Form::Count;
        let mut options = cx.args.options(from);
        while !options.is_at_end() {
            let remaining = options.remaining();
            if computes_scores && self.sources.len() < remaining && options.keyword("WEIGHTS") {
                for (_, weight) in &mut self.sources {
                    *weight = parse_f64(options.required()?).ok_or(WEIGHT_NOT_FLOAT)?;
                }
            } else if computes_scores && 2 <= remaining && options.keyword("AGGREGATE") {
                let name = options.required()?;
                self.aggregate = Aggregate::from_name(name).ok_or(CommandError::Syntax)?;
            } else if form == Form::Reply && options.keyword("WITHSCORES") {
                self.with_scores = true;
            } else if form == Form::Count && 2 <= remaining && options.keyword("LIMIT") {
                self.limit = options.count().ok_or(NEGATIVE_LIMIT)? as u64;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(())
    }

    fn steps(&self, operation: Operation) -> u64 {
        let sum = || self.sources.iter().map(|(source, _)| source.len()).sum();
        let first_len = self.sources.first().map_or(0, |(source, _)| source.len());
        match operation {
            Operation::Union => sum(),
            Operation::Intersection | Operation::Difference => {
                first_len.saturating_mul(self.sources.len() as u64)
            }
        }
    }

    /// Whether the sources of the other, which is made from the same arguments, are the same.
    fn is_same(&self, other: &Self) -> bool {
        let mut pairs = self.sources.iter().zip(&other.sources);
        pairs.all(|((ours, _), (theirs, _))| ours.is_same(theirs))
    }

    /// The members of the result with their scores, in any order.
    fn result(&self, operation: Operation) -> Vec<(Cow<'_, [u8]>, f64)> {
        match operation {
            Operation::Union => self.union(),
            Operation::Intersection => {
                let mut result = Vec::new();
                self.intersect(|member, score| {
                    result.push((member, score));
                    ControlFlow::Continue(())
                });
                result
            }
            Operation::Difference => self.difference(),
        }
    }

    fn union(&self) -> Vec<(Cow<'_, [u8]>, f64)> {
        let mut scores: HashMap<Cow<'_, [u8]>, f64> = HashMap::default();
        for (source, weight) in &self.sources {
            for (member, score) in source.elements() {
                let part = zero_if_nan(self.aggregate.part(score, *weight));
                scores
                    .entry(member)
                    .and_modify(|total| *total = self.aggregate.join(*total, part))
                    .or_insert(part);
            }
        }
        scores.into_iter().collect()
    }

    /// Gives the members that all sources have, until told to stop.
    fn intersect<'s>(&'s self, mut give: impl FnMut(Cow<'s, [u8]>, f64) -> ControlFlow<()>) {
        let ((smallest, weight), others) =
            self.sources.split_first().expect("there is at least one key");
        for (member, score) in smallest.elements() {
            let mut total = Some(zero_if_nan(self.aggregate.part(score, *weight)));
            for (other, weight) in others {
                let part = other.score(&member).map(|it| self.aggregate.part(it, *weight));
                total = total.zip(part).map(|(total, part)| self.aggregate.join(total, part));
                if total.is_none() {
                    break;
                }
            }
            if total.is_some_and(|total| give(member, total).is_break()) {
                return;
            }
        }
    }

    fn difference(&self) -> Vec<(Cow<'_, [u8]>, f64)> {
        let ((first, _), others) = self.sources.split_first().expect("there is at least one key");
        let is_left = |(member, _): &(Cow<'_, [u8]>, f64)| {
            !others.iter().any(|(other, _)| other.score(member).is_some())
        };
        first.elements().filter(is_left).collect()
    }
}
