//! The log of refusals behind ACL LOG, newest first: what comes again soon after is counted, not repeated.
//! Reads no clock.

use std::collections::VecDeque;

use rubine_base::clock::Millis;

use crate::check::Reason;

/// What is this much later is another event, in milliseconds.
const MERGED_MS_MAX: u64 = 60_000;

/// How many entries are looked at for one that an event can be counted in.
const COMPARED_MAX: usize = 10;

/// From where a refused command came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    TopLevel,
    Multi,
    Lua,
    /// A script in another language.
    Script,
}

impl Context {
    /// The word in ACL LOG.
    pub fn name(self) -> &'static str {
        match self {
            Self::TopLevel => "toplevel",
            Self::Multi => "multi",
            Self::Lua => "lua",
            Self::Script => "script",
        }
    }
}

/// Something that was refused.
#[derive(Clone, Debug)]
pub struct Incident {
    pub reason: Reason,
    pub context: Context,
    /// The key, channel, database or command; for a login, the command that it was tried with.
    pub object: Vec<u8>,
    pub username: Vec<u8>,
    /// The client as CLIENT LIST shows it.
    pub client_info: Vec<u8>,
}

/// An entry of the log: an incident, and those that were like it.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// With the client that came last.
    pub incident: Incident,
    pub count: u64,
    pub id: u64,
    pub created_ms: Millis,
    pub updated_ms: Millis,
}

impl LogEntry {
    /// How long ago it was updated, as ACL LOG shows it.
    pub fn age_seconds(&self, now_ms: Millis) -> f64 {
        (now_ms - self.updated_ms) as f64 / 1000.0
    }

    fn is_like(&self, incident: &Incident, now_ms: Millis) -> bool {
        let known = &self.incident;
        (known.reason, known.context) == (incident.reason, incident.context)
            && self.updated_ms.abs_diff(now_ms) <= MERGED_MS_MAX
            && known.object == incident.object
            && known.username == incident.username
    }
}

/// The log.
#[derive(Clone, Debug, Default)]
pub struct AclLog {
    /// Newest first.
    entries: VecDeque<LogEntry>,
    /// How many entries there ever were.
    entry_count: u64,
    /// By reason.
    counts: [u64; Reason::COUNT],
}

impl AclLog {
    /// Adds an incident, and keeps `len_max` entries at most, which is what `acllog-max-len` says.
    pub fn add(&mut self, incident: Incident, now_ms: Millis, len_max: usize) {
        self.counts[incident.reason as usize] += 1;
        let mut newest = self.entries.iter().take(COMPARED_MAX);
        let known = newest.position(|it| it.is_like(&incident, now_ms)).filter(|_| len_max != 0);
        let entry = match known.and_then(|place| self.entries.remove(place)) {
            Some(mut entry) => {
                entry.incident.client_info = incident.client_info;
                entry.updated_ms = now_ms;
                entry.count += 1;
                entry
            }
            None if len_max == 0 => return self.entries.clear(),
            None => {
                let id = self.entry_count;
                self.entry_count += 1;
                LogEntry { incident, count: 1, id, created_ms: now_ms, updated_ms: now_ms }
            }
        };
        self.entries.push_front(entry);
        self.entries.truncate(len_max);
    }

    /// Newest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &LogEntry> {
        self.entries.iter()
    }

    /// How often something was refused for that reason, which no reset forgets.
    pub fn count(&self, reason: Reason) -> u64 {
        self.counts[reason as usize]
    }

    /// Forgets the entries. Numbers go on.
    pub fn reset(&mut self) {
        self.entries.clear();
    }
}
