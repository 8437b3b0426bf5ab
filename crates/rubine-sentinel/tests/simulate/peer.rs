//! One Sentinel of a group: the machine, what it has on disk, its clock, and its connections.

use std::collections::BTreeMap;

use rubine_resp::decode::{Value, decode};
use rubine_resp::writer::{Output, Protocol, Reply};
use rubine_sentinel::{Identity, LinkId, Outcome, Request, Sentinel};

use crate::server::{ConnectionId, ok, word};

pub(crate) struct Peer {
    pub(crate) port: u16,
    pub(crate) machine: Option<Sentinel>,
    disk: Vec<String>,
    /// Its disk is full.
    pub(crate) cannot_save: bool,
    /// How far its clock is off.
    pub(crate) skew: i64,
    pub(crate) connections: BTreeMap<LinkId, ConnectionId>,
    /// Counts its runs: what was meant for an earlier one is not for this.
    pub(crate) run: u64,
}

impl Peer {
    pub(crate) fn new(port: u16, config: Vec<String>) -> Self {
        Self {
            port,
            machine: None,
            disk: config,
            cannot_save: false,
            skew: 0,
            connections: BTreeMap::new(),
            run: 0,
        }
    }

    pub(crate) fn start(&mut self, now: i64) {
        self.run += 1;
        let seed = u64::from(self.port) * 1000 + self.run;
        let identity = Identity { port: self.port, seed, ..Identity::default() };
        let mut machine = Sentinel::new(identity, now + self.skew);
        let mut lines: Vec<Vec<&str>> =
            self.disk.iter().map(|it| it.split(' ').skip(1).collect()).collect();
        lines.sort_by_key(|it| Sentinel::config_order(it[0].as_bytes()));
        for words in &lines {
            let taken = machine.configure(words, &|_| true);
            taken.unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
        machine.begin();
        self.machine = Some(machine);
    }

    /// Keeps what must be kept. Returns whether that was possible.
    pub(crate) fn save(&mut self) -> bool {
        if let Some(machine) = self.machine.as_ref().filter(|_| !self.cannot_save) {
            self.disk = machine.config_lines();
        }
        !self.cannot_save
    }

    /// Answers a command of another one. What depends on the disk is answered when that is known.
    pub(crate) fn execute(&mut self, command: &[Vec<u8>], now: i64) -> Value {
        let now = now + self.skew;
        let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        match word(command, 0).as_str() {
            "PING" => Value::Simple(b"PONG".to_vec()),
            "PUBLISH" => self.run(Sentinel::publish, &args[1..], now),
            "SENTINEL" => self.run(Sentinel::is_master_down, &args[2..], now),
            _ => ok(),
        }
    }

    pub(crate) fn run(
        &mut self,
        handler: rubine_sentinel::Handler,
        args: &[&[u8]],
        now: i64,
    ) -> Value {
        let Some(machine) = &mut self.machine else { return Value::Null };
        let mut out = Output::new();
        let reply = Reply::new(&mut out, Protocol::Resp2);
        let mut request = Request { args, reply, now, is_executable: &|_| true };
        match machine.run(handler, &mut request) {
            Ok(Outcome::IfSaved(unsaved)) if self.cannot_save => {
                out = Output::new();
                unsaved.reply(&mut Reply::new(&mut out, Protocol::Resp2));
            }
            Ok(_) => {}
            Err(text) => return Value::Error(text.into_bytes()),
        }
        let mut slices = [std::io::IoSlice::new(&[]); 16];
        let count = out.front_slices(&mut slices, usize::MAX);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|it| it.iter().copied()).collect();
        decode(&bytes).expect("a reply").expect("a whole one").0
    }
}
