//! Splits a line into arguments by redis-cli's rules of quoting.

/// A line whose quotes do not close, or where text follows a closing quote.
#[derive(Debug, PartialEq, Eq)]
pub struct UnbalancedQuotes;

/// The arguments of `line`. Double quotes know the escapes `\n \r \t \a \b \xHH` and `\` before any other character;
/// single quotes know only `\'`.
pub fn split(line: &str) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start().as_bytes();
    while !rest.is_empty() {
        let mut word = Vec::new();
        while let Some((&byte, after)) = rest.split_first() {
            rest = match byte {
                b'"' => double_quoted(after, &mut word)?,
                b'\'' => single_quoted(after, &mut word)?,
                _ if byte.is_ascii_whitespace() => break,
                _ => {
                    word.push(byte);
                    after
                }
            };
        }
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    Ok(words)
}

fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        rest = match rest {
            [b'"', after @ ..] => return closed(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex(*high) << 4 | hex(*low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'a' => 0x07,
                    b'b' => 0x08,
                    other => *other,
                });
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return Err(UnbalancedQuotes),
        };
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        rest = match rest {
            [b'\'', after @ ..] => return closed(after),
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return Err(UnbalancedQuotes),
        };
    }
}

fn closed(after: &[u8]) -> Result<&[u8], UnbalancedQuotes> {
    let ends_here = after.first().is_none_or(u8::is_ascii_whitespace);
    if ends_here { Ok(after) } else { Err(UnbalancedQuotes) }
}

fn hex(digit: u8) -> u8 {
    char::from(digit).to_digit(16).expect("the caller matched a hexadecimal digit") as u8
}

#[cfg(test)]
mod tests {
    use super::{UnbalancedQuotes, split};

    #[test]
    fn quoting() {
        let words = |line| split(line).expect("balanced");
        assert_eq!(words("  SET k  v "), [b"SET".to_vec(), b"k".to_vec(), b"v".to_vec()]);
        assert_eq!(
            words(r#""a b" "\x00\xFF\n\q" 'c"\'\n' """#),
            [b"a b".to_vec(), b"\x00\xff\nq".to_vec(), b"c\"'\\n".to_vec(), b"".to_vec()]
        );
        assert_eq!(words(""), Vec::<Vec<u8>>::new());
        for line in [r#""a"#, "'a", r#""a"b"#] {
            assert_eq!(split(line), Err(UnbalancedQuotes), "{line}");
        }
    }
}
