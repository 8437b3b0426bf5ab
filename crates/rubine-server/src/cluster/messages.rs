//! What clients publish, on its way to the other nodes: a queue for the thread of the cluster, with a bound. Sends nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rubine_cluster::message::Relayed;

/// From so many bytes on, clients that want to publish wait.
const BYTES_SLOW: usize = 16 * 1024 * 1024;
/// With so many waiting, a message is dropped: a script or a transaction that is running cannot wait.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a message takes beyond its bytes, about.
const OVERHEAD: usize = 64;

/// Messages that have not been passed on.
#[derive(Default)]
pub(crate) struct Messages {
    queue: Mutex<VecDeque<Relayed>>,
    /// Of those in the queue. Written while it is locked.
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl Messages {
    /// Puts a message in, if there is room. Returns whether it is the first.
    pub(super) fn push(&self, message: Relayed) -> bool {
        let mut queue = self.queue.lock();
        let bytes = self.bytes.load(Ordering::Relaxed);
        if BYTES_MAX <= bytes {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.bytes.store(bytes + cost(&message), Ordering::Relaxed);
        queue.push_back(message);
        queue.len() == 1
    }

    /// Takes some `bytes` out, at least one message if there is any.
    pub(crate) fn take(&self, bytes: usize) -> Vec<Relayed> {
        let mut queue = self.queue.lock();
        let (mut taken, mut taken_bytes) = (Vec::new(), 0);
        while taken_bytes < bytes
            && let Some(message) = queue.pop_front()
        {
            taken_bytes += cost(&message);
            taken.push(message);
        }
        self.bytes.fetch_sub(taken_bytes, Ordering::Relaxed);
        taken
    }

    pub(crate) fn are_waiting(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) != 0
    }

    /// Whether so many wait that whoever wants to publish has to wait, too.
    pub(crate) fn are_behind(&self) -> bool {
        BYTES_SLOW <= self.bytes.load(Ordering::Relaxed)
    }

    /// How many the other nodes will never get.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn cost(message: &Relayed) -> usize {
    OVERHEAD + message.size()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(size: usize) -> Relayed {
        Relayed::Publish { channel: b"news".to_vec(), message: vec![b'x'; size] }
    }

    #[test]
    fn whoever_cannot_wait_fills_it_up_to_the_bound() {
        let messages = Messages::default();
        let (mut pushed, mut slow_from) = (0, None);
        while messages.dropped() == 0 {
            assert_eq!(messages.push(message(1 << 20)), pushed == 0);
            pushed += 1;
            if messages.are_behind() {
                slow_from.get_or_insert(pushed);
            }
        }
        assert_eq!((pushed - 1, slow_from), (BYTES_MAX >> 20, Some(BYTES_SLOW >> 20)));
        messages.push(message(1));
        assert_eq!(messages.dropped(), 2);
        let mut taken = 0;
        while messages.are_waiting() {
            let some = messages.take(3 << 20);
            assert!((1..=3).contains(&some.len()));
            taken += some.len();
        }
        assert_eq!(taken, BYTES_MAX >> 20);
        assert!(messages.take(1).is_empty() && !messages.are_behind());
        assert!(messages.push(message(1)), "it is the first again");
    }
}
