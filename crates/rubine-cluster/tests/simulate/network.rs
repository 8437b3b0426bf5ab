//! Connections of the bus, and what is on its way on them.

use std::collections::VecDeque;

use rubine_cluster::message::{Bounds, Decoder, Message, encode};
use rubine_cluster::text::Host;
use rubine_cluster::{Event, LinkId};

use crate::server::{BUS_PORT, Name};
use crate::world::{Plan, World};

/// A connection that gets no answer is given up after so many tries, which are so far apart.
const CONNECT_TRIES: u32 = 20;
const CONNECT_TRY_MS: i64 = 100;
const RELAYED_SIZE_MAX: usize = 1 << 20;

pub(crate) struct Connection {
    pub(crate) from: Name,
    pub(crate) to: Name,
    /// Its name at both ends.
    links: [LinkId; 2],
    is_open: bool,
    /// What is on its way there, and back, and when it arrives: nothing before what was sent before it.
    ways: [VecDeque<(i64, usize, Message)>; 2],
}

impl World {
    pub(crate) fn begin_to_connect(&mut self, who: Name, link: LinkId, to: &Host, port: u16) {
        self.connection_count += 1;
        let at = self.connection_count;
        let target = self.servers.iter().find(|it| Some(it.ip) == to.ip() && port == BUS_PORT);
        let to = target.map_or(usize::MAX, |it| it.name);
        let inbound = LinkId(LinkId::FIRST_INBOUND.0 + at);
        let connection = Connection {
            from: who,
            to,
            links: [link, inbound],
            is_open: false,
            ways: Default::default(),
        };
        self.connections.insert(at, connection);
        self.servers[who].links.insert(link, at);
        let delay = self.delay();
        self.plan(delay, Plan::Connects { at, tries: 0 });
    }

    pub(crate) fn connects(&mut self, at: u64, tries: u32) -> Result<(), String> {
        let Some(connection) = self.connections.get(&at) else { return Ok(()) };
        let (from, to, links) = (connection.from, connection.to, connection.links);
        let is_there = self.servers.get(to).is_some_and(|it| it.machine.is_some());
        if !is_there || CONNECT_TRIES <= tries {
            return self.break_off(at);
        }
        let is_cut = self.cuts.contains(&(from, to)) || self.cuts.contains(&(to, from));
        if is_cut || !self.servers[to].is_awake(self.now) || !self.servers[from].is_awake(self.now)
        {
            self.plan(CONNECT_TRY_MS, Plan::Connects { at, tries: tries + 1 });
            return Ok(());
        }
        let (from_ip, to_ip) = (self.servers[from].ip, self.servers[to].ip);
        self.connections.get_mut(&at).expect("it was just there").is_open = true;
        self.servers[to].links.insert(links[1], at);
        let event = Event::Accepted { link: links[1], peer_ip: from_ip, local_ip: to_ip };
        self.event(to, event)?;
        // What was sent before the connection was there leaves now.
        self.event(from, Event::Connected { link: links[0], local_ip: from_ip })?;
        self.plan(0, Plan::Arrives { at, way: 0 });
        Ok(())
    }

    pub(crate) fn delay(&mut self) -> i64 {
        match self.random.below(100) {
            0 if self.is_troubled => self.random.below(1500) as i64,
            1..=9 => self.random.below(50) as i64,
            _ => self.random.below(3) as i64,
        }
    }

    pub(crate) fn send(&mut self, who: Name, link: LinkId, message: &Message) {
        let Some(at) = self.servers[who].links.get(&link).copied() else { return };
        let bytes = encode(message);
        let size = bytes.len();
        self.sent_messages += 1;
        self.sent_bytes += size as u64;
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        let received = decoder
            .take(Bounds::known(RELAYED_SIZE_MAX))
            .expect("it is of ours")
            .expect("it is whole");
        let message = received.content.expect("it is of ours");
        let is_lost = self.is_troubled && self.random.below(2000) == 0;
        let count = 1 + u64::from(self.is_troubled && self.random.below(2000) == 0);
        for _ in 0..if is_lost { 0 } else { count } {
            let delay = self.delay();
            let now = self.now;
            let Some(connection) = self.connections.get_mut(&at) else { return };
            let way = usize::from(connection.from != who);
            let last = connection.ways[way].back().map_or(0, |it| it.0);
            let arrives = (now + delay).max(last);
            connection.ways[way].push_back((arrives, size, message.clone()));
            self.plan(arrives - now, Plan::Arrives { at, way });
        }
    }

    /// What has come by now at one end of a connection is read.
    pub(crate) fn arrives(&mut self, at: u64, way: usize) -> Result<(), String> {
        loop {
            let now = self.now;
            let Some(connection) = self.connections.get_mut(&at).filter(|it| it.is_open) else {
                return Ok(());
            };
            let ends = [connection.from, connection.to];
            let (sender, receiver) = (ends[way], ends[1 - way]);
            if connection.ways[way].front().is_none_or(|it| now < it.0) {
                return Ok(());
            }
            let wakes_at = self.servers[receiver].frozen_until;
            if now < wakes_at {
                self.plan(wakes_at - now, Plan::Arrives { at, way });
                return Ok(());
            }
            let (_, size, message) = connection.ways[way].pop_front().expect("it was just there");
            let link = connection.links[1 - way];
            if self.cuts.contains(&(sender, receiver)) {
                continue;
            }
            self.event(receiver, Event::Received { link, message, size })?;
        }
    }

    /// One end does not want it any more.
    pub(crate) fn close(&mut self, who: Name, link: LinkId) -> Result<(), String> {
        let Some(at) = self.servers[who].links.remove(&link) else { return Ok(()) };
        self.break_off(at)
    }

    /// A connection breaks, and those who have it notice.
    fn break_off(&mut self, at: u64) -> Result<(), String> {
        let Some(connection) = self.connections.remove(&at) else { return Ok(()) };
        for (name, link) in
            [(connection.from, connection.links[0]), (connection.to, connection.links[1])]
        {
            let Some(server) = self.servers.get_mut(name) else { continue };
            if server.links.remove(&link).is_some() && server.machine.is_some() {
                let reason = "Connection refused".to_owned();
                self.event(name, Event::Closed { link, reason })?;
            }
        }
        Ok(())
    }

    pub(crate) fn break_connections(
        &mut self,
        which: impl Fn(&Connection) -> bool,
    ) -> Result<(), String> {
        let broken: Vec<u64> =
            self.connections.iter().filter(|it| which(it.1)).map(|it| *it.0).collect();
        broken.into_iter().try_for_each(|at| self.break_off(at))
    }
}
