//! The data commands in this process: a keyspace, a fake clock, several clients, blocking and expiry, without a
//! socket, a thread or a transaction. Checks on the way what every command owes: one reply, no change after an error,
//! a change for every difference, and a journal that gives the same keys when it is replayed.

mod content;
mod settings;
mod store;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rubine_base::crc::SLOT_COUNT;
use rubine_base::hash::HashMap;
use rubine_commands::{
    Args, Command, FAMILIES, Flags, Group, Nothing, SlotOwners, SlotUsage, Wait, awaited, shards_of,
};
use rubine_keyspace::{
    Locked, Serve, ShardSet, SlotImage, Waiter, WaiterState, complete_hand_offs,
};
use rubine_resp::writer::{Output, Protocol, Reply};

use self::settings::Settings;
use self::store::{Call, KeyContent, Store};
use crate::client::Received;
use crate::target::{ClientIndex, Identity, Target, Version};
use crate::transcript::Transcript;
use crate::value;

/// When the fake clock starts, Unix milliseconds: some time after 2026.
const START: i64 = 1_800_000_000_000;

/// What becomes of keys and fields that fall due while nobody asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// They are removed whenever time passes.
    Active,
    /// They stay until a command comes across them.
    Lazy,
}

/// A node that has all slots of its cluster, and counts what requests about them take: a microsecond for each, by slot.
#[derive(Debug)]
struct AllSlots;

impl SlotOwners for AllSlots {
    fn last_of_owner(&self, _: u16) -> u16 {
        SLOT_COUNT - 1
    }

    fn is_of_our_shard(&self, _: u16) -> bool {
        true
    }

    fn hidden_len(&self, _: usize, _: u16) -> usize {
        0
    }

    fn hidden_image(&self, _: usize, _: u16) -> Option<SlotImage> {
        None
    }

    fn usage(&self, slot: u16) -> Option<SlotUsage> {
        Some(SlotUsage { cpu_us: u64::from(slot), bytes_in: 1, bytes_out: 2 })
    }
}

/// A server of data commands and the few others that a transcript cannot do without.
pub struct InProcess {
    identity: Identity,
    commands: HashMap<&'static str, (Group, &'static Command)>,
    expiry: Expiry,
    settings: Settings,
    store: Store,
    /// What becomes of the keys by the journal alone.
    replica: Store,
    clients: Vec<Session>,
    /// Those whose command waits, in the order in which they came.
    waiting: Vec<Waiting>,
    now: i64,
    /// How many commands were run and taken back before they ran, if all are.
    rehearsed_count: Option<u64>,
}

#[derive(Default)]
struct Session {
    db: usize,
    protocol: Protocol,
    /// Encoded replies that nobody has received yet.
    sent: Vec<u8>,
}

struct Waiting {
    waiter: Arc<Waiter>,
    deadline: Option<i64>,
    on_timeout: Nothing,
}

impl InProcess {
    pub fn new(expiry: Expiry) -> Self {
        let commands = FAMILIES.iter().flat_map(|family| {
            family.commands.iter().map(|command| (command.spec.name, (family.group, command)))
        });
        Self {
            identity: Identity { name: "rubine".to_owned(), version: Version([0, 1, 0]) },
            commands: commands.collect(),
            expiry,
            settings: Settings::default(),
            store: Store::new(),
            replica: Store::new(),
            clients: Vec::new(),
            waiting: Vec::new(),
            now: START,
            rehearsed_count: None,
        }
    }

    /// As [`Self::new`], where each command runs twice: first it is taken back, and nothing may show it.
    pub fn rehearsing(expiry: Expiry) -> Self {
        Self { rehearsed_count: Some(0), ..Self::new(expiry) }
    }

    /// The same as a node of a cluster that has all slots, in a process that places keys by slot.
    #[must_use]
    pub fn in_cluster(mut self) -> Self {
        self.settings.limits.cluster = true;
        self.settings.limits.slot_owners = Some(Arc::new(AllSlots));
        self
    }

