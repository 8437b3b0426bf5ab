//! The library `cjson`: JSON between text and tables, with the results and the errors of lua-cjson 2.1. Recurses nowhere.

use std::ffi::CStr;

use rubine_base::number::write_i64;
use smallvec::SmallVec;

use crate::api::{self, check_integer, check_option};
use crate::raw::{self, Function, Kind, Raise, Reference, Return, Stack, UPVALUE};
use crate::run::Context;

const FUNCTIONS: &[(&str, Function)] = &[
    ("decode", decode),
    ("decode_invalid_numbers", |stack, cx| set_choice(stack, cx, |it| &mut it.decode_invalid, 2)),
    ("decode_max_depth", |stack, cx| {
        set_integer(stack, cx, |it| &mut it.decode_depth_max, i32::MAX)
    }),
    ("encode", encode),
    ("encode_invalid_numbers", |stack, cx| set_choice(stack, cx, |it| &mut it.encode_invalid, 3)),
    ("encode_keep_buffer", |stack, cx| set_choice(stack, cx, |it| &mut it.keeps_buffer, 2)),
    ("encode_max_depth", |stack, cx| {
        set_integer(stack, cx, |it| &mut it.encode_depth_max, i32::MAX)
    }),
    ("encode_number_precision", |stack, cx| set_integer(stack, cx, |it| &mut it.precision, 14)),
    ("encode_sparse_array", encode_sparse_array),
    ("new", |stack, _| {
        let options = push_module(stack);
        stack.forget(options);
        Ok(1)
    }),
];

/// The options of one `cjson`, which lie in memory of Lua as [`Words`].
#[derive(Clone, Copy)]
struct Options {
    /// 1 if arrays with many holes become objects.
    sparse_convert: i32,
    /// An array may be so many times longer than it has elements. 0 is any.
    sparse_ratio: i32,
    /// An array of this length may have holes as it likes.
    sparse_safe: i32,
    encode_depth_max: i32,
    decode_depth_max: i32,
    /// Infinite numbers: 0 are an error, 1 are written, 2 are null.
    encode_invalid: i32,
    /// 1 if numbers may be what JSON has none of.
    decode_invalid: i32,
    precision: i32,
    /// Kept for whoever asks. Buffers are always kept here.
    keeps_buffer: i32,
}

type Words = [i32; 9];

const DEFAULTS: Options = Options {
    sparse_convert: 0,
    sparse_ratio: 2,
    sparse_safe: 10,
    encode_depth_max: 1000,
    decode_depth_max: 1000,
    encode_invalid: 0,
    decode_invalid: 1,
    precision: 14,
    keeps_buffer: 1,
};

impl Options {
    fn of_words(words: Words) -> Self {
        let [
            sparse_convert,
            sparse_ratio,
            sparse_safe,
            encode_depth_max,
            decode_depth_max,
            encode_invalid,
            decode_invalid,
            precision,
            keeps_buffer,
        ] = words;
        Self {
            sparse_convert,
            sparse_ratio,
            sparse_safe,
            encode_depth_max,
            decode_depth_max,
            encode_invalid,
            decode_invalid,
            precision,
            keeps_buffer,
        }
    }

    fn to_words(self) -> Words {
        [
            self.sparse_convert,
            self.sparse_ratio,
            self.sparse_safe,
            self.encode_depth_max,
            self.decode_depth_max,
            self.encode_invalid,
            self.decode_invalid,
            self.precision,
            self.keeps_buffer,
        ]
    }

    /// Those of the module whose function runs.
    fn current(stack: &mut Stack) -> Self {
        stack
            .words::<{ size_of::<Words>() / 4 }>(UPVALUE)
            .map_or(DEFAULTS, |it| Self::of_words(*it))
    }

    fn make_current(self, stack: &mut Stack, cx: &mut Context<'_>) {
        cx.buffers.is_json_touched = true;
        if let Some(words) = stack.words(UPVALUE) {
            *words = self.to_words();
        }
    }
}

