//! The value of a Redis hash: fields with values and, optionally, deadlines. Small ones are one packed block
//! that keeps the order of insertion, large ones a trie. Never reads the time: a field past its deadline is
//! there until the caller has it removed.

use crate::pack::{Growth, Pack};
use crate::relocation::Relocation;
use crate::trie::{Deadline, Element, Trie, Walk};

/// A larger block would make every change slow, whatever the limits allow.
const SMALL_BYTES_MAX: usize = 1 << 20;

/// A slice of a walk through the small form visits this many fields.
const SLICE_COUNT: usize = 64;

#[derive(Clone, Debug, Default)]
pub struct Hash {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Small(Small),
    Large(Box<Trie>),
}

/// How large the small form may become: `hash-max-listpack-entries` and `hash-max-listpack-value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashLimits {
    pub entries: usize,
    /// Bytes of a field or a value.
    pub value_bytes: usize,
}

/// What `OBJECT ENCODING` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashEncoding {
    Listpack,
    Hashtable,
}

impl HashEncoding {
    pub fn name(self) -> &'static str {
        match self {
            Self::Listpack => "listpack",
            Self::Hashtable => "hashtable",
        }
    }
}

impl Default for Form {
    fn default() -> Self {
        Self::Small(Small::default())
    }
}

impl Hash {
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the other is the same value still, seen through another handle: what a writer changes, it copies first.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.form, &other.form) {
            (Form::Small(ours), Form::Small(theirs)) => ours.pack.is_same(&theirs.pack),
            (Form::Large(ours), Form::Large(theirs)) => ours.is_same(theirs),
            _ => false,
        }
    }

    /// The number of fields, with those that are due and not removed yet.
    pub fn len(&self) -> u64 {
        match &self.form {
            Form::Small(small) => small.len() as u64,
            Form::Large(trie) => trie.len(),
        }
    }

    /// Moves a part of what the hash owns, from `position` on. Returns the position to go on from, 0 at the end.
    pub fn relocate(&mut self, position: u64, relocation: &mut Relocation<'_>) -> u64 {
        match &mut self.form {
            Form::Small(small) => {
                small.pack.relocate(relocation);
                0
            }
            Form::Large(trie) => trie.relocate(position, relocation),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks the processor to fetch what looking up `fields` will read, where that is worth the while.
    pub fn prefetch(&self, fields: &[&[u8]]) {
        if let Form::Large(trie) = &self.form {
            trie.prefetch(fields);
        }
    }

    /// Asks the processor to fetch the fields of a small hash, or the first of them.
    #[inline]
    pub fn prefetch_small(&self) {
        if let Form::Small(small) = &self.form {
            small.pack.prefetch();
        }
    }

    /// As in Valkey, no listpack holds fields with deadlines, nor does a hash become one again.
    pub fn encoding(&self) -> HashEncoding {
        match &self.form {
            Form::Small(small) if small.shape == Shape::Pairs => HashEncoding::Listpack,
            Form::Small(_) | Form::Large(_) => HashEncoding::Hashtable,
        }
    }

    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<Element<'_>> {
        match &self.form {
            Form::Small(small) => small.elements(0).find(|element| element.key == field),
            Form::Large(trie) => trie.get(field),
        }
    }

    pub fn contains(&self, field: &[u8]) -> bool {
        self.get(field).is_some()
    }

    /// Sets a field, and its deadline. Returns whether the field is new.
    pub fn set(
        &mut self,
        field: &[u8],
        value: &[u8],
        deadline: Deadline,
        limits: HashLimits,
    ) -> bool {
        if let Form::Small(small) = &mut self.form {
            let may_stay = field.len().max(value.len()) <= limits.value_bytes
                && small.pack.data_bytes() + field.len() + value.len() <= SMALL_BYTES_MAX;
            if may_stay {
                let added = small.set(field, value, deadline);
                if limits.entries < small.len() {
                    self.enlarge();
                }
                return added;
            }
        }
        self.enlarge().insert(field, value, deadline)
    }

    /// Takes the large form at once if `count` fields, which are about to be set, ask for it.
    pub fn expect(&mut self, count: usize, limits: HashLimits) {
        if limits.entries < count {
            self.enlarge();
        }
    }

    /// Removes a field. Returns whether there was one.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.form {
            Form::Small(small) => {
                let index = small.find(field);
                if let Some(index) = index {
                    small.remove(index);
                }
                index.is_some()
            }
            Form::Large(trie) => trie.remove(field),
        }
    }

    /// Sets or clears the deadline of a field. Returns whether the field exists.
    pub fn set_deadline(&mut self, field: &[u8], deadline: Option<i64>) -> bool {
        match &mut self.form {
            Form::Small(small) => {
                let index = small.find(field);
                if let Some(index) = index {
                    small.set_deadline(index, deadline);
                }
                index.is_some()
            }
            Form::Large(trie) => trie.set_deadline(field, deadline),
        }
    }

    /// A lower bound of the earliest deadline.
    #[inline]
    pub fn next_deadline(&self) -> Option<i64> {
        match &self.form {
            Form::Small(small) => small.next_deadline(),
            Form::Large(trie) => trie.next_deadline(),
        }
    }

    /// Whether any field has a deadline: exact, and slower than [`Hash::next_deadline`].
    pub fn has_deadlines(&self) -> bool {
        match &self.form {
            Form::Small(small) => {
                small.shape == Shape::Triples && small.elements(0).any(|it| it.deadline.is_some())
            }
            Form::Large(trie) => trie.has_deadlines(),
        }
    }

    /// Removes fields that are due at `now`, and tells of each before it goes. Stops when `limit` is reached;
    /// whether more are due, [`Hash::next_deadline`] tells. Returns how many were removed.
    pub fn expire_due(&mut self, now: i64, limit: usize, expired: impl FnMut(Element<'_>)) -> u64 {
        match &mut self.form {
            Form::Small(small) => small.expire_due(now, limit, expired),
            Form::Large(trie) => trie.expire_due(now, limit, expired),
        }
    }

    /// The field with this rank in the order of iteration: with a random rank, a random field.
    pub fn nth(&self, rank: u64) -> Option<Element<'_>> {
        match &self.form {
            Form::Small(small) => small.elements(usize::try_from(rank).ok()?).next(),
            Form::Large(trie) => trie.nth(rank),
        }
    }

    /// Visits fields from `cursor` on, at least `count` if there are so many, and all of a small hash. Returns
    /// the cursor to go on with, 0 at the end. A field that stays from the first call (with 0) to the
    /// last is visited.
    pub fn scan<'h>(&'h self, cursor: u64, count: u64, visit: impl FnMut(Element<'h>)) -> u64 {
        match &self.form {
            Form::Small(small) => {
                small.elements(0).for_each(visit);
                0
            }
            Form::Large(trie) => trie.scan(cursor, count, visit),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Element<'_>> {
        let (small, large) = match &self.form {
            Form::Small(small) => (Some(small.elements(0)), None),
            Form::Large(trie) => (None, Some(trie.iter())),
        };
        small.into_iter().flatten().chain(large.into_iter().flatten())
    }

    /// Bytes on the heap, estimated for the large form.
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Small(small) => small.pack.heap_bytes(),
            Form::Large(trie) => size_of::<Trie>() + trie.heap_bytes(),
        }
    }

    /// As [`Hash::heap_bytes`], of what no other handle shares.
    pub fn unshared_bytes(&self) -> usize {
        match &self.form {
            Form::Small(small) if small.pack.is_shared() => 0,
            Form::Small(small) => small.pack.heap_bytes(),
            Form::Large(trie) => trie.unshared_bytes(),
        }
    }

    /// How many allocations go when the value goes, estimated for the large form.
    pub fn drop_cost(&self) -> usize {
        match &self.form {
            Form::Small(small) => usize::from(!small.pack.is_empty()),
            Form::Large(trie) => 1 + trie.drop_cost(),
        }
    }

    /// The large form, whatever form it had.
    fn enlarge(&mut self) -> &mut Trie {
        if let Form::Small(small) = &self.form {
            let mut trie = Trie::new();
            for element in small.elements(0) {
                let deadline = element.deadline.map_or(Deadline::Never, Deadline::At);
                trie.insert(element.key, element.value, deadline);
            }
            self.form = Form::Large(Box::new(trie));
        }
        match &mut self.form {
            Form::Large(trie) => trie,
            Form::Small(_) => unreachable!("the form was made large"),
        }
    }
}

