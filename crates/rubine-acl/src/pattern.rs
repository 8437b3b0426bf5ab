//! Patterns of keys and channels, as users have many of them: told apart once, so that the usual ones cost a comparison.

use rubine_base::glob::{self, Case};

/// A glob pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    text: Box<[u8]>,
    /// How many bytes at its start stand for themselves.
    literal_len: usize,
    /// The first of these, as far as they are among the first of a text, and which bits of that they are.
    head: u64,
    head_mask: u64,
    rest: Rest,
}

/// A text with its first bytes at hand, by which nearly all patterns that do not fit are told.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    text: &'a [u8],
    head: u64,
}

impl<'a> Subject<'a> {
    #[inline]
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, head: head(text) }
    }
}

/// How many bytes are compared at once.
const HEAD_LEN: usize = 8;

/// The first bytes, with zeros behind a shorter text.
#[inline]
fn head(text: &[u8]) -> u64 {
    match text.first_chunk::<HEAD_LEN>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => text.iter().rev().fold(0, |head, byte| head << 8 | u64::from(*byte)),
    }
}

/// What stands behind the bytes that stand for themselves.
#[derive(Clone, Copy, Debug)]
enum Rest {
    Nothing,
    /// One star, which ends the pattern.
    Star,
    Glob,
}

impl Pattern {
    pub(crate) fn new(text: &[u8]) -> Self {
        let is_special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
        let literal_len = text.iter().position(is_special).unwrap_or(text.len());
        let rest = match &text[literal_len..] {
            [] => Rest::Nothing,
            [b'*'] => Rest::Star,
            _ => Rest::Glob,
        };
        let head_mask = match literal_len {
            0..HEAD_LEN => (1 << (8 * literal_len)) - 1,
            _ => u64::MAX,
        };
        let head = head(&text[..literal_len]);
        Self { text: text.into(), literal_len, head, head_mask, rest }
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The same answer as [`glob::matches`] gives, for which no star matches an empty text.
    #[inline]
    pub(crate) fn matches(&self, subject: Subject<'_>) -> bool {
        subject.head & self.head_mask == self.head && self.matches_whole(subject.text)
    }

    /// As `matches`, of a text whose first bytes fit.
    #[inline]
    fn matches_whole(&self, text: &[u8]) -> bool {
        if self.literal_len <= HEAD_LEN && matches!(self.rest, Rest::Star) {
            return !text.is_empty() && self.literal_len <= text.len();
        }
        self.matches_slowly(text)
    }

    fn matches_slowly(&self, text: &[u8]) -> bool {
        let (literal, pattern) = self.text.split_at(self.literal_len);
        let Some(behind) = text.strip_prefix(literal) else { return false };
        match self.rest {
            Rest::Nothing => behind.is_empty(),
            Rest::Star => !text.is_empty(),
            // Where a text ends, unlike in one that is empty, stars match.
            Rest::Glob if behind.is_empty() && !text.is_empty() => {
                pattern.iter().all(|&byte| byte == b'*')
            }
            Rest::Glob => glob::matches(pattern, behind, Case::Sensitive),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_matches_as_globs_do(pattern in "[ab\0*?\\[\\]\\\\^-]{0,12}", text in "[ab\0*]{0,12}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            let expected = glob::matches(pattern, text, Case::Sensitive);
            prop_assert_eq!(Pattern::new(pattern).matches(Subject::new(text)), expected);
        }
    }
}
