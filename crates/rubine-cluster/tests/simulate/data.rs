//! Replication and clients: logs are copied from primaries to replicas, and somebody writes.

use rubine_cluster::Cluster;

use crate::server::{Name, Op};
use crate::world::World;

/// A replica takes so much in one step.
const OPS_MAX: usize = 30;

impl World {
    /// Replicas take what is new.
    pub(crate) fn replicate(&mut self) -> Result<(), String> {
        for who in 0..self.servers.len() {
            let Some(primary) = self.reachable_primary(who) else {
                self.servers[who].linked_to = None;
                continue;
            };
            if self.servers[who].is_fenced {
                continue;
            }
            let wanted = Some((primary, self.servers[primary].history));
            if self.servers[who].linked_to != wanted {
                if self.is_chance(20) {
                    self.sync(who, primary)?;
                }
                continue;
            }
            let from = self.servers[who].log.len();
            let until = (from + OPS_MAX).min(self.servers[primary].log.len());
            let ops = self.servers[primary].log[from..until].to_vec();
            ops.into_iter().for_each(|it| self.servers[who].append(it));
            self.servers[who].heard_at = self.now;
            self.servers[who].tell_facts();
            let acked = self.servers[who].log.len();
            self.servers[primary].acks.insert(who, acked);
            self.acknowledge(primary);
        }
        Ok(())
    }

    fn reachable_primary(&self, who: Name) -> Option<Name> {
        let server = &self.servers[who];
        let ip = server.follows.filter(|_| server.is_awake(self.now))?;
        let primary = self.servers.iter().find(|it| it.ip == ip)?;
        let is_cut =
            self.cuts.contains(&(who, primary.name)) || self.cuts.contains(&(primary.name, who));
        let is_there = primary.is_awake(self.now) && primary.has_data && primary.name != who;
        (is_there && !is_cut).then_some(primary.name)
    }

    /// A replica begins to follow: from where both logs part, or from the start.
    fn sync(&mut self, who: Name, primary: Name) -> Result<(), String> {
        let history = self.servers[primary].history;
        let other = &self.servers[primary].log;
        let own = &self.servers[who].log;
        let common = own.iter().zip(other).take_while(|(a, b)| a == b).count();
        if self.servers[who].must_sync_fully || common < own.len() {
            let log = other.clone();
            self.tell(&format!("{who} syncs with {primary}: {} of {}", common, log.len()));
            self.servers[who].replace_log(log);
        }
        let server = &mut self.servers[who];
        server.must_sync_fully = false;
        server.has_data = true;
        server.linked_to = Some((primary, history));
        server.heard_at = self.now;
        // What is being moved by hand comes along with the data.
        let open = self.servers[primary].machine.as_ref().map(Cluster::open_slots);
        if let Some(open) = open {
            self.operate(who, |it, now| it.take_open_slots(&open, now))?;
        }
        Ok(())
    }

    /// Writes that enough replicas have are acknowledged.
    fn acknowledge(&mut self, primary: Name) {
        let quorum = self.settings.write_quorum as usize;
        let server = &mut self.servers[primary];
        if quorum == 0 || !server.is_primary() {
            return;
        }
        let mut acks: Vec<usize> = server.acks.values().copied().collect();
        acks.sort_unstable_by(|a, b| b.cmp(a));
        let Some(safe) = acks.get(quorum - 1).copied() else { return };
        server.waiting.retain(|(end, slot, id)| {
            let is_safe = *end <= safe;
            if is_safe {
                self.oracle.acknowledged.push((*slot, *id));
            }
            !is_safe
        });
    }

    /// Somebody writes to whoever takes it.
    pub(crate) fn write(&mut self) {
        let index = self.random.below(self.hot_slots.len() as u64) as usize;
        let slot = self.hot_slots[index];
        let now = self.now;
        let takers: Vec<Name> =
            self.servers.iter().filter(|it| it.takes_writes(slot, now)).map(|it| it.name).collect();
        let Some(who) = self.any(&takers) else { return };
        self.write_count += 1;
        let id = self.write_count;
        let quorum = self.settings.write_quorum;
        let server = &mut self.servers[who];
        server.append(Op::Add { slot, id });
        let end = server.log.len();
        if 0 < quorum {
            server.waiting.push((end, slot, id));
        }
        self.oracle.written += 1;
    }

    pub(crate) fn any<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        if choices.is_empty() {
            return None;
        }
        Some(choices[self.random.below(choices.len() as u64) as usize])
    }
}
