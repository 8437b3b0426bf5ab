//! Which slots should be elsewhere, so that the primaries of a cluster have equally much: the next step of a plan, made anew of
//! what is there after each step. Knows neither time nor connections, and moves nothing.
//!
//! A step takes from one node what it has too much, and gives to one node what it lacks, and never more than either. So each step
//! leaves fewer nodes uneven, nothing is moved twice, and nobody who got something has to give it back.

use crate::id::NodeId;
use crate::slots::SlotSet;

/// A primary that may give or take slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: NodeId,
    pub slots: u64,
    /// How much it has of what is to be even: slots, bytes, or microseconds a second.
    pub weight: u64,
    /// It is to have no slots at all.
    pub is_draining: bool,
}

/// From whom slots go to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub from: NodeId,
    pub to: NodeId,
    pub amount: Amount,
}

/// How much goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many slots, whatever is in them: their node is to have none.
    Slots(u64),
    /// Slots of so much weight together at most.
    Weight(u64),
}

/// The next step, if anything is too uneven: nobody has more than `threshold` percent more or less than the others have on average.
/// Nodes that are to be empty come first, whatever the threshold is. The same nodes in any order lead to the same step, so that
/// all nodes which know the same agree on whose turn it is.
pub fn next_step(members: &[Member], threshold: u64) -> Option<Step> {
    drain_step(members).or_else(|| even_step(members, threshold))
}

/// Nodes that stay share the slots of one that goes: who has fewest gets them first.
fn drain_step(members: &[Member]) -> Option<Step> {
    let from = members.iter().filter(|it| it.is_draining && 0 < it.slots).min_by_key(|it| it.id)?;
    let stay = || members.iter().filter(|it| !it.is_draining);
    let to = stay().min_by_key(|it| (it.slots, it.id))?;
    let total = stay().map(|it| it.slots).sum::<u64>() + from.slots;
    let share = total.div_ceil(stay().count() as u64);
    let count = share.saturating_sub(to.slots).clamp(1, from.slots);
    Some(Step { from: from.id, to: to.id, amount: Amount::Slots(count) })
}

fn even_step(members: &[Member], threshold: u64) -> Option<Step> {
    let stay = || members.iter().filter(|it| !it.is_draining);
    let count = stay().count() as u64;
    let total = stay().fold(0, |total: u64, it| total.saturating_add(it.weight));
    // Of those that have equally much, the first by its id.
    let from = stay().max_by_key(|it| (it.weight, std::cmp::Reverse(it.id)))?;
    let to = stay().min_by_key(|it| (it.weight, it.id))?;
    let (low, high) = (total / count, total.div_ceil(count));
    let tolerance = (u128::from(low) * u128::from(threshold) / 100).min(u64::MAX.into()) as u64;
    let is_even =
        from.weight <= high.saturating_add(tolerance) && low <= to.weight.saturating_add(tolerance);
    if is_even || from.id == to.id {
        return None;
    }
    let (surplus, lack) = (from.weight.saturating_sub(high), low.saturating_sub(to.weight));
    let amount = match (surplus, lack) {
        // What cannot be divided evenly: one node has one more than another.
        (0, lack) => lack.min(from.weight.saturating_sub(low)),
        (surplus, 0) => surplus.min(high.saturating_sub(to.weight)),
        (surplus, lack) => surplus.min(lack),
    };
    let step = Step { from: from.id, to: to.id, amount: Amount::Weight(amount) };
    (0 < amount).then_some(step)
}

