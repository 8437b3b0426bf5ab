//! A keyspace with its journal, and one command at a time on it, checked. Knows no client.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;

use rubine_base::random::Random;
use rubine_commands::{
    Args, ClientFacts, Command, CommandResult, Context, Effects, EventClass, Flags, Wait, run,
    shards_of,
};
use rubine_journal::replay::Replay;
use rubine_journal::{Effects as JournalEffects, Hold, Journal, Reader, Start};
use rubine_keyspace::{
    Access, Changes, Due, DueKeys, ExpiryCycle, Key, Keyspace, Locked, ScanCursor, ShardSet,
    Snapshot, View, ViewOptions, remove_due,
};
use rubine_resp::parser::ArgRange;
use rubine_resp::writer::{Output, Protocol, Reply};

use super::content::{Content, text};
use super::settings::Settings;
use crate::value;

/// Streams are pumped in slices as small as this, so that a reply which needs several shows its mistakes.
const PUMP_BYTES: usize = 512;

/// A keyspace and what happened to it.
pub(super) struct Store {
    keyspace: Keyspace,
    journal: Arc<Journal>,
    reader: Reader,
    /// The database that the next command of the journal applies to.
    journal_db: u32,
    random: Random,
}

/// One command on its way.
pub(super) struct Call<'a> {
    pub(super) command: &'static Command,
    pub(super) args: &'a [Vec<u8>],
    pub(super) db: usize,
    pub(super) protocol: Protocol,
    pub(super) may_wait: bool,
    /// It comes from a journal: nothing is due, nothing is refused for its size.
    pub(super) is_replay: bool,
}

/// What came of it.
pub(super) struct Outcome {
    /// Encoded; empty if the client has to wait.
    pub(super) reply: Vec<u8>,
    pub(super) wait: Option<Wait>,
    pub(super) result: CommandResult,
}

/// A key's deadline and value; nothing if there is no key.
pub(super) type KeyContent = Option<(Option<i64>, Content)>;

/// All keys that are there, by database.
pub(super) type StoreContent = BTreeMap<(usize, String), (Option<i64>, Content)>;

impl Store {
    pub(super) fn new() -> Self {
        let (keyspace, _) = Keyspace::new();
        let journal = Journal::new(0, u64::MAX);
        let reader = journal.open_reader(Start::At(0), Hold::Everything);
        let reader = reader.expect("a new journal begins at its start");
        Self { keyspace, journal, reader, journal_db: 0, random: Random::with_seed(1) }
    }

    pub(super) fn lock_all(&self) -> Locked<'_> {
        self.keyspace.lock(&ShardSet::All)
    }

    /// Runs a command.
    ///
    /// # Panics
    /// If it breaks a rule that binds all commands.
    pub(super) fn run(&mut self, call: &Call<'_>, now: i64, settings: &Settings) -> Outcome {
        let (buffer, ranges) = laid_out(call.args);
        let args = Args::new(&buffer, &ranges);
        let spec = &call.command.spec;
        let before = self.content_of_keys(call);

        let mut output = Output::new();
        let mut effects = Effects {
            is_journalled: true,
            listened: Some(EventClass::all()),
            ..Effects::default()
        };
        let mut changes = Changes::default();
        let seed = self.random.next_u64();
        let (locked, result) = loop {
            let mut locked = self.keyspace.lock(&shards_of(spec, args, false));
            let mut random = Random::with_seed(seed);
            let due_keys = if call.is_replay { DueKeys::Shown } else { DueKeys::Removed };
            let options = ViewOptions { notes_access: true, due_keys };
            let access = Access::new(settings.access, now);
            let own_random = &mut self.random;
            // Whatever may be computed without the locks is.
            let steps_at_once_max = if call.may_wait { 0 } else { u64::MAX };
            let is_trusted = call.is_replay;
            let mut cx = Context {
                args,
                keys: View::new(
                    &mut locked,
                    call.db,
                    now,
                    access,
                    options,
                    own_random,
                    &mut changes,
                ),
                reply: Reply::new(&mut output, call.protocol),
                effects: &mut effects,
                limits: &settings.limits,
                random: &mut random,
                client: ClientFacts {
                    protocol: call.protocol,
                    may_wait: call.may_wait,
                    is_trusted,
                    steps_at_once_max,
                },
                now,
            };
            let result = run(call.command, &mut cx);
            let Some(mut task) = effects.task.take() else { break (locked, result) };
            let is_clean = result.is_ok() && output.is_empty() && changes.dirty == 0;
            assert!(is_clean, "{} did something and then asked for time", shown(call.args));
            drop(locked);
            task.run();
            effects.computed = Some(task);
        };
        let command = || shown(call.args);
        let is_told = check_effects(call, &result, &changes, &effects);
        effects.journal.wrap_in_transaction();
        self.journal.append(&mut effects.journal, (now / 1000) as u64);
        drop(locked);
        self.remove_found_due(&changes.found_due, now);

        let mut reply = Vec::new();
        drain(&mut output, &mut reply);
        let is_one = match value::decode(&reply) {
            Ok(Some((_, used))) => used == reply.len(),
            _ => false,
        };
        let is_due = if effects.wait.is_some() { reply.is_empty() } else { is_one };
        assert!(is_due, "{} is not one reply to {}", text(&reply), command());
        let after = self.content_of_keys(call);
        let was_changed = before != after && changes.expired_count == 0;
        assert!(!was_changed || is_told, "{} changed a key unnoticed", command());
        Outcome { reply, wait: effects.wait, result }
    }

    /// Removes whatever is due.
    pub(super) fn expire(&mut self, now: i64) {
        let mut cycle = ExpiryCycle::new(0, 1);
        loop {
            let mut effects = JournalEffects::new();
            let step =
                cycle.step(&self.keyspace, now, || false, |due| write_due(&due, &mut effects));
            self.journal.append(&mut effects, (now / 1000) as u64);
            if step.is_round {
                return;
            }
        }
    }

    /// Everything that was journalled since this was called last, as database and arguments.
    pub(super) fn journal(&mut self) -> Vec<(usize, Vec<Vec<u8>>)> {
        let mut bytes = Vec::new();
        let mut slices = Vec::new();
        while 0 < self.reader.read(usize::MAX, &mut slices).expect("the journal keeps everything") {
            for slice in slices.drain(..) {
                bytes.extend_from_slice(&slice);
            }
        }
        let mut replay = Replay::new(&bytes, 0, self.journal_db);
        let owned = |it: &&[u8]| it.to_vec();
        let commands = replay
            .by_ref()
            .map(|it| it.expect("the journal writes whole commands"))
            .map(|it| (it.database as usize, it.arguments.iter().map(owned).collect()))
            .collect();
        self.journal_db = replay.database();
        commands
    }

    /// All keys, those that are due not.
    pub(super) fn content(&self, now: i64) -> StoreContent {
        let snapshot = self.keyspace.snapshot();
        let mut content = StoreContent::new();
        for db in 0..snapshot.db_count() {
            add_content_of(&snapshot, db, now, &mut content);
        }
        content
    }

    /// Removes keys that a walk came across.
    fn remove_found_due(&self, keys: &[(usize, Box<[u8]>)], now: i64) {
        let mut effects = JournalEffects::new();
        remove_due(&self.keyspace, keys, now, || false, |due| write_due(&due, &mut effects));
        self.journal.append(&mut effects, (now / 1000) as u64);
    }

    /// What the keys of a command hold, due or not.
    pub(super) fn content_of_keys(&self, call: &Call<'_>) -> Vec<KeyContent> {
        let (buffer, ranges) = laid_out(call.args);
        let args = Args::new(&buffer, &ranges);
        let mut content = Vec::new();
        call.command.spec.for_each_key(args, |index| {
            let key = Key::new(args.at(index));
            let locked = self.keyspace.lock(&ShardSet::of(key));
            let shard = locked.shards().next().expect("one shard was locked");
            let table = shard.table(call.db);
            let record = table.and_then(|it| it.find(key.table_hash(), key.bytes()));
            content.push(record.map(|it| (it.deadline(), Content::of(it.value()))));
        });
        content
    }
}

