//! The life of alerts, with values and a clock that tests make up.

use std::collections::BTreeMap;

use super::{Alerts, Group, Identity, Moment, Notification, State};
use crate::builtin::Situation;
use crate::labels::{Labels, Matcher};
use crate::line::RuleLine;
use crate::values::{Values, Visit};

const START: i64 = 1_796_000_000_000;

/// Alerts over made-up values of metrics; each tick is 5 s.
struct World {
    alerts: Alerts,
    metrics: BTreeMap<&'static str, Vec<(&'static str, f64)>>,
    /// Seconds since the start.
    now: u64,
    is_loading: bool,
    /// Groups, with the second in which they were told.
    told: Vec<(u64, String)>,
    refreshed: Vec<(u64, String)>,
}

struct Metrics<'a>(&'a BTreeMap<&'static str, Vec<(&'static str, f64)>>);

impl Values for Metrics<'_> {
    fn visit(&self, metric: &str, visit: &mut Visit<'_>) -> bool {
        for (labels, value) in self.0.get(metric).into_iter().flatten() {
            let labels: Vec<_> = labels.split(',').filter_map(|it| it.split_once('=')).collect();
            visit(&labels, *value);
        }
        // What the built-in rules look at is there, without series.
        metric != "missing"
    }
}

fn line(text: &str) -> RuleLine {
    let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
    RuleLine::parse(&words).unwrap_or_else(|it| panic!("{text}: {it}"))
}

impl World {
    fn new(lines: &[&str]) -> Self {
        let lines = lines.iter().map(|it| line(it)).collect();
        let identity = Identity { instance: "h:1".to_owned(), labels: Labels::new() };
        let situation =
            Situation { save_seconds_max: Some(3600), has_maxmemory: true, ..Situation::default() };
        let mut world = Self {
            alerts: Alerts::new(identity, lines, situation).unwrap(),
            metrics: BTreeMap::new(),
            now: 0,
            is_loading: false,
            told: Vec::new(),
            refreshed: Vec::new(),
        };
        world.set("m", 0.0);
        world
    }

    /// One that is past its quiet first minute.
    fn awake(lines: &[&str]) -> Self {
        let mut world = Self::new(lines);
        world.run(60);
        world
    }

    fn set(&mut self, metric: &'static str, value: f64) {
        self.metrics.insert(metric, vec![("", value)]);
    }

    fn moment(&self) -> Moment {
        Moment { unix_ms: START + self.now as i64 * 1000, monotonic_ms: self.now * 1000 }
    }

    /// Lets seconds pass.
    fn run(&mut self, seconds: u64) {
        let end = self.now + seconds;
        while self.now < end {
            let moment = self.moment();
            let told = self.alerts.tick(moment, &Metrics(&self.metrics), self.is_loading);
            for notification in told {
                match notification {
                    Notification::Group(group) => self.told.push((self.now, text_of(&group))),
                    Notification::Refresh(alerts) => {
                        let group = Group { instance: String::new(), alerts };
                        self.refreshed.push((self.now, text_of(&group)));
                    }
                }
            }
            self.now += 5;
        }
    }

    fn state(&self, name: &str) -> Option<State> {
        self.alerts.alerts().iter().find(|it| it.rule == name).map(|it| it.state)
    }
}

