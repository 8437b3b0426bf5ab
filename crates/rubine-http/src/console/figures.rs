//! The overview: what the server is doing now. Its figures are those of the metrics, for users who may run INFO.

use maud::{Markup, html};
use rubine_metrics::Samples;
use rubine_resp::decode::Value;

use super::page::{address, facts};
use super::show::{count, size, span};
use super::{Outcome, Visit};
use crate::link::LinkError;

/// What a chart shows: its title, the name of the value in the API, and the unit.
const CHARTS: [(&str, &str, &str); 6] = [
    ("Commands a second", "commands_per_second", ""),
    ("Memory", "memory_used", "bytes"),
    ("Clients", "clients", ""),
    ("Bytes in a second", "input_per_second", "bytes"),
    ("Bytes out a second", "output_per_second", "bytes"),
    ("Busy share of the workers", "busy_percent", "%"),
];

pub(super) async fn overview(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    let samples = figures(visit).await?;
    let value = |name: &str| samples.get(name, &[]).unwrap_or(0.0);
    let max = value("redis_memory_max_bytes");
    let used = value("redis_memory_used_bytes");
    let limit = if max == 0.0 { "no limit".to_owned() } else { size(max) };
    let hits = value("redis_keyspace_hits_total");
    let looked = hits + value("redis_keyspace_misses_total");
    let role = samples.select("redis_instance_info", &[]).next().and_then(|it| it.label("role"));
    let rows = [
        ("Role", if role == Some("slave") { "replica" } else { "master" }.to_owned()),
        ("Up for", span(value("redis_uptime_in_seconds"))),
        ("Memory", format!("{} of {limit}", size(used))),
        (
            "Clients",
            format!(
                "{} of {}",
                count(value("redis_connected_clients")),
                count(value("redis_max_clients"))
            ),
        ),
        ("Replicas", count(value("redis_connected_slaves"))),
        ("Commands", count(value("redis_commands_processed_total"))),
        (
            "Look-ups that found a key",
            if looked == 0.0 {
                "none so far".to_owned()
            } else {
                format!("{:.1} %", hits * 100.0 / looked)
            },
        ),
        (
            "Keys that fell due, were evicted",
            format!(
                "{}, {}",
                count(value("redis_expired_keys_total")),
                count(value("redis_evicted_keys_total"))
            ),
        ),
    ];
    let content = html! {
        (warnings(&samples))
        section.charts aria-label="Charts" {
            @for (title, name, unit) in CHARTS {
                figure data-chart=(name) data-unit=(unit) {
                    figcaption { (title) " " output { } }
                    svg viewBox="0 0 300 80" preserveAspectRatio="none" role="img" aria-label=(title) {}
                }
            }
        }
        noscript { p.note { "Charts need scripts; all the rest does not." } }
        (facts(&rows))
        h2 { "Databases" }
        (databases(&samples))
    };
    Ok(Outcome::Page("Overview", content))
}

/// The metrics at this moment, if the user may see them.
pub(crate) async fn figures(visit: &Visit<'_>) -> Result<Samples, LinkError> {
    if let Value::Error(reason) = visit.ask(&[b"INFO", b"modules"]).await? {
        return Err(LinkError::Refused(String::from_utf8_lossy(&reason).into_owned()));
    }
    visit.context.metrics().await
}

/// What somebody should look at.
fn warnings(samples: &Samples) -> Markup {
    let is = |name: &str, value: f64| samples.get(name, &[]) == Some(value);
    let found = [
        (is("redis_loading_dump_file", 1.0), "Data is being loaded."),
        (is("redis_rdb_last_bgsave_status", 0.0), "The last save failed."),
        (is("redis_aof_last_write_status", 0.0), "The append-only file can't be written."),
        (is("redis_master_link_up", 0.0), "The link to the master is down."),
    ];
    html! {
        @for (_, words) in found.into_iter().filter(|it| it.0) { p.fault role="alert" { (words) } }
    }
}

fn databases(samples: &Samples) -> Markup {
    let used = samples.select("redis_db_keys", &[]).filter(|it| it.value != 0.0);
    let rows: Vec<_> = used
        .filter_map(|it| {
            let db = it.label("db")?;
            let volatile = samples.get("redis_db_keys_expiring", &[("db", db)]).unwrap_or(0.0);
            Some((db.trim_start_matches("db").to_owned(), it.value, volatile))
        })
        .collect();
    html! {
        @if rows.is_empty() { p { "There are no keys." } } @else {
            table {
                thead { tr { th { "Database" } th.number { "Keys" } th.number { "With a deadline" } } }
                tbody {
                    @for (db, keys, volatile) in rows {
                        tr {
                            td { a href={ (address("keys")) "?db=" (db) } { (db) } }
                            td.number { (count(keys)) }
                            td.number { (count(volatile)) }
                        }
                    }
                }
            }
        }
    }
}
