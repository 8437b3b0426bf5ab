//! The world: what happens when. One seed is one world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rubine_base::random::Random;
use rubine_replication::failover::Wish;
use rubine_replication::follower::Phase;
use rubine_replication::leader::Channels;

use crate::network::{Connection, REPLICA};
use crate::oracle::Oracle;
use crate::server::{ConnectionId, Fact, Out, Port, Server, Setup};

/// For so long things go wrong.
const TROUBLE_MS: u64 = 60_000;
/// After so long without, all have to agree.
const PEACE_MS: u64 = 300_000;
/// For so long of that, clients write.
const WRITING_MS: u64 = 3000;
const STEP_MS: u64 = 500;
/// So long it may take that a replica takes over.
const HANDING_OVER_MS: u64 = 30_000;
const STORY_LINES_MAX: usize = 400;
pub(crate) const FIRST: Port = 7000;

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) servers: BTreeMap<Port, Server>,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    connection_count: u64,
    /// By time, and by the order in which it was planned.
    agenda: BTreeMap<(u64, u64), Plan>,
    plan_count: u64,
    /// Those who do not hear the others: everybody is in one part or in the other.
    pub(crate) cut_off: BTreeSet<Port>,
    /// Things go wrong.
    pub(crate) is_troubled: bool,
    /// Clients write.
    is_written: bool,
    number: u64,
    pub(crate) oracle: Oracle,
    story: VecDeque<String>,
}

