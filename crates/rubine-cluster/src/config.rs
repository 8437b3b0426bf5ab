//! The directives that the machine works by. Reads no file: the server hands them over, and again when one changes.

use rubine_base::clock::Millis;

/// What clients are told as a node's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PreferredEndpoint {
    #[default]
    Ip,
    Hostname,
    /// Nothing: clients keep the address by which they came.
    Unknown,
}

/// What happens if `nodes.conf` cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaveBehavior {
    /// The process ends.
    #[default]
    Sync,
    /// It is logged; nothing that needs the disk is promised to others.
    BestEffort,
}

/// The values of directives, under their names. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "directives are what they are")]
pub struct Config {
    pub node_timeout: Millis,
    /// 0 stands for half the node timeout.
    pub ping_interval: Millis,
    pub message_gossip_perc: u32,
    pub require_full_coverage: bool,
    pub replica_validity_factor: u32,
    pub replica_no_failover: bool,
    pub migration_barrier: u32,
    pub allow_replica_migration: bool,
    pub manual_failover_timeout: Millis,
    /// In seconds.
    pub blacklist_ttl: u64,
    /// 0 stands for no limit.
    pub link_sendbuf_limit: usize,
    pub save_behavior: SaveBehavior,
    pub preferred_endpoint: PreferredEndpoint,
    /// `repl-ping-replica-period`, in seconds.
    pub ping_replica_period: u32,
    /// How many replicas must have a write before it is acknowledged; 0 if none.
    pub write_quorum: u32,
    /// `tls-cluster`: which port stands in the first place of packets.
    pub tls_cluster: bool,
    /// `tls-replication`: which port replicas connect to.
    pub tls_replication: bool,
    /// What this node announces, with the ports that it listens on where nothing else is set.
    pub announce: Announce,
}

/// What a node says of itself. Empty or 0 where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announce {
    /// `cluster-announce-ip`; if it is empty, the others find out.
    pub ip: String,
    pub port: u16,
    pub tls_port: u16,
    pub bus_port: u16,
    pub hostname: String,
    pub human_nodename: String,
    pub client_ipv4: String,
    pub client_ipv6: String,
    pub client_port: u16,
    pub client_tls_port: u16,
    pub availability_zone: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_timeout: 15_000,
            ping_interval: 0,
            message_gossip_perc: 10,
            require_full_coverage: true,
            replica_validity_factor: 10,
            replica_no_failover: false,
            migration_barrier: 1,
            allow_replica_migration: true,
            manual_failover_timeout: 5000,
            blacklist_ttl: 60,
            link_sendbuf_limit: 0,
            save_behavior: SaveBehavior::Sync,
            preferred_endpoint: PreferredEndpoint::Ip,
            ping_replica_period: 10,
            write_quorum: 0,
            tls_cluster: false,
            tls_replication: false,
            announce: Announce::default(),
        }
    }
}
