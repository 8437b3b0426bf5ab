//! Following a master: the thread that keeps the link, takes in what it sends, and runs it; and the orders to begin and to end
//! that. Waits for nobody while a worker waits for it.

mod apply;
mod driver;
mod held;
mod sync;
mod verify;
mod wire;

use std::io;

use mio::{Poll, Waker};
use rubine_config::ReplicaOf;
use rubine_journal::{Origin, Point};
use rubine_keyspace::Locked;

use self::driver::Driver;
use self::wire::WAKER;
use crate::core::SessionHandler;
use crate::process::identity::new_history_id;
use crate::process::logging::Role;
use crate::server::Server;

/// Follows another server from now on. Clients' waits end before anything of it is applied.
pub(crate) fn follow(
    server: &'static Server,
    handlers: &'static [SessionHandler],
    master: ReplicaOf,
) -> io::Result<()> {
    let following = &server.replication.following;
    following.change(true, || server.config.set_replicaof(Some(master)));
    set_role(server, Role::Replica);
    start_thread(server, handlers)?;
    following.wake();
    Ok(())
}

/// Follows nobody any more: what clients write from now on belongs to a history of this server's own, which goes on where the
/// master's was left. Returns where that is; `None` if it followed nobody. All shards are locked.
///
/// # Panics
/// If one is not.
pub(crate) fn promote(server: &'static Server, locked: &Locked<'_>) -> Option<Point> {
    assert!(locked.is_whole(), "no unit of the master is under way");
    let following = &server.replication.following;
    if !following.is_replica() {
        return None;
    }
    let parted = server.journal.begin_history(new_history_id(), Origin::Here);
    server.cut_replicas();
    // What was confirmed of the master's is nothing that a client of this server waits for.
    let mut waiting = Vec::new();
    server.replication.replicas.quorum.restart(parted.position, &mut waiting);
    following.change(false, || server.config.set_replicaof(None));
    set_role(server, Role::Primary);
    // A sync that did not come to its end has left it off.
    server.aof.set_wanted(server.config.load().appendonly);
    following.wake();
    Some(parted)
}

/// Before clients are served: what this server is.
pub(crate) fn prepare(server: &Server) {
    if server.config.load().replicaof.is_some() {
        server.replication.following.change(true, || {});
        set_role(server, Role::Replica);
    }
}

/// Follows the master that the configuration names, once the data of before is loaded.
pub(crate) fn begin_configured(
    server: &'static Server,
    handlers: &'static [SessionHandler],
) -> Result<(), String> {
    if server.config.load().replicaof.is_none() {
        return Ok(());
    }
    start_thread(server, handlers).map_err(|error| format!("Can't start a thread: {error}"))
}

/// Has the log and the kernel know what this server is.
fn set_role(server: &Server, role: Role) {
    // A score that the kernel refuses is told in the log.
    let _ = server.process.oom_score.apply(&server.config.load());
    if let Some(logger) = &server.process.logger {
        logger.set_role(role);
    }
}

fn start_thread(server: &'static Server, handlers: &'static [SessionHandler]) -> io::Result<()> {
    server.replication.following.start_once(|| {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let driver = Driver::new(server, handlers, poll)?;
        std::thread::Builder::new().name("follower".to_owned()).spawn(move || driver.run())?;
        Ok(waker)
    })
}
