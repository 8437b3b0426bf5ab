//! Reads the log when the server starts: files in the order of the manifest, commands as if a client had sent them. A
//! transaction that is not complete is not run. Never serves a client.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use rubine_base::clock::{monotonic_nanos, unix_millis};
use rubine_base::number::parse_i64;
use rubine_base::random::Random;
use rubine_commands::{Args, ClientFacts, Command, CommandError, Context, Effects, shards_of};
use rubine_journal::{Hold, Start};
use rubine_keyspace::{Access, Changes, DueKeys, ShardSet, View, ViewOptions};
use rubine_persistence::encryption::{
    Encryptor, Ending, Input, KeyRing, Place, find_cut, is_encrypted,
};
use rubine_persistence::log::{LogError, LogReader, is_rdb};
use rubine_persistence::manifest::{BaseFormat, LogFile};
use rubine_resp::parser::ArgRange;
use rubine_resp::writer::{Output, Protocol, Reply};

use super::Phase;
use super::directory::{Directory, sync_folder};
use super::increment::Increment;
use super::writer::Order;
use crate::command_table::{Entry, Run};
use crate::config::Config;
use crate::dispatch::{unknown_command, unknown_subcommand};
use crate::server::Server;
use crate::settings::Settings;

/// As many bytes as say that a file begins as an RDB file.
const RDB_MAGIC_BYTES: u64 = 6;
/// Failing commands that are logged one by one.
const LOGGED_FAILURES_MAX: u64 = 10;

/// Reads the keys that files are encrypted with.
pub(crate) fn load_keys(server: &Server) -> Result<(), String> {
    let keys = super::read_keys(&server.config.load())?;
    server.aof.keys.store(keys.map(Arc::new));
    Ok(())
}

/// Loads the log if there is to be one, and has the writer go on where it ends.
pub(crate) fn load_at_start(server: &'static Server) -> Result<(), String> {
    let config = server.config.load();
    if !config.appendonly {
        return Ok(());
    }
    let mut directory = Directory::open(&config)?;
    directory.upgrade(&config)?;
    let tail = load_files(server, &directory, &config)?;
    let increment = open_for_appending(server, &mut directory, tail, &config)?;
    let aof = &server.aof;
    let bytes = |file: &LogFile| directory.size_of(file).unwrap_or(0);
    let base_bytes = directory.manifest.base.as_ref().map_or(0, bytes);
    let increments = &directory.manifest.increments;
    let closed = &increments[..increments.len().saturating_sub(1)];
    aof.facts.base_bytes.store(base_bytes, Ordering::Relaxed);
    aof.facts.rewritten_bytes.store(base_bytes, Ordering::Relaxed);
    aof.facts.closed_bytes.store(closed.iter().map(bytes).sum(), Ordering::Relaxed);
    *aof.directory.lock() = Some(directory);
    let reader = {
        let _locked = server.keyspace.lock(&ShardSet::All);
        server
            .journal
            .open_reader(Start::End, Hold::Everything)
            .map_err(|error| error.to_string())?
    };
    let mut control = aof.control.lock();
    (control.is_wanted, control.phase) = (true, Phase::On);
    drop(control);
    aof.order(Order::Open { reader, increment });
    Ok(())
}

/// Drops all keys and reads the log again, after what is still to be written is in it.
pub(crate) fn reload(server: &'static Server) -> Result<(), String> {
    let config = server.config.load();
    if server.aof.is_enabled() {
        let (done, answer) = mpsc::sync_channel(1);
        server.journal.notify();
        server.aof.order(Order::Write { done });
        answer.recv().map_err(|_| "the log was closed".to_owned())??;
    }
    let directory = Directory::open(&config)?;
    if directory.manifest.is_empty() {
        return Err("there is no append-only file".to_owned());
    }
    let mut loader = Loader::new(server);
    let range = [ArgRange { start: 0, len: 8 }];
    loader.run(Args::new(b"FLUSHALL", &range)).map_err(|error| error.to_string())?;
    load_files(server, &directory, &config).map(drop::<Tail>)
}

/// Reads all files of a log into the keyspace.
pub(super) fn load_files(
    server: &'static Server,
    directory: &Directory,
    config: &Config,
) -> Result<Tail, String> {
    let mut loader = Loader::new(server);
    let mut tail = Tail::Empty;
    let count = directory.manifest.files().count();
    for (index, file) in directory.manifest.files().enumerate() {
        let start = monotonic_nanos();
        let path = directory.path_of(file);
        let name = file.shown();
        let is_last = index + 1 == count;
        let role = match (is_last, config.aof_load_truncated) {
            (false, _) => Role::Inner,
            (true, true) => Role::Last,
            (true, false) => Role::LastWhole,
        };
        tail = loader.load(&path, &name, role)?;
        let seconds = (monotonic_nanos() - start) as f64 / 1e9;
        let is_base = directory.manifest.base.as_ref() == Some(file);
        let role = if is_base { "base" } else { "incr" };
        tracing::info!("DB loaded from {role} file {name}: {seconds:.3} seconds");
    }
    if 0 < loader.failures {
        tracing::warn!("{} commands of the append-only file failed", loader.failures);
    }
    Ok(tail)
}

