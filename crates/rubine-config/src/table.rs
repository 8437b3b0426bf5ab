//! The table of all directives, each declared once: field, type, default, name, and what differs from
//! a plain directive that takes effect. The `Config` struct is made of the same rows.

pub(crate) mod directive;

use rubine_alerts::RuleLine;

use self::directive::{Directive, Traits};
use super::alerting::{AlertLabels, AlertWebhooks};
use super::checks;
use super::line::{SentinelLine, UserLine};
use super::quota::QuotaRule;
use super::values::{
    AclPubsubDefault, Appendfsync, AuditEvents, BusyReplyScope, ClusterAutoRebalance,
    ClusterConfigSaveBehavior, ClusterPreferredEndpointType, KeyspaceEvents, LogFormat, LogLevel,
    LogTimestampFormat, MaxmemoryPolicy, MemoryOrPercent, OomScoreAdj, OutputBufferLimits,
    PropagationErrorBehavior, ProtectedAction, RdbVersion, RdbVersionCheck, ReplDisklessLoad,
    ReplicaOf, SanitizeDumpPayload, SavePoint, ShutdownOptions, Supervised, SyslogFacility,
    TlsAuthClients, TlsAuthClientsUser, WorkingDirectory,
};

const INT: i128 = i32::MAX as i128;
const UINT: i128 = u32::MAX as i128;
const LONG: i128 = i64::MAX as i128;
const ULONG: i128 = u64::MAX as i128;

const DEFAULT_SAVE_POINTS: [SavePoint; 3] = [
    SavePoint { seconds: 3600, changes: 1 },
    SavePoint { seconds: 300, changes: 100 },
    SavePoint { seconds: 60, changes: 10_000 },
];

// Why a directive has no effect yet.
const COMPATIBILITY: &str = "commands are not checked for what a cluster would refuse";
const LIST_COMPRESSION: &str = "lists are not compressed yet";
const NO_DHE: &str = "keys are agreed on by elliptic curves only";

// Why a directive cannot mean anything here.
const ABORT: &str = "a broken invariant always aborts";
const ACCEPT: &str = "accepting is bounded by itself";
const ASSERT: &str = "which invariants are checked is decided when the program is built";
const BY_REFERENCE: &str = "large values are always sent without a copy";
const DEFRAG_STEP: &str = "a step moves about a thousand elements, whatever the size";
const EXAMINED: &str = "what is loaded is always examined";
const IDENTITY: &str = "it always introduces itself in a way that clients of Redis understand";
const JEMALLOC: &str = "the allocator gives memory back by itself";
const LAZY: &str = "everything large is always freed in the background";
const LOADING: &str = "clients are served by other threads than those that load";
const LOGO: &str = "there is no logo";
const LOG_REQ_RES: &str = "only test builds of Valkey know it";
const MEMCHECK: &str = "a crash does not test the memory";
const MODULES: &str = "modules in C cannot be loaded";
const OWN_BATCH: &str = "the size of a batch is chosen by itself";
const OWN_THREADS: &str = "every thread serves clients of its own";
const OWN_SYNC: &str = "what is written in the background is given to the disk by itself";
const PACE: &str = "work in the background is paced by what there is to do";
const RDMA: &str = "there is no RDMA";
const REHASH: &str = "tables grow and shrink without rehashing";
const WARNINGS: &str = "no warning stops the start";

macro_rules! directives {
    ($(
        $field:ident: $type:ty = $default:expr,
        $name:literal $(. $method:ident ($($argument:expr),*))*;
    )*) => {
        /// The configuration: one field a directive, under its name.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $(pub $field: $type,)*
            /// What `rename-command` asks for: (name, new name), where an empty new name removes it.
            pub renamed_commands: Vec<(Vec<u8>, Vec<u8>)>,
            /// The `user` lines.
            pub users: Vec<UserLine>,
            /// The `quota` lines, one of each subject.
            pub quotas: Vec<QuotaRule>,
            /// The `alert` lines, one of each name.
            pub alert_rules: Vec<RuleLine>,
            /// The `sentinel` lines.
            pub sentinel: Vec<SentinelLine>,
        }

        impl Default for Config {
            fn default() -> Self {
                Self {
                    $($field: $default,)*
                    renamed_commands: Vec::new(),
                    users: Vec::new(),
                    quotas: Vec::new(),
                    alert_rules: Vec::new(),
                    sentinel: Vec::new(),
                }
            }
        }

        /// All directives, by topic.
        pub static DIRECTIVES: &[Directive] = &[
            $(Directive::new($name, |config| &config.$field, |config| &mut config.$field)
                $(.$method($($argument),*))*,)*
        ];
    };
}

