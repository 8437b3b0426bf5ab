//! A tag for each hash slot, by which a text that is no key is sent to the node that has it. Knows no node.

use std::sync::LazyLock;

use crate::crc::{SLOT_COUNT, crc16};

/// In this order, and the shortest first: what Redis and Valkey have in a table.
const LETTERS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// With three letters, there is a tag for every slot.
const LEN_MAX: usize = 3;

/// The tag of a slot, padded at the front with zero bytes, which no tag has.
type Tag = [u8; LEN_MAX];

static TAGS: LazyLock<Box<[Tag]>> = LazyLock::new(|| {
    let mut tags = vec![[0; LEN_MAX]; usize::from(SLOT_COUNT)].into_boxed_slice();
    let mut add = |tag: Tag| {
        let place = &mut tags[usize::from(crc16(text(&tag)) % SLOT_COUNT)];
        if *place == [0; LEN_MAX] {
            *place = tag;
        }
    };
    let with_none = || std::iter::once(0).chain(LETTERS.iter().copied());
    for first in with_none() {
        for second in with_none().filter(|it| *it != 0 || first == 0) {
            LETTERS.iter().for_each(|third| add([first, second, *third]));
        }
    }
    tags
});

fn text(tag: &Tag) -> &[u8] {
    let padding = tag.iter().take_while(|it| **it == 0).count();
    &tag[padding..]
}

/// The tag whose slot is `slot`: one to three letters and digits.
///
/// # Panics
/// If there is no such slot.
pub fn tag_of_slot(slot: u16) -> &'static str {
    std::str::from_utf8(text(&TAGS[usize::from(slot)])).expect("letters are text")
}

#[cfg(test)]
mod tests {
    use super::tag_of_slot;
    use crate::crc::{SLOT_COUNT, slot_of};

    #[test]
    fn every_slot_has_the_tag_that_others_give_it() {
        for slot in 0..SLOT_COUNT {
            assert_eq!(slot_of(format!("{{{}}}", tag_of_slot(slot)).as_bytes()), slot);
        }
        let known = [(0, "06S"), (1, "Qi"), (2, "5L5"), (5, "460"), (9, "ru"), (11, "4ji")];
        assert!(known.iter().all(|(slot, tag)| tag_of_slot(*slot) == *tag));
    }
}
