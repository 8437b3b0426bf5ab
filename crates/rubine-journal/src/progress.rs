//! How far the log has got somewhere (written, on disk, at so many replicas), and the replies that
//! wait for it. A parked reply is a token of the caller's; this file never sends anything.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::Offset;
use crate::sync::{AtomicU64, Mutex};

/// What became of a wish to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Park {
    /// There is nothing to wait for.
    Satisfied,
    /// The token will be released, unless it is cancelled first.
    Parked,
    /// As many wait as may.
    Full,
}

/// One place the log gets to, in order: written, or on disk.
pub struct Progress {
    /// Written under the lock, read without.
    reached: AtomicU64,
    parked: Mutex<VecDeque<Parked>>,
    parked_count_max: usize,
}

/// Invariant of the queue: ascending offsets, and first come first among equals.
struct Parked {
    offset: Offset,
    token: u64,
}

impl Progress {
    pub fn new(reached: Offset, parked_count_max: usize) -> Self {
        Self {
            reached: AtomicU64::new(reached),
            parked: Mutex::new(VecDeque::new()),
            parked_count_max,
        }
    }

    pub fn reached(&self) -> Offset {
        self.reached.load(Acquire)
    }

    /// Parks a token until `offset` is reached. One load if it is already.
    #[must_use = "a token that was not parked is never released"]
    pub fn park(&self, offset: Offset, token: u64) -> Park {
        if offset <= self.reached() {
            return Park::Satisfied;
        }
        let mut parked = self.parked.lock();
        if offset <= self.reached() {
            return Park::Satisfied;
        }
        if self.parked_count_max <= parked.len() {
            return Park::Full;
        }
        // Offsets arrive nearly in order, so this looks at the end first.
        let place = parked.iter().rposition(|other| other.offset <= offset).map_or(0, |at| at + 1);
        parked.insert(place, Parked { offset, token });
        Park::Parked
    }

    /// Moves on to `offset` (never back) and puts the tokens that are released into `released`, in
    /// the order of their offsets.
    pub fn advance(&self, offset: Offset, released: &mut Vec<u64>) {
        let mut parked = self.parked.lock();
        if offset <= self.reached() {
            return;
        }
        self.reached.store(offset, Release);
        let count = parked.partition_point(|parked| parked.offset <= offset);
        released.extend(parked.drain(..count).map(|parked| parked.token));
    }

    /// Begins another history at `offset`. Those who waited in the old one are put into `abandoned`.
    pub fn restart(&self, offset: Offset, abandoned: &mut Vec<u64>) {
        let mut parked = self.parked.lock();
        self.reached.store(offset, Release);
        abandoned.extend(parked.drain(..).map(|parked| parked.token));
    }

    /// Takes a token back: its client has gone, or its time is over. False if it was released.
    pub fn cancel(&self, token: u64) -> bool {
        let mut parked = self.parked.lock();
        let place = parked.iter().position(|parked| parked.token == token);
        place.and_then(|place| parked.remove(place)).is_some()
    }

    pub fn parked_count(&self) -> usize {
        self.parked.lock().len()
    }
}

/// What each of several peers has acknowledged, and who waits for how many of them.
pub struct Acknowledgements {
    state: Mutex<AcknowledgementState>,
    waiting_count_max: usize,
}

impl fmt::Debug for Acknowledgements {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Acknowledgements").finish_non_exhaustive()
    }
}

struct AcknowledgementState {
    peers: Vec<Peer>,
    /// In the order of arrival.
    waiting: Vec<Waiting>,
}

struct Peer {
    id: u64,
    acknowledged: Offset,
}

struct Waiting {
    offset: Offset,
    peer_count: usize,
    token: u64,
}

impl Acknowledgements {
    pub fn new(waiting_count_max: usize) -> Self {
        let state = AcknowledgementState { peers: Vec::new(), waiting: Vec::new() };
        Self { state: Mutex::new(state), waiting_count_max }
    }

    /// Notes that a peer has everything before `offset`, and puts the tokens that are released into
    /// `released`, in the order of their arrival.
    pub fn acknowledge(&self, peer_id: u64, offset: Offset, released: &mut Vec<u64>) {
        let mut state = self.state.lock();
        match state.peers.iter_mut().find(|peer| peer.id == peer_id) {
            Some(peer) if offset <= peer.acknowledged => return,
            Some(peer) => peer.acknowledged = offset,
            None => state.peers.push(Peer { id: peer_id, acknowledged: offset }),
        }
        let AcknowledgementState { peers, waiting } = &mut *state;
        waiting.retain(|waiting| {
            let is_released = waiting.peer_count <= count_at(peers, waiting.offset);
            released.extend(is_released.then_some(waiting.token));
            !is_released
        });
    }

