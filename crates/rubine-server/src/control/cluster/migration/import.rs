//! The target's end of a connection: what comes is run, one command after the other, on a keyspace that nobody sees, and put
//! into the journal for the own replicas and the log. Takes no lock of the data that is seen, but once: when the slots are
//! this node's.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rubine_base::clock::unix_millis;
use rubine_base::number::parse_u64;
use rubine_cluster::View;
use rubine_cluster::migration::{JobId, Migrations};
use rubine_cluster::slots::SlotSet;
use rubine_commands::{Args, CommandError, Scope, shards_of};
use rubine_config::MaxmemoryPolicy;
use rubine_journal::Effects;
use rubine_keyspace::{Key, ShardSet};
use rubine_net::link::Link;
use rubine_net::socket::Socket;
use rubine_resp::parser::{ArgRange, Limits, Parsed, Parser, Sender};
use rubine_system::allocator::used_memory;

use super::carrier::Carrier;
use super::export::word_of;
use crate::client::ClientInfo;
use crate::cluster::hidden::is_about;
use crate::cluster::{Answer, Cluster, Job, Order, Side};
use crate::command_table::{Entry, Run};
use crate::mailbox::Message;
use crate::persistence::Finder;
use crate::server::Server;
use crate::silent::SilentRunner;

/// What is read before it is run.
const READ_BYTES_MAX: usize = 1024 * 1024;
/// Whatever the source has, it was taken there.
const LIMITS: Limits = Limits { bulk_bytes_max: i64::MAX, sender: Sender::Primary };
/// How often it is looked whether the log on disk, or memory, lets more be taken.
const LOOK: Duration = Duration::from_millis(1);
/// How often that is, at most, where memory is used up: what others evict makes room.
const MEMORY_LOOKS_MAX: usize = 1000;

/// What a client was that a source turned out to be.
pub(crate) struct Arrival {
    pub(crate) socket: Socket,
    pub(crate) info: Arc<ClientInfo>,
    /// What it has sent behind what established the migration.
    pub(crate) input: Vec<u8>,
}

/// Serves a connection until it ends, on a thread of its own.
pub(crate) fn start(server: &'static Server, cluster: &'static Cluster, job: JobId, it: Arrival) {
    let begin = || {
        let link = Link::resumed(it.socket, it.input);
        let carrier = Carrier::new(server, cluster, job, link, it.info, Side::Target)?;
        let import = Import::new(carrier)?;
        std::thread::Builder::new().name("slot-import".to_owned()).spawn(move || import.run())
    };
    if let Err(error) = begin() {
        lose(server, cluster, job, &error.to_string());
    }
}

/// The connection of a migration is gone before anything came.
pub(crate) fn lose(server: &Server, cluster: &Cluster, job: JobId, reason: &str) {
    cluster.tell_migrations(&server.journal, |machine, _, now| machine.closed(job, reason, now));
}

struct Import {
    carrier: Carrier,
    /// The slots that come.
    slots: SlotSet,
    input: Vec<u8>,
    parser: Parser,
    runner: SilentRunner,
    finder: Finder,
    effects: Effects,
    db: usize,
}

/// What a command was not run for.
enum Failure {
    /// It is none of those that may come, or does not work here.
    Command(String),
    OutOfMemory,
    /// The migration has ended.
    Over,
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        Self::Command(error.to_string())
    }
}

impl Import {
    fn new(carrier: Carrier) -> io::Result<Self> {
        let job = carrier.job;
        let slots = carrier.cluster.migrations.ask(|machine| machine.slots_of(job));
        let slots = slots.ok_or_else(|| io::Error::other("the migration has ended"))?;
        let finder = Finder::new(carrier.server);
        Ok(Self {
            carrier,
            slots,
            input: Vec::new(),
            parser: Parser::new(),
            runner: SilentRunner::new(),
            finder,
            effects: Effects::new(),
            db: 0,
        })
    }

