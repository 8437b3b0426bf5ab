//! The list of clients with something to do in a worker's next turn.

use crate::client::Client;

/// Puts a client on the list of those with something to do.
pub(super) fn schedule(scheduled: &mut Vec<usize>, client: &mut Client, slot: usize) {
    if !client.is_scheduled {
        client.is_scheduled = true;
        scheduled.push(slot);
    }
}
