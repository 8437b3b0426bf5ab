//! A leaf of the tree: some dozens of elements in order, in one counted block that is never changed. Whoever changes
//! a leaf makes a new one of exactly the size that it needs.
//!
//! ```text
//! block: | score 0, score 1, .. | length 0, length 1, .. | member 0, member 1, .. |
//! ```
//!
//! Neighbours have similar scores, so only the bytes in which they differ are kept: `score_width` bytes each, none if
//! the scores are equal. Lengths take as many bytes as the longest needs, none if they are equal.

use std::ops::Range;

use triomphe::ThinArc;

use super::order::{Probe, prefix_of, rank_of};
use crate::pack::allocation_class;
use crate::relocation::Relocation;

/// The block of a leaf that has more than one element is not longer.
const BLOCK_BYTES_MAX: usize = 1024;
const ELEMENTS_MAX: usize = 128;

/// The reference count and the length of the block.
const COUNTS_BYTES: usize = 2 * size_of::<usize>();

#[derive(Clone)]
pub(super) struct Leaf {
    block: ThinArc<Header, u8>,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    /// The score of one element: what the bytes that are not kept are in all of them.
    base: u64,
    /// The length of every member if `len_width` is 0.
    member_len: u32,
    /// Invariant: `1 <= count <= ELEMENTS_MAX`
    count: u8,
    score_width: u8,
    /// Bytes of a score below the ones that are kept.
    score_low: u8,
    /// 0, 1, 2, 4 or 8.
    len_width: u8,
}

/// An element as the tree sees it: the score's code and the member.
pub(super) type Element<'a> = (u64, &'a [u8]);

/// What an insertion leaves: at least one leaf, in order.
pub(super) struct Pieces {
    pub(super) first: Leaf,
    pub(super) second: Option<Leaf>,
    pub(super) third: Option<Leaf>,
}

impl Pieces {
    fn one(first: Leaf) -> Self {
        Self { first, second: None, third: None }
    }
}

