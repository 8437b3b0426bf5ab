//! The value of a Redis sorted set: members with scores, in the order of scores and then of members. Small ones are one
//! packed block; large ones are a trie that knows each member's score and a counted tree that has them in order.
//! Never holds NaN.

mod leaf;
mod order;
mod small;
#[cfg(test)]
mod tests;
mod tree;

use std::ops::Range;

use crate::relocation::Relocation;
use crate::trie::{Deadline, Element, Trie};
use order::{Probe, decode, encode};
use small::Small;
use tree::Tree;

pub use order::Position;

/// Larger blocks would make every change slow, whatever the limits allow.
const SMALL_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Debug, Default)]
pub struct SortedSet {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Small(Small),
    Large(Box<Large>),
}

/// The large form. Invariant: both have the same elements.
#[derive(Clone)]
struct Large {
    scores: Trie,
    tree: Tree,
}

/// How large the small form may become: `zset-max-listpack-entries` and `zset-max-listpack-value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortedSetLimits {
    pub entries: usize,
    /// Bytes of a member.
    pub value_bytes: usize,
}

/// What `OBJECT ENCODING` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortedSetEncoding {
    Listpack,
    Skiplist,
}

/// From which end elements are visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

impl SortedSetEncoding {
    pub fn name(self) -> &'static str {
        match self {
            Self::Listpack => "listpack",
            Self::Skiplist => "skiplist",
        }
    }
}

impl Default for Form {
    fn default() -> Self {
        Self::Small(Small::default())
    }
}

impl SortedSet {
    pub fn new() -> Self {
        Self::default()
    }

    /// A set of these elements, each with a member of its own.
    pub fn from_elements<M: AsRef<[u8]>>(
        mut elements: Vec<(M, f64)>,
        limits: SortedSetLimits,
    ) -> Self {
        elements.sort_unstable_by(|(m, s), (n, t)| {
            s.partial_cmp(t).expect("no score is NaN").then_with(|| m.as_ref().cmp(n.as_ref()))
        });
        let all = elements.iter().map(|(member, score)| (member.as_ref(), *score));
        let is_small = elements.len() <= limits.entries
            && all.clone().all(|(member, _)| member.len() <= limits.value_bytes)
            && all.clone().map(|(member, _)| member.len()).sum::<usize>() <= SMALL_BYTES_MAX;
        let form = if is_small {
            Form::Small(Small::of(all))
        } else {
            Form::Large(Box::new(Large::of(all)))
        };
        Self { form }
    }

