//! The history of this server's metrics: what of it is in memory, and what is known of its file. Looks at nothing by
//! itself, and writes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rubine_base::clock::unix_millis;
use rubine_history::{History, Listed, Question, SLOT_SECONDS};

/// At the end of the server, its history is written unless that takes longer.
const END_WAIT_MAX: Duration = Duration::from_secs(5);

/// The last day of metrics.
#[derive(Default)]
pub(crate) struct Recording {
    history: Mutex<History>,
    switch: Mutex<Switch>,
    switched: Condvar,
    pub(crate) counts: Counts,
}

/// What INFO and metrics tell.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// How often the file was written, and how often that failed.
    pub(crate) writes: AtomicU64,
    pub(crate) errors: AtomicU64,
    /// When it was written last, Unix milliseconds.
    pub(crate) written_at: AtomicI64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Switch {
    is_on: bool,
    thread: Thread,
    is_ending: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Thread {
    #[default]
    None,
    Runs,
    Ended,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A moment has come whose values are kept.
    Record,
    /// It was switched off: what there is goes to the file.
    Rest,
    /// It was switched on: what the file has is wanted.
    Begin,
    End,
}

impl Recording {
    /// Has history kept from now on, or not. Returns whether there is no thread for it yet, which whoever asks is to start.
    pub(crate) fn switch(&self, is_on: bool) -> bool {
        let mut switch = self.switch.lock();
        let needs_thread = is_on && switch.thread == Thread::None;
        switch.is_on = is_on;
        if needs_thread {
            switch.thread = Thread::Runs;
        }
        self.switched.notify_all();
        needs_thread
    }

    pub(crate) fn is_on(&self) -> bool {
        self.switch.lock().is_on
    }

    /// Waits for what is to be done. `is_running` says whether values are kept so far.
    pub(crate) fn next(&self, is_running: bool) -> Next {
        let mut switch = self.switch.lock();
        let slot = |millis: i64| millis.div_euclid(SLOT_SECONDS as i64 * 1000);
        let began = slot(unix_millis());
        loop {
            match (switch.is_ending, switch.is_on, is_running) {
                (true, ..) => return Next::End,
                (_, true, false) => return Next::Begin,
                (_, false, true) => return Next::Rest,
                (_, false, false) => self.switched.wait(&mut switch),
                (_, true, true) => {
                    let now = unix_millis();
                    // A clock that is set back ends the wait, too.
                    if slot(now) != began {
                        return Next::Record;
                    }
                    let next = (began + 1) * SLOT_SECONDS as i64 * 1000;
                    let left = Duration::from_millis((next - now).max(1) as u64);
                    self.switched.wait_for(&mut switch, left);
                }
            }
        }
    }

    /// The thread has done its last work.
    pub(crate) fn set_ended(&self) {
        self.switch.lock().thread = Thread::Ended;
        self.switched.notify_all();
    }

    /// Has the thread end, and waits until the file is written, but not for ever.
    pub(crate) fn finish(&self) {
        let mut switch = self.switch.lock();
        switch.is_ending = true;
        self.switched.notify_all();
        let is_busy = |it: &mut Switch| it.thread == Thread::Runs;
        self.switched.wait_while_for(&mut switch, is_busy, END_WAIT_MAX);
    }

    pub(crate) fn record<'a>(&self, seconds: u64, values: impl Iterator<Item = (&'a str, f64)>) {
        self.history.lock().record(seconds, values);
    }

    /// Takes this history in place of what there is.
    pub(crate) fn replace(&self, history: History) {
        let before = std::mem::replace(&mut *self.history.lock(), history);
        drop(before);
    }

    /// The history as it is now.
    pub(crate) fn copy(&self) -> History {
        self.history.lock().clone()
    }

    pub(crate) fn ask(&self, name: &str) -> Question {
        self.history.lock().ask(name)
    }

    pub(crate) fn list(&self) -> Vec<Listed> {
        self.history.lock().list()
    }

    /// Series, those that there was no room for, and bytes.
    pub(crate) fn size(&self) -> (usize, usize, usize) {
        let history = self.history.lock();
        let (series, refused) = history.series_count();
        (series, refused, history.bytes())
    }

    pub(crate) fn note_written(&self, is_good: bool) {
        let count = if is_good { &self.counts.writes } else { &self.counts.errors };
        count.fetch_add(1, Ordering::Relaxed);
        if is_good {
            self.counts.written_at.store(unix_millis(), Ordering::Relaxed);
        }
    }
}

/// The full name of a series, as Prometheus writes it.
pub(crate) fn full_name<'a>(
    metric: &str,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
) -> Arc<str> {
    let mut name = metric.to_owned();
    for (index, (label, value)) in labels.enumerate() {
        name.push(if index == 0 { '{' } else { ',' });
        name.push_str(label);
        name.push_str("=\"");
        for char in value.chars() {
            match char {
                '"' | '\\' => name.extend(['\\', char]),
                '\n' => name.push_str("\\n"),
                _ => name.push(char),
            }
        }
        name.push('"');
    }
    if name.len() != metric.len() {
        name.push('}');
    }
    name.into()
}

#[cfg(test)]
mod tests {
    use super::full_name;

    #[test]
    fn names_are_those_of_prometheus() {
        let name = |labels: &[(&str, &str)]| full_name("m", labels.iter().copied()).to_string();
        assert_eq!(name(&[]), "m");
        assert_eq!(name(&[("a", "b"), ("c", "\"\\\n")]), "m{a=\"b\",c=\"\\\"\\\\\\n\"}");
    }
}
