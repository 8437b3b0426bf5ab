//! Runs the units of a master's stream, in their order, each under the locks of its shards, under which the same bytes go to
//! the journal. Reads nothing from anywhere.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rubine_base::clock::unix_millis;
use rubine_base::number::parse_i64;
use rubine_commands::{Args, Command, CommandError, Group, Scope, shards_of};
use rubine_config::PropagationErrorBehavior;
use rubine_journal::{Audience, Side};
use rubine_keyspace::{Hint, Key, Locked, Reading, ShardSet};
use rubine_replication::stream::{UNITS_AHEAD, Unit};
use rubine_replication::verify::Request;
use rubine_resp::writer::{Output, Reply};
use rubine_storage::dumps;
use smallvec::SmallVec;

use super::verify::{Verifying, request_of};
use crate::access;
use crate::client::identity::Identity;
use crate::client::subscriptions::ChannelKind;
use crate::client::{Client, ClientFlags, ClientInfo};
use crate::cluster::told::SYNC_SLOTS;
use crate::command_table::{Entry, Run};
use crate::core::after_run::{Caller, RanCommand};
use crate::core::unit::Role;
use crate::core::{Core, SessionHandler};
use crate::mailbox::Message;
use crate::persistence::Finder;
use crate::pubsub::Notice;
use crate::server::{FOLLOWER, Server};
use crate::silent::SilentRunner;

/// Commands of a master that cannot be run are logged one by one up to so many.
const LOGGED_FAILURES_MAX: u64 = 10;
/// An output that was longer is not kept for the next reply.
const KEPT_OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// What is locked for a unit without keys, so that it, too, is in one order with whoever has locked all.
const NO_KEYS: ShardSet = ShardSet::One(0);

/// What units are run with.
pub(super) struct Applier {
    core: Core,
    /// Stands for the master.
    client: Client,
    finder: Finder,
    /// The database that is selected in the stream.
    db: usize,
    settings_version: u64,
    failures: u64,
    output: Output,
    /// The order that the stream belongs to.
    order: u64,
    /// The image that the master compares with its own.
    verifying: Verifying,
    /// What runs commands on keys that nobody sees yet.
    hidden: SilentRunner,
}

/// A command of a unit.
#[derive(Clone, Copy)]
struct Step<'a> {
    what: What,
    entry: &'static Entry,
    args: Args<'a>,
    db: usize,
}

