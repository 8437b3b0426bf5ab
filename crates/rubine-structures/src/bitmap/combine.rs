//! Bitwise operations on any number of strings. Every byte is read once from memory and written once; a string that is
//! shorter than the longest one goes on with zeros.

/// What becomes of the sources, bit by bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// In all of them.
    And,
    /// In any of them.
    Or,
    /// In an odd number of them.
    Xor,
    /// Not in the first one, which is the only one.
    Not,
    /// In the first one and in no other.
    Diff,
    /// In any but the first one, and not in that.
    Diff1,
    /// In the first one and in any other.
    AndOr,
    /// In exactly one of them.
    One,
}

/// Worked on at a time: so little stays in the processor's first cache from the first source to the last.
const BLOCK_LEN: usize = 8 * 1024;

/// Combines the sources, of which there is at least one. The result is as long as the longest, and is appended to `out`
/// from byte `from` on, as many bytes as `len_max` allows; so a long one can be worked out step by step.
pub fn combine(
    operation: Operation,
    sources: &[&[u8]],
    from: usize,
    len_max: usize,
    out: &mut Vec<u8>,
) {
    let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
    let end = from.saturating_add(len_max).min(len);
    let mut start = from;
    while start < end {
        let block_end = end.min(start + BLOCK_LEN);
        let part = |source: &'_ &[u8]| start.min(source.len())..block_end.min(source.len());
        let first = &sources[0][part(&sources[0])];
        let others = sources[1..].iter().map(|source| &source[part(source)]);
        combine_block(operation, first, others, block_end - start, out);
        start = block_end;
    }
}

/// Appends `len` bytes: the result for the parts of the sources that a block covers.
fn combine_block<'a>(
    operation: Operation,
    first: &'a [u8],
    mut others: impl Iterator<Item = &'a [u8]>,
    len: usize,
    out: &mut Vec<u8>,
) {
    let at = out.len();
    match operation {
        Operation::Diff1 | Operation::AndOr => begin(out, others.next().unwrap_or_default(), len),
        _ => begin(out, first, len),
    }
    let block = &mut out[at..];
    match operation {
        Operation::And => others.for_each(|other| intersect(block, other)),
        Operation::Or => others.for_each(|other| each(block, other, |out, byte| *out |= byte)),
        Operation::Xor => others.for_each(|other| each(block, other, |out, byte| *out ^= byte)),
        Operation::Not => block.iter_mut().for_each(|byte| *byte = !*byte),
        Operation::Diff => others.for_each(|other| each(block, other, |out, byte| *out &= !byte)),
        Operation::Diff1 => {
            others.for_each(|other| each(block, other, |out, byte| *out |= byte));
            each(block, first, |out, byte| *out &= !byte);
        }
        Operation::AndOr => {
            others.for_each(|other| each(block, other, |out, byte| *out |= byte));
            intersect(block, first);
        }
        Operation::One => {
            let mut repeated = [0; BLOCK_LEN];
            for other in others {
                for ((out, repeated), byte) in block.iter_mut().zip(&mut repeated).zip(other) {
                    *repeated |= *out & byte;
                    *out |= byte;
                }
            }
            each(block, &repeated, |out, byte| *out &= !byte);
        }
    }
}

/// Appends `bytes`, with zeros up to `len`.
fn begin(out: &mut Vec<u8>, bytes: &[u8], len: usize) {
    let end = out.len() + len;
    out.extend_from_slice(bytes);
    out.resize(end, 0);
}

/// Applies `change` to each byte of the block that has its counterpart.
#[inline]
fn each(block: &mut [u8], other: &[u8], change: impl Fn(&mut u8, u8)) {
    block.iter_mut().zip(other).for_each(|(out, &byte)| change(out, byte));
}

/// Keeps what is in both.
fn intersect(block: &mut [u8], other: &[u8]) {
    each(block, other, |out, byte| *out &= byte);
    block[other.len()..].fill(0);
}
