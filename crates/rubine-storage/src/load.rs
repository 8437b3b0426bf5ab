//! When data is loaded: at the start, and by DEBUG RELOAD. Commands that need data are refused meanwhile. Cuts and
//! decodes nothing itself.

use std::io;

use rubine_base::clock::unix_millis;
use rubine_rdb::error::ReadError;

use crate::dumps::save_here;
use crate::rdb_load::{self, Dump, LoadError, LoadOptions, Loaded, log_failure};
use crate::saves::Outcome;
use crate::storage::{Storage, Trouble};
use rubine_config::Config;

/// Has commands that need data refused from now on, since `bytes` of files are about to be loaded, about.
pub fn announce(storage: Storage, bytes: u64) {
    storage.persistence.loading.begin(bytes, unix_millis());
    storage.persistence.set_trouble(Trouble::LOADING, true);
}

/// The size of the dump file, before anybody has looked into it.
pub fn dump_bytes(config: &Config) -> u64 {
    std::fs::metadata(&config.dbfilename).map_or(0, |it| it.len())
}

/// The size of all files of the log.
pub fn log_bytes(config: &Config) -> u64 {
    let files = std::fs::read_dir(&config.appenddirname).into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

/// Loads what the last run left behind. Called once, when clients can connect already.
pub fn at_startup(storage: Storage) -> Result<(), String> {
    let started_at = unix_millis();
    let config = storage.config.load();
    let loaded = rdb_load::open(storage, &config).and_then(|dump| match dump {
        Some(dump) => {
            // On a replica, a key goes when the master says so.
            let drops_due = config.replicaof.is_none();
            let options = LoadOptions { drops_due, replaces: false, resumes_history: true };
            load(storage, dump, options).map(Some)
        }
        None => Ok(None),
    });
    match loaded {
        Ok(None) | Err(LoadError::Stopped) => Ok(()),
        Ok(Some(_)) => {
            let seconds = (unix_millis() - started_at) as f64 / 1000.0;
            tracing::info!("DB loaded from disk: {seconds:.3} seconds");
            storage.persistence.saves.count_as_saved(storage.host.changes());
            Ok(())
        }
        Err(error) => {
            log_failure(&error, &config.dbfilename);
            Err("Fatal error loading the DB, check server logs. Exiting.".to_owned())
        }
    }
}

/// Loads a dump and tells of it.
fn load(storage: Storage, dump: Dump, options: LoadOptions) -> Result<Loaded, LoadError> {
    let now = unix_millis();
    let loading = &storage.persistence.loading;
    loading.begin(dump.total_bytes, now);
    let total_bytes = dump.total_bytes;
    let (loaded, mut input, _) = dump.load(storage, options, now)?;
    // Of an encrypted file, the end is known to be the end only when it was read.
    let read = io::copy(&mut input, &mut io::sink());
    read.map_err(|error| ReadError::Io { offset: total_bytes, error })?;
    loading.end(unix_millis());
    let Loaded { keys, expired, empty, .. } = loaded;
    let empty = if empty == 0 { String::new() } else { format!(", empty keys skipped: {empty}") };
    tracing::info!("Done loading RDB, keys loaded: {keys}, keys expired: {expired}{empty}.");
    Ok(loaded)
}

/// What DEBUG RELOAD is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Reload {
    pub saves: bool,
    pub flushes: bool,
    pub merges: bool,
}

/// Saves all data, forgets it, and loads it again. No command that needs data runs meanwhile: the caller has seen to that.
/// If it does not go well, the error's text is given.
pub fn reload(storage: Storage, reload: Reload) -> Result<(), &'static str> {
    const SAVING: &str = "ERR";
    const LOADING: &str = "ERR Error trying to load the RDB dump, check server logs.";
    if reload.saves && save_here(storage) != Outcome::Saved {
        return Err(SAVING);
    }
    let config = storage.config.load();
    let dump = match rdb_load::open(storage, &config) {
        Ok(Some(dump)) => dump,
        Ok(None) => return Err(LOADING),
        Err(error) => {
            log_failure(&error, &config.dbfilename);
            return Err(LOADING);
        }
    };
    if reload.flushes {
        storage.host.begin_reload();
        storage.persistence.saves.functions.clear();
        storage.keyspace.clear();
    }
    let options = LoadOptions { drops_due: true, replaces: reload.merges, resumes_history: false };
    match load(storage, dump, options) {
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
