//! The compact record of one key: one allocation with header, optional deadline, value and key. Knows no table,
//! no lock and no clock.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | 24 access bits for LRU or LFU, which alone change while others read; in the top 8, the length of the key |
//! | 4 | 1 | kind of value, see [`Kind`] |
//! | 5 | 1 | flags |
//! | 6 | 2 | length of an inline string |
//! | 8 | 0 or 8 | deadline, Unix milliseconds, when `HAS_DEADLINE` |
//! | + | by kind | value slot: the integer, or the handle of a collection or shared string |
//! | + | 0 or 4 | length of the key, when `LONG_KEY` |
//! | + | | the key |
//! | + | | the bytes of an inline string |
//!
//! The allocation is rounded up to the allocator's size class, so a value may change in place within it.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::borrow::Cow;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rubine_base::SharedBytes;

use crate::hash::Hash;
use crate::list::List;
use crate::pack::allocation_class;
use crate::relocation::Relocation;
use crate::set::Set;
use crate::sorted_set::SortedSet;
use crate::stream::Stream;
use crate::table::prefetch::prefetch_lines;
use crate::value::{INLINE_LEN_MAX, Value, ValueRef};

/// How many of the access bits are kept.
pub const ACCESS_BITS: u32 = 24;

const ACCESS_MASK: u32 = (1 << ACCESS_BITS) - 1;

const KIND_OFFSET: usize = 4;
const FLAGS_OFFSET: usize = 5;
const INLINE_LEN_OFFSET: usize = 6;
const HEADER_SIZE: usize = 8;
const DEADLINE_SIZE: usize = size_of::<i64>();
const ALIGN: usize = 8;

/// Header and key are on the first line, a value of some length on the next.
const LINES_FETCHED: usize = 2;

const HAS_DEADLINE: u8 = 1 << 0;
const LONG_KEY: u8 = 1 << 1;
/// An inline string that was edited in place.
const EDITED: u8 = 1 << 2;

/// What the value slot holds. A further kind, for values whose content is on disk, has its place here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Int,
    Inline,
    Shared,
    List,
    Set,
    Hash,
    SortedSet,
    Stream,
}

impl Kind {
    const fn slot_size(self) -> usize {
        match self {
            Self::Int => size_of::<i64>(),
            Self::Inline => 0,
            Self::Shared => size_of::<SharedBytes>(),
            Self::List => size_of::<List>(),
            Self::Set => size_of::<Set>(),
            Self::Hash => size_of::<Hash>(),
            Self::SortedSet => size_of::<SortedSet>(),
            Self::Stream => size_of::<Stream>(),
        }
    }
}

/// Whether a value of this type can lie in a slot.
const fn fits_slot<T>() -> bool {
    align_of::<T>() <= ALIGN && size_of::<T>().is_multiple_of(ALIGN)
}

const _: () = assert!(fits_slot::<List>() && fits_slot::<Set>());
const _: () = assert!(fits_slot::<Hash>() && fits_slot::<SortedSet>() && fits_slot::<Stream>());

/// Where the parts of one record lie.
#[derive(Clone, Copy)]
struct Shape {
    kind: Kind,
    flags: u8,
    key_len: usize,
    inline_len: usize,
}

impl Shape {
    fn of(key: &[u8], value: &Value<'_>, deadline: Option<i64>) -> Self {
        let (kind, edited, inline_len) = match value {
            Value::Int(_) => (Kind::Int, false, 0),
            Value::Bytes(bytes) => (Kind::Inline, false, bytes.len()),
            Value::Raw(bytes) => (Kind::Inline, true, bytes.len()),
            Value::Shared(_) => (Kind::Shared, false, 0),
            Value::List(_) => (Kind::List, false, 0),
            Value::Set(_) => (Kind::Set, false, 0),
            Value::Hash(_) => (Kind::Hash, false, 0),
            Value::SortedSet(_) => (Kind::SortedSet, false, 0),
            Value::Stream(_) => (Kind::Stream, false, 0),
        };
        let mut flags = 0;
        if deadline.is_some() {
            flags |= HAS_DEADLINE;
        }
        if key.len() > usize::from(u8::MAX) {
            flags |= LONG_KEY;
        }
        if edited {
            flags |= EDITED;
        }
        Self { kind, flags, key_len: key.len(), inline_len }
    }

