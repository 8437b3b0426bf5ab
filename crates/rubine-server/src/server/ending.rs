//! Who has asked for the end of the server, and how far it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rubine_config::ShutdownOptions;
use rubine_resp::writer::{Output, Protocol, Reply};

use crate::mailbox::{Mailbox, Message, Told};

/// A client that waits for the outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) worker: usize,
    pub(crate) client: u64,
    pub(crate) protocol: Protocol,
}

impl Asker {
    /// Ends the client's wait with a reply.
    pub(crate) fn answer(self, workers: &[Mailbox], write: impl FnOnce(&mut Reply<'_>)) {
        let mut output = Output::new();
        write(&mut Reply::new(&mut output, self.protocol));
        let told = Told::default();
        let message = Message::Served { client: self.client, output, written: None, seen: 0, told };
        workers[self.worker].send(message);
    }
}

/// Tells a client that all is done when the last clone of it is dropped: each worker has one.
pub(crate) struct AllDone {
    asker: Asker,
    workers: Arc<[Mailbox]>,
}

impl AllDone {
    /// Has each worker end a turn that it begins after this; then the client hears it. It waits meanwhile.
    pub(crate) fn await_turns(asker: Asker, workers: &Arc<[Mailbox]>) {
        let all_done = Arc::new(Self { asker, workers: Arc::clone(workers) });
        for worker in workers.iter() {
            worker.send(Message::EndOfTurn { told: Box::new(Arc::clone(&all_done)) });
        }
    }
}

impl Drop for AllDone {
    fn drop(&mut self) {
        self.asker.answer(&self.workers, |reply| reply.simple("OK"));
    }
}

/// Who has asked for the end, and how far it is.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    /// Nothing can keep the server from ending any more: its threads end what they do.
    pub(crate) is_under_way: AtomicBool,
    /// Looked at by the clock without the lock.
    is_asked: AtomicBool,
    state: Mutex<State>,
    /// Until when it waits for replicas, milliseconds of the monotonic clock; 0 if it does not.
    deadline: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// By a signal that the clock has not seen yet.
    asked: Option<ShutdownOptions>,
    /// The end that goes on, if one does: set to true by whoever wants it not to come.
    going_on: Option<Arc<AtomicBool>>,
    askers: Vec<Asker>,
    /// The process begins anew after so long.
    restarts_after: Option<Duration>,
}

impl Ending {
    /// A signal asks for the end. Returns whether the end was asked for before.
    pub(crate) fn ask(&self, options: ShutdownOptions) -> bool {
        let mut state = self.state.lock();
        let is_repeated = state.asked.is_some() || state.going_on.is_some();
        if !is_repeated {
            state.asked = Some(options);
            self.is_asked.store(true, Ordering::Release);
        }
        is_repeated
    }

    /// It waits for replicas until then, or not any more.
    pub(crate) fn set_deadline(&self, deadline: Option<u64>) {
        self.deadline.store(deadline.unwrap_or(0), Ordering::Release);
    }

    /// Milliseconds for which it will wait for replicas still, if it does.
    pub(crate) fn waits_for(&self, now: u64) -> Option<u64> {
        let deadline = self.deadline.load(Ordering::Acquire);
        (deadline != 0).then(|| deadline.saturating_sub(now))
    }

    /// Whether a signal asks for the end.
    #[inline]
    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Acquire)
    }

    /// Whether the end was asked for and goes on, or is about to.
    pub(crate) fn is_coming(&self) -> bool {
        let state = self.state.lock();
        state.asked.is_some() || state.going_on.is_some()
    }

    pub(crate) fn take_asked(&self) -> Option<ShutdownOptions> {
        let asked = self.state.lock().asked.take();
        self.is_asked.store(false, Ordering::Release);
        asked
    }

    /// Lets the end not come; `cancel_save` ends what goes on for it. Returns false if it was not to come.
    pub(crate) fn abort(&self, cancel_save: impl FnOnce() -> bool) -> bool {
        let mut state = self.state.lock();
        let was_asked = state.asked.take().is_some();
        self.is_asked.store(false, Ordering::Release);
        if let Some(is_aborted) = &state.going_on {
            is_aborted.store(true, Ordering::Release);
            drop(state);
            cancel_save();
        } else if !was_asked {
            return false;
        }
        tracing::info!("Shutdown manually aborted.");
        true
    }

    /// Notes that the end begins, and who wants to know what comes of it. Returns what will be true if it is not to come,
    /// or nothing where it has begun already.
    pub(crate) fn begin(&self, asker: Option<Asker>) -> Option<Arc<AtomicBool>> {
        let mut state = self.state.lock();
        state.askers.extend(asker);
        if state.going_on.is_some() {
            return None;
        }
        Some(Arc::clone(state.going_on.insert(Arc::default())))
    }

    /// Has the process begin anew when the end has come that is asked for next.
    pub(crate) fn restart_after(&self, delay: Duration) {
        self.state.lock().restarts_after = Some(delay);
    }

    /// After what time the process begins anew, if it is to.
    pub(crate) fn restart_delay(&self) -> Option<Duration> {
        self.state.lock().restarts_after
    }

    /// Notes that the end does not come. Returns who wanted to know.
    pub(crate) fn give_up(&self) -> Vec<Asker> {
        let mut state = self.state.lock();
        state.going_on = None;
        state.restarts_after = None;
        std::mem::take(&mut state.askers)
    }
}
