//! The threads that make long computations, so that neither shards nor workers wait for them. They take no shard's lock.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};
use rubine_commands::{Args, Task};

use crate::affinity;
use crate::client::{Client, ClientFlags};
use crate::dispatch::Core;
use crate::mailbox::Message;
use crate::server::Server;
use crate::transaction::OwnedArgs;
use rubine_system::process;

/// Computations of more steps than these are made here: some hundreds of microseconds.
pub(crate) const STEPS_AT_ONCE_MAX: u64 = 2048;

/// More threads would only take processor time from workers.
const THREADS_MAX: usize = 8;

/// What is to be computed. Invariant: a client has one task at most, so there are no more than clients.
#[derive(Default)]
pub(crate) struct Queue {
    jobs: Mutex<VecDeque<Job>>,
    has_jobs: Condvar,
}

enum Job {
    /// Make it, and give it back to the client's worker.
    Run { worker: usize, client: u64, task: Task },
    /// Drop it here, since that may take long.
    Drop(Box<dyn Send>),
}

impl Queue {
    /// Has something dropped, with all that it holds.
    pub(crate) fn discard(&self, garbage: impl Send + 'static) {
        self.push(Job::Drop(Box::new(garbage)));
    }

    /// Forgets what a client wanted, unless somebody is at it.
    fn cancel(&self, client: u64) {
        let is_its = |job: &Job| matches!(job, Job::Run { client: it, .. } if *it == client);
        let mut jobs = self.jobs.lock();
        let Some(index) = jobs.iter().position(is_its) else { return };
        if let Some(Job::Run { task, .. }) = jobs.remove(index) {
            jobs.push_back(Job::Drop(Box::new(task)));
        }
    }

    fn push(&self, job: Job) {
        self.jobs.lock().push_back(job);
        self.has_jobs.notify_one();
    }

    fn next(&self) -> Job {
        let mut jobs = self.jobs.lock();
        loop {
            if let Some(job) = jobs.pop_front() {
                return job;
            }
            self.has_jobs.wait(&mut jobs);
        }
    }
}

/// Starts the threads. They end with the process.
pub(crate) fn start(server: &'static Server) -> Result<(), String> {
    for index in 0..server.workers.len().min(THREADS_MAX) {
        std::thread::Builder::new()
            .name(format!("compute {index}"))
            .spawn(move || serve(server))
            .map_err(|error| format!("Can't start a thread: {error}"))?;
    }
    Ok(())
}

fn serve(server: &'static Server) {
    affinity::pin(server.config.load().bio_cpulist.as_deref());
    process::yield_to_others();
    loop {
        match server.computations.next() {
            Job::Run { worker, client, mut task } => {
                task.run();
                server.workers[worker].send(Message::Computed { client, task });
            }
            Job::Drop(garbage) => drop(garbage),
        }
    }
}

impl Core {
    /// Lets a client wait until what its command needs is computed; then the command runs again.
    #[cold]
    pub(crate) fn start_computing(&mut self, client: &mut Client, args: Args<'_>, task: Task) {
        client.postponed = Some(OwnedArgs::of(args));
        client.flags |= ClientFlags::COMPUTING;
        let job = Job::Run { worker: self.index, client: client.id, task };
        self.server.computations.push(job);
    }

    /// Forgets what is computed for a client that goes away.
    pub(crate) fn abandon_computing(&mut self, client: &mut Client) {
        if client.flags.contains(ClientFlags::COMPUTING) {
            self.server.computations.cancel(client.id);
        }
        if let Some(task) = client.computed.take() {
            self.server.computations.discard(task);
        }
    }
}
