//! A command's arguments, as slices of the query buffer, and a cursor that reads options off them.
//! Never copies an argument.

use rubine_base::SharedBytes;
use rubine_base::number::{LongDouble, parse_f64, parse_i64};
use rubine_keyspace::{Key, Place};
use rubine_resp::parser::ArgRange;
use rubine_structures::value::Value;

use crate::error::CommandError;

/// The arguments of one command; number 0 is its name.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    buffer: &'a [u8],
    ranges: &'a [ArgRange],
    /// Which argument was hashed before, and where it belongs as a key. The name is none, so 0 stands for "none".
    placed: usize,
    place: Place,
    /// Where those lie that do not lie in the buffer, if there may be any.
    apart: Option<&'a ArgsApart>,
}

/// Bytes of an argument that is no key and no part of a collection any more: lengths in records have 32 bits.
pub(crate) const LONG_ARGUMENT: usize = u32::MAX as usize;

/// Long arguments that lie apart from the buffer of their request, in their order.
#[derive(Clone, Debug, Default)]
pub struct ArgsApart(pub Vec<SharedBytes>);

/// How many decimal digits a number has.
fn digit_count(number: usize) -> usize {
    match number {
        0..10 => 1,
        10..100 => 2,
        _ => number.ilog10() as usize + 1,
    }
}

impl<'a> Args<'a> {
    /// Arguments that lie at `ranges` in `buffer`.
    pub fn new(buffer: &'a [u8], ranges: &'a [ArgRange]) -> Self {
        Self { buffer, ranges, placed: 0, place: Place::default(), apart: None }
    }

    /// The arguments of a request that a client sent: with those that do not lie in `buffer`, and of which number `index` is
    /// known to belong, as a key, to `place`.
    #[inline]
    pub fn of_request(
        buffer: &'a [u8],
        ranges: &'a [ArgRange],
        apart: &'a ArgsApart,
        (index, place): (usize, Place),
    ) -> Self {
        Self { buffer, ranges, placed: index, place, apart: Some(apart) }
    }

    /// The same arguments, of which those in `apart` do not lie in the buffer.
    #[inline]
    pub fn with_apart(self, apart: &'a ArgsApart) -> Self {
        Self { apart: Some(apart), ..self }
    }

    /// The same arguments, of which number `index` is known to belong, as a key, to `place`.
    #[inline]
    pub fn with_place(self, index: usize, place: Place) -> Self {
        Self { placed: index, place, ..self }
    }