/// Pushes a `cjson` with options of its own, and keeps those.
pub(crate) fn push_module(stack: &mut Stack) -> Reference {
    stack.push_words(DEFAULTS.to_words());
    let words = stack.top();
    stack.push_table(0, 16);
    for (name, function) in FUNCTIONS {
        stack.push_copy(words);
        stack.push_closure(*function);
        stack.set_field(-2, name);
    }
    stack.push_null();
    stack.set_field(-2, "null");
    for (name, text) in [("_NAME", "cjson"), ("_VERSION", "2.1.0")] {
        stack.push_text(text);
        stack.set_field(-2, name);
    }
    stack.insert(words);
    stack.keep()
}

/// Gives the options that `push_module` has kept their defaults.
pub(crate) fn reset(stack: &mut Stack, options: Reference) {
    stack.push_kept(options);
    if let Some(words) = stack.words(-1) {
        *words = DEFAULTS.to_words();
    }
    stack.pop(1);
}

/// Raises an error where there are more arguments, and fills up with nil.
fn pad_arguments(stack: &mut Stack, count: i32) -> Result<(), Raise> {
    if count < stack.top() {
        api::argument(stack, count + 1, "found too many arguments")?;
    }
    stack.set_top(count);
    Ok(())
}

fn integer_option(
    stack: &mut Stack,
    index: i32,
    option: &mut i32,
    lowest: i32,
    highest: i32,
) -> Result<(), Raise> {
    if stack.kind(index) == Kind::Nil {
        return Ok(());
    }
    let value = check_integer(stack, index)?;
    if !(lowest <= value && value <= highest) {
        let text = format!("expected integer between {lowest} and {highest}");
        api::argument(stack, 1, &text)?;
    }
    *option = value;
    Ok(())
}

fn choice_option(
    stack: &mut Stack,
    index: i32,
    option: &mut i32,
    choices: usize,
) -> Result<(), Raise> {
    match stack.kind(index) {
        Kind::Nil => {}
        Kind::Boolean => *option = i32::from(stack.boolean(index)),
        _ => *option = check_option(stack, index, &["off", "on", "null"][..choices])? as i32,
    }
    Ok(())
}

fn set_integer(
    stack: &mut Stack,
    cx: &mut Context<'_>,
    option: fn(&mut Options) -> &mut i32,
    highest: i32,
) -> Return {
    pad_arguments(stack, 1)?;
    let mut options = Options::current(stack);
    integer_option(stack, 1, option(&mut options), 1, highest)?;
    options.make_current(stack, cx);
    stack.push_number(f64::from(*option(&mut options)));
    Ok(1)
}

fn set_choice(
    stack: &mut Stack,
    cx: &mut Context<'_>,
    option: fn(&mut Options) -> &mut i32,
    choices: usize,
) -> Return {
    pad_arguments(stack, 1)?;
    let mut options = Options::current(stack);
    choice_option(stack, 1, option(&mut options), choices)?;
    options.make_current(stack, cx);
    match *option(&mut options) {
        2 => stack.push_text("null"),
        value => stack.push_boolean(value != 0),
    }
    Ok(1)
}

fn encode_sparse_array(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    pad_arguments(stack, 3)?;
    let mut options = Options::current(stack);
    choice_option(stack, 1, &mut options.sparse_convert, 2)?;
    integer_option(stack, 2, &mut options.sparse_ratio, 0, i32::MAX)?;
    integer_option(stack, 3, &mut options.sparse_safe, 0, i32::MAX)?;
    options.make_current(stack, cx);
    stack.push_boolean(options.sparse_convert != 0);
    stack.push_number(f64::from(options.sparse_ratio));
    stack.push_number(f64::from(options.sparse_safe));
    Ok(3)
}

fn check_single_argument(stack: &mut Stack) -> Result<(), Raise> {
    if stack.top() != 1 {
        api::argument(stack, 1, "expected 1 argument")?;
    }
    Ok(())
}

