//! CLUSTER EXPLAIN: why this node thinks that another has failed, or that the cluster is down, in plain words, with times and
//! with who said so.

use rubine_base::clock::Millis;

use crate::machine::node::{Ground, Key, Node, Verdict};
use crate::machine::{Cluster, Obstacle};
use crate::message::NodeFlags;
use crate::operations::OperationError;
use crate::slots::SlotSet;
use crate::view::{FailReason, State};

/// So many runs of slots are named in a sentence.
const RUNS_MAX: usize = 10;

impl Cluster {
    /// What is to be said of the cluster: a sentence or two a line.
    pub fn explain(&mut self, now: Millis) -> Vec<String> {
        self.begin(now);
        let mut lines = vec![self.explain_state()];
        match self.health.state {
            State::Fail(FailReason::NotFullCoverage) => self.explain_coverage(&mut lines),
            State::Fail(FailReason::MinorityPartition) => self.explain_minority(&mut lines),
            State::Ok | State::Fail(FailReason::Starting | FailReason::Stalled) => {}
        }
        for key in self.table.keys() {
            if self.table[key].is(NodeFlags::FAIL | NodeFlags::PFAIL) {
                self.explain_failing(key, &mut lines);
            }
        }
        self.explain_own_failover(&mut lines);
        lines
    }

    /// What is to be said of one node.
    pub fn explain_node(
        &mut self,
        name: &[u8],
        now: Millis,
    ) -> Result<Vec<String>, OperationError> {
        self.begin(now);
        let key = self.find_named(name)?;
        let mut lines = Vec::new();
        if key == self.table.me {
            lines.push(format!("{} is this node itself.", self.named(key)));
            self.explain_own_failover(&mut lines);
        } else if self.table[key].is(NodeFlags::FAIL | NodeFlags::PFAIL) {
            self.explain_failing(key, &mut lines);
        } else {
            self.explain_working(key, &mut lines);
        }
        Ok(lines)
    }

    fn explain_state(&self) -> String {
        let since = self.ago(self.health.since);
        match self.health.state {
            State::Ok => format!("The cluster is ok, since {since}."),
            State::Fail(reason) => format!(
                "The cluster is down, since {since}, as this node sees it: {}",
                match reason {
                    FailReason::Starting => {
                        "this node has started, and has not found everything to be well so far."
                    }
                    FailReason::NotFullCoverage => {
                        "some slots are served by no node that works, and \
                         'cluster-require-full-coverage' is yes."
                    }
                    FailReason::MinorityPartition => {
                        "it cannot reach most of the primaries that have slots."
                    }
                    FailReason::Stalled => {
                        "its process stood still for so long that it may have been replaced; it waits \
                         for news."
                    }
                }
            ),
        }
    }

    fn explain_coverage(&self, lines: &mut Vec<String>) {
        let free: SlotSet = (0..crate::slots::SLOT_COUNT as u16)
            .filter(|it| self.table.owner(*it).is_none())
            .collect();
        if !free.is_empty() {
            lines.push(format!("Assigned to nobody: {}.", runs(&free)));
        }
        let failed = self.table.iter().filter(|(_, it)| it.is_failed() && it.slot_count != 0);
        for (key, node) in failed {
            lines.push(format!(
                "Served by {}, which has failed: {}. {}",
                self.named(key),
                runs(&node.slots),
                self.explain_successors(node)
            ));
        }
    }

    /// Who could take the place of a primary.
    fn explain_successors(&self, node: &Node) -> String {
        let able = |key: &&Key| {
            let replica = &self.table[**key];
            !replica.is(NodeFlags::FAIL | NodeFlags::PFAIL | NodeFlags::NO_FAILOVER)
        };
        let able: Vec<String> =
            node.replicas.iter().filter(able).map(|it| self.named(*it)).collect();
        if able.is_empty() {
            format!("It has {} replicas, none of which can take its place.", node.replicas.len())
        } else {
            format!("Its place can be taken by {}.", able.join(", "))
        }
    }

