//! The machine: all that one Sentinel knows, what happens by the clock, and what happens when something comes.

mod core;
mod down;
mod failover;
mod gossip;
mod group;
mod monitor;
mod report;
mod vote;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use rubine_base::clock::Millis;
use rubine_resp::decode::Value;

pub(crate) use self::core::{Core, HELLO_CHANNEL};
pub(crate) use self::down::Asking;
pub(crate) use self::group::{CreateError, Peers};
use crate::effect::{Action, Effects, JobId, Level};
use crate::flags::{Flags, Kind};
use crate::instance::{FailoverState, Master};
use crate::link::{Channel, LinkId, Pending, Want};

/// One Sentinel.
#[derive(Debug)]
pub struct Sentinel {
    pub(crate) core: Core,
    pub(crate) masters: BTreeMap<Arc<str>, Master>,
}

/// What this Sentinel is when it begins.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Where others find it, unless it announces something else.
    pub port: u16,
    /// `requirepass`, with which Sentinels of old greet each other.
    pub password: Option<String>,
    pub log_level: String,
    /// Decides what is left to chance, and the id if the configuration has none.
    pub seed: u64,
}

/// What has happened.
#[derive(Debug)]
pub enum Event {
    /// A connection is there, from this address of ours.
    Connected { link: LinkId, local_ip: IpAddr },
    /// It is gone, or could not be had.
    Closed { link: LinkId },
    /// The next value has come.
    Replied { link: LinkId, value: Value },
    /// What a name stands for, if it does.
    Resolved { host: String, ip: Option<IpAddr> },
    /// A program runs now, or could not be started.
    Started { job: JobId, pid: Option<u32> },
    /// One has ended with this code, or by this signal if that is not 0.
    Ended { pid: u32, code: i32, signal: i32 },
    /// Whether the configuration could be written to disk.
    Saved { is_safe: bool },
}

/// Turns are so many a second, at least and at most, by chance: Sentinels that were started together shall not stay in
/// step, and ask for votes at the same moment.
const TURNS_PER_SECOND_MIN: u64 = 10;

impl Sentinel {
    /// One that monitors nothing so far.
    pub fn new(identity: Identity, now: Millis) -> Self {
        Self { core: Core::new(identity, now), masters: BTreeMap::new() }
    }

    /// To be called when the configuration was read, before the first turn.
    pub fn begin(&mut self) {
        if self.core.my_id.is_empty() {
            self.core.my_id = self.core.new_id();
            self.core.save();
        }
        let text = format!("Sentinel ID is {}", self.core.my_id);
        self.core.log(Level::Notice, text);
        for master in self.masters.values() {
            self.core.tell_of_monitor(master);
        }
    }

    /// Has everything happen that is due. Returns after how many milliseconds it should be called again.
    pub fn tick(&mut self, now: Millis) -> Millis {
        self.core.now = now;
        self.core.check_tilt();
        let mut switched = Vec::new();
        for master in self.masters.values_mut() {
            self.core.step_group(master);
            if master.failover.state == FailoverState::UpdateConfig {
                switched.push(Arc::clone(&master.node.place.name));
            }
        }
        for name in switched {
            self.switch_to_promoted(&name);
        }
        let Core { scripts, timings, effects, .. } = &mut self.core;
        scripts.step(now, timings.script_max_runtime, &mut effects.actions);
        self.core.save_again();
        let turns = TURNS_PER_SECOND_MIN + self.core.random.below(TURNS_PER_SECOND_MIN);
        1000 / turns as Millis
    }

    /// Takes in what has happened.
    pub fn handle(&mut self, event: Event, now: Millis) {
        self.core.now = now;
        match event {
            Event::Connected { link, local_ip } => self.core.connected(link, local_ip),
            Event::Closed { link } => self.core.lost(link),
            Event::Replied { link, value } => self.replied(link, value),
            Event::Resolved { host, ip } => self.resolved(&host, ip),
            Event::Started { job, pid } => {
                self.core.scripts.started(job, pid, &mut self.core.effects.actions);
            }
            Event::Ended { pid, code, signal } => {
                let Core { scripts, timings, effects, .. } = &mut self.core;
                let times = (now, timings.script_retry_delay);
                scripts.ended(pid, (code, signal), times, &mut effects.actions);
            }
            Event::Saved { is_safe } => self.core.is_unsaved = !is_safe,
        }
    }