    /// Whether the other is the same value still, seen through another handle: what a writer changes, it copies first.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.form, &other.form) {
            (Form::Small(ours), Form::Small(theirs)) => ours.pack().is_same(theirs.pack()),
            // There is no change that leaves all scores as they are.
            (Form::Large(ours), Form::Large(theirs)) => ours.scores.is_same(&theirs.scores),
            _ => false,
        }
    }

    pub fn len(&self) -> u64 {
        match &self.form {
            Form::Small(small) => small.len() as u64,
            Form::Large(large) => large.tree.len(),
        }
    }

    /// Moves a part of what the set owns, from `position` on. Returns the position to go on from, 0 at the end.
    pub fn relocate(&mut self, position: u64, relocation: &mut Relocation<'_>) -> u64 {
        match &mut self.form {
            Form::Small(small) => {
                small.relocate(relocation);
                0
            }
            Form::Large(large) => {
                // As both have the same elements, a position is the rank in either.
                let next = large.scores.relocate(position, relocation);
                let end = if next == 0 { large.tree.len() } else { next };
                large.tree.relocate(position..end, relocation);
                next
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks the processor to fetch what looking up `members` will read, where that is worth the while.
    pub fn prefetch(&self, members: &[&[u8]]) {
        if let Form::Large(large) = &self.form {
            large.scores.prefetch(members);
        }
    }

    /// Asks the processor to fetch the elements of a small set, or the first of them.
    #[inline]
    pub fn prefetch_small(&self) {
        if let Form::Small(small) = &self.form {
            small.pack().prefetch();
        }
    }

    pub fn encoding(&self) -> SortedSetEncoding {
        match &self.form {
            Form::Small(_) => SortedSetEncoding::Listpack,
            Form::Large(_) => SortedSetEncoding::Skiplist,
        }
    }

    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.form {
            Form::Small(small) => small.find(member).map(|(_, score)| score),
            Form::Large(large) => large.score(member),
        }
    }

    /// Adds a member or changes its score.
    pub fn insert(&mut self, member: &[u8], score: f64, limits: SortedSetLimits) {
        self.replace(member, self.score(member), score, limits);
    }

    /// As [`SortedSet::insert`], for a member whose score is known to be `old`.
    #[inline]
    pub fn replace(
        &mut self,
        member: &[u8],
        old: Option<f64>,
        score: f64,
        limits: SortedSetLimits,
    ) {
        assert!(!score.is_nan());
        if old.is_some_and(|old| old.to_bits() == score.to_bits()) {
            return;
        }
        match &mut self.form {
            Form::Small(small) => {
                if old.is_some() {
                    let (index, _) = small.find(member).expect("the caller found it");
                    small.remove(index);
                    small.insert(member, score);
                    return;
                }
                let may_stay = small.len() < limits.entries
                    && member.len() <= limits.value_bytes
                    && small.pack().data_bytes() + member.len() <= SMALL_BYTES_MAX;
                if may_stay {
                    small.insert(member, score);
                    return;
                }
                self.enlarge().replace(member, None, score);
            }
            Form::Large(large) => large.replace(member, old, score),
        }
    }

    /// Takes the large form at once if `count` members, which are about to be added and of which the longest has
    /// `member_bytes`, ask for it.
    pub fn expect(&mut self, count: usize, member_bytes: usize, limits: SortedSetLimits) {
        if limits.entries < count || limits.value_bytes < member_bytes {
            self.enlarge();
        }
    }

    /// Removes a member. Returns whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.form {
            Form::Small(small) => {
                let found = small.find(member);
                if let Some((index, _)) = found {
                    small.remove(index);
                }
                found.is_some()
            }
            Form::Large(large) => large.remove(member),
        }
    }

    /// Removes the elements with these ranks.
    pub fn remove_range(&mut self, range: Range<u64>) {
        match &mut self.form {
            Form::Small(small) => small.remove_range(range.start as usize..range.end as usize),
            Form::Large(large) => large.remove_range(range),
        }
    }

    /// The rank of a member in ascending order, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(u64, f64)> {
        match &self.form {
            Form::Small(small) => small.find(member).map(|(index, score)| (index as u64, score)),
            Form::Large(large) => {
                let score = large.score(member)?;
                Some((large.tree.position(&Probe::before(encode(score), member)), score))
            }
        }
    }

    /// How many elements are before a place.
    pub fn count_before(&self, position: Position<'_>) -> u64 {
        let probe = Probe::at(position);
        match &self.form {
            Form::Small(small) => small.position(&probe) as u64,
            Form::Large(large) => large.tree.position(&probe),
        }
    }

    /// The element with this rank in ascending order.
    pub fn nth(&self, rank: u64) -> Option<(&[u8], f64)> {
        match &self.form {
            Form::Small(small) => {
                let index = rank as usize;
                small.elements(index..index + 1).next()
            }
            Form::Large(large) => {
                let (leaf, index) = large.tree.leaf_at(rank)?;
                Some((leaf.member(index), decode(leaf.code(index))))
            }
        }
    }

    /// Visits elements from `cursor` on, at least `count` if there are so many, and all of a small set. Returns the
    /// cursor to go on with, 0 at the end. A member that stays from the first call (with 0) to the last is visited.
    pub fn scan(&self, cursor: u64, count: u64, mut visit: impl FnMut(&[u8], f64)) -> u64 {
        match &self.form {
            Form::Small(small) => {
                small.elements(0..small.len()).for_each(|(member, score)| visit(member, score));
                0
            }
            Form::Large(large) => {
                large.scores.scan(cursor, count, |it| visit(it.key, score_of(it)))
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], f64)> {
        self.iter_range(0..self.len(), Direction::Ascending)
    }

    /// All elements in the order of iteration of sets and hashes, which is fast to look them up in, in large sets.
    pub fn iter_by_place(&self) -> impl Iterator<Item = (&[u8], f64)> {
        let (mut small, mut large) = (None, None);
        match &self.form {
            Form::Small(form) => small = Some(form.elements(0..form.len())),
            Form::Large(form) => large = Some(form.scores.iter().map(|it| (it.key, score_of(it)))),
        }
        small.into_iter().flatten().chain(large.into_iter().flatten())
    }

    /// The elements with these ranks, from either end of them. The range is cut to what there is.
    pub fn iter_range(
        &self,
        range: Range<u64>,
        direction: Direction,
    ) -> impl Iterator<Item = (&[u8], f64)> {
        let mut range = range.start..range.end.min(self.len());
        let (mut small, mut large) = (None, None);
        match &self.form {
            Form::Small(form) => {
                let elements = form.elements(range.start as usize..range.end as usize);
                small = Some(Directed { elements, direction });
            }
            Form::Large(form) => {
                large = Some(std::iter::from_fn(move || {
                    let run = form.tree.next_run(&mut range, direction)?;
                    let elements = run.map(|(code, member)| (member, decode(code)));
                    Some(Directed { elements, direction })
                }));
            }
        }
        small.into_iter().flatten().chain(large.into_iter().flatten().flatten())
    }

    /// Bytes on the heap, estimated for the large form.
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Small(small) => small.pack().heap_bytes(),
            Form::Large(large) => {
                size_of::<Large>() + large.scores.heap_bytes() + large.tree.heap_bytes()
            }
        }
    }

    /// As [`SortedSet::heap_bytes`], of what no other handle shares.
    pub fn unshared_bytes(&self) -> usize {
        match &self.form {
            Form::Small(small) if small.pack().is_shared() => 0,
            Form::Small(small) => small.pack().heap_bytes(),
            Form::Large(large) => large.scores.unshared_bytes() + large.tree.unshared_bytes(),
        }
    }

    /// How many allocations go when the value goes, estimated for the large form.
    pub fn drop_cost(&self) -> usize {
        match &self.form {
            Form::Small(small) => usize::from(!small.pack().is_empty()),
            Form::Large(large) => 1 + large.scores.drop_cost() + large.tree.allocations(),
        }
    }

    /// The large form, whatever form it had.
    fn enlarge(&mut self) -> &mut Large {
        if let Form::Small(small) = &self.form {
            let large = Large::of(small.elements(0..small.len()));
            self.form = Form::Large(Box::new(large));
        }
        match &mut self.form {
            Form::Large(large) => large,
            Form::Small(_) => unreachable!("the form was made large"),
        }
    }
}