/// Reads a hash as it was when this was made, slice by slice, whatever happens to the original meanwhile.
#[derive(Clone, Debug)]
pub struct HashWalk {
    form: WalkForm,
}

#[derive(Clone, Debug)]
enum WalkForm {
    Small { small: Small, visited: usize },
    Large(Walk),
}

impl HashWalk {
    pub fn new(hash: &Hash) -> Self {
        let form = match &hash.form {
            Form::Small(small) => WalkForm::Small { small: small.clone(), visited: 0 },
            Form::Large(trie) => WalkForm::Large(Walk::new(Trie::clone(trie))),
        };
        Self { form }
    }

    /// Visits the next fields, a few dozens. Returns whether there were any left.
    pub fn visit_some(&mut self, visit: impl FnMut(Element<'_>)) -> bool {
        match &mut self.form {
            WalkForm::Small { small, visited } => {
                let remaining = small.len() - *visited;
                small.elements(*visited).take(SLICE_COUNT).for_each(visit);
                *visited += remaining.min(SLICE_COUNT);
                0 < remaining
            }
            WalkForm::Large(walk) => walk.visit_some(visit),
        }
    }

    /// Goes back to the first field.
    pub fn restart(&mut self) {
        match &mut self.form {
            WalkForm::Small { visited, .. } => *visited = 0,
            WalkForm::Large(walk) => walk.restart(),
        }
    }

    /// Bytes on the heap that no other handle shares: what the walk alone keeps, estimated for the large form.
    pub fn unshared_bytes(&self) -> usize {
        match &self.form {
            WalkForm::Small { small, .. } if small.pack.is_shared() => 0,
            WalkForm::Small { small, .. } => small.pack.heap_bytes(),
            WalkForm::Large(walk) => walk.unshared_bytes(),
        }
    }

    /// How many fields are still to come.
    pub fn remaining(&self) -> u64 {
        match &self.form {
            WalkForm::Small { small, visited } => (small.len() - visited) as u64,
            WalkForm::Large(walk) => walk.remaining(),
        }
    }
}

/// The small form.
#[derive(Clone, Debug, Default)]
struct Small {
    pack: Pack,
    shape: Shape,
}

/// What the items of the pack are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shape {
    /// Field, value, and so on.
    #[default]
    Pairs,
    /// The earliest deadline of all or an earlier time; then field, value, deadline, and so on. The
    /// deadline is empty where the field has none.
    Triples,
}

