//! When data is loaded: at the start, and by DEBUG RELOAD. Commands that need data are refused meanwhile. Cuts and
//! decodes nothing itself.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rubine_base::clock::unix_millis;
use rubine_rdb::error::{Damage, Fault, ReadError};
use rubine_rdb::version::Version;

use super::Trouble;
use super::rdb_load::{self, Dump, LoadError, LoadOptions, Loaded};
use super::saves::{self, Outcome};
use crate::config::Config;
use crate::mailbox::Message;
use crate::server::Server;

/// Versions of Redis that Valkey left to others.
const FOREIGN_VERSIONS: std::ops::Range<u16> = 12..80;

/// Has commands that need data refused from now on, since `bytes` of files are about to be loaded, about.
pub(crate) fn announce(server: &Server, bytes: u64) {
    server.persistence.loading.begin(bytes, unix_millis());
    server.persistence.set_trouble(Trouble::LOADING, true);
}

/// The size of the dump file, before anybody has looked into it.
pub(crate) fn dump_bytes(config: &Config) -> u64 {
    std::fs::metadata(&config.dbfilename).map_or(0, |it| it.len())
}

/// The size of all files of the log.
pub(crate) fn log_bytes(config: &Config) -> u64 {
    let files = std::fs::read_dir(&config.appenddirname).into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

/// Loads what the last run left behind. Called once, when clients can connect already.
pub(crate) fn at_startup(server: &'static Server) -> Result<(), String> {
    let started_at = unix_millis();
    let config = server.config.load();
    let loaded = rdb_load::open(server, &config).and_then(|dump| match dump {
        Some(dump) => {
            let options = LoadOptions { drops_due: true, replaces: false };
            load(server, dump, options).map(Some)
        }
        None => Ok(None),
    });
    match loaded {
        Ok(None) | Err(LoadError::Stopped) => Ok(()),
        Ok(Some(_)) => {
            let seconds = (unix_millis() - started_at) as f64 / 1000.0;
            tracing::info!("DB loaded from disk: {seconds:.3} seconds");
            server.persistence.saves.count_as_saved(server);
            Ok(())
        }
        Err(error) => {
            log_failure(&error, &config.dbfilename);
            Err("Fatal error loading the DB, check server logs. Exiting.".to_owned())
        }
    }
}

/// Loads a dump and tells of it.
fn load(server: &'static Server, dump: Dump, options: LoadOptions) -> Result<Loaded, LoadError> {
    let now = unix_millis();
    let loading = &server.persistence.loading;
    loading.begin(dump.total_bytes, now);
    let total_bytes = dump.total_bytes;
    let (loaded, mut input, _) = dump.load(server, options, now)?;
    // Of an encrypted file, the end is known to be the end only when it was read.
    let read = io::copy(&mut input, &mut io::sink());
    read.map_err(|error| ReadError::Io { offset: total_bytes, error })?;
    loading.end(unix_millis());
    let Loaded { keys, expired, empty } = loaded;
    let empty = if empty == 0 { String::new() } else { format!(", empty keys skipped: {empty}") };
    tracing::info!("Done loading RDB, keys loaded: {keys}, keys expired: {expired}{empty}.");
    Ok(loaded)
}

/// Says what is wrong and what can be done. The last line is one that people and programs look for.
pub(crate) fn log_failure(error: &LoadError, file: &str) {
    if let LoadError::UnknownType { byte, version, .. } = error {
        tracing::warn!("The dump file {file} cannot be loaded: {error}");
        match version {
            Version::Redis(number) if FOREIGN_VERSIONS.contains(number) => tracing::warn!(
                "Can't handle foreign type or opcode {byte} in RDB with version {number}"
            ),
            _ => tracing::warn!(
                "Unknown type or opcode when loading DB. Unrecoverable error, aborting now."
            ),
        }
        return;
    }
    let LoadError::Read(error) = error else {
        tracing::warn!("Can't load the data: {error}");
        return;
    };
    tracing::warn!(
        "The dump file {file} cannot be loaded: {error}. `rubine-check-rdb {file}` looks at all of it."
    );
    let ReadError::Damaged(Damage { fault, .. }) = error else { return };
    match fault {
        Fault::UnknownVersion(Version::Redis(number)) if FOREIGN_VERSIONS.contains(number) => {
            tracing::warn!(
                "Can't handle RDB format version {number}: it is none that Redis or Valkey have published"
            );
        }
        Fault::UnknownVersion(version) => {
            tracing::warn!("Can't handle RDB format version {version}");
        }
        Fault::Checksum { .. } => {
            tracing::warn!("RDB CRC error: the file is not what was written. Aborting now.");
        }
        _ => {}
    }
}

/// What DEBUG RELOAD is asked to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reload {
    pub(crate) saves: bool,
    pub(crate) flushes: bool,
    pub(crate) merges: bool,
}

