//! Requests: arrays of bulk strings, and lines typed by hand. Finds arguments where they stand in the query
//! buffer; never copies one, and never reads the beginning of a long request again because its end was late.

use std::fmt;

use memchr::{memchr, memchr2};
use rubine_base::number::parse_i64;
use rubine_base::quote::split_args_in_place;

/// Longest line: a whole inline request, or the line that announces a count or a length.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Most arguments that a request may announce.
pub const ARGS_MAX: i64 = i32::MAX as i64;
/// Most arguments of a client that has yet to authenticate.
pub const STRANGER_ARGS_MAX: i64 = 10;
/// Longest argument of a client that has yet to authenticate.
pub const STRANGER_BULK_BYTES_MAX: i64 = 16 * 1024;
/// Arguments from this length on may be kept apart from their request.
pub const APART_BYTES_MIN: usize = 32 * 1024;

/// Ranges from here on are numbers of arguments that lie apart: no buffer is that long.
const APART_START: usize = isize::MAX as usize + 1;

/// Where an argument stands, counted from the first byte of its request; or that it lies apart from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArgRange {
    pub start: usize,
    pub len: usize,
}

impl ArgRange {
    /// The argument in `request`, the buffer that was parsed.
    #[inline]
    pub fn of(self, request: &[u8]) -> &[u8] {
        &request[self.start..self.start + self.len]
    }

    /// As [`Self::of`]; `None` if the argument lies apart.
    #[inline]
    pub fn within(self, request: &[u8]) -> Option<&[u8]> {
        request.get(self.start..self.start + self.len)
    }

    /// The argument of `len` bytes that is number `index` of those that lie apart from their request.
    pub fn apart(index: usize, len: usize) -> Self {
        Self { start: APART_START + index, len }
    }

    /// Which of the arguments apart it is, if it is one.
    pub fn apart_index(self) -> Option<usize> {
        self.start.checked_sub(APART_START)
    }
}

/// Who sends the requests, which decides how much is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Has yet to authenticate: small requests only.
    Stranger,
    Client,
    /// A primary's replication stream: an argument may have any length, as it was accepted once already.
    Primary,
}

/// What a request may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `proto-max-bulk-len`.
    pub bulk_bytes_max: i64,
    pub sender: Sender,
}

/// What stands at the beginning of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A request of `consumed` bytes, whose `arg_count` arguments, at least one, were appended. `repeats` says that it is
    /// known to have the name and the number of arguments of the request before.
    Request { consumed: usize, arg_count: usize, repeats: bool },
    /// Nothing to execute in `consumed` bytes: a blank line, an array of no elements or a negative count.
    Empty { consumed: usize },
    /// The request goes on behind the buffer. Room for `want` more bytes, at least one, is worth having; it never
    /// exceeds what has arrived by much, so a claim alone reserves nothing.
    Incomplete { want: usize },
}

/// A request that cannot be understood. The connection is to be closed after the reply `-ERR ` and this text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// A line without end.
    BigInline,
    /// An array count without end.
    BigMultibulkCount,
    /// A bulk length without end.
    BigBulkCount,
    /// An array count that is no number, or too large.
    MultibulkLength,
    /// More arguments than a stranger may send.
    UnauthenticatedMultibulkLength,
    /// A bulk length that is no number, negative, or above the limit.
    BulkLength,
    /// A longer argument than a stranger may send.
    UnauthenticatedBulkLength,
    /// This byte where a bulk string should start.
    ExpectedDollar(u8),
    /// A line of a request, or an argument, that does not end in `\r\n`.
    LineEnd,
    /// An inline request with an open quote.
    UnbalancedQuotes,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Protocol error: ")?;
        formatter.write_str(match self {
            Self::BigInline => "too big inline request",
            Self::BigMultibulkCount => "too big mbulk count string",
            Self::BigBulkCount => "too big bulk count string",
            Self::MultibulkLength => "invalid multibulk length",
            Self::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            Self::BulkLength => "invalid bulk length",
            Self::UnauthenticatedBulkLength => "unauthenticated bulk length",
            Self::ExpectedDollar(byte) => {
                return write!(formatter, "expected '$', got '{}'", char::from(*byte));
            }
            Self::LineEnd => "invalid CRLF in request",
            Self::UnbalancedQuotes => "unbalanced quotes in request",
        })
    }
}

