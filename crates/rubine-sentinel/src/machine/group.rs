//! Who belongs to whom: instances that come, go, and change places.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Core, Sentinel};
use crate::address::Address;
use crate::effect::Level;
use crate::flags::{Flags, Kind};
use crate::info::Role;
use crate::instance::{Access, Failover, FailoverState, Master, Node, Peer, Replica, described};
use crate::link::Place;

/// More Sentinels of one master are not believed.
const PEERS_MAX: usize = 4096;
/// More replicas of one master are not kept.
const REPLICAS_MAX: usize = 4096;
const DEFAULT_PRIORITY: i64 = 100;

/// Why an instance cannot be added. The texts are replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("Duplicate master name.")]
    SameName,
    #[error("Duplicate hostname and port for replica.")]
    SameReplica,
    #[error("Duplicate runid for sentinel.")]
    SameId,
    #[error("Can't resolve instance hostname.")]
    Unresolved,
    #[error("Invalid port number.")]
    Port,
    #[error("Unknown Error for creating instances.")]
    TooMany,
}

impl Sentinel {
    /// Adds a master.
    pub(crate) fn add_master(
        &mut self,
        name: &str,
        (host, port): (&str, i64),
        quorum: u32,
    ) -> Result<&mut Master, CreateError> {
        let port = u16::try_from(port).map_err(|_| CreateError::Port)?;
        let core = &mut self.core;
        let address = core.names.address(host, port, core.now).ok_or(CreateError::Unresolved)?;
        if self.masters.contains_key(name) {
            return Err(CreateError::SameName);
        }
        let name: Arc<str> = name.into();
        let number = core.next_number();
        let place = Place { master: Arc::clone(&name), kind: Kind::Master, name, number };
        let link = core.new_link();
        let mut node = Node::new(place, address, link, core.now);
        node.down_after = core.timings.default_down_after;
        let master = Master {
            replicas: BTreeMap::new(),
            peers: BTreeMap::new(),
            quorum,
            parallel_syncs: 1,
            access: Access::default(),
            notification_script: None,
            client_reconfig_script: None,
            config_epoch: 0,
            leader: None,
            leader_epoch: 0,
            failover: Failover {
                state: FailoverState::None,
                state_since: 0,
                started_at: 0,
                epoch: 0,
                timeout: core.timings.default_failover_timeout,
                delay_logged: 0,
                promoted: None,
            },
            reboot_down_after: 0,
            reboot_since: 0,
            follows: None,
            node,
        };
        Ok(self.masters.entry(Arc::clone(&master.node.place.name)).or_insert(master))
    }

    /// Forgets a master and all that belong to it.
    pub(crate) fn remove_master(&mut self, name: &str) {
        let Some(mut master) = self.masters.remove(name) else { return };
        self.core.remove_replicas(&mut master);
        self.core.remove_peers(&mut master);
        self.core.release_link(&master.node);
    }

    /// Adds a Sentinel to a master, which exists. Where it is known from another master, it shares that one's link.
    pub(crate) fn add_peer(
        &mut self,
        master: &str,
        id: &str,
        (host, port): (&str, i64),
    ) -> Result<(), CreateError> {
        let port = u16::try_from(port).map_err(|_| CreateError::Port)?;
        let Self { core, masters } = self;
        let address = core.names.address(host, port, core.now).ok_or(CreateError::Unresolved)?;
        let shared = masters.values().find_map(|it| it.peers.get(id)).map(|it| it.node.link);
        let Some(master) = masters.get_mut(master) else { return Ok(()) };
        if master.peers.contains_key(id) {
            return Err(CreateError::SameId);
        }
        if PEERS_MAX <= master.peers.len() {
            return Err(CreateError::TooMany);
        }
        let link = match shared {
            Some(link) => {
                core.links.get_mut(&link).expect("it is in use").ref_count += 1;
                link
            }
            None => core.new_link(),
        };
        let place = core.place(master, Kind::Sentinel, id);
        let mut node = Node::new(place, address, link, core.now);
        node.run_id = Some(id.to_owned());
        node.down_after = master.node.down_after;
        let peer = Peer {
            node,
            hello_at: core.now,
            master_state_at: core.now,
            leader: None,
            leader_epoch: 0,
        };
        master.peers.insert(id.into(), peer);
        Ok(())
    }

    /// The failover is over: what was promoted is the master from now on.
    pub(super) fn switch_to_promoted(&mut self, name: &str) {
        let Some(master) = self.masters.get_mut(name) else { return };
        let to = match master.promoted() {
            Some(replica) => replica.node.address.clone(),
            None => master.node.address.clone(),
        };
        let from = master.node.address.clone();
        self.core.tell_of_switch(master, (&from, &to));
        self.core.change_address(master, to);
    }
}

impl Core {
    fn place(&mut self, master: &Master, kind: Kind, name: &str) -> Place {
        let number = self.next_number();
        Place { master: Arc::clone(&master.node.place.name), kind, name: name.into(), number }
    }