    fn explain_minority(&self, lines: &mut Vec<String>) {
        let voters: Vec<_> = self.table.iter().filter(|(_, it)| it.is_voter()).collect();
        let failing = NodeFlags::FAIL | NodeFlags::PFAIL;
        let (lost, reached): (Vec<_>, Vec<_>) = voters.iter().partition(|(_, it)| it.is(failing));
        let names = |nodes: &[&(Key, &Node)]| {
            let names: Vec<String> = nodes.iter().map(|(key, _)| self.named(*key)).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        lines.push(format!(
            "{} primaries have slots, so {} are a majority. In reach: {}. Out of reach: {}.",
            voters.len(),
            voters.len() / 2 + 1,
            names(&reached),
            names(&lost)
        ));
    }

    fn explain_failing(&mut self, key: Key, lines: &mut Vec<String>) {
        let reports = self.count_reports(key);
        let node = &self.table[key];
        let name = self.named(key);
        let state = if node.is_failed() { "has failed" } else { "may have failed" };
        let Some(Verdict { at, ground }) = &node.verdict else {
            lines.push(format!("{name} {state}, as another node said when it told of it."));
            return;
        };
        lines.push(format!(
            "{name} {state}, since {}: {}",
            self.ago(*at),
            self.explain_ground(ground)
        ));
        lines.push(self.explain_contact(node));
        if !node.is_failed() {
            let own = if self.table.myself().is_voter() {
                "and this node"
            } else {
                "without this node, which has no vote"
            };
            lines.push(format!(
                "{reports} primaries say so now, {own}; it takes {} to call it failed.",
                self.quorum()
            ));
        }
    }

    fn explain_ground(&self, ground: &Ground) -> String {
        match ground {
            Ground::Silent { pinged, heard } => format!(
                "it was asked at {} and has not answered within {} ms; {}.",
                self.ago(*pinged),
                self.config.node_timeout,
                self.last_heard(*heard)
            ),
            Ground::Quorum { needed, reporters, is_our_vote_counted } => {
                let said: Vec<String> = reporters
                    .iter()
                    .map(|(id, at)| format!("{} ({})", self.name_of(*id), self.ago(*at)))
                    .collect();
                let own = if *is_our_vote_counted { ", and this node" } else { "" };
                format!(
                    "{needed} primaries had to say so, and these did: {}{own}.",
                    if said.is_empty() { "none other".to_owned() } else { said.join(", ") }
                )
            }
            Ground::Told { by } => {
                format!("{} told that enough primaries had said so.", self.name_of(*by))
            }
            Ground::Replaced { by } => format!(
                "{} answered at its address. It was reset, or is somewhere else by now.",
                self.name_of(*by)
            ),
            Ground::Remembered => "it had when this process was stopped.".to_owned(),
        }
    }

    fn explain_contact(&self, node: &Node) -> String {
        let place = match &node.place.host {
            Some(host) => format!("{host}, bus port {}", node.place.bus_port),
            None => "an address that is not known".to_owned(),
        };
        let link = match node.link.and_then(|it| self.links.get(it)) {
            Some(link) if link.is_open => {
                format!("there is a connection, made {}", self.ago(link.created))
            }
            Some(link) => format!("connecting since {}", self.ago(link.created)),
            None => "there is no connection".to_owned(),
        };
        let inbound = if node.inbound.is_some() { "has one" } else { "has none" };
        format!(
            "It is looked for at {place}: {link}; it {inbound} to us; {}.",
            self.last_heard(node.times.data_received)
        )
    }

    fn explain_working(&mut self, key: Key, lines: &mut Vec<String>) {
        let reports = self.count_reports(key);
        let node = &self.table[key];
        lines.push(format!("{} works, as this node sees it.", self.named(key)));
        lines.push(self.explain_contact(node));
        if 0 < reports {
            let said: Vec<String> = node
                .reports
                .iter()
                .map(|(id, at)| format!("{} ({})", self.name_of(*id), self.ago(*at)))
                .collect();
            lines.push(format!("Others cannot reach it: {}.", said.join(", ")));
        }
    }

    /// Why this replica has not taken its primary's place.
    fn explain_own_failover(&self, lines: &mut Vec<String>) {
        let myself = self.table.myself();
        let Some(primary) = myself.primary.filter(|it| self.table[*it].is_failed()) else { return };
        let reason = match self.election.obstacle {
            None if self.config.replica_no_failover => {
                "'cluster-replica-no-failover' is yes.".to_owned()
            }
            None => "It is about to.".to_owned(),
            Some(obstacle) => self.explain_obstacle(obstacle),
        };
        lines.push(format!(
            "This node is a replica of {}, and has not taken its place so far: {reason}",
            self.named(primary)
        ));
    }

    fn explain_obstacle(&self, obstacle: Obstacle) -> String {
        match obstacle {
            Obstacle::WaitingVotes | Obstacle::Expired => format!(
                "{} {} of {} votes that are needed have come.",
                obstacle.text(),
                self.election.votes.len(),
                self.quorum()
            ),
            Obstacle::WaitingDelay => format!(
                "{} It is number {} by its offset, and {} other primaries have failed that come first.",
                obstacle.text(),
                self.election.rank,
                self.election.primary_rank
            ),
            Obstacle::DataAge | Obstacle::QuorumOffset => obstacle.text().to_owned(),
        }
    }

    fn name_of(&self, id: crate::id::NodeId) -> String {
        self.table.find(id).map_or_else(|| id.to_string(), |it| self.named(it))
    }

    fn last_heard(&self, at: Millis) -> String {
        match at {
            0 => "nothing was ever heard of it".to_owned(),
            at => format!("it was last heard of {}", self.ago(at)),
        }
    }

    /// A moment, by how long it is past.
    fn ago(&self, at: Millis) -> String {
        let past = (self.now - at).max(0);
        format!("{}.{:03} s ago", past / 1000, past % 1000)
    }
}

fn runs(slots: &SlotSet) -> String {
    let mut texts: Vec<String> = slots
        .ranges()
        .take(RUNS_MAX)
        .map(|it| {
            if it.start() == it.end() {
                it.start().to_string()
            } else {
                format!("{}-{}", it.start(), it.end())
            }
        })
        .collect();
    if slots.ranges().nth(RUNS_MAX).is_some() {
        texts.push("…".to_owned());
    }
    format!("slots {} ({} in all)", texts.join(" "), slots.len())
}
