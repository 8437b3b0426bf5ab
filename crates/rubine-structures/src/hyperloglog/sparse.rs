//! Registers as runs, each an opcode. Which opcodes stand for the same registers depends on the order in which they were
//! written; it is Redis's order, so that the bytes are the same.
//!
//! | opcode | bytes | run |
//! |---|---|---|
//! | ZERO | `00llllll` | `l` + 1 registers that are 0 |
//! | XZERO | `01hhhhhh llllllll` | the same, of which there are `h` * 256 + `l` + 1 |
//! | VAL | `1vvvvvll` | `l` + 1 registers that are `v` + 1 |

use std::fmt;
use std::ops::Range;

use smallvec::SmallVec;

use super::{Corrupted, HEADER_LEN, REGISTER_COUNT};

const KIND_MASK: u8 = 0b1100_0000;
const XZERO: u8 = 0b0100_0000;
const VAL: u8 = 0b1000_0000;
/// The largest value, and the longest run of one.
const VAL_MAX: u8 = 32;
const VAL_LEN_MAX: usize = 4;
const ZERO_LEN_MAX: usize = 64;

/// One opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Zero(usize),
    Xzero(usize),
    /// A value and how many registers have it.
    Val(u8, usize),
}

impl Opcode {
    /// The opcode that begins the bytes. Where they end within it, zeros go on.
    #[inline]
    fn first_of(bytes: &[u8]) -> Option<Self> {
        let &byte = bytes.first()?;
        Some(if byte & VAL != 0 {
            Self::Val((byte >> 2 & 0x1f) + 1, usize::from(byte & 0x3) + 1)
        } else if byte & KIND_MASK == XZERO {
            let low = bytes.get(1).copied().unwrap_or(0);
            Self::Xzero((usize::from(byte & 0x3f) << 8 | usize::from(low)) + 1)
        } else {
            Self::Zero(usize::from(byte) + 1)
        })
    }

    /// How many registers it is about.
    fn run_len(self) -> usize {
        match self {
            Self::Zero(count) | Self::Xzero(count) | Self::Val(_, count) => count,
        }
    }

    /// The value of its registers.
    fn value(self) -> u8 {
        match self {
            Self::Zero(_) | Self::Xzero(_) => 0,
            Self::Val(value, _) => value,
        }
    }

    /// Its bytes.
    fn len(self) -> usize {
        if matches!(self, Self::Xzero(_)) { 2 } else { 1 }
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero(count) => write!(f, "z:{count}"),
            Self::Xzero(count) => write!(f, "Z:{count}"),
            Self::Val(value, count) => write!(f, "v:{value},{count}"),
        }
    }
}

/// The opcodes in the bytes, which may be any.
pub(super) struct Opcodes<'a>(&'a [u8]);

impl<'a> Opcodes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl Iterator for Opcodes<'_> {
    type Item = Opcode;

    #[inline]
    fn next(&mut self) -> Option<Opcode> {
        let opcode = Opcode::first_of(self.0)?;
        self.0 = self.0.get(opcode.len()..).unwrap_or_default();
        Some(opcode)
    }
}

/// Calls `visit` with the first register, the number of registers and the value of each run.
pub(super) fn for_each_run(
    opcodes: &[u8],
    mut visit: impl FnMut(usize, usize, u8),
) -> Result<(), Corrupted> {
    let mut first = 0;
    for opcode in Opcodes::new(opcodes) {
        let count = opcode.run_len();
        if REGISTER_COUNT < first + count {
            return Err(Corrupted);
        }
        visit(first, count, opcode.value());
        first += count;
    }
    if first == REGISTER_COUNT { Ok(()) } else { Err(Corrupted) }
}

/// The value of one register, and where it stands.
pub(super) fn get(opcodes: &[u8], register: usize) -> Result<(u8, Place), Corrupted> {
    let place = Place::of(opcodes, register)?;
    if opcodes.len() < place.at + place.opcode.len() {
        return Err(Corrupted);
    }
    Ok((place.opcode.value(), place))
}

/// What became of a register that was to be raised.
pub(super) enum Raised {
    Changed,
    /// The value, or all of it, is too large for this encoding. Nothing has changed.
    Outgrown,
}

