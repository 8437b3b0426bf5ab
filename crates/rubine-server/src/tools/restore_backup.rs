//! `--restore`: fetches a backup into an empty folder, and has the server start from there. Changes nothing where backups are
//! kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use rubine_backup::error::BackupError;
use rubine_backup::restore::files::{self, Place, Restored};
use rubine_backup::restore::{self, Plan, Room};
use rubine_backup::store::{self, Store};
use rubine_backup::target::{Target, Wanted};
use rubine_config::{Config, WorkingDirectory, path_of};
use rubine_storage::read_keys;

use crate::control::backup::access;

/// What is to be restored.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    target: Target,
    wanted: Wanted,
    /// The folder; by default that of the configuration.
    folder: Option<PathBuf>,
}

/// Takes `--restore ADDRESS` and `--restore-dir FOLDER` out of the arguments of the server.
pub(crate) fn take_request(args: &mut Vec<Vec<u8>>) -> Result<Option<Request>, String> {
    let mut take = |name: &str| {
        let at = args.iter().position(|it| it == name.as_bytes())?;
        args.remove(at);
        let is_there = at < args.len();
        Some(if is_there { Ok(args.remove(at)) } else { Err(format!("{name} needs a value")) })
    };
    let Some(address) = take("--restore").transpose()? else { return Ok(None) };
    let folder = take("--restore-dir").transpose()?.map(|it| path_of(&it));
    let address = String::from_utf8_lossy(&address).into_owned();
    let (target, wanted) = Target::parse_wanted(&address).map_err(|reason| {
        format!("--restore takes an address as s3://bucket/prefix@latest: {reason}")
    })?;
    Ok(Some(Request { target, wanted, folder }))
}

/// Fetches the backup, and lets the configuration name what it became. Returns what there is to be told.
pub(crate) fn restore(request: &Request, config: &mut Config) -> Result<Vec<String>, String> {
    let folder = request.folder.clone().unwrap_or_else(|| config.dir.as_path().to_owned());
    let keys = read_keys(config)?;
    let place = Place {
        folder: folder.clone(),
        dump_name: config.dbfilename.clone(),
        log_folder_name: config.appenddirname.clone(),
        log_prefix: config.appendfilename.clone(),
        is_log_wanted: config.appendonly,
        keys,
    };
    let shown = request.target.shown();
    let fail = |error: BackupError| format!("Nothing was restored from {shown}: {error}");
    // Before anything is fetched.
    files::check_empty(&folder).map_err(fail)?;
    let store: Arc<dyn Store> = store::open(&request.target, &access(config)).map_err(fail)?.into();
    let plan = restore::plan(&*store, &shown, &request.wanted).map_err(fail)?;
    let room = Room {
        databases: config.databases,
        maxmemory: config.maxmemory,
        free_bytes: free_bytes(&folder),
    };
    let log_bytes = plan.log.as_ref().map_or(0, restore::log::Log::bytes);
    restore::check_fit(&plan.entry.manifest, log_bytes, &room).map_err(fail)?;
    let restored = fetch(&store, &plan, &place).map_err(fail)?;
    config.dir = WorkingDirectory::at(&folder)
        .map_err(|error| format!("Can't go to {}: {error}", folder.display()))?;
    let manifest = &plan.entry.manifest;
    let mut told = vec![format!(
        "Backup {} of {} was restored into {}: {} keys.",
        manifest.id,
        manifest.taken_at,
        folder.display(),
        manifest.keys
    )];
    let Restored { is_log, told: more } = restored;
    told.extend(more);
    if is_log && !config.appendonly {
        config.appendonly = true;
        told.push(
            "What followed the image is in the append-only file, so appendonly is on for this run. Set appendonly yes in \
             the configuration too: without, the next start would not find the data."
                .to_owned(),
        );
    }
    Ok(told)
}

fn fetch(store: &Arc<dyn Store>, plan: &Plan, place: &Place) -> Result<Restored, BackupError> {
    let log_bytes = plan.log.as_ref().map_or(0, restore::log::Log::bytes);
    // Drawn on a terminal only.
    let bar = ProgressBar::new(plan.entry.manifest.dump.bytes + log_bytes);
    let style = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is good"));
    let restored = files::restore(store, plan, place, &mut |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    restored
}

/// What is free where the folder is, or will be.
fn free_bytes(folder: &Path) -> Option<u64> {
    let found = folder.ancestors().find_map(|it| rustix::fs::statvfs(it).ok())?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}
