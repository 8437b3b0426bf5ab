//! Metrics of a node of a cluster, as CLUSTER INFO has them. Other servers have only those that the exporter shows of them, too.

use std::collections::BTreeMap;

use rubine_cluster::Cluster as Machine;

use super::Look;
use super::row::{Row, counter, flag, gauge};
use crate::server::Server;

/// What CLUSTER INFO says at one moment.
pub(super) struct ClusterFacts {
    is_ok: bool,
    /// Of this node, if it is a primary with slots.
    replicas: Option<usize>,
    numbers: BTreeMap<String, f64>,
}

impl ClusterFacts {
    /// Nothing outside a cluster.
    pub(super) fn gather(server: &Server) -> Option<Self> {
        let ask = |machine: &mut Machine| (machine.info_text(), machine.own_replicas());
        let (text, replicas) = server.cluster.as_ref()?.ask(|machine, _| ask(machine));
        let fields = || text.lines().filter_map(|line| line.split_once(':'));
        let is_ok = fields().any(|it| it == ("cluster_state", "ok"));
        let number = |(name, value): (&str, &str)| Some((name.to_owned(), value.parse().ok()?));
        Some(Self { is_ok, replicas, numbers: fields().filter_map(number).collect() })
    }
}

pub(super) const ROWS: &[Row] = &[
    gauge("redis_cluster_state", "1 if the cluster serves requests.", |it| {
        flag(it.cluster.as_ref().is_some_and(|it| it.is_ok))
    })
    .only_if(is_node),
    gauge("redis_cluster_slots_assigned", "Slots that somebody serves.", |it| {
        number(it, "cluster_slots_assigned")
    })
    .only_if(is_node),
    gauge("redis_cluster_slots_ok", "Slots of nodes that work.", |it| {
        number(it, "cluster_slots_ok")
    })
    .only_if(is_node),
    gauge("redis_cluster_slots_pfail", "Slots of nodes that do not answer.", |it| {
        number(it, "cluster_slots_pfail")
    })
    .only_if(is_node),
    gauge("redis_cluster_slots_fail", "Slots of nodes that have failed.", |it| {
        number(it, "cluster_slots_fail")
    })
    .only_if(is_node),
    gauge("redis_cluster_known_nodes", "Nodes that are known.", |it| {
        number(it, "cluster_known_nodes")
    })
    .only_if(is_node),
    gauge("rubine_cluster_nodes_fail", "Nodes that have failed.", |it| {
        number(it, "cluster_nodes_fail")
    })
    .only_if(is_node),
    gauge("rubine_cluster_replicas", "Replicas of this primary that work.", |it| {
        replicas(it).unwrap_or_default() as f64
    })
    .only_if(|it| replicas(it).is_some()),
    gauge("redis_cluster_size", "Primaries with slots.", |it| number(it, "cluster_size"))
        .only_if(is_node),
    gauge("redis_cluster_current_epoch", "The highest epoch that is known.", |it| {
        number(it, "cluster_current_epoch")
    })
    .only_if(is_node),
    gauge("redis_cluster_my_epoch", "The epoch of this node.", |it| number(it, "cluster_my_epoch"))
        .only_if(is_node),
    gauge("redis_cluster_messages_sent_total", "Messages sent over the bus.", |it| {
        number(it, "cluster_stats_messages_sent")
    }),
    gauge("redis_cluster_messages_received_total", "Messages received over the bus.", |it| {
        number(it, "cluster_stats_messages_received")
    }),
    counter(
        "rubine_cluster_messages_dropped_total",
        "Messages of scripts and transactions that the other nodes never get.",
        |it| it.server.cluster.as_ref().map_or(0.0, |it| it.messages.dropped() as f64),
    )
    .only_if(is_node),
    gauge("redis_cluster_connections", "Connections of the cluster bus.", |it| links(it).0 as f64),
    gauge("redis_mem_cluster_links_bytes", "Buffers of the cluster bus.", |it| links(it).1 as f64),
];

fn is_node(look: &Look) -> bool {
    look.cluster.is_some()
}

fn replicas(look: &Look) -> Option<usize> {
    look.cluster.as_ref()?.replicas
}

/// A number of CLUSTER INFO; 0 where there is none.
fn number(look: &Look, name: &str) -> f64 {
    let facts = look.cluster.as_ref();
    facts.and_then(|it| it.numbers.get(name)).copied().unwrap_or_default()
}

fn links(look: &Look) -> (usize, usize) {
    look.server.cluster.as_ref().map_or((0, 0), crate::cluster::Cluster::links)
}