    fn run(mut self) {
        let outcome = self.serve();
        self.carrier.end(outcome);
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut has_work = true;
        loop {
            self.carrier.wait(has_work)?;
            if self.carrier.is_over()? {
                return Ok(());
            }
            self.obey()?;
            // What came while it was a client is counted as a client's.
            let known = self.input.len() + self.carrier.link.input().len();
            let bytes_max = self.input.len() + READ_BYTES_MAX;
            let received = self.carrier.link.receive_into(&mut self.input, bytes_max);
            let count = (self.input.len() - known) as u64;
            self.carrier.cluster.migrations.import_bytes.fetch_add(count, Ordering::Relaxed);
            if !self.input.is_empty() {
                self.hear()?;
            }
            let may_have_more = received?;
            self.carrier.link.flush()?;
            self.carrier.show(self.input.len());
            has_work = may_have_more;
        }
    }

    fn obey(&mut self) -> io::Result<()> {
        for order in self.carrier.handle.take_orders() {
            match order {
                Order::Send(bytes) => {
                    let full = |_| io::Error::other("the source does not take what is sent");
                    self.carrier.link.send_bytes(&bytes).map_err(full)?;
                }
                Order::Authenticate | Order::SendKeys(_) | Order::ReachPause(_) => {}
            }
        }
        Ok(())
    }

    /// Runs what has come, as far as it is whole.
    fn hear(&mut self) -> io::Result<()> {
        let job = self.carrier.job;
        self.carrier.tell(|machine, _, now| machine.heard(job, now));
        let input = std::mem::take(&mut self.input);
        let mut args = Vec::new();
        let mut at = 0;
        let mut outcome = Ok(());
        while outcome.is_ok() {
            args.clear();
            let parsed = self.parser.parse_command(&input[at..], &mut args, &LIMITS);
            match parsed.map_err(|it| io::Error::new(ErrorKind::InvalidData, it))? {
                Parsed::Incomplete { .. } => break,
                Parsed::Empty { consumed } => at += consumed,
                Parsed::Request { consumed, .. } => {
                    outcome = self.take(&input[at..at + consumed], &args);
                    at += consumed;
                }
            }
        }
        self.carrier.handle.progress.bytes.fetch_add(at as u64, Ordering::Relaxed);
        self.input = input;
        self.input.drain(..at);
        self.carrier.server.journal.notify();
        self.wait_for_log();
        match outcome {
            Ok(()) | Err(Failure::Over) => {}
            Err(Failure::OutOfMemory) => {
                self.carrier.tell(|machine, _, now| machine.out_of_memory(job, now));
            }
            Err(Failure::Command(text)) => {
                tracing::warn!("A command of slot migration {job} cannot be run: {text}");
                self.carrier.tell(|machine, _, now| machine.command_failed(job, now));
            }
        }
        Ok(())
    }

    /// Does what one command says.
    fn take(&mut self, bytes: &[u8], ranges: &[ArgRange]) -> Result<(), Failure> {
        if self.carrier.handle.is_closed() {
            return Err(Failure::Over);
        }
        let args = Args::new(bytes, ranges);
        let entry = self.finder.find(args)?;
        if let Run::Data(_) = entry.run {
            return self.run_command(entry, bytes, args);
        }
        match entry.full_name.as_str() {
            "select" => self.select(args.at(1)),
            "cluster|syncslots" => {
                self.hear_word(args);
                Ok(())
            }
            // Nobody sees the keys before all have come.
            "multi" | "exec" | "ping" | "replconf" => Ok(()),
            other => Err(Failure::Command(format!("'{other}' has nothing to do with keys"))),
        }
    }

    fn select(&mut self, index: &[u8]) -> Result<(), Failure> {
        let databases = self.carrier.server.settings.load().limits.databases;
        let db = parse_u64(index).and_then(|it| usize::try_from(it).ok());
        self.db = db.filter(|it| *it < databases).ok_or(CommandError::DbOutOfRange)?;
        Ok(())
    }

    fn hear_word(&self, args: Args<'_>) {
        let (job, word) = (self.carrier.job, word_of(args));
        let server = self.carrier.server;
        if word == Some(rubine_cluster::migration::Word::Paused)
            && server.settings.load().waits_for_disk
        {
            // What the source's clients were told is on disk stays so.
            server.wait_for_disk();
        }
        let is_capa = args.get(2).is_some_and(|it| it.eq_ignore_ascii_case(b"CAPA"));
        self.carrier.tell(|machine, _, now| match word {
            Some(word) => machine.received(job, word, now),
            None if is_capa => {}
            None => machine.received_unknown(job, now),
        });
    }

