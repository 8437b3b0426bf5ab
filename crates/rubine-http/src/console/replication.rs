//! Replication: the master, the replicas, and how far each is.

use maud::html;

use super::figures::figures;
use super::page::{facts, fault};
use super::show::{count, size};
use super::{Outcome, Visit};
use crate::link::LinkError;

pub(super) async fn show(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    let samples = figures(visit).await?;
    let value = |name: &str| samples.get(name, &[]).unwrap_or(0.0);
    let info = samples.select("redis_instance_info", &[]).next();
    let label = |name: &str| info.and_then(|it| it.label(name)).unwrap_or_default().to_owned();
    let link = samples.select("redis_master_link_up", &[]).next();
    let mut rows = vec![
        ("Role", if link.is_some() { "replica" } else { "master" }.to_owned()),
        ("Offset", count(value("redis_master_repl_offset"))),
        ("History", label("master_replid")),
        (
            "Backlog",
            format!(
                "{} of {}",
                size(value("redis_repl_backlog_history_bytes")),
                size(value("redis_replication_backlog_bytes"))
            ),
        ),
        (
            "Full syncs, partial ones, refused ones",
            format!(
                "{}, {}, {}",
                count(value("redis_replica_resyncs_full")),
                count(value("redis_replica_partial_resync_accepted")),
                count(value("redis_replica_partial_resync_denied"))
            ),
        ),
    ];
    if let Some(link) = link {
        let part = |name: &str| link.label(name).unwrap_or_default().to_owned();
        rows.push(("Master", format!("{}:{}", part("master_host"), part("master_port"))));
        rows.push(("Link", if link.value == 0.0 { "down" } else { "up" }.to_owned()));
        rows.push(("Behind for", format!("{:.1} s", value("rubine_replica_lag_seconds"))));
    }
    let replicas: Vec<_> = samples.select("redis_connected_slave_offset_bytes", &[]).collect();
    let content = html! {
        @if link.is_some_and(|it| it.value == 0.0) { (fault("The link to the master is down.")) }
        (facts(&rows))
        h2 { "Replicas" }
        @if replicas.is_empty() { p { "There are none." } } @else {
            table {
                thead { tr { th { "Address" } th { "State" } th.number { "Offset" } th.number { "Behind" } th.number { "Last heard, s" } } }
                tbody {
                    @for replica in replicas {
                        @let labels: Vec<(&str, &str)> = replica.labels.iter().map(|(name, value)| (*name, value.as_ref())).collect();
                        tr {
                            td { (replica.label("slave_ip").unwrap_or_default()) ":" (replica.label("slave_port").unwrap_or_default()) }
                            td { (replica.label("slave_state").unwrap_or_default()) }
                            td.number { (count(replica.value)) }
                            td.number { (size(samples.get("rubine_replica_lag_bytes", &labels).unwrap_or(0.0))) }
                            td.number { (count(samples.get("redis_connected_slave_lag_seconds", &labels).unwrap_or(0.0))) }
                        }
                    }
                }
            }
        }
    };
    Ok(Outcome::Page("Replication", content))
}
