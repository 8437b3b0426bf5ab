//! Patterns of keys and channels, as users have many of them: told apart once, so that the usual ones cost a comparison.

use rubine_base::glob::{self, Case};

/// A glob pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    text: Box<[u8]>,
    /// How many bytes at its start stand for themselves.
    literal_len: usize,
    rest: Rest,
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
        Self { text: text.into(), literal_len, rest }
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The same answer as [`glob::matches`] gives, for which no star matches an empty text.
    #[inline]
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
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
        fn it_matches_as_globs_do(pattern in "[ab*?\\[\\]\\\\^-]{0,6}", text in "[ab*]{0,6}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            let expected = glob::matches(pattern, text, Case::Sensitive);
            prop_assert_eq!(Pattern::new(pattern).matches(text), expected);
        }
    }
}