/// A table that is being written.
enum Open {
    Array { len: i32, written: i32 },
    Object { is_first: bool },
}

fn encode(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    check_single_argument(stack)?;
    let options = Options::current(stack);
    let out = &mut cx.buffers.bytes;
    out.clear();
    let mut levels: SmallVec<[Open; 8]> = SmallVec::new();
    loop {
        // The value on top is written; that of a level is taken off, the table of a new one stays.
        match write_value(stack, &options, levels.len(), out)? {
            Some(open) => levels.push(open),
            None if levels.is_empty() => break,
            None => stack.pop(1),
        }
        if stack.room() < out.len() {
            return api::error(stack, "not enough memory");
        }
        while let Some(level) = levels.last_mut() {
            if next_value(stack, &options, level, out)? {
                break;
            }
            levels.pop();
            if !levels.is_empty() {
                stack.pop(1);
            }
        }
        if levels.is_empty() {
            break;
        }
    }
    stack.push_text(&*out);
    Ok(1)
}

/// Puts the next value of the innermost table on top, with what is written before it; false if there is none, and the
/// table is on top.
fn next_value(
    stack: &mut Stack,
    options: &Options,
    level: &mut Open,
    out: &mut Vec<u8>,
) -> Result<bool, Raise> {
    match level {
        Open::Array { len, written } if written == len => {
            out.push(b']');
            Ok(false)
        }
        Open::Array { written, .. } => {
            if 0 < *written {
                out.push(b',');
            }
            *written += 1;
            stack.get_element(-1, *written);
            Ok(true)
        }
        Open::Object { is_first } => {
            if *is_first {
                stack.push_nil();
            }
            if !stack.next(-2) {
                out.push(b'}');
                return Ok(false);
            }
            if !std::mem::take(is_first) {
                out.push(b',');
            }
            match stack.kind(-2) {
                Kind::Number => {
                    out.push(b'"');
                    write_number(stack, -2, options, out)?;
                    out.extend_from_slice(b"\":");
                }
                Kind::Text => {
                    write_text(out, stack.text(-2).unwrap_or_default());
                    out.push(b':');
                }
                _ => fail(stack, -2, "table key must be a number or string")?,
            }
            Ok(true)
        }
    }
}