    fn slot_offset(self) -> usize {
        HEADER_SIZE + if self.flags & HAS_DEADLINE != 0 { DEADLINE_SIZE } else { 0 }
    }

    fn key_len_offset(self) -> usize {
        self.slot_offset() + self.kind.slot_size()
    }

    fn key_offset(self) -> usize {
        self.key_len_offset() + if self.flags & LONG_KEY != 0 { size_of::<u32>() } else { 0 }
    }

    fn inline_offset(self) -> usize {
        self.key_offset() + self.key_len
    }

    fn layout(self) -> Layout {
        let size = allocation_class(self.inline_offset() + self.inline_len);
        Layout::from_size_align(size, ALIGN).expect("a key is at most 4 GiB long")
    }
}

/// What a slot can hold goes from thread to thread, and is read by several at a time.
const _: () = {
    const fn is_shareable<T: Send + Sync>() {}
    is_shareable::<SharedBytes>();
    is_shareable::<List>();
    is_shareable::<Set>();
    is_shareable::<Hash>();
    is_shareable::<SortedSet>();
    is_shareable::<Stream>();
    is_shareable::<Value<'static>>();
};

/// One key with its value, owned.
#[derive(Debug)]
pub struct Record {
    memory: NonNull<u8>,
}

// SAFETY: a record owns all that it points to, and its content is `Send` and `Sync`; the access bits, which are
// the one thing that changes behind a shared reference, are atomic.
#[expect(unsafe_code, reason = "the record is a hand-made allocation")]
unsafe impl Send for Record {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "the record is a hand-made allocation")]
unsafe impl Sync for Record {}