    /// Forgets a peer that has gone. What it acknowledged no longer counts for anyone who waits.
    pub fn forget(&self, peer_id: u64) {
        self.state.lock().peers.retain(|peer| peer.id != peer_id);
    }

    /// Up to where so many peers have everything; `None` if there are not so many.
    pub fn reached_by(&self, peer_count: usize) -> Option<Offset> {
        let mut all: Vec<Offset> =
            self.state.lock().peers.iter().map(|peer| peer.acknowledged).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.get(peer_count.checked_sub(1)?).copied()
    }

    /// How many peers have everything before `offset`.
    pub fn count(&self, offset: Offset) -> usize {
        count_at(&self.state.lock().peers, offset)
    }

    /// Parks a token until `peer_count` peers have everything before `offset`.
    #[must_use = "a token that was not parked is never released"]
    pub fn park(&self, offset: Offset, peer_count: usize, token: u64) -> Park {
        let mut state = self.state.lock();
        if peer_count <= count_at(&state.peers, offset) {
            return Park::Satisfied;
        }
        if self.waiting_count_max <= state.waiting.len() {
            return Park::Full;
        }
        state.waiting.push(Waiting { offset, peer_count, token });
        Park::Parked
    }

    /// Takes a token back: its client has gone, or its time is over. False if it was released.
    pub fn cancel(&self, token: u64) -> bool {
        let mut state = self.state.lock();
        let place = state.waiting.iter().position(|waiting| waiting.token == token);
        place.map(|place| state.waiting.remove(place)).is_some()
    }
}

fn count_at(peers: &[Peer], offset: Offset) -> usize {
    peers.iter().filter(|peer| offset <= peer.acknowledged).count()
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn tokens_leave_in_the_order_of_their_offsets() {
        let progress = Progress::new(10, 5);
        let parked = [(30, 1), (20, 2), (10, 3), (30, 4), (25, 5)];
        let outcomes = parked.map(|(offset, token)| progress.park(offset, token));
        let (satisfied, waits) = (Park::Satisfied, Park::Parked);
        assert_eq!(outcomes, [waits, waits, satisfied, waits, waits]);

        let mut released = Vec::new();
        progress.advance(19, &mut released);
        assert_eq!(released, []);
        progress.advance(25, &mut released);
        progress.advance(12, &mut released);
        assert_eq!((progress.reached(), &released[..]), (25, &[2, 5][..]));
        progress.advance(40, &mut released);
        assert_eq!(released, [2, 5, 1, 4]);
    }

    #[test]
    fn parking_is_bounded_and_can_be_taken_back() {
        let progress = Progress::new(0, 2);
        assert_eq!(progress.park(1, 7), Park::Parked);
        assert_eq!(progress.park(2, 8), Park::Parked);
        assert_eq!(progress.park(3, 9), Park::Full);
        assert!(progress.cancel(7));
        assert!(!progress.cancel(7));
        assert_eq!(progress.park(3, 9), Park::Parked);

        let mut abandoned = Vec::new();
        progress.restart(0, &mut abandoned);
        assert_eq!((abandoned, progress.parked_count()), (vec![8, 9], 0));
    }

    #[test]
    fn a_quorum_is_counted_per_wish() {
        let acknowledgements = Acknowledgements::new(2);
        assert_eq!(acknowledgements.park(50, 0, 1), Park::Satisfied);
        assert_eq!(acknowledgements.park(50, 1, 2), Park::Parked);
        assert_eq!(acknowledgements.park(40, 2, 3), Park::Parked);
        assert_eq!(acknowledgements.park(40, 2, 4), Park::Full);

        let mut released = Vec::new();
        acknowledgements.acknowledge(100, 45, &mut released);
        assert_eq!((&released[..], acknowledgements.count(40)), (&[][..], 1));
        acknowledgements.forget(100);
        acknowledgements.acknowledge(101, 49, &mut released);
        assert_eq!(released, [], "a peer that has gone does not count");
        acknowledgements.acknowledge(102, 50, &mut released);
        assert_eq!(released, [2, 3]);
        acknowledgements.acknowledge(102, 10, &mut released);
        assert_eq!(acknowledgements.count(50), 1, "an acknowledgement is never taken back");
        assert!(!acknowledgements.cancel(2));
        assert_eq!([1, 2, 3].map(|it| acknowledgements.reached_by(it)), [Some(50), Some(49), None]);
    }
}
