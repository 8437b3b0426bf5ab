//! What the machine of a cluster wants done with this server's data and clients, and what it has to know of them. Decides
//! nothing, and sends nothing over the bus.

use std::sync::Arc;
use std::time::Duration;

use rubine_base::clock::{Millis, monotonic_millis, unix_millis};
use rubine_cluster::slots::SlotSet;
use rubine_cluster::{Announce, Facts, History, PreferredEndpoint, SaveBehavior, View};
use rubine_config::{ClusterConfigSaveBehavior, ClusterPreferredEndpointType, Config, ReplicaOf};
use rubine_keyspace::ShardSet;

use crate::client::subscriptions::ChannelKind;
use crate::cluster::Cluster;
use crate::core::SessionHandler;
use crate::core::charging::charge_message;
use crate::core::own_commands::{OwnCommands, flush_of};
use crate::follow;
use crate::mailbox::Message;
use crate::pause::Hold;
use crate::persistence::load::wait_for_running_commands;
use crate::process::identity::new_history_id;
use crate::pubsub::Notice;
use crate::server::{BUS, Server};

/// How the server stands.
pub(super) fn facts(server: &Server, cluster: &Cluster) -> Facts {
    let following = &server.replication.following;
    let link = &following.link;
    let is_up = following.is_replica() && following.is_link_up();
    let heard_at = if is_up { &link.heard_at } else { &link.down_since };
    let heard_at = heard_at.load(std::sync::atomic::Ordering::Relaxed);
    // The link has the clock of the wall, which may have been set since.
    let ago = (unix_millis() - heard_at).max(0);
    let (point, is_following) = (server.journal.point(), following.is_replica());
    // How much a replica has of another shard says nothing to those who vote in this one.
    let has_nothing = is_following && cluster.is_foreign(point.history.id);
    Facts {
        offset: if has_nothing { 0 } else { point.offset.0 },
        is_following,
        primary_heard_at: if heard_at == 0 { 0 } else { cluster.now() - ago },
        is_empty: server.keyspace.total_key_counts().0 == 0,
        is_loading: server.persistence.is_loading(),
    }
}

/// Two turns of the machine: whoever waits for less takes every node for failed, itself included.
const NODE_TIMEOUT_MS_MIN: Millis = 200;

/// What the directives mean for the machine. `ports` are those that are listened on, for clients and for the bus.
pub(super) fn config_of(config: &Config) -> rubine_cluster::Config {
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    let announced = |announced: u16, own: u16| if announced == 0 { own } else { announced };
    rubine_cluster::Config {
        node_timeout: (config.cluster_node_timeout as Millis).max(NODE_TIMEOUT_MS_MIN),
        ping_interval: config.cluster_ping_interval as Millis,
        message_gossip_perc: config.cluster_message_gossip_perc,
        require_full_coverage: config.cluster_require_full_coverage,
        replica_validity_factor: config.cluster_replica_validity_factor,
        replica_no_failover: config.cluster_replica_no_failover,
        migration_barrier: config.cluster_migration_barrier,
        allow_replica_migration: config.cluster_allow_replica_migration,
        manual_failover_timeout: config.cluster_manual_failover_timeout as Millis,
        blacklist_ttl: config.cluster_blacklist_ttl,
        link_sendbuf_limit: usize::try_from(config.cluster_link_sendbuf_limit)
            .unwrap_or(usize::MAX),
        save_behavior: match config.cluster_config_save_behavior {
            ClusterConfigSaveBehavior::Sync => SaveBehavior::Sync,
            ClusterConfigSaveBehavior::BestEffort => SaveBehavior::BestEffort,
        },
        preferred_endpoint: match config.cluster_preferred_endpoint_type {
            ClusterPreferredEndpointType::Ip => PreferredEndpoint::Ip,
            ClusterPreferredEndpointType::Hostname => PreferredEndpoint::Hostname,
            ClusterPreferredEndpointType::UnknownEndpoint => PreferredEndpoint::Unknown,
        },
        ping_replica_period: config.repl_ping_replica_period,
        write_quorum: config.write_quorum,
        tls_cluster: config.tls_cluster,
        tls_replication: config.tls_replication,
        announce: Announce {
            ip: text(&config.cluster_announce_ip),
            port: announced(config.cluster_announce_port, config.port),
            tls_port: announced(config.cluster_announce_tls_port, config.tls_port),
            bus_port: announced(config.cluster_announce_bus_port, bus_port(config)),
            hostname: text(&config.cluster_announce_hostname),
            human_nodename: text(&config.cluster_announce_human_nodename),
            client_ipv4: text(&config.cluster_announce_client_ipv4),
            client_ipv6: text(&config.cluster_announce_client_ipv6),
            client_port: config.cluster_announce_client_port,
            client_tls_port: config.cluster_announce_client_tls_port,
            availability_zone: String::from_utf8_lossy(&config.availability_zone).into_owned(),
        },
    }
}

/// Where the bus listens.
pub(crate) fn bus_port(config: &Config) -> u16 {
    const INCREMENT: u16 = 10_000;
    let base = if config.tls_cluster { config.tls_port } else { config.port };
    match config.cluster_port {
        0 => base.saturating_add(INCREMENT),
        port => port,
    }
}

