//! HyperLogLog: how many different elements there were, within 0.81 %, from 16384 registers. The bytes are those of Redis
//! and Valkey, since users copy them from server to server. Knows no key; what it is given may be any bytes at all.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | `HYLL` |
//! | 4 | 1 | encoding: 0 dense, 1 sparse |
//! | 5 | 3 | unused |
//! | 8 | 8 | the estimate last worked out, little-endian; its top bit is set when it is out of date |
//! | 16 | | the registers |
//!
//! An element's hash chooses a register by its lowest 14 bits; the register holds the longest run of zeros that the other
//! bits of any element began with, plus one. Dense, a register takes six bits; `sparse` draws the other encoding.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod dense;
mod estimate;
mod self_test;
mod sparse;
#[cfg(test)]
mod tests;

use self::estimate::Histogram;
use self::sparse::Opcodes;

pub use self::dense::set_wide;
pub use self::self_test::self_test;

/// Bits of a hash that choose the register.
const INDEX_BITS: u32 = 14;

/// How many registers there are.
pub const REGISTER_COUNT: usize = 1 << INDEX_BITS;

/// Bits of a register, and how many different values they can have.
const REGISTER_BITS: usize = 6;
const VALUE_COUNT: usize = 1 << REGISTER_BITS;

/// All registers, as a dense one stores them.
type Packed = [u8; DENSE_LEN];
const DENSE_LEN: usize = REGISTER_COUNT * REGISTER_BITS / 8;

/// Bits of a hash that are left to begin with zeros.
const RUN_BITS: u32 = u64::BITS - INDEX_BITS;

const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING_OFFSET: usize = MAGIC.len();
const ESTIMATE_OFFSET: usize = 8;
const HEADER_LEN: usize = ESTIMATE_OFFSET + size_of::<u64>();
/// Set in the last byte of the estimate when it is out of date.
const STALE: u8 = 1 << 7;

/// How the registers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Dense,
    Sparse,
}

/// The sparse registers make no sense, or are not as many as there must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupted;

/// An empty one, sparse.
pub fn empty() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.resize(HEADER_LEN, 0);
    bytes[ENCODING_OFFSET] = Encoding::Sparse as u8;
    sparse::push_zeros(&mut bytes, REGISTER_COUNT);
    bytes
}

/// The encoding; `None` if the bytes are no HyperLogLog. All functions below are for what has one.
#[inline]
pub fn encoding(bytes: &[u8]) -> Option<Encoding> {
    if bytes.len() < HEADER_LEN || !bytes.starts_with(MAGIC) {
        return None;
    }
    match bytes[ENCODING_OFFSET] {
        0 if bytes.len() == HEADER_LEN + DENSE_LEN => Some(Encoding::Dense),
        1 => Some(Encoding::Sparse),
        _ => None,
    }
}

/// An element, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    register: usize,
    value: u8,
}

impl Element {
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        let hash = hash(bytes);
        let run = (hash >> INDEX_BITS | 1 << RUN_BITS).trailing_zeros();
        Self { register: hash as usize % REGISTER_COUNT, value: run as u8 + 1 }
    }
}

/// A register that an element would change, and where to find it in the bytes that lack it.
#[derive(Clone, Copy, Debug)]
pub struct Lack {
    element: Element,
    place: Option<sparse::Place>,
}

/// What adding the element would change, if anything.
#[inline]
pub fn lack(bytes: &[u8], element: Element) -> Result<Option<Lack>, Corrupted> {
    let (value, place) = match parts(bytes) {
        Parts::Dense(registers) => (dense::get(registers, element.register), None),
        Parts::Sparse(opcodes) => {
            let (value, place) = sparse::get(opcodes, element.register)?;
            (value, Some(place))
        }
    };
    Ok((value < element.value).then_some(Lack { element, place }))
}

/// Changes the register that these very bytes lack; the estimate is out of date then. A sparse one becomes dense rather
/// than longer than `sparse_len_max`. On an error, nothing has changed.
pub fn fill(bytes: &mut Vec<u8>, lack: Lack, sparse_len_max: usize) -> Result<(), Corrupted> {
    let Element { register, value } = lack.element;
    let is_filled =
        match lack.place.map(|it| sparse::raise(bytes, it, register, value, sparse_len_max)) {
            Some(sparse::Raised::Changed) => true,
            Some(sparse::Raised::Outgrown) => {
                make_dense(bytes)?;
                false
            }
            None => false,
        };
    if !is_filled {
        dense::set(dense::registers_mut(&mut bytes[HEADER_LEN..]), register, value);
    }
    make_stale(bytes);
    Ok(())
}

/// Adds the element, as [`fill`] does, unless it changes nothing. Returns whether a register changed.
pub fn add(
    bytes: &mut Vec<u8>,
    element: Element,
    sparse_len_max: usize,
) -> Result<bool, Corrupted> {
    let lack = lack(bytes, element)?;
    if let Some(lack) = lack {
        fill(bytes, lack, sparse_len_max)?;
    }
    Ok(lack.is_some())
}

/// Whether all registers are there: then nothing below fails.
pub fn is_sound(bytes: &[u8]) -> bool {
    match parts(bytes) {
        Parts::Dense(_) => true,
        Parts::Sparse(opcodes) => sparse::for_each_run(opcodes, |_, _, _| {}).is_ok(),
    }
}

/// The estimate that was last worked out, unless it is out of date.
#[inline]
pub fn known_estimate(bytes: &[u8]) -> Option<u64> {
    let estimate = bytes[ESTIMATE_OFFSET..HEADER_LEN].try_into().expect("the range has 8 bytes");
    let is_known = bytes[HEADER_LEN - 1] & STALE == 0;
    is_known.then_some(u64::from_le_bytes(estimate))
}

