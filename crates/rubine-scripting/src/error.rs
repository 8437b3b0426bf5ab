//! Why a script or library cannot be had. The texts are those that clients know.

use std::borrow::Cow;
use std::fmt;

/// What is replied in place of a script's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptError {
    /// There is no script of this digest.
    NoScript,
    /// Another error, which may quote what it is about.
    Compile(Vec<u8>),
    /// Another error.
    Text(&'static str),
    /// The host has ended the run; see [`crate::Called::Stop`].
    Stopped,
}

impl ScriptError {
    pub(crate) fn text(text: &'static str) -> Self {
        Self::Text(text)
    }

    pub(crate) fn quoting(text: &str, quoted: &[u8]) -> Self {
        Self::Compile([text.as_bytes(), quoted].concat())
    }

    /// The error as it is replied.
    pub fn reply(&self) -> Cow<'_, [u8]> {
        match self {
            Self::NoScript => Cow::Borrowed(crate::host::text::NO_SCRIPT.as_bytes()),
            Self::Compile(text) => Cow::Borrowed(text),
            Self::Text(text) => Cow::Borrowed(text.as_bytes()),
            Self::Stopped => Cow::Borrowed(b"ERR the script was stopped"),
        }
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", String::from_utf8_lossy(&self.reply()))
    }
}

impl std::error::Error for ScriptError {}
