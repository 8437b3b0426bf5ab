//! Listpacks: what small collections and the nodes of lists are in files. Checks everything while it walks.
//!
//! ```text
//! | bytes in all (4) | items (2), 65535 for many | item | .. | 0xff |
//!
//! item: | code and content | how long that is, seven bits a byte, to be read backwards |
//! ```

use rubine_base::number::{parse_i64, write_i64};

use crate::error::{Damage, Fault};

const HEADER_BYTES: usize = 4 + 2;
const END: u8 = 0xff;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// An item as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Text(&'a [u8]),
    Integer(i64),
}

impl<'a> Item<'a> {
    /// The integer that up to eight bytes say, the lowest first.
    pub(crate) fn of_integer(bytes: &[u8]) -> Self {
        let is_negative = bytes.last().is_some_and(|high| high & 0x80 != 0);
        let mut extended = if is_negative { [0xff; 8] } else { [0; 8] };
        extended[..bytes.len()].copy_from_slice(bytes);
        Self::Integer(i64::from_le_bytes(extended))
    }

    /// The text of the item, written to `buffer` if it is not there as text.
    pub(crate) fn text_in<'b>(self, buffer: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Text(text) => text,
            Self::Integer(integer) => {
                buffer.clear();
                write_i64(buffer, integer);
                buffer
            }
        }
    }
}

/// Walks a listpack. What is wrong is found when the walk comes there; the end and the count, at the end.
#[derive(Clone, Debug)]
pub(crate) struct Items<'a> {
    bytes: &'a [u8],
    at: usize,
    count: usize,
}

impl<'a> Items<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Damage> {
        let fault = |what| Fault::Listpack(what).at(0);
        if bytes.len() <= HEADER_BYTES {
            return Err(fault("too short"));
        }
        if u32_at(bytes, 0) as usize != bytes.len() {
            return Err(fault("its length is not that in its header"));
        }
        Ok(Self { bytes, at: HEADER_BYTES, count: 0 })
    }

    /// How many items there are, as the header says, unless they are too many for it.
    pub(crate) fn count_hint(&self) -> Option<usize> {
        let count = u16::from_le_bytes([self.bytes[4], self.bytes[5]]);
        (count != COUNT_UNKNOWN).then_some(usize::from(count))
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Item<'a>>, Damage> {
        let rest = &self.bytes[self.at..];
        if rest.first() == Some(&END) {
            return self.end(rest.len());
        }
        let Some((item, len)) = read_item(rest) else {
            return Err(Fault::Listpack("an item does not fit").at(self.at));
        };
        let Some(back_len) = back_length_of(len, &rest[len..]) else {
            return Err(Fault::Listpack("an item has two lengths").at(self.at + len));
        };
        self.at += len + back_len;
        self.count += 1;
        Ok(Some(item))
    }

    fn end(&self, remaining: usize) -> Result<Option<Item<'a>>, Damage> {
        let fault = if remaining != 1 {
            "its end is not at the end"
        } else if self.count_hint().is_some_and(|count| count != self.count) {
            "its number of items is not that in its header"
        } else {
            return Ok(None);
        };
        Err(Fault::Listpack(fault).at(self.at))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The item that `bytes` begins with, and how many bytes it takes without its length at the end.
#[inline]
fn read_item(bytes: &[u8]) -> Option<(Item<'_>, usize)> {
    let (&first, rest) = bytes.split_first()?;
    let text = |start: usize, len: usize| {
        let text = bytes.get(start..start.checked_add(len)?)?;
        Some((Item::Text(text), start + len))
    };
    let integer = |width: usize| Some((Item::of_integer(rest.get(..width)?), 1 + width));
    let low_bits = |mask: u8| Some(usize::from(first & mask) << 8 | usize::from(*rest.first()?));
    match first {
        0..=0x7f => Some((Item::Integer(i64::from(first)), 1)),
        0x80..=0xbf => text(1, usize::from(first & 0x3f)),
        0xc0..=0xdf => {
            const SIGN: i64 = 1 << 12;
            let value = low_bits(0x1f)? as i64;
            Some((Item::Integer((value ^ SIGN) - SIGN), 2))
        }
        0xe0..=0xef => text(2, low_bits(0x0f)?),
        0xf0 => text(5, u32_at(rest.get(..4)?, 0) as usize),
        0xf1 => integer(2),
        0xf2 => integer(3),
        0xf3 => integer(4),
        0xf4 => integer(8),
        _ => None,
    }
}