/// Follows a primary from now on.
pub(super) fn follow(
    server: &'static Server,
    cluster: &Cluster,
    handlers: &'static [SessionHandler],
    (host, port): (&str, u16),
    history: History,
) {
    if history == History::Foreign {
        // Whatever the primary knows of, it is not what is here.
        let id = new_history_id();
        cluster.set_foreign(id);
        server.journal.rename_history(id);
    }
    let master = ReplicaOf { host: host.to_owned(), port };
    if let Err(error) = follow::follow(server, handlers, master) {
        tracing::warn!("Nobody can be followed: no thread can be started: {error}");
    }
}

/// Is a primary from now on.
pub(super) fn promote(server: &'static Server) {
    follow::promote(server, &server.keyspace.lock(&ShardSet::All));
}

/// Drops all keys, and has the log and those who keep copies know.
pub(super) fn drop_all_keys(own: &mut OwnCommands) {
    if let Err(error) = own.run("flushall", &[b"FLUSHALL"]) {
        tracing::warn!("Can't drop the keys: {error}");
    }
}

/// Drops the keys of slots that others serve now.
pub(super) fn drop_keys(own: &mut OwnCommands, slots: &SlotSet) {
    for slot in slots.iter() {
        if let Err(error) = own.empty_slot(slot) {
            tracing::warn!("Can't drop the keys of slot {slot}: {error}");
        }
    }
}

/// Has replicas and the log on disk know that slots are empty which nobody has seen the keys of.
pub(super) fn tell_emptied(server: &Server, slots: &[u16]) {
    if slots.is_empty() || !server.journal.is_active() {
        return;
    }
    let mut effects = rubine_journal::Effects::new();
    for slot in slots {
        effects.command(0, &flush_of(&slot.to_string()));
    }
    server.journal.append(&mut effects, (unix_millis() / 1000) as u64);
}

/// Those of some slots in which there are keys. Whoever has found one of them here before it went has written by then.
pub(super) fn slots_with_keys(server: &Server, slots: impl Iterator<Item = u16>) -> SlotSet {
    let databases = server.settings.load().limits.databases;
    let has_keys = |slot: &u16| {
        let locked = server.keyspace.lock(&ShardSet::of_slot(*slot));
        locked.shards().any(|it| (0..databases).any(|db| it.slot_len(db, *slot) != 0))
    };
    slots.filter(has_keys).collect()
}

/// Lets no client write, nor keys expire. Returns when nothing runs any more that began before.
pub(super) fn pause_writes(server: &'static Server) {
    server.pause.hold(Hold::Takeover, true);
    wait_for_running_commands(server);
}

pub(super) fn resume_writes(server: &Server) {
    server.pause.hold(Hold::Takeover, false);
    let is_paused = server.pause.in_force(monotonic_millis() as i64).is_some();
    for worker in server.workers.iter() {
        worker.send(if is_paused { Message::Wake } else { Message::PauseChanged });
    }
}

/// Takes nothing more of the primary, or goes on with that. Returns the offset up to which everything is taken.
pub(super) fn fence(server: &Server, is_fenced: bool) -> u64 {
    server.replication.following.fence(is_fenced);
    // A unit that is under way has its shards locked.
    let _locked = is_fenced.then(|| server.keyspace.lock(&ShardSet::All));
    server.journal.point().offset.0
}

/// Clients that have to do with slots which are no longer served here are told, and nothing runs any more that has found one
/// of them here.
pub(super) fn release_slots(server: &Server, slots: SlotSet) {
    let slots = Arc::new(slots);
    for worker in server.workers.iter() {
        worker.send(Message::SlotsReleased { slots: Arc::clone(&slots) });
    }
}

/// Tells those who listen to a channel here.
pub(super) fn publish(server: &Server, channel: &[u8], payload: &[u8], is_sharded: bool) {
    let kind = if is_sharded { ChannelKind::ShardChannel } else { ChannelKind::Channel };
    let notice = Notice { kind, channel, payload, durable_offset: 0 };
    let receivers = server.pubsub.publish(&server.workers, notice);
    let usages = server.cluster.as_ref().map(Cluster::usages);
    if let Some(counts) = usages.and_then(|it| it.counts_of(server.workers.len() + BUS)) {
        charge_message(&counts, notice, receivers);
    }
}

/// A view that takes another one's place.
pub(super) struct ViewChange {
    before: Arc<View>,
    view: Arc<View>,
}

impl ViewChange {
    /// To be called before `view` is published. Slots that change hands begin with no usage.
    pub(super) fn prepare(cluster: &Cluster, view: Arc<View>) -> Self {
        let before = cluster.view();
        if before.owners != view.owners || before.nodes.len() != view.nodes.len() {
            let slots = 0..rubine_base::crc::SLOT_COUNT;
            let has_gone = |it: &u16| before.owner_id(*it) != view.owner_id(*it);
            cluster.usages().forget(slots.filter(has_gone));
        }
        Self { before, view }
    }

    pub(super) fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// It is published. Clients that wait for keys are told if it concerns them.
    pub(super) fn tell(self, server: &Server) {
        if self.before.state != self.view.state || self.before.owners != self.view.owners {
            for worker in server.workers.iter() {
                worker.send(Message::ClusterChanged);
            }
        }
    }
}

/// How long the thread of the cluster sleeps at most while an order waits for replicas.
pub(super) const CONFIRMATION_POLL: Duration = Duration::from_millis(5);
