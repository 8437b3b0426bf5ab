//! Registers of six bits, one after the other, from the lowest bit of the first byte on. Four of them are three bytes.

use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(target_arch = "x86_64")]
use pulp::{Arch, x86::V3};

#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::{Packed, REGISTER_BITS as BITS, REGISTER_COUNT};

const VALUE_MAX: u8 = (1 << BITS) - 1;

/// The registers in what follows the header.
pub(super) fn registers_mut(bytes: &mut [u8]) -> &mut Packed {
    bytes.try_into().expect("a dense one has all registers")
}

/// The value of one register.
#[inline]
pub(super) fn get(registers: &Packed, register: usize) -> u8 {
    let (byte, shift) = (register * BITS / 8, register * BITS % 8);
    // Only a register that begins high in its byte goes on in the next one, which is there then.
    let next = registers.get(byte + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([registers[byte], next]) >> shift) as u8 & VALUE_MAX
}

/// Sets one register.
#[inline]
pub(super) fn set(registers: &mut Packed, register: usize, value: u8) {
    let (byte, shift) = (register * BITS / 8, register * BITS % 8);
    let next = registers.get(byte + 1).copied().unwrap_or(0);
    let both = u16::from_le_bytes([registers[byte], next]);
    let both = both & !(u16::from(VALUE_MAX) << shift) | u16::from(value) << shift;
    let [first, second] = both.to_le_bytes();
    registers[byte] = first;
    if let Some(next) = registers.get_mut(byte + 1) {
        *next = second;
    }
}

/// Whether code for this very processor may be used.
static IS_WIDE: AtomicBool = AtomicBool::new(true);

/// Chooses between the code for this processor and that for any, which do the same: a switch for tests. Returns whether
/// the former is used now, which takes that there is one.
pub fn set_wide(is_wide: bool) -> bool {
    IS_WIDE.store(is_wide, Ordering::Relaxed);
    wide().is_some()
}

/// What the code in `avx2` needs, if this processor has it.
#[cfg(target_arch = "x86_64")]
pub(super) fn wide() -> Option<V3> {
    match Arch::new() {
        Arch::V3(simd) if IS_WIDE.load(Ordering::Relaxed) => Some(simd),
        _ => None,
    }
}

/// There is no code for one processor only.
#[cfg(not(target_arch = "x86_64"))]
fn wide() -> Option<()> {
    None
}

/// Raises each register to the one stored.
pub(super) fn merge(registers: &mut [u8; REGISTER_COUNT], packed: &Packed) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = wide() {
        return avx2::merge(simd, registers, packed);
    }
    merge_runs(registers, packed);
}

/// Registers whose bytes are unpacked as one word, and the bytes they are packed in.
const WORD_REGISTERS: usize = size_of::<u64>();
const WORD_PACKED: usize = WORD_REGISTERS * BITS / 8;

/// Words that are worked on together: as many as the widest registers of a processor hold.
const RUN_WORDS: usize = 8;

fn merge_runs(registers: &mut [u8; REGISTER_COUNT], packed: &Packed) {
    const RUN: usize = RUN_WORDS * WORD_REGISTERS;
    let (runs, _) = registers.as_chunks_mut::<RUN>();
    let (last, runs) = runs.split_last_mut().expect("there are many runs");
    for (run_index, run) in runs.iter_mut().enumerate() {
        // Two bytes more are read than a word unpacks; only behind the last run there are none.
        let mut words = [0; RUN_WORDS];
        for (index, word) in words.iter_mut().enumerate() {
            let at = (run_index * RUN_WORDS + index) * WORD_PACKED;
            let bytes = packed[at..at + size_of::<u64>()].try_into();
            *word = unpacked(u64::from_le_bytes(bytes.expect("the range is that long")));
        }
        let mut values = [[0; WORD_REGISTERS]; RUN_WORDS];
        for (value, word) in values.iter_mut().zip(words) {
            *value = word.to_le_bytes();
        }
        for (register, &value) in run.iter_mut().zip(values.as_flattened()) {
            *register = value.max(*register);
        }
    }
    for (index, register) in last.iter_mut().enumerate() {
        *register = get(packed, REGISTER_COUNT - RUN + index).max(*register);
    }
}

/// The eight registers in the lowest six bytes, a byte each. Both halves of the word are worked on at once.
#[inline]
fn unpacked(word: u64) -> u64 {
    const LOWEST: u64 = (VALUE_MAX as u64) << 32 | VALUE_MAX as u64;
    let halves = word & 0xff_ffff | word << 8 & 0xff_ffff << 32;
    halves & LOWEST
        | halves << 2 & LOWEST << 8
        | halves << 4 & LOWEST << 16
        | halves << 6 & LOWEST << 24
}

/// Stores all registers.
pub(super) fn pack(registers: &[u8; REGISTER_COUNT], packed: &mut Packed) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = wide() {
        return avx2::pack(simd, registers, packed);
    }
    let (registers, _) = registers.as_chunks::<4>();
    let (groups, _) = packed.as_chunks_mut::<3>();
    for (group, &[a, b, c, d]) in groups.iter_mut().zip(registers) {
        *group = [a | b << 6, b >> 2 | c << 4, c >> 4 | d << 2];
    }
}
