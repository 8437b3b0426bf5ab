//! Epochs and votes: who leads a failover. A vote of ours leaves only when it is on disk, so that no Sentinel votes twice in
//! one epoch, whatever happens to it.

use std::collections::BTreeMap;

use super::core::Core;
use crate::effect::Level;
use crate::instance::Master;

/// Failovers begin at most so long after they could, by chance.
const DESYNC_MS_MAX: u64 = 1000;

/// A vote of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vote {
    pub(crate) leader: String,
    pub(crate) epoch: u64,
    /// It was given just now.
    pub(crate) is_new: bool,
}

impl Core {
    /// Takes over a later epoch.
    pub(super) fn set_epoch(&mut self, epoch: u64, master: &Master) {
        self.epoch = epoch;
        self.save();
        let script = master.notification_script.as_deref();
        self.tell(Level::Warning, "+new-epoch", script, epoch.to_string());
    }

    /// Up to a second, by chance.
    pub(super) fn desync(&mut self) -> i64 {
        self.random.below(DESYNC_MS_MAX) as i64
    }

    /// Votes for `id` in `epoch`, unless we have voted in it already, or are in a later one. Returns the vote that stands.
    pub(crate) fn vote(&mut self, master: &mut Master, epoch: u64, id: &str) -> Option<Vote> {
        if self.epoch < epoch {
            self.set_epoch(epoch, master);
        }
        let is_new = master.leader_epoch < epoch && self.epoch <= epoch;
        if is_new {
            master.leader = Some(id.to_owned());
            master.leader_epoch = self.epoch;
            self.save();
            let text = format!("{id} {}", master.leader_epoch);
            let script = master.notification_script.as_deref();
            self.tell(Level::Warning, "+vote-for-leader", script, text);
            if !id.eq_ignore_ascii_case(&self.my_id) {
                // Whom we have voted for gets time, before we try it ourselves.
                master.failover.started_at = self.now + self.desync();
            }
        }
        let epoch = master.leader_epoch;
        master.leader.clone().map(|leader| Vote { leader, epoch, is_new })
    }

    /// Whether the Sentinels have elected us for the failover that is going on: most of all that we know, and as many as the
    /// quorum wants. Gives our own vote if we have not voted: to whom most others voted for, or to ourselves.
    pub(super) fn is_elected(&mut self, master: &mut Master) -> bool {
        let epoch = master.failover.epoch;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for peer in master.peers.values() {
            if let Some(leader) = &peer.leader
                && peer.leader_epoch == self.epoch
            {
                *counts.entry(leader.clone()).or_default() += 1;
            }
        }
        let favourite = counts.iter().max_by_key(|it| it.1).map(|(leader, _)| leader.clone());
        let favourite = favourite.unwrap_or_else(|| self.my_id.clone());
        let vote = self.vote(master, epoch, &favourite);
        // A vote of ours that is not on disk may be given again to another after a crash.
        if let Some(vote) = vote.filter(|it| it.epoch == epoch && !it.is_new && !self.is_unsaved) {
            *counts.entry(vote.leader).or_default() += 1;
        }
        let voter_count = master.peers.len() + 1;
        let votes = counts.get(&self.my_id).copied().unwrap_or(0);
        self.epoch == epoch && voter_count / 2 < votes && master.quorum as usize <= votes
    }
}
