//! What the threads for scripts have to do. There are so many places; a script that finds none waits without any lock.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rubine_scripting::ScriptFlags;

use crate::client::away::{Away, Likeness, Slot};
use crate::client::request::OwnedArgs;
use crate::mailbox::{Mailbox, Message};

/// Scripts that run side by side beside the workers.
pub(crate) const SCRIPT_THREADS_MAX: usize = 8;

/// The threads for scripts. They are started when they are first needed.
#[derive(Default)]
pub(crate) struct ScriptThreads {
    state: Mutex<State>,
    has_jobs: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Which numbers are a thread's.
    threads: [bool; SCRIPT_THREADS_MAX],
    /// Threads that wait for a job.
    idle: usize,
    /// Places that are taken. Invariant: there are no more jobs than these.
    taken: usize,
    /// Who waits for a place: worker and client.
    waiting: VecDeque<(usize, u64)>,
}

/// A script that is to be run.
pub(crate) struct Job {
    /// Whose it is.
    pub(crate) worker: usize,
    pub(crate) client: Likeness,
    pub(crate) given: Given,
    pub(crate) rules: Rules,
    pub(crate) command: OwnedArgs,
    pub(crate) key_count: usize,
    /// The unit that it is to run in, which has begun.
    pub(crate) away: Away,
    pub(crate) slot: Slot,
    pub(crate) debugged: Option<Debugged>,
}

/// A script that is run by the debugger.
pub(crate) struct Debugged {
    /// The client's connection.
    pub(crate) connection: OwnedFd,
    /// What the script writes is kept.
    pub(crate) is_kept: bool,
}

/// By what a script is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    Text,
    Sha,
    /// By the name of a function.
    Function,
}

/// What kind of script runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScriptKind {
    /// EVAL and its siblings.
    Script,
    /// FCALL.
    Function,
}

impl ScriptKind {
    /// What others are told while one of this kind is busy.
    pub(crate) fn busy(self) -> &'static str {
        match self {
            Self::Script => {
                "BUSY Rubine is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
            }
            Self::Function => {
                "BUSY Rubine is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
            }
        }
    }
}

/// What a script may do, by its flags and by how it is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) kind: ScriptKind,
    /// Those that it declares.
    pub(crate) flags: ScriptFlags,
    pub(crate) is_read_only: bool,
    /// Commands that add data are refused until it has changed something.
    pub(crate) is_out_of_memory: bool,
    /// An error puts back what it wrote.
    pub(crate) is_atomic: bool,
}

impl ScriptThreads {
    /// A place for a client's script. If there is none, the worker gets one by mail.
    pub(crate) fn take_place(
        self: &Arc<Self>,
        workers: &Arc<[Mailbox]>,
        worker: usize,
        client: u64,
    ) -> Option<Slot> {
        let mut state = self.state.lock();
        if state.taken == SCRIPT_THREADS_MAX {
            state.waiting.push_back((worker, client));
            return None;
        }
        state.taken += 1;
        drop(state);
        Some(self.slot(workers))
    }

    /// Whether anybody has a place.
    pub(crate) fn has_any(&self) -> bool {
        self.state.lock().taken != 0
    }

    fn slot(self: &Arc<Self>, workers: &Arc<[Mailbox]>) -> Slot {
        let (threads, workers) = (Arc::clone(self), Arc::clone(workers));
        Slot::new(move || threads.give_back_place(&workers))
    }

    /// The place goes to whoever has waited longest.
    fn give_back_place(self: &Arc<Self>, workers: &Arc<[Mailbox]>) {
        let mut state = self.state.lock();
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.taken -= 1;
        }
        drop(state);
        if let Some((worker, client)) = next {
            workers[worker].send(Message::ScriptTurn { client, slot: self.slot(workers) });
        }
    }

    /// Hands a job in. Returns the number of a thread that has to be started for it, if one has.
    pub(crate) fn push(&self, job: Job) -> Option<usize> {
        let mut state = self.state.lock();
        state.jobs.push_back(job);
        if state.idle < state.jobs.len()
            && let Some(number) = state.threads.iter().position(|is_there| !is_there)
        {
            state.threads[number] = true;
            return Some(number);
        }
        drop(state);
        self.has_jobs.notify_one();
        None
    }

    /// A thread could not be started. Returns the job that it was to do, if nobody else does it.
    pub(crate) fn note_lack(&self, number: usize) -> Option<Job> {
        let mut state = self.state.lock();
        state.threads[number] = false;
        if state.threads.contains(&true) { None } else { state.jobs.pop_back() }
    }

    /// Waits for a job for a thread. `None` if there was none for a while: then the thread is to end, which gives back the
    /// memory of its interpreter.
    pub(crate) fn next(&self, number: usize) -> Option<Job> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let mut state = self.state.lock();
        state.idle += 1;
        let mut is_over = false;
        let job = loop {
            let job = state.jobs.pop_front();
            if job.is_some() || is_over {
                break job;
            }
            is_over = self.has_jobs.wait_for(&mut state, PATIENCE).timed_out();
        };
        state.idle -= 1;
        state.threads[number] = job.is_some();
        job
    }
}