#[expect(unsafe_code, reason = "the record is a hand-made allocation")]
impl Record {
    /// Builds the record of `key`. `access` are the first LRU or LFU bits.
    ///
    /// # Panics
    /// If the key is 4 GiB or longer; callers bound keys by `proto-max-bulk-len`.
    pub fn new(key: &[u8], value: Value<'_>, deadline: Option<i64>, access: u32) -> Self {
        let value = bounded(value);
        let shape = Shape::of(key, &value, deadline);
        let layout = shape.layout();
        // SAFETY: the layout is never empty, since it has a header.
        let memory = unsafe { alloc(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        // SAFETY: the memory is fresh, aligned to 8 and as long as the shape says.
        unsafe {
            let short_len = if shape.flags & LONG_KEY == 0 { key.len() as u32 } else { 0 };
            let word = short_len << ACCESS_BITS | access & ACCESS_MASK;
            memory.cast::<AtomicU32>().write(AtomicU32::new(word));
            if let Some(deadline) = deadline {
                memory.add(HEADER_SIZE).cast::<i64>().write(deadline);
            }
            if shape.flags & LONG_KEY != 0 {
                let key_len = u32::try_from(key.len()).expect("a key is shorter than 4 GiB");
                memory.add(shape.key_len_offset()).cast::<u32>().write_unaligned(key_len);
            }
            let to = memory.add(shape.key_offset());
            std::ptr::copy_nonoverlapping(key.as_ptr(), to.as_ptr(), key.len());
            write_value(memory, shape, value);
        }
        Self { memory }
    }

    /// The record as readers see it.
    #[inline]
    pub fn as_ref(&self) -> RecordRef<'_> {
        RecordRef { memory: self.memory, lifetime: PhantomData }
    }

    /// A second record with the same content; what is large is shared until one of them is written.
    pub fn duplicate(&self) -> Self {
        let this = self.as_ref();
        Self::new(this.key(), this.value().to_value(), this.deadline(), this.access())
    }

    /// Moves the record itself to a fresh allocation. What its value owns stays where it is.
    pub(crate) fn relocate(&mut self) {
        let layout = self.as_ref().shape().layout();
        // SAFETY: the layout is never empty, since it has a header.
        let memory = unsafe { alloc(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        // SAFETY: both have this layout; what is copied is no longer used where it was, and not dropped there.
        unsafe {
            memory.copy_from_nonoverlapping(self.memory, layout.size());
            dealloc(self.memory.as_ptr(), layout);
        }
        self.memory = memory;
    }

    /// Takes the record apart and keeps its value.
    pub fn into_value(self) -> Value<'static> {
        let this = ManuallyDrop::new(self);
        let shape = this.as_ref().shape();
        let slot = this.slot(shape);
        // SAFETY: the slot holds what the kind says, it is read once, and the memory is freed without dropping it.
        unsafe {
            let value = match shape.kind {
                Kind::Int | Kind::Inline => this.as_ref().value().to_value(),
                Kind::Shared => Value::Shared(slot.cast::<SharedBytes>().read()),
                Kind::List => Value::List(slot.cast::<List>().read()),
                Kind::Set => Value::Set(slot.cast::<Set>().read()),
                Kind::Hash => Value::Hash(slot.cast::<Hash>().read()),
                Kind::SortedSet => Value::SortedSet(slot.cast::<SortedSet>().read()),
                Kind::Stream => Value::Stream(slot.cast::<Stream>().read()),
            };
            dealloc(this.memory.as_ptr(), shape.layout());
            value
        }
    }

    /// The value, to be changed where it lies.
    pub fn value_mut(&mut self) -> ValueMut<'_> {
        // SAFETY: the record is owned, and borrowed mutably as long as the result.
        unsafe { value_mut_of(self.memory) }
    }

    /// Puts another value and deadline in place, in the same memory where its size class allows.
    /// The key and the access bits stay.
    ///
    /// The old value is handed back if it is large enough to be worth freeing elsewhere.
    #[inline]
    pub fn replace(&mut self, value: Value<'_>, deadline: Option<i64>) -> Option<Value<'static>> {
        let value = bounded(value);
        let old = self.as_ref().shape();
        let new = Shape::of(self.as_ref().key(), &value, deadline);
        let fits = old.layout() == new.layout();
        let key_stays = old.key_offset() == new.key_offset();
        if !fits || !key_stays || !matches!(old.kind, Kind::Int | Kind::Inline) {
            let record = Self::new(self.as_ref().key(), value, deadline, self.as_ref().access());
            let old = std::mem::replace(self, record);
            return (old.as_ref().value().drop_cost() > 0).then(|| old.into_value());
        }
        // SAFETY: both shapes have one layout and one place for the key; the old value owns nothing.
        unsafe {
            if let Some(deadline) = deadline {
                self.memory.add(HEADER_SIZE).cast::<i64>().write(deadline);
            }
            write_value(self.memory, new, value);
        }
        None
    }

    /// Sets or clears the deadline.
    pub fn set_deadline(&mut self, deadline: Option<i64>) {
        match (self.as_ref().deadline(), deadline) {
            (None, None) => {}
            (Some(_), Some(deadline)) => {
                // SAFETY: the flag says that the field is there.
                unsafe { self.memory.add(HEADER_SIZE).cast::<i64>().write(deadline) };
            }
            _ => {
                let (key, access) = (self.as_ref().key().to_vec(), self.as_ref().access());
                let old = std::mem::replace(self, Self::new(b"", Value::Int(0), None, 0));
                *self = Self::new(&key, old.into_value(), deadline, access);
            }
        }
    }

    /// Gives the ownership up as a pointer, to be taken back with [`Self::from_raw`].
    pub(crate) fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).memory
    }

    /// # Safety
    /// `memory` comes from [`Self::into_raw`], and nobody else takes it back.
    pub(crate) unsafe fn from_raw(memory: NonNull<u8>) -> Self {
        Self { memory }
    }

    fn slot(&self, shape: Shape) -> NonNull<u8> {
        // SAFETY: the slot lies inside the allocation.
        unsafe { self.memory.add(shape.slot_offset()) }
    }
}

#[expect(unsafe_code, reason = "the record is a hand-made allocation")]
impl Drop for Record {
    fn drop(&mut self) {
        let shape = self.as_ref().shape();
        let slot = self.slot(shape);
        // SAFETY: the slot holds what the kind says, and the record is not used after this.
        unsafe {
            match shape.kind {
                Kind::Int | Kind::Inline => {}
                Kind::Shared => slot.cast::<SharedBytes>().drop_in_place(),
                Kind::List => slot.cast::<List>().drop_in_place(),
                Kind::Set => slot.cast::<Set>().drop_in_place(),
                Kind::Hash => slot.cast::<Hash>().drop_in_place(),
                Kind::SortedSet => slot.cast::<SortedSet>().drop_in_place(),
                Kind::Stream => slot.cast::<Stream>().drop_in_place(),
            }
            dealloc(self.memory.as_ptr(), shape.layout());
        }
    }
}

