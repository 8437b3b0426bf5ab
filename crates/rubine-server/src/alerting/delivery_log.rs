//! What has become of messages to receivers: the last ones, and counts. Shows no secret: of a URL only the host.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Deliveries that are remembered.
const ENTRIES_MAX: usize = 128;
/// How much of a reason is.
const REASON_BYTES_MAX: usize = 200;

/// What has become of one message, or of one try.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// Unix milliseconds.
    pub(crate) at: i64,
    /// The host of the receiver.
    pub(crate) receiver: String,
    pub(crate) format: &'static str,
    /// The number of the message, the same for each try.
    pub(crate) message: u64,
    pub(crate) alerts: usize,
    /// Which try it was, from 1.
    pub(crate) attempt: u32,
    pub(crate) outcome: Outcome,
    /// The status of HTTP, if there was an answer.
    pub(crate) status: Option<u16>,
    pub(crate) millis: u64,
    /// Why it failed.
    pub(crate) reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    /// It is tried again.
    Retried,
    /// It is given up.
    Failed,
    /// There was no room for it.
    Dropped,
}

impl Outcome {
    /// All of them, in order.
    pub(crate) const ALL: [Self; 4] = [Self::Delivered, Self::Retried, Self::Failed, Self::Dropped];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retried => "retried",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// The last deliveries, the newest first, and counts of all.
#[derive(Debug, Default)]
pub(crate) struct DeliveryLog {
    entries: Mutex<VecDeque<Delivery>>,
    counts: [AtomicU64; Outcome::ALL.len()],
}

impl DeliveryLog {
    pub(super) fn note(&self, mut delivery: Delivery) {
        self.counts[delivery.outcome as usize].fetch_add(1, Ordering::Relaxed);
        let outcome = delivery.outcome;
        let Delivery { receiver, reason, .. } = &mut delivery;
        if REASON_BYTES_MAX < reason.len() {
            let end = (0..=REASON_BYTES_MAX).rev().find(|it| reason.is_char_boundary(*it));
            reason.truncate(end.unwrap_or(0));
        }
        if matches!(outcome, Outcome::Failed | Outcome::Dropped) {
            tracing::warn!("An alert to {receiver} is lost: {reason}");
        }
        let mut entries = self.entries.lock();
        entries.push_front(delivery);
        entries.truncate(ENTRIES_MAX);
    }

    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize].load(Ordering::Relaxed)
    }

    /// The last `count`, the newest first.
    pub(crate) fn last(&self, count: usize) -> Vec<Delivery> {
        self.entries.lock().iter().take(count).cloned().collect()
    }
}
