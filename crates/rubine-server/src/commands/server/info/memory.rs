//! The section of INFO about memory, and the figures that it shares with MEMORY STATS.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Source, Text};
use crate::client::{ClientFlags, ClientInfo};
use crate::mailbox::Mailbox;
use rubine_system::{allocator, process};

/// Figures about memory at one moment, in bytes.
#[derive(Debug, Default)]
pub(in crate::commands::server) struct MemoryFacts {
    pub(in crate::commands::server) used: u64,
    pub(in crate::commands::server) peak: u64,
    pub(in crate::commands::server) startup: u64,
    pub(in crate::commands::server) resident_set: u64,
    pub(in crate::commands::server) allocator: allocator::Stats,
    /// Query and output buffers.
    pub(in crate::commands::server) clients: u64,
    /// Those of replicas.
    pub(in crate::commands::server) replicas: u64,
    /// Directories and buckets of each database that was ever written, and its keys.
    pub(in crate::commands::server) databases: Vec<DatabaseFacts>,
}

/// Figures about one database.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::commands::server) struct DatabaseFacts {
    pub(in crate::commands::server) keys: u64,
    pub(in crate::commands::server) table_bytes: u64,
}

impl MemoryFacts {
    pub(in crate::commands::server) fn gather(source: &Source<'_>) -> Self {
        let server = source.server;
        let used = allocator::used_memory();
        let peak = server.memory.peak.fetch_max(used, Ordering::Relaxed).max(used);
        let clients = server.clients.list();
        let buffers_of = |of_replicas: bool| {
            let is_meant =
                |it: &&Arc<ClientInfo>| it.flags().contains(ClientFlags::REPLICA) == of_replicas;
            let buffers = clients.iter().filter(is_meant).map(|it| {
                it.query_len.load(Ordering::Relaxed)
                    + it.query_free.load(Ordering::Relaxed)
                    + it.output_bytes.load(Ordering::Relaxed)
            });
            buffers.sum::<usize>() as u64
        };
        let mut databases: Vec<DatabaseFacts> = Vec::new();
        source.for_each_shard(|shard| {
            if databases.len() < shard.db_count() {
                databases.resize(shard.db_count(), DatabaseFacts::default());
            }
            for (db, facts) in databases.iter_mut().enumerate() {
                if let Some(table) = shard.table(db) {
                    facts.keys += table.len() as u64;
                    facts.table_bytes += table.overhead_bytes() as u64;
                }
            }
        });
        Self {
            used: used as u64,
            peak: peak as u64,
            startup: server.memory.startup.load(Ordering::Relaxed) as u64,
            resident_set: process::resident_bytes(),
            allocator: allocator::stats(),
            clients: buffers_of(false),
            replicas: buffers_of(true),
            databases,
        }
    }

    /// What is not data: the server itself, its tables, its clients.
    pub(in crate::commands::server) fn overhead(&self) -> u64 {
        let tables: u64 = self.databases.iter().map(|it| it.table_bytes).sum();
        self.startup + self.clients + tables
    }

    pub(in crate::commands::server) fn dataset(&self) -> u64 {
        self.used.saturating_sub(self.overhead())
    }

    pub(in crate::commands::server) fn keys(&self) -> u64 {
        self.databases.iter().map(|it| it.keys).sum()
    }

    /// The data's part of what was added since the start, in percent.
    pub(in crate::commands::server) fn dataset_percent(&self) -> f64 {
        percent(self.dataset(), self.used.saturating_sub(self.startup))
    }

