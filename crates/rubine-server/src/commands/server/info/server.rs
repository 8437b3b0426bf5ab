//! The sections of INFO about the process, its place among others, and its keys.

use rubine_base::clock::monotonic_millis;
use rubine_keyspace::{COUNTED_DBS, SHARD_COUNT, Survey};

use super::{Shards, Source, Text};
use crate::process::identity::REDIS_VERSION;
use rubine_config::Supervised;
use rubine_system::process::{self, CpuTime, Whose};
use rubine_system::ticks;

pub(super) fn server(source: &Source<'_>, text: &mut Text) {
    const DAY_SECONDS: i64 = 24 * 60 * 60;
    let server = source.server;
    let config = server.config.load();
    let uptime = (source.now - server.process.started_at) / 1000;
    let system = rustix::system::uname();
    let word = |it: &std::ffi::CStr| it.to_string_lossy().into_owned();
    let file = server.config.source().file.as_ref();
    let executable = std::env::current_exe().unwrap_or_default();
    text.field("redis_version", REDIS_VERSION);
    text.field("server_name", "rubine");
    text.field("rubine_version", env!("CARGO_PKG_VERSION"));
    text.field("redis_git_sha1", "00000000");
    text.field("redis_git_dirty", 0);
    text.field("redis_build_id", "0");
    text.field("redis_mode", server.mode_name());
    text.field("server_mode", server.mode_name());
    text.field(
        "os",
        format_args!(
            "{} {} {}",
            word(system.sysname()),
            word(system.release()),
            word(system.machine())
        ),
    );
    text.field("arch_bits", usize::BITS);
    text.field("monotonic_clock", format_args!("{:.2} ticks/us", ticks::per_microsecond()));
    text.field("multiplexing_api", "epoll");
    text.field("process_id", std::process::id());
    text.field(
        "process_supervised",
        match config.supervised {
            Supervised::No => "no",
            Supervised::Upstart => "upstart",
            Supervised::Systemd => "systemd",
            Supervised::Auto => "unknown",
        },
    );
    text.field("run_id", &server.process.run_id);
    text.field("tcp_port", if config.port == 0 { config.tls_port } else { config.port });
    text.field("server_time_usec", source.now * 1000);
    text.field("uptime_in_seconds", uptime);
    text.field("uptime_in_days", uptime / DAY_SECONDS);
    text.field("hz", config.hz);
    text.field("configured_hz", config.hz);
    text.field("clients_hz", config.hz);
    text.field("lru_clock", (source.now / 1000) & 0x00ff_ffff);
    text.field("executable", executable.display());
    text.field("config_file", file.map(|it| it.display().to_string()).unwrap_or_default());
    text.field("io_threads_active", u8::from(1 < server.workers.len()));
    text.field("availability_zone", String::from_utf8_lossy(&config.availability_zone));
    if let Some(left) = server.shutdown.waits_for(monotonic_millis()) {
        text.field("shutdown_in_milliseconds", left);
    }
    for (index, place) in server.ports.listening.describe().iter().enumerate() {
        text.field(&format!("listener{index}"), place);
    }
}

pub(super) fn cpu(source: &Source<'_>, text: &mut Text) {
    let mut show = |whose: &str, time: CpuTime| {
        let CpuTime { user_us, system_us } = time;
        text.field(&format!("used_cpu_sys{whose}"), format_args!("{:.6}", seconds(system_us)));
        text.field(&format!("used_cpu_user{whose}"), format_args!("{:.6}", seconds(user_us)));
    };
    show("", process::cpu_time(Whose::Process));
    show("_children", process::cpu_time(Whose::Children));
    // Every worker is what the main thread is elsewhere; the first one stands for them.
    let first = &source.server.stats.threads[0];
    show(
        "_main_thread",
        CpuTime { user_us: first.user_us.get(), system_us: first.system_us.get() },
    );
    let active_us = first.busy_ticks.get() as f64 / ticks::per_microsecond();
    text.field("used_active_time_main_thread", format_args!("{:.6}", active_us / 1e6));
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

pub(super) fn cluster(source: &Source<'_>, text: &mut Text) {
    text.field("cluster_enabled", u8::from(source.server.cluster.is_some()));
    if let Some(cluster) = &source.server.cluster {
        let shown = cluster.ask(|machine, _| machine.info_text());
        for (name, value) in shown.lines().filter_map(|it| it.split_once(':')) {
            text.field(name, value);
        }
        let report = cluster.balancing.report();
        text.field("cluster_rebalance_state", report.doing.name());
        text.field("cluster_rebalance_moves", report.moves);
        text.field("cluster_rebalance_moved_slots", report.moved_slots);
        text.field("cluster_rebalance_failed_moves", report.failed_moves);
    }
}

/// Records of one database that are looked at for what is not counted.
const SURVEYED_MAX: usize = 4096;

pub(super) fn keyspace(source: &Source<'_>, text: &mut Text) {
    #[derive(Clone, Copy, Default)]
    struct Counts {
        keys: usize,
        volatile: usize,
        to_survey: usize,
        survey: Survey,
    }
    let mut counts: Vec<Counts> = Vec::new();
    source.for_each_shard(|shard| {
        if counts.len() < shard.db_count() {
            counts.resize(shard.db_count(), Counts::default());
        }
        for (db, count) in counts.iter_mut().enumerate() {
            count.keys += shard.len(db);
            count.volatile += shard.volatile_len(db);
            count.to_survey += shard.survey_len(db);
        }
    });
    if matches!(source.shards, Shards::Free) {
        // Those of the shards that are busy, too.
        counts.resize(counts.len().max(COUNTED_DBS), Counts::default());
        for (db, count) in counts.iter_mut().enumerate().take(COUNTED_DBS) {
            (count.keys, count.volatile) = source.server.keyspace.key_counts(db);
        }
    }
    if counts.iter().any(|it| it.to_survey != 0) {
        source.for_each_shard(|shard| {
            for (db, count) in counts.iter_mut().enumerate() {
                let is_small = count.to_survey <= SURVEYED_MAX;
                let per_shard = if is_small { usize::MAX } else { SURVEYED_MAX / SHARD_COUNT };
                shard.survey(db, per_shard.max(1), source.now, &mut count.survey);
            }
        });
    }
    for (db, count) in counts.iter().enumerate().filter(|(_, it)| it.keys != 0) {
        let Survey { examined, volatile, time_left_ms, with_volatile_items } = count.survey;
        // Exact where all were looked at, else what they make likely.
        let with_items = (with_volatile_items * count.to_survey as u64) / examined.max(1);
        let average_ttl = time_left_ms / volatile.max(1);
        text.field(
            &format!("db{db}"),
            format_args!(
                "keys={},expires={},avg_ttl={average_ttl},keys_with_volatile_items={with_items}",
                count.keys, count.volatile
            ),
        );
    }
}
