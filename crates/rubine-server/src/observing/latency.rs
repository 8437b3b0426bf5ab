//! What has kept the server from its work, by event and second, for LATENCY. Measures nothing itself.
//!
//! Most events stay below the threshold, which is looked at without a lock.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rubine_system::ticks;

/// Seconds of which each event's worst time is kept.
const SAMPLES_MAX: usize = 160;
/// How wide a graph is, and how many rows it has.
const GRAPH_COLUMNS: usize = 80;
const GRAPH_ROWS: usize = 4;
/// A column's top, from nearly empty to full, and what is below it.
const GRAPH_TOPS: [u8; 3] = *b"_o#";
const GRAPH_BODY: u8 = b'|';

/// What is measured. The names are those of Redis and Valkey where the meaning is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LatencyEvent {
    ActiveDefragCycle,
    AofFsync,
    AofFsyncAlways,
    AofRename,
    AofWrite,
    Command,
    CommandUnblocking,
    EvictionCycle,
    EvictionDel,
    ExpireCycle,
    FastCommand,
    /// A request stood at a shard that was busy.
    LockWait,
    /// All shards were locked, for a save or a rewrite to see one moment.
    Snapshot,
}

/// Every event and its name, in the order of the events.
const NAMED: [(LatencyEvent, &str); 13] = [
    (LatencyEvent::ActiveDefragCycle, "active-defrag-cycle"),
    (LatencyEvent::AofFsync, "aof-fsync"),
    (LatencyEvent::AofFsyncAlways, "aof-fsync-always"),
    (LatencyEvent::AofRename, "aof-rename"),
    (LatencyEvent::AofWrite, "aof-write"),
    (LatencyEvent::Command, "command"),
    (LatencyEvent::CommandUnblocking, "command-unblocking"),
    (LatencyEvent::EvictionCycle, "eviction-cycle"),
    (LatencyEvent::EvictionDel, "eviction-del"),
    (LatencyEvent::ExpireCycle, "expire-cycle"),
    (LatencyEvent::FastCommand, "fast-command"),
    (LatencyEvent::LockWait, "lock-wait"),
    (LatencyEvent::Snapshot, "snapshot"),
];

impl LatencyEvent {
    pub(crate) fn name(self) -> &'static str {
        NAMED[self as usize].1
    }

    /// The event that is called so.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        let named = NAMED.iter().find(|it| it.1.as_bytes().eq_ignore_ascii_case(name));
        named.map(|it| it.0)
    }

    /// What can be done where it shows.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::ActiveDefragCycle => {
                "Lower active-defrag-cycle-max: moving values takes time from commands."
            }
            Self::AofFsync | Self::AofWrite | Self::AofRename => {
                "The disk is slow or busy. Use a local one that others do not share, and look whether rewrites \
                 (no-appendfsync-on-rewrite) or saves coincide with it."
            }
            Self::AofFsyncAlways => {
                "With appendfsync always, every write waits for the disk. Use a faster one, or everysec."
            }
            Self::Command => {
                "Look at the slow commands: COMMANDLOG GET 10 slow. Commands that walk through all keys or large \
                 collections have variants that go step by step."
            }
            Self::CommandUnblocking => {
                "What is done for clients that wait takes long: look at what they ask for."
            }
            Self::EvictionCycle | Self::EvictionDel => {
                "Much has to go at once: maxmemory was lowered, or large values come in. \
                 maxmemory-eviction-tenacity says how long a command may spend on it."
            }
            Self::ExpireCycle => {
                "Many keys fall due at the same time. Spread their deadlines, or lower active-expire-effort."
            }
            Self::FastCommand => {
                "Commands that take microseconds took milliseconds, so the system did not run the server: look for \
                 other programs on these processors, noisy neighbours, swapping and huge pages."
            }
            Self::LockWait => {
                "Requests wait for others that hold their keys for long: transactions, scripts, and commands over all \
                 keys."
            }
            Self::Snapshot => {
                "Beginning a save or a rewrite took long, since somebody held keys: see lock-wait and command."
            }
        }
    }
}

/// How long something took, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Unix seconds.
    pub(crate) at: i64,
    pub(crate) millis: u64,
}

