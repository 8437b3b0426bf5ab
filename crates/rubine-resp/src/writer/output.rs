//! The queue of one client's output. Knows nothing of what the bytes mean.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use rubine_base::SharedBytes;

use super::{Protocol, ReplyStream};

/// A byte block grows to this before the next one is begun: large enough that headers and system calls do not
/// count, small enough that an idle client may keep one.
pub(super) const BLOCK_BYTES: usize = 16 * 1024;
/// A byte block begins with this.
const BLOCK_BYTES_FIRST: usize = 512;
/// Room for this many blocks is kept when all are sent.
const BLOCKS_KEPT: usize = 64;
/// A block of no more than this is worth no write of its own: the end of one reply, and the header of the next.
const LINE_BYTES: usize = 64;
/// What a client has yet to receive.
#[derive(Default)]
pub struct Output {
    /// Everything in front of `tail`. Invariant: no byte block among them is empty.
    pub(super) blocks: VecDeque<Block>,
    /// The byte block that is being written.
    tail: Vec<u8>,
    /// An empty byte block to go on with.
    spare: Vec<u8>,
    /// How much of the front block is sent; of `tail`, if there is no other.
    pub(super) front_sent: usize,
    /// Bytes of the byte blocks in `blocks`, with what of the front one is sent.
    block_bytes: usize,
    pub(super) stream_count: usize,
}

pub(super) enum Block {
    Bytes(Vec<u8>),
    Shared { value: SharedBytes, range: Range<usize> },
    Stream { stream: Box<dyn ReplyStream>, protocol: Protocol },
}

impl Block {
    /// Bytes that can be sent; `None` if they have yet to be produced.
    pub(super) fn sendable(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Shared { value, range } => Some(&value[range.clone()]),
            Self::Stream { .. } => None,
        }
    }
}

/// A position in the output, to go back to if a reply turns out to be an error. Valid until bytes are sent or a
/// stream runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    block_index: usize,
    offset: usize,
}

impl Mark {
    /// The position `bytes` behind this one, in the same block.
    pub(super) fn after(self, bytes: usize) -> Self {
        Self { offset: self.offset + bytes, ..self }
    }
}

