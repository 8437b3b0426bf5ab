//! The encoder: one method per type of reply, which knows how each protocol version writes it.

use rubine_base::SharedBytes;
use rubine_base::number::DoubleText;

use super::output::{Mark, Output};
use super::{Protocol, ReplyStream, SHARED_BYTES_MIN};
use crate::command::{self, INTO_MEMORY};

/// Longest header: a type byte, twenty digits and the line end.
const HEADER_BYTES_MAX: usize = 24;
const LINE_END: &[u8; 2] = b"\r\n";

/// Encodes replies for one client.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Output,
    protocol: Protocol,
}

/// The header of an array or map whose length is not yet known. It has to be set, before anything is sent; of
/// nested ones the inner first.
#[derive(Debug)]
#[must_use = "a reply without its length is malformed"]
pub struct Deferred {
    mark: Mark,
}

impl<'a> Reply<'a> {
    /// Writes to `out` as `protocol` says.
    #[inline]
    pub fn new(out: &'a mut Output, protocol: Protocol) -> Self {
        Self { out, protocol }
    }

    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The replies that follow are of this protocol.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// The same writer, lent for a shorter time.
    #[inline]
    pub fn reborrow(&mut self) -> Reply<'_> {
        Reply { out: &mut *self.out, protocol: self.protocol }
    }

    /// Where the next reply will start; see [`Reply::truncate_to`].
    #[inline]
    pub fn mark(&self) -> Mark {
        self.out.mark()
    }

    /// Drops what was written since `mark`.
    pub fn truncate_to(&mut self, mark: Mark) {
        self.out.truncate_to(mark);
    }

    /// Whether nothing waits to be sent, nor has been written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Bytes that are copied into the queue and wait to be sent, whichever reply they belong to.
    pub fn buffered_bytes(&self) -> usize {
        self.out.buffered_bytes()
    }

    /// Whether an error begins at `mark`.
    pub fn is_error_at(&self, mark: Mark) -> bool {
        matches!(self.out.byte_at(mark), Some(b'-' | b'!'))
    }

    /// Writes what was replied elsewhere.
    pub fn append(&mut self, other: Output) {
        self.out.append(other);
    }

    /// Bytes of replies since `mark`; as many as can be where a stream has yet to produce some of them.
    #[inline]
    pub fn bytes_since(&self, mark: Mark) -> usize {
        self.out.bytes_since(mark)
    }

    /// Puts what `wrap` makes of each stream behind `mark` in its place, as one that counts what comes. Returns the bytes
    /// that are there already.
    pub fn wrap_streams_since(
        &mut self,
        mark: Mark,
        mut wrap: impl FnMut(Box<dyn ReplyStream>) -> Box<dyn ReplyStream>,
    ) -> usize {
        self.out.wrap_streams_since(mark, &mut wrap)
    }

    /// `+OK`
    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A simple string, which must not contain a line break.
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']));
        self.line(b'+', text.as_bytes());
    }

    /// An error: a code in capitals, a blank, and a sentence. Line breaks become blanks, but for those at the end.
    pub fn error(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    /// [`Reply::error`] for a text that quotes what a client has sent.
    pub fn error_bytes(&mut self, text: &[u8]) {
        let is_break = |it: &&u8| matches!(it, b'\r' | b'\n');
        let breaks = text.iter().rev().take_while(is_break).count();
        let text = &text[..text.len() - breaks];
        let bytes = self.out.room_for(text.len() + 1 + LINE_END.len());
        bytes.push(b'-');
        bytes.extend(text.iter().map(|&byte| match byte {
            b'\r' | b'\n' => b' ',
            byte => byte,
        }));
        bytes.extend_from_slice(LINE_END);
    }

    #[inline]
    pub fn integer(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(magnitude) => self.header(b':', magnitude),
            Err(_) => self.line(b':', itoa::Buffer::new().format(value).as_bytes()),
        }
    }

    #[inline]
    pub fn bulk(&mut self, text: &[u8]) {
        let bytes = self.out.room_for(HEADER_BYTES_MAX + text.len() + LINE_END.len());
        write_header(bytes, b'$', text.len() as u64);
        bytes.extend_from_slice(text);
        bytes.extend_from_slice(LINE_END);
    }

    /// A bulk string of decimal digits.
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A bulk string, by reference if it is long.
    #[inline]
    pub fn shared(&mut self, value: &SharedBytes) {
        self.shared_range(value, 0..value.len());
    }

    /// A bulk string that is a part of a value, by reference if it is long.
    pub fn shared_range(&mut self, value: &SharedBytes, range: std::ops::Range<usize>) {
        if range.len() < SHARED_BYTES_MIN {
            self.bulk(&value[range]);
            return;
        }
        self.header(b'$', range.len() as u64);
        self.out.push_shared(SharedBytes::clone(value), range);
        self.raw(LINE_END);
    }

    /// A missing value.
    #[inline]
    pub fn null(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.raw(b"$-1\r\n"),
            Protocol::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// A missing array.
    pub fn null_array(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.raw(b"*-1\r\n"),
            Protocol::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// The header of an array: `count` replies follow.
    #[inline]
    pub fn array(&mut self, count: usize) {
        self.header(b'*', count as u64);
    }

    /// The header of a map: `pair_count` keys and values follow, alternating. A flat array in RESP2.
    pub fn map(&mut self, pair_count: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', pair_count as u64 * 2),
            Protocol::Resp3 => self.header(b'%', pair_count as u64),
        }
    }

    /// The header of a set: `count` replies follow. An array in RESP2.
    pub fn set(&mut self, count: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', count as u64),
            Protocol::Resp3 => self.header(b'~', count as u64),
        }
    }

    /// The header of a message that is no reply: `count` parts follow. An array in RESP2.
    pub fn push(&mut self, count: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', count as u64),
            Protocol::Resp3 => self.header(b'>', count as u64),
        }
    }

    /// The header of attributes of the reply that follows; returns whether the pairs are to be written, as RESP2 has
    /// no attributes.
    #[must_use]
    pub fn attribute(&mut self, pair_count: usize) -> bool {
        match self.protocol {
            Protocol::Resp2 => false,
            Protocol::Resp3 => {
                self.header(b'|', pair_count as u64);
                true
            }
        }
    }

    /// The header of an array whose length is set later, by [`Reply::set_array_len`] or one of its siblings.
    pub fn array_deferred(&mut self) -> Deferred {
        // Room for the header that will most often fit: a type, one digit, a line end.
        self.out.room_for(PLACEHOLDER.len());
        let mark = self.out.mark();
        self.raw(PLACEHOLDER);
        Deferred { mark }
    }

    pub fn set_array_len(&mut self, deferred: Deferred, count: usize) {
        self.set_header(deferred, b'*', count as u64);
    }

    pub fn set_map_len(&mut self, deferred: Deferred, pair_count: usize) {
        match self.protocol {
            Protocol::Resp2 => self.set_header(deferred, b'*', pair_count as u64 * 2),
            Protocol::Resp3 => self.set_header(deferred, b'%', pair_count as u64),
        }
    }

    pub fn set_set_len(&mut self, deferred: Deferred, count: usize) {
        match self.protocol {
            Protocol::Resp2 => self.set_header(deferred, b'*', count as u64),
            Protocol::Resp3 => self.set_header(deferred, b'~', count as u64),
        }
    }

    /// True or false; 1 or 0 in RESP2.
    pub fn boolean(&mut self, value: bool) {
        self.raw(match (self.protocol, value) {
            (Protocol::Resp2, true) => b":1\r\n",
            (Protocol::Resp2, false) => b":0\r\n",
            (Protocol::Resp3, true) => b"#t\r\n",
            (Protocol::Resp3, false) => b"#f\r\n",
        });
    }

    /// A floating point number; a bulk string in RESP2.
    pub fn double(&mut self, value: f64) {
        self.double_text(DoubleText::of(value).as_bytes());
    }

    /// A floating point number that is text already.
    pub fn double_text(&mut self, text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => self.line(b',', text),
        }
    }

    /// An integer of any size, in decimal; a bulk string in RESP2.
    pub fn big_number(&mut self, digits: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits.as_bytes()),
            Protocol::Resp3 => self.line(b'(', digits.as_bytes()),
        }
    }

    /// Text for people in a format of three letters, `txt` or `mkd`; a bulk string in RESP2.
    pub fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        if self.protocol == Protocol::Resp2 {
            self.bulk(text);
            return;
        }
        let [a, b, c] = format;
        let prefix = [a, b, c, b':'];
        let len = prefix.len() + text.len();
        let bytes = self.out.room_for(HEADER_BYTES_MAX + len + LINE_END.len());
        write_header(bytes, b'=', len as u64);
        bytes.extend_from_slice(&prefix);
        bytes.extend_from_slice(text);
        bytes.extend_from_slice(LINE_END);
    }

    /// Puts `other` in at `mark`, in front of what was written since.
    pub fn insert(&mut self, mark: Mark, other: Output) {
        self.out.insert(mark, other);
    }

    /// A reply, or a part of one, that `stream` will produce while the client reads.
    pub fn stream(&mut self, stream: Box<dyn ReplyStream>) {
        self.out.push_stream(stream, self.protocol);
    }

    /// Bytes that are encoded already.
    #[inline]
    pub fn raw(&mut self, encoded: &[u8]) {
        self.out.room_for(encoded.len()).extend_from_slice(encoded);
    }

    #[inline]
    fn header(&mut self, kind: u8, number: u64) {
        write_header(self.out.room_for(HEADER_BYTES_MAX), kind, number);
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        let bytes = self.out.room_for(text.len() + 1 + LINE_END.len());
        bytes.push(kind);
        bytes.extend_from_slice(text);
        bytes.extend_from_slice(LINE_END);
    }

    #[expect(clippy::needless_pass_by_value, reason = "a length is set once")]
    fn set_header(&mut self, deferred: Deferred, kind: u8, number: u64) {
        let Deferred { mark } = deferred;
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number).as_bytes();
        let (last, before) = digits.split_last().expect("a number has a digit");
        let (bytes, offset) = self.out.block_at(mark);
        bytes[offset..][..2].copy_from_slice(&[kind, *last]);
        if !before.is_empty() {
            self.out.insert_at(mark.after(1), before);
        }
    }
}

/// Stands for a deferred header until it is set.
const PLACEHOLDER: &[u8; 4] = b"*0\r\n";

#[inline]
fn write_header(bytes: &mut Vec<u8>, kind: u8, number: u64) {
    command::write_header(kind, number, bytes).expect(INTO_MEMORY);
}
