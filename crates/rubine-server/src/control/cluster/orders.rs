//! What clients have ordered: it is carried out by the thread of the cluster, and answered when all that follows from it is
//! done.

use rubine_base::clock::unix_millis;

use super::Driver;
use crate::cluster::{Answer, Confirmation, Job};
use crate::server::Asker;

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
        if job.client.is_none() && !matches!(answer, Ok(Answer::Tells(_))) {
            // Messages of clients are many, and leave together.
            return;
        }
        let saved = self.settle();
        self.answer(&job, answer, &saved);
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