    /// Runs data commands of a client as one unit, each in its database, and takes them back. What is none is left out.
    ///
    /// # Panics
    /// If anything shows that they ran.
    pub fn rehearse(&mut self, commands: &[(usize, Vec<Vec<u8>>)], with_snapshot: bool) {
        let known = commands.iter().filter_map(|(db, args)| {
            let name = String::from_utf8_lossy(&args[0]).to_uppercase();
            let command = subcommand(self.commands.get(&*name)?.1, args);
            command.spec.takes(args.len()).then_some(Call {
                command,
                args,
                db: *db,
                protocol: Protocol::Resp3,
                may_wait: false,
                is_replay: false,
            })
        });
        let calls: Vec<_> = known.collect();
        self.store.rehearse(&calls, with_snapshot, self.now, &self.settings);
    }

    /// The first thing in a transcript that takes a whole server.
    pub fn unknown_in(&self, transcript: &Transcript) -> Option<String> {
        let unknown_command = transcript.requests().find_map(|args| {
            let name = String::from_utf8_lossy(args.first()?).to_uppercase();
            let is_known = self.commands.contains_key(&*name) || name == "SELECT";
            (!is_known).then_some(name)
        });
        let mut settings = self.settings.clone();
        unknown_command.or_else(|| {
            let mut directives = transcript.configured();
            let unknown = directives.find(|(name, value)| settings.set(name, value).is_err());
            unknown.map(|(name, _)| name.to_owned())
        })
    }

    fn dispatch(&mut self, client: ClientIndex, args: &[Vec<u8>]) {
        let name = String::from_utf8_lossy(&args[0]).to_uppercase();
        if SESSION_COMMANDS.contains(&&*name) {
            self.session_command(client, &name, args);
            return;
        }
        if let Some(expiry) = expiry_switch(args) {
            self.expiry = expiry;
            self.reply(client, |reply| reply.simple("OK"));
            return;
        }
        let Some(&(group, container)) = self.commands.get(&*name) else {
            self.reply(client, |reply| {
                reply.error(&format!("ERR unknown command '{}'", name.to_lowercase()));
            });
            return;
        };
        let command = subcommand(container, args);
        if !command.spec.takes(args.len()) {
            let mut full_name = container.spec.name.to_lowercase();
            if !std::ptr::eq(command, container) {
                full_name = format!("{full_name}|{}", command.spec.name.to_lowercase());
            }
            let text = format!("ERR wrong number of arguments for '{full_name}' command");
            self.reply(client, |reply| reply.error(&text));
            return;
        }
        let session = &self.clients[client];
        let (db, protocol) = (session.db, session.protocol);
        if let Some(count) = &mut self.rehearsed_count {
            *count += 1;
            let with_snapshot = *count % 2 == 0;
            let call = Call { command, args, db, protocol, may_wait: false, is_replay: false };
            self.store.rehearse(&[call], with_snapshot, self.now, &self.settings);
        }
        let call = Call { command, args, db, protocol, may_wait: true, is_replay: false };
        let outcome = self.store.run(&call, self.now, &self.settings);
        let content = self.store.content_of_keys(&call);
        self.check_keys(&call, &content);
        self.clients[client].sent.extend_from_slice(&outcome.reply);
        if let Some(wait) = outcome.wait {
            self.park(client, group, args, wait);
        }
        self.hand_off();
    }

    fn session_command(&mut self, client: ClientIndex, name: &str, args: &[Vec<u8>]) {
        let number = args.get(1).and_then(|it| rubine_base::number::parse_i64(it));
        let databases = 0..self.settings.limits.databases as i64;
        let session = &mut self.clients[client];
        let result = match (name, number) {
            ("SELECT", _) if args.len() != 2 => {
                Err("ERR wrong number of arguments for 'select' command")
            }
            ("SELECT", Some(db)) if databases.contains(&db) => {
                session.db = db as usize;
                Ok(())
            }
            ("SELECT", Some(_)) => Err("ERR DB index is out of range"),
            ("SELECT", None) => Err("ERR value is not an integer or out of range"),
            (_, Some(2)) => {
                session.protocol = Protocol::Resp2;
                Ok(())
            }
            (_, Some(3)) => {
                session.protocol = Protocol::Resp3;
                Ok(())
            }
            _ => Err("NOPROTO unsupported protocol version"),
        };
        self.reply(client, |reply| match result {
            Ok(()) => reply.ok(),
            Err(text) => reply.error(text),
        });
    }

