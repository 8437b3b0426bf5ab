//! What INFO tells of deadlines, from a bounded number of records. Never changes anything.

use rubine_structures::record::RecordRef;
use rubine_structures::table::Table;
use rubine_structures::value::ValueRef;

use crate::shard::Shard;

/// What was seen of one database.
#[derive(Clone, Copy, Debug, Default)]
pub struct Survey {
    /// Records that were looked at.
    pub examined: u64,
    /// Those with a deadline, and the time that they have left together, in milliseconds.
    pub volatile: u64,
    pub time_left_ms: u64,
    /// Those of which an element has a deadline.
    pub with_volatile_items: u64,
}

impl Shard {
    /// Keys of a database that a survey would look at: none where nothing has a deadline.
    pub fn survey_len(&self, db: usize) -> usize {
        self.tables(db).filter(|it| it.has_deadlines()).map(Table::len).sum()
    }

    /// Looks at some `count` records of a database; at all, if it has fewer.
    pub fn survey(&self, db: usize, count: usize, now: i64, survey: &mut Survey) {
        let mut examined = 0;
        for table in self.tables(db).filter(|it| it.has_deadlines()) {
            let mut cursor = Some(0);
            while let Some(at) = cursor
                && examined < count
            {
                cursor = table.scan(at, count - examined, |record| {
                    examined += 1;
                    survey.add(record, now);
                });
            }
        }
    }
}

impl Survey {
    fn add(&mut self, record: RecordRef<'_>, now: i64) {
        self.examined += 1;
        if let Some(deadline) = record.deadline() {
            self.volatile += 1;
            self.time_left_ms += deadline.saturating_sub(now).max(0) as u64;
        }
        if let ValueRef::Hash(hash) = record.value() {
            self.with_volatile_items += u64::from(hash.has_deadlines());
        }
    }
}
