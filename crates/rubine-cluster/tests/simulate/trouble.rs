//! What goes wrong in the world, by chance, and what people do.

use rubine_cluster::Failover;

use crate::server::{BUS_PORT, Name, PORT};
use crate::world::{ASKER, World};

impl World {
    /// Something goes wrong, or is put right, or nothing happens.
    pub(crate) fn make_trouble(&mut self) -> Result<(), String> {
        match self.random.below(60) {
            0..=2 => {
                let running = self.which(|it| it.machine.is_some());
                self.any(&running).map_or(Ok(()), |it| self.kill(it))
            }
            3..=9 => {
                let dead = self.which(|it| it.machine.is_none());
                let Some(who) = self.any(&dead) else { return Ok(()) };
                if self.is_chance(30) {
                    self.change_address(who);
                }
                self.start(who)
            }
            10 if self.is_chance(20) => self.restart_all(),
            11 | 12 => {
                self.part_network();
                Ok(())
            }
            13 => {
                let (a, b) = (self.anybody(), self.anybody());
                self.tell(&format!("nothing comes from {a} to {b}"));
                self.cuts.insert((a, b));
                Ok(())
            }
            14 => {
                let a = self.anybody();
                self.tell(&format!("nothing comes from {a}"));
                self.cuts.extend((0..self.servers.len()).map(|it| (a, it)));
                Ok(())
            }
            15..=19 if !self.cuts.is_empty() => {
                self.cuts.clear();
                self.tell("the network is one again");
                Ok(())
            }
            20 => {
                self.tell("connections break");
                let seed = self.random.next_u64();
                self.break_connections(|it| {
                    (it.from as u64 ^ it.to as u64 ^ seed).is_multiple_of(3)
                })
            }
            21 => {
                let who = self.anybody();
                let ms = self.random.below(8000) as i64;
                self.tell(&format!("{who} stands still for {ms}"));
                self.servers[who].frozen_until = self.now + ms;
                Ok(())
            }
            22..=24 => {
                let replicas = self.which(|it| it.view.as_ref().is_some_and(|it| it.is_replica()));
                let how = match self.random.below(4) {
                    0 if self.settings.has_force => Failover::Force,
                    1 if self.settings.has_force => Failover::Takeover,
                    _ => Failover::Coordinated,
                };
                self.any(&replicas).map_or(Ok(()), |it| self.fail_over(it, how))
            }
            25..=32 => self.begin_to_move(),
            33 => self.meet_for_nothing(),
            // In the moment in which a slot changes hands this leaves it to nobody, as it does in Valkey.
            34 if self.settings.has_force && self.moves.is_none() => {
                let who = self.anybody();
                self.operate(who, rubine_cluster::Cluster::bump_own_epoch).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Those of whom something is true and who can be talked to.
    pub(crate) fn which(&self, is_it: impl Fn(&crate::server::Server) -> bool) -> Vec<Name> {
        let can_talk = |it: &&crate::server::Server| it.frozen_until <= self.now;
        self.servers.iter().filter(can_talk).filter(|it| is_it(it)).map(|it| it.name).collect()
    }

    fn anybody(&mut self) -> Name {
        self.random.below(self.servers.len() as u64) as usize
    }

    /// All processes are killed at once and come back, perhaps all at other addresses.
    fn restart_all(&mut self) -> Result<(), String> {
        self.tell("all are killed at once");
        let all = 0..self.servers.len();
        for who in all.clone() {
            if self.servers[who].machine.is_some() {
                self.kill(who)?;
            }
        }
        // Those that have no names are found again only if some are where they were.
        if self.settings.has_names && self.is_chance(50) {
            all.clone().for_each(|it| self.change_address(it));
        }
        all.into_iter().try_for_each(|it| self.start(it))
    }

    fn part_network(&mut self) {
        let part: Vec<bool> = self.servers.iter().map(|_| self.random.below(3) == 0).collect();
        self.tell(&format!("the network parts: {part:?}"));
        for a in 0..part.len() {
            for b in 0..part.len() {
                if part[a] != part[b] {
                    self.cuts.insert((a, b));
                }
            }
        }
    }

    /// MEET of somebody who is known, of oneself, or of nobody.
    fn meet_for_nothing(&mut self) -> Result<(), String> {
        let (who, other) = (self.anybody(), self.anybody());
        let ip = self.servers[other].ip.to_string();
        let bus_port = if self.is_chance(30) { 1 } else { BUS_PORT };
        self.tell(&format!("{who} is told to meet {other} at {bus_port}"));
        let meeting = self.operate(who, |it, now| it.meet_at(&ip, PORT, bus_port, ASKER, now));
        meeting.map(drop)
    }
}