impl Large {
    /// Of elements that are in order.
    fn of<'a>(elements: impl Iterator<Item = (&'a [u8], f64)> + Clone) -> Self {
        let mut scores = Trie::new();
        let mut by_place: Vec<_> = elements
            .clone()
            .map(|(member, score)| (Trie::place_of(member), member, score))
            .collect();
        by_place.sort_unstable_by_key(|(place, _, _)| *place);
        for (_, member, score) in by_place {
            scores.insert(member, &score.to_le_bytes(), Deadline::Never);
        }
        let tree = Tree::of(elements.map(|(member, score)| (encode(score), member)));
        debug_assert_eq!(scores.len(), tree.len());
        Self { scores, tree }
    }

    #[inline]
    fn score(&self, member: &[u8]) -> Option<f64> {
        self.scores.get(member).map(score_of)
    }

    fn replace(&mut self, member: &[u8], old: Option<f64>, score: f64) {
        if let Some(old) = old {
            self.tree.remove(encode(old), member);
        }
        self.scores.insert(member, &score.to_le_bytes(), Deadline::Never);
        self.tree.insert(encode(score), member);
    }

    fn remove(&mut self, member: &[u8]) -> bool {
        let Some(score) = self.score(member) else { return false };
        self.scores.remove(member);
        self.tree.remove(encode(score), member);
        true
    }

    fn remove_range(&mut self, range: Range<u64>) {
        let mut rest = range.clone();
        let mut by_place = Vec::new();
        while let Some(run) = self.tree.next_run(&mut rest, Direction::Ascending) {
            by_place.extend(run.map(|(_, member)| (Trie::place_of(member), member)));
        }
        by_place.sort_unstable_by_key(|(place, _)| *place);
        for (_, member) in by_place {
            self.scores.remove(member);
        }
        self.tree.remove_range(range);
    }
}

impl std::fmt::Debug for Large {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.scores.iter().map(|it| (it.key, score_of(it)))).finish()
    }
}

/// The score that the trie keeps with a member.
fn score_of(element: Element<'_>) -> f64 {
    f64::from_le_bytes(element.value.try_into().expect("a score has 8 bytes"))
}

/// Elements from one end or the other.
struct Directed<I> {
    elements: I,
    direction: Direction,
}

impl<I: DoubleEndedIterator> Iterator for Directed<I> {
    type Item = I::Item;

    #[inline]
    fn next(&mut self) -> Option<I::Item> {
        match self.direction {
            Direction::Ascending => self.elements.next(),
            Direction::Descending => self.elements.next_back(),
        }
    }
}

/// Reads a range of a sorted set as it was when this was made, slice by slice, whatever happens to the original
/// meanwhile.
#[derive(Clone, Debug)]
pub struct SortedSetCursor {
    set: SortedSet,
    /// The ranks that are still to come.
    range: Range<u64>,
    direction: Direction,
}

impl SortedSetCursor {
    /// The elements with these ranks, from either end of them. The range is cut to what there is.
    pub fn new(set: &SortedSet, range: Range<u64>, direction: Direction) -> Self {
        let end = range.end.min(set.len());
        Self { set: set.clone(), range: range.start.min(end)..end, direction }
    }

    /// How many elements are still to come.
    pub fn remaining(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Bytes on the heap that the cursor alone keeps, estimated.
    pub fn unshared_bytes(&self) -> usize {
        self.set.unshared_bytes()
    }

    /// Gives the next elements: as many as `count_max`, fewer if their bytes reach `bytes_max`, but one at least. False
    /// when there are no more.
    pub fn next_slice(
        &mut self,
        count_max: usize,
        bytes_max: usize,
        mut give: impl FnMut(&[u8], f64),
    ) -> bool {
        let (mut count, mut bytes) = (0, 0);
        let elements = self.set.iter_range(self.range.clone(), self.direction);
        for (member, score) in elements.take(count_max.max(1)) {
            give(member, score);
            (count, bytes) = (count + 1, bytes + member.len());
            if bytes_max <= bytes {
                break;
            }
        }
        match self.direction {
            Direction::Ascending => self.range.start += count,
            Direction::Descending => self.range.end -= count,
        }
        !self.range.is_empty()
    }
}
