//! The table of built-in rules.

use super::{Builtin, MINUTE, Needs};
use crate::rule::Severity;

/// All of them, by topic.
pub fn builtins() -> &'static [Builtin] {
    BUILTINS
}

const BUILTINS: &[Builtin] = &[
    // Replication.
    Builtin::new(
        "ReplicaLost",
        Severity::Warning,
        MINUTE,
        "redis_connected_slaves < max_over_time(redis_connected_slaves[1h])",
        "A replica is gone",
        "{{ $value }} replicas are connected, fewer than there were within the last hour.",
    ),
    Builtin::new(
        "MasterLinkDown",
        Severity::Warning,
        MINUTE,
        "redis_master_link_up == 0",
        "The link to the master is down",
        "This replica does not hear from {{ $labels.master_host }}:{{ $labels.master_port }}.",
    ),
    Builtin::new(
        "MasterLinkDownLong",
        Severity::Critical,
        15 * MINUTE,
        "redis_master_link_up == 0",
        "The link to the master has been down for long",
        "This replica does not hear from {{ $labels.master_host }}:{{ $labels.master_port }}, and \
         its data grows old.",
    ),
    Builtin::new(
        "ReplicaLag",
        Severity::Warning,
        MINUTE,
        "redis_connected_slave_lag_seconds > $T",
        "A replica is behind",
        "{{ $labels.slave_ip }}:{{ $labels.slave_port }} has acknowledged nothing for \
         {{ $value }} s.",
    )
    .threshold(10.0, -5.0),
    Builtin::new(
        "FullSyncLoop",
        Severity::Warning,
        0,
        "increase(redis_replica_resyncs_full[10m]) >= $T",
        "Replicas begin anew again and again",
        "{{ $value }} full syncs in 10 minutes: the backlog may be too small, or a link breaks.",
    )
    .threshold(3.0, 0.0),
    // What is kept on disk.
    Builtin::new(
        "SaveTooOld",
        Severity::Warning,
        5 * MINUTE,
        "time() - redis_rdb_last_save_timestamp_seconds > $T and redis_rdb_changes_since_last_save > 0",
        "The last save is too old",
        "There are changes, and nothing has been saved for {{ $value }} s.",
    )
    .twice_the_save_points(),
    Builtin::new(
        "SaveFailed",
        Severity::Critical,
        0,
        "redis_rdb_last_bgsave_status == 0",
        "The last save has failed",
        "The data on disk is that of the save before. The log says why.",
    ),
    Builtin::new(
        "LogWriteFailed",
        Severity::Critical,
        0,
        "redis_aof_last_write_status == 0",
        "The append-only file cannot be written",
        "What is written now does not reach the disk. The log says why.",
    ),
    Builtin::new(
        "LogRewriteFailed",
        Severity::Warning,
        0,
        "redis_aof_last_bgrewrite_status == 0",
        "The append-only file could not be rewritten",
        "It goes on growing. The log says why.",
    ),
    Builtin::new(
        "DiskAlmostFull",
        Severity::Critical,
        MINUTE,
        "100 * rubine_disk_free_bytes / rubine_disk_size_bytes < $T",
        "The disk is almost full",
        "{{ $value }} % of the disk of the data folder are free.",
    )
    .threshold(10.0, 2.0),
    // Memory.
    Builtin::new(
        "MemoryHigh",
        Severity::Warning,
        2 * MINUTE,
        "100 * redis_memory_used_bytes / redis_memory_max_bytes > $T",
        "Memory is almost at maxmemory",
        "{{ $value }} % of maxmemory are in use.",
    )
    .threshold(90.0, -5.0)
    .needs(Needs::Maxmemory),
    Builtin::new(
        "SystemMemoryHigh",
        Severity::Critical,
        2 * MINUTE,
        "100 * redis_memory_used_rss_bytes / redis_total_system_memory_bytes > $T",
        "The server has almost all memory of the machine",
        "{{ $value }} % of the machine's memory are this server's.",
    )
    .threshold(90.0, -5.0),
    Builtin::new(
        "KeysEvicted",
        Severity::Warning,
        5 * MINUTE,
        "increase(redis_evicted_keys_total[5m]) > $T \
         and count(redis_instance_info{maxmemory_policy!~\"allkeys-.*\"}) > 0",
        "Keys are evicted where the policy should keep data",
        "{{ $value }} keys were evicted within 5 minutes.",
    )
    .threshold(0.0, 0.0),
    // Clients.
    Builtin::new(
        "ClientsHigh",
        Severity::Warning,
        2 * MINUTE,
        "100 * redis_connected_clients / redis_max_clients > $T",
        "Clients are almost as many as maxclients",
        "{{ $value }} % of maxclients are connected.",
    )
    .threshold(90.0, -5.0),
    Builtin::new(
        "ConnectionsRejected",
        Severity::Critical,
        0,
        "increase(redis_rejected_connections_total[1m]) > $T",
        "Connections are rejected",
        "{{ $value }} connections were rejected within a minute.",
    )
    .threshold(0.0, 0.0),
    Builtin::new(
        "LoginsRefused",
        Severity::Warning,
        0,
        "increase(redis_acl_access_denied_auth_total[5m]) > $T",
        "Many logins are refused",
        "{{ $value }} logins were refused within 5 minutes.",
    )
    .threshold(10.0, -5.0),
    Builtin::new(
        "SlowCommands",
        Severity::Warning,
        5 * MINUTE,
        "60 * rate(redis_slowlog_last_id[5m]) > $T",
        "Many commands are slow",
        "{{ $value }} commands a minute go to the slow log.",
    )
    .threshold(10.0, -5.0),
    Builtin::new(
        "WorkerStuck",
        Severity::Critical,
        0,
        "rubine_worker_turn_age_seconds > $T",
        "A worker is stuck",
        "Worker {{ $labels.worker }} has not come to the end of a turn for {{ $value }} s.",
    )
    .threshold(10.0, 0.0),
    Builtin::new(
        "CertificateEnds",
        Severity::Warning,
        0,
        "(rubine_tls_certificate_expires_timestamp_seconds - time()) / 86400 < $T",
        "A certificate ends soon",
        "The {{ $labels.certificate }} certificate ends in {{ $value }} days.",
    )
    .threshold(14.0, 0.0),
    // A node of a cluster.
    Builtin::new(
        "ClusterDown",
        Severity::Critical,
        MINUTE / 4,
        "redis_cluster_state == 0",
        "The cluster serves no requests",
        "This node refuses requests, since slots are not served or it does not hear from most primaries. \
         CLUSTER EXPLAIN says which.",
    )
    .needs(Needs::Cluster),
    Builtin::new(
        "ClusterSlotsFail",
        Severity::Critical,
        MINUTE / 4,
        "redis_cluster_slots_fail > 0",
        "Slots are not served",
        "{{ $value }} slots are those of nodes that have failed, and no replica has taken them over.",
    )
    .needs(Needs::Cluster),
    Builtin::new(
        "ClusterNodeFailed",
        Severity::Warning,
        MINUTE,
        "rubine_cluster_nodes_fail > 0",
        "A node of the cluster has failed",
        "{{ $value }} nodes have failed. CLUSTER NODES says which, CLUSTER EXPLAIN why.",
    )
    .needs(Needs::Cluster),
    Builtin::new(
        "ClusterReplicasFew",
        Severity::Warning,
        5 * MINUTE,
        "rubine_cluster_replicas < $T",
        "A primary has too few replicas",
        "{{ $value }} replicas of this primary work. Its slots are lost when it fails and there is none.",
    )
    .threshold(1.0, 0.0)
    .needs(Needs::Cluster),
    // Backups.
    Builtin::new(
        "BackupFailed",
        Severity::Warning,
        0,
        "rubine_backup_last_status == 0",
        "The last backup has failed",
        "It is tried again. INFO backup and the log say why.",
    )
    .needs(Needs::Backups),
    Builtin::new(
        "BackupTooOld",
        Severity::Critical,
        MINUTE,
        "time() - rubine_backup_last_good_timestamp_seconds > $T \
         or (time() - redis_start_time_seconds > $T and absent(rubine_backup_last_good_timestamp_seconds))",
        "The last good backup is too old",
        "There has been no good backup for {{ $value }} s.",
    )
    .twice_the_schedule(),
    Builtin::new(
        "BackupLogBehind",
        Severity::Warning,
        MINUTE,
        "time() - rubine_backup_log_covers_until_timestamp_seconds > $T",
        "The log of the backups is behind",
        "What happened within the last {{ $value }} s cannot be restored.",
    )
    .threshold(300.0, -60.0)
    .needs(Needs::BackupLog),
];
