//! A server: its data, its journal and the machines, called as the program calls them. Sends nothing: what leaves is put
//! where the world finds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rubine_base::random::Random;
use rubine_journal::{
    Acknowledgements, Effects, History, HistoryId, Journal, Origin, Park, Previous, Reader,
    ReplicationOffset, Side,
};
use rubine_replication::failover::{self, Failover};
use rubine_replication::leader::{Channels, Leader};

use crate::data::{Data, Write};
use crate::disk::Disk;
use crate::link::Link;
use crate::master::{DumpInMaking, Feed};

pub(crate) type Port = u16;
pub(crate) type ConnectionId = u64;
pub(crate) const HOST: &str = "10.0.0.1";
const WAITING_MAX: usize = 1000;

/// How a server is configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) backlog_bytes: u64,
    /// How far a replica may be behind, beyond the backlog.
    pub(crate) hold_bytes: u64,
    pub(crate) backlog_ttl_ms: u64,
    pub(crate) delay_ms: u64,
    pub(crate) is_diskless: bool,
    /// A dump takes the place of the data at once, when it has come whole.
    pub(crate) swaps: bool,
    pub(crate) has_log: bool,
    /// Dump and stream go over two connections, where the other side does so, too.
    pub(crate) channels: Option<Channels>,
}

/// What leaves a server.
pub(crate) enum Out {
    Connect(Port),
    ConnectChannel(Port),
    Send(ConnectionId, Vec<u8>),
    Close(ConnectionId),
    Tell(String),
    /// It has these now.
    Holds(Vec<Write>),
    /// A client that waited for replicas is answered.
    Confirmed {
        number: u64,
        replica_count: usize,
    },
    Count(Fact),
    /// It believes that this replica has everything, up to this write.
    HandsOverTo(Port, u64),
    /// Something is wrong.
    Fault(String),
}

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Fact {
    FullSync,
    PartialSync,
    TooLate,
    NewName,
    Promotion,
    HandOver,
    Resumed,
    Beside,
}

/// A client that waits until so many replicas have a write.
pub(crate) struct Wait {
    pub(crate) number: u64,
    pub(crate) replica_count: usize,
}

/// A dump on disk.
#[derive(Clone)]
struct Saved {
    data: Data,
    place: Option<(HistoryId, ReplicationOffset, u32)>,
}

/// Milliseconds that pass at a rate of their own.
#[derive(Clone, Copy)]
struct Clock {
    world: u64,
    own: u64,
    rate_permille: u64,
}

pub(crate) struct Server {
    pub(crate) port: Port,
    pub(crate) is_alive: bool,
    pub(crate) setup: Setup,
    pub(crate) random: Random,
    clock: Clock,
    pub(crate) now: u64,
    pub(crate) data: Data,
    pub(crate) journal: Arc<Journal>,
    pub(crate) disk: Option<Disk>,
    saved: Option<Saved>,
    effects: Effects,
    /// Whom it follows.
    pub(crate) master: Option<Port>,
    pub(crate) link: Link,
    pub(crate) leader: Leader,
    pub(crate) feeds: BTreeMap<ConnectionId, Feed>,
    /// What follows dumps that go over connections of their own.
    pub(crate) held: BTreeMap<ConnectionId, Reader>,
    pub(crate) dumps: Vec<DumpInMaking>,
    pub(crate) transfer_ends_at: Option<u64>,
    pub(crate) acknowledged: Acknowledgements,
    pub(crate) waits: BTreeMap<u64, Wait>,
    token_next: u64,
    pub(crate) failover: Failover,
    /// Writes wait for the end of a failover.
    pub(crate) is_paused: bool,
    pub(crate) out: Vec<Out>,
}

impl Server {
    pub(crate) fn new(port: Port, setup: Setup, seed: u64) -> Self {
        let mut random = Random::with_seed(seed);
        let own = random.below(1_000_000);
        let journal = Journal::new(0, 0);
        Self {
            port,
            is_alive: false,
            setup,
            random,
            clock: Clock { world: 0, own, rate_permille: 1000 },
            now: own,
            data: Data::default(),
            journal,
            disk: None,
            saved: None,
            effects: Effects::new(),
            master: None,
            link: Link::new(own),
            leader: Leader::default(),
            feeds: BTreeMap::new(),
            held: BTreeMap::new(),
            dumps: Vec::new(),
            transfer_ends_at: None,
            acknowledged: Acknowledgements::new(WAITING_MAX),
            waits: BTreeMap::new(),
            token_next: 0,
            failover: Failover::default(),
            is_paused: false,
            out: Vec::new(),
        }
    }

    /// Has its clock show what it is there when the world's shows `now`.
    pub(crate) fn look_at_clock(&mut self, now: u64) {
        let Clock { world, own, rate_permille } = self.clock;
        self.now = own + (now - world) * rate_permille / 1000;
    }

    pub(crate) fn set_clock_rate(&mut self, now: u64, rate_permille: u64) {
        self.look_at_clock(now);
        self.clock = Clock { world: now, own: self.now, rate_permille };
    }

    pub(crate) fn tell(&mut self, text: String) {
        self.out.push(Out::Tell(text));
    }

    pub(crate) fn count(&mut self, fact: Fact) {
        self.out.push(Out::Count(fact));
    }

    pub(crate) fn new_history_id(&mut self) -> HistoryId {
        let mut bytes = [0; 20];
        self.random.fill(&mut bytes);
        HistoryId::from_random(bytes)
    }

    pub(crate) fn second(&self) -> u64 {
        self.now / 1000
    }

    // Life and death.