impl std::error::Error for ProtocolError {}

/// Parses the requests of one connection.
#[derive(Debug, Default)]
pub struct Parser {
    /// A long request whose end has not arrived. Short ones are parsed again from their beginning, which
    /// costs less than keeping this.
    resume: Option<Box<Resume>>,
    /// That of the request before, if it was a short one.
    head: Head,
    /// The long argument that a request was last found to end in.
    unfinished: Option<ArgRange>,
    /// Where, in the request that is parsed, arguments were taken out of the buffer.
    /// Invariant: ascending.
    taken_out: Vec<usize>,
}

/// The beginning of a request, up to the end of its name. Clients tend to repeat themselves, and what is the same as before
/// need not be parsed again.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    words: [u64; HEAD_WORDS],
    /// Which bits of the words belong to it.
    masks: [u64; HEAD_WORDS],
    len: usize,
    /// 0 where there is no head.
    arg_count: usize,
    name: ArgRange,
}

/// Longer heads are not remembered. Names of up to 14 letters have shorter ones.
const HEAD_WORDS: usize = 3;
const HEAD_BYTES: usize = HEAD_WORDS * size_of::<u64>();

impl Head {
    /// The head of a request whose name is `name`.
    fn of(request: &[u8], arg_count: usize, name: ArgRange) -> Self {
        let len = name.start + name.len + LINE_END.len();
        let Some(words) = words_of(request).filter(|_| len <= HEAD_BYTES) else {
            return Self::default();
        };
        let masks = std::array::from_fn(|at| match len.saturating_sub(at * size_of::<u64>()) {
            0 => 0,
            bytes @ 1..8 => (1 << (bytes * 8)) - 1,
            _ => u64::MAX,
        });
        let words = std::array::from_fn(|at| words[at] & masks[at]);
        Self { words, masks, len, arg_count, name }
    }

    #[inline]
    fn is_at_start_of(&self, buf: &[u8]) -> bool {
        let Some(words) = words_of(buf) else { return false };
        let differ = |at: usize| (words[at] & self.masks[at]) ^ self.words[at];
        self.arg_count != 0 && differ(0) | differ(1) | differ(2) == 0
    }
}

#[inline]
fn words_of(buf: &[u8]) -> Option<[u64; HEAD_WORDS]> {
    let bytes = buf.first_chunk::<HEAD_BYTES>()?;
    let (words, _) = bytes.as_chunks();
    Some(std::array::from_fn(|at| u64::from_le_bytes(words[at])))
}

/// Where to go on in a request, and what was found so far.
#[derive(Debug)]
struct Resume {
    progress: Progress,
    args: Vec<ArgRange>,
}

/// How far an array of bulk strings has been parsed.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// Where the next argument starts, at its `$`.
    at: usize,
    args_left: usize,
    /// The long argument of which only a part has arrived.
    unfinished: Option<ArgRange>,
}

impl Parser {
    pub fn new() -> Self {
        Self::default()
    }

    /// After `Incomplete`: the long argument that the buffer ends in, which may be taken out of it.
    pub fn unfinished(&self) -> Option<ArgRange> {
        self.unfinished
    }

    /// Notes that all bytes of the unfinished argument are taken out of the buffer. When they have arrived, wherever they
    /// went, parsing goes on as if the argument were empty; it will be one that lies apart, and these are numbered in the
    /// order of the request.
    pub fn take_out(&mut self) {
        self.taken_out.extend(self.unfinished.take().map(|it| it.start));
    }

