//! HyperLogLogs, held against an array of registers, against each other's encoding, and against bytes that are none.

use proptest::collection::vec;
use proptest::prelude::*;
use rubine_base::random::Random;

use super::{
    Element, Encoding, HEADER_LEN, Histogram, REGISTER_COUNT, Registers, add, decode, dense, empty,
    encoding, estimate, is_sound, known_estimate, lack, note_estimate, self_test, set_wide,
    to_dense,
};

const SPARSE_LEN_MAX: usize = 3000;

fn registers_of(bytes: &[u8]) -> Vec<u8> {
    let mut registers = Registers::new();
    registers.merge(bytes).expect("sound");
    registers.values().to_vec()
}

fn element() -> impl Strategy<Value = Element> {
    // Few registers and many equal values, so that runs are split and united; now and then a value too large to be sparse.
    let register = prop_oneof![0_usize..40, 8000_usize..8040, 0..REGISTER_COUNT];
    let value = prop_oneof![8 => 1_u8..4, 1 => 30_u8..34, 2 => 1_u8..52];
    (register, value).prop_map(|(register, value)| Element { register, value })
}

proptest! {
    #[test]
    fn both_encodings_hold_what_was_added(
        elements in vec(element(), 0..300),
        sparse_len_max in prop_oneof![Just(0_usize), 18_usize..200, Just(SPARSE_LEN_MAX)],
    ) {
        let mut model = vec![0; REGISTER_COUNT];
        let (mut sparse, mut dense) = (empty(), empty());
        to_dense(&mut dense).unwrap();
        for &element in &elements {
            let changes = model[element.register] < element.value;
            model[element.register] = element.value.max(model[element.register]);
            for bytes in [&mut sparse, &mut dense] {
                prop_assert_eq!(lack(bytes, element).unwrap().is_some(), changes);
                prop_assert_eq!(add(bytes, element, sparse_len_max), Ok(changes));
                prop_assert!(!changes || known_estimate(bytes).is_none());
                prop_assert!(is_sound(bytes));
            }
            let is_sparse = encoding(&sparse) == Some(Encoding::Sparse);
            prop_assert!(!is_sparse || sparse.len() <= sparse_len_max.max(empty().len()));
            prop_assert_eq!(decode(&sparse).is_some(), is_sparse);
        }
        prop_assert_eq!(&registers_of(&sparse), &model);
        prop_assert_eq!(&registers_of(&dense), &model);
        prop_assert_eq!(estimate(&sparse), estimate(&dense));
        to_dense(&mut sparse).unwrap();
        prop_assert_eq!(&sparse[HEADER_LEN..], &dense[HEADER_LEN..]);
    }

    #[test]
    fn a_union_holds_the_highest_of_each_register(
        first in vec(element(), 0..100),
        second in vec(element(), 0..100),
        densities in any::<[bool; 2]>(),
    ) {
        let mut sources = [empty(), empty()];
        for ((source, elements), is_dense) in sources.iter_mut().zip([&first, &second]).zip(densities) {
            if is_dense {
                to_dense(source).unwrap();
            }
            elements.iter().for_each(|&it| { add(source, it, SPARSE_LEN_MAX).unwrap(); });
        }
        let mut union = Registers::new();
        sources.iter().for_each(|source| union.merge(source).unwrap());
        let expected: Vec<_> = registers_of(&sources[0])
            .into_iter()
            .zip(registers_of(&sources[1]))
            .map(|(first, second)| first.max(second))
            .collect();
        prop_assert_eq!(union.values(), &expected[..]);
        for mut target in sources {
            union.write_to(&mut target, SPARSE_LEN_MAX);
            prop_assert_eq!(&registers_of(&target), &expected);
            prop_assert_eq!(estimate(&target), Ok(union.estimate()));
            prop_assert_eq!(known_estimate(&target), None);
        }
    }

    #[test]
    fn bytes_that_are_none_are_refused_or_harmless(
        elements in vec(element(), 0..50),
        spoilt in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        more in vec(any::<u8>(), 0..4),
    ) {
        let mut bytes = empty();
        elements.iter().for_each(|&it| { add(&mut bytes, it, SPARSE_LEN_MAX).unwrap(); });
        let len = bytes.len();
        for (at, byte) in &spoilt {
            bytes[at.index(len)] = *byte;
        }
        bytes.truncate(len - cut.index(len) % 4);
        bytes.extend(more);
        if encoding(&bytes).is_none() {
            return Ok(());
        }
        let is_sound = is_sound(&bytes);
        prop_assert_eq!(estimate(&bytes).is_ok(), is_sound);
        prop_assert_eq!(Registers::new().merge(&bytes).is_ok(), is_sound);
        prop_assert_eq!(to_dense(&mut bytes.clone()).is_ok(), is_sound);
        known_estimate(&bytes);
        decode(&bytes);
        for &element in &elements {
            let before = bytes.clone();
            let added = add(&mut bytes, element, SPARSE_LEN_MAX);
            prop_assert!(added.is_ok() || !is_sound);
            prop_assert!(added == Ok(true) || bytes == before);
        }
    }

    #[test]
    fn unions_and_counts_of_any_registers(
        kinds in vec((0_u8..64, 1_u8..=64, 0_usize..3, any::<u64>()), 1..4),
        is_wide: bool,
    ) {
        set_wide(is_wide);
        let mut model = [0; REGISTER_COUNT];
        let mut union = Registers::new();
        for (base, span, kind, seed) in kinds {
            // As elements would leave them, evenly spread, or all but a few equal; each from a lowest value on.
            let mut random = Random::with_seed(seed);
            let values: [u8; REGISTER_COUNT] = std::array::from_fn(|_| {
                let above = match kind {
                    0 => random.next_u64().trailing_zeros().min(u32::from(span)) as u8,
                    1 => random.below(u64::from(span)) as u8,
                    _ => if random.below(1000) == 0 { span } else { 0 },
                };
                63.min(base + above)
            });
            let mut bytes = empty();
            to_dense(&mut bytes).unwrap();
            let packed = dense::registers_mut(&mut bytes[HEADER_LEN..]);
            values.iter().enumerate().for_each(|(at, &value)| dense::set(packed, at, value));
            let mut again = [0; super::DENSE_LEN];
            dense::pack(&values, &mut again);
            prop_assert!(again == *packed);
            union.merge(&bytes).unwrap();
            model.iter_mut().zip(values).for_each(|(model, value)| *model = value.max(*model));
            prop_assert!(union.values() == model);
            let mut counts = Histogram::default();
            model.iter().for_each(|&value| counts.add(value, 1));
            prop_assert_eq!(Histogram::of(&model), counts);
        }
    }

    #[test]
    fn registers_at_once_and_one_by_one(values in vec(0_u8..64, REGISTER_COUNT), is_wide: bool) {
        set_wide(is_wide);
        let mut bytes = empty();
        to_dense(&mut bytes).unwrap();
        let packed = dense::registers_mut(&mut bytes[HEADER_LEN..]);
        values.iter().enumerate().for_each(|(register, &value)| dense::set(packed, register, value));
        let packed = *packed;
        prop_assert_eq!(registers_of(&bytes), &values[..]);
        let mut again = [0; super::DENSE_LEN];
        dense::pack(values[..].try_into().unwrap(), &mut again);
        prop_assert!(again == packed);
    }
}