/// Raises a register that is lower to `value`, header and all in `bytes`, which become no longer than `len_max`. `place` is
/// where it stands.
pub(super) fn raise(
    bytes: &mut Vec<u8>,
    place: Place,
    register: usize,
    value: u8,
    len_max: usize,
) -> Raised {
    if VAL_MAX < value {
        return Raised::Outgrown;
    }
    let new = split(place.opcode, register - place.first, value);
    let old_len = place.opcode.len();
    if old_len < new.len() && len_max < bytes.len() + new.len() - old_len {
        return Raised::Outgrown;
    }
    make_room(bytes, len_max);
    let at = HEADER_LEN + place.at;
    replace(bytes, at..at + old_len, &new);
    unite(bytes, HEADER_LEN + place.previous.unwrap_or(0));
    Raised::Changed
}

/// Where the opcode lies that a register belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    opcode: Opcode,
    /// The offset of the opcode.
    at: usize,
    /// The offset of the one before it.
    previous: Option<usize>,
    /// Its first register.
    first: usize,
}

impl Place {
    /// The most frequent operation on sparse registers, and the slowest.
    #[inline]
    fn of(opcodes: &[u8], register: usize) -> Result<Self, Corrupted> {
        let (mut at, mut previous, mut first) = (0, None, 0);
        loop {
            let opcode = Opcode::first_of(&opcodes[at.min(opcodes.len())..]).ok_or(Corrupted)?;
            let behind = first + opcode.run_len();
            if register < behind {
                return Ok(Self { opcode, at, previous, first });
            }
            previous = Some(at);
            at += opcode.len();
            first = behind;
        }
    }
}

/// At most an XZERO on either side of a VAL.
type Sequence = SmallVec<[u8; 5]>;

/// The opcodes for a run in which the register that `before` others precede has another value.
fn split(old: Opcode, before: usize, value: u8) -> Sequence {
    let mut new = Sequence::new();
    let push_rest = |new: &mut Sequence, count: usize| match old {
        _ if count == 0 => {}
        Opcode::Val(value, _) => new.push(val(value, count)),
        Opcode::Zero(_) | Opcode::Xzero(_) => new.extend(zeros(count)),
    };
    push_rest(&mut new, before);
    new.push(val(value, 1));
    push_rest(&mut new, old.run_len() - before - 1);
    new
}

/// The opcode of a short run of a value.
fn val(value: u8, count: usize) -> u8 {
    VAL | (value - 1) << 2 | (count - 1) as u8
}

/// The opcode of a run of zeros, one or two bytes.
fn zeros(count: usize) -> impl Iterator<Item = u8> {
    let (high, low) = (((count - 1) >> 8) as u8, (count - 1) as u8);
    let is_short = count <= ZERO_LEN_MAX;
    let first = if is_short { low } else { XZERO | high };
    std::iter::once(first).chain((!is_short).then_some(low))
}

/// Appends the opcode for a run of zeros.
pub(super) fn push_zeros(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend(zeros(count));
}

/// Makes room for some opcodes more, but not for more than there may be.
fn make_room(bytes: &mut Vec<u8>, len_max: usize) {
    const SPARE_MAX: usize = 300;
    const GROWTH_MAX: usize = 3;
    if bytes.capacity() < bytes.len() + GROWTH_MAX {
        let spare = bytes.len().min(SPARE_MAX).min(len_max.saturating_sub(bytes.len()));
        bytes.reserve_exact(spare.max(GROWTH_MAX));
    }
}

/// Puts `new` in the place of a few bytes.
fn replace(bytes: &mut Vec<u8>, range: Range<usize>, new: &[u8]) {
    let old_len = bytes.len();
    let tail = range.end;
    if range.len() < new.len() {
        bytes.resize(old_len + new.len() - range.len(), 0);
    }
    bytes.copy_within(tail..old_len, range.start + new.len());
    bytes.truncate(old_len + new.len() - range.len());
    bytes[range.start..range.start + new.len()].copy_from_slice(new);
}

/// Makes one opcode of adjacent ones of the same value, from offset `at` on, as far as a change can have made some.
fn unite(bytes: &mut Vec<u8>, mut at: usize) {
    const STEPS: usize = 5;
    for _ in 0..STEPS {
        let Some(opcode) = Opcode::first_of(bytes.get(at..).unwrap_or_default()) else { return };
        if let Opcode::Val(value, count) = opcode
            && let Some(Opcode::Val(next_value, next_count)) = Opcode::first_of(&bytes[at + 1..])
            && value == next_value
            && count + next_count <= VAL_LEN_MAX
        {
            bytes[at + 1] = val(value, count + next_count);
            bytes.remove(at);
        } else {
            at += opcode.len();
        }
    }
}
