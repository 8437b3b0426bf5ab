//! Which members of several sets make up their intersection, union or difference: looked at a few at a time, on handles.
//! Never writes a reply.

use std::cmp::Reverse;

use rubine_base::number::parse_i64;
use rubine_structures::set::{Member, Set, SetEncoding, SetLimits, SetWalk};

use crate::computation::Computation;

/// Beyond so many sets, members are collected rather than looked for in each set.
const SETS_LOOKED_INTO_MAX: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Union,
    Intersection,
    Difference,
}

/// Goes through all members that may be in the result and tells which are.
#[derive(Debug)]
pub(super) struct Merge {
    members: Sequence,
    rule: Rule,
}

/// Which of the members that come by are in the result.
#[derive(Debug)]
enum Rule {
    /// Those that are in all of these.
    InAll(Vec<Set>),
    /// Those that are in none of these.
    InNone(Vec<Set>),
    /// Those that are in none of the sets that were gone through before.
    NotBefore,
    /// Those that have not come by yet: here they are collected.
    New(Set),
    /// Those of the last set that have not come by yet.
    NewOfLast(Set),
}

impl Merge {
    /// `None` counts as an empty set.
    pub(super) fn new(operation: Operation, sets: Vec<Option<Set>>) -> Self {
        let is_empty = match operation {
            Operation::Union => false,
            Operation::Intersection => sets.iter().any(Option::is_none),
            Operation::Difference => sets.first().is_none_or(Option::is_none),
        };
        if is_empty {
            return Self { members: Sequence::new(Vec::new()), rule: Rule::NotBefore };
        }
        let mut sets: Vec<Set> = sets.into_iter().flatten().collect();
        let is_many = SETS_LOOKED_INTO_MAX < sets.len();
        match operation {
            Operation::Union if is_many => {
                Self { members: Sequence::new(sets), rule: Rule::New(collection()) }
            }
            Operation::Union => {
                // The largest first: its members need not be looked for anywhere.
                sets.sort_by_key(|set| Reverse(set.len()));
                Self { members: Sequence::new(sets), rule: Rule::NotBefore }
            }
            Operation::Intersection => {
                sets.sort_by_key(Set::len);
                let others = sets.split_off(1);
                Self { members: Sequence::new(sets), rule: Rule::InAll(others) }
            }
            Operation::Difference => {
                let mut others = sets.split_off(1);
                let others_len: u64 = others.iter().map(Set::len).sum();
                if is_many && others_len < sets[0].len() * others.len() as u64 / 2 {
                    others.append(&mut sets);
                    return Self {
                        members: Sequence::new(others),
                        rule: Rule::NewOfLast(collection()),
                    };
                }
                // A member is most likely found in the largest.
                others.sort_by_key(|set| Reverse(set.len()));
                Self { members: Sequence::new(sets), rule: Rule::InNone(others) }
            }
        }
    }

    /// Visits the next members, a few dozens, with whether they are in the result. Returns whether there were any left.
    pub(super) fn visit_some(&mut self, mut visit: impl FnMut(Member<'_>, bool)) -> bool {
        let rule = &mut self.rule;
        let Sequence { sets, current, walk } = &mut self.members;
        let Some(walk) = walk else { return false };
        let (index, last) = (*current, sets.len() - 1);
        let mut text = Vec::new();
        let has_more = walk.visit_some(|member| {
            let is_in = match rule {
                Rule::InAll(others) => others.iter().all(|set| set.has(member)),
                Rule::InNone(others) => !others.iter().any(|set| set.has(member)),
                Rule::NotBefore => !sets[..index].iter().any(|set| set.has(member)),
                Rule::New(seen) => seen.add(member.text_in(&mut text), NO_SMALL_FORM),
                Rule::NewOfLast(seen) if index == last => !seen.has(member),
                Rule::NewOfLast(seen) => {
                    seen.add(member.text_in(&mut text), NO_SMALL_FORM);
                    false
                }
            };
            visit(member, is_in);
        });
        has_more || self.members.go_to_next_set()
    }

    /// How many members will come by, whether in the result or not.
    pub(super) fn len(&self) -> u64 {
        self.members.sets.iter().map(Set::len).sum()
    }

    /// Bytes of all sets, those included that members are only looked for in.
    pub(super) fn pinned_bytes(&self) -> usize {
        let (others, seen) = match &self.rule {
            Rule::InAll(others) | Rule::InNone(others) => (others.as_slice(), 0),
            Rule::NotBefore => (&[][..], 0),
            Rule::New(seen) | Rule::NewOfLast(seen) => (&[][..], seen.heap_bytes()),
        };
        let others = others.iter().map(Set::unshared_bytes).sum::<usize>();
        self.members.pinned_bytes() + others + seen
    }

    /// The members again, from the first on.
    pub(super) fn into_members(self) -> Sequence {
        Sequence::new(self.members.sets)
    }
}

/// The members of several sets, one set after the other.
#[derive(Debug)]
pub(super) struct Sequence {
    sets: Vec<Set>,
    current: usize,
    /// Through the current set; `None` if there is none.
    walk: Option<SetWalk>,
}

impl Sequence {
    fn new(sets: Vec<Set>) -> Self {
        let walk = sets.first().map(SetWalk::new);
        Self { sets, current: 0, walk }
    }