    /// Runs a command, and has it in the journal under the same locks. Those of the data are taken, too, though it is not
    /// looked at: whoever makes an image of all has locked all, and finds here what the journal says.
    fn run_command(
        &mut self,
        entry: &'static Entry,
        bytes: &[u8],
        args: Args<'_>,
    ) -> Result<(), Failure> {
        let Run::Data(command) = entry.run else { return Ok(()) };
        if !is_about(entry, args, &self.slots) {
            let text = format!("'{}' is about other slots than those that come", entry.full_name);
            return Err(Failure::Command(text));
        }
        self.look_at_memory()?;
        let server = self.carrier.server;
        let shards = match entry.single_key {
            Some(index) if matches!(entry.spec.scope, Scope::Keys) => {
                ShardSet::of_shard(Key::new(args.at(index)).shard())
            }
            _ => shards_of(&command.spec, args, true),
        };
        let locked = server.keyspace.lock(&shards);
        let mut beside = self.carrier.cluster.migrations.beside().lock(&shards);
        // What is dropped is dropped under these locks, and nothing comes behind it.
        if self.carrier.handle.is_closed() {
            return Err(Failure::Over);
        }
        let settings = server.settings.load();
        let result =
            self.runner.run(&settings, command, (self.db, unix_millis()), args, &mut beside);
        if result.is_ok() && server.journal.is_active() {
            self.effects.encoded(self.db as u32, bytes);
            server.journal.append(&mut self.effects, (unix_millis() / 1000) as u64);
        }
        drop(beside);
        drop(locked);
        self.carrier.handle.progress.commands.fetch_add(1, Ordering::Relaxed);
        Ok(result?)
    }

    /// Waits for memory, where others may evict something for it.
    fn look_at_memory(&self) -> Result<(), Failure> {
        let server = self.carrier.server;
        for _ in 0..MEMORY_LOOKS_MAX {
            let settings = server.settings.load();
            if settings.maxmemory == 0 || used_memory() <= settings.maxmemory as usize {
                return Ok(());
            }
            if settings.eviction == MaxmemoryPolicy::Noeviction || self.carrier.handle.is_closed() {
                break;
            }
            std::thread::sleep(LOOK);
        }
        Err(Failure::OutOfMemory)
    }

    /// Takes no more while the log on disk is far behind.
    fn wait_for_log(&self) {
        let server = self.carrier.server;
        while server.is_throttled() && self.carrier.is_over().is_ok_and(|it| !it) {
            server.journal.notify();
            std::thread::sleep(LOOK);
        }
    }
}

/// What has come is what the slots hold from now on, for everybody and in one step. The own replicas and the log know it
/// before the cluster does: if this process ends in between, the slots are the source's still, with all their keys.
pub(super) fn take_over(
    server: &'static Server,
    cluster: &'static Cluster,
    job: JobId,
    slots: SlotSet,
) {
    let numbers: Vec<u16> = slots.iter().collect();
    let shards = ShardSet::of_slots(numbers.iter().copied());
    let mut locked = server.keyspace.lock(&shards);
    let mut beside = cluster.migrations.beside().lock(&shards);
    let tell = |machine: &mut Migrations, _: &View, now| machine.taken_over(job, now);
    if !cluster.tell_migrations(&server.journal, tell) {
        return;
    }
    // Whatever the source says behind that is about keys that are its own no longer.
    if let Some(link) = cluster.migrations.link(job) {
        link.close();
    }
    locked.exchange_slots(&mut beside, &numbers, unix_millis());
    let pending = locked.pending_hand_offs();
    drop(locked);
    server.keyspace.discard_slots_of(&mut beside, &numbers);
    drop(beside);
    cluster.migrations.unhide(&slots);
    if !pending.is_empty() {
        let worker = pending[0] % server.workers.len();
        server.workers[worker].send(Message::HandOffs { shards: pending });
    }
    server.journal.notify();
    if server.settings.load().waits_for_disk {
        server.wait_for_disk();
    }
    cluster.submit(Job::unasked(move |machine, now| {
        machine.take_slots_over(&slots, now);
        Ok(Answer::Ok)
    }));
}