    /// Argument number `index` as a key.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "passing the arguments costs more than what is done here"
    )]
    pub fn key(self, index: usize) -> Key<'a> {
        if index == self.placed && index != 0 {
            Key::at(self.at(index), self.place)
        } else {
            Key::new(self.at(index))
        }
    }

    /// Whether all arguments lie in one buffer.
    pub fn are_together(self) -> bool {
        self.apart.is_none_or(|it| it.0.is_empty())
    }

    /// What the arguments lie in, if they lie together, and where.
    pub fn parts(self) -> (&'a [u8], &'a [ArgRange]) {
        (self.buffer, self.ranges)
    }

    /// Those that may lie apart from the rest.
    pub fn apart(self) -> Option<&'a ArgsApart> {
        self.apart
    }

    /// How many there are, the name included.
    #[inline]
    pub fn len(self) -> usize {
        self.ranges.len()
    }

    pub fn is_empty(self) -> bool {
        self.ranges.is_empty()
    }

    /// Bytes of the request, as it came or was put together.
    #[inline]
    pub fn request_bytes(self) -> usize {
        let apart = |it: &ArgsApart| it.0.iter().map(|it| it.len()).sum();
        self.buffer.len() + self.apart.map_or(0, apart)
    }

    /// Whether none is so long that only few places can hold it: a look at all of them together.
    #[inline]
    pub fn are_short(self) -> bool {
        let are_short = |apart: &ArgsApart| apart.0.iter().all(|it| it.len() < LONG_ARGUMENT);
        self.buffer.len() < LONG_ARGUMENT && self.apart.is_none_or(are_short)
    }

    /// Argument number `index`.
    ///
    /// # Panics
    /// If there is none: arity was checked before the handler runs.
    #[inline]
    pub fn at(self, index: usize) -> &'a [u8] {
        let range = self.ranges[index];
        match range.within(self.buffer) {
            Some(bytes) => bytes,
            None => shared_apart(self.apart, range),
        }
    }

    #[inline]
    pub fn get(self, index: usize) -> Option<&'a [u8]> {
        (index < self.ranges.len()).then(|| self.at(index))
    }

    /// Argument number `index` as a string to be stored. What lies apart is not copied.
    #[inline]
    pub fn string(self, index: usize) -> Value<'a> {
        let range = self.ranges[index];
        match range.within(self.buffer) {
            Some(bytes) => Value::string(bytes),
            None => Value::Shared(shared_apart(self.apart, range).clone()),
        }
    }

    /// Argument number `index` by reference, if it lies apart.
    pub fn shared(self, index: usize) -> Option<&'a SharedBytes> {
        let range = self.ranges[index];
        range.apart_index().map(|_| shared_apart(self.apart, range))
    }

    /// All arguments from number `from` on.
    pub fn from(self, from: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
        let Self { buffer, apart, .. } = self;
        let ranges = &self.ranges[from.min(self.ranges.len())..];
        ranges.iter().map(move |range| match range.within(buffer) {
            Some(bytes) => bytes,
            None => shared_apart(apart, *range),
        })
    }

    /// The request as its client sent it, if that is an array of bulk strings and nothing else stands in the buffer.
    pub(crate) fn encoded(self) -> Option<&'a [u8]> {
        const LINE_END: usize = 2;
        // A kind, the number and the end of the line; a number that is written longer than it has to be is no number.
        let line = |number: usize| 1 + digit_count(number) + LINE_END;
        let strings = self.ranges.iter().map(|range| line(range.len) + range.len + LINE_END);
        let len = line(self.len()) + strings.sum::<usize>();
        let is_whole = self.apart.is_none_or(|it| it.0.is_empty());
        let is_plain = is_whole && self.buffer.first() == Some(&b'*');
        (is_plain && self.buffer.len() == len).then_some(self.buffer)
    }

    /// The first `count` arguments, or all.
    pub fn first(self, count: usize) -> Self {
        Self { ranges: &self.ranges[..count.min(self.ranges.len())], ..self }
    }

    /// The arguments without the first: a subcommand's own view has its name in front.
    pub fn skip(self, count: usize) -> Self {
        Self { ranges: &self.ranges[count..], placed: 0, ..self }
    }

    /// A cursor over the arguments from number `from` on.
    pub fn options(self, from: usize) -> ArgCursor<'a> {
        ArgCursor { args: self, next: from }
    }

    /// Argument number `index` as an integer.
    pub fn integer(self, index: usize) -> Result<i64, CommandError> {
        let Some(number) = parse_i64(self.at(index)) else { return Err(CommandError::NotInteger) };
        Ok(number)
    }

    /// Argument number `index` as a floating-point number.
    pub fn float(self, index: usize) -> Result<f64, CommandError> {
        parse_f64(self.at(index)).ok_or(CommandError::NotFloat)
    }

    /// Argument number `index` as an integer that is not negative. Commands differ in what they say if it is not.
    pub fn count(self, index: usize) -> Option<usize> {
        count_of(self.at(index))
    }

    /// Argument number `index` as a timeout in seconds: the instant, in Unix milliseconds, at which a command that waits
    /// gives up. `None` for never.
    pub fn deadline(self, index: usize, now: i64) -> Result<Option<i64>, CommandError> {
        let seconds = LongDouble::parse(self.at(index)).ok_or(CommandError::TimeoutNotFloat)?;
        match seconds.times_rounded_up(1000) {
            ..0 => Err(CommandError::TimeoutNegative),
            0 => Ok(None),
            milliseconds => {
                let milliseconds = i64::try_from(milliseconds).ok();
                let deadline = milliseconds.and_then(|milliseconds| now.checked_add(milliseconds));
                deadline.map(Some).ok_or(CommandError::TimeoutOutOfRange)
            }
        }
    }

    /// The bytes of all arguments together.
    pub fn byte_count(self) -> usize {
        self.ranges.iter().map(|range| range.len).sum()
    }
}

