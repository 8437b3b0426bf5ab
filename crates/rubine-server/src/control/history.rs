//! The thread that keeps the history of metrics: a value of each every ten seconds, and a file every few minutes. No worker
//! waits for it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rubine_base::clock::unix_millis;
use rubine_config::{Config, replace_file};
use rubine_history::History;
use rubine_metrics::{Kind, Metric};

use crate::figures::metrics;
use crate::process::affinity;
use crate::recording::{Next, full_name};
use crate::server::Server;

/// Values between two times that the file is written: five minutes.
const WRITE_EVERY: u32 = 30;

/// Has history kept, or not, as the configuration says. A Sentinel keeps none.
pub(crate) fn switch(server: &'static Server, config: &Config) -> Result<(), String> {
    if !server.operating.recording.switch(config.history && server.sentinel.is_none()) {
        return Ok(());
    }
    let keep = move || {
        affinity::pin(server.config.load().bio_cpulist.as_deref());
        keep(server);
        server.operating.recording.set_ended();
    };
    let started = std::thread::Builder::new().name("history".to_owned()).spawn(keep);
    started.map(drop).map_err(|error| format!("Can't start a thread: {error}"))
}

fn keep(server: &'static Server) {
    let mut is_running = false;
    let mut unwritten = 0;
    loop {
        match server.operating.recording.next(is_running) {
            Next::Begin => {
                server.operating.recording.replace(read(&path(server)));
                is_running = true;
            }
            Next::Record => {
                record(server);
                unwritten += 1;
                if unwritten == WRITE_EVERY {
                    write(server);
                    unwritten = 0;
                }
            }
            next @ (Next::Rest | Next::End) => {
                if is_running {
                    write(server);
                }
                if next == Next::End {
                    return;
                }
                server.operating.recording.replace(History::default());
                (is_running, unwritten) = (false, 0);
            }
        }
    }
}

fn path(server: &Server) -> PathBuf {
    let config = server.config.load();
    config.dir.as_path().join(&config.history_file)
}

fn record(server: &'static Server) {
    let samples = metrics::collect(server);
    let kept = samples.iter().filter(|(metric, _)| is_kept(metric));
    let values: Vec<(Arc<str>, f64)> = kept
        .map(|(metric, sample)| {
            let labels = sample.labels.iter().map(|(name, value)| (*name, value.as_ref()));
            (full_name(metric.name, labels), sample.value)
        })
        .collect();
    let seconds = unix_millis().max(0) as u64 / 1000;
    server
        .operating
        .recording
        .record(seconds, values.iter().map(|(name, value)| (name.as_ref(), *value)));
}

/// What has a curve: not the parts of histograms, which are many, and not what only bears labels.
fn is_kept(metric: &Metric) -> bool {
    matches!(metric.kind, Kind::Gauge | Kind::Counter)
        && !metric.name.ends_with("_info")
        && !metric.name.starts_with("redis_config_")
        && metric.name != "rubine_alert"
}

/// What a file has. One that is damaged is moved aside, so that somebody can look at it.
fn read(path: &Path) -> History {
    let mut bytes = Vec::new();
    let bound = History::FILE_BYTES_MAX as u64 + 1;
    let read = std::fs::File::open(path).and_then(|it| it.take(bound).read_to_end(&mut bytes));
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return History::default(),
        Err(error) => {
            tracing::warn!("The history {} cannot be read: {error}", path.display());
            return History::default();
        }
        Ok(_) => {}
    }
    match History::from_bytes(&bytes) {
        Ok(history) => history,
        Err(damage) => {
            let mut aside = path.to_owned().into_os_string();
            aside.push(".damaged");
            let moved = std::fs::rename(path, &aside);
            let place = path.display();
            match moved {
                Ok(()) => tracing::warn!(
                    "The history {place} is damaged ({damage}): it is kept beside with the suffix .damaged, and a new one begins."
                ),
                Err(error) => tracing::warn!(
                    "The history {place} is damaged ({damage}), and cannot be moved aside: {error}"
                ),
            }
            History::default()
        }
    }
}

fn write(server: &Server) {
    let path = path(server);
    let history = server.operating.recording.copy();
    let written = replace_file(&path, &history.to_bytes());
    if let Err(error) = &written {
        tracing::warn!("The history {} cannot be written: {error}", path.display());
    }
    server.operating.recording.note_written(written.is_ok());
}