#[derive(Clone, Copy)]
enum What {
    Data(&'static Command),
    Publish(ChannelKind),
    /// A script, or something about scripts.
    Scripting,
    /// A command on keys that nobody sees yet.
    Hidden(&'static Command),
    /// An order about the cluster that the nodes of a shard share.
    Order,
}

/// What the commands of a unit need, and whom they concern.
struct Plan<'a> {
    steps: SmallVec<[Step<'a>; 1]>,
    shards: ShardSet,
    /// Whether nothing of it is of any use to a log on disk.
    is_talk: bool,
    has_script: bool,
    /// What the master asks about the data as it is here.
    request: Option<Request>,
}

impl Applier {
    pub(super) fn new(
        server: &'static Server,
        handlers: &'static [SessionHandler],
        info: Arc<ClientInfo>,
    ) -> std::io::Result<Self> {
        let trusted = access::trusted(&server.commands, &server.config.load());
        let client = Client::without_connection(info, Identity::trusted(&trusted))?;
        let core = Core::new(server, handlers, server.workers.len() + FOLLOWER);
        let (db, settings_version, failures, order) = Default::default();
        let (finder, output) = (Finder::new(server), Output::new());
        let verifying = Verifying::new(server);
        let hidden = SilentRunner::new();
        Ok(Self {
            core,
            client,
            finder,
            db,
            settings_version,
            failures,
            output,
            order,
            verifying,
            hidden,
        })
    }

    /// The stream that comes is that of the link which CLIENT LIST shows so.
    pub(super) fn take_on(&mut self, info: Arc<ClientInfo>) {
        let client = &mut self.client;
        client.flags = ClientFlags::MASTER;
        client.id = info.id;
        client.info = info;
        client.traffic.commands = 0;
        client.traffic.net_input = 0;
        client.db = self.db;
        client.publish();
        self.core.server.clients.add(Arc::clone(&client.info));
        self.core.server.replication.outbox.set_open(true);
    }

    /// The link is gone.
    pub(super) fn leave(&mut self) {
        self.core.server.clients.remove(self.client.id);
        self.client.flags -= ClientFlags::MASTER;
        self.verifying.abandon();
        self.core.server.replication.outbox.set_open(false);
    }

    /// Whether somebody wants the link to end.
    pub(super) fn is_killed(&self) -> bool {
        self.client.info.is_killed.load(Ordering::Acquire)
    }

    /// The stream goes on in this database.
    pub(super) fn select(&mut self, db: usize) {
        self.db = db;
    }

    /// Some units are about to come, of so many bytes.
    pub(super) fn begin(&mut self, byte_count: usize) {
        self.client.traffic.net_input += byte_count as u64;
        let version = self.core.server.settings.version();
        if version != self.settings_version {
            self.settings_version = version;
            self.core.refresh_settings();
        }
        self.core.read_time();
        self.core.start_clock();
        self.client.traffic.last_interaction = self.core.now;
    }

    /// No more units come for the moment.
    pub(super) fn end(&mut self) {
        self.core.flush_counts();
        self.core.show_observed();
        self.client.publish();
        self.core.server.journal.notify();
    }

    /// Whatever is applied from now on belongs to this order.
    pub(super) fn obey(&mut self, order: u64) {
        self.order = order;
    }

    /// Asks for keys that units will need: memory is what they would wait for most. The database may turn out to be another.
    pub(super) fn prefetch<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        let keyspace = &self.core.server.keyspace;
        let reading = Reading::new();
        let mut hints: [Option<Hint<'_>>; UNITS_AHEAD] = [const { None }; UNITS_AHEAD];
        for (key, hint) in keys.zip(&mut hints) {
            let place = Key::new(key).place();
            *hint = keyspace.hint(&reading, self.db, place);
            if let Some(hint) = hint {
                hint.prefetch_bucket();
                keyspace.prefetch_shard(self.db, place);
            }
        }
        hints.into_iter().flatten().for_each(Hint::prefetch_record);
    }

    /// Runs a unit. Returns whether it was run: not when another order came. An error says that the data would no longer be
    /// the master's: nothing of the unit was done.
    pub(super) fn apply(&mut self, unit: &Unit<'_>) -> Result<bool, String> {
        let before = self.db;
        let mut plan = self.plan(unit).inspect_err(|_| self.db = before)?;
        let server = self.core.server;
        let mut locked = server.keyspace.lock(&plan.shards);
        if server.replication.following.order() != self.order {
            return Ok(false);
        }
        let audience = if plan.is_talk { Audience::Only(Side::Replicas) } else { Audience::Both };
        let second = (self.core.now / 1000) as u64;
        let journal = &server.journal;
        let end = journal.append_master(unit.start, unit.bytes, audience, self.db as u32, second);
        let end = end.map_err(|misplaced| misplaced.to_string())?;
        if let Some(request) = plan.request.take() {
            self.verifying.take(request, &mut locked);
        }
        if plan.steps.is_empty() {
            return Ok(true);
        }
        if self.core.settings.waits_for_disk && !plan.is_talk {
            server.aof.note_change(&locked, end);
        }
        self.core.begin_unit();
        // The master's words are in the journal already.
        self.core.runner.effects.is_journalled = false;
        if unit.is_transaction {
            self.core.begin_several();
        }
        if plan.has_script {
            self.core.begin_undoable();
        }
        let own = &server.replication.following.own_keys;
        if own.are_any() {
            for Step { entry, args, db, .. } in &plan.steps {
                entry.spec.for_each_key(*args, |index| own.remove(*db, args.at(index)));
            }
        }
        for step in &plan.steps {
            self.run(step, end, &mut locked);
        }
        if plan.has_script {
            self.core.keep();
        }
        self.core.write_journal(&mut locked);
        self.give_back(locked, plan.has_script);
        Ok(true)
    }

    /// Finds out what the commands of a unit are, which is all that can go wrong.
    fn plan<'a>(&mut self, unit: &Unit<'a>) -> Result<Plan<'a>, String> {
        let steps = SmallVec::new();
        let (shards, request) = (NO_KEYS, None);
        let mut plan = Plan { steps, shards, is_talk: true, has_script: false, request };
        for ranges in unit.commands() {
            let args = Args::new(unit.bytes, ranges);
            // It asks how far this replica is, which is answered by who drives the link.
            if args.at(0).eq_ignore_ascii_case(b"REPLCONF") {
                plan.request = request_of(args).filter(|_| !unit.is_transaction);
                if matches!(plan.request, Some(Request::Begin { .. })) {
                    plan.shards = ShardSet::All;
                }
                continue;
            }
            match self.finder.find(args) {
                Ok(entry) => self.add(&mut plan, entry, args)?,
                Err(error) => {
                    plan.is_talk = false;
                    self.note_failure(&args.at(0).escape_ascii().to_string(), &error);
                }
            }
        }
        Ok(plan)
    }

