//! Metrics of the configuration: the limits that dashboards hold other figures against.

use rubine_config::{DIRECTIVES, OutputBufferLimit, Traits};
use rubine_metrics::{Family, Kind};

use super::Look;
use super::row::{Row, family, gauge};

pub(super) const ROWS: &[Row] = &[
    gauge("redis_config_maxmemory", "maxmemory.", |it| it.config.maxmemory as f64),
    gauge("redis_config_maxclients", "maxclients.", |it| f64::from(it.config.maxclients)),
    gauge("redis_config_io_threads", "Threads that serve clients.", |it| {
        it.server.workers.len() as f64
    }),
    gauge("redis_config_repl_backlog_size", "repl-backlog-size.", |it| {
        it.config.repl_backlog_size as f64
    }),
    family(
        Kind::Gauge,
        "redis_config_client_output_buffer_limit_bytes",
        &["class", "limit"],
        "client-output-buffer-limit: bytes, by class of clients.",
        |it, family| {
            for (class, limit) in limits(it) {
                for (name, bytes) in [("hard", limit.hard_bytes), ("soft", limit.soft_bytes)] {
                    let labels = [("class", class.into()), ("limit", name.into())];
                    family.add_with(labels, bytes as f64);
                }
            }
        },
    ),
    family(
        Kind::Gauge,
        "redis_config_client_output_buffer_limit_overcome_seconds",
        &["class", "limit"],
        "client-output-buffer-limit: seconds beyond the soft limit, by class of clients.",
        |it, family| {
            for (class, limit) in limits(it) {
                let labels = [("class", class.into()), ("limit", "soft".into())];
                family.add_with(labels, limit.soft_seconds as f64);
            }
        },
    ),
    gauge(
        "redis_commandlog_execution_slower_than",
        "From so many microseconds on, a command is logged as slow.",
        |it| it.config.commandlog_execution_slower_than as f64,
    ),
    gauge("redis_commandlog_slow_execution_max_len", "Slow commands that are kept.", |it| {
        it.config.commandlog_slow_execution_max_len as f64
    }),
    gauge(
        "redis_commandlog_request_larger_than",
        "From so many bytes on, a request is logged as large.",
        |it| it.config.commandlog_request_larger_than as f64,
    ),
    gauge("redis_commandlog_large_request_max_len", "Large requests that are kept.", |it| {
        it.config.commandlog_large_request_max_len as f64
    }),
    gauge(
        "redis_commandlog_reply_larger_than",
        "From so many bytes on, a reply is logged as large.",
        |it| it.config.commandlog_reply_larger_than as f64,
    ),
    gauge("redis_commandlog_large_reply_max_len", "Large replies that are kept.", |it| {
        it.config.commandlog_large_reply_max_len as f64
    }),
    family(
        Kind::Gauge,
        "redis_config_key_value",
        &["key", "value"],
        "1, with a directive and its value as labels.",
        |it, family| {
            for_each_directive(it, |name, value| {
                let labels = [("key", name.into()), ("value", value.into())];
                family.add_with(labels, 1.0);
            });
        },
    ),
    family(
        Kind::Gauge,
        "redis_config_value",
        &["key"],
        "The value of a directive that is a number.",
        numbers,
    ),
];

fn numbers(look: &Look, family: &mut Family) {
    for_each_directive(look, |name, value| {
        if let Some(number) = value.parse::<f64>().ok().filter(|it| it.is_finite()) {
            family.add_with([("key", name.into())], number);
        }
    });
}

/// Visits every directive that is no secret, if they are wanted.
fn for_each_directive(look: &Look, mut visit: impl FnMut(&'static str, String)) {
    let is_shown = |traits: Traits| !traits.intersects(Traits::SENSITIVE | Traits::HIDDEN);
    let wanted = DIRECTIVES.iter().filter(|it| look.config.metrics_config && is_shown(it.traits));
    for directive in wanted {
        let value = directive.text(&look.config);
        visit(directive.name, String::from_utf8_lossy(&value).into_owned());
    }
}

fn limits(look: &Look) -> [(&'static str, OutputBufferLimit); 3] {
    let limits = look.config.client_output_buffer_limit;
    [("normal", limits.normal), ("slave", limits.replica), ("pubsub", limits.pubsub)]
}
