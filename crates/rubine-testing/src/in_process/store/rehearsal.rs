//! Commands that run as one unit and are taken back: nothing may show that they ever ran.

use std::collections::BTreeMap;

use rubine_base::random::Random;
use rubine_commands::Args;
use rubine_keyspace::{Locked, Snapshot};
use rubine_structures::record::RecordRef;

use super::{Call, Store, StoreContent, Unit, laid_out, shown};
use crate::in_process::content::{Content, text};
use crate::in_process::settings::Settings;

/// Where a store has more keys, the first of about so many are compared, and how many there are.
const COMPARED_KEYS_MAX: usize = 200;

/// All that can be seen of a store, keys that are due included.
#[derive(Debug, Default, PartialEq, Eq)]
struct Picture {
    /// Keys, and those with a deadline, by database.
    counts: BTreeMap<usize, (usize, usize)>,
    content: StoreContent,
}

impl Picture {
    fn of_now(locked: &Locked<'_>) -> Self {
        let mut picture = Self::default();
        for shard in locked.shards() {
            for db in 0..shard.db_count() {
                for table in shard.tables(db).filter(|it| !it.is_empty()) {
                    picture.count(db, table.len(), table.volatile_len());
                    picture.add(db, |visit| assert_eq!(table.scan(0, usize::MAX, visit), None));
                }
            }
        }
        picture
    }

    fn of(snapshot: Snapshot) -> Self {
        let mut picture = Self::default();
        for (db, table) in snapshot.into_tables() {
            picture.count(db, table.len(), table.volatile_len());
            picture.add(db, |visit| assert_eq!(table.scan(0, usize::MAX, visit), None));
        }
        picture
    }

    fn count(&mut self, db: usize, len: usize, volatile_len: usize) {
        let counts = self.counts.entry(db).or_default();
        *counts = (counts.0 + len, counts.1 + volatile_len);
    }

    /// Adds what a table holds, unless there is too much already.
    fn add(&mut self, db: usize, walk: impl FnOnce(&mut dyn FnMut(RecordRef<'_>))) {
        if self.content.len() < COMPARED_KEYS_MAX {
            walk(&mut |record| {
                let value = (record.deadline(), Content::of(record.value()));
                self.content.insert((db, text(record.key())), value);
            });
        }
    }
}

impl Store {
    /// Runs `calls` as one unit and takes it back: first what came after the one in the middle, which then runs again, and
    /// then all. `with_snapshot` where an image of the time before is to be open meanwhile.
    ///
    /// # Panics
    /// If anything is not as it was.
    pub(in crate::in_process) fn rehearse(
        &self,
        calls: &[Call<'_>],
        with_snapshot: bool,
        now: i64,
        settings: &Settings,
    ) {
        let mut locked = self.lock_all();
        let before = Picture::of_now(&locked);
        let snapshot = with_snapshot.then(|| locked.snapshot());
        let mut unit = Unit::new(Vec::new(), &mut Random::with_seed(3));
        unit.notes_access = false;
        let start = unit.runner.begin_undo();
        let (first, rest) = calls.split_at(calls.len() / 2);
        run_all(first, &mut unit, &mut locked, now, settings);
        let at_middle = Picture::of_now(&locked);
        let told = told_by(&unit);
        let middle = unit.runner.mark();
        for _ in 0..2 {
            run_all(rest, &mut unit, &mut locked, now, settings);
            unit.runner.undo_to(&middle, &mut locked);
            check(rest, &at_middle, &Picture::of_now(&locked));
            assert_eq!(told, told_by(&unit), "what is told at a mark that was gone back to");
        }
        run_all(rest, &mut unit, &mut locked, now, settings);
        unit.runner.undo_to(&start, &mut locked);
        check(calls, &before, &Picture::of_now(&locked));
        assert_eq!(told_by(&unit), [0; 6], "what is told of nothing");
        if let Some(snapshot) = snapshot {
            check(calls, &before, &Picture::of(snapshot));
        }
        drop(locked);
        unit.runner.keep_all(&self.keyspace);
        for db in 0..settings.limits.databases {
            let expected = before.counts.get(&db).copied().unwrap_or_default();
            assert_eq!(expected, self.keyspace.key_counts(db), "the counts that anybody can see");
        }
    }
}

fn run_all(
    calls: &[Call<'_>],
    unit: &mut Unit,
    locked: &mut Locked<'_>,
    now: i64,
    settings: &Settings,
) {
    for call in calls {
        let (buffer, ranges) = laid_out(call.args);
        // An error is a result like others.
        let _ = super::attempt(call, Args::new(&buffer, &ranges), unit, locked, now, settings);
        let has_left = unit.runner.effects.task.is_some() || unit.runner.effects.wait.is_some();
        assert!(!has_left, "{} hands work out, or waits, in a unit", shown(call.args));
    }
}

/// Whatever a unit has counted or said.
fn told_by(unit: &Unit) -> [u64; 6] {
    let (changes, effects) = (&unit.runner.changes, &unit.runner.effects);
    [
        changes.dirty,
        changes.hits + changes.misses,
        changes.expired_count + changes.expired_fields,
        u64::from(changes.was_flushed),
        effects.journal.command_count() as u64,
        effects.events.len() as u64,
    ]
}

fn check(calls: &[Call<'_>], expected: &Picture, found: &Picture) {
    let commands = || calls.iter().map(|it| shown(it.args)).collect::<Vec<_>>().join("\n");
    assert!(
        expected == found,
        "before: {}\nwhen it was taken back: {}\n{}",
        crate::in_process::shortened(expected),
        crate::in_process::shortened(found),
        commands()
    );
}