    fn add<'a>(
        &mut self,
        plan: &mut Plan<'a>,
        entry: &'static Entry,
        args: Args<'a>,
    ) -> Result<(), String> {
        let mut args = args;
        let what = match entry.run {
            Run::Data(command) => {
                plan.is_talk = false;
                let key = entry.single_key.and_then(|index| Some((index, args.get(index)?)));
                let needed = match key {
                    Some((index, key)) if matches!(command.spec.scope, Scope::Keys) => {
                        let place = Key::new(key).place();
                        args = args.with_place(index, place);
                        ShardSet::of_shard(place.shard())
                    }
                    _ => shards_of(&command.spec, args, true),
                };
                if plan.steps.is_empty() {
                    plan.shards = needed;
                } else {
                    plan.shards.add_all(&needed);
                }
                let migrations = self.core.server.cluster.as_ref().map(|it| &it.migrations);
                match migrations {
                    Some(migrations) if migrations.hides(entry, args) => What::Hidden(command),
                    _ => What::Data(command),
                }
            }
            // What is told of slots that move by themselves is done in one step.
            Run::Server(_) if entry.full_name == SYNC_SLOTS => {
                plan.is_talk = false;
                plan.shards = ShardSet::All;
                What::Order
            }
            // How slots are moved by hand is told to replicas only.
            Run::Server(_) if entry.group == Group::Cluster => What::Order,
            Run::Server(_) if entry.group == Group::Scripting => {
                plan.is_talk = false;
                plan.has_script = true;
                plan.shards = ShardSet::All;
                What::Scripting
            }
            _ => match entry.spec.name {
                "SELECT" => {
                    plan.is_talk = false;
                    return self.select_in_stream(args.at(1));
                }
                "PUBLISH" => What::Publish(ChannelKind::Channel),
                "SPUBLISH" => What::Publish(ChannelKind::ShardChannel),
                // What else concerns a connection or the server changes nothing here.
                _ => return Ok(()),
            },
        };
        plan.steps.push(Step { what, entry, args, db: self.db });
        Ok(())
    }

    fn select_in_stream(&mut self, index: &[u8]) -> Result<(), String> {
        let databases = self.core.settings.limits.databases;
        let db = parse_i64(index).and_then(|it| usize::try_from(it).ok());
        self.db = db.filter(|it| *it < databases).ok_or_else(|| {
            format!(
                "it is about database {}, and this server is configured to have {databases}",
                index.escape_ascii()
            )
        })?;
        Ok(())
    }

    fn run(&mut self, step: &Step<'_>, end: u64, locked: &mut Locked<'static>) {
        let Step { what, entry, args, db } = *step;
        let Self { core, client, output, hidden, .. } = self;
        client.db = db;
        client.traffic.last_command = entry.number;
        let start = output.mark();
        let mut reply = Reply::new(output, client.protocol);
        let result = match what {
            What::Data(command) => {
                let none = ClientFlags::empty();
                core.run_data(command, db, none, Role::Master, &mut reply, args, locked)
            }
            What::Hidden(command) => {
                let server = core.server;
                let cluster = server.cluster.as_ref().expect("only a node hides keys");
                let mut beside =
                    cluster.migrations.beside().lock(&shards_of(&command.spec, args, true));
                hidden.run(&core.settings, command, (db, unix_millis()), args, &mut beside)
            }
            What::Scripting | What::Order => {
                core.run_among_others(client, Role::Script, &mut reply, entry, args, locked)
            }
            What::Publish(kind) => {
                let (channel, payload) = (args.at(1), args.at(2));
                let durable_offset = if core.settings.waits_for_disk { end } else { 0 };
                let notice = Notice { kind, channel, payload, durable_offset };
                core.server.pubsub.publish(&core.server.workers, notice);
                Ok(())
            }
        };
        if let (What::Order, Some(cluster)) = (what, &core.server.cluster)
            && entry.full_name == SYNC_SLOTS
        {
            cluster.migrations.obey(&core.server.keyspace, locked);
        }
        let failure = result.as_ref().err().map(ToString::to_string);
        let (caller, reply_start) = (Caller::Client, start);
        core.after_run(RanCommand {
            entry,
            client,
            caller,
            args,
            reply: &mut reply,
            reply_start,
            result,
        });
        core.runner.effects.wait = None;
        core.runner.effects.shipment = None;
        output.truncate_to(start);
        if KEPT_OUTPUT_BYTES_MAX < output.buffered_bytes() {
            *output = Output::new();
        }
        if let Some(text) = failure {
            self.note_failure(&entry.full_name, &CommandError::Other(text.into()));
        }
    }

    /// Gives the locks back and sees to what follows from the unit. Hand-offs are for workers to complete: they have the clients.
    fn give_back(&mut self, locked: Locked<'static>, had_script: bool) {
        let server = self.core.server;
        let pending = locked.pending_hand_offs();
        drop(locked);
        if had_script {
            self.core.forget_undo();
        }
        let changes = &mut self.core.runner.changes;
        changes.found_due.clear();
        changes.was_emptied = false;
        if std::mem::take(&mut changes.was_flushed) {
            let now = self.core.now;
            let save = move || dumps::note_flush(server.storage(), now);
            if let Err(error) = std::thread::Builder::new().name("flush".to_owned()).spawn(save) {
                tracing::warn!("Can't save: no thread can be started: {error}");
            }
        }
        if !pending.is_empty() {
            let worker = pending[0] % server.workers.len();
            server.workers[worker].send(Message::HandOffs { shards: pending });
        }
    }

    /// A command of the master that fails here is told of: its data and ours may part.
    fn note_failure(&mut self, name: &str, error: &CommandError) {
        self.failures += 1;
        if self.failures <= LOGGED_FAILURES_MAX {
            tracing::warn!(
                "== CRITICAL == This replica is sending an error to its primary: '{error}' after processing the \
                 command '{name}'"
            );
        }
        let behavior = self.core.server.config.load().propagation_error_behavior;
        if behavior != PropagationErrorBehavior::Ignore {
            tracing::warn!(
                "This replica panicked sending an error to its primary after processing a command from the replication \
                 stream: propagation-error-behavior asks for that"
            );
            std::process::abort();
        }
    }
}