#[test]
fn the_one_that_the_design_of_redis_explains() {
    let mut bytes = empty();
    assert_eq!(decode(&bytes).unwrap(), "Z:16384");
    for (register, value) in [(1000, 2), (1020, 3), (1021, 3)] {
        assert_eq!(add(&mut bytes, Element { register, value }, SPARSE_LEN_MAX), Ok(true));
    }
    assert_eq!(decode(&bytes).unwrap(), "Z:1000 v:2,1 z:19 v:3,2 Z:15362");
    assert_eq!(bytes[HEADER_LEN..], [0x43, 0xe7, 0x84, 0x12, 0x89, 0x7c, 0x01]);
}

#[test]
fn an_estimate_is_known_until_something_is_added() {
    let mut bytes = empty();
    assert_eq!(known_estimate(&bytes), Some(0));
    note_estimate(&mut bytes, 12345);
    assert_eq!(known_estimate(&bytes), Some(12345));
    add(&mut bytes, Element::of(b"a"), SPARSE_LEN_MAX).unwrap();
    assert_eq!(known_estimate(&bytes), None);
    assert_eq!(estimate(&bytes), Ok(1));
}

#[test]
fn registers_that_no_elements_lead_to_have_an_estimate_too() {
    for value in [51, 52, 63] {
        let mut bytes = empty();
        to_dense(&mut bytes).unwrap();
        dense::pack(&[value; REGISTER_COUNT], dense::registers_mut(&mut bytes[HEADER_LEN..]));
        let known = estimate(&bytes).unwrap();
        assert!(known == 0 || known == 1 << 63, "{value}: {known}");
    }
}

#[test]
fn the_self_test_passes() {
    self_test(&mut Random::with_seed(1), SPARSE_LEN_MAX).unwrap();
}
