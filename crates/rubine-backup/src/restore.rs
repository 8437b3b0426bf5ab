//! Which backup a restore takes, whether it fits, and how it becomes the files of a server. What is in force in a folder never
//! is half of anything.

pub mod files;
pub mod log;

use crate::catalog::{Catalog, Condition, Entry, Known};
use crate::error::BackupError;
use crate::layout::BackupId;
use crate::manifest::{Manifest, shown};
use crate::store::Store;
use crate::target::Wanted;

use self::log::Log;

/// Room beyond what the files take, for what the server writes next.
const SPARE_BYTES: u64 = 16 << 20;

/// What is restored.
#[derive(Debug)]
pub struct Plan {
    pub entry: Entry,
    /// What follows the image.
    pub log: Option<Log>,
    /// Up to the end of this second, Unix time; all that is there otherwise.
    pub until: Option<i64>,
    /// What there is to be told.
    pub told: Vec<String>,
}

/// What a backup has to fit into.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub databases: u32,
    /// 0 for no limit.
    pub maxmemory: u64,
    /// Of the folder, where that is known.
    pub free_bytes: Option<u64>,
}

/// Chooses the backup. A store that cannot be reached, one without any backup, and one without a good one are told apart.
pub fn plan(store: &dyn Store, place: &str, wanted: &Wanted) -> Result<Plan, BackupError> {
    let catalog = Catalog::read(store, &mut Known::default())?;
    if catalog.entries.is_empty() {
        let unreadable = catalog.others.iter().find(|it| it.unreadable.is_some());
        return Err(match unreadable {
            Some(other) => BackupError::Damaged {
                name: other.folder.clone(),
                reason: other.unreadable.clone().unwrap_or_default(),
            },
            None => BackupError::NoBackup(place.to_owned()),
        });
    }
    match wanted {
        Wanted::Latest => latest(store, &catalog),
        Wanted::Id(id) => by_id(&catalog, id),
        Wanted::Second(second) => by_second(store, &catalog, *second),
    }
}

fn latest(store: &dyn Store, catalog: &Catalog) -> Result<Plan, BackupError> {
    let newest = catalog.entries.last().expect("the catalog has entries");
    let Some(entry) = catalog.last_good().cloned() else {
        return Err(BackupError::Unfit(format!(
            "none of the {} backups is good: the newest, {}, is {}. It can be restored by @{}",
            catalog.entries.len(),
            newest.id,
            name_of(newest),
            newest.id
        )));
    };
    let mut told = Vec::new();
    if newest.id != entry.id {
        told.push(format!(
            "Newer ones are passed over: {} is {}; {} is the newest good one.",
            newest.id,
            name_of(newest),
            entry.id
        ));
    }
    let log = if entry.manifest.has_log { Some(Log::list(store, &entry.id)?) } else { None };
    Ok(Plan { entry, log, until: None, told })
}

fn by_id(catalog: &Catalog, id: &BackupId) -> Result<Plan, BackupError> {
    let entry = catalog.find(id).cloned();
    let entry = entry.ok_or_else(|| BackupError::NoSuchBackup(id.to_string()))?;
    if entry.condition == Condition::Damaged {
        let reason = entry
            .reason
            .clone()
            .unwrap_or_else(|| "it was found to be when it was read back".to_owned());
        return Err(BackupError::Damaged { name: entry.id.to_string(), reason });
    }
    let told = if entry.is_good() {
        Vec::new()
    } else {
        vec![format!("Backup {id} is {}.", name_of(&entry))]
    };
    Ok(Plan { entry, log: None, until: None, told })
}

fn by_second(store: &dyn Store, catalog: &Catalog, second: i64) -> Result<Plan, BackupError> {
    let moment = shown(second * 1000);
    let is_before = |it: &&Entry| it.is_good() && it.manifest.taken_at_ms / 1000 <= second;
    let mut best: Option<(i64, &Entry)> = None;
    for entry in catalog.entries.iter().rev().filter(is_before) {
        if !entry.manifest.has_log {
            continue;
        }
        let log = Log::list(store, &entry.id)?;
        let Some(covered) = log.covers_until() else { continue };
        if second <= covered {
            let (entry, until) = (entry.clone(), Some(second));
            return Ok(Plan { entry, log: Some(log), until, told: Vec::new() });
        }
        if best.is_none_or(|it| it.0 < covered) {
            best = Some((covered, entry));
        }
    }
    let before = catalog.entries.iter().rfind(is_before);
    let hint = match (best, before) {
        (Some((covered, entry)), _) => {
            format!("the log since {} reaches to {}", entry.id, shown(covered * 1000))
        }
        (None, Some(entry)) => format!(
            "no log follows the backups of before; the newest of them is {}, of {}",
            entry.id, entry.manifest.taken_at
        ),
        (None, None) => match catalog.entries.iter().find(|it| it.is_good()) {
            Some(first) => {
                format!("the first good backup is {}, of {}", first.id, first.manifest.taken_at)
            }
            None => "there is no good backup".to_owned(),
        },
    };
    Err(BackupError::Unfit(format!("What was there at {moment} is not known: {hint}")))
}

/// What keeps a backup from being good, for people.
fn name_of(entry: &Entry) -> String {
    match (&entry.manifest.suspect, entry.condition) {
        (_, Condition::Damaged) => "damaged".to_owned(),
        (Some(reason), _) if entry.is_suspect() => format!("suspect ({reason})"),
        (_, condition) => condition.name().to_owned(),
    }
}

/// Whether what is in a backup fits, before anything of it is fetched.
pub fn check_fit(manifest: &Manifest, log_bytes: u64, room: &Room) -> Result<(), BackupError> {
    let unfit = |text: String| Err(BackupError::Unfit(text));
    if room.databases < manifest.databases {
        return unfit(format!(
            "Backup {} has keys in {} databases, and this server is configured to have {}",
            manifest.id, manifest.databases, room.databases
        ));
    }
    if room.maxmemory != 0 && room.maxmemory < manifest.memory_bytes {
        return unfit(format!(
            "The data of backup {} took {} bytes of memory, and maxmemory is {}: not all of it would stay",
            manifest.id, manifest.memory_bytes, room.maxmemory
        ));
    }
    let needed = manifest.dump.plain_bytes.saturating_add(log_bytes).saturating_add(SPARE_BYTES);
    if let Some(free) = room.free_bytes.filter(|free| *free < needed) {
        return unfit(format!(
            "Backup {} needs {needed} bytes on the disk, and {free} are free",
            manifest.id
        ));
    }
    Ok(())
}
