//! The threads that carry keys to other servers for MIGRATE, so that no worker waits for one of those, and the
//! connections that are kept for the next keys. They take no shard's lock.

mod connection;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rubine_base::clock::monotonic_nanos;
use rubine_commands::{CommandError, Shipment, Target};
use rubine_net::tls::ClientConfig;

use self::connection::Connection;
use crate::mailbox::{Mailbox, Message};

/// Servers that keep us waiting at the same time; further shipments have to wait for one of these. Each takes a thread,
/// which sleeps.
const THREADS_MAX: usize = 64;
/// A thread ends when it has had nothing to do for so long.
const THREAD_IDLE: Duration = Duration::from_secs(10);

/// Connections that are kept, and for how long, as in Redis.
const CONNECTIONS_MAX: usize = 64;
const CONNECTION_IDLE_NANOS: u64 = 10 * 1_000_000_000;

/// What is to be carried away, and how. Invariant: a client has one shipment at most, so there are no more than clients.
#[derive(Default)]
pub(crate) struct Migrations {
    state: Mutex<State>,
    has_jobs: Condvar,
    kept: Mutex<Vec<Kept>>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    /// Those of them that wait for a job.
    idle: usize,
}

/// A shipment and the client that asks for it.
pub(crate) struct Job {
    pub(crate) worker: usize,
    pub(crate) client: u64,
    pub(crate) shipment: Box<Shipment>,
    /// What TLS is spoken with, if it is.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// A connection that nobody uses.
struct Kept {
    target: Target,
    is_tls: bool,
    connection: Connection,
    since_nanos: u64,
}

impl Migrations {
    /// Sends what is in a shipment, and notes in it what has become of it. Waits as long as the target may take.
    pub(crate) fn carry(&self, shipment: &mut Shipment, tls: Option<&Arc<ClientConfig>>) {
        let mut kept = self.take(&shipment.target, tls.is_some());
        loop {
            let was_kept = kept.is_some();
            let opened = match kept.take() {
                Some(connection) => Ok(connection),
                None => Connection::open(&shipment.target, shipment.timeout_ms, tls),
            };
            let mut connection = match opened {
                Ok(connection) => connection,
                Err(error) => {
                    let (host, port) = (&shipment.target.host, &shipment.target.port);
                    let (host, port) = (host.escape_ascii(), port.escape_ascii());
                    tracing::debug!("MIGRATE cannot connect to {host}:{port}: {error}");
                    // Redis learns of a refusal when it writes, but not with TLS.
                    return shipment.break_off(match error.kind() {
                        ErrorKind::ConnectionRefused if tls.is_none() => {
                            CommandError::TargetNotWritten
                        }
                        _ => CommandError::TargetNotReached,
                    });
                }
            };
            match connection.deliver(shipment) {
                Ok(()) => return self.keep(&shipment.target, tls.is_some(), connection),
                // It may have been closed while nobody used it.
                Err(broken) if was_kept && broken.may_be_stale => {}
                Err(broken) => return shipment.break_off(broken.error),
            }
        }
    }

    /// How many connections are kept.
    pub(crate) fn kept_connections(&self) -> usize {
        self.kept.lock().len()
    }

    /// Closes connections that nobody has used for a while.
    pub(crate) fn close_idle(&self) {
        let mut kept = self.kept.lock();
        if !kept.is_empty() {
            let now = monotonic_nanos();
            kept.retain(|it| now.saturating_sub(it.since_nanos) < CONNECTION_IDLE_NANOS);
        }
    }

    fn take(&self, target: &Target, is_tls: bool) -> Option<Connection> {
        let mut kept = self.kept.lock();
        loop {
            let is_meant = |it: &Kept| it.is_tls == is_tls && it.target == *target;
            let index = kept.iter().position(is_meant)?;
            let mut connection = kept.swap_remove(index).connection;
            if connection.is_alive() {
                return Some(connection);
            }
        }
    }

    fn keep(&self, target: &Target, is_tls: bool, connection: Connection) {
        if !connection.is_reusable() {
            return;
        }
        let mut kept = self.kept.lock();
        if CONNECTIONS_MAX <= kept.len() {
            let oldest = (0..kept.len()).min_by_key(|&index| kept[index].since_nanos);
            kept.swap_remove(oldest.expect("there are connections"));
        }
        let (target, since_nanos) = (target.clone(), monotonic_nanos());
        kept.push(Kept { target, is_tls, connection, since_nanos });
    }

    /// Forgets what a client wanted, unless it is under way. What is under way arrives, but nothing is removed for it.
    pub(crate) fn cancel(&self, client: u64) -> Option<Box<Shipment>> {
        let mut state = self.state.lock();
        let index = state.jobs.iter().position(|it| it.client == client)?;
        state.jobs.remove(index).map(|it| it.shipment)
    }

    /// The next job; `None` if there has been none for so long that the thread ends.
    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state.idle += 1;
            let is_over = self.has_jobs.wait_for(&mut state, THREAD_IDLE).timed_out();
            state.idle -= 1;
            if is_over && state.jobs.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }
}

/// Has a shipment carried away by a thread, which then tells the client's worker.
pub(crate) fn start(migrations: &Arc<Migrations>, workers: &Arc<[Mailbox]>, job: Job) {
    let mut state = migrations.state.lock();
    state.jobs.push_back(job);
    if state.jobs.len() <= state.idle {
        migrations.has_jobs.notify_one();
        return;
    }
    if THREADS_MAX <= state.threads {
        return;
    }
    let name = "migrate".to_owned();
    let serve = {
        let (migrations, workers) = (Arc::clone(migrations), Arc::clone(workers));
        move || serve(&migrations, &workers)
    };
    match std::thread::Builder::new().name(name).spawn(serve) {
        Ok(_) => state.threads += 1,
        Err(error) => {
            tracing::warn!("Can't start a thread for MIGRATE: {error}");
            if state.threads == 0
                && let Some(mut job) = state.jobs.pop_back()
            {
                job.shipment.break_off(CommandError::TargetNotReached);
                give_back(workers, job);
            }
        }
    }
}

fn serve(migrations: &Migrations, workers: &[Mailbox]) {
    while let Some(mut job) = migrations.next() {
        migrations.carry(&mut job.shipment, job.tls.as_ref());
        give_back(workers, job);
    }
}

fn give_back(workers: &[Mailbox], job: Job) {
    let Job { worker, client, shipment, .. } = job;
    workers[worker].send(Message::Shipped { client, shipment });
}
