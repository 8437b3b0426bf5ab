//! What a client that is a replica is sent in place of replies: a dump, and what follows it. Sends nothing itself.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rubine_journal::{Lost, Reader, Slice};

use super::spool::{Found, SpoolReader};

/// Bytes that are taken out of the log at a time.
const READ_BYTES_MAX: usize = 256 * 1024;

/// A client that is a replica.
#[derive(Debug)]
pub(crate) struct ReplicaFeed {
    pub(crate) stage: Stage,
    /// What was taken and not sent.
    pending: VecDeque<Bytes>,
    /// When it last took something, or had nothing to take: milliseconds of the monotonic clock.
    pub(crate) moved_at: u64,
    /// Since when it has been further behind than it may for long.
    pub(crate) soft_limit_since: Option<u64>,
}

/// What it gets now.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It waits for a dump.
    Waiting,
    /// It gets a dump, and then what the log has.
    Dump {
        spool: SpoolReader,
        log: Option<Reader>,
    },
    /// All of the dump has left.
    Sent {
        log: Option<Reader>,
    },
    /// It gets what it lacks out of files, and then what the log has.
    Catching {
        spool: SpoolReader,
        log: NextLog,
    },
    Stream {
        log: Reader,
    },
}

/// The log behind what is in files, once somebody has got there.
pub(crate) type NextLog = Arc<Mutex<Option<Reader>>>;

/// Why nothing can be sent any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// The dump has ended before its time.
    Broken,
    /// What comes next is not kept any more: it was too far behind.
    Behind,
}

impl From<Lost> for Unfit {
    fn from(_: Lost) -> Self {
        Self::Behind
    }
}

impl ReplicaFeed {
    pub(crate) fn new(stage: Stage, now: u64) -> Self {
        Self { stage, pending: VecDeque::new(), moved_at: now, soft_limit_since: None }
    }

    /// Takes what can be sent next, if nothing waits to be. Returns whether the dump is over by that.
    pub(crate) fn fill(&mut self) -> Result<bool, Unfit> {
        if !self.pending.is_empty() {
            return Ok(false);
        }
        match &mut self.stage {
            Stage::Waiting | Stage::Sent { .. } => Ok(false),
            Stage::Dump { spool, log } => match spool.take() {
                Found::Piece(piece) => {
                    self.pending.push_back(piece);
                    Ok(false)
                }
                Found::Nothing => Ok(false),
                Found::Broken => Err(Unfit::Broken),
                Found::End => {
                    self.stage = Stage::Sent { log: log.take() };
                    Ok(true)
                }
            },
            Stage::Catching { spool, log } => match spool.take() {
                Found::Piece(piece) => {
                    self.pending.push_back(piece);
                    Ok(false)
                }
                Found::Nothing => Ok(false),
                Found::Broken => Err(Unfit::Broken),
                Found::End => {
                    let log = log.lock().take().ok_or(Unfit::Broken)?;
                    self.stage = Stage::Stream { log };
                    self.fill()
                }
            },
            Stage::Stream { log } => {
                let mut slices: Vec<Slice> = Vec::new();
                log.read(READ_BYTES_MAX, &mut slices)?;
                self.pending.extend(slices.into_iter().map(|it| it.bytes));
                Ok(false)
            }
        }
    }

    /// What waits to be sent.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &[u8]> {
        self.pending.iter().map(|it| &it[..])
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// So many bytes of it have left.
    pub(crate) fn advance(&mut self, mut bytes: usize) {
        while let Some(front) = self.pending.front_mut() {
            if bytes < front.len() {
                let _ = front.split_to(bytes);
                return;
            }
            bytes -= front.len();
            self.pending.pop_front();
        }
    }

    /// What follows the dump may be sent.
    pub(crate) fn begin_stream(&mut self) {
        if let Stage::Sent { log } = &mut self.stage
            && let Some(log) = log.take()
        {
            self.stage = Stage::Stream { log };
        }
    }

    /// The log as it reads it.
    pub(crate) fn log(&self) -> Option<&Reader> {
        match &self.stage {
            Stage::Waiting | Stage::Catching { .. } => None,
            Stage::Dump { log, .. } | Stage::Sent { log } => log.as_ref(),
            Stage::Stream { log } => Some(log),
        }
    }

    /// Bytes that it lacks: of the log, and what is on its way to the socket.
    pub(crate) fn behind_bytes(&self) -> u64 {
        let pending: usize = self.pending.iter().map(Bytes::len).sum();
        pending as u64 + self.log().map_or(0, Reader::lag_bytes)
    }
}
