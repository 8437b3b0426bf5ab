//! Slots that go where they should be, a few at a time, by migrations: `cluster-auto-rebalance` and CLUSTER DRAIN. What should go
//! where, and whose turn it is, `rubine-cluster` knows; how they go, the migrations.

use rubine_base::clock::Millis;
use rubine_cluster::id::NodeId;
use rubine_cluster::message::Metric;
use rubine_cluster::migration::JobId;
use rubine_cluster::rebalance::{Step, choose, next_step};
use rubine_cluster::slots::SlotSet;
use rubine_cluster::{Turn, Unwell};
use rubine_config::{ClusterAutoRebalance, Config};

use super::Driver;
use super::weights::Weights;
use crate::cluster::Doing;

/// How often it is looked at whether anything should go.
const PERIOD_MS: Millis = 500;
/// A load takes so long to be known where it has gone.
const LOAD_INTERVAL_MS: Millis = 60_000;
/// How the log of migrations calls whoever has asked for them.
const ASKER: &str = "cluster-auto-rebalance";

/// What the thread of the cluster keeps of it.
#[derive(Default)]
pub(super) struct Balance {
    turn_at: Millis,
    /// When the next slots may go.
    next_move_at: Millis,
    moving: Option<Moving>,
    weights: Weights,
}

/// Slots that are on their way.
struct Moving {
    job: JobId,
    slots: usize,
}

/// What a configuration wants to be even.
pub(super) fn metric_of(config: &Config) -> Option<Metric> {
    match config.cluster_auto_rebalance {
        ClusterAutoRebalance::No => None,
        ClusterAutoRebalance::Slots => Some(Metric::Slots),
        ClusterAutoRebalance::Memory => Some(Metric::Memory),
        ClusterAutoRebalance::Load => Some(Metric::Load),
    }
}

impl Driver {
    /// Looks whether slots of this node should be elsewhere, and has some go.
    pub(super) fn take_turn_of_balance(&mut self) {
        let now = self.cluster.now();
        if now < self.balance.turn_at {
            return;
        }
        self.balance.turn_at = now + PERIOD_MS;
        let doing = self.look_after_balance(now);
        self.cluster.balancing.note(|it| it.doing = doing);
        // Others are told.
        let _ = self.settle();
    }

    fn look_after_balance(&mut self, now: Millis) -> Doing {
        self.note_end_of_move(now);
        let (metric, is_draining) = (metric_of(&self.config), self.cluster.balancing.is_draining());
        let view = self.cluster.view();
        let weights = &mut self.balance.weights;
        weights.refresh(metric, self.server, self.cluster, &view, now);
        let told = metric.filter(|_| weights.are_known());
        let weight = weights.of_node(&view);
        let mut machine = self.cluster.machine();
        machine.set_share(told, weight, is_draining);
        if metric.is_none() && !is_draining {
            machine.end_turn();
            drop(machine);
            self.cancel_move();
            return Doing::Off;
        }
        // Where nothing is to be even, only nodes that are to be empty give something.
        let threshold = metric.map_or(u64::MAX, |_| self.config.cluster_auto_rebalance_threshold);
        let step = next_step(&machine.members(metric.unwrap_or(Metric::Slots)), threshold);
        let is_ours = step.is_some_and(|it| it.from == view.myself().id);
        if self.balance.moving.is_none() && !is_ours {
            machine.end_turn();
            self.balance.next_move_at = now + self.interval(metric);
            return step
                .map_or(Doing::Even, |it| Doing::Waiting(format!("it is {}'s turn", it.from)));
        }
        let turn = machine.claim_turn(now);
        drop(machine);
        match (turn, step) {
            (Turn::Ours, _) if self.balance.moving.is_some() => {
                self.cluster.balancing.report().doing
            }
            (Turn::Ours, Some(step)) if self.balance.next_move_at <= now => {
                self.begin_move(step, now)
            }
            (Turn::Ours, _) => Doing::Waiting("the next slots go in a moment".to_owned()),
            (Turn::Asking, _) => Doing::Waiting("the others are being asked".to_owned()),
            (Turn::Of(other), _) => {
                self.balance.next_move_at = now + self.interval(metric);
                Doing::Waiting(format!("{other} moves slots"))
            }
            (Turn::Unwell(unwell), _) => {
                self.cancel_move();
                Doing::Waiting(in_words(unwell))
            }
        }
    }

