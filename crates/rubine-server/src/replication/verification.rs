//! The comparison of this server's replicas with it: the one that is made, or was made last, what came of it, and what was
//! sent again. Compares nothing itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use parking_lot::Mutex;
use rubine_replication::leader::ReplicaId;
use rubine_replication::verify::{Answer, Counts, Differences, RunId, Sender};

/// Answers that wait to be looked at. A replica sends some dozens at a time, and only what it was asked for.
const ANSWERS_MAX: usize = 1024;
/// Keys that are named, and bytes of their names.
const NAMED_MAX: usize = 10_000;
const NAMED_BYTES_MAX: usize = 16 << 20;

/// The comparisons of a server.
#[derive(Default)]
pub(crate) struct Verification {
    last: Mutex<Option<Arc<Run>>>,
}

/// An answer, with the connection that it came on.
pub(crate) type Answered = (ReplicaId, Sender, Answer);

/// One comparison.
pub(crate) struct Run {
    pub(crate) id: RunId,
    /// Unix milliseconds.
    pub(crate) started_at: i64,
    answers: SyncSender<Answered>,
    is_cancelled: AtomicBool,
    /// More was answered than there was room for.
    is_overrun: AtomicBool,
    pub(crate) report: Mutex<Report>,
}

/// What is known of a comparison.
pub(crate) struct Report {
    pub(crate) phase: Phase,
    /// Unix milliseconds.
    pub(crate) ended_at: Option<i64>,
    /// Of the image; 0 before it is made.
    pub(crate) offset: u64,
    /// Keys in it.
    pub(crate) keys: u64,
    pub(crate) replicas: Vec<Checked>,
    pub(crate) differences: Differences,
    pub(crate) repair: Option<Repair>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    Done,
    Cancelled,
    Failed(String),
}

impl Phase {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed(_) => "failed",
        }
    }
}

/// A replica, and what came of its comparison.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// Host and port.
    pub(crate) address: String,
    pub(crate) outcome: Outcome,
    pub(crate) counts: Counts,
    /// Buckets in which it differs and that were not looked into.
    pub(crate) unexamined: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Asked,
    Same,
    Differs,
    /// It could not be compared.
    Unable(String),
}

impl Outcome {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Same => "same",
            Self::Differs => "differs",
            Self::Unable(_) => "unable",
        }
    }
}

/// Keys that are sent again.
#[derive(Clone, Debug)]
pub(crate) struct Repair {
    pub(crate) keys: usize,
    pub(crate) sent: usize,
    pub(crate) is_over: bool,
    /// Why it has ended before its time, if it did.
    pub(crate) failure: Option<String>,
}

impl Verification {
    /// The comparison that is made, or was made last.
    pub(crate) fn last(&self) -> Option<Arc<Run>> {
        self.last.lock().clone()
    }

    /// Begins another one, with these replicas. `None` if one is made, or something is sent again.
    pub(crate) fn begin(
        &self,
        id: RunId,
        now: i64,
        replicas: Vec<Checked>,
    ) -> Option<(Arc<Run>, Receiver<Answered>)> {
        let mut last = self.last.lock();
        if last.as_ref().is_some_and(|it| it.is_busy()) {
            return None;
        }
        let (answers, receiver) = sync_channel(ANSWERS_MAX);
        let (is_cancelled, is_overrun) = Default::default();
        let report = Mutex::new(Report {
            phase: Phase::Running,
            ended_at: None,
            offset: 0,
            keys: 0,
            replicas,
            differences: Differences::new(NAMED_MAX, NAMED_BYTES_MAX),
            repair: None,
        });
        let run = Arc::new(Run { id, started_at: now, answers, is_cancelled, is_overrun, report });
        *last = Some(Arc::clone(&run));
        Some((run, receiver))
    }

    /// Takes an answer in for whoever compares. Does not wait.
    pub(crate) fn answer(&self, replica: ReplicaId, sender: Sender, answer: Answer) {
        let last = self.last.lock();
        let Some(run) = last.as_ref().filter(|it| it.id == sender.run && it.is_running()) else {
            return;
        };
        if run.answers.try_send((replica, sender, answer)).is_err() {
            run.is_overrun.store(true, Ordering::Relaxed);
        }
    }
}

impl Run {
    fn is_running(&self) -> bool {
        self.report.lock().phase == Phase::Running
    }

    /// Whether replicas are compared, or something is sent again.
    pub(crate) fn is_busy(&self) -> bool {
        let report = self.report.lock();
        report.phase == Phase::Running || report.repair.as_ref().is_some_and(|it| !it.is_over)
    }

    /// Has whatever is under way end soon.
    pub(crate) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// What is begun now is not cancelled.
    pub(crate) fn clear_cancellation(&self) {
        self.is_cancelled.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn is_overrun(&self) -> bool {
        self.is_overrun.load(Ordering::Relaxed)
    }
}
