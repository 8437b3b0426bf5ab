//! Quoted text: how bytes are shown to people, and how a line typed by people is cut into arguments.
//! Serves inline requests, configuration files, logs and transcripts. Never allocates in the in-place form.

use std::fmt;

use memchr::memchr;

/// A line whose last quote is never closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnbalancedQuotes;

impl fmt::Display for UnbalancedQuotes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("unbalanced quotes")
    }
}

impl std::error::Error for UnbalancedQuotes {}

/// Appends `bytes` between double quotes, with everything that is not printable ASCII escaped.
/// [`split_args`] reads it back.
pub fn write_repr(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'\\' | b'"');
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut rest = bytes;
    loop {
        // Most text is plain, and copied in long pieces.
        let plain = rest.iter().position(|it| !is_plain(it)).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..plain]);
        let Some(&byte) = rest.get(plain) else { break };
        rest = &rest[plain + 1..];
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            BELL => out.extend_from_slice(b"\\a"),
            BACKSPACE => out.extend_from_slice(b"\\b"),
            _ => {
                let [high, low] = [byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]);
                out.extend_from_slice(&[b'\\', b'x', high, low]);
            }
        }
    }
    out.push(b'"');
}

/// The text that [`write_repr`] appends. It is ASCII.
pub fn quote_repr(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    write_repr(&mut out, bytes);
    String::from_utf8(out).expect("everything outside ASCII was escaped")
}

/// Cuts `line` into arguments, as a shell would: blanks separate, `"..."` understands `\n \r \t \b \a \xHH`
/// and `\` before any other byte, `'...'` understands only `\'`. Closing quotes end an argument. A NUL ends the line.
pub fn split_args(line: &[u8]) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
    let mut unquoted = line.to_vec();
    let mut ranges = Vec::new();
    split_args_in_place(&mut unquoted, |start, len| ranges.push(start..start + len))?;
    Ok(ranges.into_iter().map(|range| unquoted[range].to_vec()).collect())
}

/// [`split_args`] without a copy: each argument is unquoted where it stands (what is unquoted is never longer)
/// and `found(start, len)` is told where. After an error `line` may be half unquoted.
pub fn split_args_in_place(
    line: &mut [u8],
    mut found: impl FnMut(usize, usize),
) -> Result<(), UnbalancedQuotes> {
    let end = memchr(0, line).unwrap_or(line.len());
    let line = &mut line[..end];
    let mut at = 0;
    loop {
        at += line[at..].iter().take_while(|&&byte| is_blank(byte)).count();
        if at == line.len() {
            return Ok(());
        }
        let (next, len) = unquote(line, at)?;
        found(at, len);
        at = next;
    }
}

const BELL: u8 = 0x07;
const BACKSPACE: u8 = 0x08;

enum Within {
    Bare,
    DoubleQuotes,
    SingleQuotes,
}

/// Unquotes the argument at `start` and returns where to go on and how long the argument became.
fn unquote(line: &mut [u8], start: usize) -> Result<(usize, usize), UnbalancedQuotes> {
    let mut within = Within::Bare;
    let (mut read, mut write) = (start, start);
    while let Some(&byte) = line.get(read) {
        let (unquoted, width) = match (&within, byte) {
            (Within::Bare, b' ' | b'\n' | b'\r' | b'\t') => return Ok((read + 1, write - start)),
            (Within::Bare, b'"') => {
                within = Within::DoubleQuotes;
                (None, 1)
            }
            (Within::Bare, b'\'') => {
                within = Within::SingleQuotes;
                (None, 1)
            }
            (Within::DoubleQuotes, b'"') | (Within::SingleQuotes, b'\'') => {
                // What is quoted ends with its quotes: there is nothing behind them.
                return match line.get(read + 1) {
                    None => Ok((read + 1, write - start)),
                    Some(&byte) if is_blank(byte) => Ok((read + 2, write - start)),
                    Some(_) => Err(UnbalancedQuotes),
                };
            }
            (Within::DoubleQuotes, b'\\') => unescape(&line[read..]),
            (Within::SingleQuotes, b'\\') if line.get(read + 1) == Some(&b'\'') => (Some(b'\''), 2),
            _ => (Some(byte), 1),
        };
        if let Some(unquoted) = unquoted {
            line[write] = unquoted;
            write += 1;
        }
        read += width;
    }
    match within {
        Within::Bare => Ok((read, write - start)),
        Within::DoubleQuotes | Within::SingleQuotes => Err(UnbalancedQuotes),
    }
}

