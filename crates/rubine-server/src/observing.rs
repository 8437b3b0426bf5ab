//! What the server remembers of commands so that people can see it. Knows no client and no worker.

pub(crate) mod audit;
pub(crate) mod command_log;
pub(crate) mod growing_reply;
pub(crate) mod hot_keys;
pub(crate) mod latency;
pub(crate) mod monitor;

use self::audit::AuditLog;
use self::command_log::CommandLogs;
use self::hot_keys::HotKeys;
use self::latency::LatencyEvents;
use self::monitor::Monitors;

/// Marks in place of an argument that nobody may see.
pub(crate) const REDACTED: &[u8] = b"(redacted)";

/// What the server remembers of commands.
#[derive(Default)]
pub(crate) struct Observing {
    pub(crate) logs: CommandLogs,
    pub(crate) latency: LatencyEvents,
    pub(crate) monitors: Monitors,
    pub(crate) hot_keys: HotKeys,
    pub(crate) audit: AuditLog,
}