/// Which of a node's slots a step takes, `slots` with the weight of each: `count_max` at most. A slot that is heavier than what is
/// to go stays, as it would have to come back. Empty if nothing can go.
pub fn choose(slots: &[(u16, u64)], amount: Amount, count_max: usize) -> SlotSet {
    match amount {
        Amount::Slots(count) => {
            let count = usize::try_from(count).unwrap_or(usize::MAX).min(count_max);
            slots.iter().rev().take(count).map(|(slot, _)| *slot).collect()
        }
        Amount::Weight(amount) => {
            // The heaviest first, so that few go; of those that weigh the same, the last ones, which are neighbours.
            let mut slots = slots.to_vec();
            slots.sort_unstable_by_key(|&(slot, weight)| std::cmp::Reverse((weight, slot)));
            let mut rest = amount;
            let fits = slots.into_iter().filter(|(_, weight)| {
                let fits = 0 < *weight && *weight <= rest;
                rest -= if fits { *weight } else { 0 };
                fits
            });
            fits.take(count_max).map(|(slot, _)| slot).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::slots::SLOT_COUNT;

    fn id(number: usize) -> NodeId {
        NodeId::from_random([number as u8; 20])
    }

    /// A cluster as the planner's users have it: who has which slots, and what these weigh.
    #[derive(Clone, Debug)]
    struct Model {
        owners: Vec<usize>,
        weights: Vec<u64>,
        draining: Vec<bool>,
    }

    impl Model {
        fn members(&self) -> Vec<Member> {
            let member = |number: usize| {
                let own = self.slots_of(number);
                let weight = own.iter().map(|it| it.1).sum();
                let is_draining = self.draining[number];
                Member { id: id(number), slots: own.len() as u64, weight, is_draining }
            };
            (0..self.draining.len()).map(member).collect()
        }

        fn slots_of(&self, number: usize) -> Vec<(u16, u64)> {
            let own = (0..self.owners.len()).filter(|it| self.owners[*it] == number);
            own.map(|it| (it as u16, self.weights[it])).collect()
        }

        /// Does steps until there is none that leads to anything. Returns how many slots were moved.
        fn run(&mut self, threshold: u64, count_max: usize) -> usize {
            let mut moved_count = 0;
            for _ in 0..20_000 {
                let Some(step) = next_step(&self.members(), threshold) else { return moved_count };
                let nodes = 0..self.draining.len();
                let number =
                    |id: NodeId| nodes.clone().find(|it| self::id(*it) == id).expect("it is one");
                let (from, to) = (number(step.from), number(step.to));
                assert!(!self.draining[to], "a node that is to be empty gets something");
                let chosen = choose(&self.slots_of(from), step.amount, count_max);
                if chosen.is_empty() {
                    return moved_count;
                }
                assert!(chosen.len() <= count_max);
                for slot in chosen.iter() {
                    assert_eq!(self.owners[usize::from(slot)], from);
                    self.owners[usize::from(slot)] = to;
                }
                moved_count += chosen.len();
            }
            panic!("it does not come to an end: {:?}", self.members());
        }
    }

    fn models(weight_max: u64) -> impl Strategy<Value = Model> {
        (1..8usize, 1..400usize).prop_flat_map(move |(nodes, slots)| {
            let owners = prop::collection::vec(0..nodes, slots);
            let weights = prop::collection::vec(0..=weight_max, slots);
            let draining = prop::collection::vec(prop::bool::weighted(0.2), nodes);
            (owners, weights, draining).prop_map(|(owners, weights, draining)| Model {
                owners,
                weights,
                draining,
            })
        })
    }

    proptest! {
        /// Where all slots weigh the same, all is even at the end, and no slot was moved that need not have been.
        #[test]
        fn slots_come_to_be_even_and_none_moves_twice(mut model in models(0), count_max in 1..50usize) {
            model.weights.fill(1);
            model.draining.fill(false);
            let before = model.members();
            let total: u64 = before.iter().map(|it| it.slots).sum();
            let count = before.len() as u64;
            let (low, high) = (total / count, total.div_ceil(count));
            let over: u64 = before.iter().map(|it| it.slots.saturating_sub(high)).sum();
            let lack: u64 = before.iter().map(|it| low.saturating_sub(it.slots)).sum();
            let moved = model.run(0, count_max);
            prop_assert!(model.members().iter().all(|it| (low..=high).contains(&it.slots)));
            prop_assert_eq!(moved as u64, over.max(lack));
        }

        /// Within the threshold nothing moves, and nothing that was moved by a greater threshold moves back by a smaller one.
        #[test]
        fn what_is_nearly_even_stays(mut model in models(1000), threshold in 0..50u64) {
            model.run(threshold, usize::MAX);
            let settled = model.owners.clone();
            prop_assert_eq!(model.run(threshold, usize::MAX), 0);
            let all: u64 = model.members().iter().map(|it| it.weight).sum();
            let staying = model.draining.iter().filter(|it| !**it).count() as u64;
            let is_near = |it: &Member| {
                let low = all / staying.max(1);
                it.weight * 100 <= low * (100 + threshold) && low * (100 - threshold) <= it.weight * 100
            };
            let was_near = model.members().iter().all(is_near);
            if was_near {
                prop_assert_eq!(next_step(&model.members(), threshold), None);
            }
            prop_assert_eq!(model.owners, settled);
        }

        /// Nobody gets below what all have on average by giving, nor above it by taking.
        #[test]
        fn nobody_gives_or_takes_too_much(model in models(1000), count_max in 1..50usize) {
            let members = model.members();
            let Some(step) = next_step(&members, 0) else { return Ok(()) };
            let Amount::Weight(amount) = step.amount else { return Ok(()) };
            let stay = || members.iter().filter(|it| !it.is_draining);
            let total: u64 = stay().map(|it| it.weight).sum();
            let (low, high) = (total / stay().count() as u64, total.div_ceil(stay().count() as u64));
            let weight_of = |id: NodeId| members.iter().find(|it| it.id == id).unwrap().weight;
            prop_assert!(low <= weight_of(step.from) - amount);
            prop_assert!(weight_of(step.to) + amount <= high);
            let from = (0..members.len()).find(|it| members[*it].id == step.from).unwrap();
            let slots = model.slots_of(from);
            let chosen = choose(&slots, step.amount, count_max);
            let weight: u64 =
                slots.iter().filter(|it| chosen.contains(it.0)).map(|it| it.1).sum();
            prop_assert!(weight <= amount);
        }

        /// A node that is to be empty is, if there is any that stays; the others get equally much of it.
        #[test]
        fn draining_leaves_nothing(mut model in models(1000), count_max in 1..50usize) {
            let before = model.members();
            model.run(100_000, count_max);
            let after = model.members();
            if after.iter().all(|it| it.is_draining) {
                prop_assert_eq!(before, after);
                return Ok(());
            }
            prop_assert!(after.iter().all(|it| !it.is_draining || it.slots == 0));
            let most_before = before.iter().filter(|it| !it.is_draining).map(|it| it.slots).max().unwrap();
            let stay: Vec<u64> = after.iter().filter(|it| !it.is_draining).map(|it| it.slots).collect();
            let share = (model.owners.len() as u64).div_ceil(stay.len() as u64);
            prop_assert!(stay.iter().all(|it| *it <= most_before.max(share)));
        }

        /// All who know the same agree.
        #[test]
        fn the_order_of_the_nodes_does_not_matter(model in models(20), at in 0..8usize) {
            let members = model.members();
            let mut turned = members.clone();
            turned.rotate_left(at % members.len());
            prop_assert_eq!(next_step(&members, 5), next_step(&turned, 5));
        }
    }

    /// Noise within the threshold, as loads have it, moves nothing back and forth.
    #[test]
    fn it_does_not_swing() {
        let mut model = Model {
            owners: (0..300).map(|it| it / 100).collect(),
            weights: vec![100; 300],
            draining: vec![false; 3],
        };
        let mut random = rubine_base::random::Random::with_seed(7);
        let mut moved = 0;
        for _ in 0..200 {
            model.weights.iter_mut().for_each(|it| *it = 50 + random.below(101));
            moved += model.run(15, 10);
        }
        assert_eq!(moved, 0);
        // What has become uneven for good moves once.
        model.weights.iter_mut().take(50).for_each(|it| *it = 400);
        assert!(0 < model.run(15, 10));
        assert_eq!(model.run(15, 10), 0);
    }

    #[test]
    fn a_node_that_is_added_gets_its_share() {
        let mut owners: Vec<usize> = (0..SLOT_COUNT).map(|it| it * 3 / SLOT_COUNT).collect();
        owners.truncate(SLOT_COUNT);
        let (weights, draining) = (vec![1; SLOT_COUNT], vec![false; 4]);
        let mut model = Model { owners, weights, draining };
        let moved = model.run(2, 100);
        let counts: BTreeMap<NodeId, u64> =
            model.members().iter().map(|it| (it.id, it.slots)).collect();
        assert!(counts.values().all(|it| (4000..=4190).contains(it)), "{counts:?}");
        assert!(moved <= 4096);
        // One slot that outweighs all others cannot be shared, so it stays where it is.
        let mut weights = vec![0; 100];
        weights[3] = 1000;
        let mut model = Model { owners: vec![0; 100], weights, draining: vec![false; 2] };
        assert_eq!(model.run(10, 100), 0);
    }

    #[test]
    fn one_alone_gives_nothing() {
        assert_eq!(next_step(&[], 0), None);
        let lonely = Member { id: id(1), slots: 100, weight: 100, is_draining: false };
        assert_eq!(next_step(std::slice::from_ref(&lonely), 0), None);
        assert_eq!(next_step(&[Member { is_draining: true, ..lonely }], 0), None);
        // Others may say what they like.
        let loud =
            |number| Member { id: id(number), slots: 1, weight: u64::MAX, is_draining: false };
        assert_eq!(next_step(&[loud(1), loud(2), loud(3)], u64::MAX), None);
        next_step(&[loud(1), loud(2), loud(3)], 0);
    }
}
