//! Runs the commands of a log, as if a client had sent them, for nobody: what each is, which database and which shards it
//! needs is found out in their order, and lanes run them side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rubine_base::clock::unix_millis;
use rubine_base::number::parse_i64;
use rubine_commands::{Args, Command, CommandError, Group, Scope, shards_of};
use rubine_keyspace::{Key, Keyspace, Locked, Place, ShardSet};
use rubine_persistence::log::Unit;
use rubine_resp::parser::ArgRange;
use rubine_storage::Apply;
use rubine_storage::lanes::Lanes;
use rubine_storage::lanes::run::{Incoming, RunUnits};

use super::known::Finder;
use crate::cluster::told::SYNC_SLOTS;
use crate::command_table::{Entry, Run};
use crate::server::Server;
use crate::settings::Settings;
use crate::silent::SilentRunner;

/// Failing commands that are logged one by one.
const LOGGED_FAILURES_MAX: u64 = 10;
/// More lanes than that wait for the thread that reads.
const LANES_MAX: usize = 16;

/// Hands units to lanes.
pub(crate) struct Replayer {
    server: &'static Server,
    keyspace: &'static Keyspace,
    /// The selected database.
    db: usize,
    databases: usize,
    finder: Finder,
    lanes: Lanes<Replay>,
    /// Commands that have failed.
    failures: Arc<AtomicU64>,
    /// A command that was looked at runs a script, or concerns scripts.
    has_met_script: bool,
    /// What runs commands on keys that nobody sees yet. They are run as they come.
    hidden: SilentRunner,
}

/// What is known of a command when it is handed in.
#[derive(Clone, Copy)]
struct Known {
    command: &'static Command,
    db: usize,
    /// The number of its one key argument, and where that belongs; 0 without one.
    key: (usize, Place),
}

impl Apply for Replayer {
    fn begin_file(&mut self) {
        self.db = 0;
    }

    fn unit(&mut self, unit: &Unit<'_>) -> Result<(), String> {
        self.push(unit).map_err(|error| error.to_string())
    }

    fn barrier(&mut self) -> Result<u64, String> {
        self.lanes.barrier();
        Ok(self.failures.load(Ordering::Relaxed))
    }
}

impl Replayer {
    /// One that fills `keyspace`.
    pub(crate) fn new(
        server: &'static Server,
        keyspace: &'static Keyspace,
    ) -> Result<Self, String> {
        let failures = Arc::<AtomicU64>::default();
        let settings = server.settings.load_full();
        let runner = || Replay::new(Arc::clone(&settings), Arc::clone(&failures));
        // One for each lane, and one for what needs all shards.
        let lanes = server.workers.len().min(LANES_MAX);
        let runners = (0..=lanes).map(|_| runner()).collect();
        let lanes = Lanes::new(keyspace, runners, 0);
        let lanes = lanes.map_err(|error| format!("Can't start a thread: {error}"))?;
        let databases = settings.limits.databases;
        let has_met_script = false;
        let finder = Finder::new(server);
        let hidden = SilentRunner::new();
        Ok(Self {
            server,
            keyspace,
            db: 0,
            databases,
            finder,
            lanes,
            failures,
            has_met_script,
            hidden,
        })
    }

    /// Hands a unit in. Fails if it has something that is no command.
    fn push(&mut self, unit: &Unit<'_>) -> Result<(), CommandError> {
        let db = self.db;
        let mut commands = unit.commands();
        if let (1, Some((bytes, args))) = (commands.len(), commands.next()) {
            let Some((known, shards)) = self.know(Args::new(bytes, args))? else {
                return self.run_if_script(unit, db);
            };
            let commands = &[(known, bytes, args)];
            let incoming = Incoming { start: unit.start, end: unit.end, shards: &shards, commands };
            self.lanes.push(&incoming);
            return Ok(());
        }
        let mut shards = ShardSet::default();
        let mut all = Vec::new();
        for (bytes, args) in unit.commands() {
            if let Some((known, needed)) = self.know(Args::new(bytes, args))? {
                shards.add_all(&needed);
                all.push((known, bytes, args));
            }
        }
        if self.has_met_script {
            return self.run_if_script(unit, db);
        }
        let incoming =
            Incoming { start: unit.start, end: unit.end, shards: &shards, commands: &all };
        self.lanes.push(&incoming);
        Ok(())
    }

    /// Runs a unit that has scripts when all that came before is done; one that has none is done already.
    fn run_if_script(&mut self, unit: &Unit<'_>, db: usize) -> Result<(), CommandError> {
        if !std::mem::take(&mut self.has_met_script) {
            return Ok(());
        }
        self.lanes.barrier();
        let mut commands = Vec::new();
        for (bytes, args) in unit.commands() {
            let args = Args::new(bytes, args);
            commands.push((self.finder.find(args)?, args));
        }
        let run = self.server.scripting.logged.get();
        let run = run.ok_or(CommandError::text("ERR scripts of a log can't be run"))?;
        run(db, &commands).map_err(|error| CommandError::Other(error.into()))
    }

