//! A keyspace with its journal, and one command at a time on it, checked. Knows no client.

mod rehearsal;

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;

use rubine_base::random::Random;
use rubine_commands::{
    Args, ClientFacts, Command, CommandResult, Effects, EventClass, Flags, Occasion, Runner, Wait,
    shards_of,
};
use rubine_journal::replay::Replay;
use rubine_journal::{Effects as JournalEffects, Hold, Journal, Reader, Start};
use rubine_keyspace::{
    Changes, Due, DueKeys, ExpiryCycle, Key, Keyspace, Locked, ScanCursor, ShardSet, Snapshot,
    ViewOptions, remove_due,
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
    keyspace: Arc<Keyspace>,
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
        let keyspace = Arc::new(Keyspace::new().0);
        let journal = Journal::new(0, u64::MAX);
        let reader = journal.open_reader(Start::At(0), Hold::Everything);
        let reader = reader.expect("a new journal begins at its start");
        Self { keyspace, journal, reader, journal_db: 0, random: Random::with_seed(1) }
    }

    pub(super) fn lock_all(&self) -> Locked<'_> {
        self.keyspace.lock(&ShardSet::All)
    }

    pub(super) fn keyspace(&self) -> Arc<Keyspace> {
        Arc::clone(&self.keyspace)
    }

    /// Runs a command.
    ///
    /// # Panics
    /// If it breaks a rule that binds all commands.
    pub(super) fn run(&mut self, call: &Call<'_>, now: i64, settings: &Settings) -> Outcome {
        let keyspace = self.keyspace();
        let (buffer, ranges) = laid_out(call.args);
        let args = Args::new(&buffer, &ranges);
        let mut unit = Unit::new(self.content_of_keys(call), &mut self.random);
        // Whatever may be computed without the locks is.
        unit.steps_at_once_max = if call.may_wait { 0 } else { u64::MAX };
        let (locked, result) = loop {
            let mut locked = keyspace.lock(&shards_of(&call.command.spec, args, false));
            let result = attempt(call, args, &mut unit, &mut locked, now, settings);
            let Some(mut task) = unit.runner.effects.task.take() else { break (locked, result) };
            let is_clean =
                result.is_ok() && unit.output.is_empty() && unit.runner.changes.dirty == 0;
            assert!(is_clean, "{} did something and then asked for time", shown(call.args));
            drop(locked);
            task.run();
            unit.runner.effects.computed = Some(task);
        };
        self.append(call, &mut unit, &result, now);
        drop(locked);
        self.remove_found_due(&unit.runner.changes.found_due, now);
        unit.outcome(call, &self.content_of_keys(call), result)
    }

    /// As [`Self::run`], under locks that somebody else has taken.
    pub(super) fn run_locked(
        &mut self,
        call: &Call<'_>,
        locked: &mut Locked<'_>,
        now: i64,
        settings: &Settings,
    ) -> Outcome {
        let (buffer, ranges) = laid_out(call.args);
        let mut unit = Unit::new(content_in(locked, call), &mut self.random);
        let args = Args::new(&buffer, &ranges);
        let result = attempt(call, args, &mut unit, locked, now, settings);
        assert!(unit.runner.effects.task.is_none(), "{} asked for time it has", shown(call.args));
        self.append(call, &mut unit, &result, now);
        unit.outcome(call, &content_in(locked, call), result)
    }

    /// Writes to the journal what a command did, while its locks are held.
    fn append(&mut self, call: &Call<'_>, unit: &mut Unit, result: &CommandResult, now: i64) {
        let Runner { changes, effects, .. } = &unit.runner;
        unit.is_told = check_effects(call, result, changes, effects);
        unit.runner.effects.journal.wrap_in_transaction();
        self.journal.append(&mut unit.runner.effects.journal, (now / 1000) as u64);
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
        content_in(&self.lock_all(), call)
    }
}

/// As [`Store::content_of_keys`], under locks that cover the keys.
pub(super) fn content_in(locked: &Locked<'_>, call: &Call<'_>) -> Vec<KeyContent> {
    let (buffer, ranges) = laid_out(call.args);
    let args = Args::new(&buffer, &ranges);
    let mut content = Vec::new();
    call.command.spec.for_each_key(args, |index| {
        let record = locked.find(call.db, Key::new(args.at(index)), i64::MIN);
        content.push(record.map(|it| (it.deadline(), Content::of(it.value()))));
    });
    content
}

/// What one run of a command does, over all its attempts.
struct Unit {
    output: Output,
    runner: Runner,
    seed: u64,
    steps_at_once_max: u64,
    /// Whether looks at keys are remembered.
    notes_access: bool,
    /// A change of a key that is counted, or written to the journal.
    is_told: bool,
    /// What its keys held before.
    before: Vec<KeyContent>,
}

impl Unit {
    fn new(before: Vec<KeyContent>, random: &mut Random) -> Self {
        let mut runner = Runner::new(random.next_u64());
        runner.effects.is_journalled = true;
        runner.effects.listened = Some(EventClass::all());
        let seed = random.next_u64();
        Self {
            output: Output::new(),
            runner,
            seed,
            steps_at_once_max: u64::MAX,
            notes_access: true,
            is_told: false,
            before,
        }
    }

    fn outcome(mut self, call: &Call<'_>, after: &[KeyContent], result: CommandResult) -> Outcome {
        let mut reply = Vec::new();
        drain(&mut self.output, &mut reply);
        let is_one = match value::decode(&reply) {
            Ok(Some((_, used))) => used == reply.len(),
            _ => false,
        };
        let command = || shown(call.args);
        let is_due = if self.runner.effects.wait.is_some() { reply.is_empty() } else { is_one };
        assert!(is_due, "{} is not one reply to {}", text(&reply), command());
        let was_changed = self.before != after && self.runner.changes.expired_count == 0;
        assert!(!was_changed || self.is_told, "{} changed a key unnoticed", command());
        Outcome { reply, wait: self.runner.effects.wait, result }
    }
}

fn attempt(
    call: &Call<'_>,
    args: Args<'_>,
    unit: &mut Unit,
    locked: &mut Locked<'_>,
    now: i64,
    settings: &Settings,
) -> CommandResult {
    let due_keys = if call.is_replay { DueKeys::Shown } else { DueKeys::Removed };
    let occasion = Occasion {
        db: call.db,
        now,
        limits: &settings.limits,
        access: settings.access,
        view: ViewOptions { notes_access: unit.notes_access, due_keys },
        client: ClientFacts {
            protocol: call.protocol,
            may_wait: call.may_wait,
            is_script: false,
            is_trusted: call.is_replay,
            reads_every_key: true,
            steps_at_once_max: unit.steps_at_once_max,
        },
    };
    // A command that runs again makes the same choices.
    unit.runner.random = Random::with_seed(unit.seed);
    let mut reply = Reply::new(&mut unit.output, call.protocol);
    unit.runner.run(call.command, &occasion, &mut reply, args, locked)
}

fn write_due(due: &Due<'_>, effects: &mut JournalEffects) {
    match due {
        Due::Key { db, key, .. } => effects.command(*db as u32, &[b"UNLINK", key]),
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
pub(super) fn laid_out(args: &[Vec<u8>]) -> (Vec<u8>, Vec<ArgRange>) {
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
