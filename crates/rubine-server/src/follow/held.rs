//! What comes of a master's stream while its dump is loaded: kept in memory, in its order and up to a bound. What is beyond
//! waits at the master. Reads nothing itself.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use rubine_config::Config;
use rubine_replication::follower::Way;

use crate::replication::following::SyncFacts;

/// Pieces are filled up to that.
const PIECE_BYTES: usize = 256 * 1024;

pub(super) struct Held {
    pieces: VecDeque<Vec<u8>>,
    bytes: u64,
    /// No more is taken when there is that much; 0 for no such bound.
    bytes_max: u64,
    way: Way,
    /// It has been said that the bound is reached.
    is_told: bool,
}

impl Held {
    /// Nothing yet.
    pub(super) fn new(way: Way, config: &Config) -> Self {
        let bytes_max = match config.replica_full_sync_buffer_limit {
            0 => config.client_output_buffer_limit.replica.hard_bytes,
            bytes => bytes,
        };
        Self { pieces: VecDeque::new(), bytes: 0, bytes_max, way, is_told: false }
    }

    /// Whether more may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.bytes_max == 0 || self.bytes <= self.bytes_max
    }

    /// Keeps what has come.
    pub(super) fn push(&mut self, bytes: &mut Vec<u8>, facts: &SyncFacts) {
        if bytes.is_empty() {
            return;
        }
        self.bytes += bytes.len() as u64;
        match self.pieces.back_mut() {
            Some(last) if last.len() + bytes.len() <= PIECE_BYTES => last.append(bytes),
            _ => {
                bytes.shrink_to_fit();
                self.pieces.push_back(std::mem::take(bytes));
            }
        }
        self.note(facts);
        if !self.has_room() && !self.is_told {
            self.is_told = true;
            let bytes_max = self.bytes_max;
            match self.way {
                Way::Dual => tracing::info!(
                    "Dual channel replication: Replication buffer limit reached ({bytes_max} bytes), stopping buffering. \
                     Further accumulation will occur on primary side."
                ),
                Way::Rdb { .. } => tracing::info!(
                    "Replication buffer limit has been reached ({bytes_max} bytes), stopped buffering replication stream. \
                     Further accumulation may occur on master side."
                ),
            }
        }
    }

    /// The next of what came.
    pub(super) fn take(&mut self, facts: &SyncFacts) -> Option<Vec<u8>> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.len() as u64;
        self.note(facts);
        Some(piece)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn note(&self, facts: &SyncFacts) {
        facts.held_bytes.store(self.bytes, Ordering::Relaxed);
        facts.held_bytes_peak.fetch_max(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_order_and_its_bound() {
        let facts = SyncFacts::default();
        let config = Config { replica_full_sync_buffer_limit: 300_000, ..Config::default() };
        let mut held = Held::new(Way::Dual, &config);
        let mut all = Vec::new();
        for number in 0_u8..100 {
            if !held.has_room() {
                break;
            }
            let mut bytes = vec![number; 1000 * usize::from(number)];
            all.extend_from_slice(&bytes);
            held.push(&mut bytes, &facts);
        }
        assert!(300_000 < held.bytes() && held.bytes() < 400_000, "{}", held.bytes());
        assert_eq!(facts.held_bytes.load(Ordering::Relaxed), held.bytes());
        let mut taken = Vec::new();
        while let Some(piece) = held.take(&facts) {
            taken.extend(piece);
        }
        assert!(taken == all);
        assert_eq!(facts.held_bytes.load(Ordering::Relaxed), 0);
        assert_eq!(facts.held_bytes_peak.load(Ordering::Relaxed), all.len() as u64);
    }
}
