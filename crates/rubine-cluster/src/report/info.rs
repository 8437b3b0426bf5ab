//! CLUSTER INFO: the state of the cluster, and what the bus has carried.

use std::fmt::Write;

use crate::machine::Cluster;
use crate::message::KIND_NAMES;
use crate::view::State;

/// The kinds of packets in the order in which they are counted out: that of their numbers.
fn write_messages(counts: &[u64; KIND_NAMES.len()], direction: &str, out: &mut String) {
    for (name, count) in KIND_NAMES.iter().zip(counts).filter(|(_, count)| **count != 0) {
        let _ = write!(out, "cluster_stats_messages_{name}_{direction}:{count}\r\n");
    }
    let sum: u64 = counts.iter().sum();
    let _ = write!(out, "cluster_stats_messages_{direction}:{sum}\r\n");
}

/// Nodes and slots by how they are.
#[derive(Default)]
struct Census {
    assigned: usize,
    slots_ok: usize,
    slots_pfail: usize,
    slots_fail: usize,
    nodes_pfail: usize,
    nodes_fail: usize,
    voters_pfail: usize,
    voters_fail: usize,
}

impl Cluster {
    /// CLUSTER INFO.
    pub fn info_text(&self) -> String {
        let census = self.census();
        let state = match self.health.state {
            State::Ok => "ok",
            State::Fail(_) => "fail",
        };
        let fields: [(&str, u64); 12] = [
            ("cluster_slots_assigned", census.assigned as u64),
            ("cluster_slots_ok", census.slots_ok as u64),
            ("cluster_slots_pfail", census.slots_pfail as u64),
            ("cluster_slots_fail", census.slots_fail as u64),
            ("cluster_nodes_pfail", census.nodes_pfail as u64),
            ("cluster_nodes_fail", census.nodes_fail as u64),
            ("cluster_voting_nodes_pfail", census.voters_pfail as u64),
            ("cluster_voting_nodes_fail", census.voters_fail as u64),
            ("cluster_known_nodes", self.table.len() as u64),
            ("cluster_size", self.health.size as u64),
            ("cluster_current_epoch", self.current_epoch),
            ("cluster_my_epoch", self.table.epoch(self.table.me)),
        ];
        let mut text = format!("cluster_state:{state}\r\n");
        write_fields(&fields, &mut text);
        let statistics = &self.statistics;
        write_messages(&statistics.sent, "sent", &mut text);
        write_messages(&statistics.received, "received", &mut text);
        let (sent, received) = (&statistics.sent_bytes, &statistics.received_bytes);
        let fields = [
            ("cluster_stats_bytes_sent", sent.all),
            ("cluster_stats_bytes_received", received.all),
            ("cluster_stats_pubsub_bytes_sent", sent.pubsub),
            ("cluster_stats_pubsub_bytes_received", received.pubsub),
            ("cluster_stats_module_bytes_sent", sent.module),
            ("cluster_stats_module_bytes_received", received.module),
            ("total_cluster_links_buffer_limit_exceeded", statistics.buffer_limit_exceeded),
        ];
        write_fields(&fields, &mut text);
        text
    }

    /// How many replicas of this node work, if it is a primary with slots.
    pub fn own_replicas(&self) -> Option<usize> {
        let me = self.table.me;
        self.table[me].is_voter().then(|| self.table.working_replicas(me))
    }

    fn census(&self) -> Census {
        let mut census = Census::default();
        for (_, node) in self.table.iter() {
            census.assigned += node.slot_count;
            let voter = usize::from(node.is_voter());
            if node.is_failed() {
                census.slots_fail += node.slot_count;
            } else if node.is_suspected() {
                census.slots_pfail += node.slot_count;
            } else {
                census.slots_ok += node.slot_count;
            }
            if node.is_suspected() {
                census.nodes_pfail += 1;
                census.voters_pfail += voter;
            }
            if node.is_failed() {
                census.nodes_fail += 1;
                census.voters_fail += voter;
            }
        }
        census
    }
}

fn write_fields(fields: &[(&str, u64)], out: &mut String) {
    for (name, value) in fields {
        let _ = write!(out, "{name}:{value}\r\n");
    }
}
