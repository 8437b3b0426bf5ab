//! Operations on nodes: meeting, forgetting, following, taking over, beginning anew.

use std::net::IpAddr;

use rubine_base::clock::Millis;

use super::{Asker, Direction, Failover, OperationError, Reset};
use crate::effect::{Action, History, Level, Save};
use crate::id::NodeId;
use crate::machine::node::Key;
use crate::machine::statistics::Statistics;
use crate::machine::{Cluster, OpenSlots, Todo};
use crate::message::Body;

impl Cluster {
    pub(crate) fn begin(&mut self, now: Millis) {
        self.now = now;
    }

    /// The node of a name as it was given.
    pub(crate) fn find_named(&self, name: &[u8]) -> Result<Key, OperationError> {
        let found = NodeId::parse(name).and_then(|it| self.table.find(it));
        found.ok_or_else(|| OperationError::UnknownNode(String::from_utf8_lossy(name).into_owned()))
    }

    /// MEET.
    pub fn meet_at(
        &mut self,
        ip: &str,
        port: u16,
        bus_port: u16,
        asker: Asker<'_>,
        now: Millis,
    ) -> Result<(), OperationError> {
        self.begin(now);
        let Ok(address) = ip.parse::<IpAddr>() else {
            return Err(OperationError::InvalidAddress(ip.to_owned(), port));
        };
        self.start_handshake(address, port, bus_port);
        let text = format!("Cluster meet {ip}:{port} (user request from '{}').", asker.client());
        self.log(Level::Notice, text);
        Ok(())
    }

    /// FORGET.
    pub fn forget(
        &mut self,
        name: &[u8],
        asker: Asker<'_>,
        now: Millis,
    ) -> Result<(), OperationError> {
        self.begin(now);
        let key = match self.find_named(name) {
            Ok(key) => key,
            // Another node was asked, and has told us.
            Err(_) if NodeId::parse(name).is_some_and(|it| self.is_banned(it)) => return Ok(()),
            Err(error) => return Err(error),
        };
        if key == self.table.me {
            return Err(OperationError::ForgetMyself);
        }
        if self.table.myself().is_replica() && self.table.myself().primary == Some(key) {
            return Err(OperationError::ForgetMyPrimary);
        }
        let id = self.table[key].id;
        let text = format!("Cluster forget {id} (user request from '{}').", asker.client());
        self.log(Level::Notice, text);
        let seconds = Millis::try_from(self.config.blacklist_ttl).unwrap_or(Millis::MAX);
        self.ban(id, seconds.saturating_mul(1000));
        self.forget_node(key);
        self.todo |= Todo::SAVE | Todo::UPDATE_STATE;
        Ok(())
    }

    /// REPLICATE.
    pub fn replicate(&mut self, name: &[u8], now: Millis) -> Result<(), OperationError> {
        self.begin(now);
        let key = self.find_named(name)?;
        let myself = self.table.myself();
        if key == self.table.me {
            return Err(OperationError::ReplicateMyself);
        }
        if self.table[key].is_replica() {
            return Err(OperationError::ReplicateAReplica);
        }
        if myself.is_primary() && (myself.slot_count != 0 || !self.facts.is_empty) {
            return Err(OperationError::ReplicateWithData);
        }
        if myself.primary == Some(key) {
            return Ok(());
        }
        self.follow(key, OpenSlots::Close, History::Foreign);
        self.todo |= Todo::SAVE | Todo::UPDATE_STATE | Todo::BROADCAST;
        Ok(())
    }

    /// REPLICATE NO ONE: an empty primary without slots, in a shard of its own.
    pub fn replicate_no_one(&mut self, asker: Asker<'_>, now: Millis) {
        self.begin(now);
        if self.table.myself().is_primary() {
            return;
        }
        let text = format!(
            "Stop replication and turning myself into empty primary (request from '{}').",
            asker.client()
        );
        self.log(Level::Notice, text);
        self.make_primary(self.table.me);
        self.do_it(Action::DropAllKeys);
        self.close_slots();
        self.reset_manual_failover();
        self.election.forget();
        self.move_to_new_shard();
        self.table.release_what_others_serve();
        self.todo |= Todo::SAVE | Todo::UPDATE_STATE | Todo::BROADCAST;
    }

    fn move_to_new_shard(&mut self) {
        let shard = self.new_shard_id();
        self.table.myself_mut().shard = shard;
        self.log(Level::Notice, format!("Moving myself to a new shard {shard}."));
    }

    /// COUNT-FAILURE-REPORTS.
    pub fn count_failure_reports(
        &mut self,
        name: &[u8],
        now: Millis,
    ) -> Result<usize, OperationError> {
        self.begin(now);
        let key = self.find_named(name)?;
        Ok(self.count_reports(key))
    }