/// Writes the value on top, or the start of a table.
fn write_value(
    stack: &mut Stack,
    options: &Options,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<Option<Open>, Raise> {
    match stack.kind(-1) {
        Kind::Text => write_text(out, stack.text(-1).unwrap_or_default()),
        Kind::Number => write_number(stack, -1, options, out)?,
        Kind::Boolean if stack.boolean(-1) => out.extend_from_slice(b"true"),
        Kind::Boolean => out.extend_from_slice(b"false"),
        Kind::Table => {
            let depth = depth + 1;
            let may_go_on = depth <= options.encode_depth_max as usize && stack.ensure(4);
            if !may_go_on {
                let text = format!("Cannot serialise, excessive nesting ({depth})");
                api::error(stack, &text)?;
            }
            let len = array_len(stack, options)?;
            out.push(if 0 < len { b'[' } else { b'{' });
            return Ok(Some(if 0 < len {
                Open::Array { len, written: 0 }
            } else {
                Open::Object { is_first: true }
            }));
        }
        Kind::Nil => out.extend_from_slice(b"null"),
        _ if stack.is_null(-1) => out.extend_from_slice(b"null"),
        _ => fail(stack, -1, "type not supported")?,
    }
    Ok(None)
}

/// How many elements the table on top has as an array; 0 or less if it is none.
fn array_len(stack: &mut Stack, options: &Options) -> Result<i32, Raise> {
    let (mut highest, mut count) = (0_i32, 0_i64);
    stack.push_nil();
    while stack.next(-2) {
        let key = stack.number(-2).unwrap_or(0.0);
        stack.pop(1);
        if !(1.0 <= key && (key.is_infinite() || api::is_whole(key))) {
            stack.pop(1);
            return Ok(-1);
        }
        if f64::from(highest) < key {
            // What is no integer of C is the smallest there.
            highest = if key <= f64::from(i32::MAX) { key as i32 } else { i32::MIN };
        }
        count += 1;
    }
    let is_sparse = 0 < options.sparse_ratio
        && count * i64::from(options.sparse_ratio) < i64::from(highest)
        && options.sparse_safe < highest;
    if is_sparse {
        if options.sparse_convert == 0 {
            fail(stack, -1, "excessively sparse array")?;
        }
        return Ok(-1);
    }
    Ok(highest)
}

fn write_number(
    stack: &mut Stack,
    index: i32,
    options: &Options,
    out: &mut Vec<u8>,
) -> Result<(), Raise> {
    let value = stack.to_number(index).unwrap_or_default();
    if !value.is_finite() {
        match options.encode_invalid {
            0 => return fail(stack, index, "must not be NaN or Inf"),
            1 if value.is_nan() => out.extend_from_slice(b"nan"),
            1 => out.extend_from_slice(if 0.0 < value { b"inf" } else { b"-inf" }),
            _ => out.extend_from_slice(b"null"),
        }
        return Ok(());
    }
    let is_short = value.abs() < 10_f64.powi(options.precision);
    let is_plain = is_short && api::is_whole(value) && value.to_bits() != (-0.0_f64).to_bits();
    if is_plain {
        write_i64(out, value as i64);
    } else {
        raw::write_general(out, options.precision, value);
    }
    Ok(())
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|it| is_escaped(*it)) {
        out.extend_from_slice(&rest[..at]);
        let byte = rest[at];
        let letter = match byte {
            8 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            12 => b'f',
            b'\r' => b'r',
            b'"' | b'\\' | b'/' => byte,
            _ => b'u',
        };
        out.extend_from_slice(&[b'\\', letter]);
        if letter == b'u' {
            let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'0', b'0', high, low]);
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[inline]
fn is_escaped(byte: u8) -> bool {
    matches!(byte, 0..=31 | b'"' | b'/' | b'\\' | 127)
}

fn fail<T>(stack: &mut Stack, index: i32, reason: &str) -> Result<T, Raise> {
    let name = stack.kind(index).name();
    stack.push_text(format!("Cannot serialise {name}: {reason}"));
    Err(Raise::Error)
}

/// What a text consists of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    /// Its characters are in the parser.
    Text,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Invalid(&'static str),
}

impl Token {
    /// As errors name it.
    fn name(self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::Text => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Invalid(reason) => reason,
        }
    }
}

struct Parser<'a> {
    /// Ends in a zero byte, which is no part of the text.
    text: &'a [u8],
    at: usize,
    /// Where the current token begins, or where it is wrong.
    token_at: usize,
    /// Where the characters of a text token are, if nothing in it is escaped.
    plain: std::ops::Range<usize>,
    /// Those characters otherwise.
    unescaped: Vec<u8>,
    is_plain: bool,
    takes_invalid_numbers: bool,
}

fn decode(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    check_single_argument(stack)?;
    let options = Options::current(stack);
    let buffer = &mut cx.buffers.bytes;
    buffer.clear();
    match stack.coerce_text(1) {
        Some(text) => buffer.extend_from_slice(text),
        None => return api::wrong_type(stack, 1, "string"),
    }
    if matches!(buffer[..], [0, _, ..] | [_, 0, ..]) {
        return api::error(stack, "JSON parser does not support UTF-16 or UTF-32");
    }
    buffer.push(0);
    let mut parser = Parser {
        text: buffer,
        at: 0,
        token_at: 0,
        plain: 0..0,
        unescaped: Vec::new(),
        is_plain: true,
        takes_invalid_numbers: options.decode_invalid != 0,
    };
    let token = parser.next();
    push_document(stack, &options, &mut parser, token)?;
    match parser.next() {
        Token::End => Ok(1),
        token => Err(unexpected(stack, &parser, "the end", token)),
    }
}