    /// Parses the request at the start of `buf` and appends its arguments to `args`.
    ///
    /// After `Incomplete`, call again with the same bytes and more behind them, after `Request` or `Empty` with what
    /// follows the consumed bytes, after an error not at all. Arguments of an inline request are unquoted in
    /// place, which is why `buf` is mutable; nothing else in it changes.
    #[inline]
    pub fn parse(
        &mut self,
        buf: &mut [u8],
        args: &mut Vec<ArgRange>,
        limits: &Limits,
    ) -> Result<Parsed, ProtocolError> {
        if self.resume.is_some() {
            return self.go_on(buf, args, limits);
        }
        let args_before = args.len();
        if let Some((consumed, repeats)) = self.parse_short(buf, args, limits) {
            return Ok(Parsed::Request { consumed, arg_count: args.len() - args_before, repeats });
        }
        args.truncate(args_before);
        self.parse_any(buf, args, limits)
    }

    /// As [`Self::parse`], where nothing but commands as arrays of bulk strings is expected: in a log, or from a master.
    pub fn parse_command(
        &mut self,
        buf: &[u8],
        args: &mut Vec<ArgRange>,
        limits: &Limits,
    ) -> Result<Parsed, ProtocolError> {
        if self.resume.is_some() {
            return self.go_on(buf, args, limits);
        }
        let args_before = args.len();
        if let Some((consumed, repeats)) = self.parse_short(buf, args, limits) {
            return Ok(Parsed::Request { consumed, arg_count: args.len() - args_before, repeats });
        }
        args.truncate(args_before);
        self.head = Head::default();
        match buf.first() {
            Some(b'*') => self.parse_array(buf, args, limits),
            Some(_) => Err(ProtocolError::MultibulkLength),
            None => Ok(Parsed::Incomplete { want: WANT_MIN }),
        }
    }

    /// Parses what nearly every request is: an array of short arguments that has arrived as a whole, from somebody known.
    /// Returns its length, and whether it has the head of the one before. `None` says that it must be read with more
    /// care, whatever was appended to `args`.
    #[inline]
    fn parse_short(
        &mut self,
        buf: &[u8],
        args: &mut Vec<ArgRange>,
        limits: &Limits,
    ) -> Option<(usize, bool)> {
        if limits.sender == Sender::Stranger {
            return None;
        }
        if self.head.is_at_start_of(buf) {
            args.push(self.head.name);
            let args_left = self.head.arg_count - 1;
            let end = parse_short_bulks(buf, self.head.len, args_left, args, limits)?;
            return Some((end, true));
        }
        let (arg_count, at) = small_length(buf, b'*').filter(|it| it.0 != 0)?;
        let first = args.len();
        let end = parse_short_bulks(buf, at, arg_count, args, limits)?;
        self.head = Head::of(buf, arg_count, args[first]);
        Some((end, false))
    }

    /// As [`Self::parse`], at the beginning of a request of any kind.
    fn parse_any(
        &mut self,
        buf: &mut [u8],
        args: &mut Vec<ArgRange>,
        limits: &Limits,
    ) -> Result<Parsed, ProtocolError> {
        self.head = Head::default();
        self.unfinished = None;
        match buf.first() {
            Some(b'*') => self.parse_array(buf, args, limits),
            Some(_) => parse_inline(buf, args),
            None => Ok(Parsed::Incomplete { want: WANT_MIN }),
        }
    }

    fn parse_array(
        &mut self,
        buf: &[u8],
        args: &mut Vec<ArgRange>,
        limits: &Limits,
    ) -> Result<Parsed, ProtocolError> {
        let Some((count, at)) = read_count(buf, limits)? else {
            return Ok(Parsed::Incomplete { want: WANT_MIN });
        };
        if count <= 0 {
            return Ok(Parsed::Empty { consumed: at });
        }
        let arg_count = count as usize;
        let mut progress = Progress { at, args_left: arg_count, unfinished: None };
        args.reserve(arg_count.min(ARGS_RESERVED_MAX));
        let args_before = args.len();
        let parsed = parse_bulks(&mut progress, buf, args, limits, &self.taken_out);
        match parsed {
            Ok(None) => {
                self.taken_out.clear();
                Ok(Parsed::Request { consumed: progress.at, arg_count, repeats: false })
            }
            Ok(Some(want)) => {
                self.unfinished = progress.unfinished;
                self.keep(progress, args.drain(args_before..));
                Ok(Parsed::Incomplete { want })
            }
            Err(error) => {
                args.truncate(args_before);
                Err(error)
            }
        }
    }