impl Output {
    /// An empty queue that has allocated nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether everything was sent and no stream is left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.blocks.is_empty()
    }

    /// Whether a stream has yet to produce something.
    pub fn has_stream(&self) -> bool {
        0 < self.stream_count
    }

    /// Bytes that are copied into this queue and wait to be sent.
    pub fn buffered_bytes(&self) -> usize {
        let sent = match self.blocks.front() {
            None | Some(Block::Bytes(_)) => self.front_sent,
            Some(Block::Shared { .. } | Block::Stream { .. }) => 0,
        };
        self.block_bytes + self.tail.len() - sent
    }

    /// Memory that exists for this queue's sake, though it is no part of it: values by reference that the
    /// keyspace has let go of, and what streams hold.
    pub fn pinned_bytes(&self) -> usize {
        let of_block = |block: &Block| match block {
            Block::Shared { value, .. } if Arc::strong_count(value) == 1 => value.len(),
            Block::Bytes(_) | Block::Shared { .. } => 0,
            Block::Stream { stream, .. } => stream.pinned_bytes(),
        };
        self.blocks.iter().map(of_block).sum()
    }

    /// Memory of the byte blocks, used or not: what this queue itself costs.
    pub fn allocated_bytes(&self) -> usize {
        let of_block = |block: &Block| match block {
            Block::Bytes(bytes) => bytes.capacity(),
            Block::Shared { .. } | Block::Stream { .. } => 0,
        };
        let queued: usize = self.blocks.iter().map(of_block).sum();
        queued + self.tail.capacity() + self.spare.capacity()
    }

    /// Fills `slices` with what can be sent now, up to about `bytes_max`, for one vectored write; returns how many
    /// were filled. What ends a long value goes with it. None, though the queue is not empty, means that a stream has to be pumped.
    pub fn front_slices<'a>(&'a self, slices: &mut [IoSlice<'a>], bytes_max: usize) -> usize {
        let tail = (!self.tail.is_empty() && self.stream_count == 0).then_some(&self.tail[..]);
        let sendable = self.blocks.iter().map_while(Block::sendable).chain(tail);
        let (mut slice_count, mut bytes, mut skip) = (0, 0, self.front_sent);
        for (slice, block) in slices.iter_mut().zip(sendable) {
            if bytes_max <= bytes && LINE_BYTES < block.len() {
                break;
            }
            let unsent = &block[std::mem::take(&mut skip)..];
            *slice = IoSlice::new(unsent);
            slice_count += 1;
            bytes += unsent.len();
        }
        slice_count
    }

    /// Removes `bytes` from the front: they were sent.
    pub fn advance(&mut self, bytes: usize) {
        let mut left = self.front_sent + bytes;
        while let Some(block) = self.blocks.front() {
            let len = block.sendable().map_or(usize::MAX, <[u8]>::len);
            if left < len {
                assert!(left == 0 || len < usize::MAX, "more was sent than there was");
                self.front_sent = left;
                return;
            }
            left -= len;
            self.pop_front_sent();
        }
        assert!(left <= self.tail.len(), "more was sent than there was");
        self.front_sent = left;
        if left == self.tail.len() {
            self.rest();
        }
    }

    /// The current end.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark { block_index: self.blocks.len(), offset: self.tail.len() }
    }

    /// The byte behind `mark`, if there is one and it is at hand.
    pub(super) fn byte_at(&self, mark: Mark) -> Option<u8> {
        let bytes = match self.blocks.get(mark.block_index) {
            None if mark.block_index == self.blocks.len() => &self.tail,
            Some(Block::Bytes(bytes)) => bytes,
            _ => return None,
        };
        bytes.get(mark.offset).copied()
    }

    /// Bytes behind `mark`; as many as can be where a stream has yet to produce some of them.
    #[inline]
    pub fn bytes_since(&self, mark: Mark) -> usize {
        if mark.block_index == self.blocks.len() {
            self.tail.len() - mark.offset
        } else {
            self.bytes_in_blocks_since(mark).unwrap_or(usize::MAX)
        }
    }

    #[cold]
    fn bytes_in_blocks_since(&self, mark: Mark) -> Option<usize> {
        let blocks = self.blocks.iter().skip(mark.block_index);
        let lens = blocks.map(|it| Some(it.sendable()?.len()));
        let bytes: usize = lens.sum::<Option<usize>>()?;
        Some(bytes + self.tail.len() - mark.offset)
    }

    /// Puts what `wrap` makes of each stream behind `mark` in its place. Returns the bytes that are there already.
    pub(super) fn wrap_streams_since(
        &mut self,
        mark: Mark,
        wrap: &mut dyn FnMut(Box<dyn ReplyStream>) -> Box<dyn ReplyStream>,
    ) -> usize {
        let mut bytes = self.tail.len();
        for block in self.blocks.iter_mut().skip(mark.block_index) {
            match std::mem::replace(block, Block::Bytes(Vec::new())) {
                Block::Stream { stream, protocol } => {
                    *block = Block::Stream { stream: wrap(stream), protocol };
                }
                other => {
                    bytes += other.sendable().map_or(0, <[u8]>::len);
                    *block = other;
                }
            }
        }
        bytes - mark.offset
    }

    /// Drops everything behind `mark`.
    pub fn truncate_to(&mut self, mark: Mark) {
        // The block that was the tail at the mark, unless it was empty and so never became a block.
        let keeps_tail = 0 < mark.offset;
        while mark.block_index + usize::from(keeps_tail) < self.blocks.len() {
            self.pop_back();
        }
        if keeps_tail && mark.block_index < self.blocks.len() {
            let Some(Block::Bytes(bytes)) = self.pop_back() else {
                unreachable!("what was the tail is a byte block");
            };
            self.recycle(bytes);
        }
        self.tail.truncate(mark.offset);
    }

    /// Gives back all memory that an idle client does not need.
    pub fn shrink(&mut self) {
        self.spare = Vec::new();
        if self.tail.is_empty() {
            self.tail = Vec::new();
        }
        self.blocks.shrink_to_fit();
    }

    /// Appends all that `other` holds.
    pub fn append(&mut self, mut other: Self) {
        other.seal();
        self.seal();
        self.block_bytes += other.block_bytes;
        self.stream_count += other.stream_count;
        self.blocks.append(&mut other.blocks);
    }

    /// Puts all that `other` holds in at `mark`.
    pub(super) fn insert(&mut self, mark: Mark, mut other: Self) {
        other.seal();
        self.seal();
        let mut index = mark.block_index;
        if 0 < mark.offset {
            let Some(Block::Bytes(bytes)) = self.blocks.get_mut(index) else {
                unreachable!("what was the tail is a byte block");
            };
            let behind = bytes.split_off(mark.offset);
            index += 1;
            if !behind.is_empty() {
                self.blocks.insert(index, Block::Bytes(behind));
            }
        }
        self.block_bytes += other.block_bytes;
        self.stream_count += other.stream_count;
        for block in other.blocks.into_iter().rev() {
            self.blocks.insert(index, block);
        }
    }

    /// The tail, with room for `len` more bytes.
    #[inline]
    pub(super) fn room_for(&mut self, len: usize) -> &mut Vec<u8> {
        if self.tail.capacity() - self.tail.len() < len {
            self.make_room(len);
        }
        &mut self.tail
    }

    /// Appends `value[range]` without copying it.
    pub(super) fn push_shared(&mut self, value: SharedBytes, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= value.len());
        self.seal();
        self.blocks.push_back(Block::Shared { value, range });
    }

    pub(super) fn push_stream(&mut self, stream: Box<dyn ReplyStream>, protocol: Protocol) {
        self.seal();
        self.blocks.push_back(Block::Stream { stream, protocol });
        self.stream_count += 1;
    }

    /// The byte block that was the tail at `mark`, and where the mark is in it.
    pub(super) fn block_at(&mut self, mark: Mark) -> (&mut Vec<u8>, usize) {
        let bytes = match self.blocks.get_mut(mark.block_index) {
            None => &mut self.tail,
            Some(Block::Bytes(bytes)) => bytes,
            Some(Block::Shared { .. } | Block::Stream { .. }) => {
                unreachable!("something was written at the mark")
            }
        };
        (bytes, mark.offset)
    }

    /// Inserts `header` at `mark`.
    pub(super) fn insert_at(&mut self, mark: Mark, header: &[u8]) {
        let is_sealed = mark.block_index < self.blocks.len();
        let (bytes, offset) = self.block_at(mark);
        bytes.splice(offset..offset, header.iter().copied());
        if is_sealed {
            self.block_bytes += header.len();
        }
    }

    #[cold]
    fn make_room(&mut self, len: usize) {
        let needed = self.tail.len() + len;
        if needed <= BLOCK_BYTES {
            let capacity = (self.tail.capacity() * 2).clamp(BLOCK_BYTES_FIRST, BLOCK_BYTES);
            self.tail.reserve_exact(capacity.max(needed) - self.tail.len());
            return;
        }
        // Behind one long value comes another more often than much that is short.
        let least = if BLOCK_BYTES < self.tail.len() { BLOCK_BYTES_FIRST } else { BLOCK_BYTES };
        self.seal();
        if self.tail.capacity() < len {
            self.tail.reserve_exact(len.max(least));
        }
    }

    /// Makes the tail a block, if there is anything in it.
    pub(super) fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.block_bytes += self.tail.len();
            let tail = std::mem::replace(&mut self.tail, std::mem::take(&mut self.spare));
            self.blocks.push_back(Block::Bytes(tail));
        }
    }

    /// Everything is sent: keeps what the next replies need, gives back what a large one took.
    #[inline]
    fn rest(&mut self) {
        self.front_sent = 0;
        self.tail.clear();
        if BLOCK_BYTES < self.tail.capacity() {
            self.tail = std::mem::take(&mut self.spare);
        }
        if BLOCKS_KEPT < self.blocks.capacity() {
            self.blocks = VecDeque::new();
        }
    }

    fn pop_front_sent(&mut self) {
        if let Some(Block::Bytes(mut bytes)) = self.blocks.pop_front() {
            self.block_bytes -= bytes.len();
            if bytes.capacity() <= BLOCK_BYTES && self.spare.capacity() < bytes.capacity() {
                bytes.clear();
                self.spare = bytes;
            }
        }
        self.front_sent = 0;
    }

    pub(super) fn pop_back(&mut self) -> Option<Block> {
        let block = self.blocks.pop_back();
        match &block {
            Some(Block::Bytes(bytes)) => self.block_bytes -= bytes.len(),
            Some(Block::Stream { .. }) => self.stream_count -= 1,
            Some(Block::Shared { .. }) | None => {}
        }
        block
    }

    /// Makes `bytes` the tail and keeps the old one to go on with.
    pub(super) fn recycle(&mut self, bytes: Vec<u8>) {
        let mut old = std::mem::replace(&mut self.tail, bytes);
        if old.capacity() <= BLOCK_BYTES && self.spare.capacity() < old.capacity() {
            old.clear();
            self.spare = old;
        }
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Output")
            .field("blocks", &self.blocks.len())
            .field("streams", &self.stream_count)
            .field("buffered_bytes", &self.buffered_bytes())
            .finish_non_exhaustive()
    }
}
