//! Intsets: sets of integers, ascending, all as wide as the widest.
//!
//! ```text
//! | bytes of an integer (4): 2, 4 or 8 | integers (4) | integer | .. |
//! ```

use crate::error::{Damage, Fault};

const HEADER_BYTES: usize = 4 + 4;

/// The integers, which are known to ascend.
pub(crate) fn integers(bytes: &[u8]) -> Result<impl Iterator<Item = i64>, Damage> {
    let fault = |what| Fault::Intset(what).at(0);
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(fault("too short"));
    };
    let [width, count] = [0, 4]
        .map(|at| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes")) as usize);
    if !matches!(width, 2 | 4 | 8) {
        return Err(fault("no such width"));
    }
    if count.checked_mul(width) != Some(body.len()) {
        return Err(fault("its length is not that in its header"));
    }
    let all = body.chunks_exact(width).map(|bytes| match bytes.len() {
        2 => i64::from(i16::from_le_bytes(bytes.try_into().expect("two bytes"))),
        4 => i64::from(i32::from_le_bytes(bytes.try_into().expect("four bytes"))),
        _ => i64::from_le_bytes(bytes.try_into().expect("eight bytes")),
    });
    if !all.clone().is_sorted_by(|left, right| left < right) {
        return Err(fault("not in ascending order"));
    }
    Ok(all)
}

/// An intset of `integers`, which ascend. It is made in `buffer`, whatever is in it.
pub(crate) fn of(integers: &[i64], buffer: Vec<u8>) -> Vec<u8> {
    let (low, high) =
        (integers.first().copied().unwrap_or(0), integers.last().copied().unwrap_or(0));
    let fits = |min: i64, max: i64| min <= low && high <= max;
    let width = if fits(i64::from(i16::MIN), i64::from(i16::MAX)) {
        2
    } else if fits(i64::from(i32::MIN), i64::from(i32::MAX)) {
        4
    } else {
        8
    };
    let mut bytes = buffer;
    bytes.clear();
    bytes.reserve(HEADER_BYTES + integers.len() * width);
    bytes.extend_from_slice(&(width as u32).to_le_bytes());
    bytes.extend_from_slice(&(integers.len() as u32).to_le_bytes());
    let all = integers.iter();
    match width {
        2 => bytes.extend(all.flat_map(|&it| (it as i16).to_le_bytes())),
        4 => bytes.extend(all.flat_map(|&it| (it as i32).to_le_bytes())),
        _ => bytes.extend(all.flat_map(|it| it.to_le_bytes())),
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{integers, of};

    fn all_of(bytes: &[u8]) -> Option<Vec<i64>> {
        integers(bytes).ok().map(Iterator::collect)
    }

    #[test]
    fn what_is_wrong_is_refused() {
        assert_eq!(all_of(b"\x02\0\0\0\x02\0\0\0\x01\0\x02\0"), Some(vec![1, 2]));
        for bad in [
            &b""[..],
            b"\x02\0\0\0\x02\0\0",
            b"\x03\0\0\0\x00\0\0\0",
            b"\x02\0\0\0\x02\0\0\0\x01\0\x02",
            b"\x02\0\0\0\x02\0\0\0\x02\0\x01\0",
            b"\x02\0\0\0\x02\0\0\0\x01\0\x01\0",
            b"\x08\0\0\0\xff\xff\xff\xff",
        ] {
            assert_eq!(all_of(bad), None);
        }
    }

    proptest! {
        #[test]
        fn integers_come_back(
            set in prop_oneof![
                prop::collection::btree_set(any::<i16>().prop_map(i64::from), 0..20),
                prop::collection::btree_set(any::<i32>().prop_map(i64::from), 0..20),
                prop::collection::btree_set(any::<i64>(), 0..20),
            ]
        ) {
            let set: Vec<i64> = set.into_iter().collect();
            prop_assert_eq!(all_of(&of(&set, Vec::new())), Some(set));
        }
    }
}
