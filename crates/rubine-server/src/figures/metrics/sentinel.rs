//! Metrics of a Sentinel: the masters that it monitors, and itself. A server of data has none of them.

use rubine_metrics::{Family, Kind};
use rubine_sentinel::{Facts, MasterFacts};

use super::Look;
use super::row::{Row, family, flag};

const MASTER: &[&str] = &["master_name", "master_address"];

pub(super) const ROWS: &[Row] = &[
    family(Kind::Gauge, "redis_sentinel_masters", &[], "Masters that are monitored.", |it, to| {
        of_sentinel(it, to, |it| it.masters.len() as f64);
    }),
    family(
        Kind::Gauge,
        "redis_sentinel_tilt",
        &[],
        "1 while the clock is not trusted.",
        |it, to| {
            of_sentinel(it, to, |it| flag(it.is_in_tilt));
        },
    ),
    family(
        Kind::Gauge,
        "redis_sentinel_running_scripts",
        &[],
        "Programs that are running.",
        |it, to| of_sentinel(it, to, |it| it.running_scripts as f64),
    ),
    family(
        Kind::Gauge,
        "redis_sentinel_scripts_queue_length",
        &[],
        "Programs that are running or will be run.",
        |it, to| of_sentinel(it, to, |it| it.queued_scripts as f64),
    ),
    family(
        Kind::Gauge,
        "redis_sentinel_master_status",
        &["master_name", "master_address", "master_status"],
        "1 for a master that is in order, with its state as a label.",
        |it, family| {
            let Some(facts) = facts(it) else { return };
            for master in facts.masters {
                let value = flag(master.status == "ok");
                let labels = [
                    ("master_name", master.name.into()),
                    ("master_address", master.address.into()),
                    ("master_status", master.status.into()),
                ];
                family.add_with(labels, value);
            }
        },
    ),
    family(
        Kind::Gauge,
        "redis_sentinel_master_slaves",
        MASTER,
        "Replicas of each master.",
        |it, family| of_masters(it, family, |it| it.replicas as f64),
    ),
    family(
        Kind::Gauge,
        "redis_sentinel_master_sentinels",
        MASTER,
        "Sentinels of each master, with this one.",
        |it, family| of_masters(it, family, |it| it.sentinels as f64),
    ),
];

fn facts(look: &Look) -> Option<Facts> {
    look.server.sentinel.as_ref().map(|it| it.driver().machine.facts())
}

fn of_sentinel(look: &Look, family: &mut Family, value: impl Fn(&Facts) -> f64) {
    if let Some(facts) = facts(look) {
        family.add(value(&facts));
    }
}

fn of_masters(look: &Look, family: &mut Family, value: impl Fn(&MasterFacts) -> f64) {
    let Some(facts) = facts(look) else { return };
    for master in facts.masters {
        let value = value(&master);
        let labels =
            [("master_name", master.name.into()), ("master_address", master.address.into())];
        family.add_with(labels, value);
    }
}
