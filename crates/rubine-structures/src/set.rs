//! The value of a Redis set. Small ones are a sorted array of integers or one packed block, large ones a
//! trie. Never takes or gives integers in another text than their shortest.

mod integers;

use rubine_base::number::{parse_i64, write_i64};

use crate::pack::Pack;
use crate::relocation::Relocation;
use crate::trie::{Deadline, Trie, Walk};
use integers::Integers;

/// Larger blocks would make every change slow, whatever the limits allow.
const SMALL_BYTES_MAX: usize = 1 << 20;
const INTEGERS_MAX: usize = 1 << 16;

/// A slice of a walk through a small form visits this many members.
const SLICE_COUNT: usize = 64;

#[derive(Clone, Debug, Default)]
pub struct Set {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Integers(Integers),
    Packed(Pack),
    Large(Box<Trie>),
}

/// The handle lies in a record, and most sets are small.
const _: () = assert!(size_of::<Set>() == 2 * size_of::<usize>());

/// How large the small forms may become: `set-max-intset-entries`, `set-max-listpack-entries` and
/// `set-max-listpack-value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetLimits {
    pub intset_entries: usize,
    pub listpack_entries: usize,
    /// Bytes of a member of a listpack.
    pub value_bytes: usize,
}

/// What `OBJECT ENCODING` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetEncoding {
    Hashtable,
    Intset,
    Listpack,
}

impl SetEncoding {
    pub fn name(self) -> &'static str {
        match self {
            Self::Hashtable => "hashtable",
            Self::Intset => "intset",
            Self::Listpack => "listpack",
        }
    }
}

/// A member, in the form that it is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member<'a> {
    Text(&'a [u8]),
    Integer(i64),
}

impl<'a> Member<'a> {
    /// The text of the member, written to `buffer` if it is not kept as text.
    pub fn text_in<'b>(self, buffer: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        if let Self::Text(text) = self {
            return text;
        }
        buffer.clear();
        self.write(buffer);
        buffer
    }

    /// Appends the text of the member.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => out.extend_from_slice(text),
            Self::Integer(integer) => write_i64(out, integer),
        }
    }

    pub fn to_vec(self) -> Vec<u8> {
        let mut text = Vec::new();
        self.write(&mut text);
        text
    }
}

impl Default for Form {
    fn default() -> Self {
        Self::Integers(Integers::default())
    }
}