/// Reads options from left to right, so that parsing code reads like the grammar.
///
/// ```text
/// while let Some(option) = options.next() {
///     match_keyword!(option) ...
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ArgCursor<'a> {
    args: Args<'a>,
    next: usize,
}

impl<'a> ArgCursor<'a> {
    /// The next argument, which the cursor passes.
    #[expect(
        clippy::should_implement_trait,
        reason = "a cursor that is also asked for what it is at"
    )]
    pub fn next(&mut self) -> Option<&'a [u8]> {
        let argument = self.args.get(self.next)?;
        self.next += 1;
        Some(argument)
    }

    /// The next argument; a syntax error if there is none.
    pub fn required(&mut self) -> Result<&'a [u8], CommandError> {
        self.next().ok_or(CommandError::Syntax)
    }

    /// Passes the next argument if it is `keyword`, in any case.
    pub fn keyword(&mut self, keyword: &str) -> bool {
        let found = self.peek().is_some_and(|it| it.eq_ignore_ascii_case(keyword.as_bytes()));
        self.next += usize::from(found);
        found
    }

    /// The next argument as an integer.
    pub fn integer(&mut self) -> Result<i64, CommandError> {
        parse_i64(self.required()?).ok_or(CommandError::NotInteger)
    }

    /// The next argument as an integer that is not negative. Commands differ in what they say if it is not.
    pub fn count(&mut self) -> Option<usize> {
        self.next().and_then(count_of)
    }

    /// The next argument, which is not passed.
    pub fn peek(&self) -> Option<&'a [u8]> {
        self.args.get(self.next)
    }

    /// The number of the next argument.
    pub fn index(&self) -> usize {
        self.next
    }

    /// Passes `count` arguments.
    pub fn skip(&mut self, count: usize) {
        self.next += count;
    }

    /// How many arguments are left.
    pub fn remaining(&self) -> usize {
        self.args.len().saturating_sub(self.next)
    }

    pub fn is_at_end(&self) -> bool {
        self.remaining() == 0
    }

    /// A syntax error unless all arguments were read.
    pub fn expect_end(&self) -> Result<(), CommandError> {
        if self.is_at_end() { Ok(()) } else { Err(CommandError::Syntax) }
    }
}

/// The argument of `range`, which does not lie in the request's buffer.
#[cold]
#[inline(never)]
fn shared_apart(apart: Option<&ArgsApart>, range: ArgRange) -> &SharedBytes {
    let shared = apart.zip(range.apart_index()).and_then(|(apart, index)| apart.0.get(index));
    shared.expect("an argument lies in the request or apart from it")
}

fn count_of(argument: &[u8]) -> Option<usize> {
    parse_i64(argument).and_then(|count| usize::try_from(count).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_redis_reads_them() {
        use CommandError::{TimeoutNegative, TimeoutNotFloat, TimeoutOutOfRange};
        const NOW: i64 = 1_000_000;
        let cases = [
            ("0", Ok(None)),
            ("0.0", Ok(None)),
            ("-0.0001", Ok(None)),
            ("0.0001", Ok(Some(NOW + 1))),
            ("0.1", Ok(Some(NOW + 100))),
            ("2.5", Ok(Some(NOW + 2500))),
            ("1e3", Ok(Some(NOW + 1_000_000))),
            ("0x10", Ok(Some(NOW + 16_000))),
            ("-1", Err(TimeoutNegative)),
            ("-inf", Err(TimeoutNegative)),
            ("-1e300", Err(TimeoutNegative)),
            ("inf", Err(TimeoutOutOfRange)),
            ("9223372036854775", Err(TimeoutOutOfRange)),
            ("0x7FFFFFFFFFFFFF", Err(TimeoutOutOfRange)),
            ("nan", Err(TimeoutNotFloat)),
            ("", Err(TimeoutNotFloat)),
            (" 1", Err(TimeoutNotFloat)),
            ("1s", Err(TimeoutNotFloat)),
        ];
        for (text, expected) in cases {
            let range = ArgRange { start: 0, len: text.len() };
            let args = Args::new(text.as_bytes(), std::slice::from_ref(&range));
            assert_eq!(args.deadline(0, NOW), expected, "{text}");
        }
    }
}