    pub(in crate::commands::server) fn peak_percent(&self) -> f64 {
        percent(self.used, self.peak)
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

/// How many times `part` the `whole` is.
pub(in crate::commands::server) fn ratio(whole: u64, part: u64) -> f64 {
    whole as f64 / part.max(1) as f64
}

pub(super) fn memory(source: &Source<'_>, text: &mut Text) {
    let facts = MemoryFacts::gather(source);
    let config = source.server.config.load();
    text.bytes("used_memory", facts.used);
    text.bytes("used_memory_rss", facts.resident_set);
    text.bytes("used_memory_peak", facts.peak);
    text.field("used_memory_peak_time", source.server.memory.last_peak_at.load(Ordering::Relaxed));
    text.field("used_memory_peak_perc", format_args!("{:.2}%", facts.peak_percent()));
    text.field("used_memory_overhead", facts.overhead());
    text.field("used_memory_startup", facts.startup);
    text.field("used_memory_dataset", facts.dataset());
    text.field("used_memory_dataset_perc", format_args!("{:.2}%", facts.dataset_percent()));
    text.field("allocator_allocated", facts.allocator.allocated);
    text.field("allocator_active", facts.allocator.active);
    text.field("allocator_resident", facts.allocator.resident);
    text.field("allocator_muzzy", 0);
    text.bytes("total_system_memory", process::system_memory());
    scripts(source, text);
    text.bytes("maxmemory", config.maxmemory);
    text.field("maxmemory_policy", config.maxmemory_policy.name());
    ratios(&facts, text);
    let server = source.server;
    let status = server.journal.status();
    let behind = server.replication.replicas.behind_bytes();
    text.field("mem_not_counted_for_evict", behind);
    text.field("mem_replication_backlog", status.backlog_bytes());
    text.field("mem_total_replication_buffers", status.buffered_bytes());
    text.field("mem_replicas_repl_buffer", behind);
    text.field("mem_clients_slaves", facts.replicas);
    text.field("mem_clients_normal", facts.clients);
    text.zeros(&[
        "mem_cluster_links",
        "mem_cluster_slot_import",
        "mem_cluster_slot_export",
        "mem_aof_buffer",
    ]);
    let mailboxes = source.server.workers.iter();
    let on_their_way: usize = mailboxes.map(Mailbox::published_bytes).sum();
    text.field("mem_messages_on_their_way", on_their_way);
    text.field("mem_allocator", "jemalloc-5.3.0");
    text.field("mem_overhead_db_hashtable_rehashing", 0);
    text.field("active_defrag_running", source.server.aside.defrag.running());
    let garbage = server.keyspace.garbage();
    let freed_before = server.memory.freed_before.load(Ordering::Relaxed);
    text.field("lazyfree_pending_objects", garbage.pending());
    text.field("lazyfreed_objects", garbage.freed().saturating_sub(freed_before));
}

/// What scripts and functions take: the interpreters of all workers, and what they are kept as.
fn scripts(source: &Source<'_>, text: &mut Text) {
    let server = source.server;
    let (vm_eval, vm_functions) =
        (server.total(|it| it.script_bytes.get()), server.total(|it| it.function_bytes.get()));
    let libraries = server.scripting.libraries.current();
    let scripts = &server.scripting.scripts;
    let (of_scripts, of_functions) = (scripts.memory(), libraries.memory());
    text.bytes("used_memory_lua", vm_eval);
    text.field("used_memory_vm_eval", vm_eval);
    text.field("used_memory_scripts_eval", of_scripts);
    text.field("number_of_cached_scripts", scripts.len());
    text.field("number_of_functions", libraries.function_count());
    text.field("number_of_libraries", libraries.library_count());
    text.field("used_memory_vm_functions", vm_functions);
    text.bytes("used_memory_vm_total", vm_eval + vm_functions);
    text.field("used_memory_functions", of_functions);
    text.bytes("used_memory_scripts", (of_scripts + of_functions) as u64);
}

/// How much more memory each layer holds than the one above asked it for.
fn ratios(facts: &MemoryFacts, text: &mut Text) {
    let allocator::Stats { allocated, active, resident } = facts.allocator;
    let rss = facts.resident_set;
    let more = |whole: u64, part: u64| whole as i64 - part as i64;
    text.ratio("allocator_frag_ratio", ratio(active, allocated));
    text.field("allocator_frag_bytes", more(active, allocated));
    text.ratio("allocator_rss_ratio", ratio(resident, active));
    text.field("allocator_rss_bytes", more(resident, active));
    text.ratio("rss_overhead_ratio", ratio(rss, resident));
    text.field("rss_overhead_bytes", more(rss, resident));
    text.ratio("mem_fragmentation_ratio", ratio(rss, facts.used));
    text.field("mem_fragmentation_bytes", more(rss, facts.used));
}
