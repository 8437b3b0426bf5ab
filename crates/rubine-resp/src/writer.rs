//! Replies on their way to a socket. [`Reply`] encodes them for one protocol version into an [`Output`], a
//! queue of byte blocks, values sent by reference, and streams that produce a long reply while the socket drains.

mod output;
mod pump;
mod reply;

pub use output::{Mark, Output};
pub use reply::{Deferred, Reply};

/// A value this long is sent by reference; a shorter one is cheaper to copy.
pub const SHARED_BYTES_MIN: usize = 16 * 1024;

/// The version of the protocol that a client has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

impl Protocol {
    /// The protocol's number.
    pub fn version(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// A reply that is produced while its client reads it, from handles to values that no longer change.
pub trait ReplyStream: Send {
    /// Writes the next part of the reply, about `budget_bytes` or less. May write nothing and be called again on a
    /// later turn. Must not call [`Reply::stream`], and a length deferred here is set here.
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress;

    /// Memory that is held for this stream alone.
    fn pinned_bytes(&self) -> usize;
}

/// Whether a stream is to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    Done,
}

#[cfg(test)]
mod tests;
