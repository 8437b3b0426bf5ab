//! Metrics of the process: what it is, its processor time, its event loops, what goes through its sockets.

use std::ffi::CStr;
use std::sync::atomic::Ordering::Relaxed;

use rubine_metrics::{Family, Kind};
use rubine_system::process::{self, Whose};

use super::Look;
use super::row::{Row, counter, family, flag, gauge, micros_of_ticks, seconds, seconds_of_ticks};
use crate::process::identity::REDIS_VERSION;
use crate::stats::WorkerStats;

const INSTANCE_LABELS: &[&str] = &[
    "role",
    "redis_version",
    "redis_build_id",
    "redis_mode",
    "os",
    "maxmemory_policy",
    "tcp_port",
    "run_id",
    "process_id",
    "master_replid",
];

pub(super) const ROWS: &[Row] = &[
    gauge("redis_up", "1, since the server answers.", |_| 1.0),
    family(
        Kind::Gauge,
        "redis_instance_info",
        INSTANCE_LABELS,
        "1, with what this server is as labels.",
        instance,
    ),
    gauge("redis_uptime_in_seconds", "Seconds since the server was started.", |it| {
        ((it.now - it.server.process.started_at) / 1000) as f64
    }),
    gauge("redis_start_time_seconds", "When the server was started, Unix seconds.", |it| {
        (it.server.process.started_at / 1000) as f64
    }),
    gauge("redis_process_id", "Number of the process.", |_| f64::from(std::process::id())),
    gauge("redis_configured_hz", "hz as it is configured.", |it| f64::from(it.config.hz)),
    gauge("redis_hz", "hz as it is in force.", |it| f64::from(it.config.hz)),
    gauge("redis_io_threads_active", "1 if more than one thread serves clients.", |it| {
        flag(1 < it.server.workers.len())
    }),
    gauge("redis_cluster_enabled", "1 in cluster mode.", |it| flag(it.config.cluster_enabled)),
    counter("redis_cpu_sys_seconds_total", "Processor time in the system.", |_| {
        seconds(process::cpu_time(Whose::Process).system_us)
    }),
    counter("redis_cpu_user_seconds_total", "Processor time in the program.", |_| {
        seconds(process::cpu_time(Whose::Process).user_us)
    }),
    counter(
        "redis_cpu_sys_children_seconds_total",
        "Processor time of child processes in the system.",
        |_| seconds(process::cpu_time(Whose::Children).system_us),
    ),
    counter(
        "redis_cpu_user_children_seconds_total",
        "Processor time of child processes in their programs.",
        |_| seconds(process::cpu_time(Whose::Children).user_us),
    ),
    counter(
        "redis_cpu_sys_main_thread_seconds_total",
        "Processor time of the first worker in the system.",
        |it| seconds(it.server.stats.threads[0].system_us.get()),
    ),
    counter(
        "redis_cpu_user_main_thread_seconds_total",
        "Processor time of the first worker in the program.",
        |it| seconds(it.server.stats.threads[0].user_us.get()),
    ),
    counter(
        "redis_active_time_main_thread_seconds_total",
        "Time that the first worker did not sleep.",
        |it| seconds_of_ticks(it.server.stats.threads[0].busy_ticks.get()),
    ),
    family(
        Kind::Counter,
        "redis_active_time_io_thread_seconds_total",
        &["thread"],
        "Time that each further worker did not sleep.",
        |it, family| {
            for (index, stats) in it.server.worker_stats().iter().enumerate().skip(1) {
                let value = seconds_of_ticks(stats.busy_ticks.get());
                family.add_with([("thread", index.to_string().into())], value);
            }
        },
    ),
    counter("redis_eventloop_cycles_total", "Turns of all workers.", |it| {
        it.total(|it| it.loop_turns.get())
    }),
    counter(
        "redis_eventloop_duration_sum_usec_total",
        "Time of all turns, in microseconds.",
        |it| micros_of_ticks(it.server.total(|it| it.busy_ticks.get())).floor(),
    ),
    counter(
        "redis_eventloop_duration_cmd_sum_usec_total",
        "Time in commands, in microseconds.",
        |it| {
            let in_commands =
                |stats: &WorkerStats| stats.commands.iter().map(|it| it.ticks.get()).sum();
            micros_of_ticks(it.server.total(in_commands)).floor()
        },
    ),
    gauge(
        "redis_instantaneous_eventloop_cycles_per_sec",
        "Turns a second, as of the last second or so.",
        |it| it.server.stats.gauges.turns_per_second.load(Relaxed) as f64,
    ),
    gauge(
        "redis_instantaneous_eventloop_duration_usec",
        "Time of a turn in microseconds, as of the last second or so.",
        |it| it.server.stats.gauges.turn_duration_us.load(Relaxed) as f64,
    ),
    counter("redis_net_input_bytes_total", "Bytes read from clients.", |it| {
        it.total(|it| it.input_bytes.get())
    }),
    counter("redis_net_output_bytes_total", "Bytes written to clients.", |it| {
        it.total(|it| it.output_bytes.get())
    }),
    counter("redis_total_reads_processed", "Reads from sockets.", |it| {
        it.total(|it| it.reads_processed.get())
    }),
    counter("redis_total_writes_processed", "Writes to sockets.", |it| {
        it.total(|it| it.writes_processed.get())
    }),
    counter(
        "redis_io_threaded_reads_processed",
        "Reads from sockets by all workers but the first.",
        |it| of_others(it, |it| it.reads_processed.get()),
    ),
    counter(
        "redis_io_threaded_writes_processed",
        "Writes to sockets by all workers but the first.",
        |it| of_others(it, |it| it.writes_processed.get()),
    ),
    gauge("redis_latest_fork_seconds", "0, since this server never forks.", |_| 0.0),
    gauge("redis_module_fork_in_progress", "0, since there are no modules.", |_| 0.0),
    gauge("redis_module_fork_last_cow_size", "0, since there are no modules.", |_| 0.0),
    gauge(
        "redis_migrate_cached_sockets_total",
        "Connections that MIGRATE keeps for its next use.",
        |it| it.server.aside.migrations.kept_connections() as f64,
    ),
];

/// The first worker stands where the main thread does elsewhere; what the others do is done by I/O threads.
fn of_others(look: &Look, counter: fn(&WorkerStats) -> u64) -> f64 {
    look.server.worker_stats().iter().skip(1).map(counter).sum::<u64>() as f64
}

fn instance(look: &Look, family: &mut Family) {
    let (server, config) = (look.server, &look.config);
    let system = rustix::system::uname();
    let word = |it: &CStr| it.to_string_lossy().into_owned();
    let os = [system.sysname(), system.release(), system.machine()].map(word).join(" ");
    let port = if config.port == 0 { config.tls_port } else { config.port };
    family.add_with(
        [
            ("role", if look.is_replica() { "slave" } else { "master" }.into()),
            ("redis_version", REDIS_VERSION.into()),
            ("redis_build_id", "0".into()),
            ("redis_mode", server.mode_name().into()),
            ("os", os.into()),
            ("maxmemory_policy", config.maxmemory_policy.name().to_string().into()),
            ("tcp_port", port.to_string().into()),
            ("run_id", server.process.run_id.clone().into()),
            ("process_id", std::process::id().to_string().into()),
            ("master_replid", look.point.history.id.to_string().into()),
        ],
        1.0,
    );
}