pub(crate) enum Plan {
    Turn(Port),
    Write(Port),
    Connects {
        at: ConnectionId,
    },
    /// The next of what was sent on that way of a connection may arrive.
    Arrives {
        at: ConnectionId,
        way: usize,
    },
    Step,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::with_seed(seed);
        let count = 3 + random.below(4) as Port;
        let servers = (FIRST..FIRST + count).map(|port| {
            let setup = Setup {
                backlog_bytes: [1000, 20_000, 100_000, 1_000_000][random.below(4) as usize],
                hold_bytes: [0, 50_000][random.below(2) as usize],
                backlog_ttl_ms: [0, 5000][random.below(2) as usize],
                delay_ms: [0, 0, 700][random.below(3) as usize],
                is_diskless: random.below(2) == 0,
                swaps: random.below(2) == 0,
                has_log: random.below(2) == 0,
                channels: [None, Some(Channels::Dual), Some(Channels::Rdb)]
                    [random.below(3) as usize],
            };
            (port, Server::new(port, setup, random.next_u64()))
        });
        let servers = servers.collect();
        let mut world = Self {
            now: 0,
            random,
            servers,
            connections: BTreeMap::new(),
            connection_count: 0,
            agenda: BTreeMap::new(),
            plan_count: 0,
            cut_off: BTreeSet::new(),
            is_troubled: false,
            is_written: true,
            number: 0,
            oracle: Oracle::default(),
            story: VecDeque::new(),
        };
        let setups: Vec<_> =
            world.servers.values().map(|it| format!("{} is {:?}", it.port, it.setup)).collect();
        setups.iter().for_each(|it| world.tell(it));
        world
    }

    pub(crate) fn story(&self) -> String {
        self.story.iter().map(|it| format!("{it}\n")).collect()
    }

    pub(crate) fn tell(&mut self, text: &str) {
        if STORY_LINES_MAX == self.story.len() && std::env::var_os("RUBINE_SIMULATE_SEED").is_none()
        {
            self.story.pop_front();
        }
        self.story.push_back(format!("{:>8} {text}", self.now));
    }

    /// Lives through it all.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for port in self.servers.keys().copied().collect::<Vec<_>>() {
            self.server(port).start();
            if port != FIRST {
                let above = FIRST + self.random.below(u64::from(port - FIRST)) as Port;
                self.server(port).follow(above);
            }
            self.settle(port)?;
            self.plan(0, Plan::Turn(port));
            self.plan(0, Plan::Write(port));
        }
        self.plan(STEP_MS, Plan::Step);
        self.live_until(self.now + 2 * WRITING_MS)?;
        self.is_troubled = true;
        self.live_until(self.now + TROUBLE_MS)?;
        self.is_troubled = false;
        let before = self.oracle.counts.full_syncs;
        let root = self.heal()?;
        self.live_until(self.now + WRITING_MS)?;
        self.is_written = false;
        self.come_to_agree(root)?;
        // Each needs one at most, and perhaps another because it, or one above it, was too slow.
        let count = self.oracle.counts.full_syncs - before;
        if 2 * (self.servers.len() as u64) < count {
            return Err(format!("{count} full syncs were needed until all was well"));
        }
        self.hand_over_in_peace(root)
    }

    /// Lives on until all agree.
    fn come_to_agree(&mut self, root: Port) -> Result<(), String> {
        let end = self.now + PEACE_MS;
        while self.now < end {
            self.live_until(self.now + STEP_MS)?;
            if self.disagreement(root).is_none() {
                return Ok(());
            }
        }
        self.disagreement(root).map_or(Ok(()), Err)
    }

    /// Where all is well, a replica takes over without anybody needing everything anew.
    fn hand_over_in_peace(&mut self, root: Port) -> Result<(), String> {
        let before = self.oracle.counts.full_syncs;
        self.tell(&format!("{root} hands over in peace"));
        self.server(root).begin_failover(Wish::default());
        self.settle(root)?;
        self.live_until(self.now + HANDING_OVER_MS)?;
        let masters = self.servers.values().filter(|it| it.master.is_none()).map(|it| it.port);
        let [master] = masters.collect::<Vec<_>>()[..] else {
            return Err("not one is a master after handing over".to_owned());
        };
        if master == root || self.servers[&root].is_paused {
            return Err(format!("{root} has not handed over"));
        }
        self.come_to_agree(master)?;
        if self.oracle.counts.full_syncs != before {
            return Err("a full sync was needed for nothing".to_owned());
        }
        self.is_written = true;
        self.live_until(self.now + WRITING_MS)?;
        self.is_written = false;
        self.come_to_agree(master)
    }

    /// What is not as it should be where all is well.
    fn disagreement(&self, root: Port) -> Option<String> {
        let master = &self.servers[&root];
        let end = master.journal.point();
        for (port, server) in &self.servers {
            if *port == root {
                continue;
            }
            let phase = server.link.machine.phase();
            if phase != Phase::Connected {
                return Some(format!("{port} has no link: {phase:?}"));
            }
            let point = server.journal.point();
            if (point.history.id, point.offset) != (end.history.id, end.offset) {
                return Some(format!("{port} is at {point:?}, the master at {end:?}"));
            }
            if server.data.writes != master.data.writes {
                return Some(format!("{port} has other data than the master"));
            }
        }
        None
    }

    fn live_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(entry) = self.agenda.first_entry().filter(|it| it.key().0 <= end) {
            let ((at, _), plan) = entry.remove_entry();
            self.now = self.now.max(at);
            match plan {
                Plan::Turn(port) => self.turn(port)?,
                Plan::Write(port) => self.write(port)?,
                Plan::Connects { at } => self.connects(at)?,
                Plan::Arrives { at, way } => self.arrives(at, way)?,
                Plan::Step => {
                    if self.is_troubled {
                        self.make_trouble()?;
                    }
                    self.plan(STEP_MS, Plan::Step);
                }
            }
        }
        self.now = end;
        Ok(())
    }

    pub(crate) fn plan(&mut self, delay: u64, plan: Plan) {
        self.plan_count += 1;
        self.agenda.insert((self.now + delay, self.plan_count), plan);
    }

    /// Whether they hear each other.
    pub(crate) fn is_reachable(&self, a: Port, b: Port) -> bool {
        self.cut_off.contains(&a) == self.cut_off.contains(&b)
    }

    /// A server, whose clock shows what it is.
    pub(crate) fn server(&mut self, port: Port) -> &mut Server {
        let server = self.servers.get_mut(&port).expect("a server's port");
        server.look_at_clock(self.now);
        server
    }

    fn turn(&mut self, port: Port) -> Result<(), String> {
        let mut delay = 50 + self.random.below(100);
        if self.is_troubled && self.random.below(500) == 0 {
            // It was not given the processor.
            delay += self.random.below(8000);
        }
        self.plan(delay, Plan::Turn(port));
        if self.servers[&port].is_alive {
            self.server(port).turn();
        }
        self.settle(port)
    }

    fn write(&mut self, port: Port) -> Result<(), String> {
        let delay = 20 + self.random.below(300);
        self.plan(delay, Plan::Write(port));
        if !self.is_written {
            return Ok(());
        }
        self.number += 1;
        let number = self.number;
        let (waits, replica_count) = (self.random.below(4) == 0, 1 + self.random.below(2) as usize);
        let server = self.server(port);
        if !server.takes_writes() {
            if server.is_alive && number.is_multiple_of(3) && !server.link.is_loading() {
                server.write_aside(number);
            }
            return self.settle(port);
        }
        server.write(number);
        let point = server.journal.point();
        if waits {
            server.wait(number, replica_count);
        }
        self.oracle.see_written(&point, &self.servers[&port].data)?;
        self.settle(port)
    }

    /// Does what a server wants to be done, and looks whether all is right with it.
    pub(crate) fn settle(&mut self, port: Port) -> Result<(), String> {
        self.server(port).feed_all();
        for out in std::mem::take(&mut self.server(port).out) {
            self.obey(port, out)?;
        }
        let Self { oracle, servers, .. } = self;
        let server = servers.get_mut(&port).expect("a server's port");
        if !server.is_alive {
            return Ok(());
        }
        oracle.see(&server.journal.point(), &server.data).map_err(|it| format!("{port}: {it}"))?;
        if let Some(disk) = &mut server.disk {
            disk.check(&server.journal).map_err(|it| format!("{port}: {it}"))?;
        }
        Ok(())
    }

    fn obey(&mut self, port: Port, out: Out) -> Result<(), String> {
        match out {
            Out::Connect(to) => self.server(port).link.connection = Some(self.connect(port, to)),
            Out::ConnectChannel(to) => {
                self.server(port).link.channel = Some(self.connect(port, to));
            }
            Out::Send(at, bytes) => self.send(at, port, bytes),
            Out::Close(at) => {
                if let Some(side) = self.side_of(at, port) {
                    self.close(at, side);
                }
            }
            Out::Tell(text) => self.tell(&format!("{port} {text}")),
            Out::Holds(writes) => self.oracle.hold(port, &writes),
            Out::Confirmed { number, replica_count } => {
                self.oracle.confirm(port, number, replica_count)?;
            }
            Out::HandsOverTo(target, number) => self.oracle.check_holder(target, number)?,
            Out::Count(fact) => {
                let counts = &mut self.oracle.counts;
                let count = match fact {
                    Fact::FullSync => &mut counts.full_syncs,
                    Fact::PartialSync => &mut counts.partial_syncs,
                    Fact::TooLate => &mut counts.too_late,
                    Fact::NewName => &mut counts.new_names,
                    Fact::Promotion => &mut counts.promotions,
                    Fact::HandOver => &mut counts.hand_overs,
                    Fact::Resumed => &mut counts.resumed,
                    Fact::Beside => &mut counts.beside,
                };
                *count += 1;
            }
            Out::Fault(text) => return Err(format!("{port}: {text}")),
        }
        Ok(())
    }

    fn connect(&mut self, from: Port, to: Port) -> ConnectionId {
        self.connection_count += 1;
        let at = self.connection_count;
        self.connections.insert(at, Connection::new(from, to));
        let delay = self.random.below(20);
        self.plan(delay, Plan::Connects { at });
        at
    }

    pub(crate) fn cut_connections(
        &mut self,
        which: impl Fn(ConnectionId, &Connection) -> bool,
    ) -> Result<(), String> {
        let cut = self.connections.iter().filter(|it| which(*it.0, it.1)).map(|it| *it.0);
        let cut: Vec<_> = cut.collect();
        cut.into_iter().try_for_each(|at| self.break_off(at))
    }

    /// A server's process ends, and with it its side of all connections.
    pub(crate) fn kill(&mut self, port: Port) {
        self.tell(&format!("{port} is killed"));
        self.server(port).kill();
        for at in self.connections.keys().copied().collect::<Vec<_>>() {
            if let Some(side) = self.side_of(at, port) {
                self.close(at, side);
            }
        }
    }

    /// Whether it is the link of this server to its master.
    pub(crate) fn is_of_replica(connection: &Connection, port: Port) -> bool {
        connection.ends[REPLICA] == port
    }
}
