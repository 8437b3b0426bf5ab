//! What the log is told of migrations, and how many of those that are over are remembered.

use super::{JobId, MigrationAction, Migrations};
use crate::effect::Level;

impl Migrations {
    pub(super) fn note(&mut self, id: JobId, text: &str) {
        self.log(id, Level::Notice, text);
    }

    pub(super) fn warn(&mut self, id: JobId, text: &str) {
        self.log(id, Level::Warning, text);
    }

    fn log(&mut self, id: JobId, level: Level, text: &str) {
        let text = format!("Slot migration {} {text}", self.job_mut(id).description());
        self.actions.push(MigrationAction::Log { level, text });
    }

    /// Forgets the oldest of those that are over, if there are too many.
    pub(super) fn trim_log(&mut self) {
        let mut excess = self.jobs.len().saturating_sub(self.config.log_len_max);
        let mut index = self.jobs.len();
        while 0 < excess && 0 < index {
            index -= 1;
            if self.jobs[index].is_over() {
                self.jobs.remove(index);
                excess -= 1;
            }
        }
        self.trim_tasks();
    }
}
