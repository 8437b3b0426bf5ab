//! Metrics of memory: what is used, by whom, what the allocator holds, what was evicted.

use std::sync::atomic::Ordering::Relaxed;

use rubine_system::process;

use super::Look;
use super::row::{Row, counter, gauge};
use crate::figures::memory::ratio;

pub(super) const ROWS: &[Row] = &[
    gauge("redis_memory_used_bytes", "Memory that the server has asked for.", |it| {
        it.memory.used as f64
    }),
    gauge("redis_memory_max_bytes", "maxmemory; 0 for no limit.", |it| it.config.maxmemory as f64),
    gauge("redis_memory_used_rss_bytes", "Memory of the process.", |it| {
        it.memory.resident_set as f64
    }),
    gauge("redis_memory_used_peak_bytes", "The most that was used so far.", |it| {
        it.memory.peak as f64
    }),
    gauge("redis_memory_used_overhead_bytes", "Memory that is not data.", |it| {
        it.memory.overhead() as f64
    }),
    gauge("redis_memory_used_startup_bytes", "Memory used right after the start.", |it| {
        it.memory.startup as f64
    }),
    gauge("redis_memory_used_dataset_bytes", "Memory that is data.", |it| {
        it.memory.dataset() as f64
    }),
    gauge("redis_total_system_memory_bytes", "Memory of the machine.", |_| {
        process::system_memory() as f64
    }),
    gauge("redis_memory_used_lua_bytes", "Memory of interpreters for EVAL.", vm_eval),
    gauge("redis_memory_used_vm_eval_bytes", "Memory of interpreters for EVAL.", vm_eval),
    gauge("redis_memory_used_vm_functions_bytes", "Memory of interpreters for functions.", |it| {
        it.total(|it| it.function_bytes.get())
    }),
    gauge("redis_memory_used_vm_total", "Memory of all interpreters.", |it| {
        vm_eval(it) + it.total(|it| it.function_bytes.get())
    }),
    gauge("redis_memory_used_scripts_eval_bytes", "Memory of cached scripts.", scripts),
    gauge("redis_memory_used_functions_bytes", "Memory of libraries of functions.", functions),
    gauge("redis_memory_used_scripts_bytes", "Memory of scripts and functions.", |it| {
        scripts(it) + functions(it)
    }),
    gauge("redis_number_of_cached_scripts", "Scripts that are cached.", |it| {
        it.server.scripting.scripts.len() as f64
    }),
    gauge("redis_number_of_functions", "Functions that are loaded.", |it| {
        it.server.scripting.libraries.current().function_count() as f64
    }),
    gauge("redis_number_of_libraries", "Libraries of functions that are loaded.", |it| {
        it.server.scripting.libraries.current().library_count() as f64
    }),
    counter("redis_evicted_scripts_total", "Scripts that gave way to others.", |it| {
        it.server.scripting.scripts.evicted_count() as f64
    }),
    gauge("redis_allocator_allocated_bytes", "Bytes that the allocator gave out.", |it| {
        it.memory.allocator.allocated as f64
    }),
    gauge("redis_allocator_active_bytes", "Bytes in pages that are in use.", |it| {
        it.memory.allocator.active as f64
    }),
    gauge("redis_allocator_resident_bytes", "Bytes that the allocator holds.", |it| {
        it.memory.allocator.resident as f64
    }),
    gauge("redis_allocator_muzzy_bytes", "0: pages are given back at once or kept.", |_| 0.0),
    gauge("redis_allocator_frag_ratio", "active / allocated.", |it| {
        ratio(it.memory.allocator.active, it.memory.allocator.allocated)
    }),
    gauge("redis_allocator_frag_bytes", "active - allocated.", |it| {
        more(it.memory.allocator.active, it.memory.allocator.allocated)
    }),
    gauge("redis_allocator_rss_ratio", "resident / active.", |it| {
        ratio(it.memory.allocator.resident, it.memory.allocator.active)
    }),
    gauge("redis_allocator_rss_bytes", "resident - active.", |it| {
        more(it.memory.allocator.resident, it.memory.allocator.active)
    }),
    gauge("redis_mem_fragmentation_ratio", "Memory of the process / memory used.", |it| {
        ratio(it.memory.resident_set, it.memory.used)
    }),
    gauge("redis_mem_fragmentation_bytes", "Memory of the process - memory used.", |it| {
        more(it.memory.resident_set, it.memory.used)
    }),
    gauge("redis_mem_clients_normal", "Buffers of clients.", |it| it.clients.buffer_bytes as f64),
    gauge("redis_mem_clients_slaves", "Buffers of replicas.", |it| {
        it.clients.replica_buffer_bytes as f64
    }),
    gauge("redis_mem_aof_buffer_bytes", "0: the log is read from the journal.", |_| 0.0),
    gauge("redis_mem_replication_backlog_bytes", "Memory of the backlog.", |it| {
        it.journal.backlog_bytes() as f64
    }),
    gauge(
        "redis_mem_total_replication_buffers_bytes",
        "Memory of the backlog and of what replicas have yet to get.",
        |it| it.journal.buffered_bytes() as f64,
    ),
    gauge(
        "redis_mem_not_counted_for_eviction_bytes",
        "What replicas have yet to get, which eviction leaves out.",
        |it| it.server.replication.replicas.behind_bytes() as f64,
    ),
    gauge(
        "redis_mem_overhead_db_hashtable_rehashing_bytes",
        "0, since tables grow without rehashing.",
        |_| 0.0,
    ),
    gauge("redis_lazyfree_pending_objects", "What waits to be freed in the background.", |it| {
        it.server.keyspace.garbage().pending() as f64
    }),
    gauge("redis_lazyfreed_objects", "What was freed in the background.", |it| {
        let freed_before = it.server.stats.memory.freed_before.load(Relaxed);
        it.server.keyspace.garbage().freed().saturating_sub(freed_before) as f64
    }),
    gauge("redis_active_defrag_running", "Percent of a processor spent on moving values.", |it| {
        f64::from(it.server.aside.defrag.running())
    }),
    gauge("redis_defrag_hits", "Values that defragmentation moved.", |it| {
        it.server.aside.defrag.hits.load(Relaxed) as f64
    }),
    gauge("redis_defrag_misses", "Values that defragmentation left.", |it| {
        it.server.aside.defrag.misses.load(Relaxed) as f64
    }),
    gauge("redis_defrag_key_hits", "Keys of which defragmentation moved something.", |it| {
        it.server.aside.defrag.key_hits.load(Relaxed) as f64
    }),
    gauge("redis_defrag_key_misses", "Keys that defragmentation left.", |it| {
        it.server.aside.defrag.key_misses.load(Relaxed) as f64
    }),
    counter("redis_evicted_keys_total", "Keys that went due to maxmemory.", |it| {
        it.total(|it| it.evicted_keys.get())
    }),
    gauge(
        "redis_current_eviction_exceeded_time_ms",
        "Milliseconds for which memory has been above its limit.",
        |it| it.server.stats.memory.over_limit.current_ms(it.now) as f64,
    ),
    counter(
        "redis_eviction_exceeded_time_ms_total",
        "Milliseconds for which memory was above its limit altogether.",
        |it| it.server.stats.memory.over_limit.total_ms(it.now) as f64,
    ),
];

fn vm_eval(look: &Look) -> f64 {
    look.total(|it| it.script_bytes.get())
}

fn scripts(look: &Look) -> f64 {
    look.server.scripting.scripts.memory() as f64
}

fn functions(look: &Look) -> f64 {
    look.server.scripting.libraries.current().memory() as f64
}

fn more(whole: u64, part: u64) -> f64 {
    whole as f64 - part as f64
}