/// Writes an estimate down.
pub fn note_estimate(bytes: &mut [u8], estimate: u64) {
    bytes[ESTIMATE_OFFSET..HEADER_LEN].copy_from_slice(&estimate.to_le_bytes());
}

/// From now on, the estimate is out of date. Its other bits stay, as they do in Redis.
pub fn make_stale(bytes: &mut [u8]) {
    bytes[HEADER_LEN - 1] |= STALE;
}

/// Works the estimate out.
pub fn estimate(bytes: &[u8]) -> Result<u64, Corrupted> {
    match parts(bytes) {
        Parts::Dense(_) => {
            let mut registers = Registers::new();
            registers.merge(bytes)?;
            Ok(registers.estimate())
        }
        Parts::Sparse(opcodes) => {
            let mut histogram = Histogram::default();
            sparse::for_each_run(opcodes, |_, count, value| histogram.add(value, count))?;
            Ok(histogram.estimate())
        }
    }
}

/// Makes a sparse one dense. Returns whether it was sparse.
pub fn to_dense(bytes: &mut Vec<u8>) -> Result<bool, Corrupted> {
    let is_sparse = encoding(bytes) == Some(Encoding::Sparse);
    if is_sparse {
        make_dense(bytes)?;
    }
    Ok(is_sparse)
}

fn make_dense(bytes: &mut Vec<u8>) -> Result<(), Corrupted> {
    let mut dense = Vec::with_capacity(HEADER_LEN + DENSE_LEN);
    dense.extend_from_slice(&bytes[..HEADER_LEN]);
    dense[ENCODING_OFFSET] = Encoding::Dense as u8;
    dense.resize(HEADER_LEN + DENSE_LEN, 0);
    let registers = dense::registers_mut(&mut dense[HEADER_LEN..]);
    sparse::for_each_run(&bytes[HEADER_LEN..], |first, count, value| {
        if value > 0 {
            (first..first + count).for_each(|register| dense::set(registers, register, value));
        }
    })?;
    *bytes = dense;
    Ok(())
}

/// The sparse opcodes as text, as `Z:1000 v:2,1 z:19`; `None` if the encoding is dense.
pub fn decode(bytes: &[u8]) -> Option<String> {
    match parts(bytes) {
        Parts::Dense(_) => None,
        Parts::Sparse(opcodes) => {
            let opcodes: Vec<_> = Opcodes::new(opcodes).map(|it| it.to_string()).collect();
            Some(opcodes.join(" "))
        }
    }
}

/// All registers, one a byte: the union of any number of HyperLogLogs.
pub struct Registers(Box<[u8; REGISTER_COUNT]>);

impl Registers {
    /// All zero.
    #[expect(clippy::new_without_default, reason = "it is a buffer, and new says that one is made")]
    pub fn new() -> Self {
        let zeros = vec![0; REGISTER_COUNT].into_boxed_slice();
        Self(zeros.try_into().expect("the vector has as many elements"))
    }

    /// Raises each register to that of another one. On an error, some have been.
    pub fn merge(&mut self, bytes: &[u8]) -> Result<(), Corrupted> {
        match parts(bytes) {
            Parts::Dense(registers) => {
                dense::merge(&mut self.0, registers);
                Ok(())
            }
            Parts::Sparse(opcodes) => sparse::for_each_run(opcodes, |first, count, value| {
                if value > 0 {
                    let run = &mut self.0[first..first + count];
                    run.iter_mut().for_each(|register| *register = value.max(*register));
                }
            }),
        }
    }

    /// Works the estimate out.
    pub fn estimate(&self) -> u64 {
        Histogram::of(&self.0).estimate()
    }

    /// The values.
    pub fn values(&self) -> &[u8] {
        &*self.0
    }

    /// Puts all of them into a dense one; into a sparse one those that are higher than there, as if each had been added.
    /// What they are put into is sound, and part of the union.
    pub fn write_to(&self, bytes: &mut Vec<u8>, sparse_len_max: usize) {
        const SOUND: &str = "what is sound stays so";
        if encoding(bytes) == Some(Encoding::Sparse) {
            let mut known = Self::new();
            known.merge(bytes).expect(SOUND);
            let values = self.0.iter().zip(known.0.iter()).enumerate();
            for (register, (&value, _)) in values.filter(|(_, (value, known))| known < value) {
                add(bytes, Element { register, value }, sparse_len_max).expect(SOUND);
            }
        } else {
            dense::pack(&self.0, dense::registers_mut(&mut bytes[HEADER_LEN..]));
        }
        make_stale(bytes);
    }
}

/// The registers, by encoding.
enum Parts<'a> {
    Dense(&'a Packed),
    Sparse(&'a [u8]),
}

#[inline]
fn parts(bytes: &[u8]) -> Parts<'_> {
    let registers = &bytes[HEADER_LEN..];
    match encoding(bytes) {
        Some(Encoding::Dense) => Parts::Dense(registers.try_into().expect("its length was seen")),
        _ => Parts::Sparse(registers),
    }
}

/// `MurmurHash64A` with Redis's seed: part of the format, since another hash would put elements elsewhere.
#[inline]
fn hash(bytes: &[u8]) -> u64 {
    const SEED: u64 = 0xadc8_3b19;
    const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    for &word in words {
        let word = u64::from_le_bytes(word).wrapping_mul(FACTOR);
        hash = (hash ^ (word ^ word >> SHIFT).wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
    }
    hash = (hash ^ hash >> SHIFT).wrapping_mul(FACTOR);
    hash ^ hash >> SHIFT
}
