//! What clients have ordered: it is carried out by the thread of the cluster, and answered when all that follows from it is
//! done. What they have published is passed on.

use rubine_base::clock::unix_millis;

use super::Driver;
use crate::cluster::{Answer, Confirmation, Job};
use crate::server::Asker;

/// Bytes of messages that are passed on at a time, and how often before others have their turn.
const RELAY_BYTES: usize = 256 * 1024;
const RELAY_ROUNDS_MAX: usize = 4;

/// What a client is told whose order the replicas have not confirmed in time.
const NOT_CONFIRMED: &str = "NOREPLICAS Not enough good replicas to write.";

impl Driver {
    /// Takes the orders that have come, and those that have waited long enough.
    pub(super) fn take_orders(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for job in waiting.into_iter().chain(self.cluster.take_jobs()) {
            match job.after {
                Some(after) if !self.is_confirmed(&after) => {
                    let is_over = after.deadline.is_some_and(|it| it <= unix_millis());
                    if is_over {
                        self.answer(&job, Err(NOT_CONFIRMED.to_owned()), &Ok(()));
                    } else {
                        self.waiting.push(job);
                    }
                }
                _ => self.obey(job),
            }
        }
        let _ = self.settle();
    }

    /// Whether enough replicas have what an order waits for.
    fn is_confirmed(&self, after: &Confirmation) -> bool {
        let acknowledged = &self.server.replication.replicas.acknowledged;
        acknowledged.reached_by(after.replicas).is_some_and(|it| after.offset <= it)
    }

    fn obey(&mut self, mut job: Job) {
        let change = std::mem::replace(&mut job.change, Box::new(|_, _| Ok(Answer::Ok)));
        let now = self.cluster.now();
        let answer = change(&mut self.cluster.machine(), now);
        let saved = self.settle();
        self.answer(&job, answer, &saved);
    }

    /// Passes on what clients have published, some of it before others have their turn, and no faster than the nodes take it.
    pub(super) fn relay_messages(&mut self) {
        for _ in 0..RELAY_ROUNDS_MAX {
            let messages = if self.links.have_room(self.cluster.now()) {
                self.cluster.messages.take(RELAY_BYTES)
            } else {
                Vec::new()
            };
            if messages.is_empty() {
                break;
            }
            messages.into_iter().for_each(|it| self.cluster.machine().publish(it));
            let _ = self.settle();
        }
        let dropped = self.cluster.messages.dropped();
        if dropped != self.dropped_told {
            let count = dropped - self.dropped_told;
            let text = format!(
                "{count} messages of scripts and transactions are not passed on to the other nodes, since too many wait."
            );
            if self.warn("messages", &text) {
                self.dropped_told = dropped;
            }
        }
    }

    fn answer(&self, job: &Job, answer: Result<Answer, String>, saved: &Result<(), String>) {
        if let Ok(Answer::Tells(sender)) = &answer {
            // Whoever waits may have given up.
            let _ = sender.send(());
        }
        let Some(client) = job.client else { return };
        let asker = Asker { worker: job.worker, client, protocol: job.protocol };
        asker.answer(&self.server.workers, |reply| match (answer, saved) {
            (Err(error), _) => reply.error(&error),
            (Ok(Answer::IfSaved), Err(reason)) => {
                reply.error(&format!("ERR error saving the cluster node config: {reason}"));
            }
            (Ok(Answer::Status(status)), _) => reply.simple(&status),
            (Ok(Answer::Ok | Answer::IfSaved | Answer::Tells(_)), _) => reply.ok(),
        });
    }
}
