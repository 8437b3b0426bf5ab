//! Searching for places: GEOSEARCH, GEORADIUS and their siblings. What is too much to be looked at in one go is looked
//! at and sorted by a stream, over a handle of the set. Never changes the set that is searched.

use std::cmp::Ordering;
use std::ops::Range;

use rubine_resp::writer::{Progress, Reply, ReplyStream};
use rubine_structures::geohash::{Point, Shape};
use rubine_structures::sorted_set::{Direction, Position, SortedSet};

use super::query::{Form, Layout, Query, StoredScore};
use super::{write_distance, write_point};
use crate::args::Args;
use crate::command::{Command, KeyFinder, KeyPositions, KeySpec};
use crate::context::Context;
use crate::error::CommandResult;
use crate::event::Event;
use crate::sorted_set::{self, form_limits};
use crate::sorting::{Merge, Runs, sort_part};

/// A search that has to look at more elements is done by a stream.
const ELEMENTS_AT_ONCE_MAX: u64 = 1024;
/// Elements that a stream looks at before others have their turn.
const ELEMENTS_PER_FILL: u64 = 1024;
/// Bytes of a reply that are written at once.
const BYTES_AT_ONCE_MAX: usize = 64 * 1024;

const COMPLEXITY: &str =
    "O(N+log(M)) with N the members around the area that is searched and M the members of the set.";

pub(super) const GEORADIUS: Command =
    Command::new("GEORADIUS", |cx| search(cx, Form::Radius { may_store: true }))
        .summary("Returns or stores the members that are within a distance of a point.")
        .syntax(
            "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] \
             [ASC | DESC] [STORE key | STOREDIST key]",
        )
        .since("3.2.0")
        .complexity(COMPLEXITY)
        .arity(-6)
        .writes()
        .denies_oom()
        .key("RO ACCESS")
        .keys(behind("STORE", 6, |args, visit| destination(args, 6).into_iter().for_each(visit)))
        .keys(behind("STOREDIST", 6, |_, _| {}));

pub(super) const GEORADIUSBYMEMBER: Command =
    Command::new("GEORADIUSBYMEMBER", |cx| search(cx, Form::RadiusByMember { may_store: true }))
        .summary("Returns or stores the members that are within a distance of one of them.")
        .syntax(
            "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] \
             [STORE key | STOREDIST key]",
        )
        .since("3.2.0")
        .complexity(COMPLEXITY)
        .arity(-5)
        .writes()
        .denies_oom()
        .key("RO ACCESS")
        .keys(behind("STORE", 5, |args, visit| destination(args, 5).into_iter().for_each(visit)))
        .keys(behind("STOREDIST", 5, |_, _| {}));

pub(super) const GEORADIUS_RO: Command =
    Command::new("GEORADIUS_RO", |cx| search(cx, Form::Radius { may_store: false }))
        .summary("Returns the members that are within a distance of a point.")
        .syntax(
            "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] \
             [ASC | DESC]",
        )
        .since("3.2.10")
        .complexity(COMPLEXITY)
        .arity(-6)
        .reads()
        .key("RO ACCESS");

