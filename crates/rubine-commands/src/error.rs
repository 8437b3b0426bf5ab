//! Every error text that a data command can reply with: they are contract. Each is in one place.

use std::borrow::Cow;

use rubine_rdb::error::Damage;
use rubine_resp::writer::Reply;

/// Bytes of an unknown subcommand that its error quotes.
const SUBCOMMAND_SHOWN_MAX: usize = 128;

/// What a handler returns. On an error the dispatcher drops whatever reply was begun.
pub type CommandResult = Result<(), CommandError>;

/// An error reply. The text is what the client sees.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    #[error("ERR value is not a valid float")]
    NotFloat,
    #[error("ERR value is out of range, must be positive")]
    NotPositive,
    #[error("ERR value is out of range")]
    OutOfRange,
    #[error(
        "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"
    )]
    NotSymmetric,
    #[error("ERR index out of range")]
    IndexOutOfRange,
    #[error("ERR no such key")]
    NoSuchKey,
    #[error("ERR source and destination objects are the same")]
    SameObject,
    #[error("ERR DB index is out of range")]
    DbOutOfRange,
    #[error("ERR invalid cursor")]
    InvalidCursor,
    #[error("ERR timeout is not a float or out of range")]
    TimeoutNotFloat,
    #[error("ERR timeout is negative")]
    TimeoutNegative,
    #[error("ERR timeout is out of range")]
    TimeoutOutOfRange,
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    StringTooLong,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR increment would produce NaN or Infinity")]
    NanOrInfinity,
    #[error("ERR invalid expire time in '{0}' command")]
    InvalidExpire(String),
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(String),
    #[error("ERR numkeys should be greater than 0")]
    NumkeysNotPositive,
    #[error("ERR count should be greater than 0")]
    CountNotPositive,
    #[error("ERR NX and XX, GT or LT options at the same time are not compatible")]
    NxExcludesOthers,
    #[error("ERR GT and LT options at the same time are not compatible")]
    GtExcludesLt,
    #[error(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
         between policies at runtime LRU and LFU data will take some time to adjust."
    )]
    NotLfu,
    #[error(
        "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between \
         policies at runtime LRU and LFU data will take some time to adjust."
    )]
    NotLru,
    #[error("BUSYKEY Target key name already exists.")]
    BusyKey,
    #[error("ERR Invalid TTL value, must be >= 0")]
    TtlInvalid,
    #[error("ERR Invalid IDLETIME value, must be >= 0")]
    IdleTimeInvalid,
    #[error("ERR Invalid FREQ value, must be >= 0 and <= 255")]
    FrequencyInvalid,
    #[error("ERR DUMP payload version or checksum are wrong")]
    DumpFooter,
    /// With what is wrong, which the client does not hear but the log does.
    #[error("ERR Bad data format")]
    DumpData(Damage),
    #[error("ERR When using MIGRATE KEYS option, the key argument must be set to the empty string")]
    KeyBesideKeys,
    #[error("IOERR error or timeout connecting to the client")]
    TargetNotReached,
    #[error("IOERR error or timeout writing to target instance")]
    TargetNotWritten,
    #[error("IOERR error or timeout reading to target instance")]
    TargetNotRead,
    #[error("ERR Target instance replied with error: {0}")]
    TargetRefused(String),
    #[error(
        "ERR Keys were changed each time before they could be removed. They are kept, and the target has older copies, \
         which a further MIGRATE with REPLACE overwrites"
    )]
    KeptChanging,
    #[error("ERR One of the keys is being moved by another client")]
    BeingMoved,
    /// Any other text, complete with its code.
    #[error("{0}")]
    Other(Cow<'static, str>),
    /// As [`Self::Other`], with what a client sent, which need not be UTF-8.
    #[error("{}", String::from_utf8_lossy(.0))]
    Quoting(Box<[u8]>),
}

/// What a client sent, as error texts have it: up to the first zero byte, as C prints strings.
pub fn shown(bytes: &[u8]) -> &[u8] {
    let len = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    &bytes[..len]
}

impl CommandError {
    /// An error whose whole text is `text`, code included.
    pub const fn text(text: &'static str) -> Self {
        Self::Other(Cow::Borrowed(text))
    }

    /// An error whose text is made of these parts, some of which a client sent.
    pub fn quoting(parts: &[&[u8]]) -> Self {
        Self::Quoting(parts.concat().into())
    }

    /// Writes the error's text, with every byte that it quotes.
    pub fn write(&self, reply: &mut Reply<'_>) {
        match self {
            Self::Quoting(text) => reply.error_bytes(text),
            error => reply.error(&error.to_string()),
        }
    }

    /// An option of the EXPIRE family that there is not.
    pub(crate) fn unsupported_option(option: &[u8]) -> Self {
        Self::quoting(&[b"ERR Unsupported option ", shown(option)])
    }

    /// A type of keys that there is not.
    pub(crate) fn unknown_type(name: &[u8]) -> Self {
        Self::quoting(&[b"ERR unknown type name '", shown(name), b"'"])
    }

    /// An integer beyond the bounds that its option has.
    pub(crate) fn not_between(low: i64, high: i64) -> Self {
        let text = format!("ERR value is out of range, value must between {low} and {high}");
        Self::Other(text.into())
    }

    /// A subcommand that `container` does not have.
    pub(crate) fn unknown_subcommand(name: Option<&[u8]>, container: &str) -> Self {
        let name = name.unwrap_or_default();
        let name = shown(&name[..name.len().min(SUBCOMMAND_SHOWN_MAX)]);
        Self::quoting(&[
            b"ERR unknown subcommand '",
            name,
            b"'. Try ",
            container.as_bytes(),
            b" HELP.",
        ])
    }

    /// A subcommand of `container` that cannot be called so.
    pub(crate) fn wrong_form(name: Option<&[u8]>, container: &str) -> Self {
        let name = name.unwrap_or_default();
        let name = shown(&name[..name.len().min(SUBCOMMAND_SHOWN_MAX)]);
        let what = b"ERR unknown subcommand or wrong number of arguments for '";
        Self::quoting(&[what, name, b"'. Try ", container.as_bytes(), b" HELP."])
    }
}
