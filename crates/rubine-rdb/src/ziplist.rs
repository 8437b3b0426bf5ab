//! Ziplists: what listpacks were before Redis 7. Only read. Checks everything while it walks.
//!
//! ```text
//! | bytes in all (4) | offset of the last item (4) | items (2), 65535 for many | item | .. | 0xff |
//!
//! item: | bytes of the item before (1, or 254 and 4) | code | content |
//! ```

use crate::error::{Damage, Fault};
use crate::listpack::Item;

const HEADER_BYTES: usize = 4 + 4 + 2;
const END: u8 = 0xff;
const LONG: u8 = 0xfe;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// Walks a ziplist, see [`crate::listpack::Items`].
#[derive(Clone, Debug)]
pub(crate) struct Items<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the item before began.
    previous: Option<usize>,
    count: usize,
}

impl<'a> Items<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Damage> {
        let fault = |what| Fault::Ziplist(what).at(0);
        if bytes.len() <= HEADER_BYTES {
            return Err(fault("too short"));
        }
        if u32_of(&bytes[..4]) as usize != bytes.len() {
            return Err(fault("its length is not that in its header"));
        }
        Ok(Self { bytes, at: HEADER_BYTES, previous: None, count: 0 })
    }

    pub(crate) fn next(&mut self) -> Result<Option<Item<'a>>, Damage> {
        let rest = &self.bytes[self.at..];
        if rest.first() == Some(&END) {
            return self.end(rest.len());
        }
        let Some((previous_len, item, len)) = read_item(rest) else {
            return Err(Fault::Ziplist("an item does not fit").at(self.at));
        };
        if previous_len != self.at - self.previous.unwrap_or(self.at) {
            return Err(Fault::Ziplist("an item has two lengths").at(self.at));
        }
        self.previous = Some(self.at);
        self.at += len;
        self.count += 1;
        Ok(Some(item))
    }

    fn end(&self, remaining: usize) -> Result<Option<Item<'a>>, Damage> {
        let last = u32_of(&self.bytes[4..8]) as usize;
        let count = u16::from_le_bytes([self.bytes[8], self.bytes[9]]);
        let fault = if remaining != 1 {
            "its end is not at the end"
        } else if self.previous.is_some_and(|previous| previous != last) {
            "its last item is not where its header says"
        } else if count != COUNT_UNKNOWN && usize::from(count) != self.count {
            "its number of items is not that in its header"
        } else {
            return Ok(None);
        };
        Err(Fault::Ziplist(fault).at(self.at))
    }
}

fn u32_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

/// What `bytes` begins with: the length of the item before, the item, and how many bytes both take.
fn read_item(bytes: &[u8]) -> Option<(usize, Item<'_>, usize)> {
    let (previous_len, head) = match *bytes.first()? {
        LONG => (u32_of(bytes.get(1..5)?) as usize, 5),
        END => return None,
        len => (usize::from(len), 1),
    };
    let body = &bytes[head..];
    let (&code, rest) = body.split_first()?;
    let text = |start: usize, len: usize| {
        let end = start.checked_add(len)?;
        Some((Item::Text(body.get(start..end)?), end))
    };
    let integer = |width: usize| Some((Item::of_integer(rest.get(..width)?), 1 + width));
    let (item, len) = match code {
        0..=0x3f => text(1, usize::from(code)),
        0x40..=0x7f => text(2, usize::from(code & 0x3f) << 8 | usize::from(*rest.first()?)),
        0x80 => {
            let len = rest.get(..4)?.try_into().expect("four bytes");
            text(5, u32::from_be_bytes(len) as usize)
        }
        0xc0 => integer(2),
        0xd0 => integer(4),
        0xe0 => integer(8),
        0xf0 => integer(3),
        0xfe => integer(1),
        0xf1..=0xfd => Some((Item::Integer(i64::from(code & 0x0f) - 1), 1)),
        _ => None,
    }?;
    Some((previous_len, item, head + len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Items;
    use crate::listpack::Item;

    fn all_of(bytes: &[u8]) -> Option<Vec<Item<'_>>> {
        let mut items = Items::new(bytes).ok()?;
        let mut all = Vec::new();
        while let Some(item) = items.next().ok()? {
            all.push(item);
        }
        Some(all)
    }

    /// "ab", 2, -3 in a byte, 1000 in two, -70000 in three.
    const GOOD: &[u8] = b"\x1d\0\0\0\x17\0\0\0\x05\0\
        \0\x02ab\x04\xf3\x02\xfe\xfd\x03\xc0\xe8\x03\x04\xf0\x90\xee\xfe\xff";

    #[test]
    fn items_of_every_width() {
        let integers = [2, -3, 1000, -70_000].map(Item::Integer);
        let expected = [&[Item::Text(b"ab")][..], &integers].concat();
        assert_eq!(all_of(GOOD), Some(expected));
        assert_eq!(all_of(b"\x0b\0\0\0\x0a\0\0\0\0\0\xff"), Some(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for len in 0..GOOD.len() {
            assert_eq!(all_of(&GOOD[..len]), None, "{len}");
        }
        for at in [0, 4, 8, 10, 11, 14, 15, 16, 19, 28] {
            let mut bad = GOOD.to_vec();
            bad[at] ^= 0x40;
            assert_eq!(all_of(&bad), None, "{at}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(mut bytes: Vec<u8>) {
            if let Some(length) = bytes.get_mut(..4) {
                length.copy_from_slice(&[0; 4]);
                bytes[0] = bytes.len() as u8;
            }
            let _ = all_of(&bytes);
        }
    }
}
