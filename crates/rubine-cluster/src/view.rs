//! The cluster as a worker needs it for one request: who serves a slot, and whether anybody may. Never changes: the machine
//! makes another one, which is swapped in whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rubine_base::clock::Millis;

use crate::id::{NodeId, ShardId};
use crate::message::NodeFlags;
use crate::slots::SLOT_COUNT;

/// Stands for no node where an index of one is expected.
pub const NO_NODE: u16 = u16::MAX;

/// No node for each slot.
pub(crate) fn nobody() -> Box<[u16; SLOT_COUNT]> {
    let owners = vec![NO_NODE; SLOT_COUNT].into_boxed_slice();
    owners.try_into().expect("there is one for each slot")
}

/// Whether the cluster serves requests, as far as this node can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ok,
    Fail(FailReason),
}

/// Why the cluster does not serve requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailReason {
    /// It was not found to be well so far, or is not well for long enough.
    Starting,
    /// A slot is served by no node that works.
    NotFullCoverage,
    /// Most primaries are out of reach.
    MinorityPartition,
    /// This process stood still for longer than the others wait, so that it may have been replaced.
    Stalled,
}

/// One state of the cluster, as this node knows it.
#[derive(Clone, Debug)]
pub struct View {
    /// Rises with each view.
    pub version: u64,
    pub state: State,
    /// The index in `nodes` of whoever serves a slot; `NO_NODE` if nobody does.
    pub owners: Arc<[u16; SLOT_COUNT]>,
    /// All known nodes, in the order of their ids.
    pub nodes: Vec<NodeView>,
    /// The index of this node.
    pub me: u16,
    /// Slots whose keys are carried away by hand, and to whom.
    pub migrating: BTreeMap<u16, u16>,
    /// Slots whose keys are taken in by hand, and from whom.
    pub importing: BTreeMap<u16, u16>,
    pub current_epoch: u64,
    /// The epoch of this node's slots, or of its primary's.
    pub my_epoch: u64,
    /// Until when this may be relied upon, in the machine's time.
    lease: Lease,
}

/// What a view says of one node.
#[derive(Clone, Debug)]
pub struct NodeView {
    pub id: NodeId,
    pub shard: ShardId,
    pub flags: NodeFlags,
    /// The index of its primary, if it is a replica; `NO_NODE` if that is not known.
    pub primary: u16,
    /// The epoch of the slots that it claims itself.
    pub epoch: u64,
    /// Its replication offset when this view was made.
    pub offset: u64,
    /// Whether there is a connection to it.
    pub is_connected: bool,
    pub ip: Arc<str>,
    /// Empty if it has none.
    pub hostname: Arc<str>,
    pub port: u16,
    pub tls_port: u16,
    /// What it announces to clients only: empty or 0 if nothing.
    pub client_ipv4: Arc<str>,
    pub client_ipv6: Arc<str>,
    pub client_port: u16,
    pub client_tls_port: u16,
    pub availability_zone: Arc<str>,
}

/// A moment that the machine moves ahead while it runs. If the process stood still, it has passed when the process wakes,
/// before the machine has had its turn.
#[derive(Clone, Debug)]
pub(crate) struct Lease(Arc<AtomicI64>);

impl Lease {
    pub(crate) fn new(until: Millis) -> Self {
        Self(Arc::new(AtomicI64::new(until)))
    }

    pub(crate) fn extend(&self, until: Millis) {
        // It guards nothing but itself.
        self.0.store(until, Ordering::Relaxed);
    }
}

impl View {
    pub(crate) fn with_lease(lease: Lease) -> Self {
        Self {
            version: 0,
            state: State::Fail(FailReason::Starting),
            owners: nobody().into(),
            nodes: Vec::new(),
            me: 0,
            migrating: BTreeMap::new(),
            importing: BTreeMap::new(),
            current_epoch: 0,
            my_epoch: 0,
            lease,
        }
    }

    /// Whether the machine was well when it last had its turn, and that was lately. Writes need this beside `state`: a
    /// process that was stopped for long does not know yet that it was replaced.
    pub fn is_current(&self, now: Millis) -> bool {
        now <= self.lease.0.load(Ordering::Relaxed)
    }

    /// Whether a slot is being moved by hand, from here or to here.
    pub fn has_open_slots(&self) -> bool {
        !self.migrating.is_empty() || !self.importing.is_empty()
    }

    pub fn is_ok(&self) -> bool {
        self.state == State::Ok
    }

    /// Whoever serves a slot.
    pub fn owner(&self, slot: u16) -> Option<&NodeView> {
        self.node(self.owners[usize::from(slot)])
    }

    /// Its id.
    pub fn owner_id(&self, slot: u16) -> Option<NodeId> {
        self.owner(slot).map(|it| it.id)
    }

    pub fn node(&self, index: u16) -> Option<&NodeView> {
        self.nodes.get(usize::from(index))
    }

    pub fn myself(&self) -> &NodeView {
        &self.nodes[usize::from(self.me)]
    }

    pub fn is_replica(&self) -> bool {
        self.myself().flags.contains(NodeFlags::REPLICA)
    }

    /// Whether a slot is this node's own, rather than its primary's or another's.
    pub fn is_mine(&self, slot: u16) -> bool {
        self.owners[usize::from(slot)] == self.me
    }

    /// The index of this node, or of its primary if it is a replica.
    pub fn my_primary(&self) -> u16 {
        if self.is_replica() { self.myself().primary } else { self.me }
    }
}

impl NodeView {
    /// Where clients find it: over TLS or not, over IPv6 or not.
    pub fn client_port(&self, is_tls: bool) -> u16 {
        let (announced, own) = if is_tls {
            (self.client_tls_port, self.tls_port)
        } else {
            (self.client_port, self.port)
        };
        if announced == 0 { own } else { announced }
    }

    pub fn client_ip(&self, is_ipv6: bool) -> &str {
        let announced = if is_ipv6 { &self.client_ipv6 } else { &self.client_ipv4 };
        if announced.is_empty() { &self.ip } else { announced }
    }
}
