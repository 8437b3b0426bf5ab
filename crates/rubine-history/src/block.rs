//! Up to an hour of one series, compressed. Integers are kept as changes of their change, so that what is still or grows
//! evenly takes nothing; other numbers as what differs in their bits. What is read back is what was written, to the bit.
//!
//! A block is a first value and tokens, each a number as [`crate::varint`] has it:
//!
//! | token | then | meaning |
//! |---|---|---|
//! | 0 | count − 1 | so many values by the same change (integers), or the same again |
//! | 1 | count − 1 | so many slots without a value |
//! | 2 + n, integers | | the change changes by the zigzag of n |
//! | 2 + 8 · t + (l − 1), others | l bytes | they differ in l bytes, t bytes from the lowest |

use std::sync::Arc;

use crate::varint;

/// An hour.
pub(crate) const BLOCK_SLOTS_MAX: u64 = 360;

/// Larger integers are no longer exact as what they came as.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

const SAME: u64 = 0;
const GAP: u64 = 1;
const FIRST_CHANGE: u64 = 2;

/// What the values of a block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Integers,
    Others,
}

/// A block that does not change any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) start: u64,
    pub(crate) slots: u64,
    pub(crate) kind: Kind,
    /// The bits of the first value.
    pub(crate) first: u64,
    pub(crate) bytes: Arc<[u8]>,
}

impl Block {
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// The slot behind the last one.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.slots
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Shows every value with its slot. Returns whether the bytes were what they should be; what was shown before they were
    /// not may be anything.
    pub(crate) fn read(&self, mut show: impl FnMut(u64, f64)) -> bool {
        let mut state = State::new(self.kind, f64::from_bits(self.first));
        let end = self.end();
        let mut slot = self.start;
        let mut bytes = &self.bytes[..];
        show(slot, state.value());
        slot += 1;
        while !bytes.is_empty() {
            let Some(token) = varint::read(&mut bytes) else { return false };
            if token < FIRST_CHANGE {
                let Some(count) = varint::read(&mut bytes) else { return false };
                if end - slot <= count {
                    return false;
                }
                if token == GAP {
                    slot += count + 1;
                    continue;
                }
                for _ in 0..=count {
                    state.go_on();
                    show(slot, state.value());
                    slot += 1;
                }
                continue;
            }
            if end <= slot || !state.change(token - FIRST_CHANGE, &mut bytes) {
                return false;
            }
            show(slot, state.value());
            slot += 1;
        }
        slot == end
    }
}

/// A block that grows.
#[derive(Clone, Debug)]
pub(crate) struct OpenBlock {
    start: u64,
    slots: u64,
    first: f64,
    state: State,
    bytes: Vec<u8>,
    /// Values by the same change that are not written yet.
    same: u64,
}

impl OpenBlock {
    pub(crate) fn new(slot: u64, value: f64) -> Self {
        let kind = if is_integer(value) { Kind::Integers } else { Kind::Others };
        let state = State::new(kind, value);
        Self { start: slot, slots: 1, first: value, state, bytes: Vec::new(), same: 0 }
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn end(&self) -> u64 {
        self.start + self.slots
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.capacity()
    }

    /// Adds a value at a slot that is not before the end. Returns whether it belongs into this block.
    pub(crate) fn push(&mut self, slot: u64, value: f64) -> bool {
        let is_of_kind = self.state.kind == Kind::Others || is_integer(value);
        if self.start + BLOCK_SLOTS_MAX <= slot || !is_of_kind {
            return false;
        }
        let gap = slot - self.end();
        if gap != 0 {
            self.flush();
            self.write_run(GAP, gap);
        }
        self.slots += gap + 1;
        if self.state.would_go_on_to(value) {
            self.state.go_on();
            self.same += 1;
            return true;
        }
        self.flush();
        self.state.write_change(value, &mut self.bytes);
        true
    }

    pub(crate) fn close(mut self) -> Block {
        self.flush();
        Block {
            start: self.start,
            slots: self.slots,
            kind: self.state.kind,
            first: self.first.to_bits(),
            bytes: self.bytes.into(),
        }
    }

    fn flush(&mut self) {
        if self.same != 0 {
            self.write_run(SAME, self.same);
            self.same = 0;
        }
    }

    fn write_run(&mut self, token: u64, count: u64) {
        varint::write(&mut self.bytes, token);
        varint::write(&mut self.bytes, count - 1);
    }
}

/// Where writing or reading stands.
#[derive(Clone, Debug)]
struct State {
    kind: Kind,
    /// The last value: an integer, or bits.
    last: u64,
    change: i64,
}

impl State {
    fn new(kind: Kind, value: f64) -> Self {
        let last = match kind {
            Kind::Integers => value as i64 as u64,
            Kind::Others => value.to_bits(),
        };
        Self { kind, last, change: 0 }
    }

    fn value(&self) -> f64 {
        match self.kind {
            Kind::Integers => self.last as i64 as f64,
            Kind::Others => f64::from_bits(self.last),
        }
    }

    fn go_on(&mut self) {
        // What damaged bytes ask for must not panic.
        self.last = self.last.wrapping_add_signed(self.change);
    }

    fn would_go_on_to(&self, value: f64) -> bool {
        let next = Self::new(self.kind, value).last;
        next == self.last.wrapping_add_signed(self.change)
    }

    fn write_change(&mut self, value: f64, bytes: &mut Vec<u8>) {
        let next = Self::new(self.kind, value).last;
        match self.kind {
            Kind::Integers => {
                let change = next.wrapping_sub(self.last) as i64;
                let token = varint::zigzag(change.wrapping_sub(self.change));
                varint::write(bytes, FIRST_CHANGE + token);
                self.change = change;
            }
            Kind::Others => {
                let differing = next ^ self.last;
                let low = differing.trailing_zeros() / 8;
                let high = differing.leading_zeros() / 8;
                let len = 8 - low - high;
                varint::write(bytes, FIRST_CHANGE + u64::from(8 * low + len - 1));
                let part = (differing >> (8 * low)).to_le_bytes();
                bytes.extend(&part[..len as usize]);
            }
        }
        self.last = next;
    }

    /// Takes a change over from bytes. Returns whether it can be one.
    fn change(&mut self, token: u64, bytes: &mut &[u8]) -> bool {
        if self.kind == Kind::Integers {
            self.change = self.change.wrapping_add(varint::unzigzag(token));
            self.go_on();
            return true;
        }
        let (low, len) = ((token / 8) as usize, (token % 8) as usize + 1);
        if 63 < token || 8 < low + len || bytes.len() < len {
            return false;
        }
        let mut part = [0; 8];
        part[low..low + len].copy_from_slice(&bytes[..len]);
        *bytes = &bytes[len..];
        self.last ^= u64::from_le_bytes(part);
        true
    }
}

/// Whether a number is kept as an integer. That of the other zero would lose its sign.
fn is_integer(value: f64) -> bool {
    value.fract() == 0.0 && value.abs() < INTEGER_MAX && value.to_bits() != (-0.0_f64).to_bits()
}