impl Set {
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the other is the same value still, seen through another handle: what a writer changes, it copies first.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.form, &other.form) {
            (Form::Integers(ours), Form::Integers(theirs)) => ours.is_same(theirs),
            (Form::Packed(ours), Form::Packed(theirs)) => ours.is_same(theirs),
            (Form::Large(ours), Form::Large(theirs)) => ours.is_same(theirs),
            _ => false,
        }
    }

    /// An empty set in the form that suits about `count` members like `first`.
    pub fn for_members(first: &[u8], count: usize, limits: SetLimits) -> Self {
        let form = if parse_i64(first).is_some() && count <= limits.intset_entries {
            Form::Integers(Integers::default())
        } else if count <= limits.listpack_entries {
            Form::Packed(Pack::new())
        } else {
            Form::Large(Box::default())
        };
        Self { form }
    }

    /// Takes the large form at once if a total of `count` members, which is about to be reached, asks for it.
    pub fn expect(&mut self, count: usize, limits: SetLimits) {
        let too_many = match &self.form {
            Form::Integers(_) => limits.intset_entries < count,
            Form::Packed(_) => limits.listpack_entries < count,
            Form::Large(_) => false,
        };
        if too_many {
            self.enlarge();
        }
    }

    pub fn len(&self) -> u64 {
        match &self.form {
            Form::Integers(integers) => integers.len() as u64,
            Form::Packed(pack) => pack.len() as u64,
            Form::Large(trie) => trie.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks the processor to fetch what looking up `members` will read, where that is worth the while.
    pub fn prefetch(&self, members: &[&[u8]]) {
        if let Form::Large(trie) = &self.form {
            trie.prefetch(members);
        }
    }

    /// Asks the processor to fetch the members of a small set, or the first of them.
    #[inline]
    pub fn prefetch_small(&self) {
        match &self.form {
            Form::Integers(integers) => integers.prefetch(),
            Form::Packed(pack) => pack.prefetch(),
            Form::Large(_) => {}
        }
    }

    pub fn encoding(&self) -> SetEncoding {
        match &self.form {
            Form::Integers(_) => SetEncoding::Intset,
            Form::Packed(_) => SetEncoding::Listpack,
            Form::Large(_) => SetEncoding::Hashtable,
        }
    }

    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.form {
            Form::Integers(integers) => parse_i64(member).is_some_and(|i| integers.contains(i)),
            Form::Packed(pack) => pack.find(member, 0, 1).is_some(),
            Form::Large(trie) => trie.contains(member),
        }
    }

    /// As [`Set::contains`], of a member of another set.
    pub fn has(&self, member: Member<'_>) -> bool {
        match (&self.form, member) {
            (Form::Integers(integers), Member::Integer(integer)) => integers.contains(integer),
            (_, Member::Text(text)) => self.contains(text),
            (_, Member::Integer(integer)) => {
                self.contains(itoa::Buffer::new().format(integer).as_bytes())
            }
        }
    }

    /// Adds a member. Returns whether it is new.
    pub fn add(&mut self, member: &[u8], limits: SetLimits) -> bool {
        if let Form::Integers(integers) = &mut self.form {
            if let Some(integer) = parse_i64(member) {
                let added = integers.insert(integer);
                if limits.intset_entries.min(INTEGERS_MAX) < integers.len() {
                    self.enlarge();
                }
                return added;
            }
            if !self.integers_become_texts(member, limits) {
                return self.enlarge().insert(member, &[], Deadline::Never);
            }
        }
        if let Form::Packed(pack) = &mut self.form {
            if pack.find(member, 0, 1).is_some() {
                return false;
            }
            let may_stay = pack.len() < limits.listpack_entries
                && member.len() <= limits.value_bytes
                && pack.data_bytes() + member.len() <= SMALL_BYTES_MAX;
            if may_stay {
                pack.push_back(member);
                return true;
            }
        }
        self.enlarge().insert(member, &[], Deadline::Never)
    }

    /// Removes a member. Returns whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.form {
            Form::Integers(integers) => parse_i64(member).is_some_and(|i| integers.remove(i)),
            Form::Packed(pack) => {
                let index = pack.find(member, 0, 1);
                if let Some(index) = index {
                    pack.remove(index);
                }
                index.is_some()
            }
            Form::Large(trie) => trie.remove(member),
        }
    }

    /// The member with this rank in the order of iteration: with a random rank, a random member.
    pub fn nth(&self, rank: u64) -> Option<Member<'_>> {
        let index = usize::try_from(rank).ok()?;
        match &self.form {
            Form::Integers(integers) => integers.get(index).map(Member::Integer),
            Form::Packed(pack) => pack.get(index).map(Member::Text),
            Form::Large(trie) => trie.nth(rank).map(|element| Member::Text(element.key)),
        }
    }

    /// Visits members from `cursor` on, at least `count` if there are so many, and all of a small set. Returns
    /// the cursor to go on with, 0 at the end. A member that stays from the first call (with 0) to the last
    /// is visited.
    pub fn scan(&self, cursor: u64, count: u64, mut visit: impl FnMut(Member<'_>)) -> u64 {
        if let Form::Large(trie) = &self.form {
            return trie.scan(cursor, count, |element| visit(Member::Text(element.key)));
        }
        self.iter().for_each(visit);
        0
    }

    /// Moves a part of what the set owns, from `position` on. Returns the position to go on from, 0 at the end.
    pub fn relocate(&mut self, position: u64, relocation: &mut Relocation<'_>) -> u64 {
        match &mut self.form {
            Form::Integers(integers) => integers.relocate(relocation),
            Form::Packed(pack) => pack.relocate(relocation),
            Form::Large(trie) => return trie.relocate(position, relocation),
        }
        0
    }

    /// Integers come in ascending order, members of a listpack in the order of insertion.
    pub fn iter(&self) -> impl Iterator<Item = Member<'_>> {
        let (mut integers, mut pack, mut trie) = (None, None, None);
        match &self.form {
            Form::Integers(form) => integers = Some(form.iter(0).map(Member::Integer)),
            Form::Packed(form) => pack = Some(form.iter().map(Member::Text)),
            Form::Large(form) => trie = Some(form.iter().map(|e| Member::Text(e.key))),
        }
        let small = integers.into_iter().flatten().chain(pack.into_iter().flatten());
        small.chain(trie.into_iter().flatten())
    }

    /// Bytes on the heap, estimated for the large form.
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Integers(integers) => integers.heap_bytes(),
            Form::Packed(pack) => pack.heap_bytes(),
            Form::Large(trie) => size_of::<Trie>() + trie.heap_bytes(),
        }
    }

    /// How many allocations go when the value goes, estimated for the large form.
    pub fn drop_cost(&self) -> usize {
        match &self.form {
            Form::Integers(_) | Form::Packed(_) => usize::from(!self.is_empty()),
            Form::Large(trie) => 1 + trie.drop_cost(),
        }
    }

    /// As [`Set::heap_bytes`], of what no other handle shares.
    pub fn unshared_bytes(&self) -> usize {
        match &self.form {
            // Small enough not to be worth a look at who else holds it.
            Form::Integers(_) | Form::Packed(_) => self.heap_bytes(),
            Form::Large(trie) => trie.unshared_bytes(),
        }
    }

    /// Makes integers texts where these and `member` may be a listpack. Returns whether they may.
    fn integers_become_texts(&mut self, member: &[u8], limits: SetLimits) -> bool {
        let count = self.len() as usize;
        let text_bytes = |rank| self.nth(rank).map_or(0, |integer| integer.to_vec().len());
        // The longest text belongs to the smallest or the largest integer.
        let longest = text_bytes(0).max(text_bytes(self.len().saturating_sub(1)));
        let may = count < limits.listpack_entries
            && member.len().max(longest) <= limits.value_bytes
            && longest * count <= SMALL_BYTES_MAX;
        if may {
            let mut pack = Pack::new();
            self.iter().for_each(|integer| pack.push_back(&integer.to_vec()));
            self.form = Form::Packed(pack);
        }
        may
    }

    /// The large form, whatever form it had.
    fn enlarge(&mut self) -> &mut Trie {
        if !matches!(self.form, Form::Large(_)) {
            let mut trie = Trie::new();
            let mut text = Vec::new();
            for member in self.iter() {
                text.clear();
                member.write(&mut text);
                trie.insert(&text, &[], Deadline::Never);
            }
            self.form = Form::Large(Box::new(trie));
        }
        match &mut self.form {
            Form::Large(trie) => trie,
            _ => unreachable!("the form was made large"),
        }
    }
}

