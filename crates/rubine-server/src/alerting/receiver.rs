//! One receiver with its queue and its thread: a slow or broken one keeps no other one waiting. What fails is tried again,
//! less and less often; what there is no room for is counted and lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rubine_alerts::{Payload, Webhook};
use rubine_base::clock::{monotonic_millis, unix_millis};

use super::delivery_log::{Delivery, DeliveryLog, Outcome};
use super::sending::{Answer, Sender};

/// Messages that wait.
const QUEUE_MAX: usize = 64;
/// The first pause before another try, and the longest.
const PAUSE_MS: u64 = 1000;
const PAUSE_MS_MAX: u64 = 60_000;
/// A message is given up after so many tries, or so long.
const ATTEMPTS_MAX: u32 = 20;
const AGE_MS_MAX: u64 = 15 * 60_000;

/// Whom alerts are told to.
pub(super) struct Receiver {
    pub(super) webhook: Webhook,
    queue: Mutex<Queue>,
    filled: Condvar,
    emptied: Condvar,
    log: Arc<DeliveryLog>,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Message>,
    is_sending: bool,
    is_ended: bool,
}

#[derive(Clone)]
struct Message {
    number: u64,
    payload: Payload,
    /// When it came, monotonic milliseconds.
    since_ms: u64,
}

/// Numbers of messages, for receivers that get one twice.
static LAST_NUMBER: AtomicU64 = AtomicU64::new(0);

impl Receiver {
    /// Starts the thread of a receiver.
    pub(super) fn start(webhook: Webhook, log: Arc<DeliveryLog>) -> Result<Arc<Self>, String> {
        let sender = Sender::new(&webhook)?;
        let receiver = Arc::new(Self {
            webhook,
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            log,
        });
        let of_thread = Arc::clone(&receiver);
        let builder = std::thread::Builder::new().name("webhook".to_owned());
        let started = builder.spawn(move || of_thread.send_all(&sender));
        started.map_err(|error| format!("Can't start a thread: {error}"))?;
        Ok(receiver)
    }

    /// Has a message sent. A whole one makes those before it needless.
    pub(super) fn push(&self, payload: Payload) {
        let mut queue = self.queue.lock();
        if payload.is_whole {
            queue.messages.retain(|it| !it.payload.is_whole);
        }
        let number = 1 + LAST_NUMBER.fetch_add(1, Ordering::Relaxed);
        queue.messages.push_back(Message { number, payload, since_ms: monotonic_millis() });
        let lost = if QUEUE_MAX < queue.messages.len() { queue.messages.pop_front() } else { None };
        self.filled.notify_one();
        drop(queue);
        if let Some(lost) = lost {
            let answer = Answer::without_status("too many messages wait for it".to_owned());
            self.note(&lost, 0, Outcome::Dropped, &answer, 0);
        }
    }

    /// Ends the thread, with what waits.
    pub(super) fn end(&self) {
        self.queue.lock().is_ended = true;
        self.filled.notify_one();
    }

    /// Waits until everything is told, but not past a moment, in monotonic milliseconds.
    pub(super) fn finish(&self, end_ms: u64) {
        let mut queue = self.queue.lock();
        let is_busy = |it: &mut Queue| it.is_sending || !it.messages.is_empty();
        let left = Duration::from_millis(end_ms.saturating_sub(monotonic_millis()));
        self.emptied.wait_while_for(&mut queue, is_busy, left);
    }

    /// Messages that wait.
    pub(super) fn waiting(&self) -> usize {
        let queue = self.queue.lock();
        queue.messages.len() + usize::from(queue.is_sending)
    }

    fn send_all(&self, sender: &Sender) {
        loop {
            let message = {
                let mut queue = self.queue.lock();
                queue.is_sending = false;
                if queue.messages.is_empty() {
                    self.emptied.notify_all();
                }
                self.filled.wait_while(&mut queue, |it| it.messages.is_empty() && !it.is_ended);
                if queue.is_ended {
                    return;
                }
                queue.is_sending = true;
                queue.messages.pop_front().expect("it waits until there is one")
            };
            self.deliver(sender, &message);
        }
    }

    /// Sends a message, several times if need be.
    fn deliver(&self, sender: &Sender, message: &Message) {
        for attempt in 1.. {
            let began = monotonic_millis();
            let answer = sender.send(&message.payload.body, message.number, unix_millis() / 1000);
            let ended = monotonic_millis();
            let is_last = ATTEMPTS_MAX <= attempt || message.since_ms + AGE_MS_MAX < ended;
            let outcome = match &answer {
                answer if answer.is_good() => Outcome::Delivered,
                answer if answer.is_worth_another_try() && !is_last => Outcome::Retried,
                _ => Outcome::Failed,
            };
            self.note(message, attempt, outcome, &answer, ended - began);
            if outcome != Outcome::Retried {
                return;
            }
            let pause = (PAUSE_MS << (attempt - 1).min(6)).min(PAUSE_MS_MAX);
            if !self.pause(answer.retry_after_ms.unwrap_or(pause).min(PAUSE_MS_MAX), message) {
                return;
            }
        }
    }

    /// Waits before another try. Returns whether there is to be one: not if a newer message says all, or at the end.
    fn pause(&self, millis: u64, message: &Message) -> bool {
        let is_needless = |queue: &mut Queue| {
            let has_newer = queue.messages.iter().any(|it| it.payload.is_whole);
            queue.is_ended || (message.payload.is_whole && has_newer)
        };
        let mut queue = self.queue.lock();
        let pause = Duration::from_millis(millis);
        self.filled.wait_while_for(&mut queue, |it| !is_needless(it), pause);
        !is_needless(&mut queue)
    }

    fn note(
        &self,
        message: &Message,
        attempt: u32,
        outcome: Outcome,
        answer: &Answer,
        millis: u64,
    ) {
        self.log.note(Delivery {
            at: unix_millis(),
            receiver: self.webhook.shown(),
            format: self.webhook.format.name(),
            message: message.number,
            alerts: message.payload.alerts,
            attempt,
            outcome,
            status: answer.status,
            millis,
            reason: answer.reason.clone(),
        });
    }
}
