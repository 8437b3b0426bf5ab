//! The end of the server, in order: writes are held back, what is to be saved is saved, and only then do the workers
//! end. If saving fails, the server goes on. Runs on a thread of its own, so that reads go on being served.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use rubine_base::clock::{monotonic_millis, unix_millis};

use crate::cluster::Cluster;
use crate::mailbox::Message;
use crate::pause::Hold;
use crate::persistence::load::wait_for_running_commands;

use crate::server::{Asker, Server};
use rubine_config::ShutdownOptions;
use rubine_keyspace::ShardSet;
use rubine_replication::leader::State;
use rubine_storage::disk::Disk;
use rubine_storage::dump_file::Directory;
use rubine_storage::saves::{self, Kind, Outcome, Start};
use rubine_storage::{dumps, log_load};

/// What a client is told when the server does not end.
const FAILED: &str = "ERR Errors trying to SHUTDOWN. Check logs.";

/// Replicas from this version on take a primary's place when it says so in its stream.
const HANDS_OVER_FROM: u32 = 0x09_00_00;
/// So long is waited at most until a replica has heard that it is to take over.
const HAND_OVER_MS_MAX: u64 = 1000;
/// So long is waited at most for the configuration of the cluster to be saved.
const SAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often it is looked whether a save is over that cannot be ended, and for how long in all: 30 s.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS_MAX: usize = 6_000;

/// Begins the end that a signal has asked for.
pub(crate) fn begin_asked(server: &'static Server) {
    if let Some(options) = server.shutdown.take_asked() {
        begin(server, options, None);
    }
}