/// Reads a set as it was when this was made, slice by slice, whatever happens to the original meanwhile.
#[derive(Clone, Debug)]
pub struct SetWalk {
    form: WalkForm,
}

#[derive(Clone, Debug)]
enum WalkForm {
    Integers { integers: Integers, visited: usize },
    Packed { pack: Pack, visited: usize },
    Large(Walk),
}

impl SetWalk {
    pub fn new(set: &Set) -> Self {
        let form = match &set.form {
            Form::Integers(integers) => {
                WalkForm::Integers { integers: integers.clone(), visited: 0 }
            }
            Form::Packed(pack) => WalkForm::Packed { pack: pack.clone(), visited: 0 },
            Form::Large(trie) => WalkForm::Large(Walk::new(Trie::clone(trie))),
        };
        Self { form }
    }

    /// Visits the next members, a few dozens. Returns whether there were any left.
    pub fn visit_some(&mut self, mut visit: impl FnMut(Member<'_>)) -> bool {
        let remaining = self.remaining();
        match &mut self.form {
            WalkForm::Integers { integers, visited } => {
                integers.iter(*visited).take(SLICE_COUNT).map(Member::Integer).for_each(visit);
                *visited += SLICE_COUNT.min(remaining as usize);
            }
            WalkForm::Packed { pack, visited } => {
                pack.iter_from(*visited).take(SLICE_COUNT).map(Member::Text).for_each(visit);
                *visited += SLICE_COUNT.min(remaining as usize);
            }
            WalkForm::Large(walk) => {
                walk.visit_some(|element| visit(Member::Text(element.key)));
            }
        }
        0 < remaining
    }

    /// As [`Set::unshared_bytes`], of the handle that is read.
    pub fn unshared_bytes(&self) -> usize {
        match &self.form {
            WalkForm::Integers { integers, .. } => integers.heap_bytes(),
            WalkForm::Packed { pack, .. } => pack.heap_bytes(),
            WalkForm::Large(walk) => walk.unshared_bytes(),
        }
    }

    /// How many members are still to come.
    pub fn remaining(&self) -> u64 {
        match &self.form {
            WalkForm::Integers { integers, visited } => (integers.len() - visited) as u64,
            WalkForm::Packed { pack, visited } => (pack.len() - visited) as u64,
            WalkForm::Large(walk) => walk.remaining(),
        }
    }
}

#[cfg(test)]
mod tests;
