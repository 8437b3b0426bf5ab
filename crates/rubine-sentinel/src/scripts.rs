//! The queue of programs that people want to be told by. Starts none itself: it says which are due.

use std::collections::VecDeque;

use rubine_base::clock::Millis;

use crate::effect::{Action, JobId, Level, Notice};

/// Longer queues lose their oldest.
const QUEUE_LEN_MAX: usize = 256;
/// More do not run at a time.
const RUNNING_MAX: usize = 16;
/// A program that fails so often is given up.
const TRIES_MAX: u32 = 10;
/// How a program that could not be started counts: as if this signal had ended it.
const NOT_STARTED_SIGNAL: i32 = 99;
/// The exit code of a program that wants to be run again.
const TRY_AGAIN: i32 = 1;

/// One program that is to be run, or runs.
#[derive(Debug)]
pub(crate) struct Job {
    id: JobId,
    pub(crate) command: Vec<String>,
    pub(crate) state: State,
    pub(crate) try_count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not before this moment, if there is one.
    Waits { until: Option<Millis> },
    /// 0 until its number is known.
    Runs { since: Millis, pid: u32 },
}

#[derive(Debug, Default)]
pub(crate) struct Scripts {
    pub(crate) queue: VecDeque<Job>,
    job_count: u64,
}

impl Scripts {
    pub(crate) fn add(&mut self, command: Vec<String>) {
        self.job_count += 1;
        let (id, state) = (JobId(self.job_count), State::Waits { until: None });
        self.queue.push_back(Job { id, command, state, try_count: 0 });
        let is_waiting = |job: &Job| matches!(job.state, State::Waits { .. });
        if QUEUE_LEN_MAX < self.queue.len()
            && let Some(oldest) = self.queue.iter().position(is_waiting)
        {
            self.queue.remove(oldest);
        }
    }

    pub(crate) fn running_count(&self) -> usize {
        self.queue.iter().filter(|it| matches!(it.state, State::Runs { .. })).count()
    }

    /// Starts what is due, and ends what runs for too long.
    pub(crate) fn step(&mut self, now: Millis, runtime_max: Millis, actions: &mut Vec<Action>) {
        let mut running = self.running_count();
        for job in &mut self.queue {
            match job.state {
                State::Waits { until } => {
                    let is_due = until.is_none_or(|it| it <= now);
                    if is_due && running < RUNNING_MAX {
                        running += 1;
                        job.try_count += 1;
                        job.state = State::Runs { since: now, pid: 0 };
                        actions.push(Action::Run { job: job.id, command: job.command.clone() });
                    }
                }
                State::Runs { since, pid } if runtime_max < now - since && pid != 0 => {
                    let text = format!("{} {pid}", job.command[0]);
                    actions.push(tell(Level::Warning, "-script-timeout", text));
                    actions.push(Action::Kill { pid });
                }
                State::Runs { .. } => {}
            }
        }
    }

    /// A program was started, or could not be.
    pub(crate) fn started(&mut self, id: JobId, pid: Option<u32>, actions: &mut Vec<Action>) {
        let Some(job) = self.queue.iter_mut().find(|it| it.id == id) else { return };
        match (pid, &mut job.state) {
            (Some(pid), State::Runs { pid: known, .. }) => {
                *known = pid;
                actions.push(tell(Level::Debug, "+script-child", pid.to_string()));
            }
            (None, state) => {
                let text = format!("{} {NOT_STARTED_SIGNAL} 0", job.command[0]);
                *state = State::Waits { until: None };
                actions.push(tell(Level::Warning, "-script-error", text));
                if job.try_count == TRIES_MAX {
                    self.queue.retain(|it| it.id != id);
                }
            }
            (Some(_), State::Waits { .. }) => {}
        }
    }

    /// A program has ended with this code, or by this signal if that is not 0.
    pub(crate) fn ended(
        &mut self,
        pid: u32,
        (code, signal): (i32, i32),
        (now, retry_delay): (Millis, Millis),
        actions: &mut Vec<Action>,
    ) {
        actions.push(tell(Level::Debug, "-script-child", format!("{pid} {code} {signal}")));
        let runs = |job: &Job| matches!(job.state, State::Runs { pid: it, .. } if it == pid);
        let Some(at) = self.queue.iter().position(runs) else { return };
        let job = &mut self.queue[at];
        let has_failed = signal != 0 || code != 0;
        if (signal != 0 || code == TRY_AGAIN) && job.try_count < TRIES_MAX {
            // Each time twice as long as the time before.
            let delay = retry_delay.saturating_mul(1 << (job.try_count.max(1) - 1));
            job.state = State::Waits { until: Some(now.saturating_add(delay)) };
            return;
        }
        if has_failed {
            let text = format!("{} {signal} {code}", job.command[0]);
            actions.push(tell(Level::Warning, "-script-error", text));
        }
        self.queue.remove(at);
    }
}

fn tell(level: Level, channel: &'static str, text: String) -> Action {
    Action::Tell(Notice { level, channel, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(scripts: &mut Scripts, now: Millis) -> Vec<Action> {
        let mut actions = Vec::new();
        scripts.step(now, 60_000, &mut actions);
        actions
    }

    #[test]
    fn a_program_that_fails_is_tried_later_each_time() {
        let mut scripts = Scripts::default();
        scripts.add(vec!["/bin/tell".to_owned(), "x".to_owned()]);
        let mut now = 0;
        for try_count in 1..=TRIES_MAX {
            assert!(matches!(run(&mut scripts, now)[..], [Action::Run { job: JobId(1), .. }]));
            let mut actions = Vec::new();
            scripts.started(JobId(1), Some(7), &mut actions);
            scripts.ended(7, (1, 0), (now, 30_000), &mut actions);
            let delay = 30_000 << (try_count - 1);
            assert!(run(&mut scripts, now + delay - 1).is_empty());
            now += delay;
        }
        assert!(scripts.queue.is_empty());
    }

    #[test]
    fn what_runs_too_long_is_killed_and_the_queue_is_bounded() {
        let mut scripts = Scripts::default();
        for number in 0..300 {
            scripts.add(vec![number.to_string()]);
        }
        assert_eq!(scripts.queue.len(), QUEUE_LEN_MAX);
        assert_eq!(run(&mut scripts, 0).len(), RUNNING_MAX);
        let first = scripts.queue[0].id;
        scripts.started(first, Some(9), &mut Vec::new());
        assert!(run(&mut scripts, 60_000).is_empty());
        let actions = run(&mut scripts, 60_001);
        assert!(actions.contains(&Action::Kill { pid: 9 }));
        let mut actions = Vec::new();
        scripts.ended(9, (0, 0), (0, 0), &mut actions);
        assert_eq!(scripts.queue.len(), QUEUE_LEN_MAX - 1);
    }
}
