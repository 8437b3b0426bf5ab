//! The world: what happens when, and what goes wrong. One seed is one world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use rubine_base::random::Random;
use rubine_resp::decode::Value;
use rubine_sentinel::{Action, Event, LinkId, Sentinel};

use crate::oracle::Oracle;
use crate::peer::Peer;
use crate::server::{ConnectionId, Effect, Port, Server};

/// So long it takes until all is known.
const MEETING_MS: i64 = 10_000;
/// For so long things go wrong, and then for so long they do not.
const TROUBLE_MS: i64 = 120_000;
const PEACE_MS: i64 = 120_000;
const STEP_MS: i64 = 1000;
const STORY_LINES_MAX: usize = 400;
pub(crate) const FIRST_SENTINEL: Port = 26_000;
const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

pub(crate) struct World {
    pub(crate) now: i64,
    pub(crate) random: Random,
    pub(crate) servers: BTreeMap<Port, Server>,
    pub(crate) peers: BTreeMap<Port, Peer>,
    connections: BTreeMap<ConnectionId, Connection>,
    connection_count: u64,
    /// By time, and by the order in which it was planned.
    agenda: BTreeMap<(i64, u64), Plan>,
    plan_count: u64,
    /// Those who do not hear the others: everybody is in one part or in the other.
    pub(crate) cut_off: BTreeSet<Port>,
    /// Things go wrong.
    is_troubled: bool,
    pub(crate) oracle: Oracle,
    story: VecDeque<String>,
}

fn id_of(port: Port) -> String {
    format!("{port:040x}")
}

/// From a Sentinel to a server or to another one.
pub(crate) struct Connection {
    from: Port,
    pub(crate) link: LinkId,
    pub(crate) to: Port,
    is_open: bool,
    /// What is on its way there, and back, and when it arrives: nothing before what was sent before it.
    ways: [VecDeque<(i64, Message)>; 2],
}

enum Message {
    Command(Vec<Vec<u8>>),
    Value(Value),
}

