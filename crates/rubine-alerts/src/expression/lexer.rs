//! Words of an expression, each with its place. Knows no grammar.

use super::error::ParseError;

/// A word and where it begins, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: TokenKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// A name of a metric, a label, a function, or an operator of letters.
    Name(String),
    /// A number, or a length of time: what it is decides its place.
    Number(String),
    Text(String),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// The longer ones first.
const SIGNS: [&str; 21] = [
    "=~", "!~", "!=", "==", "<=", ">=", "<", ">", "=", "+", "-", "*", "/", "%", "(", ")", "{", "}",
    "[", "]", ",",
];

/// Cuts a text into words. The last one is the end.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ParseError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if first.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let (kind, len) = if first.is_ascii_alphabetic() || first == '_' || first == ':' {
            let len = length_of(rest, |it| it.is_ascii_alphanumeric() || it == '_' || it == ':');
            (TokenKind::Name(rest[..len].to_owned()), len)
        } else if first.is_ascii_digit() || first == '.' {
            let len = number_length(rest);
            (TokenKind::Number(rest[..len].to_owned()), len)
        } else if first == '"' || first == '\'' {
            let (value, len) = quoted(rest, first)
                .ok_or_else(|| ParseError::new(at, "the text in quotes does not end".to_owned()))?;
            (TokenKind::Text(value), len)
        } else if let Some(sign) = SIGNS.into_iter().find(|it| rest.starts_with(it)) {
            (TokenKind::Sign(sign), sign.len())
        } else {
            return Err(ParseError::new(at, format!("'{first}' has no meaning here")));
        };
        tokens.push(Token { at, kind });
        at += len;
    }
    tokens.push(Token { at, kind: TokenKind::End });
    Ok(tokens)
}

fn length_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|it| !belongs(it)).unwrap_or(text.len())
}

/// Digits, letters of units and exponents, and the sign of an exponent.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let is_hex_or_time = |it: u8| it.is_ascii_alphanumeric() || it == b'.';
    let mut len = 0;
    while len < bytes.len() {
        let is_sign_of_exponent = (bytes[len] == b'-' || bytes[len] == b'+')
            && 0 < len
            && bytes[len - 1].eq_ignore_ascii_case(&b'e')
            && bytes.get(len + 1).is_some_and(u8::is_ascii_digit);
        if !is_hex_or_time(bytes[len]) && !is_sign_of_exponent {
            break;
        }
        len += 1;
    }
    len
}

/// A text between quotes, with `\\`, `\"` and `\n`, and how long it is with them.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => {
                    // What is no escape here may be one of the regular expression.
                    if other != '\\' && other != quote {
                        value.push('\\');
                    }
                    value.push(other);
                }
            },
            char if char == quote => return Some((value, at + 1)),
            char => value.push(char),
        }
    }
    None
}