/// A table that is being filled.
enum Filling {
    /// The number of the element that comes.
    Array(i32),
    Object,
}

/// Pushes the value that begins with `token`.
fn push_document(
    stack: &mut Stack,
    options: &Options,
    parser: &mut Parser<'_>,
    token: Token,
) -> Result<(), Raise> {
    let mut levels: SmallVec<[Filling; 8]> = SmallVec::new();
    let mut token = token;
    loop {
        let is_complete = match token {
            Token::Text => {
                stack.push_text(parser.characters());
                true
            }
            Token::Number(value) => {
                stack.push_number(value);
                true
            }
            Token::Boolean(value) => {
                stack.push_boolean(value);
                true
            }
            Token::Null => {
                stack.push_null();
                true
            }
            Token::ObjectBegin | Token::ArrayBegin => {
                let is_object = token == Token::ObjectBegin;
                let depth = levels.len() + 1;
                descend(stack, options, parser, depth)?;
                stack.push_table(0, 0);
                token = parser.next();
                if token == if is_object { Token::ObjectEnd } else { Token::ArrayEnd } {
                    true
                } else {
                    levels.push(if is_object { Filling::Object } else { Filling::Array(1) });
                    if is_object {
                        push_key(stack, parser, token)?;
                        token = parser.next();
                    }
                    false
                }
            }
            _ => return Err(unexpected(stack, parser, "value", token)),
        };
        if is_complete {
            match attach(stack, parser, &mut levels)? {
                Some(next) => token = next,
                None => return Ok(()),
            }
        }
    }
}

/// Takes the value on top into its table, and that, where it ends, into the one around it. Returns what the next value
/// begins with; nothing if the whole is complete.
fn attach(
    stack: &mut Stack,
    parser: &mut Parser<'_>,
    levels: &mut SmallVec<[Filling; 8]>,
) -> Result<Option<Token>, Raise> {
    loop {
        let (end, expected) = match levels.last_mut() {
            None => return Ok(None),
            Some(Filling::Array(index)) => {
                stack.set_element(-2, *index);
                *index = index.saturating_add(1);
                (Token::ArrayEnd, "comma or array end")
            }
            Some(Filling::Object) => {
                stack.set(-3);
                (Token::ObjectEnd, "comma or object end")
            }
        };
        let token = parser.next();
        if token == end {
            levels.pop();
            continue;
        }
        if token != Token::Comma {
            return Err(unexpected(stack, parser, expected, token));
        }
        let mut token = parser.next();
        if matches!(levels.last(), Some(Filling::Object)) {
            push_key(stack, parser, token)?;
            token = parser.next();
        }
        return Ok(Some(token));
    }
}

fn push_key(stack: &mut Stack, parser: &mut Parser<'_>, token: Token) -> Result<(), Raise> {
    if token != Token::Text {
        return Err(unexpected(stack, parser, "object key string", token));
    }
    stack.push_text(parser.characters());
    match parser.next() {
        Token::Colon => Ok(()),
        token => Err(unexpected(stack, parser, "colon", token)),
    }
}

fn descend(
    stack: &mut Stack,
    options: &Options,
    parser: &Parser<'_>,
    depth: usize,
) -> Result<(), Raise> {
    if stack.is_over_limit() {
        api::error(stack, "not enough memory")?;
    }
    let may_go_on = depth <= options.decode_depth_max as usize && stack.ensure(4);
    if may_go_on {
        return Ok(());
    }
    let text =
        format!("Found too many nested data structures ({depth}) at character {}", parser.at);
    stack.push_text(text);
    Err(Raise::Error)
}

