//! Taking connections in: so many a turn, and again soon where the system has no room for more. Decides on none.

use std::io;

use mio::Token;
use rubine_net::listener::Accepted;

use crate::core::Core;

/// Connections that are taken in one turn, so that clients who are there already have theirs.
const ACCEPTS_PER_TURN_MAX: usize = 256;
/// How soon it is tried again when the system refused: it tells nobody when there is room.
const RETRY_MS: i64 = 50;

/// Listeners at which connections may wait, and whose turn it is to get one.
#[derive(Debug, Default)]
pub(super) struct Doorway {
    /// Invariant: each once. Bounded by the number of listeners.
    waiting: Vec<Token>,
    /// Connections that were taken in this turn.
    taken: usize,
    /// When the system last refused one, Unix milliseconds.
    refused_at: Option<i64>,
    /// The worker that gets the next connection.
    next_worker: usize,
}

impl Doorway {
    /// Connections have come.
    pub(super) fn note_arrival(&mut self, listener: Token) {
        if !self.waiting.contains(&listener) {
            self.waiting.push(listener);
        }
    }

    /// Whether the next turn has something to do at once.
    pub(super) fn has_more(&self) -> bool {
        !self.waiting.is_empty() && self.refused_at.is_none()
    }

    /// The next connection and the worker that it is for, until there is none or the turn has had its part.
    pub(super) fn next(&mut self, core: &Core) -> Option<(Accepted, usize)> {
        while let Some(&listener) = self.waiting.last()
            && self.taken < ACCEPTS_PER_TURN_MAX
            && self.may_try(core.now)
        {
            let server = core.server;
            match server.ports.listening.accept(listener, &server.config.load(), &server.ports.tls)
            {
                Ok(accepted) => {
                    self.refused_at = None;
                    self.taken += 1;
                    return Some((accepted, self.next_worker));
                }
                Err(error) => self.note_failure(&error, core.now),
            }
        }
        self.taken = 0;
        None
    }

    /// The next connection is for the next worker.
    pub(super) fn pass_on(&mut self, worker_count: usize) {
        self.next_worker = (self.next_worker + 1) % worker_count;
    }

    fn may_try(&self, now: i64) -> bool {
        // A clock that was set back says nothing.
        self.refused_at.is_none_or(|it| now < it || it + RETRY_MS <= now)
    }

    fn note_failure(&mut self, error: &io::Error, now: i64) {
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                self.refused_at = None;
                self.waiting.pop();
            }
            // Each try takes one that waited.
            io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => self.taken += 1,
            _ => {
                if self.refused_at.replace(now).is_none() {
                    tracing::warn!("Accepting client connection: {error}");
                }
            }
        }
    }
}
