//! The words between a rule's text and its effect: what can be wrong with it, and where a rule ends. Applies none.

use thiserror::Error;

/// Why a rule cannot be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RuleError {
    #[error("Unknown command or category name in ACL")]
    Unknown,
    #[error("Syntax error")]
    Syntax,
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. \
         Try 'resetkeys' to start with an empty list of patterns"
    )]
    KeysAreAll,
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. \
         Try 'resetchannels' to start with an empty list of channels"
    )]
    ChannelsAreAll,
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    #[error(
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
    )]
    PasswordHash,
    #[error("Duplicate user found. A user can only be defined once in config files")]
    DuplicateUser,
    #[error("Allowing first-arg of a subcommand is not supported")]
    ArgumentOfSubcommand,
    #[error("The provided database ID is out of range")]
    DatabaseRange,
}

/// Why ACL SETUSER changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetUserError {
    /// The user's name has spaces or NULs.
    Name,
    /// A selector that is not closed, by its first word.
    Unclosed(Vec<u8>),
    /// The rule, and what is wrong with it.
    Rule(Vec<u8>, RuleError),
}

impl SetUserError {
    /// What the client is told behind `ERR`. It shows the rule, which may hold any bytes.
    pub fn text(&self) -> Vec<u8> {
        match self {
            Self::Name => b"Usernames can't contain spaces or null characters".to_vec(),
            Self::Unclosed(word) => {
                [b"Unmatched parenthesis in acl selector starting at '", &word[..], b"'."].concat()
            }
            Self::Rule(rule, error) => {
                let reason = error.to_string();
                [b"Error in ACL SETUSER modifier '", &rule[..], b"': ", reason.as_bytes()].concat()
            }
        }
    }
}

/// Puts selectors together that stand in several words, as a line of a file gives them. On error, the word
/// that opens a selector which is never closed.
pub(crate) fn join_selectors<'a>(
    words: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Vec<u8>>, &'a [u8]> {
    let mut rules = Vec::new();
    let mut open: Option<(&[u8], Vec<u8>)> = None;
    for word in words {
        let is_closing = word.ends_with(b")");
        match open.take() {
            Some((start, mut selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(word);
                if is_closing {
                    rules.push(selector);
                } else {
                    open = Some((start, selector));
                }
            }
            None if word.starts_with(b"(") && !is_closing => open = Some((word, word.to_vec())),
            None => rules.push(word.to_vec()),
        }
    }
    match open {
        Some((start, _)) => Err(start),
        None => Ok(rules),
    }
}

/// Whether `text` has what separates words in a file. Names and patterns must not.
pub(crate) fn has_blanks(text: &[u8]) -> bool {
    text.iter().any(|&byte| matches!(byte, b' ' | b'\t'..=b'\r' | 0))
}
