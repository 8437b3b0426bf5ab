//! The section of INFO about memory.

use std::sync::atomic::Ordering;

use super::{Source, Text};
use crate::cluster::Side;
use crate::figures::clients::ClientFacts;
use crate::figures::memory::{MemoryFacts, ratio};
use crate::mailbox::Mailbox;
use rubine_system::{allocator, process};

pub(super) fn memory(source: &Source<'_>, text: &mut Text) {
    let facts = MemoryFacts::gather(source, &ClientFacts::gather(source));
    let config = source.server.config.load();
    text.bytes("used_memory", facts.used);
    text.bytes("used_memory_rss", facts.resident_set);
    text.bytes("used_memory_peak", facts.peak);
    text.field(
        "used_memory_peak_time",
        source.server.stats.memory.last_peak_at.load(Ordering::Relaxed),
    );
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
    text.field("mem_total_replication_buffers", status.buffered_bytes() + facts.held);
    text.field("mem_replicas_repl_buffer", facts.held);
    text.field("mem_replica_full_sync_buffer", facts.held);
    text.field("mem_clients_slaves", facts.replicas);
    text.field("mem_clients_normal", facts.clients);
    text.field("mem_cluster_links", server.cluster.as_ref().map_or(0, |it| it.links().1));
    let migrations = server.cluster.as_ref().map(|it| &it.migrations);
    text.field("mem_cluster_slot_import", migrations.map_or(0, |it| it.link_bytes(Side::Target)));
    text.field("mem_cluster_slot_export", migrations.map_or(0, |it| it.link_bytes(Side::Source)));
    text.zeros(&["mem_aof_buffer"]);
    let mailboxes = source.server.workers.iter();
    let on_their_way: usize = mailboxes.map(Mailbox::published_bytes).sum();
    text.field("mem_messages_on_their_way", on_their_way);
    text.field("mem_allocator", "jemalloc-5.3.0");
    text.field("mem_overhead_db_hashtable_rehashing", 0);
    text.field("active_defrag_running", source.server.aside.defrag.running());
    let garbage = server.keyspace.garbage();
    let freed_before = server.stats.memory.freed_before.load(Ordering::Relaxed);
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