impl Small {
    fn len(&self) -> usize {
        (self.pack.len() - self.head()) / self.stride()
    }

    /// Items before the first field.
    fn head(&self) -> usize {
        match self.shape {
            Shape::Pairs => 0,
            Shape::Triples => 1,
        }
    }

    /// Items of a field.
    fn stride(&self) -> usize {
        match self.shape {
            Shape::Pairs => 2,
            Shape::Triples => 3,
        }
    }

    #[inline]
    fn elements(&self, from: usize) -> impl Iterator<Item = Element<'_>> {
        let mut items = self.pack.iter_from(self.head() + from * self.stride());
        let shape = self.shape;
        std::iter::from_fn(move || {
            let (key, value) = (items.next()?, items.next()?);
            let deadline = match shape {
                Shape::Pairs => None,
                Shape::Triples => items.next().and_then(decode),
            };
            Some(Element { key, value, shared_value: None, deadline })
        })
    }

    fn find(&self, field: &[u8]) -> Option<usize> {
        self.elements(0).position(|element| element.key == field)
    }

    fn set(&mut self, field: &[u8], value: &[u8], deadline: Deadline) -> bool {
        let found = self.find(field);
        if let Some(index) = found {
            self.pack.replace(self.head() + index * self.stride() + 1, value);
        } else {
            self.pack.push_back(field);
            self.pack.push_back(value);
            if self.shape == Shape::Triples {
                self.pack.push_back(&[]);
            }
        }
        let index = found.unwrap_or_else(|| self.len() - 1);
        match deadline {
            Deadline::Keep => {}
            Deadline::Never => self.set_deadline(index, None),
            Deadline::At(at) => self.set_deadline(index, Some(at)),
        }
        found.is_none()
    }

    fn set_deadline(&mut self, index: usize, deadline: Option<i64>) {
        if self.shape == Shape::Pairs {
            if deadline.is_none() {
                return;
            }
            self.add_deadlines();
        }
        let item = self.head() + index * self.stride() + 2;
        let Some(at) = deadline else {
            self.pack.replace(item, &[]);
            return;
        };
        self.pack.replace(item, &at.to_le_bytes());
        if self.next_deadline().is_none_or(|earliest| at < earliest) {
            self.pack.replace(0, &at.to_le_bytes());
        }
    }

    /// Changes pairs to triples.
    fn add_deadlines(&mut self) {
        let mut pack = Pack::new();
        let mut push = |item: &[u8]| {
            let pushed = pack.push_back_within(item, usize::MAX, Growth::Double);
            assert!(pushed, "an allocation without a limit has room");
        };
        push(&[]);
        for element in self.elements(0) {
            push(element.key);
            push(element.value);
            push(&[]);
        }
        pack.shrink_to_fit();
        *self = Self { pack, shape: Shape::Triples };
    }

    fn next_deadline(&self) -> Option<i64> {
        match self.shape {
            Shape::Pairs => None,
            Shape::Triples => self.pack.first().and_then(decode),
        }
    }

    fn remove(&mut self, index: usize) {
        let start = self.head() + index * self.stride();
        self.pack.remove_range(start..start + self.stride());
    }

    fn expire_due(&mut self, now: i64, limit: usize, mut expired: impl FnMut(Element<'_>)) -> u64 {
        if self.next_deadline().is_none_or(|earliest| now < earliest) {
            return 0;
        }
        let len_before = self.len();
        let mut index = 0;
        while len_before - self.len() < limit
            && let Some(due) = self.next_due(index, now)
        {
            index = due;
            self.elements(index).take(1).for_each(&mut expired);
            self.remove(index);
        }
        let earliest = self.elements(0).filter_map(|element| element.deadline).min();
        match earliest {
            Some(at) => self.pack.replace(0, &at.to_le_bytes()),
            None => self.pack.replace(0, &[]),
        }
        (len_before - self.len()) as u64
    }

    /// The first field from `index` on that is due at `now`.
    fn next_due(&self, index: usize, now: i64) -> Option<usize> {
        let mut rest = self.elements(index);
        let skipped = rest.position(|element| element.deadline.is_some_and(|at| at <= now));
        skipped.map(|skipped| index + skipped)
    }
}

/// A deadline as an item of the small form.
fn decode(item: &[u8]) -> Option<i64> {
    item.try_into().ok().map(i64::from_le_bytes)
}

#[cfg(test)]
mod tests;