    #[cold]
    fn keep(&mut self, progress: Progress, args: std::vec::Drain<'_, ArgRange>) {
        if RESUME_ARGS_MIN <= args.len() {
            self.resume = Some(Box::new(Resume { progress, args: args.collect() }));
        }
    }

    #[cold]
    fn go_on(
        &mut self,
        buf: &[u8],
        args: &mut Vec<ArgRange>,
        limits: &Limits,
    ) -> Result<Parsed, ProtocolError> {
        let Some(mut resume) = self.resume.take() else {
            return Ok(Parsed::Incomplete { want: WANT_MIN });
        };
        let parsed =
            parse_bulks(&mut resume.progress, buf, &mut resume.args, limits, &self.taken_out)?;
        match parsed {
            None => {
                self.taken_out.clear();
                args.extend_from_slice(&resume.args);
                let arg_count = resume.args.len();
                Ok(Parsed::Request { consumed: resume.progress.at, arg_count, repeats: false })
            }
            Some(want) => {
                self.unfinished = resume.progress.unfinished;
                self.resume = Some(resume);
                Ok(Parsed::Incomplete { want })
            }
        }
    }
}

/// What to reserve when it is not known how much is missing.
const WANT_MIN: usize = 1;
/// A claimed length is believed up to this, or up to what has arrived already if that is more. A reservation costs nothing
/// until it is filled, and up to here it saves copies while an argument arrives.
const WANT_TRUSTED: usize = 1024 * 1024;
/// Room made for arguments before any has been seen.
const ARGS_RESERVED_MAX: usize = 32;
/// From here on it is cheaper to remember arguments than to find them again.
const RESUME_ARGS_MIN: usize = 32;
const LINE_END: &[u8; 2] = b"\r\n";

/// Parses `count` short arguments from `at` on, and returns where they end.
#[inline]
fn parse_short_bulks(
    buf: &[u8],
    mut at: usize,
    count: usize,
    args: &mut Vec<ArgRange>,
    limits: &Limits,
) -> Option<usize> {
    for _ in 0..count {
        push_short_bulk(buf, &mut at, args, limits)?;
    }
    Some(at)
}

/// Parses arguments until the last one or the end of `buf`; in that case returns how many bytes are worth
/// reserving.
fn parse_bulks(
    progress: &mut Progress,
    buf: &[u8],
    args: &mut Vec<ArgRange>,
    limits: &Limits,
    taken_out: &[usize],
) -> Result<Option<usize>, ProtocolError> {
    let mut at = progress.at;
    while 0 < progress.args_left {
        if push_short_bulk(buf, &mut at, args, limits).is_none() {
            match any_bulk(buf, at, limits, taken_out)? {
                Bulk::Whole(arg, end) => {
                    args.push(arg);
                    at = end;
                }
                Bulk::Incomplete { want, of } => {
                    progress.at = at;
                    progress.unfinished = of;
                    return Ok(Some(want));
                }
            }
        }
        progress.args_left -= 1;
    }
    progress.at = at;
    Ok(None)
}

/// Takes in the argument at `at` if it is short and has arrived as a whole.
#[inline]
fn push_short_bulk(
    buf: &[u8],
    at: &mut usize,
    args: &mut Vec<ArgRange>,
    limits: &Limits,
) -> Option<()> {
    let rest = buf.get(*at..)?;
    let (len, header_len) = small_length(rest, b'$')?;
    let end = header_len + len;
    if limits.bulk_bytes_max < len as i64 || rest.get(end..end + 2)? != LINE_END {
        return None;
    }
    args.push(ArgRange { start: *at + header_len, len });
    *at += end + LINE_END.len();
    Some(())
}