    fn reply(&mut self, client: ClientIndex, write: impl FnOnce(&mut Reply<'_>)) {
        let session = &mut self.clients[client];
        let mut output = Output::new();
        write(&mut Reply::new(&mut output, session.protocol));
        store::drain(&mut output, &mut session.sent);
    }

    fn park(&mut self, client: ClientIndex, group: Group, args: &[Vec<u8>], wait: Wait) {
        let awaited = awaited(group, &wait);
        let Session { db, protocol, .. } = self.clients[client];
        let mut args: Vec<_> = args.iter().map(|it| it.clone().into_boxed_slice()).collect();
        let version = if protocol == Protocol::Resp3 { 3 } else { 2 };
        let Wait { keys, deadline, on_timeout, rewritten, .. } = wait;
        for (index, argument) in rewritten {
            args[index] = argument;
        }
        let waiter = Waiter::new(client as u64, 0, db, args, keys, awaited, version);
        self.store.lock_all().add_waiter(&waiter);
        self.waiting.push(Waiting { waiter, deadline, on_timeout });
    }

    /// Lets waiters have what became available, first come first served, until nothing changes any more.
    fn hand_off(&mut self) {
        let pending = self.store.lock_all().pending_hand_offs();
        complete_hand_offs(&self.store.keyspace(), pending, self);
    }

    fn forget(&mut self, waiter: &Waiter) {
        self.waiting.retain(|it| !std::ptr::eq(Arc::as_ptr(&it.waiter), waiter));
    }

    /// Lets the wait end that is the first to do so until `now`.
    fn end_one_wait(&mut self, now: i64) -> bool {
        let due = self.waiting.iter().filter(|it| it.deadline.is_some_and(|at| at <= now));
        let Some(first) = due.min_by_key(|it| it.deadline) else { return false };
        let (waiter, on_timeout) = (first.waiter.clone(), first.on_timeout);
        self.now = self.now.max(first.deadline.unwrap_or(now));
        assert!(waiter.end(WaiterState::Cancelled), "whoever was served waits no longer");
        self.reply(waiter.client as usize, |reply| on_timeout.write(reply));
        self.store.lock_all().remove_waiter(&waiter);
        self.forget(&waiter);
        true
    }

    /// Compares the keys of a command that has just run with what the journal makes of them.
    fn check_keys(&mut self, call: &Call<'_>, ours: &[KeyContent]) {
        self.replay_journal();
        let theirs = self.replica.content_of_keys(call);
        assert!(
            ours == theirs,
            "the keys of {}: {}\nwhat the journal makes of them: {}",
            store::shown(call.args),
            shortened(&ours),
            shortened(&theirs)
        );
    }

    fn replay_journal(&mut self) {
        for (db, args) in self.store.journal() {
            let name = String::from_utf8_lossy(&args[0]).to_uppercase();
            if name == "MULTI" || name == "EXEC" {
                continue;
            }
            let (_, command) = self.commands.get(&*name).expect("only commands are journalled");
            let command = subcommand(command, &args);
            let is_write = command.spec.flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE);
            assert!(is_write, "{name} was journalled though it does not write");
            let call = Call {
                command,
                args: &args,
                db,
                protocol: Protocol::Resp2,
                may_wait: false,
                is_replay: true,
            };
            let outcome = self.replica.run(&call, self.now, &self.settings);
            assert_eq!(outcome.result, Ok(()), "the journal has {}", store::shown(&args));
        }
    }

    /// The command that is named by arguments, which are known to name one.
    fn command(&self, args: &[Vec<u8>]) -> &'static Command {
        let name = String::from_utf8_lossy(&args[0]).to_uppercase();
        subcommand(self.commands[&*name].1, args)
    }

    /// Compares all keys with what the journal makes of them.
    fn check_all_keys(&mut self) {
        self.replay_journal();
        let mut ours = self.store.content(self.now);
        let mut theirs = self.replica.content(self.now);
        ours.retain(|key, value| {
            let is_same = theirs.get(key) == Some(value);
            if is_same {
                theirs.remove(key);
            }
            !is_same
        });
        assert!(
            ours.is_empty() && theirs.is_empty(),
            "the keys: {}\nwhat the journal makes of them: {}",
            shortened(&ours),
            shortened(&theirs)
        );
    }
}

