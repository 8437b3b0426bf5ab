//! The world: what happens when, and what goes wrong. One seed is one world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rubine_base::random::Random;
use rubine_cluster::nodes_conf;
use rubine_cluster::slots::{SLOT_COUNT, SlotSet};
use rubine_cluster::{Action, Asker, Event, Failover, History, Level};

use crate::moves::Move;
use crate::network::Connection;
use crate::oracle::Oracle;
use crate::server::{BUS_PORT, Name, PORT, SavedEpochs, Server, ip_of};

pub(crate) const START: i64 = 1_700_000_000_000;
/// So long it takes at most until all is set up.
const SETUP_MS: i64 = 60_000;
/// For so long things go wrong, and then for so long they do not.
const TROUBLE_MS: i64 = 60_000;
const PEACE_MS: i64 = 60_000;
const STEP_MS: i64 = 400;
const DATA_STEP_MS: i64 = 20;
const STORY_LINES_MAX: usize = 600;
pub(crate) const ASKER: Asker<'static> = Asker::Client("the world");

/// What kind of a world it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) shard_count: usize,
    pub(crate) replica_count: usize,
    pub(crate) node_timeout: i64,
    pub(crate) write_quorum: u32,
    pub(crate) has_names: bool,
    pub(crate) allow_replica_migration: bool,
    /// Somebody asks for failovers without the primary, or without anybody.
    pub(crate) has_force: bool,
}

pub(crate) struct World {
    pub(crate) now: i64,
    pub(crate) random: Random,
    pub(crate) settings: Settings,
    pub(crate) servers: Vec<Server>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    pub(crate) connection_count: u64,
    /// By time, and by the order in which it was planned.
    agenda: BTreeMap<(i64, u64), Plan>,
    plan_count: u64,
    /// From whom nothing comes to whom.
    pub(crate) cuts: BTreeSet<(Name, Name)>,
    pub(crate) is_troubled: bool,
    pub(crate) moves: Option<Move>,
    /// Slots that clients write to.
    pub(crate) hot_slots: Vec<u16>,
    pub(crate) write_count: u64,
    pub(crate) generation: u8,
    pub(crate) oracle: Oracle,
    /// Bytes that each server has sent on the bus.
    pub(crate) sent_bytes: u64,
    pub(crate) sent_messages: u64,
    story: VecDeque<String>,
}

