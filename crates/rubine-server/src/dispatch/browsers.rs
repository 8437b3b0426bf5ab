//! Requests that a page in somebody's browser could have made are no requests: the connection ends.

use std::sync::atomic::Ordering;

use rubine_commands::Args;

use crate::client::{Client, ClientFlags};
use crate::core::Core;

/// Whether it is a line of an HTTP request that could come from a page in somebody's browser. What follows it would be
/// run as commands if the line were merely refused.
pub(super) fn is_http(args: Args<'_>) -> bool {
    [&b"POST"[..], b"Host:"].iter().any(|it| it.eq_ignore_ascii_case(args.at(0)))
}

impl Core {
    /// Closes the connection of a client that speaks HTTP.
    #[cold]
    pub(super) fn refuse_http(&mut self, client: &mut Client) {
        const WARNING_INTERVAL_MS: i64 = 60_000;
        client.flags |= ClientFlags::CLOSE_NOW;
        let warned_at = &self.server.ports.warned_of_http_at;
        if warned_at.load(Ordering::Relaxed) + WARNING_INTERVAL_MS < self.now {
            warned_at.store(self.now, Ordering::Relaxed);
            tracing::warn!(
                "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Rubine. \
                 This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your \
                 instance. Connection from {} aborted.",
                client.info.address
            );
        }
    }
}