impl Leaf {
    /// A leaf of these elements, however long. There is at least one.
    pub(super) fn of(elements: &[Element<'_>]) -> Self {
        let header = Header::of(elements);
        let mut block = Vec::with_capacity(header.head_bytes() + members_bytes(elements));
        for &(code, _) in elements {
            header.push_score(&mut block, code);
        }
        for &(_, member) in elements {
            header.push_len(&mut block, member.len());
        }
        for &(_, member) in elements {
            block.extend_from_slice(member);
        }
        Self::new(header, &block)
    }

    /// As many leaves as these elements, which are in order, ask for, each filled.
    pub(super) fn fill<'a>(
        elements: impl Iterator<Item = Element<'a>>,
        mut give: impl FnMut(Self),
    ) {
        let mut batch: Vec<Element<'a>> = Vec::with_capacity(ELEMENTS_MAX);
        let mut bytes = 0;
        for element in elements {
            // Scores that need all their bytes and lengths that need one are the rule in what is not yet known.
            let more = element.1.len() + size_of::<u64>();
            let is_full = ELEMENTS_MAX <= batch.len() || BLOCK_BYTES_MAX < bytes + more;
            if is_full && !batch.is_empty() {
                give(Self::of(&batch));
                batch.clear();
                bytes = 0;
            }
            batch.push(element);
            bytes += more;
        }
        if !batch.is_empty() {
            give(Self::of(&batch));
        }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.header().count)
    }

    pub(super) fn code(&self, index: usize) -> u64 {
        self.header().score_at(self.bytes(), index)
    }

    pub(super) fn member(&self, index: usize) -> &[u8] {
        let range = self.member_range(index);
        &self.bytes()[range]
    }

    /// How many elements are before the place.
    pub(super) fn position(&self, probe: &Probe<'_>) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            let member = || self.member(middle);
            let rank = rank_of(self.code(middle));
            if probe.is_behind(rank, || prefix_of(member()), member) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The elements in `range`.
    pub(super) fn elements(&self, range: Range<usize>) -> Elements<'_> {
        let start = self.member_start(range.start);
        let end = self.member_start(range.end);
        Elements { leaf: self, range, start, end }
    }

    /// This leaf with an element more, at `index`. What does not fit into one leaf is halved; but where elements come
    /// in at the end of the last leaf, in ascending order that is, leaves stay full.
    pub(super) fn insert(&self, index: usize, code: u64, member: &[u8], is_last: bool) -> Pieces {
        let header = self.header();
        let is_alike = header.holds(code, member.len());
        let bytes = self.bytes().len() + header.width() + member.len();
        if is_alike && bytes <= BLOCK_BYTES_MAX && self.len() < ELEMENTS_MAX {
            return Pieces::one(self.with(index, code, member, bytes));
        }
        let alone = || Self::of(&[(code, member)]);
        let is_long = BLOCK_BYTES_MAX / 2 < member.len();
        if self.len() == 1 || is_long {
            // Long members are not copied just because others come and go.
            return self.insert_beside(index, alone());
        }
        let mut elements = Vec::with_capacity(self.len() + 1);
        elements.extend(self.elements(0..index));
        elements.push((code, member));
        elements.extend(self.elements(index..self.len()));
        let whole = Header::of(&elements);
        let bytes = whole.head_bytes() + members_bytes(&elements);
        if bytes <= BLOCK_BYTES_MAX && elements.len() <= ELEMENTS_MAX {
            return Pieces::one(Self::of(&elements));
        }
        let at_end = is_last && index == self.len();
        let middle = if at_end { index } else { middle_of(&elements) };
        let (front, back) = elements.split_at(middle);
        Pieces { first: Self::of(front), second: Some(Self::of(back)), third: None }
    }

    fn insert_beside(&self, index: usize, alone: Self) -> Pieces {
        let len = self.len();
        if index == 0 {
            let may_join = self.block_bytes() + alone.block_bytes() <= BLOCK_BYTES_MAX / 2;
            if may_join {
                return Pieces::one(alone.joined_with(self));
            }
            Pieces { first: alone, second: Some(self.clone()), third: None }
        } else if index == len {
            let may_join = self.block_bytes() + alone.block_bytes() <= BLOCK_BYTES_MAX / 2;
            if may_join {
                return Pieces::one(self.joined_with(&alone));
            }
            Pieces { first: self.clone(), second: Some(alone), third: None }
        } else {
            let (first, third) = (self.slice(0..index), Some(self.slice(index..len)));
            Pieces { first, second: Some(alone), third }
        }
    }

    /// This leaf without the elements in `range`; `None` if none stays.
    pub(super) fn without(&self, range: Range<usize>) -> Option<Self> {
        let header = self.header();
        let len = self.len();
        if range.len() == len {
            return None;
        }
        let (scores, lens) = (usize::from(header.score_width), usize::from(header.len_width));
        let bytes = self.bytes();
        let mut block = Vec::with_capacity(bytes.len());
        block.extend_from_slice(&bytes[..scores * range.start]);
        block.extend_from_slice(&bytes[scores * range.end..scores * len + lens * range.start]);
        let members = self.member_start(range.start)..self.member_start(range.end);
        block.extend_from_slice(&bytes[scores * len + lens * range.end..members.start]);
        block.extend_from_slice(&bytes[members.end..]);
        let count = header.count - range.len() as u8;
        Some(Self::new(Header { count, ..header }, &block))
    }

    /// The elements of both, this one's first.
    pub(super) fn joined_with(&self, next: &Self) -> Self {
        let elements: Vec<_> =
            self.elements(0..self.len()).chain(next.elements(0..next.len())).collect();
        Self::of(&elements)
    }

    /// Whether this and `next` fill not much more than half a leaf together.
    pub(super) fn may_join(&self, next: &Self) -> bool {
        self.block_bytes() + next.block_bytes() <= BLOCK_BYTES_MAX * 5 / 8
            && self.len() + next.len() <= ELEMENTS_MAX
    }

    pub(super) fn is_thin(&self) -> bool {
        self.block_bytes() <= BLOCK_BYTES_MAX / 4
    }

    pub(super) fn heap_bytes(&self) -> usize {
        allocation_class(COUNTS_BYTES + size_of::<Header>() + self.block_bytes())
    }

    /// Moves the block if it is to move and nobody else holds it.
    pub(super) fn relocate(&mut self, relocation: &mut Relocation<'_>) {
        if !self.is_shared() && relocation.wants(ThinArc::as_ptr(&self.block)) {
            *self = Self::new(self.header(), &self.block.slice);
        }
    }

    pub(super) fn is_shared(&self) -> bool {
        1 < ThinArc::strong_count(&self.block)
    }

    fn new(header: Header, block: &[u8]) -> Self {
        Self { block: ThinArc::from_header_and_slice(header, block) }
    }

    fn with(&self, index: usize, code: u64, member: &[u8], size: usize) -> Self {
        let header = self.header();
        let len = self.len();
        let (scores, lens) = (usize::from(header.score_width), usize::from(header.len_width));
        let bytes = self.bytes();
        let mut block = Vec::with_capacity(size);
        block.extend_from_slice(&bytes[..scores * index]);
        header.push_score(&mut block, code);
        block.extend_from_slice(&bytes[scores * index..scores * len + lens * index]);
        header.push_len(&mut block, member.len());
        let start = self.member_start(index);
        block.extend_from_slice(&bytes[scores * len + lens * index..start]);
        block.extend_from_slice(member);
        block.extend_from_slice(&bytes[start..]);
        Self::new(Header { count: header.count + 1, ..header }, &block)
    }

    fn slice(&self, range: Range<usize>) -> Self {
        Self::of(&self.elements(range).collect::<Vec<_>>())
    }

    fn header(&self) -> Header {
        self.block.header.header
    }

    fn bytes(&self) -> &[u8] {
        &self.block.slice
    }

    fn block_bytes(&self) -> usize {
        self.block.slice.len()
    }

    /// Where the member at `index` begins, or the end.
    fn member_start(&self, index: usize) -> usize {
        let header = self.header();
        let lens_start = usize::from(header.score_width) * self.len();
        let lens = &self.bytes()[lens_start..];
        let sum = match header.len_width {
            0 => header.member_len as usize * index,
            1 => lens[..index].iter().map(|&len| usize::from(len)).sum(),
            _ => (0..index).map(|it| header.len_at(lens, it)).sum(),
        };
        header.head_bytes() + sum
    }

    fn member_range(&self, index: usize) -> Range<usize> {
        let header = self.header();
        let start = self.member_start(index);
        let lens = &self.bytes()[usize::from(header.score_width) * self.len()..];
        start..start + header.len_at(lens, index)
    }
}