/// What place a file has in the log, and so how it may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Others follow it: it has to be whole, and complete if it is encrypted.
    Inner,
    /// It is the last one, and has to be whole.
    LastWhole,
    /// It is the last one: what is torn is cut off.
    Last,
}

/// How the last file ends, for whoever appends to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// It has nothing yet.
    Empty,
    Plain,
    /// A further segment belongs behind this.
    Encrypted(Place),
    /// Nothing can follow.
    Complete,
}

/// The increment to go on with. A log that has none gets one, and a base if it has no files at all; so does one whose
/// last file cannot be appended to: it is encrypted and new ones are not, or the other way round.
fn open_for_appending(
    server: &Server,
    directory: &mut Directory,
    tail: Tail,
    config: &Config,
) -> Result<Increment, String> {
    let fail = |error: io::Error| format!("Can't open the append-only file: {error}");
    directory.create().map_err(fail)?;
    let keys = server.aof.keys();
    let mut manifest = directory.manifest.clone();
    if manifest.is_empty() {
        let base = manifest.replace_base(&directory.prefix, BaseFormat::Commands);
        let file = File::create(directory.path_of(&base)).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        tracing::info!("Creating AOF base file {} on server start", base.shown());
    }
    let place = match (tail, &keys) {
        (Tail::Empty, _) => Some(Place::default()),
        (Tail::Plain, None) => Some(Place::default()),
        (Tail::Encrypted(place), Some(_)) => Some(place),
        _ => None,
    };
    let last = manifest.increments.last().cloned().zip(place);
    let (file, place) = last.unwrap_or_else(|| {
        let file = manifest.add_increment(&directory.prefix);
        tracing::info!("Creating AOF incr file {} on server start", file.shown());
        (file, Place::default())
    });
    let path = directory.path_of(&file);
    let is_new = manifest.increments.len() != directory.manifest.increments.len();
    if is_new {
        super::remove_if_there(&path).map_err(fail)?;
    }
    let seal = keys.map(|keys| (keys, place));
    let increment = Increment::open(&path, config.aof_timestamp_enabled, seal).map_err(fail)?;
    if manifest != directory.manifest {
        sync_folder(&directory.path).map_err(fail)?;
        directory.replace(manifest).map_err(fail)?;
    }
    if !config.aof_disable_auto_gc && !directory.manifest.history.is_empty() {
        directory.delete_history();
    }
    Ok(increment)
}

/// Runs commands for nobody.
struct Loader {
    server: &'static Server,
    settings: Arc<Settings>,
    /// The selected database.
    db: usize,
    effects: Effects,
    changes: Changes,
    random: Random,
    access_random: Random,
    output: Output,
    failures: u64,
}

impl Loader {
    fn new(server: &'static Server) -> Self {
        let seed = rubine_base::random::seed_from_os();
        Self {
            server,
            settings: server.settings.load_full(),
            db: 0,
            effects: Effects::default(),
            changes: Changes::default(),
            random: Random::with_seed(seed),
            access_random: Random::with_seed(seed.wrapping_add(1)),
            output: Output::new(),
            failures: 0,
        }
    }

    /// Runs all commands of a file.
    fn load(&mut self, path: &Path, name: &str, role: Role) -> Result<Tail, String> {
        let file = File::open(path)
            .map_err(|error| format!("Can't open the append log file {name}: {error}"))?;
        let unreadable = |error: io::Error| {
            format!("Unrecoverable error reading the append only file {name}: {error}")
        };
        let keys = self.server.aof.keys();
        let mut input = Input::new(file, keys.as_deref()).map_err(unreadable)?;
        let mut beginning = Vec::new();
        (&mut input).take(RDB_MAGIC_BYTES).read_to_end(&mut beginning).map_err(unreadable)?;
        if is_rdb(&beginning) {
            return Err(format!("{name} begins as an RDB file, which cannot be read yet"));
        }
        self.db = 0;
        let is_empty = beginning.is_empty();
        let mut reader = LogReader::new(io::Cursor::new(beginning).chain(input), 0);
        let error = loop {
            match reader.next_unit() {
                Ok(None) => break None,
                Ok(Some(unit)) => {
                    for (bytes, args) in unit.commands() {
                        self.run(Args::new(bytes, args)).map_err(|error| {
                            format!("Error reading the append only file {name}, error: {error}")
                        })?;
                    }
                }
                Err(error) => break Some(error),
            }
        };
        let position = reader.position();
        let end = End { path, name, role, keys: keys.as_deref(), position };
        let (_, input) = reader.into_source().into_inner();
        match (error, input) {
            (None, Input::Plain(_)) => Ok(if is_empty { Tail::Empty } else { Tail::Plain }),
            (None, Input::Encrypted(input)) => match (input.ending(), role) {
                (Ending::Complete, _) => Ok(Tail::Complete),
                (Ending::Open | Ending::Unknown, Role::LastWhole | Role::Last) => {
                    Ok(Tail::Encrypted(input.place().0))
                }
                (Ending::Torn(_), _) => {
                    end.cut(&LogError::Torn { valid_up_to: position, in_transaction: false })
                }
                (Ending::Open | Ending::Unknown, Role::Inner) => Err(unreadable(
                    input
                        .expect_complete()
                        .map_err(io::Error::from)
                        .err()
                        .unwrap_or(io::ErrorKind::UnexpectedEof.into()),
                )),
            },
            (Some(error), _) => end.cut(&error),
        }
    }

