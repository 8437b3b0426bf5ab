//! Replies on their way to clients' sockets. Never looks at what they say.

use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;

use crate::client::{Client, ClientFlags};
use crate::core::Core;

/// Bytes offered to a socket at once, and pieces.
const WRITE_BYTES_MAX: usize = 128 * 1024;
const WRITE_SLICES_MAX: usize = 64;
/// Bytes that one call of a stream may produce.
const STREAM_BYTES: usize = 64 * 1024;
/// Bytes that one client may be sent in one turn before the others have theirs.
const TURN_OUTPUT_BYTES_MAX: usize = 128 * 1024;

/// Sends the replies of clients whose requests are done. What a socket takes at once exceeds no limit.
pub(super) fn send_held(
    core: &mut Core,
    clients: &mut [Option<Box<Client>>],
    answered: &mut Vec<usize>,
) {
    // Whoever writes the log begins before the clients know: a client that wakes up may take this thread's processor.
    core.server.journal.notify();
    for slot in answered.drain(..) {
        let Some(client) = &mut clients[slot] else { continue };
        if !send(core, client) {
            client.flags |= ClientFlags::CLOSE_NOW;
        }
    }
}

/// Writes as much as the socket takes and the turn allows. Returns whether the connection is still good.
pub(super) fn send(core: &mut Core, client: &mut Client) -> bool {
    if !client.output.is_empty() && core.holds_back(client) {
        return true;
    }
    let mut sent = 0;
    while client.sending.is_writable && !client.output.is_empty() {
        if TURN_OUTPUT_BYTES_MAX <= sent {
            break;
        }
        // What a stream adds to a header, say, leaves with it.
        if client.output.has_stream() {
            client.output.pump(STREAM_BYTES);
        }
        let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
        let count = client.output.front_slices(&mut slices, WRITE_BYTES_MAX);
        if count == 0 {
            // A stream that looks for something produces nothing for a while: the others come first.
            sent += TURN_OUTPUT_BYTES_MAX / 4;
            continue;
        }
        core.stats().writes_processed.add(1);
        // Whoever reads the reply may look this number up at once.
        let offered: usize = slices[..count].iter().map(|it| it.len()).sum();
        let total = client.traffic.net_output + offered as u64;
        client.info.net_output.store(total, Ordering::Relaxed);
        match client.socket.write_vectored(&slices[..count]) {
            Ok(written) => {
                client.output.advance(written);
                client.traffic.last_interaction = core.now;
                client.traffic.net_output += written as u64;
                core.stats().output_bytes.add(written as u64);
                sent += written;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                client.sending.is_writable = false;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    true
}