enum Plan {
    Turn {
        who: Port,
        run: u64,
    },
    /// The next message on that way of a connection may arrive.
    Arrives {
        at: ConnectionId,
        way: usize,
    },
    Connects {
        at: ConnectionId,
    },
    Step,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::with_seed(seed);
        let sentinel_count = [3, 3, 4, 5][random.below(4) as usize];
        let server_count = 2 + random.below(3) as u16;
        let quorum = 1 + random.below(u64::from(sentinel_count) / 2 + 1);
        let down_after = [500, 1000, 3000][random.below(3) as usize];
        let config = vec![
            format!("sentinel monitor mymaster 10.0.0.1 7000 {quorum}"),
            format!("sentinel down-after-milliseconds mymaster {down_after}"),
            "sentinel failover-timeout mymaster 8000".to_owned(),
        ];
        let servers = (7000..7000 + server_count)
            .map(|port| (port, Server::new(port, (port != 7000).then_some(7000))))
            .collect();
        let ports = FIRST_SENTINEL..FIRST_SENTINEL + sentinel_count;
        let peers = ports
            .clone()
            .map(|port| {
                // They have met: one that knew no other could elect itself.
                let others = ports.clone().filter(|it| *it != port);
                let known = others.map(|it| {
                    format!("sentinel known-sentinel mymaster 10.0.0.1 {it} {}", id_of(it))
                });
                let mut config = config.clone();
                config.push(format!("sentinel myid {}", id_of(port)));
                config.extend(known);
                (port, Peer::new(port, config))
            })
            .collect();
        let mut world = Self {
            now: 1_000_000,
            random,
            servers,
            peers,
            connections: BTreeMap::new(),
            connection_count: 0,
            agenda: BTreeMap::new(),
            plan_count: 0,
            cut_off: BTreeSet::new(),
            is_troubled: false,
            oracle: Oracle::default(),
            story: VecDeque::new(),
        };
        world.tell(&format!(
            "{sentinel_count} Sentinels, quorum {quorum}, {server_count} servers, down after {down_after}"
        ));
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
        self.story.push_back(format!("{:>8} {text}", self.now - 1_000_000));
    }

    /// Lives through it all.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for who in self.peers.keys().copied().collect::<Vec<_>>() {
            self.start(who)?;
        }
        self.plan(STEP_MS, Plan::Step);
        self.live_until(self.now + MEETING_MS)?;
        self.is_troubled = true;
        let trouble_ends = self.now + TROUBLE_MS;
        self.live_until(trouble_ends)?;
        self.heal()?;
        let end = self.now + PEACE_MS;
        self.live_until(end)?;
        self.check_peace()
    }

    fn live_until(&mut self, end: i64) -> Result<(), String> {
        while let Some(entry) = self.agenda.first_entry().filter(|it| it.key().0 <= end) {
            let ((at, _), plan) = entry.remove_entry();
            self.now = self.now.max(at);
            match plan {
                Plan::Turn { who, run } => self.turn(who, run)?,
                Plan::Arrives { at, way } => self.arrives(at, way)?,
                Plan::Connects { at } => self.connects(at)?,
                Plan::Step => {
                    self.replicate();
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

    fn plan(&mut self, delay: i64, plan: Plan) {
        self.plan_count += 1;
        self.agenda.insert((self.now + delay, self.plan_count), plan);
    }

    fn is_chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    /// Whether something goes wrong that rarely does.
    fn happens_once_in(&mut self, times: u64) -> bool {
        self.random.below(times) == 0 && self.is_troubled
    }

    /// Whether they hear each other.
    fn is_reachable(&self, a: Port, b: Port) -> bool {
        self.cut_off.contains(&a) == self.cut_off.contains(&b)
    }

    fn is_alive(&self, who: Port) -> bool {
        let server = self.servers.get(&who).map(|it| it.is_alive);
        server.unwrap_or_else(|| self.peers[&who].machine.is_some())
    }

    pub(crate) fn peer(&mut self, port: Port) -> &mut Peer {
        self.peers.get_mut(&port).expect("a Sentinel's port")
    }

    pub(crate) fn server(&mut self, port: Port) -> &mut Server {
        self.servers.get_mut(&port).expect("a server's port")
    }

    pub(crate) fn stop(&mut self, port: Port) -> Result<(), String> {
        self.tell(&format!("Sentinel {port} is killed"));
        let peer = self.peer(port);
        peer.machine = None;
        peer.connections.clear();
        self.oracle.forget(port);
        let gone: Vec<_> =
            self.connections.iter().filter(|it| it.1.from == port).map(|it| *it.0).collect();
        for id in gone {
            self.hang_up(id);
        }
        self.cut_connections(|it| it.to == port)
    }

    pub(crate) fn start(&mut self, port: Port) -> Result<(), String> {
        self.tell(&format!("Sentinel {port} starts"));
        let now = self.now;
        let peer = self.peer(port);
        peer.start(now);
        let run = peer.run;
        let delay = self.random.below(300) as i64;
        self.plan(delay, Plan::Turn { who: port, run });
        self.settle(port)
    }

    /// All is well from now on.
    fn heal(&mut self) -> Result<(), String> {
        self.tell("all is well from now on");
        self.is_troubled = false;
        self.cut_off.clear();
        let now = self.now;
        self.servers.values_mut().filter(|it| !it.is_alive).for_each(|it| it.restart(now));
        for port in self.peers.keys().copied().collect::<Vec<_>>() {
            let peer = self.peer(port);
            peer.cannot_save = false;
            if peer.machine.is_none() {
                self.start(port)?;
            }
        }
        Ok(())
    }

    /// What must be true when nothing has gone wrong for long.
    fn check_peace(&mut self) -> Result<(), String> {
        let now = self.now;
        let mut known = BTreeSet::new();
        for peer in self.peers.values_mut() {
            let value = peer.run(Sentinel::master_address, &[b"mymaster"], now + peer.skew);
            let Value::Array(parts) = &value else { return Err(format!("no master: {value:?}")) };
            let Value::Bulk(port) = &parts[1] else { return Err(format!("no port: {value:?}")) };
            known.insert(String::from_utf8_lossy(port).parse::<Port>().expect("a port"));
        }
        let servers: Vec<_> =
            self.servers.values().map(|it| (it.port, it.master, it.link_is_up)).collect();
        let state = format!("Sentinels know {known:?}, servers are {servers:?}");
        self.tell(&state);
        if known.len() != 1 {
            return Err(format!("they do not agree: {state}"));
        }
        let master = *known.first().expect("there is one");
        let is_right = |&(port, follows, is_up): &(Port, Option<Port>, bool)| {
            if port == master { follows.is_none() } else { follows == Some(master) && is_up }
        };
        if !servers.iter().all(is_right) {
            return Err(format!("not all follow one master: {state}"));
        }
        Ok(())
    }

    fn replicate(&mut self) {
        let now = self.now;
        for port in self.servers.keys().copied().collect::<Vec<_>>() {
            let Some(master) = self.servers[&port].master else { continue };
            let is_up = self.servers[&port].is_alive
                && self.is_reachable(port, master)
                && self.servers.get(&master).is_some_and(|it| it.is_alive);
            let offset = if is_up { self.servers[&master].offset } else { 0 };
            let server = self.server(port);
            if is_up {
                server.offset = offset;
            } else if server.link_is_up {
                server.link_down_since = now;
            }
            server.link_is_up = is_up;
            for (other, server) in &mut self.servers {
                if *other == master && is_up {
                    server.replicas.insert(port);
                } else {
                    server.replicas.remove(&port);
                }
            }
        }
        for server in self.servers.values_mut().filter(|it| it.is_alive && it.master.is_none()) {
            server.offset += 100;
        }
    }

    // Sentinels.

    fn turn(&mut self, who: Port, run: u64) -> Result<(), String> {
        let now = self.now;
        let peer = self.peer(who);
        let Some(machine) = peer.machine.as_mut().filter(|_| peer.run == run) else {
            return Ok(());
        };
        let mut delay = machine.tick(now + peer.skew);
        if self.happens_once_in(2000) {
            // It was not given the processor.
            delay += 3000;
        }
        self.plan(delay, Plan::Turn { who, run });
        self.settle(who)
    }

    fn event(&mut self, who: Port, event: Event) -> Result<(), String> {
        let now = self.now;
        let peer = self.peer(who);
        if let Some(machine) = &mut peer.machine {
            machine.handle(event, now + peer.skew);
        }
        self.settle(who)
    }

    /// Does what a Sentinel wants to be done.
    pub(crate) fn settle(&mut self, who: Port) -> Result<(), String> {
        let now = self.now;
        let peer = self.peers.get_mut(&who).expect("a Sentinel's port");
        let Some(machine) = &mut peer.machine else { return Ok(()) };
        let effects = machine.take_effects();
        if effects.saves {
            if self.is_troubled && self.random.below(300) == 0 {
                // Before it is on disk: nothing of it has happened.
                return self.stop(who);
            }
            let is_safe = peer.save();
            if let Some(machine) = &mut peer.machine {
                machine.handle(Event::Saved { is_safe }, now + peer.skew);
            }
            if self.is_troubled && self.random.below(300) == 0 {
                return self.stop(who);
            }
        }
        for action in effects.actions {
            self.act(who, action)?;
        }
        Ok(())
    }

    fn act(&mut self, who: Port, action: Action) -> Result<(), String> {
        match action {
            Action::Connect { link, to } => {
                self.connection_count += 1;
                let at = self.connection_count;
                let connection = Connection {
                    from: who,
                    link,
                    to: to.port(),
                    is_open: false,
                    ways: Default::default(),
                };
                self.connections.insert(at, connection);
                self.peer(who).connections.insert(link, at);
                let delay = self.delay();
                self.plan(delay, Plan::Connects { at });
            }
            Action::Close { link } => {
                let connection = self.peer(who).connections.remove(&link);
                if let Some(id) = connection {
                    self.hang_up(id);
                }
            }
            Action::Send { link, command } => {
                if let Some(at) = self.peers[&who].connections.get(&link).copied() {
                    self.deliver(at, Message::Command(command));
                }
            }
            Action::Tell(notice) => {
                self.tell(&format!("{who} {} {}", notice.channel, notice.text));
                // A vote that is not on disk is none.
                if notice.channel != "+vote-for-leader" || !self.peers[&who].cannot_save {
                    self.oracle.hear(who, &notice)?;
                }
            }
            Action::Log { text, .. } => self.tell(&format!("{who} {text}")),
            _ => {}
        }
        Ok(())
    }

    // The network.

    fn delay(&mut self) -> i64 {
        match self.random.below(100) {
            0 if self.is_troubled => self.random.below(2000) as i64,
            1..=9 => self.random.below(100) as i64,
            _ => self.random.below(4) as i64,
        }
    }

    /// Has something arrive at the other end of a connection, behind what was sent before.
    fn deliver(&mut self, at: ConnectionId, message: Message) {
        let delay = self.delay();
        let way = usize::from(matches!(message, Message::Value(_)));
        let Some(connection) = self.connections.get_mut(&at) else { return };
        let last = connection.ways[way].back().map_or(0, |it| it.0);
        let arrives = (self.now + delay).max(last);
        connection.ways[way].push_back((arrives, message));
        self.plan(arrives - self.now, Plan::Arrives { at, way });
    }

    /// What arrives now, if it does. Where networks are parted it is tried again later, or the connection breaks.
    fn arrives(&mut self, at: ConnectionId, way: usize) -> Result<(), String> {
        const RETRY_MS: i64 = 300;
        let Some(connection) = self.connections.get(&at) else { return Ok(()) };
        let Connection { from, to, is_open, .. } = *connection;
        let passes = is_open && self.is_reachable(from, to) && self.is_alive(to);
        if !passes {
            if is_open && self.random.below(20) == 0 {
                return self.break_off(at);
            }
            self.plan(RETRY_MS, Plan::Arrives { at, way });
            return Ok(());
        }
        let connection = self.connections.get_mut(&at).expect("it was just there");
        match connection.ways[way].pop_front() {
            Some((_, Message::Command(command))) => self.execute(at, command),
            Some((_, Message::Value(value))) => {
                let link = connection.link;
                self.event(from, Event::Replied { link, value })
            }
            None => Ok(()),
        }
    }

    fn connects(&mut self, at: ConnectionId) -> Result<(), String> {
        let Some(&Connection { from, link, to, .. }) = self.connections.get(&at) else {
            return Ok(());
        };
        if !self.is_alive(to) {
            return self.break_off(at);
        }
        if !self.is_reachable(from, to) {
            self.plan(200, Plan::Connects { at });
            return Ok(());
        }
        self.connections.get_mut(&at).expect("it was just there").is_open = true;
        self.event(from, Event::Connected { link, local_ip: IP })
    }

    fn execute(&mut self, at: ConnectionId, command: Vec<Vec<u8>>) -> Result<(), String> {
        let to = self.connections[&at].to;
        let now = self.now;
        if command[0] == b"PUBLISH" {
            self.oracle.overhear(&command[2])?;
        }
        if self.peers.contains_key(&to) {
            let value = self.peer(to).execute(&command, now);
            self.settle(to)?;
            if self.is_alive(to) {
                self.oracle.see_reply(to, &value)?;
            }
            self.deliver(at, Message::Value(value));
            return Ok(());
        }
        let mut effects = Vec::new();
        let server = self.server(to);
        let before = server.master;
        let value = server.execute(at, command, now, &mut effects);
        if server.master != before {
            let text = format!("server {to} follows {:?}", server.master);
            self.tell(&text);
        }
        self.deliver(at, Message::Value(value));
        for effect in effects {
            match effect {
                Effect::Publish(text) => self.publish(to, &text),
                Effect::HandOver { to: other } => {
                    self.tell(&format!("server {to} hands over to {other}"));
                    self.server(other).follow(None, now);
                    self.server(to).follow(Some(other), now);
                }
            }
        }
        Ok(())
    }

    fn publish(&mut self, server: Port, text: &[u8]) {
        let parts = [&b"message"[..], b"__sentinel__:hello", text];
        let message = Value::Array(parts.iter().map(|it| Value::Bulk(it.to_vec())).collect());
        for at in self.servers[&server].listeners.clone() {
            // Some hear it twice.
            let count = 1 + usize::from(self.is_chance(5));
            for _ in 0..count {
                self.deliver(at, Message::Value(message.clone()));
            }
        }
    }

    fn hang_up(&mut self, at: ConnectionId) {
        if let Some(connection) = self.connections.remove(&at)
            && let Some(server) = self.servers.get_mut(&connection.to)
        {
            server.hang_up(at);
        }
    }

    /// A connection breaks, and its Sentinel notices.
    fn break_off(&mut self, at: ConnectionId) -> Result<(), String> {
        let Some(&Connection { from, link, .. }) = self.connections.get(&at) else {
            return Ok(());
        };
        self.hang_up(at);
        self.peer(from).connections.remove(&link);
        self.event(from, Event::Closed { link })
    }

    pub(crate) fn cut_connections(
        &mut self,
        which: impl Fn(&Connection) -> bool,
    ) -> Result<(), String> {
        let cut: Vec<_> =
            self.connections.iter().filter(|it| which(it.1)).map(|it| *it.0).collect();
        cut.into_iter().try_for_each(|at| self.break_off(at))
    }
}
