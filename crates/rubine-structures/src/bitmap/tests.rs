//! Rows of bits, held against models that look at one bit at a time.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Field, Operation, Overflow, bit, combine, count_ones, find, set_bit};

fn bits_of(bytes: &[u8]) -> Vec<bool> {
    bytes.iter().flat_map(|byte| (0..8).map(move |at| byte >> (7 - at) & 1 == 1)).collect()
}

/// Bytes of all kinds, long rows of equal ones among them.
fn row() -> impl Strategy<Value = Vec<u8>> {
    let run = (prop_oneof![Just(0), Just(0xff), any::<u8>()], 0_usize..400);
    vec(run, 0..5).prop_map(|runs| {
        runs.into_iter().flat_map(|(byte, count)| std::iter::repeat_n(byte, count)).collect()
    })
}

/// A row and a range of bits in it.
fn row_with_range() -> impl Strategy<Value = (Vec<u8>, u64, u64)> {
    row().prop_flat_map(|bytes| {
        let len = bytes.len() as u64 * 8;
        (Just(bytes), 0..=len, 0..=len)
    })
}

/// The same word by word: what the definition of each operation says.
fn model(operation: Operation, bits: &[bool]) -> bool {
    let in_others = || bits[1..].iter().any(|&it| it);
    let count = bits.iter().filter(|&&it| it).count();
    match operation {
        Operation::And => count == bits.len(),
        Operation::Or => count > 0,
        Operation::Xor => count % 2 == 1,
        Operation::Not => !bits[0],
        Operation::Diff => bits[0] && !in_others(),
        Operation::Diff1 => !bits[0] && in_others(),
        Operation::AndOr => bits[0] && in_others(),
        Operation::One => count == 1,
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::{And, AndOr, Diff, Diff1, Not, One, Or, Xor};
    prop::sample::select(vec![And, Or, Xor, Not, Diff, Diff1, AndOr, One])
}

fn field() -> impl Strategy<Value = Field> {
    (any::<bool>(), 1_i64..=64)
        .prop_filter_map("no such type", |(is_signed, width)| Field::new(is_signed, width))
}

proptest! {
    #[test]
    fn counting_and_finding((bytes, start, end) in row_with_range(), is_on: bool) {
        let bits = bits_of(&bytes);
        let range = start as usize..(end.max(start)) as usize;
        let expected = bits[range.clone()].iter().filter(|&&it| it).count() as u64;
        prop_assert_eq!(count_ones(&bytes, start..end), expected);
        let expected = bits[range].iter().position(|&it| it == is_on);
        prop_assert_eq!(find(&bytes, start..end, is_on), expected.map(|it| it as u64 + start));
    }

    #[test]
    fn setting(mut bytes in vec(any::<u8>(), 1..40), at: prop::sample::Index, is_on: bool) {
        let mut bits = bits_of(&bytes);
        let offset = at.index(bits.len());
        prop_assert_eq!(bit(&bytes, offset as u64), bits[offset]);
        set_bit(&mut bytes, offset as u64, is_on);
        bits[offset] = is_on;
        prop_assert_eq!(bits_of(&bytes), bits);
        prop_assert!(!bit(&bytes, bytes.len() as u64 * 8));
        prop_assert!(!bit(&bytes, u64::MAX));
    }

    #[test]
    fn combining(
        operation in operation(),
        sources in vec(vec(any::<u8>(), 0..60), 1..6),
        repeat in prop_oneof![Just(1_usize), Just(300)],
        step in prop_oneof![Just(usize::MAX), 1_usize..20_000],
    ) {
        let sources: Vec<_> = sources.iter().map(|it| it.repeat(repeat)).collect();
        let sources: Vec<_> = sources.iter().map(Vec::as_slice).collect();
        let is_single = operation == Operation::Not;
        let sources = if is_single { &sources[..1] } else { &sources[..] };
        let len = sources.iter().map(|it| it.len()).max().unwrap();
        let mut out = Vec::new();
        while out.len() < len {
            let from = out.len();
            combine(operation, sources, from, step, &mut out);
            prop_assert_eq!(out.len(), from.saturating_add(step).min(len));
        }
        for offset in 0..len as u64 * 8 {
            let bits: Vec<_> = sources.iter().map(|it| bit(it, offset)).collect();
            prop_assert_eq!(bit(&out, offset), model(operation, &bits), "bit {}", offset);
        }
    }

    #[test]
    fn fields(field in field(), mut bytes in vec(any::<u8>(), 40), offset in 0_u64..256, number: i64) {
        let number = field.fit(number, Overflow::Wrap).unwrap();
        let mut bits = bits_of(&bytes);
        let range = offset as usize..offset as usize + field.width() as usize;
        let number_bits = bits_of(&number.to_be_bytes());
        bits[range].copy_from_slice(&number_bits[64 - field.width() as usize..]);
        field.put(&mut bytes, offset, number);
        prop_assert_eq!(bits_of(&bytes), bits);
        prop_assert_eq!(field.get(&bytes, offset), number);
    }

    #[test]
    fn overflows(field in field(), value: i64, increment: i64, small in -3_i64..=3) {
        let value = field.fit(value, Overflow::Wrap).unwrap();
        for increment in [increment, small] {
            let sum = i128::from(value) + i128::from(increment);
            let wrapped = field.add(value, increment, Overflow::Wrap).unwrap();
            let fits = i128::from(wrapped) == sum;
            prop_assert_eq!((i128::from(wrapped) - sum) % (1 << field.width()), 0);
            let failed = field.add(value, increment, Overflow::Fail);
            prop_assert_eq!(failed, fits.then_some(wrapped));
            let saturated = field.add(value, increment, Overflow::Saturate).unwrap();
            prop_assert!(fits || (i128::from(saturated) < sum) == (increment > 0));
            prop_assert_eq!(field.fit(saturated, Overflow::Fail), Some(saturated));
        }
    }
}

#[test]
fn types_of_fields() {
    let exists = |is_signed, width| Field::new(is_signed, width).is_some();
    assert!(exists(true, 1) && exists(true, 64) && exists(false, 1) && exists(false, 63));
    assert!(!exists(true, 0) && !exists(true, 65) && !exists(false, 64) && !exists(false, -1));
}

#[test]
fn what_does_not_fit() {
    use Overflow::{Fail, Saturate, Wrap};
    let field = |is_signed, width| Field::new(is_signed, width).unwrap();
    let (byte, signed, word) = (field(false, 8), field(true, 8), field(true, 64));
    let cases = [
        (byte, 255, 1, Wrap, Some(0)),
        (byte, 255, 1, Saturate, Some(255)),
        (byte, 0, -1, Wrap, Some(255)),
        (byte, 0, -1, Saturate, Some(0)),
        (byte, 0, -1, Fail, None),
        (signed, 127, 1, Wrap, Some(-128)),
        (signed, -128, -1, Saturate, Some(-128)),
        (word, i64::MAX, 1, Wrap, Some(i64::MIN)),
        (word, i64::MIN, -1, Saturate, Some(i64::MIN)),
    ];
    for (field, value, increment, overflow, expected) in cases {
        let sum = field.add(value, increment, overflow);
        assert_eq!(sum, expected, "{value} + {increment} {overflow:?}");
    }
    // Set to a negative number, an unsigned field is full, not empty.
    assert_eq!(byte.fit(-1, Saturate), Some(255));
    assert_eq!(byte.fit(-1, Wrap), Some(255));
    // So is a signed one that is set to a number from which its maximum is too far away.
    assert_eq!(signed.fit(i64::MIN + 127, Saturate), Some(127));
    assert_eq!(signed.fit(i64::MIN + 128, Saturate), Some(-128));
    assert_eq!(signed.fit(i64::MIN, Wrap), Some(0));
    assert_eq!(word.fit(i64::MIN, Saturate), Some(i64::MIN));
}

#[test]
fn a_field_at_the_end_reads_zeros_behind_it() {
    let field = Field::new(false, 16).unwrap();
    assert_eq!(field.get(b"\xff", 4), 0xf000);
    assert_eq!(field.get(b"\xff", 8), 0);
    assert_eq!(field.get(b"", u64::MAX - 63), 0);
}