fn unexpected(stack: &mut Stack, parser: &Parser<'_>, expected: &str, token: Token) -> Raise {
    let place = parser.token_at + 1;
    let found = token.name();
    stack.push_text(format!("Expected {expected} but found {found} at character {place}"));
    Raise::Error
}

impl Parser<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn characters(&self) -> &[u8] {
        if self.is_plain { &self.text[self.plain.clone()] } else { &self.unescaped }
    }

    fn next(&mut self) -> Token {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.token_at = self.at;
        let byte = self.byte(self.at);
        let single = match byte {
            b'{' => Token::ObjectBegin,
            b'}' => Token::ObjectEnd,
            b'[' => Token::ArrayBegin,
            b']' => Token::ArrayEnd,
            b',' => Token::Comma,
            b':' => Token::Colon,
            0 => return Token::End,
            b'"' => return self.text(),
            b'-' | b'0'..=b'9' => {
                if !self.takes_invalid_numbers && self.is_invalid_number() {
                    return self.invalid("invalid number");
                }
                return self.number();
            }
            b'f' | b'i' | b'I' | b'n' | b'N' | b't' | b'+' => return self.word(),
            _ => return self.invalid("invalid token"),
        };
        self.at += 1;
        single
    }

    fn invalid(&mut self, reason: &'static str) -> Token {
        self.token_at = self.at;
        Token::Invalid(reason)
    }

    fn word(&mut self) -> Token {
        let words = [
            ("true", Token::Boolean(true)),
            ("false", Token::Boolean(false)),
            ("null", Token::Null),
        ];
        for (word, token) in words {
            if self.text[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return token;
            }
        }
        if self.takes_invalid_numbers && self.is_invalid_number() {
            return self.number();
        }
        self.invalid("invalid token")
    }

    /// Whether there is what C reads as a number and JSON does not.
    fn is_invalid_number(&self) -> bool {
        let at = match self.byte(self.at) {
            b'+' => return true,
            b'-' => self.at + 1,
            _ => self.at,
        };
        match self.byte(at) {
            b'0' => matches!(self.byte(at + 1), b'x' | b'X' | b'0'..=b'9'),
            0..=b'9' => false,
            _ => {
                let word = self.text[at..].get(..3).unwrap_or_default();
                word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan")
            }
        }
    }

    fn number(&mut self) -> Token {
        /// What no number is longer than that is not decimal.
        const SPECIAL_BYTES_MAX: usize = 255;
        let rest = &self.text[self.at..];
        let sign = usize::from(matches!(rest[0], b'-' | b'+'));
        let is_decimal = matches!(rest.get(sign), Some(b'0'..=b'9' | b'.'))
            && !matches!(rest.get(sign..sign + 2), Some([b'0', b'x' | b'X']));
        let (value, len) = if is_decimal {
            decimal(rest, sign)
        } else {
            let end = rest.len().min(SPECIAL_BYTES_MAX);
            let text = [&rest[..end], &[0]].concat();
            CStr::from_bytes_until_nul(&text).map_or((0.0, 0), raw::parse_double)
        };
        if len == 0 {
            return self.invalid("invalid number");
        }
        self.at += len;
        Token::Number(value)
    }

    fn text(&mut self) -> Token {
        self.at += 1;
        let start = self.at;
        self.at = skip(self.text, start);
        self.is_plain = self.byte(self.at) == b'"';
        if self.is_plain {
            self.plain = start..self.at;
            self.at += 1;
            return Token::Text;
        }
        self.unescaped.clear();
        self.unescaped.extend_from_slice(&self.text[start..self.at]);
        loop {
            match self.byte(self.at) {
                b'"' => {
                    self.at += 1;
                    return Token::Text;
                }
                0 => return self.invalid("unexpected end of string"),
                _ => {
                    let letter = match self.byte(self.at + 1) {
                        b'b' => 8,
                        b't' => b'\t',
                        b'n' => b'\n',
                        b'f' => 12,
                        b'r' => b'\r',
                        it @ (b'"' | b'\\' | b'/') => it,
                        b'u' => {
                            let Some((letter, len)) = self.unicode() else {
                                return self.invalid("invalid unicode escape code");
                            };
                            self.at += len;
                            write_utf8(&mut self.unescaped, letter);
                            self.take_plain();
                            continue;
                        }
                        _ => return self.invalid("invalid escape code"),
                    };
                    self.unescaped.push(letter);
                    self.at += 2;
                    self.take_plain();
                }
            }
        }
    }

    /// Takes characters up to the next that means something.
    fn take_plain(&mut self) {
        let end = skip(self.text, self.at);
        self.unescaped.extend_from_slice(&self.text[self.at..end]);
        self.at = end;
    }

    /// The character of `\uXXXX` here, or of a pair of them, and how long that is.
    fn unicode(&self) -> Option<(u32, usize)> {
        let digits = |at: usize| {
            let text = self.text.get(at..at + 4)?;
            text.iter()
                .try_fold(0, |value, byte| Some(value * 16 + char::from(*byte).to_digit(16)?))
        };
        let first = digits(self.at + 2)?;
        if first & 0xf800 != 0xd800 {
            return Some((first, 6));
        }
        let is_high = first & 0x400 == 0;
        if !is_high || self.byte(self.at + 6) != b'\\' || self.byte(self.at + 7) != b'u' {
            return None;
        }
        let second = digits(self.at + 8)?;
        (second & 0xfc00 == 0xdc00)
            .then(|| ((((first & 0x3ff) << 10) | (second & 0x3ff)) + 0x1_0000, 12))
    }
}

