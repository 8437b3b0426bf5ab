//! Why a text is no expression, and where.

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Where, in characters from 1.
    pub position: usize,
    pub reason: String,
}

impl ParseError {
    /// With the place in bytes; the parser makes it one of characters.
    pub(super) fn new(at: usize, reason: String) -> Self {
        Self { position: at, reason }
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at character {}: {}", self.position, self.reason)
    }
}