    /// What has to be done now.
    pub fn take_effects(&mut self) -> Effects {
        let mut effects = std::mem::take(&mut self.core.effects);
        let wanted = self.core.names.take_wanted();
        effects.actions.extend(wanted.into_iter().map(|host| Action::Resolve { host }));
        effects
    }

    /// What `HELLO` and `INFO` of this Sentinel call it.
    pub fn id(&self) -> &str {
        &self.core.my_id
    }

    /// The names of the masters, in the order in which they are shown.
    pub fn master_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.masters.keys().map(|it| &**it)
    }

    fn replied(&mut self, link: LinkId, value: Value) {
        let Some((key, channel)) = self.core.connection(link) else { return };
        match channel {
            Channel::Pubsub => {
                let my_id = self.core.my_id.clone();
                let hello = self.core.take_message(key, value);
                // We hear ourselves, too.
                if let Some(hello) = hello.filter(|it| !contains(it, my_id.as_bytes())) {
                    self.take_hello(&hello);
                }
            }
            Channel::Commands => {
                let pending = self.core.links.get_mut(&key).and_then(|it| it.pending.pop_front());
                if let Some(pending) = pending {
                    self.take_reply(&pending, key, value);
                }
            }
        }
    }

    /// Takes in the reply to a command.
    fn take_reply(&mut self, pending: &Pending, link: u64, value: Value) {
        let Pending { place, want } = pending;
        let Self { core, masters } = self;
        let Some(master) = masters.get_mut(&place.master) else { return };
        let node = match place.kind {
            Kind::Master => Some(&mut master.node),
            Kind::Replica => master.replicas.get_mut(&place.name).map(|it| &mut it.node),
            Kind::Sentinel => master.peers.get_mut(&place.name).map(|it| &mut it.node),
        };
        let Some(node) = node.filter(|it| it.place.number == place.number && it.link == link)
        else {
            return;
        };
        match want {
            Want::Nothing => {}
            Want::Pong => {
                let script = core.take_pong(node, &value);
                if script == monitor::Advice::KillScript {
                    core.kill_script(master, place);
                }
            }
            Want::Published => {
                if !matches!(value, Value::Error(_) | Value::BulkError(_)) {
                    node.published_at = core.now;
                }
            }
            Want::Info => {
                if let Value::Bulk(info) | Value::Verbatim { text: info, .. } = value {
                    core.take_info(master, place, info);
                    self.go_on(&place.master);
                }
            }
            Want::MasterState => {
                if let Some(peer) = master.peers.get_mut(&place.name) {
                    core.take_master_state(peer, &value);
                    self.go_on(&place.master);
                }
            }
        }
    }

    /// Lets a master's failover begin or go on at once where a reply has made that possible, rather than with the next
    /// turn.
    fn go_on(&mut self, name: &str) {
        let Some(master) = self.masters.get_mut(name) else { return };
        if self.core.tilt_since.is_some() || !master.node.flags.intersects(DOWN_OR_FAILING_OVER) {
            return;
        }
        self.core.step_master(master);
        if master.failover.state == FailoverState::UpdateConfig {
            self.switch_to_promoted(name);
        }
    }

    fn resolved(&mut self, host: &str, ip: Option<IpAddr>) {
        self.core.names.learn(host, ip);
        let Some(ip) = ip else { return };
        for master in self.masters.values_mut() {
            let replicas = master.replicas.values_mut().map(|it| &mut it.node);
            let peers = master.peers.values_mut().map(|it| &mut it.node);
            for node in std::iter::once(&mut master.node).chain(replicas).chain(peers) {
                if node.address.host == host {
                    node.address.ip = Some(ip);
                }
            }
        }
    }
}

const DOWN_OR_FAILING_OVER: Flags = Flags::DOWN.union(Flags::FAILOVER_IN_PROGRESS);

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len().max(1)).any(|it| it == part)
}