/// Begins the end, unless it has begun; `asker` gets a reply only if it fails.
pub(crate) fn begin(server: &'static Server, options: ShutdownOptions, asker: Option<Asker>) {
    let Some(is_aborted) = server.shutdown.begin(asker) else { return };
    let run = move || {
        if !finish(server, options, &is_aborted) {
            give_up(server);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("shutdown".to_owned()).spawn(run) {
        tracing::warn!("Can't shut down in order: no thread can be started: {error}");
        give_up(server);
    }
}

/// Returns false if the server has to go on.
fn finish(server: &'static Server, options: ShutdownOptions, is_aborted: &AtomicBool) -> bool {
    let config = server.config.load();
    let is_forced = options.contains(ShutdownOptions::FORCE);
    if !options.contains(ShutdownOptions::NOW) {
        wait_for_replicas(server, is_aborted);
        if is_aborted.load(Ordering::Acquire) {
            return false;
        }
    }
    tell_of_replicas(server);
    if let Some(cluster) = &server.cluster
        && !may_leave(server, cluster, options)
    {
        return false;
    }
    // What is not complete must not take the place of what is.
    let may_save = !server.persistence.is_loading();
    let is_wanted = server.sentinel.is_none()
        && (options.contains(ShutdownOptions::SAVE)
            || (!config.save.is_empty() && !options.contains(ShutdownOptions::NOSAVE)));
    if server.persistence.saves.cancel_background() {
        tracing::warn!("There is a background save going on. It ends without a file.");
    }
    if server.aof.waits_for_base() && may_save {
        if !is_forced {
            tracing::warn!("Writing initial AOF, can't exit.");
            return false;
        }
        tracing::warn!("Writing initial AOF. Exit anyway.");
    }
    if may_save && is_wanted {
        // The file shall have all that anybody was told is written.
        server.pause.hold(Hold::Shutdown, true);
        wait_for_running_commands(server);
        wait_for_scripts(server, is_aborted);
        tracing::info!("Saving the final RDB snapshot before exiting.");
        let is_saved = save(server);
        if is_aborted.load(Ordering::Acquire) {
            return false;
        }
        if !is_saved && is_forced {
            tracing::warn!("Error trying to save the DB. Exit anyway.");
        } else if !is_saved {
            tracing::warn!("Error trying to save the DB, can't exit.");
            return false;
        }
    }
    if may_save && server.aof.is_enabled() {
        server.pause.hold(Hold::Shutdown, true);
        wait_for_running_commands(server);
        wait_for_scripts(server, is_aborted);
        if let Err(reason) = log_load::write_all(server.storage()) {
            if !is_forced {
                tracing::warn!("Error writing the append-only file, can't exit: {reason}");
                return false;
            }
            tracing::warn!("Error writing the append-only file: {reason}. Exit anyway.");
        }
    }
    if is_aborted.load(Ordering::Acquire) {
        return false;
    }
    crate::process::supervision::say_stopping(config.supervised);
    // Nobody who is cut off shall find the door open.
    server.ports.listening.close_all();
    server.shut_down();
    true
}

/// Waits until replicas have everything, but not for ever. Nothing is written meanwhile.
fn wait_for_replicas(server: &'static Server, is_aborted: &AtomicBool) {
    let timeout_ms = u64::from(server.config.load().shutdown_timeout) * 1000;
    let lags = || server.replication.replicas.are_behind(&server.journal);
    if timeout_ms == 0 || server.replication.following.is_replica() || !lags() {
        return;
    }
    tracing::info!("Waiting for replicas before shutting down.");
    server.pause.hold(Hold::Shutdown, true);
    wait_for_running_commands(server);
    let ends_at = monotonic_millis() + timeout_ms;
    server.shutdown.set_deadline(Some(ends_at));
    while lags() && monotonic_millis() < ends_at && !is_aborted.load(Ordering::Acquire) {
        std::thread::sleep(LOOK);
    }
    server.shutdown.set_deadline(None);
}

/// Says in the log what replicas lack.
fn tell_of_replicas(server: &Server) {
    if server.replication.following.is_replica() {
        return;
    }
    let end = server.journal.point().offset;
    let now = monotonic_millis();
    let (mut in_sync, mut total) = (0, 0);
    server.replication.replicas.with(|leader| {
        for (_, replica) in leader.replicas() {
            total += 1;
            if replica.acknowledged == end {
                in_sync += 1;
                continue;
            }
            tracing::info!(
                "Lagging replica {} reported offset {} behind master, lag={}, state={}.",
                replica.name(),
                end.0.saturating_sub(replica.acknowledged.0),
                replica.lag_seconds(now).unwrap_or(0),
                replica.state.name().unwrap_or_default()
            );
        }
    });
    if 0 < total {
        tracing::info!("{in_sync} of {total} replicas are in sync when shutting down.");
    }
}

/// Whether this node may leave its cluster, in which a replica takes its place at once if the options say so.
fn may_leave(server: &'static Server, cluster: &Cluster, options: ShutdownOptions) -> bool {
    let view = cluster.view();
    let votes = !view.is_replica() && view.owners.contains(&view.me);
    if votes && options.contains(ShutdownOptions::SAFE) {
        let text = "This is a voting primary. Shutting down may cause the cluster to go down.";
        if !options.contains(ShutdownOptions::FORCE) {
            tracing::warn!("{text} Can't exit.");
            return false;
        }
        tracing::warn!("{text} Exit anyway.");
    }
    if options.contains(ShutdownOptions::FAILOVER) && !view.is_replica() {
        hand_over(server);
    }
    tracing::info!("Saving the cluster configuration file before exiting.");
    cluster.save_and_wait(SAVE_TIMEOUT);
    true
}

/// Tells a replica that has everything to take this node's place, and waits until it has heard of it.
fn hand_over(server: &'static Server) {
    server.pause.hold(Hold::Shutdown, true);
    wait_for_running_commands(server);
    let end = server.journal.point().offset;
    let candidate = server.replication.replicas.with(|leader| {
        let mut best = Ok(None);
        for (_, replica) in leader.replicas() {
            if replica.introduction.version.is_none_or(|it| it < HANDS_OVER_FROM) {
                best = Err("there are legacy replicas");
                break;
            }
            let is_ready = replica.state == State::Online && replica.acknowledged == end;
            if let Some(id) = replica.introduction.node_id.clone().filter(|_| is_ready) {
                best = Ok(Some(id));
            }
        }
        best
    });
    let id = match candidate {
        Ok(Some(id)) => id,
        Ok(None) => {
            tracing::info!("Unable to find a replica to perform the auto failover on shutdown.");
            return;
        }
        Err(why) => {
            tracing::info!("Unable to perform auto failover on shutdown since {why}.");
            return;
        }
    };
    let words: [&[u8]; 5] = [b"CLUSTER", b"FAILOVER", b"FORCE", b"REPLICAID", &id];
    let second = (unix_millis() / 1000) as u64;
    server.journal.tell_replicas(&words, second);
    let told = server.journal.tell_replicas(&[b"REPLCONF", b"GETACK", b"*"], second);
    server.journal.notify();
    tracing::info!(
        "Perform auto failover to replica {} on shutdown.",
        String::from_utf8_lossy(&id)
    );
    let ends_at = monotonic_millis() + HAND_OVER_MS_MAX;
    let replicas = &server.replication.replicas;
    while replicas.acknowledged.count(told) == 0 && monotonic_millis() < ends_at {
        std::thread::sleep(LOOK);
    }
}

/// Waits until no script runs for long any more. Those for which nobody else would wait are ended, and what they wrote is put
/// back: nobody was told of it.
fn wait_for_scripts(server: &Server, is_aborted: &AtomicBool) {
    while !is_aborted.load(Ordering::Acquire) && server.scripting.is_any_long() {
        server.scripting.end_busy();
        std::thread::sleep(LOOK);
    }
}

/// Saves, after whatever save goes on has been ended.
fn save(server: &'static Server) -> bool {
    server.persistence.saves.cancel_any();
    for _ in 0..LOOKS_MAX {
        let (sender, ended) = channel();
        let on_end = move |outcome| {
            // Whoever waits is there until it is told.
            let _ = sender.send(outcome);
        };
        let locked = server.keyspace.lock(&ShardSet::All);
        let (now, on_end) = (unix_millis(), Box::new(on_end));
        match dumps::start(server.storage(), Kind::Foreground, now, locked, on_end) {
            Start::Started => return ended.recv() == Ok(Outcome::Saved),
            // One that is just being given its name cannot be ended any more.
            Start::Saving => std::thread::sleep(LOOK),
            Start::Rewriting | Start::Failed => return false,
        }
    }
    false
}

/// The server goes on: writes may, too, and whoever asked for the end is told.
fn give_up(server: &'static Server) {
    tracing::warn!("Errors trying to shut down the server. Check the logs for more information.");
    server.pause.hold(Hold::Shutdown, false);
    for asker in server.shutdown.give_up() {
        asker.answer(&server.workers, |reply| reply.error(FAILED));
    }
    for worker in server.workers.iter() {
        worker.send(Message::PauseChanged);
    }
}

/// Ends the process at once, without anything left behind that nobody would look for.
pub(crate) fn end_at_once() -> ! {
    tracing::warn!("You insist... exiting now.");
    if let Ok(directory) = Directory::current(&Disk::default()) {
        directory.remove(&saves::foreground_name());
    }
    std::process::exit(1);
}