/// Name, label `db` and state of each alert.
fn text_of(group: &Group) -> String {
    let one = |it: &super::Alert| {
        let db = it.labels.get("db").map_or(String::new(), |db| format!("({db})"));
        format!("{}{db} {}", it.rule, it.state.name())
    };
    group.alerts.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn from_pending_to_firing_to_resolved() {
    let mut world = World::awake(&["A m > 1 for 20s keep 10s"]);
    world.set("m", 2.0);
    world.run(5);
    assert_eq!(world.state("A"), Some(State::Pending));
    world.run(15);
    assert_eq!(world.state("A"), Some(State::Pending));
    world.run(5);
    assert_eq!(world.state("A"), Some(State::Firing));
    // People hear of it after 30 s, a manager at once.
    assert_eq!((world.told.len(), world.refreshed.as_slice()), (0, &[(80, "A firing".into())][..]));
    world.run(30);
    assert_eq!(world.told, [(110, "A firing".to_owned())]);
    world.set("m", 0.0);
    world.run(10);
    assert_eq!(world.state("A"), Some(State::Firing));
    world.run(5);
    assert_eq!(world.state("A"), Some(State::Resolved));
    world.run(30);
    assert_eq!(world.told[1..], [(155, "A resolved".to_owned())]);
    world.run(900);
    assert_eq!(world.state("A"), None);
    assert_eq!(world.told.len(), 2);
}

#[test]
fn what_passes_is_not_told() {
    let mut world = World::awake(&["A m > 1 for 20s"]);
    for _ in 0..20 {
        world.set("m", 2.0);
        world.run(15);
        world.set("m", 0.0);
        world.run(5);
    }
    assert_eq!((world.told.len(), world.refreshed.len()), (0, 0));
    assert_eq!(world.state("A"), None);
}

/// Fires and ends within the time that changes wait for each other: people hear nothing, a manager all.
#[test]
fn what_ends_before_it_is_told_is_not_told() {
    let mut world = World::awake(&["A m > 1"]);
    world.set("m", 2.0);
    world.run(10);
    world.set("m", 0.0);
    world.run(60);
    assert_eq!(world.told, []);
    assert_eq!(world.refreshed[0], (60, "A firing".to_owned()));
    assert_eq!(world.refreshed[1], (70, "A resolved".to_owned()));
}

#[test]
fn a_lower_threshold_holds_what_fires() {
    let mut world = World::awake(&["MemoryHigh for 10s keep 0s"]);
    world.set("redis_memory_max_bytes", 100.0);
    // Enough to go on, but not to begin.
    world.set("redis_memory_used_bytes", 88.0);
    world.run(60);
    assert_eq!(world.state("MemoryHigh"), None);
    world.set("redis_memory_used_bytes", 91.0);
    world.run(5);
    // What holds an alert that fires makes no pending one go on.
    world.set("redis_memory_used_bytes", 88.0);
    world.run(5);
    assert_eq!(world.state("MemoryHigh"), None);
    world.set("redis_memory_used_bytes", 91.0);
    world.run(15);
    assert_eq!(world.state("MemoryHigh"), Some(State::Firing));
    world.set("redis_memory_used_bytes", 86.0);
    world.run(600);
    assert_eq!(world.state("MemoryHigh"), Some(State::Firing));
    world.set("redis_memory_used_bytes", 85.0);
    world.run(5);
    assert_eq!(world.state("MemoryHigh"), Some(State::Resolved));
}

#[test]
fn what_goes_on_is_told_again_after_hours() {
    let mut world = World::awake(&["A m > 1"]);
    world.set("m", 2.0);
    world.run(8 * 3600 + 200);
    let hours: Vec<u64> = world.told.iter().map(|it| it.0).collect();
    assert_eq!(hours, [90, 90 + 4 * 3600, 90 + 8 * 3600]);
    // A manager hears of it every minute.
    let gaps = world.refreshed.windows(2).map(|it| it[1].0 - it[0].0);
    assert!(gaps.clone().all(|it| it == 60), "{:?}", gaps.collect::<Vec<_>>());
}

#[test]
fn changes_are_told_together() {
    let mut world = World::awake(&["A m > 1", "B m > 2", "C n > 0"]);
    world.metrics.insert("n", vec![("db=db0", 1.0), ("db=db1", 0.0), ("db=db2", 1.0)]);
    world.set("m", 2.0);
    world.run(25);
    world.set("m", 3.0);
    world.run(60);
    assert_eq!(world.told, [(90, "A firing, B firing, C(db0) firing, C(db2) firing".to_owned())]);
    world.set("m", 2.0);
    world.run(60);
    assert_eq!(world.told[1].1, "A firing, B resolved, C(db0) firing, C(db2) firing");
    world.set("m", 0.0);
    world.metrics.remove("n");
    world.run(60);
    assert_eq!(world.told[2].1, "A resolved, C(db0) resolved, C(db2) resolved");
}

#[test]
fn silences_hide_and_end() {
    let mut world = World::awake(&["A m > 1", "B m > 1"]);
    let matchers = vec![Matcher::parse("alertname=A").unwrap()];
    let ends_at = world.moment().unix_ms + 600_000;
    let silence = |world: &mut World, matchers| {
        let now = world.moment();
        world.alerts.silence(matchers, now, ends_at, "me".into(), String::new()).unwrap()
    };
    assert_eq!(silence(&mut world, matchers.clone()), 1);
    world.set("m", 2.0);
    world.run(60);
    assert_eq!(world.told, [(90, "B firing".to_owned())]);
    assert!(world.refreshed.iter().all(|it| it.1 == "B firing"));
    assert!(world.alerts.alerts()[0].is_silenced);
    // It ends by itself, and what it hid is told.
    world.run(600);
    assert_eq!(world.told[1], (690, "A firing, B firing".to_owned()));
    assert_eq!(world.alerts.silences(world.moment()).len(), 0);
    // The end of what was told is told in spite of one.
    let ends_at = world.moment().unix_ms + 600_000;
    let now = world.moment();
    let id = world.alerts.silence(Vec::new(), now, ends_at, "me".into(), String::new()).unwrap();
    world.set("m", 0.0);
    world.run(60);
    assert_eq!(world.told[2].1, "A resolved, B resolved");
    assert!(world.alerts.unsilence(id) && !world.alerts.unsilence(id));
}

#[test]
fn nothing_fires_at_the_start_and_while_loading() {
    let mut world = World::new(&["A m > 1"]);
    world.set("m", 2.0);
    world.run(60);
    assert_eq!(world.state("A"), None);
    world.run(5);
    assert_eq!(world.state("A"), Some(State::Firing));
    let mut world = World::new(&["A m > 1", "B increase(c[1h]) > 5"]);
    world.set("m", 2.0);
    world.is_loading = true;
    world.set("c", 0.0);
    world.run(300);
    world.is_loading = false;
    world.set("c", 6.0);
    world.run(55);
    assert_eq!(world.state("A"), None);
    world.run(10);
    assert_eq!(world.state("A"), Some(State::Firing));
    // Windows have seen what came meanwhile.
    assert_eq!(world.state("B"), Some(State::Firing));
}

#[test]
fn a_rule_without_data_pages() {
    let mut world = World::awake(&["A missing > 1 for 10s", "B missing > 1 nodata ok"]);
    world.run(15);
    let alerts = world.alerts.alerts();
    assert_eq!(alerts.len(), 1);
    assert_eq!((alerts[0].rule.as_str(), alerts[0].state), ("A", State::Firing));
    assert_eq!(alerts[0].labels["reason"], "nodata");
    let text = "The rule A cannot be evaluated: there is no metric 'missing'.";
    assert_eq!(alerts[0].annotations["description"], text);
}

/// Whether an alert goes on is not known while its rule cannot be evaluated, so it does not end.
#[test]
fn who_is_blind_sees_no_end() {
    struct Blind;
    impl Values for Blind {
        fn visit(&self, _: &str, _: &mut Visit<'_>) -> bool {
            false
        }
    }
    let mut world = World::awake(&["A m > 1"]);
    world.set("m", 2.0);
    world.run(60);
    for _ in 0..5 {
        let moment = world.moment();
        let _ = world.alerts.tick(moment, &Blind, false);
        world.now += 5;
    }
    let states: Vec<_> = world.alerts.alerts().into_iter().filter(|it| it.rule == "A").collect();
    assert_eq!(states.len(), 2);
    assert!(states.iter().all(|it| it.state == State::Firing), "{states:?}");
    world.set("m", 0.0);
    world.run(10);
    let alerts = world.alerts.alerts();
    assert!(alerts.iter().filter(|it| it.rule == "A").all(|it| it.state == State::Resolved));
}

#[test]
fn what_a_rule_that_is_gone_has_found_ends() {
    let mut world = World::awake(&["A m > 1", "B m > 1", "C m > 1 for 1h"]);
    world.set("m", 2.0);
    world.run(60);
    let now = world.moment();
    assert!(world.alerts.remove("a", now) && !world.alerts.remove("a", now));
    world.alerts.set(line("B m > 1 severity critical"), now).unwrap();
    world.alerts.set(line("C m > 1 for 2h"), now).unwrap();
    world.run(60);
    assert_eq!(world.told[1].1, "A resolved, B firing, B resolved");
    // It goes on waiting where it was.
    let alerts = world.alerts.alerts();
    let pending = alerts.iter().find(|it| it.rule == "C").unwrap();
    assert_eq!(pending.starts_at, START + 60_000);
}

#[test]
fn a_limit_that_is_not_set_is_not_exceeded() {
    let mut world = World::awake(&["Own m / redis_memory_max_bytes > 0.5"]);
    world.set("m", 5.0);
    world.set("redis_memory_used_bytes", 5.0);
    world.set("redis_memory_max_bytes", 0.0);
    let now = world.moment();
    let identity = world.alerts.identity().clone();
    world.alerts.adapt(identity, Situation::default(), now);
    world.run(300);
    assert_eq!(world.alerts.alerts(), []);
    let rules = world.alerts.rules();
    let skipped = rules.iter().find(|it| it.name == "MemoryHigh").unwrap();
    assert_eq!(skipped.rule.as_ref().err(), Some(&"maxmemory is not set"));
}

#[test]
fn an_alert_is_bounded_in_number() {
    struct Many;
    impl Values for Many {
        fn visit(&self, metric: &str, visit: &mut Visit<'_>) -> bool {
            if metric == "many" {
                (0..500).for_each(|it| visit(&[("n", &it.to_string())], 1.0));
            }
            true
        }
    }
    let mut world = World::awake(&["A many > 0"]);
    let moment = world.moment();
    let _ = world.alerts.tick(moment, &Many, false);
    assert_eq!(world.alerts.alerts().len(), super::INSTANCES_MAX);
}

#[test]
fn labels_say_whose_and_how_bad() {
    let mut world = World::awake(&["A n > 0 severity critical label team=db label db=mine"]);
    world.metrics.insert("n", vec![("db=db0", 1.0)]);
    world.run(5);
    let alerts = world.alerts.alerts();
    let labels: Vec<String> =
        alerts[0].labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["alertname=A", "db=db0", "instance=h:1", "severity=critical", "team=db"]);
    assert_eq!(alerts[0].starts_at, START + 60_000);
}