/// Saves all data, forgets it, and loads it again, on a thread of its own. `on_end` is told whether it went well;
/// otherwise the error's text is given.
pub(crate) fn start_reload(
    server: &'static Server,
    reload: Reload,
    on_end: impl FnOnce(Result<(), &'static str>) + Send + 'static,
) -> std::io::Result<()> {
    let run = move || {
        announce(server, dump_bytes(&server.config.load()));
        wait_for_running_commands(server);
        let outcome = run_reload(server, reload);
        server.persistence.set_trouble(Trouble::LOADING, false);
        on_end(outcome);
        wake_waiters(server);
    };
    std::thread::Builder::new().name("reload".to_owned()).spawn(run).map(drop)
}

fn run_reload(server: &'static Server, reload: Reload) -> Result<(), &'static str> {
    const SAVING: &str = "ERR";
    const LOADING: &str = "ERR Error trying to load the RDB dump, check server logs.";
    if reload.saves && saves::save_here(server) != Outcome::Saved {
        return Err(SAVING);
    }
    let config = server.config.load();
    let dump = match rdb_load::open(server, &config) {
        Ok(Some(dump)) => dump,
        Ok(None) => return Err(LOADING),
        Err(error) => {
            log_failure(&error, &config.dbfilename);
            return Err(LOADING);
        }
    };
    if reload.flushes {
        server.persistence.saves.functions.clear();
        server.keyspace.clear();
    }
    let options = LoadOptions { drops_due: true, replaces: reload.merges };
    match load(server, dump, options) {
        Ok(_) => {
            tracing::info!("DB reloaded by DEBUG RELOAD");
            Ok(())
        }
        Err(error) => {
            log_failure(&error, &config.dbfilename);
            Err(LOADING)
        }
    }
}

/// Removes keys and fields that fell due while the server was down, before clients see them: as long as nobody is served
/// a worker walks through its part, though not for longer than a blink.
pub(crate) fn remove_due(server: &'static Server) {
    ask_workers(server, |sender| Message::RemoveLoadedDue { sender });
}

/// Returns when no worker runs a command any more that it began before the call. Not to be called by a worker.
pub(crate) fn wait_for_running_commands(server: &'static Server) {
    ask_workers(server, |sender| Message::Acknowledge { sender });
}

/// Has those who wait for keys look at what there is now. Any worker can do it for all.
pub(crate) fn wake_waiters(server: &Server) {
    server.workers[0].send(Message::DataReplaced);
}

/// Sends each worker a message and waits for the answers. Not to be called by a worker.
fn ask_workers(server: &'static Server, message: impl Fn(Sender<()>) -> Message) {
    /// Workers that end leave their messages unread.
    const LOOK_FOR_THE_END: Duration = Duration::from_millis(50);
    let (sender, answers) = channel();
    for worker in &server.workers {
        worker.send(message(sender.clone()));
    }
    drop(sender);
    let mut missing = server.workers.len();
    while 0 < missing && !server.is_shutting_down.load(Ordering::Acquire) {
        match answers.recv_timeout(LOOK_FOR_THE_END) {
            Ok(()) => missing -= 1,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
}