    /// FAILOVER. `only` is the node that shall do it, if the primary has named one: others do nothing.
    pub fn failover(
        &mut self,
        how: Failover,
        only: Option<&[u8]>,
        asker: Asker<'_>,
        now: Millis,
    ) -> Result<(), OperationError> {
        self.begin(now);
        let myself = self.table.myself();
        if only.is_some_and(|it| it != myself.id.as_bytes()) {
            return Ok(());
        }
        if myself.is_primary() {
            return Err(OperationError::FailoverOfPrimary);
        }
        let Some(primary) = myself.primary else { return Err(OperationError::PrimaryUnknown) };
        let is_down = self.table[primary].is_failed() || self.table[primary].link.is_none();
        if how == Failover::Coordinated && is_down {
            return Err(OperationError::PrimaryDown);
        }
        self.begin_manual_failover();
        let client = asker.client();
        match (how, asker) {
            (Failover::Takeover, _) => {
                let text = format!("Taking over the primary (user request from '{client}').");
                self.log(Level::Notice, text);
                self.bump_epoch();
                self.replace_primary();
            }
            (Failover::Force, _) => {
                let kind = if matches!(asker, Asker::Primary(_)) { "primary" } else { "user" };
                let text = format!(
                    "Forced failover {kind} request accepted ({kind} request from '{client}')."
                );
                self.log(Level::Notice, text);
                self.let_manual_failover_start();
                self.todo |= Todo::FAILOVER;
            }
            (Failover::Coordinated, _) => {
                let text = format!(
                    "Manual failover user request accepted (user request from '{client}')."
                );
                self.log(Level::Notice, text);
                let link = self.table[primary].link;
                self.send(link, Body::MfStart);
            }
        }
        Ok(())
    }

    /// BUMPEPOCH. Returns whether this node has a new epoch, and its epoch.
    pub fn bump_own_epoch(&mut self, now: Millis) -> (bool, u64) {
        self.begin(now);
        let is_new = self.bump_epoch();
        (is_new, self.table.myself().config_epoch)
    }

    /// SET-CONFIG-EPOCH.
    pub fn set_config_epoch(&mut self, epoch: i64, now: Millis) -> Result<(), OperationError> {
        self.begin(now);
        let Ok(number) = u64::try_from(epoch) else {
            return Err(OperationError::InvalidEpoch(epoch));
        };
        if 1 < self.table.len() {
            return Err(OperationError::EpochAmongOthers);
        }
        if self.table.myself().config_epoch != 0 {
            return Err(OperationError::EpochIsSet);
        }
        self.table.myself_mut().config_epoch = number;
        self.current_epoch = self.current_epoch.max(number);
        let text = format!("configEpoch set to {number} via CLUSTER SET-CONFIG-EPOCH");
        self.log(Level::Notice, text);
        self.todo |= Todo::SAVE | Todo::UPDATE_STATE;
        Ok(())
    }

    /// SAVECONFIG: what follows asks for it. If that fails, whoever has asked is told, and nothing else happens.
    pub fn save_config(&mut self) {
        self.effects.save = Some(Save::Synced);
    }

    /// RESET.
    pub fn reset(
        &mut self,
        how: Reset,
        asker: Asker<'_>,
        now: Millis,
    ) -> Result<(), OperationError> {
        self.begin(now);
        let was_replica = self.table.myself().is_replica();
        if self.table.myself().is_primary() && !self.facts.is_empty {
            return Err(OperationError::ResetWithKeys);
        }
        let text = format!("Cluster reset (user request from '{}').", asker.client());
        self.log(Level::Notice, text);
        self.close_slots();
        self.reset_manual_failover();
        self.election.forget();
        self.granted.clear();
        let me = self.table.me;
        for key in self.table.keys() {
            self.table.release_all(key);
            if key != me {
                self.forget_node(key);
            }
        }
        self.banned.clear();
        if how == Reset::Hard {
            self.become_somebody_else();
        }
        self.move_to_new_shard();
        if was_replica {
            self.make_primary(me);
            self.do_it(Action::DropAllKeys);
        }
        self.todo |= Todo::SAVE_SYNCED | Todo::UPDATE_STATE;
        Ok(())
    }

    fn become_somebody_else(&mut self) {
        self.current_epoch = 0;
        self.last_vote_epoch = 0;
        self.table.myself_mut().config_epoch = 0;
        self.log(Level::Notice, "configEpoch set to 0 via CLUSTER RESET HARD".to_owned());
        let id = self.new_node_id();
        self.table.rename(self.table.me, id);
        self.log(Level::Notice, format!("Node hard reset, now I'm {id}"));
    }

    /// DEBUG CLUSTERLINK KILL.
    pub fn kill_links(
        &mut self,
        direction: Direction,
        name: &[u8],
        now: Millis,
    ) -> Result<(), OperationError> {
        self.begin(now);
        let key = self.find_named(name)?;
        if key == self.table.me {
            return Err(OperationError::LinkToMyself);
        }
        let node = &self.table[key];
        let to = node.link.filter(|_| direction != Direction::From);
        let from = node.inbound.filter(|_| direction != Direction::To);
        for link in [to, from].into_iter().flatten() {
            self.close(link);
        }
        Ok(())
    }

    /// CONFIG RESETSTAT.
    pub fn reset_statistics(&mut self) {
        self.statistics = Statistics::default();
    }
}
