//! What befalls the cluster, and what has to be so meanwhile. Each mishap is over when it returns; that all is well again is seen
//! by whoever called it.

use super::stage::{MINORITY_AFTER, NODES, Stage};
use crate::Failure;
use crate::clock::Stopwatch;
use crate::clusters;

/// Tells what was seen.
type Mishap = fn(&mut Stage) -> Result<String, Failure>;

pub(super) const MISHAPS: &[(&str, Mishap)] = &[
    ("a primary is cut off", |stage| {
        let (primary, _) = stage.shard(0)?;
        stage.network.part(&[primary])?;
        is_replaced(stage, 0)
    }),
    ("nobody hears a primary", |stage| {
        let (primary, _) = stage.shard(1)?;
        others(primary).try_for_each(|other| stage.network.cut(primary, other))?;
        is_replaced(stage, 1)
    }),
    ("a primary hears nobody", |stage| {
        let (primary, _) = stage.shard(2)?;
        others(primary).try_for_each(|other| stage.network.cut(other, primary))?;
        is_replaced(stage, 2)
    }),
    ("a primary is cut off with its replica", cut_off_with_replica),
    ("a primary is stopped", stop),
    ("a primary is killed", kill),
    ("a primary's disk is full", fill_disk),
];

fn others(node: usize) -> impl Iterator<Item = usize> {
    (0..NODES).filter(move |&it| it != node)
}

/// The ways to a primary have just been cut.
fn is_replaced(stage: &mut Stage, shard: usize) -> Result<String, Failure> {
    let (primary, replica) = stage.shard(shard)?;
    let last = takes_no_writes(stage, shard, primary)?;
    stage.takes_over(replica)?;
    stage.network.heal()?;
    Ok(format!("took writes for {last} ms more, and was replaced"))
}

/// A node that is in a minority since a moment ago takes writes for a while, and then none. Returns the milliseconds up to the last.
fn takes_no_writes(stage: &Stage, shard: usize, primary: usize) -> Result<u128, Failure> {
    let watch = Stopwatch::start();
    let mut probe = stage.probe(shard, primary)?;
    let mut last = 0;
    while watch.elapsed() < MINORITY_AFTER {
        if probe.is_taken() {
            last = watch.elapsed().as_millis();
        }
    }
    if probe.is_refused() { Ok(last) } else { Err("the minority takes writes".into()) }
}

fn cut_off_with_replica(stage: &mut Stage) -> Result<String, Failure> {
    let (primary, replica) = stage.shard(0)?;
    stage.network.part(&[primary, replica])?;
    let last = takes_no_writes(stage, 0, primary)?;
    stage.network.heal()?;
    clusters::wait("the primary goes on", || Ok(stage.shard(0).is_ok_and(|it| it.0 == primary)))?;
    Ok(format!("took writes for {last} ms more, and goes on"))
}

/// Longer than the node timeout: it has been replaced, and does not know it when it wakes.
fn stop(stage: &mut Stage) -> Result<String, Failure> {
    let (primary, replica) = stage.shard(1)?;
    let mut probes = [stage.probe(1, primary)?, stage.probe(1, primary)?];
    stage.signal(primary, "STOP")?;
    let replaced = probes
        .iter_mut()
        .try_for_each(|it| it.send().map_err(Failure::from))
        .and_then(|()| stage.takes_over(replica));
    stage.signal(primary, "CONT")?;
    replaced?;
    if probes.iter_mut().any(|it| it.is_confirmed() || it.is_taken()) {
        return Err("it has taken a write after it woke up".into());
    }
    Ok("was replaced, and took nothing when it woke up".to_owned())
}

fn kill(stage: &mut Stage) -> Result<String, Failure> {
    let (primary, replica) = stage.shard(2)?;
    stage.nodes[primary].kill();
    stage.takes_over(replica)?;
    stage.nodes[primary].restart()?;
    Ok("was replaced".to_owned())
}

/// A node that can keep no promise ends rather than to make one.
fn fill_disk(stage: &mut Stage) -> Result<String, Failure> {
    let (primary, replica) = stage.shard(0)?;
    let (_, other) = stage.shard(1)?;
    stage.fill_disk(primary)?;
    // Who has which slots is another thing now, and has to be saved.
    stage.nodes[other].client().call(&["CLUSTER", "FAILOVER"])?;
    clusters::wait("the node ends", || Ok(stage.nodes[primary].has_ended()))?;
    stage.takes_over(replica)?;
    stage.empty_disk(primary)?;
    stage.nodes[primary].restart()?;
    Ok("ended, and was replaced".to_owned())
}