    /// Has slots go. Errors are those of CLUSTER MIGRATESLOTS.
    fn begin_move(&mut self, step: Step, now: Millis) -> Doing {
        let view = self.cluster.view();
        let count_max = self.config.cluster_auto_rebalance_slots as usize;
        let slots = choose(&self.balance.weights.of_own_slots(&view), step.amount, count_max);
        if slots.is_empty() {
            self.cluster.machine().end_turn();
            let reason = "each slot weighs more than what should go";
            return Doing::Waiting(reason.to_owned());
        }
        let mut name = [0; 20];
        self.random.fill(&mut name);
        let words = request(&slots, step.to);
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let begun = self.tell_migrations(|machine, view, now| {
            machine.migrate(&words, view, now, || name, ASKER)
        });
        if let Err(error) = begun {
            self.balance.next_move_at = now + self.interval(metric_of(&self.config));
            self.note_failure(&error.to_string());
            return Doing::Waiting(error.to_string());
        }
        let (job, slots) = (JobId::from_random(name), slots.len());
        tracing::info!(
            "Moving {slots} slots to {} to share them evenly (slot migration {job})",
            step.to
        );
        self.balance.moving = Some(Moving { job, slots });
        Doing::Moving { slots, to: step.to }
    }

    /// Takes note of what has become of the slots that were on their way.
    fn note_end_of_move(&mut self, now: Millis) {
        let Some(Moving { job, slots }) = self.balance.moving else { return };
        let end = self.cluster.migrations.ask(|machine| {
            let report = machine.reports().find(|it| it.id == job);
            report.map(|it| (it.state, it.message.to_owned()))
        });
        match end {
            Some(("success", _)) => self.cluster.balancing.note(|it| {
                it.moves += 1;
                it.moved_slots += slots as u64;
            }),
            Some((state @ ("failed" | "cancelled"), message)) => {
                let message = if message.is_empty() { state.to_owned() } else { message };
                self.note_failure(&message);
            }
            Some(_) => return,
            None => self.note_failure("its slot migration is not remembered any more"),
        }
        self.balance.moving = None;
        self.balance.next_move_at = now + self.interval(metric_of(&self.config));
    }

    fn note_failure(&self, message: &str) {
        self.cluster.balancing.note(|it| {
            it.failed_moves += 1;
            message.clone_into(&mut it.last_failure);
        });
    }

    /// What is on its way stays here.
    fn cancel_move(&mut self) {
        if let Some(Moving { job, .. }) = &self.balance.moving {
            let job = *job;
            self.tell_migrations(|machine, _, now| machine.cancel_one(job, now));
        }
    }

    /// For so long nothing goes after something went, here or elsewhere.
    fn interval(&self, metric: Option<Metric>) -> Millis {
        let interval = self.config.cluster_auto_rebalance_interval as Millis * 1000;
        if metric == Some(Metric::Load) { interval.max(LOAD_INTERVAL_MS) } else { interval }
    }
}

/// What is asked of the migrations.
fn request(slots: &SlotSet, to: NodeId) -> Vec<Vec<u8>> {
    let mut words = vec![b"SLOTSRANGE".to_vec()];
    for range in slots.ranges() {
        words.extend([range.start(), range.end()].map(|it| it.to_string().into_bytes()));
    }
    words.extend([b"NODE".to_vec(), to.as_bytes().to_vec()]);
    words
}

fn in_words(unwell: Unwell) -> String {
    match unwell {
        Unwell::Down => "the cluster is down".to_owned(),
        Unwell::Silent(node) => format!("primary {node} does not answer"),
        Unwell::ByHand => "slots of this node are being moved by hand".to_owned(),
        Unwell::Replica => "this node is a replica".to_owned(),
    }
}