fn shortened(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").chars().take(2000).collect()
}

/// What is not about data and yet needed: the database and the protocol of a connection. HELLO stands for `@resp` only.
const SESSION_COMMANDS: [&str; 2] = ["SELECT", "HELLO"];

/// What `DEBUG SET-ACTIVE-EXPIRE` switches to, if it is this.
fn expiry_switch(args: &[Vec<u8>]) -> Option<Expiry> {
    let [debug, subcommand, state] = args else { return None };
    let is_it = debug.eq_ignore_ascii_case(b"DEBUG")
        && subcommand.eq_ignore_ascii_case(b"SET-ACTIVE-EXPIRE");
    is_it.then_some(if state == b"0" { Expiry::Lazy } else { Expiry::Active })
}

fn subcommand(command: &'static Command, args: &[Vec<u8>]) -> &'static Command {
    let found = args.get(1).and_then(|name| {
        command.subcommands.iter().find(|it| name.eq_ignore_ascii_case(it.spec.name.as_bytes()))
    });
    found.unwrap_or(command)
}

impl Serve for InProcess {
    type Reply = Vec<u8>;

    fn now(&self) -> i64 {
        self.now
    }

    fn shards_of(&self, waiter: &Waiter) -> ShardSet {
        let args: Vec<Vec<u8>> = waiter.args.iter().map(|it| it.to_vec()).collect();
        let (buffer, ranges) = store::laid_out(&args);
        shards_of(&self.command(&args).spec, Args::new(&buffer, &ranges), true)
    }

    fn run(&mut self, waiter: &Waiter, locked: &mut Locked<'_>) -> Option<Vec<u8>> {
        let args: Vec<Vec<u8>> = waiter.args.iter().map(|it| it.to_vec()).collect();
        let protocol = if waiter.protocol == 3 { Protocol::Resp3 } else { Protocol::Resp2 };
        let call = Call {
            command: self.command(&args),
            args: &args,
            db: waiter.db,
            protocol,
            may_wait: true,
            is_replay: false,
        };
        let outcome = self.store.run_locked(&call, locked, self.now, &self.settings);
        self.check_keys(&call, &store::content_in(locked, &call));
        outcome.wait.is_none().then_some(outcome.reply)
    }

    fn answer(&mut self, waiter: &Waiter, reply: Vec<u8>, _: &Locked<'_>) {
        self.clients[waiter.client as usize].sent.extend_from_slice(&reply);
        self.forget(waiter);
    }
}

impl Target for InProcess {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn connect(&mut self) -> io::Result<ClientIndex> {
        self.clients.push(Session::default());
        Ok(self.clients.len() - 1)
    }

    fn send(&mut self, client: ClientIndex, args: &[Vec<u8>]) -> io::Result<()> {
        if !args.is_empty() {
            self.dispatch(client, args);
        }
        Ok(())
    }

    fn receive(&mut self, client: ClientIndex, _: Duration) -> io::Result<Received> {
        let sent = &mut self.clients[client].sent;
        match value::decode(sent) {
            Ok(Some((value, used))) => {
                sent.drain(..used);
                Ok(Received::Value(value))
            }
            Ok(None) => Ok(Received::Nothing),
            Err(malformed) => Err(io::Error::new(io::ErrorKind::InvalidData, malformed)),
        }
    }

    fn advance(&mut self, time: Duration) -> io::Result<()> {
        let end = self.now + i64::try_from(time.as_millis()).map_err(io::Error::other)?;
        while self.end_one_wait(end) {}
        self.now = end;
        if self.expiry == Expiry::Active {
            self.store.expire(self.now);
        }
        self.hand_off();
        Ok(())
    }

    fn configure(&mut self, name: &str, value: &str) -> io::Result<()> {
        self.settings.set(name, value).map_err(io::Error::other)
    }

    fn reset(&mut self) -> io::Result<()> {
        self.check_all_keys();
        let (rehearsed_count, is_in_cluster) = (self.rehearsed_count, self.settings.limits.cluster);
        *self = Self { rehearsed_count, ..Self::new(self.expiry) };
        if is_in_cluster {
            self.settings.limits.cluster = true;
            self.settings.limits.slot_owners = Some(Arc::new(AllSlots));
        }
        Ok(())
    }
}