directives! {
    // Network.
    bind: Vec<String> = ["*", "-::*"].map(str::to_owned).to_vec(), "bind".many();
    port: u16 = 6379, "port".number(0, 65_535);
    protected_mode: bool = true, "protected-mode";
    tcp_backlog: u32 = 511, "tcp-backlog".number(0, INT).immutable();
    tcp_keepalive: u32 = 300, "tcp-keepalive".number(0, INT);
    tcp_fastopen: u32 = 0, "tcp-fastopen".number(0, INT);
    tcp_congestion: String = String::new(), "tcp-congestion".checked(checks::congestion);
    coalesce_us: u32 = 50, "coalesce-us".number(0, 1000);
    mptcp: bool = false, "mptcp".immutable();
    unixsocket: Option<String> = None, "unixsocket".immutable();
    unixsocketperm: u32 = 0, "unixsocketperm".octal(0, 0o777).immutable();
    unixsocketgroup: Option<String> = None, "unixsocketgroup".immutable();
    timeout: u32 = 0, "timeout".number(0, INT);
    maxclients: u32 = 10_000, "maxclients".number(1, UINT);
    max_new_connections_per_cycle: u32 = 10,
        "max-new-connections-per-cycle".number(1, 1000).no_meaning(ACCEPT);
    max_new_tls_connections_per_cycle: u32 = 1,
        "max-new-tls-connections-per-cycle".number(1, 1000);
    socket_mark_id: u32 = 0, "socket-mark-id".number(0, UINT).immutable();
    rdma_bind: Vec<String> = Vec::new(), "rdma-bind".many().no_meaning(RDMA);
    rdma_port: u16 = 0, "rdma-port".number(0, 65_535).no_meaning(RDMA);
    rdma_rx_size: u32 = 1 << 20,
        "rdma-rx-size".number(64 << 10, 16 << 20).immutable().no_meaning(RDMA);
    rdma_completion_vector: i32 = -1,
        "rdma-completion-vector".number(-1, 1024).immutable().no_meaning(RDMA);

    // HTTP.
    http_port: u16 = 0, "http-port".number(0, 65_535);
    http_bind: Vec<String> = ["127.0.0.1", "-::1"].map(str::to_owned).to_vec(), "http-bind".many();
    http_tls: bool = false, "http-tls";
    http_auth: bool = false, "http-auth";
    metrics_config: bool = false, "metrics-config";
    console: bool = true, "console";
    console_writable: bool = false, "console-writable";
    ready_max_link_down: u32 = 60, "ready-max-link-down".number(0, INT);

    // Threads.
    workers: u16 = 0, "workers".alias("io-threads").number(0, 256).is(Traits::FIXED);
    io_threads_always_active: bool = false,
        "io-threads-always-active".hidden().no_meaning(OWN_THREADS);
    prefetch_batch_max_size: u32 = 16,
        "prefetch-batch-max-size".number(0, 128).no_meaning(OWN_BATCH);
    min_io_threads_avoid_copy_reply: u32 = 7,
        "min-io-threads-avoid-copy-reply".number(0, INT).hidden().no_meaning(BY_REFERENCE);
    min_string_size_avoid_copy_reply: u32 = 16_384,
        "min-string-size-avoid-copy-reply".number(0, INT).hidden().no_meaning(BY_REFERENCE);
    min_string_size_avoid_copy_reply_threaded: u32 = 65_536,
        "min-string-size-avoid-copy-reply-threaded".number(0, INT).hidden()
            .no_meaning(BY_REFERENCE);
    server_cpulist: Option<String> = None,
        "server-cpulist".alias("server_cpulist").immutable();
    bio_cpulist: Option<String> = None,
        "bio-cpulist".alias("bio_cpulist").immutable();
    aof_rewrite_cpulist: Option<String> = None,
        "aof-rewrite-cpulist".alias("aof_rewrite_cpulist").immutable();
    bgsave_cpulist: Option<String> = None,
        "bgsave-cpulist".alias("bgsave_cpulist").immutable();

    // Process.
    daemonize: bool = false, "daemonize".immutable();
    pidfile: Option<String> = None, "pidfile".immutable();
    supervised: Supervised = Supervised::No, "supervised".immutable();
    databases: u32 = 16, "databases".number(1, INT).immutable();
    dir: WorkingDirectory = WorkingDirectory::current(),
        "dir".is(Traits::PROTECTED).is(Traits::NOT_WHILE_LOADING).is(Traits::ALWAYS_WRITTEN);
    hz: u32 = 10, "hz".number(0, INT).no_meaning(PACE);
    dynamic_hz: bool = true, "dynamic-hz".no_meaning(PACE);
    set_proc_title: bool = true, "set-proc-title".immutable();
    proc_title_template: String = "{title} {listen-addr} {server-mode}".to_owned(),
        "proc-title-template".checked(checks::proc_title_template);
    always_show_logo: bool = false, "always-show-logo".immutable().no_meaning(LOGO);
    locale_collate: String = String::new(), "locale-collate";
    oom_score_adj: OomScoreAdj = OomScoreAdj::No, "oom-score-adj";
    oom_score_adj_values: [i32; 3] = [0, 200, 800], "oom-score-adj-values".many();
    disable_thp: bool = true, "disable-thp".immutable();
    ignore_warnings: String = String::new(), "ignore-warnings".no_meaning(WARNINGS);
    shutdown_timeout: u32 = 10, "shutdown-timeout".number(0, INT);
    shutdown_on_sigint: ShutdownOptions = ShutdownOptions::empty(), "shutdown-on-sigint".many();
    shutdown_on_sigterm: ShutdownOptions = ShutdownOptions::empty(), "shutdown-on-sigterm".many();
    crash_log_enabled: bool = true, "crash-log-enabled";
    crash_memcheck_enabled: bool = true, "crash-memcheck-enabled".no_meaning(MEMCHECK);
    use_exit_on_panic: bool = false, "use-exit-on-panic".hidden().no_meaning(ABORT);
    enable_debug_assert: bool = false,
        "enable-debug-assert".immutable().hidden().no_meaning(ASSERT);
    debug_context: String = String::new(), "debug-context".hidden();
    watchdog_period: u32 = 0, "watchdog-period".number(0, INT).hidden();
    hash_seed: Option<Vec<u8>> = None,
        "hash-seed".checked(checks::hash_seed).immutable();

    // Log.
    loglevel: LogLevel = LogLevel::Notice, "loglevel";
    logfile: String = String::new(), "logfile".immutable();
    log_format: LogFormat = LogFormat::Legacy, "log-format";
    log_timestamp_format: LogTimestampFormat = LogTimestampFormat::Legacy, "log-timestamp-format";
    syslog_enabled: bool = false, "syslog-enabled".immutable();
    syslog_ident: String = "rubine".to_owned(), "syslog-ident".immutable();
    syslog_facility: SyslogFacility = SyslogFacility::Local0, "syslog-facility".immutable();
    hide_user_data_from_log: bool = true, "hide-user-data-from-log";

    // Access.
    requirepass: Option<Vec<u8>> = None, "requirepass".sensitive();
    enable_protected_configs: ProtectedAction = ProtectedAction::No,
        "enable-protected-configs".immutable();
    enable_debug_command: ProtectedAction = ProtectedAction::No, "enable-debug-command".immutable();
    enable_module_command: ProtectedAction = ProtectedAction::No,
        "enable-module-command".immutable().no_meaning(MODULES);
    aclfile: String = String::new(), "aclfile".immutable();
    acl_pubsub_default: AclPubsubDefault = AclPubsubDefault::Resetchannels,
        "acl-pubsub-default";
    audit_log: String = String::new(), "audit-log".is(Traits::PROTECTED);
    audit_log_events: AuditEvents =
        AuditEvents(["logins", "refusals", "users", "config"].map(str::to_owned).to_vec()),
        "audit-log-events".many();

    // Alerts and history.
    alerts: bool = false, "alerts";
    alert_webhook: AlertWebhooks = AlertWebhooks::default(),
        "alert-webhook".many().is(Traits::ACCUMULATES).sensitive();
    alert_instance: String = String::new(), "alert-instance";
    alert_labels: AlertLabels = AlertLabels::default(), "alert-labels".many();
    history: bool = false, "history";
    history_file: String = "history.dat".to_owned(),
        "history-file".checked(checks::history_file).is(Traits::PROTECTED);
    acllog_max_len: u64 = 128, "acllog-max-len".number(0, LONG);

    // Limits of clients.
    client_output_buffer_limit: OutputBufferLimits = OutputBufferLimits::DEFAULT,
        "client-output-buffer-limit".many();
    client_query_buffer_limit: usize = 1 << 30,
        "client-query-buffer-limit".memory(1 << 20, LONG);
    proto_max_bulk_len: u64 = 512 << 20, "proto-max-bulk-len".memory(1 << 20, LONG);
    maxmemory_clients: MemoryOrPercent = MemoryOrPercent::Bytes(0),
        "maxmemory-clients";
    client_default_resp: u32 = 2,
        "client-default-resp".number(2, 3).immutable().hidden().no_meaning(LOG_REQ_RES);
    req_res_logfile: Option<String> = None,
        "req-res-logfile".immutable().hidden().no_meaning(LOG_REQ_RES);

    // Memory and eviction.
    maxmemory: u64 = 0, "maxmemory".memory(0, ULONG);
    maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::Noeviction, "maxmemory-policy";
    maxmemory_samples: u32 = 5, "maxmemory-samples".number(1, 64);
    maxmemory_eviction_tenacity: u32 = 10, "maxmemory-eviction-tenacity".number(0, 100);
    lfu_log_factor: u32 = 10, "lfu-log-factor".number(0, INT);
    lfu_decay_time: u32 = 1, "lfu-decay-time".number(0, INT);
    active_expire_effort: u32 = 1, "active-expire-effort".number(1, 10);
    lazyfree_lazy_eviction: bool = true, "lazyfree-lazy-eviction".no_meaning(LAZY);
    lazyfree_lazy_expire: bool = true, "lazyfree-lazy-expire".no_meaning(LAZY);
    lazyfree_lazy_server_del: bool = true, "lazyfree-lazy-server-del".no_meaning(LAZY);
    lazyfree_lazy_user_del: bool = true, "lazyfree-lazy-user-del".no_meaning(LAZY);
    lazyfree_lazy_user_flush: bool = true, "lazyfree-lazy-user-flush".no_meaning(LAZY);
    activerehashing: bool = true, "activerehashing".no_meaning(REHASH);
    jemalloc_bg_thread: bool = true, "jemalloc-bg-thread".no_meaning(JEMALLOC);
    activedefrag: bool = false, "activedefrag";
    active_defrag_ignore_bytes: usize = 100 << 20, "active-defrag-ignore-bytes".memory(1, LONG);
    active_defrag_threshold_lower: u32 = 10,
        "active-defrag-threshold-lower".number(0, 1000);
    active_defrag_threshold_upper: u32 = 100,
        "active-defrag-threshold-upper".number(0, 1000);
    active_defrag_cycle_min: u32 = 1, "active-defrag-cycle-min".number(1, 99);
    active_defrag_cycle_max: u32 = 25, "active-defrag-cycle-max".number(1, 99);
    active_defrag_cycle_us: u32 = 500, "active-defrag-cycle-us".number(0, 100_000);
    active_defrag_max_scan_fields: u64 = 1000,
        "active-defrag-max-scan-fields".number(1, LONG).no_meaning(DEFRAG_STEP);
    import_mode: bool = false, "import-mode";

    // Backups.
    backup_url: String = String::new(), "backup-url".is(Traits::PROTECTED);
    backup_schedule: String = String::new(), "backup-schedule";
    backup_jitter: u32 = 60, "backup-jitter".number(0, 86_400);
    backup_retention: u32 = 7, "backup-retention".number(0, 100_000);
    backup_compression_level: u8 = 1, "backup-compression-level".number(0, 19);
    backup_rate_limit: u64 = 0, "backup-rate-limit".memory(0, LONG);
    backup_pitr: bool = false, "backup-pitr";
    backup_pitr_interval: u32 = 5, "backup-pitr-interval".number(1, 3600);
    backup_pitr_buffer: u64 = 256 << 20, "backup-pitr-buffer".memory(1 << 20, LONG);
    backup_endpoint: String = String::new(), "backup-endpoint".is(Traits::PROTECTED);
    backup_region: String = String::new(), "backup-region";
    backup_access_key: String = String::new(), "backup-access-key".sensitive();
    backup_secret_key: String = String::new(), "backup-secret-key".sensitive();
    backupdirname: String = "backupdir".to_owned(),
        "backupdirname".checked(checks::backupdirname).is(Traits::FIXED);
    backup_sealed_ttl: u32 = 0, "backup-sealed-ttl".number(0, INT);
    backup_timeout: u32 = 30, "backup-timeout".number(1, 3600);

    // Encodings.
    hash_max_listpack_entries: usize = 512,
        "hash-max-listpack-entries".alias("hash-max-ziplist-entries").number(0, LONG);
    hash_max_listpack_value: usize = 64,
        "hash-max-listpack-value".alias("hash-max-ziplist-value").memory(0, LONG);
    list_max_listpack_size: i32 = -2,
        "list-max-listpack-size".alias("list-max-ziplist-size").number(-INT - 1, INT);
    list_compress_depth: u32 = 0, "list-compress-depth".number(0, INT).not_yet(LIST_COMPRESSION);
    set_max_intset_entries: usize = 512, "set-max-intset-entries".number(0, LONG);
    set_max_listpack_entries: usize = 128,
        "set-max-listpack-entries".number(0, LONG);
    set_max_listpack_value: usize = 64, "set-max-listpack-value".number(0, LONG);
    zset_max_listpack_entries: usize = 128,
        "zset-max-listpack-entries".alias("zset-max-ziplist-entries").number(0, LONG);
    zset_max_listpack_value: usize = 64,
        "zset-max-listpack-value".alias("zset-max-ziplist-value").memory(0, LONG);
    hll_sparse_max_bytes: usize = 3000, "hll-sparse-max-bytes".memory(0, LONG);
    stream_node_max_bytes: usize = 4096, "stream-node-max-bytes".memory(0, LONG);
    stream_node_max_entries: u64 = 100, "stream-node-max-entries".number(0, LONG);

    // Events, slow commands and latency.
    notify_keyspace_events: KeyspaceEvents = KeyspaceEvents::empty(),
        "notify-keyspace-events";
    tracking_table_max_keys: usize = 1_000_000,
        "tracking-table-max-keys".number(0, LONG);
    commandlog_execution_slower_than: i64 = 10_000,
        "commandlog-execution-slower-than".alias("slowlog-log-slower-than").number(-1, LONG);
    commandlog_slow_execution_max_len: u64 = 128,
        "commandlog-slow-execution-max-len".alias("slowlog-max-len").number(0, LONG);
    commandlog_request_larger_than: i64 = 1 << 20,
        "commandlog-request-larger-than".number(-1, LONG);
    commandlog_large_request_max_len: u64 = 128,
        "commandlog-large-request-max-len".number(0, LONG);
    commandlog_reply_larger_than: i64 = 1 << 20,
        "commandlog-reply-larger-than".number(-1, LONG);
    commandlog_large_reply_max_len: u64 = 128,
        "commandlog-large-reply-max-len".number(0, LONG);
    slowlog_entry_max_argc: u32 = 32, "slowlog-entry-max-argc".number(2, INT);
    slowlog_entry_max_string_len: u64 = 128, "slowlog-entry-max-string-len".number(0, LONG);
    latency_monitor_threshold: u64 = 0,
        "latency-monitor-threshold".number(0, LONG);
    key_memory_histograms: bool = false, "key-memory-histograms";
    latency_tracking: bool = true, "latency-tracking";
    latency_tracking_info_percentiles: Vec<f64> = vec![50.0, 99.0, 99.9],
        "latency-tracking-info-percentiles".many().is(Traits::ALWAYS_WRITTEN);

    // Snapshots.
    save: Vec<SavePoint> = DEFAULT_SAVE_POINTS.to_vec(),
        "save".many().is(Traits::ALWAYS_WRITTEN).is(Traits::ACCUMULATES);
    dbfilename: String = "dump.rdb".to_owned(),
        "dbfilename".checked(checks::dbfilename).is(Traits::PROTECTED);
    rdbcompression: bool = true, "rdbcompression";
    rdbchecksum: bool = true, "rdbchecksum".immutable();
    rdb_version: RdbVersion = RdbVersion::Auto, "rdb-version";
    rdb_version_check: RdbVersionCheck = RdbVersionCheck::Strict, "rdb-version-check";
    rdb_save_threads: u16 = 0, "rdb-save-threads".number(0, 256);
    rdb_save_incremental_fsync: bool = true, "rdb-save-incremental-fsync";
    rdb_del_sync_files: bool = false, "rdb-del-sync-files";
    stop_writes_on_bgsave_error: bool = true, "stop-writes-on-bgsave-error";
    sanitize_dump_payload: SanitizeDumpPayload = SanitizeDumpPayload::No,
        "sanitize-dump-payload".no_meaning(EXAMINED);
    rdb_key_save_delay: i32 = 0,
        "rdb-key-save-delay".number(-INT - 1, INT).hidden();
    key_load_delay: i32 = 0, "key-load-delay".number(-INT - 1, INT).hidden();
    loading_process_events_interval_bytes: u64 = 2 << 20,
        "loading-process-events-interval-bytes".number(1024, INT).hidden().no_meaning(LOADING);

    // Append-only file.
    appendonly: bool = false, "appendonly".is(Traits::NOT_WHILE_LOADING);
    appendfilename: String = "appendonly.aof".to_owned(),
        "appendfilename".checked(checks::appendfilename).immutable();
    appenddirname: String = "appendonlydir".to_owned(),
        "appenddirname".checked(checks::appenddirname).immutable();
    appendfsync: Appendfsync = Appendfsync::Everysec, "appendfsync";
    no_appendfsync_on_rewrite: bool = false, "no-appendfsync-on-rewrite";
    auto_aof_rewrite_percentage: u32 = 100,
        "auto-aof-rewrite-percentage".number(0, INT);
    auto_aof_rewrite_min_size: u64 = 64 << 20,
        "auto-aof-rewrite-min-size".memory(0, LONG);
    aof_load_truncated: bool = true, "aof-load-truncated";
    aof_load_corrupt_tail_max_size: u64 = 0,
        "aof-load-corrupt-tail-max-size".memory(0, LONG);
    aof_use_rdb_preamble: bool = true, "aof-use-rdb-preamble";
    aof_timestamp_enabled: bool = false, "aof-timestamp-enabled";
    aof_rewrite_incremental_fsync: bool = true,
        "aof-rewrite-incremental-fsync".no_meaning(OWN_SYNC);
    encryption_key_file: Option<String> = None,
        "encryption-key-file".is(Traits::PROTECTED).is(Traits::VOLATILE);
    aof_disable_auto_gc: bool = false, "aof-disable-auto-gc".hidden();

    // Replication.
    replicaof: Option<ReplicaOf> = None,
        "replicaof".alias("slaveof").immutable().many();
    primaryauth: Option<Vec<u8>> = None,
        "primaryauth".alias("masterauth").sensitive();
    primaryuser: Option<Vec<u8>> = None,
        "primaryuser".alias("masteruser").sensitive();
    replica_serve_stale_data: bool = true,
        "replica-serve-stale-data".alias("slave-serve-stale-data");
    replica_read_only: bool = true,
        "replica-read-only".alias("slave-read-only");
    replica_lazy_flush: bool = true,
        "replica-lazy-flush".alias("slave-lazy-flush").no_meaning(LAZY);
    replica_ignore_maxmemory: bool = true,
        "replica-ignore-maxmemory".alias("slave-ignore-maxmemory");
    replica_ignore_disk_write_errors: bool = false,
        "replica-ignore-disk-write-errors".not_yet("its log goes on by itself when the disk does");
    replica_refuse_empty_master: bool = true, "replica-refuse-empty-master";
    replica_max_lag: u32 = 0, "replica-max-lag".number(0, INT);
    replica_priority: u32 = 100,
        "replica-priority".alias("slave-priority").number(0, INT);
    replica_announced: bool = true, "replica-announced";
    replica_announce_ip: Option<String> = None,
        "replica-announce-ip".alias("slave-announce-ip");
    replica_announce_port: u16 = 0,
        "replica-announce-port".alias("slave-announce-port").number(0, 65_535);
    repl_diskless_sync: bool = true, "repl-diskless-sync";
    repl_diskless_sync_delay: u32 = 5,
        "repl-diskless-sync-delay".number(0, INT);
    repl_diskless_sync_max_replicas: u32 = 0,
        "repl-diskless-sync-max-replicas".number(0, INT);
    repl_diskless_load: ReplDisklessLoad = ReplDisklessLoad::Disabled,
        "repl-diskless-load".is(Traits::NOT_WHILE_LOADING);
    dual_channel_replication_enabled: bool = false,
        "dual-channel-replication-enabled";
    repl_rdb_channel: bool = false, "repl-rdb-channel";
    replica_full_sync_buffer_limit: u64 = 0,
        "replica-full-sync-buffer-limit".memory(0, LONG);
    repl_ping_replica_period: u32 = 10,
        "repl-ping-replica-period".alias("repl-ping-slave-period").number(1, INT);
    repl_timeout: u32 = 60, "repl-timeout".number(1, INT);
    repl_disable_tcp_nodelay: bool = false, "repl-disable-tcp-nodelay";
    repl_backlog_size: u64 = 10 << 20,
        "repl-backlog-size".memory(1, LONG);
    repl_backlog_disk_size: u64 = 0, "repl-backlog-disk-size".memory(0, LONG);
    repl_backlog_ttl: u64 = 60 * 60, "repl-backlog-ttl".number(0, LONG);
    repl_mptcp: bool = false, "repl-mptcp".immutable();
    bind_source_addr: Option<String> = None, "bind-source-addr";
    min_replicas_to_write: u32 = 0,
        "min-replicas-to-write".alias("min-slaves-to-write").number(0, INT);
    min_replicas_max_lag: u32 = 10,
        "min-replicas-max-lag".alias("min-slaves-max-lag").number(0, INT);
    write_quorum: u32 = 0, "write-quorum".number(0, 1000);
    write_quorum_timeout: u64 = 1000, "write-quorum-timeout".number(1, INT);
    write_quorum_on_disk: bool = false, "write-quorum-on-disk";
    write_quorum_users: Option<String> = None, "write-quorum-users";
    propagation_error_behavior: PropagationErrorBehavior = PropagationErrorBehavior::Ignore,
        "propagation-error-behavior";

    // Cluster.
    cluster_enabled: bool = false, "cluster-enabled".immutable();
    cluster_config_file: String = "nodes.conf".to_owned(),
        "cluster-config-file".checked(checks::not_empty_cluster_config_file).immutable();
    cluster_config_save_behavior: ClusterConfigSaveBehavior = ClusterConfigSaveBehavior::Sync,
        "cluster-config-save-behavior";
    cluster_databases: u32 = 1, "cluster-databases".number(1, INT).immutable();
    cluster_node_timeout: u64 = 15_000, "cluster-node-timeout".number(0, LONG);
    cluster_port: u16 = 0, "cluster-port".number(0, 65_535).immutable();
    cluster_replica_validity_factor: u32 = 10,
        "cluster-replica-validity-factor".alias("cluster-slave-validity-factor").number(0, INT);
    cluster_replica_no_failover: bool = false,
        "cluster-replica-no-failover".alias("cluster-slave-no-failover");
    cluster_migration_barrier: u32 = 1, "cluster-migration-barrier".number(0, INT);
    cluster_allow_replica_migration: bool = true,
        "cluster-allow-replica-migration";
    cluster_require_full_coverage: bool = true, "cluster-require-full-coverage";
    cluster_allow_reads_when_down: bool = false, "cluster-allow-reads-when-down";
    cluster_allow_pubsubshard_when_down: bool = true,
        "cluster-allow-pubsubshard-when-down";
    cluster_link_sendbuf_limit: u64 = 0,
        "cluster-link-sendbuf-limit".memory(0, ULONG);
    cluster_announce_hostname: Option<String> = None,
        "cluster-announce-hostname".checked(checks::hostname);
    cluster_announce_human_nodename: Option<String> = None,
        "cluster-announce-human-nodename".checked(checks::nodename);
    cluster_preferred_endpoint_type: ClusterPreferredEndpointType = ClusterPreferredEndpointType::Ip,
        "cluster-preferred-endpoint-type";
    cluster_announce_ip: Option<String> = None,
        "cluster-announce-ip".checked(checks::announced_ip);
    cluster_announce_port: u16 = 0, "cluster-announce-port".number(0, 65_535);
    cluster_announce_tls_port: u16 = 0,
        "cluster-announce-tls-port".number(0, 65_535);
    cluster_announce_bus_port: u16 = 0,
        "cluster-announce-bus-port".number(0, 65_535);
    cluster_announce_client_ipv4: Option<String> = None,
        "cluster-announce-client-ipv4".checked(checks::ipv4);
    cluster_announce_client_ipv6: Option<String> = None,
        "cluster-announce-client-ipv6".checked(checks::ipv6);
    cluster_announce_client_port: u16 = 0,
        "cluster-announce-client-port".number(0, 65_535);
    cluster_announce_client_tls_port: u16 = 0,
        "cluster-announce-client-tls-port".number(0, 65_535);
    availability_zone: Vec<u8> = Vec::new(), "availability-zone".checked(checks::availability_zone);
    cluster_blacklist_ttl: u64 = 60, "cluster-blacklist-ttl".number(0, ULONG);
    cluster_manual_failover_timeout: u64 = 5000,
        "cluster-manual-failover-timeout".number(1, INT);
    cluster_slot_stats_enabled: bool = false, "cluster-slot-stats-enabled";
    cluster_slot_migration_log_max_len: u64 = 1000,
        "cluster-slot-migration-log-max-len".number(0, LONG);
    slot_migration_max_failover_repl_bytes: i64 = 0,
        "slot-migration-max-failover-repl-bytes".signed_memory(-1, LONG);
    cluster_auto_rebalance: ClusterAutoRebalance = ClusterAutoRebalance::No,
        "cluster-auto-rebalance";
    cluster_auto_rebalance_threshold: u64 = 5,
        "cluster-auto-rebalance-threshold".number(0, 1000);
    cluster_auto_rebalance_interval: u64 = 5,
        "cluster-auto-rebalance-interval".number(0, 86_400);
    cluster_auto_rebalance_slots: u32 = 64,
        "cluster-auto-rebalance-slots".number(1, 16_384);
    cluster_message_gossip_perc: u32 = 10,
        "cluster-message-gossip-perc".number(1, 100).hidden();
    cluster_ping_interval: u64 = 0,
        "cluster-ping-interval".number(0, LONG).hidden();
    cluster_compatibility_sample_ratio: u8 = 0,
        "cluster-compatibility-sample-ratio".number(0, 100).not_yet(COMPATIBILITY);

    // Scripts.
    busy_reply_threshold: u64 = 5000,
        "busy-reply-threshold".alias("lua-time-limit").number(0, LONG);
    busy_reply_scope: BusyReplyScope = BusyReplyScope::Held, "busy-reply-scope";
    lua_enable_insecure_api: bool = false,
        "lua-enable-insecure-api".alias("lua-enable-deprecated-api").hidden().is(Traits::PROTECTED);
    lua_memory_limit: u64 = 512 << 20,
        "lua-memory-limit".memory(0, LONG);

    // TLS.
    tls_port: u16 = 0, "tls-port".number(0, 65_535);
    tls_cert_file: Option<String> = None, "tls-cert-file".is(Traits::VOLATILE);
    tls_key_file: Option<String> = None, "tls-key-file".is(Traits::VOLATILE);
    tls_key_file_pass: Option<Vec<u8>> = None, "tls-key-file-pass".sensitive();
    tls_client_cert_file: Option<String> = None,
        "tls-client-cert-file".is(Traits::VOLATILE);
    tls_client_key_file: Option<String> = None,
        "tls-client-key-file".is(Traits::VOLATILE);
    tls_client_key_file_pass: Option<Vec<u8>> = None,
        "tls-client-key-file-pass".sensitive();
    tls_dh_params_file: Option<String> = None,
        "tls-dh-params-file".is(Traits::VOLATILE).no_meaning(NO_DHE);
    tls_ca_cert_file: Option<String> = None, "tls-ca-cert-file".is(Traits::VOLATILE);
    tls_ca_cert_dir: Option<String> = None, "tls-ca-cert-dir".is(Traits::VOLATILE);
    tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes, "tls-auth-clients";
    tls_auth_clients_user: TlsAuthClientsUser = TlsAuthClientsUser::Off,
        "tls-auth-clients-user";
    tls_replication: bool = false, "tls-replication";
    tls_cluster: bool = false, "tls-cluster";
    tls_protocols: Option<String> = None, "tls-protocols";
    tls_ciphers: Option<String> = None, "tls-ciphers";
    tls_ciphersuites: Option<String> = None, "tls-ciphersuites";
    tls_prefer_server_ciphers: bool = false, "tls-prefer-server-ciphers";
    tls_session_caching: bool = true, "tls-session-caching";
    tls_session_cache_size: u32 = 20 << 10, "tls-session-cache-size".number(0, INT);
    tls_session_cache_timeout: u32 = 300, "tls-session-cache-timeout".number(0, INT);
    tls_auto_reload_interval: u32 = 0, "tls-auto-reload-interval".number(0, INT);

    // Compatibility.
    extended_redis_compatibility: bool = false, "extended-redis-compatibility".no_meaning(IDENTITY);
}
