//! Runs the commands of a log, as if a client had sent them, for nobody.

use std::sync::Arc;

use rubine_base::clock::unix_millis;
use rubine_base::number::parse_i64;
use rubine_commands::{Args, ClientFacts, Command, CommandError, Occasion, Runner, shards_of};
use rubine_keyspace::{Changes, DueKeys, ViewOptions};
use rubine_persistence::log::Unit;
use rubine_resp::writer::{Output, Protocol, Reply};
use rubine_storage::Apply;

use crate::command_table::{Entry, Run, unknown_command, unknown_subcommand};
use crate::server::Server;
use crate::settings::Settings;

/// Failing commands that are logged one by one.
const LOGGED_FAILURES_MAX: u64 = 10;

/// What is needed to run commands for nobody.
pub(super) struct Replayer {
    server: &'static Server,
    settings: Arc<Settings>,
    /// The selected database.
    db: usize,
    runner: Runner,
    output: Output,
    failures: u64,
}

impl Apply for Replayer {
    fn begin_file(&mut self) {
        self.db = 0;
    }

    fn unit(&mut self, unit: &Unit<'_>) -> Result<(), String> {
        let mut commands = unit.commands();
        let run = commands.try_for_each(|(bytes, args)| self.run(Args::new(bytes, args)));
        run.map_err(|error| error.to_string())
    }

    fn barrier(&mut self) -> Result<u64, String> {
        Ok(self.failures)
    }
}

impl Replayer {
    pub(super) fn new(server: &'static Server) -> Self {
        Self {
            server,
            settings: server.settings.load_full(),
            db: 0,
            runner: Runner::new(rubine_base::random::seed_from_os()),
            output: Output::new(),
            failures: 0,
        }
    }

    /// Runs one command. Fails if there is no such command; a command that fails is told of, as it did so before.
    fn run(&mut self, args: Args<'_>) -> Result<(), CommandError> {
        if args.at(0).eq_ignore_ascii_case(b"FUNCTION") {
            let words: Vec<&[u8]> = args.from(1).collect();
            let applied = self.server.persistence.saves.functions.apply(&words);
            return applied.map_err(CommandError::text);
        }
        let entry = self.find(args)?;
        match entry.run {
            Run::Data(command) => self.run_data(command, args),
            _ if entry.spec.name == "SELECT" => self.select(args.at(1))?,
            // What concerns a connection or the server changes no key.
            Run::Server(_) | Run::Container => {}
        }
        Ok(())
    }

    fn find(&self, args: Args<'_>) -> Result<&'static Entry, CommandError> {
        let commands = &self.server.commands;
        // A command that was renamed since the log was written goes by its first name as well.
        let original = |name: &[u8]| {
            let mut all = commands.all().iter().filter(|it| !it.is_subcommand);
            all.find(|it| it.spec.name.as_bytes().eq_ignore_ascii_case(name)).copied()
        };
        let name = args.at(0);
        let found = commands.find(name).or_else(|| original(name));
        let mut entry = found.ok_or_else(|| unknown_command(args))?;
        if entry.is_container() && 1 < args.len() {
            let subcommand = entry.subcommand(args.at(1));
            entry = subcommand.ok_or_else(|| unknown_subcommand(entry, args))?;
        }
        let takes = entry.spec.takes(args.len()) && (!entry.is_container() || 1 < args.len());
        if takes { Ok(entry) } else { Err(CommandError::Arity(entry.full_name.clone())) }
    }

    fn select(&mut self, index: &[u8]) -> Result<(), CommandError> {
        let db = parse_i64(index).and_then(|it| usize::try_from(it).ok());
        let db = db.filter(|it| *it < self.settings.limits.databases);
        self.db = db.ok_or(CommandError::DbOutOfRange)?;
        Ok(())
    }

    fn run_data(&mut self, command: &'static Command, args: Args<'_>) {
        let now = unix_millis();
        let mut locked = self.server.keyspace.lock(&shards_of(&command.spec, args, false));
        let protocol = Protocol::Resp2;
        let occasion = Occasion {
            db: self.db,
            now,
            limits: &self.settings.limits,
            access: self.settings.access,
            view: ViewOptions { notes_access: true, due_keys: DueKeys::Shown },
            client: ClientFacts {
                protocol,
                may_wait: false,
                steps_at_once_max: u64::MAX,
                is_trusted: true,
            },
        };
        self.output = Output::new();
        let mut reply = Reply::new(&mut self.output, protocol);
        let result = self.runner.run(command, &occasion, &mut reply, args, &mut locked);
        drop(locked);
        self.runner.effects.events.clear();
        self.runner.effects.wait = None;
        // What was sent in another life is not sent again: its removal follows.
        self.runner.effects.shipment = None;
        self.runner.changes = Changes::default();
        if let Err(error) = result {
            self.failures += 1;
            if self.failures <= LOGGED_FAILURES_MAX {
                tracing::warn!("{} of the append-only file failed: {error}", command.spec.name);
            }
        }
    }
}
