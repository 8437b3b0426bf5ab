//! What DEBUG has this node do wrong, so that tests see how the others bear it.

use super::Cluster;
use crate::effect::{Level, LinkId};
use crate::message::KIND_NAMES;

/// One thing that is done wrong, or right again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Packets of the kind of this number are dropped as they come: [`Fault::ALL_KINDS`] for all, anything below for none.
    DropPackets(i64),
    /// A connection is closed when a packet of it is dropped.
    CloseOnDrop(bool),
    /// Nobody is pinged by chance.
    NoRandomPing(bool),
    /// A connection that is gone is not made again.
    NoReconnection(bool),
}

impl Fault {
    pub const ALL_KINDS: i64 = -2;
    const NO_KIND: i64 = -1;
}

/// All of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    dropped_kind: i64,
    closes_on_drop: bool,
    pub(super) no_random_ping: bool,
    pub(super) no_reconnection: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            dropped_kind: Fault::NO_KIND,
            closes_on_drop: false,
            no_random_ping: false,
            no_reconnection: false,
        }
    }
}

impl Cluster {
    /// DEBUG DROP-CLUSTER-PACKET-FILTER and its relatives.
    pub fn set_fault(&mut self, fault: Fault) {
        match fault {
            Fault::DropPackets(kind) => self.faults.dropped_kind = kind,
            Fault::CloseOnDrop(it) => self.faults.closes_on_drop = it,
            Fault::NoRandomPing(it) => self.faults.no_random_ping = it,
            Fault::NoReconnection(it) => self.faults.no_reconnection = it,
        }
    }

    /// Whether a packet that has come is to be taken for one that has not.
    pub(super) fn drops(&mut self, link: LinkId, kind: u16) -> bool {
        let filter = self.faults.dropped_kind;
        if filter != Fault::ALL_KINDS && filter != i64::from(kind) {
            return false;
        }
        let name = KIND_NAMES.get(usize::from(kind)).unwrap_or(&"unknown");
        let text = format!("Dropping packet of type {name} that matches debug drop filter");
        self.log(Level::Warning, text);
        if self.faults.closes_on_drop {
            self.close(link);
            self.log(Level::Warning, format!("Closing link for matching packet type {name}"));
        }
        true
    }
}