    /// Visits the next members, a few dozens. Returns whether there were any left.
    pub(super) fn visit_some(&mut self, visit: impl FnMut(Member<'_>)) -> bool {
        let Some(walk) = &mut self.walk else { return false };
        walk.visit_some(visit) || self.go_to_next_set()
    }

    /// Returns whether there is one.
    fn go_to_next_set(&mut self) -> bool {
        self.current += 1;
        self.walk = self.sets.get(self.current).map(SetWalk::new);
        self.walk.is_some()
    }

    /// Bytes that only these handles hold.
    pub(super) fn pinned_bytes(&self) -> usize {
        self.sets.iter().map(Set::unshared_bytes).sum()
    }
}

/// Of a set that is in the large form from the start.
const NO_SMALL_FORM: SetLimits =
    SetLimits { intset_entries: 0, listpack_entries: 0, value_bytes: 0 };

/// An empty set that members are collected in.
fn collection() -> Set {
    Set::for_members(b"", usize::MAX, NO_SMALL_FORM)
}

/// What is to be stored: handles of the sets, `None` for an empty one.
pub(super) struct Combination {
    pub(super) operation: Operation,
    pub(super) sets: Vec<Option<Set>>,
    pub(super) limits: SetLimits,
}

impl Computation for Combination {
    type Output = Set;

    fn steps(&self) -> u64 {
        let Self { operation, sets, .. } = self;
        let lens = || sets.iter().map(|set| len_of(set.as_ref()));
        let (sum, largest) = (lens().sum::<u64>(), lens().max().unwrap_or(0));
        match operation {
            Operation::Union if self.shares_largest().is_some() => sum - largest,
            Operation::Union => sum,
            Operation::Intersection => lens().min().unwrap_or(0).saturating_mul(sets.len() as u64),
            Operation::Difference => match self.shares_largest() {
                Some(_) => sum - lens().next().unwrap_or(0),
                None => lens().next().unwrap_or(0).saturating_mul(sets.len() as u64),
            },
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        let is_same = |pair: (&Option<Set>, &Option<Set>)| match pair {
            (Some(ours), Some(theirs)) => ours.is_same(theirs),
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        };
        self.limits == other.limits && self.sets.iter().zip(&other.sets).all(is_same)
    }

    /// The result as a set of its own, in the form that Redis gives it.
    fn compute(&self) -> Set {
        match self.shares_largest() {
            Some(largest) => self.changed_copy(largest),
            None => stored(self.operation, self.sets.clone(), self.limits),
        }
    }
}

fn stored(operation: Operation, sets: Vec<Option<Set>>, limits: SetLimits) -> Set {
    let merge = Merge::new(operation, sets);
    // An intersection starts in the form of the smallest set; everything else as if all were integers.
    let starts_as_text = operation == Operation::Intersection
        && merge.members.sets.first().is_some_and(|set| set.encoding() != SetEncoding::Intset);
    let mut result = if starts_as_text { Set::for_members(b"text", 1, limits) } else { Set::new() };
    add_members(&mut result, merge, limits);
    if !starts_as_text || limits.intset_entries < result.len() as usize {
        return result;
    }
    let mut text = Vec::new();
    let is_integers = result.iter().all(|it| parse_i64(it.text_in(&mut text)).is_some());
    if is_integers { rebuilt(&result, limits) } else { result }
}

fn add_members(result: &mut Set, mut merge: Merge, limits: SetLimits) {
    let mut text = Vec::new();
    let mut has_more = true;
    while has_more {
        has_more = merge.visit_some(|member, is_in| {
            if is_in {
                result.add(member.text_in(&mut text), limits);
            }
        });
    }
}

/// The same members in the smallest form that they may have.
fn rebuilt(set: &Set, limits: SetLimits) -> Set {
    let mut text = Vec::new();
    let mut rebuilt = Set::new();
    for member in set.iter() {
        rebuilt.add(member.text_in(&mut text), limits);
    }
    rebuilt
}

impl Combination {
    /// Which set is so much larger than the others that the result is best made as a copy of it, which shares most of
    /// its content with it, with the few members added or removed that make the difference. `None` where there is none.
    fn shares_largest(&self) -> Option<usize> {
        let Self { operation, sets, limits } = self;
        let largest = match operation {
            Operation::Union => {
                sets.iter().enumerate().max_by_key(|(_, set)| len_of(set.as_ref()))?.0
            }
            Operation::Difference => 0,
            Operation::Intersection => return None,
        };
        let small_max = limits.intset_entries.max(limits.listpack_entries) as u64;
        let largest_set = sets.get(largest)?.as_ref()?;
        let sum: u64 = sets.iter().map(|set| len_of(set.as_ref())).sum();
        let others_len = sum - largest_set.len();
        let is_large =
            largest_set.encoding() == SetEncoding::Hashtable && small_max < largest_set.len();
        let removes_few = others_len <= largest_set.len() / 2;
        (is_large && (*operation == Operation::Union || removes_few)).then_some(largest)
    }

    fn changed_copy(&self, largest: usize) -> Set {
        let Self { operation, sets, limits } = self;
        let others = sets.iter().enumerate().filter(|(index, _)| *index != largest);
        let mut result = sets[largest].clone().expect("the largest set is there");
        let mut text = Vec::new();
        for member in others.filter_map(|(_, set)| set.as_ref()).flat_map(Set::iter) {
            let text = member.text_in(&mut text);
            if *operation == Operation::Union {
                result.add(text, *limits);
            } else {
                result.remove(text);
            }
        }
        let small_max = limits.intset_entries.max(limits.listpack_entries) as u64;
        if result.len() <= small_max { rebuilt(&result, *limits) } else { result }
    }
}

fn len_of(set: Option<&Set>) -> u64 {
    set.map_or(0, Set::len)
}