    /// Runs one command. Fails if there is no such command; a command that fails is told of, as it did so before.
    fn run(&mut self, args: Args<'_>) -> Result<(), CommandError> {
        let entry = self.find(args)?;
        match entry.run {
            Run::Data(command) => self.run_data(command, args),
            _ if entry.spec.name == "SELECT" => self.select(args.at(1))?,
            // What concerns a connection or the server changes no key.
            Run::Session(_) | Run::Container => {}
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
        let access = Access::new(self.settings.access, now);
        let options = ViewOptions { notes_access: true, due_keys: DueKeys::Shown };
        let random = &mut self.access_random;
        let keys = View::new(&mut locked, self.db, now, access, options, random, &mut self.changes);
        self.output = Output::new();
        let protocol = Protocol::Resp2;
        let mut context = Context {
            args,
            keys,
            reply: Reply::new(&mut self.output, protocol),
            effects: &mut self.effects,
            limits: &self.settings.limits,
            random: &mut self.random,
            client: ClientFacts {
                protocol,
                may_wait: false,
                steps_at_once_max: u64::MAX,
                is_trusted: true,
            },
            now,
        };
        let result = rubine_commands::run(command, &mut context);
        drop(locked);
        self.effects.events.clear();
        self.effects.wait = None;
        self.changes = Changes::default();
        if let Err(error) = result {
            self.failures += 1;
            if self.failures <= LOGGED_FAILURES_MAX {
                tracing::warn!("{} of the append-only file failed: {error}", command.spec.name);
            }
        }
    }
}

/// Where reading a file came to its end.
struct End<'a> {
    path: &'a Path,
    name: &'a str,
    role: Role,
    keys: Option<&'a KeyRing>,
    /// Plain bytes that are whole units.
    position: u64,
}

impl End<'_> {
    /// Cuts the torn end off the file, or says why that is not done.
    fn cut(&self, error: &LogError) -> Result<Tail, String> {
        let name = self.name;
        match error {
            LogError::Io(error) => {
                return Err(format!(
                    "Unrecoverable error reading the append only file {name}: {error}"
                ));
            }
            LogError::Malformed { .. } => {
                return Err(format!(
                    "Bad file format reading the append only file {name}: {error}. Make a backup of it, then use \
                     rubine-check-aof --fix with the manifest"
                ));
            }
            LogError::Torn { .. } if self.role != Role::Last => {
                return Err(format!(
                    "Unexpected end of file reading the append only file {name}: {error}. Make a backup of it, then \
                     use rubine-check-aof --fix with the manifest, or set aof-load-truncated to yes. Only the last \
                     file of a log is ever truncated"
                ));
            }
            LogError::Torn { .. } => {}
        }
        tracing::warn!("The append-only file {name} is torn: {error}. Truncating it there");
        let tail = truncate(self.path, self.keys, self.position);
        let tail =
            tail.map_err(|error| format!("Error truncating the append-only file {name}: {error}"))?;
        tracing::warn!("AOF {name} loaded anyway because aof-load-truncated is enabled");
        Ok(tail)
    }
}

/// Keeps the first `plain_len` bytes of what a file holds.
pub(super) fn truncate(path: &Path, keys: Option<&KeyRing>, plain_len: u64) -> io::Result<Tail> {
    let mut file = File::options().read(true).append(true).open(path)?;
    let mut beginning = Vec::new();
    (&file).take(16).read_to_end(&mut beginning)?;
    let Some(keys) = keys.filter(|_| is_encrypted(&beginning)) else {
        file.set_len(plain_len)?;
        file.sync_all()?;
        return Ok(Tail::Plain);
    };
    let cut = find_cut(File::open(path)?, keys, plain_len)?;
    file.set_len(cut.len)?;
    let mut place = cut.place;
    if !cut.rest.is_empty() {
        let mut sealed = Vec::new();
        let mut encryptor = Encryptor::begin(keys, place, &mut sealed)?;
        encryptor.seal(&cut.rest, &mut sealed);
        file.write_all(&sealed)?;
        place = encryptor.place();
    }
    file.sync_all()?;
    Ok(Tail::Encrypted(place))
}
