//! Nodes that want to move slots by themselves: one at a time, whatever goes wrong.

use rubine_cluster::{Cluster, Turn};

use crate::server::{Moving, Name, Server};
use crate::world::World;

/// Of a hundred nodes that do not want to move slots, so many want to at the next step; of those that do, so many have done.
const BEGINS: u64 = 10;
const ENDS: u64 = 20;

impl World {
    /// Everybody who can asks for the turn, or gives it back.
    pub(crate) fn take_turns(&mut self) -> Result<(), String> {
        let awake = self.which(|it| it.machine.is_some());
        for who in awake {
            let wants = self.servers[who].moving != Moving::No;
            let changes = self.is_chance(if wants { ENDS } else { BEGINS });
            match (wants, changes) {
                (false, false) => {}
                (false, true) => self.servers[who].moving = Moving::Wanted,
                (true, false) => {
                    let turn = self.operate(who, Cluster::claim_turn)?;
                    self.note_turn(who, turn == Some(Turn::Ours));
                }
                (true, true) => {
                    self.operate(who, |it, _| it.end_turn())?;
                    self.servers[who].moving = Moving::No;
                }
            }
            self.check_turns()?;
        }
        Ok(())
    }

    fn note_turn(&mut self, who: Name, is_ours: bool) {
        let moving = if is_ours { Moving::Allowed } else { Moving::Wanted };
        let before = std::mem::replace(&mut self.servers[who].moving, moving);
        if is_ours && before != Moving::Allowed {
            self.oracle.turns += 1;
            self.tell(&format!("{who} may move slots"));
        }
    }

    /// No two nodes move slots at once, as far as they do while they think that they are not well.
    fn check_turns(&self) -> Result<(), String> {
        let now = self.now;
        let moves = |it: &&Server| {
            let is_well = |view: &rubine_cluster::View| {
                view.is_ok() && !view.is_replica() && view.is_current(now + it.skew)
            };
            it.moving == Moving::Allowed
                && it.is_awake(now)
                && it.view.as_deref().is_some_and(is_well)
        };
        let movers: Vec<Name> = self.servers.iter().filter(moves).map(|it| it.name).collect();
        if 1 < movers.len() {
            return Err(format!("{movers:?} move slots at once"));
        }
        Ok(())
    }
}
