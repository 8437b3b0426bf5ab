//! Instances: masters that are monitored, their replicas, and the other Sentinels. Says what is known of them, and decides
//! nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use rubine_base::clock::Millis;

use crate::address::{Address, Names};
use crate::flags::{Flags, Kind};
use crate::info::Role;
use crate::link::Place;

/// Whether an instance has FAILOVER, and whether one is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnFailover {
    Unknown,
    Idle,
    Running,
}

/// What all kinds have.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) address: Address,
    /// Under which its link is found.
    pub(crate) link: u64,
    pub(crate) flags: Flags,
    pub(crate) run_id: Option<String>,
    /// When it was last found to be down, 0 if never.
    pub(crate) s_down_since: Millis,
    pub(crate) o_down_since: Millis,
    pub(crate) down_after: Millis,
    /// When it was last told of us.
    pub(crate) published_at: Millis,
    /// When it last answered INFO, and what.
    pub(crate) info_at: Option<Millis>,
    pub(crate) info: Option<Vec<u8>>,
    pub(crate) role: Option<Role>,
    pub(crate) role_since: Millis,
    pub(crate) own_failover: OwnFailover,
    pub(crate) own_failover_since: Millis,
}

impl Node {
    pub(crate) fn new(place: Place, address: Address, link: u64, now: Millis) -> Self {
        let role = match place.kind {
            Kind::Master => Some(Role::Master),
            Kind::Replica => Some(Role::Replica),
            Kind::Sentinel => None,
        };
        Self {
            place,
            address,
            link,
            flags: Flags::empty(),
            run_id: None,
            s_down_since: 0,
            o_down_since: 0,
            down_after: 0,
            published_at: now,
            info_at: None,
            info: None,
            role,
            role_since: now,
            own_failover: OwnFailover::Unknown,
            own_failover_since: now,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.place.name
    }

    pub(crate) fn is_down(&self) -> bool {
        self.flags.intersects(Flags::DOWN)
    }

    /// Whether it was not down within this time.
    pub(crate) fn was_up_for(&self, period: Millis, now: Millis) -> bool {
        let last = self.s_down_since.max(self.o_down_since);
        last == 0 || period < now - last
    }

    /// Has it told of us soon.
    pub(crate) fn publish_soon(&mut self, publish_period: Millis) {
        if publish_period < self.published_at {
            self.published_at -= publish_period + 1;
        }
    }

    /// `kind name ip port`.
    fn described(&self, names: &Names) -> String {
        let Address { port, .. } = self.address;
        let kind = self.place.kind.name();
        format!("{kind} {} {} {port}", self.name(), names.shown(&self.address))
    }
}

/// How events speak of a master, and the program that is told of them.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    /// `name ip port`.
    pub(crate) text: String,
    pub(crate) script: Option<String>,
}

/// States of a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FailoverState {
    None,
    WaitStart,
    SelectReplica,
    SendReplicaofNoOne,
    WaitPromotion,
    ReconfReplicas,
    UpdateConfig,
}

impl FailoverState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::WaitStart => "wait_start",
            Self::SelectReplica => "select_slave",
            Self::SendReplicaofNoOne => "send_slaveof_noone",
            Self::WaitPromotion => "wait_promotion",
            Self::ReconfReplicas => "reconf_slaves",
            Self::UpdateConfig => "update_config",
        }
    }
}

/// The failover of a master, now or the last time.
#[derive(Debug)]
pub(crate) struct Failover {
    pub(crate) state: FailoverState,
    pub(crate) state_since: Millis,
    /// When one was last tried, by us or by whom we voted for.
    pub(crate) started_at: Millis,
    pub(crate) epoch: u64,
    pub(crate) timeout: Millis,
    /// The start that a delay was last logged for.
    pub(crate) delay_logged: Millis,
    /// The replica that becomes the master.
    pub(crate) promoted: Option<Arc<str>>,
}

