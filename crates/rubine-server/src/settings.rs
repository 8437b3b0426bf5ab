//! What the configuration means for those who run commands, worked out once per change. Never parses anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use rubine_commands::{EventClass, Limits};
use rubine_keyspace::AccessPolicy;
use rubine_rdb::dump::Checks;
use rubine_resp::parser;
use rubine_system::ticks;

use rubine_config::{
    Appendfsync, BusyReplyScope, ClusterAutoRebalance, ClusterPreferredEndpointType, Config,
    KeyspaceEvents, MaxmemoryPolicy, MemoryOrPercent, OutputBufferLimit,
};

/// The settings that are in force, and how often they have changed, by which those notice it who keep a copy.
pub(crate) struct InForce {
    settings: ArcSwap<Settings>,
    version: AtomicU64,
}

impl InForce {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings: ArcSwap::from_pointee(settings), version: AtomicU64::new(0) }
    }

    pub(crate) fn load(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    pub(crate) fn load_full(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Takes over new settings.
    pub(crate) fn publish(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
        self.renew();
    }

    /// Has everybody look anew at what goes with the settings, though these are as they were.
    pub(crate) fn renew(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// Settings that every worker keeps at hand.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "directives that change one by one")]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) access: AccessPolicy,
    pub(crate) maxmemory: u64,
    pub(crate) eviction: MaxmemoryPolicy,
    pub(crate) tracks_latency: bool,
    /// What requests take is charged to the slots of their keys.
    pub(crate) counts_slots: bool,
    /// And shown to people.
    pub(crate) shows_slots: bool,
    pub(crate) eviction_samples: usize,
    pub(crate) eviction_tenacity: u8,
    pub(crate) bulk_bytes_max: i64,
    pub(crate) query_bytes_max: usize,
    pub(crate) output_limit: OutputBufferLimit,
    /// That of clients that listen to channels.
    pub(crate) pubsub_output_limit: OutputBufferLimit,
    /// How many refusals ACL LOG remembers.
    pub(crate) acl_log_len_max: u64,
    pub(crate) idle_seconds_max: u32,
    /// As a replica, it takes no writes of clients.
    pub(crate) is_read_only_replica: bool,
    /// As a replica, it answers from what it has while it has no link to its master.
    pub(crate) serves_stale_data: bool,
    /// As a replica, it answers for so long after it had all that its master has.
    pub(crate) replica_lag_ms_max: i64,
    /// As a replica, it leaves it to its master to keep within the limit of memory.
    pub(crate) replica_ignores_maxmemory: bool,
    /// Writes are refused with fewer replicas in good order.
    pub(crate) good_replicas_min: u32,
    /// How many replicas have to have a write before its client is told.
    pub(crate) write_quorum: WriteQuorum,
    /// After so many milliseconds a script counts as busy; 0 for never.
    pub(crate) busy_reply_ms: u64,
    /// Whom a busy script keeps from what they ask for.
    pub(crate) busy_reply_scope: BusyReplyScope,
    /// How hard keys that are due are looked for, from 1 to 10.
    pub(crate) expiry_effort: u32,
    /// How long a worker may put off a turn to find more requests, in microseconds.
    pub(crate) coalesce_us: u32,
    /// No reply leaves before what it tells of is on disk.
    pub(crate) waits_for_disk: bool,
    /// Whether a save that failed keeps clients from writing.
    pub(crate) stops_writes_on_failed_save: bool,
    /// Nothing falls due: another server's data is being brought here.
    pub(crate) import_mode: bool,
    /// What all clients together may take; 0 for no limit.
    pub(crate) client_bytes_max: u64,
    /// Keys of which it is remembered who has read them; 0 for no limit.
    pub(crate) tracked_keys_max: usize,
    /// Events that are published, if any.
    pub(crate) listened: Option<EventClass>,
    /// What the logs of slow commands, large requests and large replies take, in this order.
    pub(crate) command_logs: [LogLimits; 3],
    pub(crate) log_shows: Shows,
    pub(crate) routing: Routing,
    /// From what on the latency monitor notes an event, in ticks; at the most, it notes none.
    pub(crate) latency_ticks: u64,
}

/// What a node of a cluster answers to what it does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Routing {
    /// Reads are served while the cluster is down.
    pub(crate) reads_when_down: bool,
    /// So are the messages of sharded channels.
    pub(crate) takes_messages_when_down: bool,
    /// How nodes are named to clients.
    pub(crate) endpoint: ClusterPreferredEndpointType,
}

/// How much of a command the logs show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shows {
    /// Arguments, of which the last one says how many more there were.
    pub(crate) args_max: usize,
    /// Bytes of each.
    pub(crate) arg_bytes_max: usize,
}

