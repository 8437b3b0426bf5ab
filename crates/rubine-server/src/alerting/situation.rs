//! What of the configuration built-in rules depend on.

use parking_lot::Mutex;
use rubine_alerts::{Backups, Situation};
use rubine_backup::schedule::Schedule;
use rubine_base::clock::unix_millis;
use rubine_config::{Config, SavePoint};

/// Looks at configurations, again and again.
#[derive(Default)]
pub(super) struct Situations {
    /// The last schedule of backups, and the longest time between two of them, in seconds: it takes a while to find out.
    schedule: Mutex<(String, Option<u64>)>,
}

impl Situations {
    pub(super) fn of(&self, config: &Config) -> Situation {
        let seconds = |it: &SavePoint| it.seconds;
        Situation {
            save_seconds_max: config.save.iter().map(seconds).max(),
            has_maxmemory: config.maxmemory != 0,
            is_node: config.cluster_enabled,
            backups: (!config.backup_url.is_empty()).then(|| Backups {
                seconds_max: self.longest_gap(&config.backup_schedule),
                has_log: config.backup_pitr,
            }),
        }
    }

    fn longest_gap(&self, text: &str) -> Option<u64> {
        let mut known = self.schedule.lock();
        if known.0 != text {
            let schedule = Schedule::parse(text).ok().flatten();
            let gap = schedule.and_then(|it| it.longest_gap(unix_millis()));
            let seconds = gap.and_then(|it| u64::try_from(it / 1000).ok());
            *known = (text.to_owned(), seconds);
        }
        known.1
    }
}
