//! A model of a server: as much of one as Sentinel sees.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use rubine_resp::decode::Value;

/// Where a server is: all are at one address, at ports of their own.
pub(crate) type Port = u16;

/// A connection, as the world numbers them.
pub(crate) type ConnectionId = u64;

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: Port,
    pub(crate) is_alive: bool,
    /// None: it is a master.
    pub(crate) master: Option<Port>,
    /// What it would be after a restart.
    kept_master: Option<Port>,
    pub(crate) offset: u64,
    pub(crate) link_is_up: bool,
    pub(crate) link_down_since: i64,
    /// The replicas that follow it, as far as it knows.
    pub(crate) replicas: BTreeSet<Port>,
    pub(crate) listeners: BTreeSet<ConnectionId>,
    pub(crate) priority: u32,
    run: u64,
    /// Connections that are inside of MULTI, with what waits there.
    queued: Vec<(ConnectionId, Vec<Vec<Vec<u8>>>)>,
}

/// What comes of a command beside its reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// To those who listen.
    Publish(Vec<u8>),
    /// This replica takes over from its master.
    HandOver { to: Port },
}

impl Server {
    pub(crate) fn new(port: Port, master: Option<Port>) -> Self {
        Self {
            port,
            is_alive: true,
            master,
            kept_master: master,
            offset: 0,
            link_is_up: false,
            link_down_since: 0,
            replicas: BTreeSet::new(),
            listeners: BTreeSet::new(),
            priority: 100,
            run: 0,
            queued: Vec::new(),
        }
    }

    /// It is killed: what it knew is gone.
    pub(crate) fn kill(&mut self) {
        self.is_alive = false;
        self.listeners.clear();
        self.replicas.clear();
        self.queued.clear();
        self.link_is_up = false;
    }

    pub(crate) fn restart(&mut self, now: i64) {
        self.is_alive = true;
        self.run += 1;
        self.master = self.kept_master;
        self.link_down_since = now;
    }

    pub(crate) fn follow(&mut self, master: Option<Port>, now: i64) {
        if self.master != master {
            self.master = master;
            self.link_is_up = false;
            self.link_down_since = now;
        }
        self.kept_master = self.master;
    }

    pub(crate) fn hang_up(&mut self, connection: ConnectionId) {
        self.listeners.remove(&connection);
        self.queued.retain(|(it, _)| *it != connection);
    }

    pub(crate) fn execute(
        &mut self,
        connection: ConnectionId,
        command: Vec<Vec<u8>>,
        now: i64,
        effects: &mut Vec<Effect>,
    ) -> Value {
        let name = word(&command, 0);
        let queue = self.queued.iter_mut().find(|(it, _)| *it == connection);
        match (name.as_str(), queue) {
            ("EXEC", Some(_)) => {
                let at = self
                    .queued
                    .iter()
                    .position(|(it, _)| *it == connection)
                    .expect("it was just found");
                let (_, commands) = self.queued.remove(at);
                let run = |command: Vec<Vec<u8>>| self.run_one(connection, &command, now, effects);
                Value::Array(commands.into_iter().map(run).collect())
            }
            (_, Some((_, queue))) => {
                queue.push(command);
                Value::Simple(b"QUEUED".to_vec())
            }
            ("MULTI", None) => {
                self.queued.push((connection, Vec::new()));
                ok()
            }
            _ => self.run_one(connection, &command, now, effects),
        }
    }

    fn run_one(
        &mut self,
        connection: ConnectionId,
        command: &[Vec<u8>],
        now: i64,
        effects: &mut Vec<Effect>,
    ) -> Value {
        match word(command, 0).as_str() {
            "PING" => Value::Simple(b"PONG".to_vec()),
            "INFO" => Value::Bulk(self.info(now).into_bytes()),
            "PUBLISH" => {
                effects.push(Effect::Publish(command[2].clone()));
                Value::Integer(self.listeners.len() as i64)
            }
            "SUBSCRIBE" => {
                self.listeners.insert(connection);
                let parts = [&b"subscribe"[..], &command[1]].map(|it| Value::Bulk(it.to_vec()));
                Value::Array([&parts[..], &[Value::Integer(1)]].concat())
            }
            "SLAVEOF" => {
                let port = word(command, 2).parse().ok();
                self.follow(port.filter(|it| *it != self.port), now);
                ok()
            }
            "FAILOVER" => {
                let to = word(command, 3).parse().expect("a port");
                if self.master.is_none() && self.replicas.contains(&to) {
                    effects.push(Effect::HandOver { to });
                    return ok();
                }
                Value::Error(b"ERR FAILOVER target HOST and PORT is not a replica.".to_vec())
            }
            _ => ok(),
        }
    }

    fn info(&self, now: i64) -> String {
        let Self { port, run, offset, .. } = self;
        let mut info = format!("run_id:{:040x}\r\n", u64::from(*port) << 32 | run);
        match self.master {
            None => {
                info += "role:master\r\nmaster_failover_state:no-failover\r\n";
                for (number, replica) in self.replicas.iter().enumerate() {
                    let _ = write!(
                        info,
                        "slave{number}:ip=10.0.0.1,port={replica},state=online,offset=1,lag=0\r\n"
                    );
                }
            }
            Some(master) => {
                let status = if self.link_is_up { "up" } else { "down" };
                let _ = write!(
                    info,
                    "role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:{master}\r\n\
                     master_link_status:{status}\r\nslave_priority:{}\r\n\
                     slave_repl_offset:{offset}\r\nmaster_failover_state:no-failover\r\n",
                    self.priority
                );
                if !self.link_is_up {
                    let seconds = (now - self.link_down_since) / 1000;
                    let _ = write!(info, "master_link_down_since_seconds:{seconds}\r\n");
                }
            }
        }
        info
    }
}

pub(crate) fn ok() -> Value {
    Value::Simple(b"OK".to_vec())
}

pub(crate) fn word(command: &[Vec<u8>], index: usize) -> String {
    let word = command.get(index).map(Vec::as_slice).unwrap_or_default();
    String::from_utf8_lossy(word).to_ascii_uppercase()
}