/// What one of the command logs takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogLimits {
    /// From so many microseconds or bytes on; at the most, nothing is taken.
    pub(crate) from: u64,
    pub(crate) len_max: usize,
}

impl LogLimits {
    fn new(from: i64, len_max: u64) -> Self {
        let from = if len_max == 0 { u64::MAX } else { u64::try_from(from).unwrap_or(u64::MAX) };
        Self { from, len_max: usize::try_from(len_max).unwrap_or(usize::MAX) }
    }

    /// Whether it takes anything.
    pub(crate) fn is_on(self) -> bool {
        self.from != u64::MAX
    }
}

/// Whose writes need how many replicas.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteQuorum {
    /// 0 for none.
    pub(crate) replicas: usize,
    pub(crate) timeout_ms: i64,
    /// They are to have it on disk.
    pub(crate) is_on_disk: bool,
    /// Whose writes; all users', if none is named.
    pub(crate) users: Vec<Box<[u8]>>,
}

impl WriteQuorum {
    fn of(config: &Config) -> Self {
        let users = config.write_quorum_users.as_deref().unwrap_or_default();
        Self {
            replicas: config.write_quorum as usize,
            timeout_ms: config.write_quorum_timeout as i64,
            is_on_disk: config.write_quorum_on_disk,
            users: users.split_whitespace().map(|it| it.as_bytes().into()).collect(),
        }
    }
}

impl Settings {
    pub(crate) fn of(config: &Config) -> Self {
        let is_lfu = matches!(
            config.maxmemory_policy,
            MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu
        );
        let access = if is_lfu {
            AccessPolicy::Lfu {
                log_factor: config.lfu_log_factor,
                decay_minutes: config.lfu_decay_time,
            }
        } else {
            AccessPolicy::Lru
        };
        let waits_for_disk = config.appendonly && config.appendfsync == Appendfsync::Always;
        Self {
            limits: limits_of(config),
            access,
            maxmemory: config.maxmemory,
            eviction: config.maxmemory_policy,
            tracks_latency: config.latency_tracking,
            counts_slots: config.cluster_slot_stats_enabled
                || config.cluster_auto_rebalance == ClusterAutoRebalance::Load,
            shows_slots: config.cluster_slot_stats_enabled,
            eviction_samples: config.maxmemory_samples as usize,
            eviction_tenacity: config.maxmemory_eviction_tenacity as u8,
            bulk_bytes_max: i64::try_from(config.proto_max_bulk_len).unwrap_or(i64::MAX),
            query_bytes_max: config.client_query_buffer_limit,
            output_limit: config.client_output_buffer_limit.normal,
            pubsub_output_limit: config.client_output_buffer_limit.pubsub,
            acl_log_len_max: config.acllog_max_len,
            idle_seconds_max: config.timeout,
            good_replicas_min: match config.min_replicas_max_lag {
                0 => config.write_quorum,
                _ => config.min_replicas_to_write.max(config.write_quorum),
            },
            write_quorum: WriteQuorum::of(config),
            is_read_only_replica: config.replica_read_only,
            serves_stale_data: config.replica_serve_stale_data,
            replica_lag_ms_max: match config.replica_max_lag {
                0 => i64::MAX,
                seconds => i64::from(seconds) * 1000,
            },
            replica_ignores_maxmemory: config.replica_ignore_maxmemory,
            busy_reply_ms: config.busy_reply_threshold,
            busy_reply_scope: config.busy_reply_scope,
            expiry_effort: config.active_expire_effort,
            coalesce_us: coalesce_us(config, waits_for_disk),
            import_mode: config.import_mode,
            client_bytes_max: client_bytes_max(config),
            tracked_keys_max: config.tracking_table_max_keys,
            listened: listened(config.notify_keyspace_events),
            command_logs: command_logs(config),
            log_shows: Shows {
                args_max: config.slowlog_entry_max_argc as usize,
                arg_bytes_max: usize::try_from(config.slowlog_entry_max_string_len)
                    .unwrap_or(usize::MAX),
            },
            latency_ticks: match config.latency_monitor_threshold {
                0 => u64::MAX,
                millis => (millis as f64 * 1000.0 * ticks::per_microsecond()) as u64,
            },
            routing: Routing {
                reads_when_down: config.cluster_allow_reads_when_down,
                takes_messages_when_down: config.cluster_allow_pubsubshard_when_down,
                endpoint: config.cluster_preferred_endpoint_type,
            },
            waits_for_disk,
            stops_writes_on_failed_save: config.stop_writes_on_bgsave_error
                && !config.save.is_empty(),
        }
    }

    /// That of clients that watch: the one of all clients. Where that has no end, there is one still, since they get what
    /// they have not asked for.
    pub(crate) fn monitor_output_limit(&self) -> OutputBufferLimit {
        const HARD_BYTES: u64 = 256 << 20;
        match self.output_limit {
            OutputBufferLimit { hard_bytes: 0, soft_bytes, soft_seconds } => {
                OutputBufferLimit { hard_bytes: HARD_BYTES, soft_bytes, soft_seconds }
            }
            limit => limit,
        }
    }