enum Bulk {
    /// An argument and where it ends.
    Whole(ArgRange, usize),
    /// It goes on behind the buffer; `of` says where it is if it is long.
    Incomplete { want: usize, of: Option<ArgRange> },
}

/// The argument at `at`, whatever it is.
fn any_bulk(
    buf: &[u8],
    at: usize,
    limits: &Limits,
    taken_out: &[usize],
) -> Result<Bulk, ProtocolError> {
    let rest = buf.get(at..).unwrap_or_default();
    let Some((len, header_len)) = read_length(rest, limits)? else {
        return Ok(Bulk::Incomplete { want: WANT_MIN, of: None });
    };
    let start = at + header_len;
    let (range, end) = match taken_out.binary_search(&start) {
        Ok(index) => (ArgRange::apart(index, len), start),
        Err(_) => (ArgRange { start, len }, start.saturating_add(len)),
    };
    match buf.get(end..end.saturating_add(LINE_END.len())) {
        Some(b"\r\n") => Ok(Bulk::Whole(range, end + LINE_END.len())),
        Some(_) => Err(ProtocolError::LineEnd),
        None => {
            let missing = end.saturating_add(LINE_END.len()) - buf.len();
            let is_long = APART_BYTES_MIN <= len && buf.len() < end;
            let want = missing.min(buf.len().max(WANT_TRUSTED));
            Ok(Bulk::Incomplete { want, of: is_long.then_some(range) })
        }
    }
}

/// Reads `marker` and one to four digits, the form of nearly every line; returns the number and the line's length.
/// `None` says only that it must be read with more care.
#[inline]
fn small_length(line: &[u8], marker: u8) -> Option<(usize, usize)> {
    // The first byte is the lowest.
    let word = u64::from_le_bytes(line.first_chunk().copied().unwrap_or_else(|| padded(line)));
    // Where the line is as expected, nothing but the digits is left, and they move to the lowest bytes.
    let one = (word as u32 ^ u32::from_le_bytes([marker, b'0', b'\r', b'\n'])).rotate_right(8);
    if one <= 9 {
        return Some((one as usize, 4));
    }
    let expected = u64::from_le_bytes([marker, b'0', b'0', b'\r', b'\n', 0, 0, 0]);
    let two = ((word ^ expected) << 24).rotate_right(32);
    let (tens, units) = (two & 0xff, two >> 8);
    // A longer number does not begin with a zero.
    if units <= 9 && (1..=9).contains(&tens) {
        return Some(((tens * 10 + units) as usize, 5));
    }
    longer_length(word, marker)
}

/// As [`small_length`], for three and four digits. Apart, so that the other is small enough to be inlined.
#[inline(never)]
fn longer_length(word: u64, marker: u8) -> Option<(usize, usize)> {
    let number = |digits: &[u8]| {
        digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
    };
    match word.to_le_bytes() {
        [first, a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b'\r', b'\n', ..]
            if first == marker =>
        {
            Some((number(&[a, b, c]), 6))
        }
        [
            first,
            a @ b'1'..=b'9',
            b @ b'0'..=b'9',
            c @ b'0'..=b'9',
            d @ b'0'..=b'9',
            b'\r',
            b'\n',
            _,
        ] if first == marker => Some((number(&[a, b, c, d]), 7)),
        _ => None,
    }
}

/// A short rest of the query with zeros behind it, which are no part of a line.
fn padded(rest: &[u8]) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    bytes
}

/// Reads the line that announces how many arguments follow; returns the count and the line's length, or `None`
/// if the line goes on behind `buf`.
#[inline]
fn read_count(buf: &[u8], limits: &Limits) -> Result<Option<(i64, usize)>, ProtocolError> {
    if let Some((count, line_len)) = small_length(buf, b'*')
        && (count as i64 <= STRANGER_ARGS_MAX || limits.sender != Sender::Stranger)
    {
        return Ok(Some((count as i64, line_len)));
    }
    read_count_carefully(buf, limits)
}