/// Where the next character of a text is that means something.
fn skip(text: &[u8], at: usize) -> usize {
    let is_special = |it: &u8| matches!(it, b'"' | b'\\' | 0);
    at + text[at..].iter().position(is_special).unwrap_or(text.len() - at)
}

/// The decimal number at the start of `text`, behind a sign of `sign` bytes, and how long it is.
fn decimal(text: &[u8], sign: usize) -> (f64, usize) {
    const EXACT_DIGITS: usize = 15;
    let digits = |from: usize| text[from..].iter().take_while(|it| it.is_ascii_digit()).count();
    let whole = digits(sign);
    let mut end = sign + whole;
    let mut digit_count = whole;
    let is_integer = !matches!(text.get(end), Some(b'.' | b'e' | b'E'));
    if is_integer && whole <= EXACT_DIGITS {
        let magnitude =
            text[sign..end].iter().fold(0_u64, |it, byte| it * 10 + u64::from(byte - b'0'));
        let value = magnitude as f64;
        return (if text[0] == b'-' { -value } else { value }, end);
    }
    if text.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        digit_count += fraction;
        end += 1 + fraction;
    }
    if digit_count == 0 {
        return (0.0, 0);
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let exponent_sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let exponent = text
            .get(end + 1 + exponent_sign..)
            .map_or(0, |it| it.iter().take_while(|it| it.is_ascii_digit()).count());
        if 0 < exponent {
            end += 1 + exponent_sign + exponent;
        }
    }
    let number = std::str::from_utf8(&text[..end]).expect("digits are ASCII");
    (number.parse().unwrap_or(0.0), end)
}

fn write_utf8(out: &mut Vec<u8>, letter: u32) {
    let tail = |shift: u32| ((letter >> shift) & 0x3f) as u8 | 0x80;
    match letter {
        0..0x80 => out.push(letter as u8),
        0x80..0x800 => out.extend_from_slice(&[(letter >> 6) as u8 | 0xc0, tail(0)]),
        0x800..0x1_0000 => {
            out.extend_from_slice(&[(letter >> 12) as u8 | 0xe0, tail(6), tail(0)]);
        }
        _ => {
            out.extend_from_slice(&[(letter >> 18) as u8 | 0xf0, tail(12), tail(6), tail(0)]);
        }
    }
}
