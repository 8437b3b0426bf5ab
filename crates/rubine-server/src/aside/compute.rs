//! The threads that make long computations, so that neither shards nor workers wait for them. They take no shard's lock.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use rubine_commands::Task;

use crate::mailbox::{Mailbox, Message};
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

/// Who wants something computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) worker: usize,
    pub(crate) client: u64,
}

enum Job {
    /// Make it, and give it back to the client's worker.
    Run(Asker, Task),
    /// Drop it here, since that may take long.
    Drop(Box<dyn Send>),
}

impl Queue {
    /// Has something dropped, with all that it holds.
    pub(crate) fn discard(&self, garbage: impl Send + 'static) {
        self.push(Job::Drop(Box::new(garbage)));
    }

    /// Has something computed and given back to whoever asks.
    pub(crate) fn compute(&self, asker: Asker, task: Task) {
        self.push(Job::Run(asker, task));
    }

    /// Forgets what a client wanted, unless somebody is at it.
    pub(crate) fn cancel(&self, client: u64) {
        let is_its = |job: &Job| matches!(job, Job::Run(asker, _) if asker.client == client);
        let mut jobs = self.jobs.lock();
        let Some(index) = jobs.iter().position(is_its) else { return };
        if let Some(Job::Run(_, task)) = jobs.remove(index) {
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

/// Starts the threads, each on the processors of `pin`. They end with the process.
pub(crate) fn start(
    queue: &Arc<Queue>,
    workers: &Arc<[Mailbox]>,
    pin: impl Fn() + Clone + Send + 'static,
) -> Result<(), String> {
    for index in 0..workers.len().min(THREADS_MAX) {
        let (queue, workers, pin) = (Arc::clone(queue), Arc::clone(workers), pin.clone());
        let serve = move || {
            pin();
            serve(&queue, &workers);
        };
        std::thread::Builder::new()
            .name(format!("compute {index}"))
            .spawn(serve)
            .map_err(|error| format!("Can't start a thread: {error}"))?;
    }
    Ok(())
}

fn serve(queue: &Queue, workers: &[Mailbox]) {
    process::yield_to_others();
    loop {
        match queue.next() {
            Job::Run(Asker { worker, client }, mut task) => {
                task.run();
                workers[worker].send(Message::Computed { client, task });
            }
            Job::Drop(garbage) => drop(garbage),
        }
    }
}
