//! What goes wrong in the world, by chance.

use rubine_sentinel::Sentinel;

use crate::server::Port;
use crate::world::{FIRST_SENTINEL, World};

impl World {
    /// Something goes wrong, or is put right, or nothing happens.
    pub(crate) fn make_trouble(&mut self) -> Result<(), String> {
        match self.random.below(40) {
            0 | 1 => self.kill_server(),
            2..=5 => {
                let dead: Vec<_> =
                    self.servers.values().filter(|it| !it.is_alive).map(|it| it.port).collect();
                if let Some(port) = self.any(&dead) {
                    self.tell(&format!("server {port} comes back"));
                    let now = self.now;
                    self.server(port).restart(now);
                }
                Ok(())
            }
            6 => {
                let alive = self.sentinels(true);
                self.any(&alive).map_or(Ok(()), |it| self.stop(it))
            }
            7..=9 => {
                let dead = self.sentinels(false);
                self.any(&dead).map_or(Ok(()), |it| self.start(it))
            }
            10 => {
                self.part_network();
                Ok(())
            }
            11..=13 if !self.cut_off.is_empty() => {
                self.cut_off.clear();
                self.tell("the network is one again");
                Ok(())
            }
            14 => {
                self.tell("connections break");
                let seed = self.random.next_u64();
                self.cut_connections(|it| (it.link.0 ^ seed).is_multiple_of(3))
            }
            15 => {
                let port = self.any_sentinel();
                let skew = self.random.below(20_000) as i64 - 10_000;
                self.tell(&format!("the clock of {port} is off by {skew}"));
                self.peer(port).skew = skew;
                Ok(())
            }
            16 | 17 => {
                let port = self.any_sentinel();
                let peer = self.peer(port);
                peer.cannot_save = !peer.cannot_save;
                let text = format!("{port} can save: {}", !peer.cannot_save);
                self.tell(&text);
                Ok(())
            }
            18 => self.ask_for_failover(),
            _ => Ok(()),
        }
    }

    fn kill_server(&mut self) -> Result<(), String> {
        let alive = self.servers.values().filter(|it| it.is_alive);
        let (masters, replicas): (Vec<_>, Vec<_>) = alive.partition(|it| it.master.is_none());
        let [masters, replicas] =
            [masters, replicas].map(|it| it.iter().map(|it| it.port).collect::<Vec<Port>>());
        let victims = if self.random.below(100) < 70 { masters } else { replicas };
        let Some(port) = self.any(&victims) else { return Ok(()) };
        self.tell(&format!("server {port} is killed"));
        self.server(port).kill();
        self.cut_connections(|it| it.to == port)
    }

    fn part_network(&mut self) {
        let everybody: Vec<_> = self.servers.keys().chain(self.peers.keys()).copied().collect();
        self.cut_off = everybody.into_iter().filter(|_| self.random.below(2) == 0).collect();
        self.tell(&format!("the network parts: {:?}", self.cut_off));
    }

    fn ask_for_failover(&mut self) -> Result<(), String> {
        let port = self.any_sentinel();
        let now = self.now + self.peers[&port].skew;
        let args: [&[u8]; 2] = [b"mymaster", b"COORDINATED"];
        let value = self.peer(port).run(Sentinel::failover, &args, now);
        self.tell(&format!("{port} is asked for a failover: {value:?}"));
        self.settle(port)
    }

    fn sentinels(&self, is_alive: bool) -> Vec<Port> {
        let of_kind = self.peers.values().filter(|it| it.machine.is_some() == is_alive);
        of_kind.map(|it| it.port).collect()
    }

    fn any_sentinel(&mut self) -> Port {
        FIRST_SENTINEL + self.random.below(self.peers.len() as u64) as Port
    }

    fn any(&mut self, of: &[Port]) -> Option<Port> {
        (!of.is_empty()).then(|| of[self.random.below(of.len() as u64) as usize])
    }
}