pub(super) const GEORADIUSBYMEMBER_RO: Command =
    Command::new("GEORADIUSBYMEMBER_RO", |cx| search(cx, Form::RadiusByMember { may_store: false }))
        .summary("Returns the members that are within a distance of one of them.")
        .syntax(
            "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        )
        .since("3.2.10")
        .complexity(COMPLEXITY)
        .arity(-5)
        .reads()
        .key("RO ACCESS");

pub(super) const GEOSEARCH: Command = Command::new("GEOSEARCH", |cx| search(cx, Form::Search))
    .summary("Returns the members in a circle, a box or a polygon.")
    .syntax(
        "key [FROMMEMBER member | FROMLONLAT longitude latitude] <BYRADIUS radius <M | KM | FT | MI> | BYBOX width \
         height <M | KM | FT | MI> | BYPOLYGON num-vertices longitude latitude [longitude latitude ...]> [ASC | DESC] \
         [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
    )
    .since("6.2.0")
    .complexity(COMPLEXITY)
    .arity(-7)
    .reads()
    .key("RO ACCESS");

pub(super) const GEOSEARCHSTORE: Command =
    Command::new("GEOSEARCHSTORE", |cx| search(cx, Form::SearchStore))
        .summary("Stores the members in a circle, a box or a polygon. Returns how many they are.")
        .syntax(
            "destination source [FROMMEMBER member | FROMLONLAT longitude latitude] <BYRADIUS radius <M | KM | FT | \
             MI> | BYBOX width height <M | KM | FT | MI> | BYPOLYGON num-vertices longitude latitude [longitude \
             latitude ...]> [ASC | DESC] [COUNT count [ANY]] [STOREDIST]",
        )
        .since("6.2.0")
        .complexity(COMPLEXITY)
        .arity(-8)
        .writes()
        .denies_oom()
        .key_at(1, "OW UPDATE")
        .key_at(2, "RO ACCESS");

/// The key behind a keyword among the options, which start with argument `from`.
const fn behind(keyword: &'static str, from: isize, find: KeyFinder) -> KeySpec {
    let positions = KeyPositions::Keyword { keyword, from, more: 0, find };
    KeySpec { positions, access: "OW UPDATE VARIABLE_FLAGS" }
}

/// Number of the argument that is the key to store under: the last one that follows either keyword.
fn destination(args: Args<'_>, from: usize) -> Option<usize> {
    let mut options = args.options(from);
    let mut destination = None;
    while !options.is_at_end() {
        let is_followed = 2 <= options.remaining();
        if is_followed && (options.keyword("STORE") || options.keyword("STOREDIST")) {
            destination = Some(options.index());
        }
        options.skip(1);
    }
    destination
}

fn search(cx: &mut Context<'_, '_>, form: Form) -> CommandResult {
    let args = cx.args;
    let source = cx.key(form.source());
    let limits = form_limits(cx.limits);
    let set = sorted_set::find(&mut cx.keys, source)?;
    let query = Query::parse(args, form, set)?;
    let found = set.zip(query.shape.as_ref()).map(|(set, shape)| (set, Search::new(set, shape)));
    let Some(destination) = query.destination else {
        match found {
            Some((set, search)) => reply(&mut cx.reply, set, search, query),
            None => cx.reply.array(0),
        }
        return Ok(());
    };
    let result = match found {
        Some((set, search)) => SortedSet::from_elements(elements(set, search, &query), limits),
        None => SortedSet::new(),
    };
    let stored = result.len();
    let is_search = form == Form::SearchStore;
    let event = if is_search { Event::GEOSEARCHSTORE } else { Event::GEORADIUSSTORE };
    let destination = cx.key(destination);
    sorted_set::store(cx, destination, result, event);
    cx.keys.add_dirty(stored.saturating_sub(1));
    Ok(())
}

/// An element in the shape.
#[derive(Clone, Copy, Debug)]
struct Hit {
    /// Meters.
    distance: f64,
    score: f64,
    rank: u64,
}

/// The elements that may be in a shape, of which some have been looked at.
#[derive(Debug)]
struct Search {
    /// The ranks that are still to be looked at, the next at the end.
    ranks: Vec<Range<u64>>,
    hits: Runs<Hit>,
}

impl Search {
    fn new(set: &SortedSet, shape: &Shape) -> Self {
        let rank = |score| set.count_before(Position::BeforeScore(score));
        let ranks = shape.scores().map(|scores| rank(scores.start)..rank(scores.end));
        let mut ranks: Vec<_> = ranks.filter(|ranks| !ranks.is_empty()).collect();
        ranks.reverse();
        Self { ranks, hits: Runs::new() }
    }

    /// How many elements are still to be looked at.
    fn remaining(&self) -> u64 {
        self.ranks.iter().map(|ranks| ranks.end - ranks.start).sum()
    }

    /// Looks at `count` more elements, until there are so many hits as are enough. Returns whether there is more to do.
    fn step(&mut self, set: &SortedSet, query: &Query, shape: &Shape, mut count: u64) -> bool {
        let enough = query.count.filter(|it| it.any).map_or(usize::MAX, |it| it.max);
        while let Some(ranks) = self.ranks.last_mut().filter(|_| 0 < count) {
            let slice = ranks.start..ranks.end.min(ranks.start.saturating_add(count));
            let elements = set.iter_range(slice.clone(), Direction::Ascending);
            for (rank, (_, score)) in slice.clone().zip(elements) {
                if let Some(distance) = shape.distance_to(Point::of_score(score)) {
                    let run = self.hits.push(Hit { distance, score, rank });
                    sort(run, query);
                    if enough <= self.hits.len() {
                        self.ranks.clear();
                        return false;
                    }
                }
            }
            count -= slice.end - slice.start;
            ranks.start = slice.end;
            if ranks.is_empty() {
                self.ranks.pop();
            }
        }
        !self.ranks.is_empty()
    }

    /// The hits that are wanted, in their order.
    fn finish(mut self, query: &Query) -> Sorted {
        let len = self.hits.len();
        let count = query.count.map_or(len, |count| count.max.min(len));
        sort(self.hits.incomplete(), query);
        Sorted { merge: Merge::new(self.hits, by_distance(query.order)), order: query.order, count }
    }
}

/// Sorts hits as far as they are wanted: a part of them as Redis does, which leaves equal distances in another order.
fn sort(hits: Option<&mut Vec<Hit>>, query: &Query) {
    let Some(hits) = hits.filter(|_| query.order.is_some()) else { return };
    let order = by_distance(query.order);
    match query.count {
        Some(count) if count.max < hits.len() => sort_part(hits, 0..count.max, order),
        _ => hits.sort_by(order),
    }
}

fn by_distance(order: Option<Direction>) -> impl Fn(&Hit, &Hit) -> Ordering {
    move |a, b| match order {
        None => Ordering::Equal,
        Some(Direction::Ascending) => a.distance.total_cmp(&b.distance),
        Some(Direction::Descending) => b.distance.total_cmp(&a.distance),
    }
}

/// Hits on their way out.
#[derive(Debug)]
struct Sorted {
    merge: Merge<Hit>,
    order: Option<Direction>,
    /// How many are still wanted. Invariant: there are so many.
    count: usize,
}

impl Iterator for Sorted {
    type Item = Hit;

    fn next(&mut self) -> Option<Hit> {
        self.count = self.count.checked_sub(1)?;
        self.merge.next(by_distance(self.order))
    }
}

/// What a search finds, as members with scores.
fn elements<'s>(set: &'s SortedSet, mut search: Search, query: &Query) -> Vec<(&'s [u8], f64)> {
    let Some(shape) = &query.shape else { return Vec::new() };
    search.step(set, query, shape, u64::MAX);
    let hits = search.finish(query);
    let score_of = |hit: Hit| match query.stored_score {
        StoredScore::Place => hit.score,
        StoredScore::Distance => hit.distance / shape.unit_meters(),
    };
    hits.map(|hit| (member_of(set, hit), score_of(hit))).collect()
}