/// What is known of one event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// The worst of each second that had one, the oldest first.
    pub(crate) samples: Vec<Sample>,
    pub(crate) max: u64,
    pub(crate) sum: u64,
    pub(crate) count: u64,
}

impl Series {
    fn add(&mut self, sample: Sample) {
        self.max = self.max.max(sample.millis);
        self.sum = self.sum.saturating_add(sample.millis);
        self.count += 1;
        match self.samples.last_mut() {
            Some(last) if last.at == sample.at => last.millis = last.millis.max(sample.millis),
            _ => {
                if self.samples.len() == SAMPLES_MAX {
                    self.samples.remove(0);
                }
                self.samples.push(sample);
            }
        }
    }

    fn lowest_and_highest(&self) -> (u64, u64) {
        let millis = self.samples.iter().map(|it| it.millis);
        (millis.clone().min().unwrap_or(0), millis.max().unwrap_or(0))
    }
}

/// All events.
#[derive(Debug)]
pub(crate) struct LatencyEvents {
    /// From what on they are noted, in ticks; at the most, none is.
    threshold: AtomicU64,
    series: Mutex<BTreeMap<LatencyEvent, Series>>,
}

impl Default for LatencyEvents {
    fn default() -> Self {
        Self { threshold: AtomicU64::new(u64::MAX), series: Mutex::default() }
    }
}

impl LatencyEvents {
    /// Sets from how many ticks on events are noted.
    pub(crate) fn set_threshold(&self, ticks: u64) {
        self.threshold.store(ticks, Ordering::Relaxed);
    }

    /// Notes that something took so many ticks, if that is worth it. `now` is in Unix milliseconds.
    #[inline]
    pub(crate) fn note(&self, event: LatencyEvent, ticks: u64, now: i64) {
        if self.threshold.load(Ordering::Relaxed) <= ticks {
            self.add(event, ticks, now);
        }
    }

    #[cold]
    fn add(&self, event: LatencyEvent, ticks: u64, now: i64) {
        let millis = (ticks as f64 / ticks::per_microsecond() / 1000.0) as u64;
        let sample = Sample { at: now / 1000, millis };
        self.series.lock().entry(event).or_default().add(sample);
    }

    /// What is known of an event, if it ever was noted.
    pub(crate) fn of(&self, event: LatencyEvent) -> Option<Series> {
        self.series.lock().get(&event).cloned()
    }

    /// All that were noted.
    pub(crate) fn all(&self) -> Vec<(LatencyEvent, Series)> {
        self.series.lock().iter().map(|(event, series)| (*event, series.clone())).collect()
    }

    /// Forgets an event, or all. Returns how many were known.
    pub(crate) fn reset(&self, event: Option<LatencyEvent>) -> usize {
        let mut series = self.series.lock();
        match event {
            Some(event) => usize::from(series.remove(&event).is_some()),
            None => std::mem::take(&mut *series).len(),
        }
    }
}

/// A drawing of an event's samples, with how long ago each was below it.
pub(crate) fn graph(event: LatencyEvent, series: &Series, now: i64) -> String {
    let (low, high) = series.lowest_and_highest();
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{} - high {high} ms, low {low} ms (all time high {} ms)",
        event.name(),
        series.max
    );
    text.push_str(&"-".repeat(GRAPH_COLUMNS));
    text.push('\n');
    for (index, part) in series.samples.chunks(GRAPH_COLUMNS).enumerate() {
        if index != 0 {
            text.push('\n');
        }
        draw(&mut text, part, (low, high), now);
    }
    text
}

fn draw(text: &mut String, samples: &[Sample], (low, high): (u64, u64), now: i64) {
    let steps = GRAPH_TOPS.len() * GRAPH_ROWS;
    let range = (high - low).max(1) as f64;
    let step_of =
        |it: &Sample| (((it.millis - low) as f64 * steps as f64 / range) as usize).min(steps - 1);
    for row in (0..GRAPH_ROWS).rev() {
        let bottom = row * GRAPH_TOPS.len();
        let column = |it: &Sample| match step_of(it).checked_sub(bottom) {
            None => b' ',
            Some(height) => GRAPH_TOPS.get(height).copied().unwrap_or(GRAPH_BODY),
        };
        text.extend(samples.iter().map(|it| char::from(column(it))));
        text.push('\n');
    }
    // A free line, and then the labels from top to bottom.
    let labels: Vec<String> = samples.iter().map(|it| age(now / 1000 - it.at)).collect();
    text.push_str(&" ".repeat(samples.len()));
    text.push('\n');
    let height = labels.iter().map(String::len).max().unwrap_or(0);
    for row in 0..height {
        text.extend(
            labels.iter().map(|it| char::from(it.as_bytes().get(row).copied().unwrap_or(b' '))),
        );
        text.push('\n');
    }
}

fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{}s", seconds.max(0)),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// What there is to say about the events, for people. `is_on` says whether any are noted now.
pub(crate) fn report(events: &[(LatencyEvent, Series)], is_on: bool, now: i64) -> String {
    if events.is_empty() {
        return if is_on {
            "Nothing has taken longer than latency-monitor-threshold so far.\n".to_owned()
        } else {
            "Latency is not watched. To watch it: CONFIG SET latency-monitor-threshold <milliseconds>.\n"
                .to_owned()
        };
    }
    let mut text = "These events have taken longer than latency-monitor-threshold:\n\n".to_owned();
    for (index, (event, series)) in events.iter().enumerate() {
        let count = series.samples.len().max(1) as u64;
        let average = series.samples.iter().map(|it| it.millis).sum::<u64>() / count;
        let deviations = series.samples.iter().map(|it| it.millis.abs_diff(average));
        let deviation = deviations.sum::<u64>() / count;
        let first = series.samples.first().map_or(now / 1000, |it| it.at);
        let period = (now / 1000 - first).max(1) as f64 / count as f64;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{}. {}: {} latency spikes (average {average}ms, mean deviation {deviation}ms, period {period:.2} sec). \
             Worst all time event {}ms.",
            index + 1,
            event.name(),
            series.samples.len(),
            series.max
        );
    }
    text.push_str("\nWhat may help:\n\n");
    let mut advice: Vec<&str> = Vec::new();
    for (event, _) in events {
        if !advice.contains(&event.advice()) {
            advice.push(event.advice());
        }
    }
    for it in advice {
        let _ = writeln!(text, "- {it}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{LatencyEvent, NAMED, Sample, Series, graph, report};

    fn series(samples: &[(i64, u64)]) -> Series {
        let mut series = Series::default();
        samples.iter().for_each(|&(at, millis)| series.add(Sample { at, millis }));
        series
    }

    #[test]
    fn a_second_has_one_sample_and_the_oldest_go() {
        let kept = series(&[(1, 5), (1, 9), (1, 7), (2, 3)]);
        let samples: Vec<_> = kept.samples.iter().map(|it| (it.at, it.millis)).collect();
        assert_eq!(samples, [(1, 9), (2, 3)]);
        assert_eq!((kept.max, kept.sum, kept.count), (9, 24, 4));
        let many: Vec<_> = (0..1000).map(|at| (at, 1)).collect();
        let kept = series(&many);
        assert_eq!((kept.samples.len(), kept.samples[0].at), (160, 840));
    }

    #[test]
    fn a_graph_has_a_column_for_each_sample() {
        let kept = series(&[(0, 100), (1, 200), (2, 300), (63, 1300)]);
        let expected = "command - high 1300 ms, low 100 ms (all time high 1300 ms)\n".to_owned()
            + &"-".repeat(80)
            + "\n   #\n   |\n   |\n_o#|\n    \n1111\nmmms\n";
        let drawn = graph(LatencyEvent::Command, &kept, 64_000);
        assert_eq!(drawn, expected, "{drawn}");
    }

    #[test]
    fn every_event_is_found_by_its_name() {
        for (event, name) in NAMED {
            assert_eq!((event.name(), LatencyEvent::named(name.as_bytes())), (name, Some(event)));
        }
        assert_eq!(LatencyEvent::named(b"fork"), None);
    }

    #[test]
    fn a_report_names_what_was_seen() {
        let text = report(&[(LatencyEvent::Command, series(&[(1, 20), (3, 30)]))], true, 5000);
        assert!(
            text.contains("1. command: 2 latency spikes (average 25ms, mean deviation 5ms"),
            "{text}"
        );
        assert!(text.contains("COMMANDLOG"), "{text}");
        assert!(report(&[], false, 0).contains("CONFIG SET latency-monitor-threshold"));
    }
}
