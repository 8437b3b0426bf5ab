//! Patterns of keys and channels, as users have many of them: told apart once, so that the usual ones cost a comparison.

use rubine_base::glob::{self, Case};

/// A glob pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    text: Box<[u8]>,
    shape: Shape,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Nothing in it is special.
    Literal,
    /// Nothing but the star at its end is.
    Prefix,
    Glob,
}

impl Pattern {
    pub(crate) fn new(text: &[u8]) -> Self {
        let is_special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
        let shape = match text {
            [prefix @ .., b'*'] if !prefix.iter().any(is_special) => Shape::Prefix,
            _ if text.iter().any(is_special) => Shape::Glob,
            _ => Shape::Literal,
        };
        Self { text: text.into(), shape }
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The same answer as [`glob::matches`] gives, for which no star matches an empty text.
    #[inline]
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        match self.shape {
            Shape::Literal => *text == *self.text,
            Shape::Prefix => {
                text.starts_with(&self.text[..self.text.len() - 1]) && !text.is_empty()
            }
            Shape::Glob => glob::matches(&self.text, text, Case::Sensitive),
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