fn member_of(set: &SortedSet, hit: Hit) -> &[u8] {
    set.nth(hit.rank).expect("the rank was found in this set").0
}

/// Replies with what a search finds: at once if little has to be looked at, else by a stream.
fn reply(reply: &mut Reply<'_>, set: &SortedSet, mut search: Search, query: Query) {
    let Some(shape) = &query.shape else { return reply.array(0) };
    if ELEMENTS_AT_ONCE_MAX < search.remaining() {
        let set = set.clone();
        return reply.stream(Box::new(Found { set, query, phase: Phase::Searching(search) }));
    }
    search.step(set, &query, shape, u64::MAX);
    let mut hits = search.finish(&query);
    reply.array(hits.count);
    let has_more = write_hits(reply, set, &mut hits, query.layout, shape, BYTES_AT_ONCE_MAX);
    if has_more {
        let set = set.clone();
        reply.stream(Box::new(Found { set, query, phase: Phase::Writing(hits) }));
    }
}

/// Writes hits, about as many bytes as `budget_bytes`. Returns whether there are more.
fn write_hits(
    reply: &mut Reply<'_>,
    set: &SortedSet,
    hits: &mut Sorted,
    layout: Layout,
    shape: &Shape,
    budget_bytes: usize,
) -> bool {
    /// What a hit costs beyond the bytes of its member, and each thing that is told of it.
    const HIT_COST: usize = 48;
    const EXTRA_COST: usize = 32;
    let mut spent = 0;
    while spent < budget_bytes {
        let Some(hit) = hits.next() else { return false };
        let member = member_of(set, hit);
        spent += HIT_COST + layout.extras() * EXTRA_COST + member.len();
        if 0 < layout.extras() {
            reply.array(1 + layout.extras());
        }
        reply.bulk(member);
        if layout.distance {
            write_distance(reply, hit.distance / shape.unit_meters());
        }
        if layout.hash {
            reply.integer(hit.score as i64);
        }
        if layout.point {
            write_point(reply, Point::of_score(hit.score));
        }
    }
    0 < hits.count
}

/// A reply that takes long: first elements are looked at, then hits are written.
#[derive(Debug)]
struct Found {
    set: SortedSet,
    query: Query,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Searching(Search),
    Writing(Sorted),
    Done,
}

impl ReplyStream for Found {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        let Self { set, query, phase } = self;
        let Some(shape) = &query.shape else { unreachable!("without a shape nothing is searched") };
        *phase = match std::mem::replace(phase, Phase::Done) {
            Phase::Searching(mut search) => {
                if search.step(set, query, shape, ELEMENTS_PER_FILL) {
                    Phase::Searching(search)
                } else {
                    let hits = search.finish(query);
                    reply.array(hits.count);
                    Phase::Writing(hits)
                }
            }
            Phase::Writing(mut hits) => {
                if write_hits(reply, set, &mut hits, query.layout, shape, budget_bytes) {
                    Phase::Writing(hits)
                } else {
                    Phase::Done
                }
            }
            Phase::Done => Phase::Done,
        };
        if matches!(self.phase, Phase::Done) { Progress::Done } else { Progress::More }
    }

    fn pinned_bytes(&self) -> usize {
        let hits = match &self.phase {
            Phase::Searching(search) => search.hits.heap_bytes(),
            Phase::Writing(hits) => hits.merge.heap_bytes(),
            Phase::Done => 0,
        };
        self.set.unshared_bytes() + hits
    }
}

#[cfg(test)]
mod tests;
