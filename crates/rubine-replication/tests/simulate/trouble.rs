//! What goes wrong in the world, by chance, what those in charge do, and how all is put right in the end.

use rubine_replication::failover::{Address, Phase, Wish};

use crate::server::{HOST, Port};
use crate::world::{FIRST, World};

impl World {
    /// Something goes wrong, or is put right, or nothing happens.
    pub(crate) fn make_trouble(&mut self) -> Result<(), String> {
        let port = self.any_port();
        let is_alive = self.servers[&port].is_alive;
        match self.random.below(60) {
            0 | 1 if is_alive => {
                if self.random.below(2) == 0 {
                    self.server(port).save();
                }
                self.kill(port);
                Ok(())
            }
            2..=9 if !is_alive => self.start(port),
            10..=13 if is_alive => {
                self.server(port).save();
                Ok(())
            }
            14 => {
                self.server(port).lose_dump();
                Ok(())
            }
            15 => {
                let everybody: Vec<_> = self.servers.keys().copied().collect();
                self.cut_off =
                    everybody.into_iter().filter(|_| self.random.below(2) == 0).collect();
                self.tell(&format!("the network parts: {:?}", self.cut_off));
                Ok(())
            }
            16..=19 if !self.cut_off.is_empty() => {
                self.cut_off.clear();
                self.tell("the network is one again");
                Ok(())
            }
            20..=23 => {
                self.tell("connections break");
                let seed = self.random.next_u64();
                self.cut_connections(|at, _| (at ^ seed).is_multiple_of(2))
            }
            24 => {
                let (now, rate) = (self.now, 500 + self.random.below(1500));
                self.tell(&format!("the clock of {port} runs at {rate} in a thousand"));
                self.server(port).set_clock_rate(now, rate);
                Ok(())
            }
            25..=27 if is_alive => self.promote(port),
            28..=33 if is_alive => {
                let other = self.any_port();
                self.repoint(port, other)
            }
            34..=38 if is_alive => self.hand_over(port),
            39 if is_alive => {
                self.server(port).abort_failover();
                self.settle(port)
            }
            41..=43 if is_alive => {
                let is_wanted = self.servers[&port].disk.is_none() || self.random.below(2) == 0;
                self.tell(&format!("{port} begins its log on disk anew: {is_wanted}"));
                self.server(port).begin_log(is_wanted);
                self.settle(port)
            }
            40 if is_alive => self.cut_connections(|_, it| Self::is_of_replica(it, port)),
            _ => Ok(()),
        }
    }

    fn start(&mut self, port: Port) -> Result<(), String> {
        let forgets = self.is_troubled && self.random.below(4) == 0;
        self.tell(&format!("{port} comes back"));
        let server = self.server(port);
        if forgets {
            server.master = None;
        }
        server.start();
        self.settle(port)
    }

    fn promote(&mut self, port: Port) -> Result<(), String> {
        let server = self.server(port);
        if server.failover.phase() == Phase::None {
            server.promote();
        }
        self.settle(port)
    }

    fn repoint(&mut self, port: Port, to: Port) -> Result<(), String> {
        let server = self.server(port);
        if server.failover.phase() == Phase::None && port != to && server.master != Some(to) {
            server.follow(to);
        }
        self.settle(port)
    }

    fn hand_over(&mut self, port: Port) -> Result<(), String> {
        let (kind, timeout) = (self.random.below(4), 100 + self.random.below(3000));
        let server = self.server(port);
        let target = server.any_replica().filter(|_| kind != 0);
        let target = target.map(|port| Address { host: HOST.to_owned(), port });
        let timeout_ms = (kind != 1).then_some(timeout);
        let is_forced = kind == 2 && target.is_some();
        server.begin_failover(Wish { target, timeout_ms, is_forced });
        self.settle(port)
    }

    /// All is put right: everybody lives, hears the others, and follows one master, some by way of others. Returns which.
    pub(crate) fn heal(&mut self) -> Result<Port, String> {
        self.tell("all is put right");
        self.cut_off.clear();
        // What is still on its way, such as the wish that somebody take over, would undo what follows.
        self.cut_connections(|_, _| true)?;
        let ports: Vec<_> = self.servers.keys().copied().collect();
        for &port in &ports {
            let now = self.now;
            self.server(port).set_clock_rate(now, 1000);
            if !self.servers[&port].is_alive {
                self.start(port)?;
            }
            self.server(port).abort_failover();
            self.settle(port)?;
        }
        let mut order = ports;
        for at in (1..order.len()).rev() {
            order.swap(at, self.random.below(at as u64 + 1) as usize);
        }
        let root = order[0];
        self.tell(&format!("{root} is the master"));
        self.promote(root)?;
        for at in 1..order.len() {
            let above = order[self.random.below(at as u64) as usize];
            self.repoint(order[at], above)?;
        }
        Ok(root)
    }

    fn any_port(&mut self) -> Port {
        FIRST + self.random.below(self.servers.len() as u64) as Port
    }
}
