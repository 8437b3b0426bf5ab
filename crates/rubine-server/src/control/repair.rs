//! Sends replicas again what they have otherwise. A key is sent as it is at that moment, in one unit that takes it away and makes
//! it anew, under the lock of its shard: so it stands in the stream between what changed it before and what changes it
//! after, for replicas of replicas, too. Nothing of this server's own data changes, and nothing goes to its own log.

use std::sync::Arc;
use std::time::Duration;

use rubine_base::clock::unix_millis;
use rubine_base::hash::HashSet;
use rubine_journal::{Effects, Side};
use rubine_keyspace::{Key, ShardSet};
use rubine_persistence::rewrite::write_record;
use rubine_resp::command::INTO_MEMORY;
use rubine_storage::pace::{Pace, Share};
use rubine_structures::record::{Record, RecordRef};
use rubine_system::process;

use crate::control::verify::{check_role, in_stream};
use crate::process::logging::log;
use crate::replication::verification::{Phase, Repair, Run};
use crate::server::Server;

/// What is larger is written while its shard is not locked.
const SMALL_BYTES_MAX: usize = 64 * 1024;
/// How often a large value that changes meanwhile is written in vain, before its shard is locked for it.
const ATTEMPTS_MAX: usize = 8;
/// While a replica is so far behind, nothing is added.
const LAG_BYTES_MAX: u64 = 32 << 20;
const LOOK: Duration = Duration::from_millis(10);

/// A database and a key.
type Place = (u32, Box<[u8]>);

/// Begins to send again what the last comparison has named. Returns how many keys these are.
pub(crate) fn start(server: &'static Server) -> Result<usize, String> {
    if server.replication.following.is_replica() {
        return Err("this server is a replica: its primary repairs".to_owned());
    }
    check_role(server)?;
    let run = server.replication.verification.last().ok_or("nothing was verified yet")?;
    let places = places(&run)?;
    let count = places.len();
    run.clear_cancellation();
    let repair = Repair { keys: count, sent: 0, is_over: false, failure: None };
    run.report.lock().repair = Some(repair);
    let for_thread = Arc::clone(&run);
    let work = move || conclude(&for_thread, send_all(server, &for_thread, &places));
    if let Err(error) = std::thread::Builder::new().name("repair".to_owned()).spawn(work) {
        let reason = format!("no thread can be started: {error}");
        conclude(&run, Err(reason.clone()));
        return Err(reason);
    }
    log::notice!("Repair of {count} keys started");
    Ok(count)
}

/// The keys that differ, each once, whatever the number of replicas that it differs at.
fn places(run: &Run) -> Result<Vec<Place>, String> {
    if run.is_busy() {
        return Err("a verification or a repair is in progress".to_owned());
    }
    let report = run.report.lock();
    if report.phase != Phase::Done {
        return Err("the last verification did not come to its end".to_owned());
    }
    let places: HashSet<Place> =
        report.differences.named().iter().map(|it| (it.db, it.key.clone())).collect();
    if places.is_empty() {
        return Err("the last verification found nothing to repair".to_owned());
    }
    Ok(places.into_iter().collect())
}

fn send_all(server: &'static Server, run: &Run, places: &[Place]) -> Result<(), String> {
    process::yield_to_others();
    let mut pace = Pace::new(Share::Half);
    let mut effects = Effects::new();
    for (db, key) in places {
        wait_for_replicas(server, run)?;
        send_again(server, &mut effects, *db, key)?;
        server.journal.notify();
        if let Some(repair) = &mut run.report.lock().repair {
            repair.sent += 1;
        }
        pace.step();
    }
    Ok(())
}

/// Waits while a replica is far behind: it would be cut.
fn wait_for_replicas(server: &Server, run: &Run) -> Result<(), String> {
    loop {
        if run.is_cancelled() {
            return Err("it was cancelled".to_owned());
        }
        check_role(server)?;
        if server.journal.status().lag_bytes_max < LAG_BYTES_MAX {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

fn send_again(
    server: &'static Server,
    effects: &mut Effects,
    db: u32,
    name: &[u8],
) -> Result<(), String> {
    let key = Key::new(name);
    let mut written: Option<(Record, Vec<u8>)> = None;
    let mut attempt = 0;
    loop {
        let locked = server.keyspace.lock(&ShardSet::of(key));
        let now = unix_millis();
        let commands = match locked.find(db as usize, key, now) {
            None => Some(Vec::new()),
            Some(found) => match written.take() {
                Some((record, commands)) if is_same(record.as_ref(), found) => Some(commands),
                _ if attempt < ATTEMPTS_MAX && SMALL_BYTES_MAX < found.bytes_with_value() => {
                    let (value, deadline) = (found.value().to_value(), found.deadline());
                    drop(locked);
                    let record = Record::new(name, value, deadline, 0);
                    let commands = commands_of(record.as_ref());
                    written = Some((record, commands));
                    attempt += 1;
                    continue;
                }
                _ => Some(commands_of(found)),
            },
        };
        effects.command(db, &[b"UNLINK", name]);
        if let Some(commands) = commands.filter(|it| !it.is_empty()) {
            effects.encoded(db, &commands);
        }
        effects.wrap_in_transaction();
        let second = (now / 1000) as u64;
        return in_stream(server, || server.journal.append_for(Side::Replicas, effects, second))
            .map(drop);
    }
}

fn commands_of(record: RecordRef<'_>) -> Vec<u8> {
    let mut commands = Vec::new();
    write_record(record, &mut commands).expect(INTO_MEMORY);
    commands
}

/// Whether a key still holds what was written down.
fn is_same(written: RecordRef<'_>, found: RecordRef<'_>) -> bool {
    written.deadline() == found.deadline() && written.value().is_same(found.value())
}

fn conclude(run: &Run, outcome: Result<(), String>) {
    let mut report = run.report.lock();
    let Some(repair) = &mut report.repair else { return };
    repair.is_over = true;
    match &outcome {
        Ok(()) => log::notice!("Repair: {} keys were sent again", repair.sent),
        Err(reason) => {
            log::warning!("Repair ended after {} of {} keys: {reason}", repair.sent, repair.keys);
        }
    }
    repair.failure = outcome.err();
}