/// Strings that are too long for a record become shared ones.
fn bounded(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Bytes(bytes) | Value::Raw(bytes) if bytes.len() > INLINE_LEN_MAX => {
            Value::Shared(SharedBytes::new(Cow::into_owned(bytes)))
        }
        value => value,
    }
}

/// Writes kind, flags, inline length and the value itself; the key and the deadline are the caller's.
///
/// # Safety
/// `memory` is as long as `shape` says and holds no value that would have to be dropped.
#[expect(unsafe_code, reason = "the record is a hand-made allocation")]
unsafe fn write_value(memory: NonNull<u8>, shape: Shape, value: Value<'_>) {
    // SAFETY: every offset lies inside the allocation, by the caller's promise.
    unsafe {
        memory.add(KIND_OFFSET).write(shape.kind as u8);
        memory.add(FLAGS_OFFSET).write(shape.flags);
        memory.add(INLINE_LEN_OFFSET).cast::<u16>().write(shape.inline_len as u16);
        let slot = memory.add(shape.slot_offset());
        match value {
            Value::Int(number) => slot.cast::<i64>().write(number),
            Value::Bytes(bytes) | Value::Raw(bytes) => {
                let to = memory.add(shape.inline_offset()).as_ptr();
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
            }
            Value::Shared(bytes) => slot.cast::<SharedBytes>().write(bytes),
            Value::List(list) => slot.cast::<List>().write(list),
            Value::Set(set) => slot.cast::<Set>().write(set),
            Value::Hash(hash) => slot.cast::<Hash>().write(hash),
            Value::SortedSet(set) => slot.cast::<SortedSet>().write(set),
            Value::Stream(stream) => slot.cast::<Stream>().write(stream),
        }
    }
}

/// The value of the record in `memory`, to be changed where it lies.
///
/// # Safety
/// `memory` is a live record that nobody else reads or writes during `'a`.
#[expect(unsafe_code, reason = "the record is a hand-made allocation")]
pub(crate) unsafe fn value_mut_of<'a>(memory: NonNull<u8>) -> ValueMut<'a> {
    // SAFETY: the slot holds what the kind says; exclusiveness is the caller's promise.
    unsafe {
        let shape = RecordRef::from_raw(memory).shape();
        let slot = memory.add(shape.slot_offset());
        match shape.kind {
            Kind::Int => ValueMut::Int(slot.cast::<i64>().as_mut()),
            Kind::Inline => {
                let bytes = memory.add(shape.inline_offset()).as_ptr();
                ValueMut::Bytes(std::slice::from_raw_parts_mut(bytes, shape.inline_len))
            }
            Kind::Shared => ValueMut::Shared(slot.cast::<SharedBytes>().as_mut()),
            Kind::List => ValueMut::List(slot.cast::<List>().as_mut()),
            Kind::Set => ValueMut::Set(slot.cast::<Set>().as_mut()),
            Kind::Hash => ValueMut::Hash(slot.cast::<Hash>().as_mut()),
            Kind::SortedSet => ValueMut::SortedSet(slot.cast::<SortedSet>().as_mut()),
            Kind::Stream => ValueMut::Stream(slot.cast::<Stream>().as_mut()),
        }
    }
}