/// How many bytes the length at the end of an item of `len` bytes takes. `None` if it says something else.
fn back_length_of(len: usize, bytes: &[u8]) -> Option<usize> {
    if len <= 127 {
        return (bytes.first() == Some(&(len as u8))).then_some(1);
    }
    let width = back_length_width(len);
    let says = |width: usize| -> bool {
        let Some(bytes) = bytes.get(..width) else { return false };
        let mut expected = [0; 8];
        write_back_length(len, &mut expected[..width]);
        bytes == &expected[..width]
    };
    // Where all bits are used up, older servers took a byte more.
    let wider = is_ambiguous(len).then_some(width + 1);
    [Some(width), wider].into_iter().flatten().find(|&width| says(width))
}

fn back_length_width(len: usize) -> usize {
    match len {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        0x20_0000..=0x0fff_ffff => 4,
        _ => 5,
    }
}

/// Servers do not agree on how wide this length is at the end of an item.
fn is_ambiguous(len: usize) -> bool {
    matches!(len, 0x3fff | 0x1f_ffff | 0x0fff_ffff)
}

/// Seven bits a byte, the lowest last; all but the first byte are marked.
fn write_back_length(mut len: usize, out: &mut [u8]) {
    for (index, byte) in out.iter_mut().enumerate().rev() {
        *byte = (len & 0x7f) as u8 | if index == 0 { 0 } else { 0x80 };
        len >>= 7;
    }
}

/// How a length is written that servers do not agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ambiguous {
    /// As Valkey 9.1 does.
    Narrow,
    /// As all others do.
    Wide,
}

/// Puts a listpack together.
pub(crate) struct Builder {
    bytes: Vec<u8>,
    count: usize,
    ambiguous: Ambiguous,
    /// Every server reads it in the same way.
    is_portable: bool,
}

impl Builder {
    /// In `buffer`, whatever is in it.
    pub(crate) fn new(buffer: Vec<u8>) -> Self {
        let mut bytes = buffer;
        bytes.clear();
        bytes.extend_from_slice(&[0; HEADER_BYTES]);
        Self { bytes, count: 0, ambiguous: Ambiguous::Wide, is_portable: true }
    }

    /// For a listpack that [`Builder::finish_for_some`] ends.
    pub(crate) fn with_ambiguous(ambiguous: Ambiguous) -> Self {
        Self { ambiguous, ..Self::new(Vec::new()) }
    }

    /// Adds an item: as an integer if it is the text of one.
    #[inline]
    pub(crate) fn push(&mut self, item: &[u8]) {
        match parse_i64(item) {
            Some(integer) => self.push_integer(integer),
            None => self.push_text(item),
        }
    }

    pub(crate) fn push_integer(&mut self, integer: i64) {
        let start = self.bytes.len();
        let out = &mut self.bytes;
        let le = integer.to_le_bytes();
        match integer {
            0..=127 => out.push(integer as u8),
            -4096..=4095 => {
                let bits = (integer as u16) & 0x1fff;
                out.extend_from_slice(&[0xc0 | (bits >> 8) as u8, bits as u8]);
            }
            _ => {
                let (code, width) = match integer {
                    -0x8000..=0x7fff => (0xf1, 2),
                    -0x80_0000..=0x7f_ffff => (0xf2, 3),
                    -0x8000_0000..=0x7fff_ffff => (0xf3, 4),
                    _ => (0xf4, 8),
                };
                out.push(code);
                out.extend_from_slice(&le[..width]);
            }
        }
        self.close(start);
    }

    fn push_text(&mut self, text: &[u8]) {
        let start = self.bytes.len();
        let out = &mut self.bytes;
        match text.len() {
            0..=0x3f => out.push(0x80 | text.len() as u8),
            0x40..=0xfff => {
                out.extend_from_slice(&[0xe0 | (text.len() >> 8) as u8, text.len() as u8]);
            }
            _ => {
                out.push(0xf0);
                out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            }
        }
        out.extend_from_slice(text);
        self.close(start);
    }

    /// Writes the length of the item that began at `start`.
    #[inline]
    fn close(&mut self, start: usize) {
        let len = self.bytes.len() - start;
        self.count += 1;
        if len <= 127 {
            self.bytes.push(len as u8);
            return;
        }
        let mut width = back_length_width(len);
        if is_ambiguous(len) {
            self.is_portable = false;
            width += usize::from(self.ambiguous == Ambiguous::Wide);
        }
        let end = self.bytes.len();
        self.bytes.resize(end + width, 0);
        write_back_length(len, &mut self.bytes[end..]);
    }