    /// What is to be known of a command before it runs, and the shards that it needs. `None` if it changes no key: then it
    /// is done already.
    fn know(&mut self, args: Args<'_>) -> Result<Option<(Known, ShardSet)>, CommandError> {
        if args.at(0).eq_ignore_ascii_case(b"FUNCTION") {
            let words: Vec<&[u8]> = args.from(1).collect();
            let applied = self.server.persistence.saves.functions.apply(&words);
            return applied.map(|()| None).map_err(CommandError::text);
        }
        let entry = self.finder.find(args)?;
        let Run::Data(command) = entry.run else {
            if entry.spec.name == "SELECT" {
                self.select(args.at(1))?;
            }
            if entry.full_name == SYNC_SLOTS {
                self.hear_of_import(args);
            }
            self.has_met_script |= entry.group == Group::Scripting;
            // What else concerns a connection or the server changes no key.
            return Ok(None);
        };
        if self.run_if_hidden(entry, command, args) {
            return Ok(None);
        }
        let key = entry.single_key.and_then(|index| Some((index, args.get(index)?)));
        if let Some((index, key)) = key
            && matches!(command.spec.scope, Scope::Keys)
        {
            let place = Key::new(key).place();
            let known = Known { command, db: self.db, key: (index, place) };
            return Ok(Some((known, ShardSet::of_shard(place.shard()))));
        }
        let known = Known { command, db: self.db, key: (0, Place::default()) };
        Ok(Some((known, shards_of(&command.spec, args, true))))
    }

    /// Runs a command on keys that nobody sees yet. Returns whether it is about such.
    fn run_if_hidden(&mut self, entry: &Entry, command: &Command, args: Args<'_>) -> bool {
        let Some(cluster) = &self.server.cluster else { return false };
        if !cluster.migrations.hides(entry, args) {
            return false;
        }
        let mut beside = cluster.migrations.beside().lock(&shards_of(&command.spec, args, true));
        let settings = self.server.settings.load();
        let result =
            self.hidden.run(&settings, command, (self.db, unix_millis()), args, &mut beside);
        if let Err(error) = result {
            note_failure(&self.failures, command, &error);
        }
        true
    }

    /// Takes in that slots were being taken in when the log was written, or that this came to its end.
    fn hear_of_import(&mut self, args: Args<'_>) {
        let Some(cluster) = &self.server.cluster else { return };
        self.lanes.barrier();
        let heard = cluster.hear(&self.server.journal, args);
        if let Err(error) = heard {
            self.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("{SYNC_SLOTS} of the append-only file failed: {error}");
        }
        let keyspace = self.keyspace;
        cluster.migrations.obey(keyspace, &mut keyspace.lock(&ShardSet::All));
    }

    fn select(&mut self, index: &[u8]) -> Result<(), CommandError> {
        let db = parse_i64(index).and_then(|it| usize::try_from(it).ok());
        let db = db.filter(|it| *it < self.databases);
        self.db = db.ok_or(CommandError::DbOutOfRange)?;
        Ok(())
    }
}

/// Runs the commands of one lane.
struct Replay {
    settings: Arc<Settings>,
    now: i64,
    runner: SilentRunner,
    failures: Arc<AtomicU64>,
}

impl Replay {
    fn new(settings: Arc<Settings>, failures: Arc<AtomicU64>) -> Self {
        Self { settings, now: 0, runner: SilentRunner::new(), failures }
    }
}

/// A command that fails is told of: it did so before.
fn note_failure(failures: &AtomicU64, command: &Command, error: &CommandError) {
    if failures.fetch_add(1, Ordering::Relaxed) < LOGGED_FAILURES_MAX {
        tracing::warn!("{} of the append-only file failed: {error}", command.spec.name);
    }
}

impl RunUnits for Replay {
    type Command = Known;

    fn place_of(command: &Known) -> Option<(usize, Place)> {
        let (index, place) = command.key;
        (index != 0).then_some((command.db, place))
    }

    fn begin(&mut self) {
        self.now = unix_millis();
    }

    fn run(&mut self, known: Known, bytes: &[u8], args: &[ArgRange], locked: &mut Locked<'_>) {
        let Known { command, db, key: (index, place) } = known;
        let args = Args::new(bytes, args).with_place(index, place);
        let result = self.runner.run(&self.settings, command, (db, self.now), args, locked);
        if let Err(error) = result {
            note_failure(&self.failures, command, &error);
        }
    }
}
