//! Keys and fields that fall due without anybody asking for them: what the log and listeners are told.

use rubine_commands::{Effects, Event, EventClass};
use rubine_journal::Side;
use rubine_keyspace::Due;

use super::unit::publish_events;
use crate::server::Server;
use crate::stats::WorkerStats;
use crate::tracking::Outbox;

/// Tells the journal and listeners what fell due and was removed, while its shard is locked.
pub(crate) fn tell_due(
    server: &Server,
    stats: &WorkerStats,
    effects: &mut Effects,
    outbox: &mut Outbox,
    now: i64,
    due: &Due<'_>,
) {
    // Asked under the lock of the shard: a log that is switched on meanwhile has the key, and needs to hear that it goes.
    effects.is_journalled = server.journal.is_active();
    if server.trackers.has_any() {
        let (Due::Key { key, readers, .. } | Due::Fields { key, readers, .. }) = due;
        server.trackers.invalidate_gone(&server.workers, key, readers.as_ref(), outbox);
    }
    match *due {
        Due::Key { db, key, .. } => {
            stats.expired_keys.add(1);
            if effects.is_journalled {
                effects.journal.command(db as u32, &[b"UNLINK", key]);
            }
            notify(effects, Event::EXPIRED, db, key);
        }
        Due::Fields { db, key, fields, is_empty, .. } => {
            stats.expired_fields.add(fields.len() as u64);
            if effects.is_journalled {
                let mut writer = effects.journal.begin(db as u32, fields.len() + 2);
                writer.argument(b"HDEL").argument(key);
                for field in fields {
                    writer.argument(field);
                }
            }
            // Of another class than the same event of a command, as in Valkey.
            let event = Event { class: EventClass::EXPIRED, ..Event::HEXPIRED };
            notify(effects, event, db, key);
            if is_empty {
                notify(effects, Event::DEL, db, key);
            }
        }
    }
    let mut end = 0;
    if !effects.journal.is_empty() {
        let second = (now / 1000) as u64;
        end = if server.replication.following.is_replica() {
            // One of its own keys, which is no part of the master's history.
            server.journal.append_for(Side::Disk, &mut effects.journal, second)
        } else {
            server.journal.append(&mut effects.journal, second)
        };
    }
    if !effects.events.is_empty() {
        let waits_for_disk = server.settings.load().waits_for_disk;
        publish_events(server, effects, if waits_for_disk { end } else { 0 });
    }
}

fn notify(effects: &mut Effects, event: Event, db: usize, key: &[u8]) {
    let is_wanted = |class: EventClass| class.contains(event.class);
    if effects.listened.is_some_and(is_wanted) {
        effects.events.push((event, db, key.into()));
    }
}