/// A value that is being changed where it lies.
#[derive(Debug)]
pub enum ValueMut<'a> {
    Int(&'a mut i64),
    Bytes(&'a mut [u8]),
    Shared(&'a mut SharedBytes),
    List(&'a mut List),
    Set(&'a mut Set),
    Hash(&'a mut Hash),
    SortedSet(&'a mut SortedSet),
    Stream(&'a mut Stream),
}

impl ValueMut<'_> {
    /// Moves a part of what the value owns, from `position` on. Returns the position to go on from, 0 at the end.
    pub fn relocate(self, position: u64, relocation: &mut Relocation<'_>) -> u64 {
        match self {
            Self::Int(_) | Self::Bytes(_) => 0,
            Self::Shared(bytes) => {
                relocate_shared(bytes, relocation);
                0
            }
            Self::List(list) => list.relocate(position, relocation),
            Self::Set(set) => set.relocate(position, relocation),
            Self::Hash(hash) => hash.relocate(position, relocation),
            Self::SortedSet(set) => set.relocate(position, relocation),
            Self::Stream(stream) => stream.relocate(position, relocation),
        }
    }
}

fn relocate_shared(shared: &mut SharedBytes, relocation: &mut Relocation<'_>) {
    let Some(bytes) = Arc::get_mut(shared) else { return };
    if relocation.wants(bytes.as_ptr()) {
        let mut moved = Vec::with_capacity(bytes.capacity());
        moved.append(bytes);
        *bytes = moved;
    }
    if relocation.wants(std::ptr::from_ref(bytes)) {
        let bytes = std::mem::take(bytes);
        *shared = Arc::new(bytes);
    }
}

/// A record as readers see it.
#[derive(Clone, Copy)]
pub struct RecordRef<'a> {
    memory: NonNull<u8>,
    lifetime: PhantomData<&'a Record>,
}

// SAFETY: a shared reference to a record, which is `Sync`.
#[expect(unsafe_code, reason = "the record is a hand-made allocation")]
unsafe impl Send for RecordRef<'_> {}

#[expect(unsafe_code, reason = "the record is a hand-made allocation")]
impl<'a> RecordRef<'a> {
    /// # Safety
    /// `memory` is a live record, which outlives `'a` and is not changed during it.
    pub(crate) unsafe fn from_raw(memory: NonNull<u8>) -> Self {
        Self { memory, lifetime: PhantomData }
    }

    /// Asks the processor to fetch the record, without what its value has elsewhere. Reads nothing itself.
    #[inline]
    pub fn prefetch(self) {
        let start = self.memory.as_ptr().cast_const();
        prefetch_lines(start, LINES_FETCHED);
    }

    /// The key.
    #[inline]
    pub fn key(self) -> &'a [u8] {
        let shape = self.shape();
        // SAFETY: the key lies where the shape says.
        unsafe {
            let key = self.memory.add(shape.key_offset()).as_ptr();
            std::slice::from_raw_parts(key, shape.key_len)
        }
    }

    /// The value.
    #[inline]
    pub fn value(self) -> ValueRef<'a> {
        let shape = self.shape();
        // SAFETY: the slot holds what the kind says, for as long as the record is borrowed.
        unsafe {
            let slot = self.memory.add(shape.slot_offset());
            match shape.kind {
                Kind::Int => ValueRef::Int(slot.cast::<i64>().read()),
                Kind::Inline => {
                    let bytes = self.memory.add(shape.inline_offset()).as_ptr();
                    let bytes = std::slice::from_raw_parts(bytes, shape.inline_len);
                    ValueRef::Bytes { bytes, raw: shape.flags & EDITED != 0 }
                }
                Kind::Shared => ValueRef::Shared(slot.cast::<SharedBytes>().as_ref()),
                Kind::List => ValueRef::List(slot.cast::<List>().as_ref()),
                Kind::Set => ValueRef::Set(slot.cast::<Set>().as_ref()),
                Kind::Hash => ValueRef::Hash(slot.cast::<Hash>().as_ref()),
                Kind::SortedSet => ValueRef::SortedSet(slot.cast::<SortedSet>().as_ref()),
                Kind::Stream => ValueRef::Stream(slot.cast::<Stream>().as_ref()),
            }
        }
    }

    /// When the key falls due, Unix milliseconds.
    #[inline]
    pub fn deadline(self) -> Option<i64> {
        // SAFETY: the flag says whether the field is there.
        unsafe {
            let flags = self.memory.add(FLAGS_OFFSET).read();
            (flags & HAS_DEADLINE != 0).then(|| self.memory.add(HEADER_SIZE).cast::<i64>().read())
        }
    }

    /// When the key or the first of its elements falls due; `i64::MAX` if nothing ever does.
    pub fn earliest_deadline(self) -> i64 {
        let inner = match self.value() {
            ValueRef::Hash(hash) => hash.next_deadline(),
            _ => None,
        };
        self.deadline().unwrap_or(i64::MAX).min(inner.unwrap_or(i64::MAX))
    }

    /// The LRU or LFU bits.
    #[inline]
    pub fn access(self) -> u32 {
        self.access_cell().load(Ordering::Relaxed) & ACCESS_MASK
    }

    /// Notes an access. Not a change of content: snapshots share the record all the same.
    #[inline]
    pub fn set_access(self, access: u32) {
        let cell = self.access_cell();
        let old = cell.load(Ordering::Relaxed);
        let new = old & !ACCESS_MASK | access & ACCESS_MASK;
        if old != new {
            cell.store(new, Ordering::Relaxed);
        }
    }

    /// Bytes that the record itself takes, without what its value owns elsewhere.
    pub fn size(self) -> usize {
        self.shape().layout().size()
    }

    /// Bytes that the record and its value take, without its share of the table.
    pub fn bytes_with_value(self) -> usize {
        self.size() + self.value().heap_bytes()
    }

    pub(crate) fn as_raw(self) -> NonNull<u8> {
        self.memory
    }

    fn access_cell(self) -> &'a AtomicU32 {
        // SAFETY: the first four bytes are an atomic for as long as the record lives.
        unsafe { self.memory.cast::<AtomicU32>().as_ref() }
    }

    #[inline]
    fn shape(self) -> Shape {
        // SAFETY: the header is initialised, and its kind was written from a `Kind`.
        unsafe {
            let kind = self.memory.add(KIND_OFFSET).cast::<Kind>().read();
            let flags = self.memory.add(FLAGS_OFFSET).read();
            let inline_len = usize::from(self.memory.add(INLINE_LEN_OFFSET).cast::<u16>().read());
            let mut shape = Shape { kind, flags, key_len: 0, inline_len };
            shape.key_len = if flags & LONG_KEY == 0 {
                (self.access_cell().load(Ordering::Relaxed) >> ACCESS_BITS) as usize
            } else {
                self.memory.add(shape.key_len_offset()).cast::<u32>().read_unaligned() as usize
            };
            shape
        }
    }
}

impl std::fmt::Debug for RecordRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("key", &self.key())
            .field("value", &self.value())
            .field("deadline", &self.deadline())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: ValueRef<'_>) -> Vec<u8> {
        match value {
            ValueRef::Int(number) => number.to_string().into_bytes(),
            ValueRef::Bytes { bytes, .. } => bytes.to_vec(),
            ValueRef::Shared(bytes) => bytes.to_vec(),
            other => panic!("not a string: {other:?}"),
        }
    }

    #[test]
    fn keeps_what_it_was_given() {
        for key_len in [0, 1, 16, 255, 256, 70_000] {
            for value_len in [0, 1, 44, 45, 1024, 1025, 100_000] {
                for deadline in [None, Some(-1), Some(i64::MAX)] {
                    let (key, value) = (vec![b'k'; key_len], vec![b'v'; value_len]);
                    let record = Record::new(&key, Value::string(&value), deadline, 7);
                    let copy = record.duplicate();
                    for record in [record.as_ref(), copy.as_ref()] {
                        assert_eq!(record.key(), key);
                        assert_eq!(text(record.value()), value);
                        assert_eq!(record.deadline(), deadline);
                        assert_eq!(record.access(), 7);
                    }
                }
            }
        }
    }

    #[test]
    fn moves_with_all_that_it_holds() {
        for (key_len, value_len) in [(0, 0), (3, 20), (300, 1000), (5, 5000)] {
            let (key, value) = (vec![b'k'; key_len], vec![b'v'; value_len]);
            let mut record = Record::new(&key, Value::string(&value), Some(5), 7);
            record.relocate();
            let moved = record.as_ref();
            assert_eq!((moved.key(), moved.deadline(), moved.access()), (&key[..], Some(5), 7));
            assert_eq!(text(moved.value()), value);
        }
    }

    #[test]
    fn replaces_value_and_deadline() {
        let mut record = Record::new(b"key", Value::string(b"first"), None, 3);
        let steps: [(&[u8], Option<i64>); 6] = [
            (b"other", None),
            (b"a much longer value that takes another size class", None),
            (b"12345", Some(5)),
            (b"", Some(6)),
            (&[b'x'; 5000], None),
            (b"short again", Some(9)),
        ];
        for (value, deadline) in steps {
            record.replace(Value::string(value), deadline);
            assert_eq!(record.as_ref().key(), b"key");
            assert_eq!(text(record.as_ref().value()), value);
            assert_eq!(record.as_ref().deadline(), deadline);
            assert_eq!(record.as_ref().access(), 3);
            for deadline in [Some(1), Some(2), None, deadline] {
                record.set_deadline(deadline);
                assert_eq!(record.as_ref().deadline(), deadline);
                assert_eq!(text(record.as_ref().value()), value);
            }
        }
    }
}