impl Header {
    fn of(elements: &[Element<'_>]) -> Self {
        let (base, first) = elements[0];
        let differing = elements.iter().fold(0, |all, (code, _)| all | (code ^ base));
        let score_low = (differing.trailing_zeros() / 8).min(7) as u8;
        let score_width = (8 - differing.leading_zeros() / 8) as u8;
        let score_width = score_width.saturating_sub(score_low);
        let len_max = elements.iter().map(|(_, member)| member.len()).max().unwrap_or(0);
        let is_uniform = elements.iter().all(|(_, member)| member.len() == first.len());
        let len_width = match len_max {
            _ if is_uniform && u32::try_from(len_max).is_ok() => 0,
            0..=0xFF => 1,
            0x100..=0xFFFF => 2,
            0x1_0000..=0xFFFF_FFFF => 4,
            _ => 8,
        };
        let member_len = if len_width == 0 { first.len() as u32 } else { 0 };
        let count = u8::try_from(elements.len()).expect("the caller counts");
        Self { base, member_len, count, score_width, score_low, len_width }
    }

    /// Bytes of an element beyond its member.
    fn width(self) -> usize {
        usize::from(self.score_width) + usize::from(self.len_width)
    }

    /// Bytes before the first member.
    fn head_bytes(self) -> usize {
        self.width() * usize::from(self.count)
    }

    /// Whether such an element can stand beside the others as they are written.
    fn holds(self, code: u64, member_len: usize) -> bool {
        let kept = mask(self.score_width) << (8 * self.score_low);
        let len_is_fit = match self.len_width {
            0 => member_len == self.member_len as usize,
            width => member_len as u64 <= mask(width),
        };
        (code ^ self.base) & !kept == 0 && len_is_fit
    }

    fn push_score(self, block: &mut Vec<u8>, code: u64) {
        let kept = (code >> (8 * self.score_low)).to_be_bytes();
        block.extend_from_slice(&kept[8 - usize::from(self.score_width)..]);
    }

    fn score_at(self, block: &[u8], index: usize) -> u64 {
        let width = usize::from(self.score_width);
        let bytes = &block[width * index..][..width];
        let kept = bytes.iter().fold(0, |code, &byte| code << 8 | u64::from(byte));
        let low = 8 * self.score_low;
        self.base & !(mask(self.score_width) << low) | kept << low
    }

    fn push_len(self, block: &mut Vec<u8>, len: usize) {
        block.extend_from_slice(&(len as u64).to_le_bytes()[..usize::from(self.len_width)]);
    }

    fn len_at(self, lens: &[u8], index: usize) -> usize {
        if self.len_width == 0 {
            return self.member_len as usize;
        }
        let width = usize::from(self.len_width);
        let mut len = [0; 8];
        len[..width].copy_from_slice(&lens[width * index..][..width]);
        u64::from_le_bytes(len) as usize
    }
}

/// As many bytes of ones.
fn mask(width: u8) -> u64 {
    u64::MAX.checked_shr(64 - 8 * u32::from(width)).unwrap_or(0)
}

fn members_bytes(elements: &[Element<'_>]) -> usize {
    elements.iter().map(|(_, member)| member.len()).sum()
}

/// Where both halves have about the same number of bytes. Each has one element at least.
fn middle_of(elements: &[Element<'_>]) -> usize {
    let cost = |member: &[u8]| member.len() + size_of::<u64>();
    let total: usize = elements.iter().map(|(_, member)| cost(member)).sum();
    let mut before = 0;
    let found = elements.iter().position(|(_, member)| {
        before += cost(member);
        total <= 2 * before
    });
    found.unwrap_or(0).clamp(1, elements.len() - 1)
}

/// Elements of one leaf, from either end.
#[derive(Clone)]
pub(super) struct Elements<'a> {
    leaf: &'a Leaf,
    range: Range<usize>,
    /// Where the first member begins.
    start: usize,
    /// Where the last member ends.
    end: usize,
}

impl Elements<'_> {
    fn len_at(&self, index: usize) -> usize {
        let header = self.leaf.header();
        let lens_start = usize::from(header.score_width) * self.leaf.len();
        header.len_at(&self.leaf.bytes()[lens_start..], index)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let index = self.range.next()?;
        let start = self.start;
        self.start += self.len_at(index);
        Some((self.leaf.code(index), &self.leaf.bytes()[start..self.start]))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl DoubleEndedIterator for Elements<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let index = self.range.next_back()?;
        let end = self.end;
        self.end -= self.len_at(index);
        Some((self.leaf.code(index), &self.leaf.bytes()[self.end..end]))
    }
}