/// What the backslash at the start of `text` stands for, and how many bytes it takes.
fn unescape(text: &[u8]) -> (Option<u8>, usize) {
    let hex = |digit: u8| (digit as char).to_digit(16).map(|value| value as u8);
    if let [_, b'x', high, low, ..] = *text
        && let (Some(high), Some(low)) = (hex(high), hex(low))
    {
        return (Some(high << 4 | low), 4);
    }
    match text.get(1) {
        None => (Some(b'\\'), 1),
        Some(b'n') => (Some(b'\n'), 2),
        Some(b'r') => (Some(b'\r'), 2),
        Some(b't') => (Some(b'\t'), 2),
        Some(b'b') => (Some(BACKSPACE), 2),
        Some(b'a') => (Some(BELL), 2),
        Some(&other) => (Some(other), 2),
    }
}

/// C's `isspace`.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{UnbalancedQuotes, quote_repr, split_args};

    #[test]
    fn lines_are_cut_as_a_shell_would() {
        let check = |line: &[u8], expected: &[&[u8]]| {
            let expected: Vec<Vec<u8>> = expected.iter().map(|arg| arg.to_vec()).collect();
            assert_eq!(split_args(line), Ok(expected), "{}", quote_repr(line));
        };
        check(b"", &[]);
        check(b" \t\r\n\x0b\x0c", &[]);
        check(b"set key value", &[b"set", b"key", b"value"]);
        check(b"  a \t b  ", &[b"a", b"b"]);
        check(b"\"\" ''", &[b"", b""]);
        check(br#""a b" 'c d'"#, &[b"a b", b"c d"]);
        check(br#""\n\r\t\b\a\x41\xFf\q\"""#, &[b"\n\r\t\x08\x07A\xffq\""]);
        check(br#""\x4g""#, &[b"x4g"]);
        check(br"'it\'s' 'a\nb'", &[b"it's", br"a\nb"]);
        check(br#"a"b" c'd' e"#, &[b"ab", b"cd", b"e"]);
        check(b"a\x0bb", &[b"a\x0bb"]);
        check(b"a \0 b", &[b"a"]);
        check(br"a\nb", &[br"a\nb"]);
        check(b"\xff\xfe", &[b"\xff\xfe"]);
    }

    #[test]
    fn quotes_that_do_not_enclose_an_end_are_refused() {
        for line in [&b"\""[..], b"'", b"a \"b", b"a 'b\\'", b"\"\\", b"\"\\x4", b"\"a\0b\""] {
            assert_eq!(split_args(line), Err(UnbalancedQuotes), "{}", quote_repr(line));
        }
        for line in [&br#""""a""""#[..], br#""a"b"#, b"'a'b", br#""a"'b'"#, b"''x ''"] {
            assert_eq!(split_args(line), Err(UnbalancedQuotes), "{}", quote_repr(line));
        }
    }

    #[test]
    fn repr_escapes_what_cannot_be_printed() {
        assert_eq!(
            quote_repr(b"a\"b\\c\n\r\t\x07\x08\0\x7f\xff~"),
            r#""a\"b\\c\n\r\t\a\b\x00\x7f\xff~""#
        );
    }

    proptest! {
        #[test]
        fn repr_is_read_back(args: Vec<Vec<u8>>) {
            let line = args.iter().map(|arg| quote_repr(arg)).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(split_args(line.as_bytes()), Ok(args));
        }

        #[test]
        fn garbage_never_panics(line: Vec<u8>) {
            let _ = split_args(&line);
        }
    }
}
