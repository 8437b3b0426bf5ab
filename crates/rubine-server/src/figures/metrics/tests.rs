//! The table of metrics against that of `redis_exporter`'s names.

use std::collections::BTreeSet;

use rubine_metrics::Metric;

use super::declared;

/// See the head of the file.
const EXPORTER: &str = include_str!("../../../../../tests/metrics/exporter.tsv");

/// A line of the file.
struct Expected<'a> {
    name: &'a str,
    kind: &'a str,
    labels: Vec<&'a str>,
    queried_by: &'a str,
    absent: &'a str,
}

fn expected() -> Vec<Expected<'static>> {
    let lines = EXPORTER.lines().filter(|it| it.starts_with("redis_"));
    let parse = |line: &'static str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [name, kind, labels, queried_by, absent] = columns[..] else {
            panic!("{line}: {} columns", columns.len());
        };
        let labels = labels.split(',').filter(|it| !it.is_empty());
        let labels = labels.filter(|it| !["le", "quantile"].contains(it)).collect();
        Expected { name, kind, labels, queried_by, absent }
    };
    lines.map(parse).collect()
}

fn find(name: &str) -> Option<&'static Metric> {
    declared().find(|it| it.name == name)
}

#[test]
fn every_name_of_the_exporter_is_here_with_its_type_and_labels() {
    let mut faults = Vec::new();
    for Expected { name, kind, labels, absent, .. } in expected() {
        match (find(name), absent) {
            (None, "") => faults.push(format!("{name} is missing")),
            (Some(_), reason) if !reason.is_empty() => {
                faults.push(format!("{name} is here, although {reason}"));
            }
            (Some(metric), _) if metric.kind.name() != kind || metric.labels != labels => {
                faults.push(format!("{name}: {kind} {labels:?}, here {metric:?}"));
            }
            _ => {}
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_dashboards_query_is_here() {
    let allowed = ["a recording rule of one dashboard", "not yet"];
    for it in expected().iter().filter(|it| !it.queried_by.is_empty()) {
        let is_excused = allowed.contains(&it.absent);
        assert!(find(it.name).is_some() || is_excused, "{}: {}", it.name, it.absent);
    }
}

#[test]
fn names_are_unique_and_well_formed() {
    let known: BTreeSet<&str> = expected().iter().map(|it| it.name).collect();
    let mut seen = BTreeSet::new();
    for metric in declared() {
        let Metric { name, kind, labels, help } = metric;
        assert!(seen.insert(*name), "{name} is declared twice");
        let is_ours = name.starts_with("rubine_") || name.starts_with("redis_sentinel_");
        assert!(is_ours || known.contains(name), "{name} is no name of the exporter");
        let is_word = |it: &str| it.bytes().all(|it| it.is_ascii_lowercase() || it == b'_');
        assert!(is_word(name) && labels.iter().all(|it| is_word(it)), "{name} {labels:?}");
        assert!(help.ends_with('.') && !help.contains('\n'), "{name}: {help}");
        if is_ours {
            let is_total = name.ends_with("_total");
            assert_eq!(is_total, *kind == rubine_metrics::Kind::Counter, "{name}");
        }
        // A dashboard's own labels would collide with these.
        let reserved = ["namespace", "pod", "service", "instance", "job"];
        assert!(labels.iter().all(|it| !reserved.contains(it)), "{name} {labels:?}");
    }
}