fn write_due(due: &Due<'_>, effects: &mut JournalEffects) {
    match due {
        Due::Key { db, key } => effects.command(*db as u32, &[b"UNLINK", key]),
        Due::Fields { db, key, fields, .. } => {
            let mut command: Vec<&[u8]> = vec![b"HDEL", key];
            command.extend(fields.iter().map(Vec::as_slice));
            effects.command(*db as u32, &command);
        }
    }
}

/// Returns whether a change was told: it is counted, or in the journal, or both.
fn check_effects(
    call: &Call<'_>,
    result: &CommandResult,
    changes: &Changes,
    effects: &Effects,
) -> bool {
    // Keys that were found due are gone and journalled whatever becomes of the command.
    let own_count = effects.journal.command_count() as u64 - changes.expired_count;
    let is_without_trace = changes.dirty == 0 && own_count == 0;
    let command = || shown(call.args);
    assert!(result.is_ok() || is_without_trace, "{} failed and left something", command());
    let may_write = call.command.spec.flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE);
    assert!(may_write || is_without_trace, "{} only reads", command());
    // Who waits for entries of a group has become one of its consumers.
    let waits_in_vain =
        effects.wait.as_ref().is_some_and(|it| !it.ends_on_error) && 0 < changes.dirty;
    assert!(!waits_in_vain, "{} waits though it changed something", command());
    !is_without_trace
}

fn add_content_of(snapshot: &Snapshot, db: usize, now: i64, content: &mut StoreContent) {
    let mut cursor = Some(ScanCursor::START);
    while let Some(position) = cursor {
        cursor = snapshot.scan(db, position, usize::MAX, |record| {
            if record.deadline().is_none_or(|deadline| now < deadline) {
                let value = (record.deadline(), Content::of(record.value()));
                content.insert((db, text(record.key())), value);
            }
        });
    }
}

/// Arguments one after the other, and where they lie.
fn laid_out(args: &[Vec<u8>]) -> (Vec<u8>, Vec<ArgRange>) {
    let mut start = 0;
    let ranges = args
        .iter()
        .map(|it| {
            let range = ArgRange { start, len: it.len() };
            start += it.len();
            range
        })
        .collect();
    (args.concat(), ranges)
}

/// Moves all output, that of streams too.
pub(super) fn drain(output: &mut Output, into: &mut Vec<u8>) {
    while !output.is_empty() {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = output.front_slices(&mut slices, usize::MAX);
        let start = into.len();
        slices[..count].iter().for_each(|slice| into.extend_from_slice(slice));
        let moved = into.len() - start;
        output.advance(moved);
        let was_pumped = output.pump(PUMP_BYTES);
        assert!(0 < moved || was_pumped, "output that neither moves nor grows");
    }
}

/// A command for people.
pub(super) fn shown(args: &[Vec<u8>]) -> String {
    args.iter().map(|it| text(it)).collect::<Vec<_>>().join(" ")
}
