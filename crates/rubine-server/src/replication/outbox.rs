//! What this replica has to tell its master beside how far it is: some messages, which whoever keeps the link sends when
//! there is room. Sends nothing itself.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Messages that may wait, of those who can wait themselves.
const WAITING_MAX: usize = 4;
/// Messages of other replicas that may wait: beyond that they are dropped, and whoever waits for them gives up.
const PASSED_ON_MAX: usize = 256;
/// How long whoever waits for room does not look at anything else.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    has_room: Condvar,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Vec<u8>>,
    /// Counts the streams that there were. What belongs to one is not sent in another, whose master may not know a word of it.
    stream: u64,
    is_open: bool,
}

impl Outbox {
    /// A stream begins, or is over: what was left for the one before goes.
    pub(crate) fn set_open(&self, is_open: bool) {
        let mut state = self.state.lock();
        state.messages.clear();
        state.stream += 1;
        state.is_open = is_open;
        self.has_room.notify_all();
    }

    /// The stream that there is now, if one is.
    pub(crate) fn stream(&self) -> Option<u64> {
        let state = self.state.lock();
        state.is_open.then_some(state.stream)
    }

    /// Leaves a message for a stream, once there is room. Returns false if that stream is over, or `is_wanted` says so of the
    /// message.
    pub(crate) fn put(&self, stream: u64, message: Vec<u8>, is_wanted: impl Fn() -> bool) -> bool {
        let mut state = self.state.lock();
        loop {
            if !state.is_open || state.stream != stream || !is_wanted() {
                return false;
            }
            if state.messages.len() < WAITING_MAX {
                state.messages.push_back(message);
                return true;
            }
            self.has_room.wait_for(&mut state, LOOK);
        }
    }

    /// Leaves a message of another replica, if there is room: whoever has it cannot wait. Returns whether it did.
    pub(crate) fn pass_on(&self, message: Vec<u8>) -> bool {
        let mut state = self.state.lock();
        let has_room = state.is_open && state.messages.len() < PASSED_ON_MAX;
        if has_room {
            state.messages.push_back(message);
        }
        has_room
    }

    /// The next message that is to be sent.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        let message = self.state.lock().messages.pop_front();
        if message.is_some() {
            self.has_room.notify_all();
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_for_another_stream() {
        let outbox = Outbox::default();
        assert_eq!(outbox.stream(), None);
        outbox.set_open(true);
        let stream = outbox.stream().unwrap();
        assert!(outbox.put(stream, vec![1], || true));
        assert!(!outbox.put(stream, vec![2], || false), "nobody wants it any more");
        assert!(outbox.pass_on(vec![3]));
        assert_eq!(
            (outbox.take(), outbox.take(), outbox.take()),
            (Some(vec![1]), Some(vec![3]), None)
        );
        assert!(outbox.pass_on(vec![4]));
        outbox.set_open(false);
        assert!(!outbox.pass_on(vec![5]));
        outbox.set_open(true);
        assert!(!outbox.put(stream, vec![6], || true));
        assert_eq!(outbox.take(), None);
    }

    #[test]
    fn room_is_waited_for() {
        let outbox = Outbox::default();
        outbox.set_open(true);
        let stream = outbox.stream().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..100).for_each(|it| assert!(outbox.put(stream, vec![it], || true))));
            let mut taken = 0;
            while taken < 100 {
                match outbox.take() {
                    Some(message) => {
                        assert_eq!(message, [taken]);
                        taken += 1;
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
    }
}