pub(crate) enum Plan {
    Turn {
        who: Name,
        run: u64,
    },
    /// The next message on that way of a connection may arrive.
    Arrives {
        at: u64,
        way: usize,
    },
    Connects {
        at: u64,
        tries: u32,
    },
    Resolves {
        who: Name,
        run: u64,
        host: std::sync::Arc<str>,
    },
    Step,
    DataStep,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::with_seed(seed);
        let mut pick = |choices: &[u64]| choices[random.below(choices.len() as u64) as usize];
        let replica_count = pick(&[1, 1, 2, 3]) as usize;
        let write_quorum = pick(&[0, 1, 1, 2]).min(replica_count as u64) as u32;
        let settings = Settings {
            shard_count: pick(&[3, 3, 4, 5, 7]) as usize,
            replica_count,
            node_timeout: pick(&[1000, 2000, 3000]) as i64,
            write_quorum,
            has_names: pick(&[0, 1]) == 1,
            // A replica that leaves takes along what only it may have.
            allow_replica_migration: write_quorum == 0,
            has_force: write_quorum == 0,
        };
        let mut world = Self::with_settings(settings, random);
        world.tell(&format!("{settings:?}"));
        world
    }

    pub(crate) fn with_settings(settings: Settings, mut random: Random) -> Self {
        let count = settings.shard_count * (1 + settings.replica_count);
        let hot_slots = (0..24).map(|_| random.below(SLOT_COUNT as u64) as u16).collect();
        Self {
            now: START,
            random,
            settings,
            servers: (0..count).map(Server::new).collect(),
            connections: BTreeMap::new(),
            connection_count: 0,
            agenda: BTreeMap::new(),
            plan_count: 0,
            cuts: BTreeSet::new(),
            is_troubled: false,
            moves: None,
            hot_slots,
            write_count: 0,
            generation: 0,
            oracle: Oracle::default(),
            sent_bytes: 0,
            sent_messages: 0,
            story: VecDeque::new(),
        }
    }

    pub(crate) fn story(&self) -> String {
        self.story.iter().map(|it| format!("{it}\n")).collect()
    }

    pub(crate) fn tell(&mut self, text: &str) {
        if STORY_LINES_MAX == self.story.len() && std::env::var_os("RUBINE_SIMULATE_SEED").is_none()
        {
            self.story.pop_front();
        }
        self.story.push_back(format!("{:>8} {text}", self.now - START));
    }

    /// Lives through it all.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        self.set_up()?;
        self.plan_data_step();
        self.plan(STEP_MS, Plan::Step);
        self.is_troubled = true;
        self.live_until(self.now + TROUBLE_MS)?;
        self.heal()?;
        self.live_until(self.now + PEACE_MS / 2)?;
        self.fix_open_slots()?;
        self.live_until(self.now + PEACE_MS / 2)?;
        self.check_peace()
    }

    /// Starts all, has them meet, gives the first ones slots and the others primaries.
    pub(crate) fn set_up(&mut self) -> Result<(), String> {
        let (count, shards) = (self.servers.len(), self.settings.shard_count);
        for who in 0..count {
            self.start(who)?;
            let epoch = who as i64 + 1;
            self.operate(who, |it, now| it.set_config_epoch(epoch, now).expect("it is new"))?;
        }
        for who in 0..shards {
            let first = who * SLOT_COUNT / shards;
            let last = (who + 1) * SLOT_COUNT / shards - 1;
            let range = first as u16..=last as u16;
            self.operate(who, |it, now| it.add_slots(&[range], now).expect("they are free"))?;
        }
        for other in 1..count {
            let ip = self.servers[other].ip.to_string();
            self.operate(0, |it, now| it.meet_at(&ip, PORT, BUS_PORT, ASKER, now).expect("an ip"))?;
        }
        let deadline = self.now + SETUP_MS;
        self.live_while(deadline, |world| {
            world.servers.iter().any(|it| it.view.as_ref().is_none_or(|it| it.nodes.len() < count))
        })?;
        for who in shards..count {
            let primary = self.servers[who % shards].id().expect("it runs");
            self.operate(who, |it, now| it.replicate(primary.as_bytes(), now).expect("it may"))?;
        }
        self.live_while(deadline, |world| {
            world.servers.iter().any(|it| !it.view.as_ref().is_some_and(|it| it.is_ok()))
        })?;
        self.live_until(self.now + 3000)
    }

    fn live_while(&mut self, deadline: i64, goes_on: impl Fn(&Self) -> bool) -> Result<(), String> {
        while goes_on(self) {
            if deadline <= self.now {
                return Err("it takes too long".to_owned());
            }
            self.live_until(self.now + 100)?;
        }
        Ok(())
    }

    pub(crate) fn live_until(&mut self, end: i64) -> Result<(), String> {
        while let Some(entry) = self.agenda.first_entry().filter(|it| it.key().0 <= end) {
            let ((at, _), plan) = entry.remove_entry();
            self.now = self.now.max(at);
            match plan {
                Plan::Turn { who, run } => self.turn(who, run)?,
                Plan::Arrives { at, way } => self.arrives(at, way)?,
                Plan::Connects { at, tries } => self.connects(at, tries)?,
                Plan::Resolves { who, run, host } => self.resolves(who, run, host)?,
                Plan::Step => {
                    if self.is_troubled {
                        self.make_trouble()?;
                    }
                    self.go_on_moving()?;
                    self.take_turns()?;
                    self.plan(STEP_MS, Plan::Step);
                }
                Plan::DataStep => {
                    self.replicate()?;
                    self.write();
                    self.plan(DATA_STEP_MS, Plan::DataStep);
                }
            }
        }
        self.now = end;
        Ok(())
    }

    pub(crate) fn plan(&mut self, delay: i64, plan: Plan) {
        self.plan_count += 1;
        self.agenda.insert((self.now + delay, self.plan_count), plan);
    }

    pub(crate) fn plan_data_step(&mut self) {
        self.plan(DATA_STEP_MS, Plan::DataStep);
    }

    pub(crate) fn is_chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    pub(crate) fn start(&mut self, who: Name) -> Result<(), String> {
        self.tell(&format!("{who} starts"));
        let (now, settings) = (self.now, self.settings);
        let server = &mut self.servers[who];
        server.start(&settings, now, &mut self.random);
        let run = server.run;
        let populated = server.populated();
        if let Some(machine) = &mut server.machine {
            machine.verify_keys(&populated, now + server.skew);
        }
        let delay = self.random.below(100) as i64;
        self.plan(delay, Plan::Turn { who, run });
        self.settle(who)
    }

    pub(crate) fn kill(&mut self, who: Name) -> Result<(), String> {
        self.tell(&format!("{who} is killed"));
        self.servers[who].stop();
        self.break_connections(|it| it.from == who || it.to == who)
    }

    /// All is well from now on.
    fn heal(&mut self) -> Result<(), String> {
        self.tell("all is well from now on");
        self.is_troubled = false;
        self.moves = None;
        self.oracle.turns = 0;
        self.cuts.clear();
        for who in 0..self.servers.len() {
            if self.servers[who].machine.is_none() {
                self.start(who)?;
            }
            self.servers[who].frozen_until = 0;
        }
        Ok(())
    }

    // Machines.

    fn turn(&mut self, who: Name, run: u64) -> Result<(), String> {
        let now = self.now;
        let server = &mut self.servers[who];
        if server.run != run || server.machine.is_none() {
            return Ok(());
        }
        if now < server.frozen_until {
            let delay = server.frozen_until - now;
            self.plan(delay, Plan::Turn { who, run });
            return Ok(());
        }
        server.tell_facts();
        let skew = server.skew;
        let Some(machine) = &mut server.machine else { return Ok(()) };
        let delay = machine.tick(now + skew);
        self.plan(delay, Plan::Turn { who, run });
        self.settle(who)
    }

    pub(crate) fn event(&mut self, who: Name, event: Event) -> Result<(), String> {
        let now = self.now;
        let server = &mut self.servers[who];
        server.tell_facts();
        let skew = server.skew;
        if let Some(machine) = &mut server.machine {
            machine.handle(event, now + skew);
        }
        self.settle(who)
    }

    /// Somebody asks a node for something.
    pub(crate) fn operate<T>(
        &mut self,
        who: Name,
        what: impl FnOnce(&mut rubine_cluster::Cluster, i64) -> T,
    ) -> Result<Option<T>, String> {
        let now = self.now;
        let server = &mut self.servers[who];
        server.tell_facts();
        let skew = server.skew;
        let outcome = server.machine.as_mut().map(|it| what(it, now + skew));
        self.settle(who)?;
        Ok(outcome)
    }

    /// Does what a machine wants to be done.
    pub(crate) fn settle(&mut self, who: Name) -> Result<(), String> {
        let server = &mut self.servers[who];
        let Some(machine) = &mut server.machine else { return Ok(()) };
        let effects = machine.take_effects();
        if effects.save.is_some() {
            if self.is_troubled && self.random.below(3000) == 0 {
                // Before it is on disk: nothing of it has happened.
                return self.kill(who);
            }
            let saved = machine.saved();
            server.saved_epochs = SavedEpochs::of(&saved);
            server.disk = Some(nodes_conf::write(&saved));
            machine.handle(Event::Saved { is_safe: true }, self.now + server.skew);
            if self.is_troubled && self.random.below(3000) == 0 {
                // An epoch that it has given itself is on disk, and nobody knows of it.
                self.oracle.taken.insert(server.saved_epochs.own);
                return self.kill(who);
            }
        }
        if let Some(view) = effects.view {
            self.servers[who].view = Some(view);
        }
        let run = self.servers[who].run;
        for action in effects.actions {
            self.act(who, action)?;
            if self.servers[who].run != run || self.servers[who].machine.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn act(&mut self, who: Name, action: Action) -> Result<(), String> {
        match action {
            Action::Connect { link, to, port } => self.begin_to_connect(who, link, &to, port),
            Action::Close { link } => self.close(who, link)?,
            Action::Send { links, message } => {
                self.check_sent(who, &message)?;
                for link in links {
                    self.send(who, link, &message);
                }
            }
            Action::Resolve { host } => {
                let run = self.servers[who].run;
                self.plan(5, Plan::Resolves { who, run, host });
            }
            Action::Log { level, text } => {
                self.oracle.hear(&text);
                if Level::Verbose <= level {
                    self.tell(&format!("{who}: {text}"));
                }
            }
            Action::Follow { primary, history, .. } => {
                let server = &mut self.servers[who];
                server.follows = primary.ip();
                server.linked_to = None;
                server.waiting.clear();
                server.acks.clear();
                if history == History::Foreign {
                    server.must_sync_fully = true;
                    server.has_data = false;
                }
                self.tell(&format!("{who} follows {primary} ({history:?})"));
            }
            Action::Promote => {
                let server = &mut self.servers[who];
                server.follows = None;
                server.linked_to = None;
                server.must_sync_fully = false;
                server.has_data = true;
                server.acks.clear();
                let text = format!("{who} is a primary, with {} in its log", server.log.len());
                self.tell(&text);
            }
            Action::DropAllKeys => self.servers[who].replace_log(Vec::new()),
            Action::DropKeys { slots } => self.drop_slots(who, &slots),
            Action::VerifyKeys => {
                let populated = self.servers[who].populated();
                self.operate(who, |it, now| it.verify_keys(&populated, now))?;
            }
            Action::PauseWrites { until } => {
                let server = &mut self.servers[who];
                server.paused_until = until - server.skew;
                let offset = server.offset();
                self.event(who, Event::Paused { offset })?;
            }
            Action::ResumeWrites => self.servers[who].paused_until = 0,
            Action::FencePrimary { is_fenced } => {
                let server = &mut self.servers[who];
                server.is_fenced = is_fenced;
                let offset = server.offset();
                if is_fenced {
                    self.event(who, Event::Fenced { offset })?;
                }
            }
            Action::Exit { reason } => return Err(format!("{who} ends: {reason}")),
            Action::ReleaseSlots { .. } | Action::Publish { .. } => {}
        }
        Ok(())
    }

    fn drop_slots(&mut self, who: Name, slots: &SlotSet) {
        let server = &self.servers[who];
        let populated: Vec<u16> =
            server.data.keys().copied().filter(|it| slots.contains(*it)).collect();
        for slot in populated {
            self.servers[who].append(crate::server::Op::DropSlot { slot });
            self.tell(&format!("{who} drops the keys of slot {slot}"));
        }
    }

    fn resolves(&mut self, who: Name, run: u64, host: std::sync::Arc<str>) -> Result<(), String> {
        if self.servers[who].run != run || !self.servers[who].is_awake(self.now) {
            return Ok(());
        }
        let found = self.servers.iter().find(|it| crate::server::hostname(it.name) == *host);
        let ip = found.map(|it| it.ip);
        self.event(who, Event::Resolved { host, ip })
    }

    /// A server comes back somewhere else.
    pub(crate) fn change_address(&mut self, who: Name) {
        self.generation = self.generation.wrapping_add(1).max(1);
        self.servers[who].ip = ip_of(who, self.generation);
        let text = format!("{who} is at {} now", self.servers[who].ip);
        self.tell(&text);
    }

    /// A replica shall take its primary's place.
    pub(crate) fn fail_over(&mut self, who: Name, how: Failover) -> Result<(), String> {
        let outcome = self.operate(who, |it, now| it.failover(how, None, ASKER, now))?;
        self.tell(&format!("{who} is asked for a failover, {how:?}: {outcome:?}"));
        Ok(())
    }
}
