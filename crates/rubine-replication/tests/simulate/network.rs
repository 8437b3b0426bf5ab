//! What lies between servers: connections whose bytes arrive in their order, late and in pieces, or not at all.

use std::collections::VecDeque;

use crate::server::{ConnectionId, Port};
use crate::world::{Plan, World};

/// The sides of a connection.
pub(crate) const REPLICA: usize = 0;
pub(crate) const MASTER: usize = 1;

pub(crate) struct Connection {
    pub(crate) ends: [Port; 2],
    is_open: [bool; 2],
    is_made: bool,
    /// What each side has sent, and when it arrives.
    ways: [VecDeque<(u64, Item)>; 2],
}

enum Item {
    Bytes(Vec<u8>),
    End,
}

impl Connection {
    pub(crate) fn new(from: Port, to: Port) -> Self {
        let ways = [VecDeque::new(), VecDeque::new()];
        Self { ends: [from, to], is_open: [true, false], is_made: false, ways }
    }
}

impl World {
    fn delay(&mut self) -> u64 {
        match self.random.below(100) {
            0 if self.is_troubled => self.random.below(3000),
            1..=9 => self.random.below(100),
            _ => self.random.below(5),
        }
    }

    /// Which side of a connection a server is; it may have closed it.
    pub(crate) fn side_of(&self, at: ConnectionId, who: Port) -> Option<usize> {
        let connection = self.connections.get(&at)?;
        connection.ends.iter().position(|it| *it == who)
    }

    fn put(&mut self, at: ConnectionId, side: usize, item: Item) {
        let delay = self.delay();
        let Some(connection) = self.connections.get_mut(&at) else { return };
        let last = connection.ways[side].back().map_or(0, |it| it.0);
        let arrives = (self.now + delay).max(last);
        connection.ways[side].push_back((arrives, item));
        self.plan(arrives - self.now, Plan::Arrives { at, way: side });
    }

    pub(crate) fn send(&mut self, at: ConnectionId, from: Port, bytes: Vec<u8>) {
        let Some(side) = self.side_of(at, from) else { return };
        if self.connections[&at].is_open[side] {
            self.put(at, side, Item::Bytes(bytes));
        }
    }

    /// One side closes a connection; the other one hears of it, some time.
    pub(crate) fn close(&mut self, at: ConnectionId, side: usize) {
        let is_rude = self.random.below(2) == 0;
        let Some(connection) = self.connections.get_mut(&at) else { return };
        connection.is_open[side] = false;
        connection.ways[1 - side].clear();
        if !connection.is_open[1 - side] {
            self.connections.remove(&at);
            return;
        }
        if is_rude {
            connection.ways[side].clear();
        }
        self.put(at, side, Item::End);
    }

    /// A connection breaks, and both sides notice at once.
    pub(crate) fn break_off(&mut self, at: ConnectionId) -> Result<(), String> {
        let Some(Connection { ends, is_open, .. }) = self.connections.remove(&at) else {
            return Ok(());
        };
        for side in [REPLICA, MASTER] {
            if is_open[side] {
                self.ended(at, ends[side], side);
                self.settle(ends[side])?;
            }
        }
        Ok(())
    }

    /// A side hears that there is nobody any more.
    fn ended(&mut self, at: ConnectionId, who: Port, side: usize) {
        let server = self.server(who);
        if side == MASTER {
            server.leave(at);
        } else if [server.link.connection, server.link.channel].contains(&Some(at)) {
            server.lost(at, "it was closed by the other side");
        }
    }

    pub(crate) fn connects(&mut self, at: ConnectionId) -> Result<(), String> {
        const RETRY_MS: u64 = 200;
        let Some(&Connection { ends: [from, to], .. }) = self.connections.get(&at) else {
            return Ok(());
        };
        if !self.servers[&to].is_alive {
            return self.break_off(at);
        }
        if !self.is_reachable(from, to) {
            self.plan(RETRY_MS, Plan::Connects { at });
            return Ok(());
        }
        let connection = self.connections.get_mut(&at).expect("it was just there");
        (connection.is_open, connection.is_made) = ([true, true], true);
        self.server(to).accept(at);
        let server = self.server(from);
        if server.link.channel == Some(at) {
            server.channel_connected();
        } else {
            server.connected();
        }
        self.settle(from)
    }

    /// What arrives now, if it does.
    pub(crate) fn arrives(&mut self, at: ConnectionId, way: usize) -> Result<(), String> {
        const RETRY_MS: u64 = 300;
        let Some(connection) = self.connections.get(&at) else { return Ok(()) };
        let [from, to] = connection.ends;
        let side = 1 - way;
        let who = connection.ends[side];
        if !connection.is_open[side] {
            return Ok(());
        }
        if !self.is_reachable(from, to) {
            if self.random.below(30) == 0 {
                return self.break_off(at);
            }
            self.plan(RETRY_MS, Plan::Arrives { at, way });
            return Ok(());
        }
        let cuts = self.random.below(4) == 0;
        let (cut, late) = (self.random.next_u64(), self.random.below(30));
        let Some(connection) = self.connections.get_mut(&at) else { return Ok(()) };
        let Some((_, item)) = connection.ways[way].pop_front() else { return Ok(()) };
        match item {
            Item::Bytes(mut bytes) => {
                if cuts && 1 < bytes.len() {
                    let rest = bytes.split_off(1 + (cut % (bytes.len() as u64 - 1)) as usize);
                    let arrives = self.now + late;
                    connection.ways[way].push_front((arrives, Item::Bytes(rest)));
                    self.plan(late, Plan::Arrives { at, way });
                }
                self.deliver(at, who, side, &bytes)
            }
            Item::End => {
                connection.is_open[side] = false;
                if !connection.is_open[way] {
                    self.connections.remove(&at);
                }
                self.ended(at, who, side);
                self.settle(who)
            }
        }
    }

    fn deliver(
        &mut self,
        at: ConnectionId,
        who: Port,
        side: usize,
        bytes: &[u8],
    ) -> Result<(), String> {
        if side == MASTER {
            self.server(who).hear(at, bytes);
            return self.settle(who);
        }
        let server = self.server(who);
        if server.link.connection == Some(at) {
            server.receive(bytes);
        } else if server.link.channel == Some(at) {
            server.receive_on_channel(bytes);
        }
        self.settle(who)?;
        // There is room for more.
        let Some(connection) = self.connections.get(&at) else { return Ok(()) };
        let master = connection.ends[MASTER];
        if let Some(feed) = self.server(master).feeds.get_mut(&at) {
            feed.in_flight = feed.in_flight.saturating_sub(bytes.len());
        }
        self.settle(master)
    }
}