    /// Adds a replica to a master. Its name is its place.
    pub(crate) fn add_replica(
        &mut self,
        master: &mut Master,
        address: Address,
    ) -> Result<(), CreateError> {
        let name = self.names.shown_with_port(&address);
        if master.replicas.contains_key(&*name) {
            return Err(CreateError::SameReplica);
        }
        if REPLICAS_MAX <= master.replicas.len() {
            return Err(CreateError::TooMany);
        }
        let place = self.place(master, Kind::Replica, &name);
        let link = self.new_link();
        let mut node = Node::new(place, address, link, self.now);
        node.down_after = master.node.down_after;
        let replica = Replica {
            node,
            master_link_down_ms: 0,
            priority: DEFAULT_PRIORITY,
            is_announced: true,
            reconf_sent_at: 0,
            master_host: None,
            master_port: 0,
            master_link_is_up: false,
            offset: 0,
            master_since: self.now,
        };
        master.replicas.insert(name.into(), replica);
        Ok(())
    }

    /// The same, and tells of it.
    pub(super) fn welcome_replica(&mut self, master: &mut Master, address: Address) -> bool {
        let name = self.names.shown_with_port(&address);
        if self.add_replica(master, address).is_err() {
            return false;
        }
        let label = master.label(&self.names);
        let text = described(&master.replicas[&*name].node, &label, &self.names);
        self.tell(Level::Notice, "+slave", None, text);
        true
    }

    fn remove_replicas(&mut self, master: &mut Master) {
        for replica in std::mem::take(&mut master.replicas).values() {
            self.release_link(&replica.node);
        }
        master.failover.promoted = None;
    }

    pub(super) fn remove_peers(&mut self, master: &mut Master) {
        for peer in std::mem::take(&mut master.peers).values() {
            self.release_link(&peer.node);
        }
    }

    /// Removes the Sentinel of that id from a master. Returns whether it was there.
    pub(super) fn remove_peer(&mut self, master: &mut Master, id: &str) -> bool {
        let removed = master.peers.remove(id);
        if let Some(peer) = &removed {
            self.release_link(&peer.node);
        }
        removed.is_some()
    }

    /// Has all that is known of a master found out anew, but for its Sentinels where `keeps_peers` says so.
    pub(crate) fn reset(&mut self, master: &mut Master, peers: Peers) {
        self.remove_replicas(master);
        if peers == Peers::Forgotten {
            self.remove_peers(master);
        }
        self.close_all(&master.node);
        master.node.flags = Flags::empty();
        master.leader = None;
        master.follows = None;
        master.failover.state = FailoverState::None;
        master.failover.state_since = 0;
        master.failover.started_at = 0;
        master.node.run_id = None;
        master.node.role = Some(Role::Master);
        master.node.role_since = self.now;
        let now = self.now;
        self.link(&master.node).reset_times(now);
    }

    /// Has a master be elsewhere. Where it was there is a replica now, and so are those that there were.
    pub(super) fn change_address(&mut self, master: &mut Master, to: Address) {
        let mut replicas: Vec<_> = master.replicas.values().map(|it| &it.node.address).collect();
        replicas.push(&master.node.address);
        let replicas: Vec<_> =
            replicas.into_iter().filter(|it| !it.is_same(&to)).cloned().collect();
        self.reset(master, Peers::Kept);
        master.node.address = to;
        master.node.s_down_since = 0;
        master.node.o_down_since = 0;
        // What the others said was said of the old one.
        for peer in master.peers.values_mut() {
            peer.node.flags.remove(Flags::MASTER_DOWN);
        }
        // It is another server, of which nothing is known.
        master.node.own_failover = crate::instance::OwnFailover::Unknown;
        for address in replicas {
            self.welcome_replica(master, address);
        }
        self.save();
    }

    pub(super) fn tell_of_switch(&mut self, master: &Master, (from, to): (&Address, &Address)) {
        let name = master.node.name();
        let [from_host, to_host] = [from, to].map(|it| self.names.shown(it));
        let text = format!("{name} {from_host} {} {to_host} {}", from.port, to.port);
        let script = master.notification_script.as_deref();
        self.tell(Level::Warning, "+switch-master", script, text);
    }

    /// Has the program run that tells clients of a new master.
    pub(super) fn run_reconfig_script(
        &mut self,
        master: &Master,
        role: &str,
        (from, to): (&Address, &Address),
    ) {
        let Some(script) = &master.client_reconfig_script else { return };
        let command = vec![
            script.clone(),
            master.node.name().to_owned(),
            role.to_owned(),
            "start".to_owned(),
            self.names.shown(from),
            from.port.to_string(),
            self.names.shown(to),
            to.port.to_string(),
        ];
        self.scripts.add(command);
    }
}

/// What becomes of the other Sentinels in a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peers {
    Kept,
    Forgotten,
}