    /// The process begins, with the dump that is there.
    pub(crate) fn start(&mut self) {
        self.is_alive = true;
        self.journal = Journal::new(0, 0);
        let id = self.new_history_id();
        self.journal.rename_history(id);
        if let Some(Saved { data, place }) = self.saved.clone() {
            self.data = data;
            if let Some((id, offset, database)) = place {
                self.resume(id, offset, database);
            }
        }
        self.out.push(Out::Holds(self.data.writes.clone()));
        if self.setup.has_log {
            self.disk = Some(Disk::begin(&self.journal));
        }
        self.link = Link::new(self.now);
    }

    /// Goes on with the history of the dump.
    fn resume(&mut self, id: HistoryId, offset: ReplicationOffset, database: u32) {
        let journal = &self.journal;
        self.out.push(Out::Count(Fact::Resumed));
        if self.master.is_some() {
            journal.resume_history(History::new(id), offset, Origin::Master);
            journal.note_database(Some(database));
            return;
        }
        let own = journal.point().history.id;
        let history = History { id: own, previous: Some(Previous { id, until: offset }) };
        journal.set_backlog(self.setup.backlog_bytes);
        journal.resume_history(history, offset, Origin::Here);
    }

    /// The process ends. Its connections are closed by the world.
    pub(crate) fn kill(&mut self) {
        self.is_alive = false;
        self.data = Data::default();
        self.disk = None;
        self.leader = Leader::default();
        self.feeds.clear();
        self.held.clear();
        self.dumps.clear();
        self.transfer_ends_at = None;
        self.acknowledged = Acknowledgements::new(WAITING_MAX);
        self.waits.clear();
        self.failover = Failover::default();
        self.is_paused = false;
        self.link = Link::new(self.now);
        self.out.clear();
    }

    /// Writes a dump to disk, unless there is nothing whole to be written.
    pub(crate) fn save(&mut self) {
        if self.link.is_loading() {
            return;
        }
        let point = self.journal.point();
        let place = (point.history.id, point.offset, point.database.unwrap_or(0));
        let place = point.is_complete.then_some(place);
        self.saved = Some(Saved { data: self.data.clone(), place });
    }

    pub(crate) fn lose_dump(&mut self) {
        self.saved = None;
    }

    /// The log on disk is begun anew, from the data as it is; or there is to be none any more.
    pub(crate) fn begin_log(&mut self, is_wanted: bool) {
        self.disk = None;
        if is_wanted && !self.link.is_loading() {
            self.disk = Some(Disk::begin(&self.journal));
        }
    }

    // What clients do.

    pub(crate) fn takes_writes(&self) -> bool {
        self.is_alive && self.master.is_none() && !self.is_paused
    }

    /// A client writes a unit, of this number.
    pub(crate) fn write(&mut self, number: u64) {
        let part_count = [1, 1, 1, 2, 3][self.random.below(5) as usize];
        let mut writes = Vec::new();
        for part in 0..part_count {
            let db = [0, 0, 0, 1, 2][self.random.below(5) as usize];
            writes.push(Write { db, number, part, part_count });
        }
        let value_bytes = match self.random.below(100) {
            0..=9 => self.random.below(30_000) as usize,
            _ => self.random.below(60) as usize,
        };
        let second = self.second();
        if self.journal.is_active() {
            writes.iter().for_each(|it| it.note(value_bytes, &mut self.effects));
            self.effects.wrap_in_transaction();
            self.journal.append(&mut self.effects, second);
        }
        self.do_writes(&writes);
        self.journal.notify();
    }

    /// A client writes to a replica: that is no part of the history, nor of what others get.
    pub(crate) fn write_aside(&mut self, number: u64) {
        let db = self.random.below(3) as u32;
        let write = Write { db, number, part: 0, part_count: 1 };
        write.note(3, &mut self.effects);
        let second = self.second();
        self.journal.append_for(Side::Disk, &mut self.effects, second);
        self.effects.clear();
        if let Some(disk) = &mut self.disk {
            disk.note_done(write);
        }
    }

    /// A unit is run.
    pub(crate) fn do_writes(&mut self, writes: &[Write]) {
        for write in writes {
            if let Err(reason) = self.data.push(*write) {
                self.out.push(Out::Fault(reason));
            }
            if let Some(disk) = &mut self.disk {
                disk.note_done(*write);
            }
        }
        self.out.push(Out::Holds(writes.to_vec()));
    }

    /// A client waits until so many replicas have all that there is.
    pub(crate) fn wait(&mut self, number: u64, replica_count: usize) {
        self.token_next += 1;
        let token = self.token_next;
        let position = self.journal.end();
        match self.acknowledged.park(position, replica_count, token) {
            Park::Satisfied => self.out.push(Out::Confirmed { number, replica_count }),
            Park::Parked => {
                self.waits.insert(token, Wait { number, replica_count });
                self.journal.tell_replicas(&[b"REPLCONF", b"GETACK", b"*"], self.second());
            }
            Park::Full => {}
        }
    }

    pub(crate) fn release(&mut self, tokens: Vec<u64>) {
        for token in tokens {
            if let Some(Wait { number, replica_count }) = self.waits.remove(&token) {
                self.out.push(Out::Confirmed { number, replica_count });
            }
        }
    }

    pub(crate) fn end_waits(&mut self) {
        for token in std::mem::take(&mut self.waits).into_keys() {
            self.acknowledged.cancel(token);
        }
    }

    // What is due by the clock.

    pub(crate) fn turn(&mut self) {
        self.step_link();
        self.look_at_failover();
        self.end_dumps();
        self.look_at_replicas();
    }

    /// Whether this server has given its part up, and the replica that was asked has not answered.
    pub(crate) fn hands_over(&self) -> bool {
        self.is_paused && self.failover.phase() == failover::Phase::InProgress
    }
}