#[cold]
fn read_count_carefully(
    buf: &[u8],
    limits: &Limits,
) -> Result<Option<(i64, usize)>, ProtocolError> {
    let Some(end) = find_line_end(buf, ProtocolError::BigMultibulkCount)? else { return Ok(None) };
    if buf[end + 1] != b'\n' {
        return Err(ProtocolError::LineEnd);
    }
    match parse_i64(&buf[1..end]) {
        Some(count) if ARGS_MAX < count => Err(ProtocolError::MultibulkLength),
        Some(count) if STRANGER_ARGS_MAX < count && limits.sender == Sender::Stranger => {
            Err(ProtocolError::UnauthenticatedMultibulkLength)
        }
        Some(count) => Ok(Some((count, end + LINE_END.len()))),
        None => Err(ProtocolError::MultibulkLength),
    }
}

/// Reads the line that announces an argument's length; returns the length and the line's own, or `None` if the
/// line goes on behind `rest`.
fn read_length(rest: &[u8], limits: &Limits) -> Result<Option<(usize, usize)>, ProtocolError> {
    let Some(end) = find_line_end(rest, ProtocolError::BigBulkCount)? else { return Ok(None) };
    if rest[0] != b'$' {
        return Err(ProtocolError::ExpectedDollar(rest[0]));
    }
    if rest[end + 1] != b'\n' {
        return Err(ProtocolError::LineEnd);
    }
    let Some(len @ 0..) = parse_i64(&rest[1..end]) else { return Err(ProtocolError::BulkLength) };
    match limits.sender {
        Sender::Client | Sender::Stranger if limits.bulk_bytes_max < len => {
            Err(ProtocolError::BulkLength)
        }
        Sender::Stranger if STRANGER_BULK_BYTES_MAX < len => {
            Err(ProtocolError::UnauthenticatedBulkLength)
        }
        _ => Ok(Some((len as usize, end + LINE_END.len()))),
    }
}

/// Finds the `\r` that ends the line at the start of `buf` and has a byte behind it. `too_long` is the error if
/// it is too far away.
fn find_line_end(buf: &[u8], too_long: ProtocolError) -> Result<Option<usize>, ProtocolError> {
    let searched = &buf[..buf.len().min(LINE_BYTES_MAX + 1)];
    match memchr(b'\r', searched) {
        Some(end) => Ok((end + 1 < buf.len()).then_some(end)),
        None if LINE_BYTES_MAX < buf.len() => Err(too_long),
        None => Ok(None),
    }
}

/// Parses a line typed by hand. A NUL is never part of one: what follows it is waited for in vain, until it
/// is too long.
#[cold]
fn parse_inline(buf: &mut [u8], args: &mut Vec<ArgRange>) -> Result<Parsed, ProtocolError> {
    let searched = &buf[..buf.len().min(LINE_BYTES_MAX + 1)];
    let line_feed = memchr2(b'\n', b'\0', searched).filter(|&at| searched[at] == b'\n');
    let Some(line_feed) = line_feed else {
        return if LINE_BYTES_MAX < buf.len() {
            Err(ProtocolError::BigInline)
        } else {
            Ok(Parsed::Incomplete { want: WANT_MIN })
        };
    };
    let consumed = line_feed + 1;
    let line_len = match buf[..line_feed] {
        [.., b'\r'] => line_feed - 1,
        _ => line_feed,
    };
    let args_before = args.len();
    let cut = split_args_in_place(&mut buf[..line_len], |start, len| {
        args.push(ArgRange { start, len });
    });
    if cut.is_err() {
        args.truncate(args_before);
        return Err(ProtocolError::UnbalancedQuotes);
    }
    match args.len() - args_before {
        0 => Ok(Parsed::Empty { consumed }),
        arg_count => Ok(Parsed::Request { consumed, arg_count, repeats: false }),
    }
}

#[cfg(test)]
mod tests;