    /// The listpack; `None` if not every server would read it.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        let is_portable = self.is_portable;
        self.finish_for_some().filter(|_| is_portable)
    }

    /// The listpack; `None` if it is too long to be one.
    pub(crate) fn finish_for_some(mut self) -> Option<Vec<u8>> {
        self.bytes.push(END);
        let len = u32::try_from(self.bytes.len()).ok()?;
        let count = u16::try_from(self.count).unwrap_or(COUNT_UNKNOWN);
        self.bytes[..4].copy_from_slice(&len.to_le_bytes());
        self.bytes[4..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
        Some(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Builder, Item, Items};

    fn all_of(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut items = Items::new(bytes).ok()?;
        let (mut all, mut buffer) = (Vec::new(), Vec::new());
        while let Some(item) = items.next().ok()? {
            all.push(item.text_in(&mut buffer).to_vec());
        }
        Some(all)
    }

    fn listpack_of(items: &[&[u8]]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        items.iter().for_each(|item| builder.push(item));
        builder.finish().unwrap()
    }

    #[test]
    fn bytes_are_those_of_redis() {
        let check = |items: &[&[u8]], expected: &[u8]| assert_eq!(listpack_of(items), expected);
        check(&[], b"\x07\0\0\0\0\0\xff");
        check(&[b"a", b"1"], b"\x0c\0\0\0\x02\0\x81a\x02\x01\x01\xff");
        check(&[b"-1"], b"\x0a\0\0\0\x01\0\xdf\xff\x02\xff");
        check(&[b"128"], b"\x0a\0\0\0\x01\0\xc0\x80\x02\xff");
        check(&[b"-32768"], b"\x0b\0\0\0\x01\0\xf1\0\x80\x03\xff");
    }

    #[test]
    fn a_length_that_servers_differ_on_is_read_and_not_written() {
        // 16378 bytes of text make an item of 16383.
        for ambiguous in [0x3fff, 0x1f_ffff] {
            let text = vec![b'x'; ambiguous - 5];
            let mut builder = Builder::new(Vec::new());
            builder.push(&text);
            assert_eq!(builder.finish(), None);
            let mut items = vec![0xf0];
            items.extend_from_slice(&(text.len() as u32).to_le_bytes());
            items.extend_from_slice(&text);
            let narrow = if ambiguous == 0x3fff { &[0x7f, 0xff][..] } else { &[0x7f, 0xff, 0xff] };
            let wide =
                if ambiguous == 0x3fff { &[0, 0xff, 0xff][..] } else { &[0, 0xff, 0xff, 0xff] };
            for back in [narrow, wide] {
                let len = (6 + items.len() + back.len() + 1) as u32;
                let listpack = [&len.to_le_bytes(), &[1, 0][..], &items, back, &[0xff]].concat();
                assert_eq!(all_of(&listpack), Some(vec![text.clone()]));
            }
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let good = listpack_of(&[b"abc", b"12345"]);
        assert!(all_of(&good).is_some());
        for len in 0..good.len() {
            assert_eq!(all_of(&good[..len]), None, "{len}");
        }
        for at in [0, 4, 5, 6, 10, 14] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(all_of(&bad), None, "{at}");
        }
    }

    proptest! {
        #[test]
        fn items_come_back(
            items in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..200),
                    prop::collection::vec(any::<u8>(), 4000..5000),
                    any::<i64>().prop_map(|it| it.to_string().into_bytes()),
                    any::<i16>().prop_map(|it| it.to_string().into_bytes()),
                    any::<i32>().prop_map(|it| (it / 300).to_string().into_bytes()),
                ],
                0..20,
            )
        ) {
            let borrowed: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(all_of(&listpack_of(&borrowed)), Some(items));
        }

        #[test]
        fn nothing_makes_it_panic(mut bytes: Vec<u8>) {
            if let Some(length) = bytes.get_mut(..4) {
                length.copy_from_slice(&[0; 4]);
                bytes[0] = bytes.len() as u8;
            }
            let _ = all_of(&bytes);
        }

        #[test]
        fn an_item_is_an_integer_or_text(integer: i64) {
            let mut builder = Builder::new(Vec::new());
            builder.push_integer(integer);
            let bytes = builder.finish().unwrap();
            prop_assert_eq!(Items::new(&bytes).unwrap().next(), Ok(Some(Item::Integer(integer))));
        }
    }
}