/// A master that is monitored.
#[derive(Debug)]
pub(crate) struct Master {
    pub(crate) node: Node,
    pub(crate) replicas: BTreeMap<Arc<str>, Replica>,
    /// The other Sentinels, by id.
    pub(crate) peers: BTreeMap<Arc<str>, Peer>,
    pub(crate) quorum: u32,
    pub(crate) parallel_syncs: i64,
    pub(crate) access: Access,
    pub(crate) notification_script: Option<String>,
    pub(crate) client_reconfig_script: Option<String>,
    pub(crate) config_epoch: u64,
    /// Whom we voted for, and when.
    pub(crate) leader: Option<String>,
    pub(crate) leader_epoch: u64,
    pub(crate) failover: Failover,
    pub(crate) reboot_down_after: Millis,
    pub(crate) reboot_since: Millis,
    /// Whom it says it follows, if it says that it is a replica.
    pub(crate) follows: Option<(String, u16)>,
}

/// How a master and its replicas are spoken to.
#[derive(Debug, Default)]
pub(crate) struct Access {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    /// What commands are called there, by their names in capitals.
    pub(crate) renamed: BTreeMap<String, Renamed>,
}

impl Access {
    /// What the command `name`, in capitals, is called there.
    pub(crate) fn command<'a>(&'a self, name: &'a str) -> &'a [u8] {
        self.renamed.get(name).map_or(name, |it| &it.to).as_bytes()
    }
}

/// A command that has another name.
#[derive(Clone, Debug)]
pub(crate) struct Renamed {
    /// As it was written.
    pub(crate) from: String,
    pub(crate) to: String,
}

/// A replica of a master.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) node: Node,
    pub(crate) master_link_down_ms: i64,
    pub(crate) priority: i64,
    pub(crate) is_announced: bool,
    pub(crate) reconf_sent_at: Millis,
    pub(crate) master_host: Option<String>,
    pub(crate) master_port: u16,
    pub(crate) master_link_is_up: bool,
    pub(crate) offset: u64,
    /// When its master last changed.
    pub(crate) master_since: Millis,
}

/// Another Sentinel of a master.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) node: Node,
    pub(crate) hello_at: Millis,
    /// When it last said whether the master is down.
    pub(crate) master_state_at: Millis,
    /// Whom it voted for, and when.
    pub(crate) leader: Option<String>,
    pub(crate) leader_epoch: u64,
}

impl Master {
    /// Where clients should go: to the replica that was promoted, as soon as it has said so.
    pub(crate) fn current_address(&self) -> &Address {
        let is_promoted = self.node.flags.contains(Flags::FAILOVER_IN_PROGRESS)
            && FailoverState::ReconfReplicas <= self.failover.state;
        let promoted = self.promoted().filter(|_| is_promoted);
        promoted.map_or(&self.node.address, |it| &it.node.address)
    }

    pub(crate) fn promoted(&self) -> Option<&Replica> {
        self.replicas.get(self.failover.promoted.as_deref()?)
    }

    pub(crate) fn label(&self, names: &Names) -> Label {
        let Address { port, .. } = self.node.address;
        let text = format!("{} {} {port}", self.node.name(), names.shown(&self.node.address));
        Label { text, script: self.notification_script.clone() }
    }

    pub(crate) fn described(&self, names: &Names) -> String {
        self.node.described(names)
    }

    /// Gives all its instances the time after which they are down.
    pub(crate) fn set_down_after(&mut self, down_after: Millis) {
        self.node.down_after = down_after;
        self.replicas.values_mut().for_each(|it| it.node.down_after = down_after);
        self.peers.values_mut().for_each(|it| it.node.down_after = down_after);
    }

    /// Has everybody told of us, and of what we know, soon.
    pub(crate) fn publish_soon(&mut self, period: Millis) {
        self.node.publish_soon(period);
        self.replicas.values_mut().for_each(|it| it.node.publish_soon(period));
        self.peers.values_mut().for_each(|it| it.node.publish_soon(period));
    }

    pub(crate) fn set_failover_state(&mut self, state: FailoverState, now: Millis) {
        self.failover.state = state;
        self.failover.state_since = now;
    }
}

/// How events speak of an instance, given the label of its master.
pub(crate) fn described(node: &Node, label: &Label, names: &Names) -> String {
    let text = node.described(names);
    if node.place.kind == Kind::Master { text } else { format!("{text} @ {}", label.text) }
}