    /// What a client's requests may ask for.
    pub(crate) fn parser_limits(&self, is_authenticated: bool) -> parser::Limits {
        let sender =
            if is_authenticated { parser::Sender::Client } else { parser::Sender::Stranger };
        parser::Limits { bulk_bytes_max: self.bulk_bytes_max, sender }
    }
}

fn command_logs(config: &Config) -> [LogLimits; 3] {
    [
        LogLimits::new(
            config.commandlog_execution_slower_than,
            config.commandlog_slow_execution_max_len,
        ),
        LogLimits::new(
            config.commandlog_request_larger_than,
            config.commandlog_large_request_max_len,
        ),
        LogLimits::new(config.commandlog_reply_larger_than, config.commandlog_large_reply_max_len),
    ]
}

/// The events that `notify-keyspace-events` asks for: none without one of the letters K and E.
fn listened(events: KeyspaceEvents) -> Option<EventClass> {
    let classes = [
        (KeyspaceEvents::GENERIC, EventClass::GENERIC),
        (KeyspaceEvents::STRING, EventClass::STRING),
        (KeyspaceEvents::LIST, EventClass::LIST),
        (KeyspaceEvents::SET, EventClass::SET),
        (KeyspaceEvents::HASH, EventClass::HASH),
        (KeyspaceEvents::SORTED_SET, EventClass::SORTED_SET),
        (KeyspaceEvents::EXPIRED, EventClass::EXPIRED),
        (KeyspaceEvents::EVICTED, EventClass::EVICTED),
        (KeyspaceEvents::STREAM, EventClass::STREAM),
        (KeyspaceEvents::MODULE, EventClass::MODULE),
        (KeyspaceEvents::NEW, EventClass::NEW),
        (KeyspaceEvents::MISSED, EventClass::KEY_MISS),
        (KeyspaceEvents::KEYSPACE, EventClass::KEYSPACE),
        (KeyspaceEvents::KEYEVENT, EventClass::KEYEVENT),
    ];
    let wanted = classes.into_iter().filter(|(event, _)| events.contains(*event));
    let channels = KeyspaceEvents::KEYSPACE | KeyspaceEvents::KEYEVENT;
    events.intersects(channels).then(|| wanted.map(|(_, class)| class).collect())
}

/// How long a turn may be put off, in microseconds. Where clients wait for the disk anyhow, one sync does for more of them.
fn coalesce_us(config: &Config, waits_for_disk: bool) -> u32 {
    /// About what a sync takes on a good disk, in times of what a turn without one may be put off.
    const SYNC_FACTOR: u32 = 4;
    config.coalesce_us * if waits_for_disk { SYNC_FACTOR } else { 1 }
}

/// What all clients together may take; 0 for no limit.
fn client_bytes_max(config: &Config) -> u64 {
    /// Less would not even hold those who could raise it.
    const CLIENT_BYTES_MIN: u64 = 128 * 1024;
    let bytes = match config.maxmemory_clients {
        MemoryOrPercent::Bytes(bytes) => bytes,
        MemoryOrPercent::Percent(percent) => {
            (u128::from(config.maxmemory) * u128::from(percent) / 100) as u64
        }
    };
    if bytes == 0 { 0 } else { bytes.max(CLIENT_BYTES_MIN) }
}

fn limits_of(config: &Config) -> Limits {
    Limits {
        databases: config.database_count() as usize,
        string_len_max: config.proto_max_bulk_len,
        hash_max_listpack_entries: config.hash_max_listpack_entries,
        hash_max_listpack_value: config.hash_max_listpack_value,
        list_max_listpack_size: i64::from(config.list_max_listpack_size),
        set_max_intset_entries: config.set_max_intset_entries,
        set_max_listpack_entries: config.set_max_listpack_entries,
        set_max_listpack_value: config.set_max_listpack_value,
        zset_max_listpack_entries: config.zset_max_listpack_entries,
        zset_max_listpack_value: config.zset_max_listpack_value,
        stream_node_max_bytes: config.stream_node_max_bytes,
        stream_node_max_entries: config.stream_node_max_entries as usize,
        hll_sparse_max_bytes: config.hll_sparse_max_bytes,
        cluster: config.cluster_enabled,
        slot_owners: None,
        rdb_version: config.rdb_version.version(),
        dump_checks: Checks { version: config.rdb_version_check.meaning(), checksum: true },
        // A name that is unknown was refused, but for that of the environment.
        collation: rubine_system::collation::collation(&config.locale_collate).unwrap_or_default(),
    }
}
