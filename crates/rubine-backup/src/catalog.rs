//! What backups there are in a store, and which of them count. Writes and removes nothing.

use rubine_base::hash::HashMap;

use crate::error::{BackupError, StoreError};
use crate::layout::{self, BackupId};
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest, Mark};
use crate::store::{Object, Store, get};

/// What is known of a backup beyond what it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It was never read back.
    Unverified,
    Verified,
    Damaged,
}

impl Condition {
    pub fn name(self) -> &'static str {
        match self {
            Self::Unverified => "unverified",
            Self::Verified => "verified",
            Self::Damaged => "damaged",
        }
    }
}

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: BackupId,
    /// Its folder.
    pub folder: String,
    pub manifest: Manifest,
    pub condition: Condition,
    /// Why it is damaged, if it is.
    pub reason: Option<String>,
    /// Somebody knows why it is so small.
    pub is_accepted: bool,
}

impl Entry {
    /// Whether it is suspect, and nobody has said otherwise.
    pub fn is_suspect(&self) -> bool {
        self.manifest.suspect.is_some() && !self.is_accepted
    }

    /// Whether it counts: read back from its beginning to its end, and not suspect.
    pub fn is_good(&self) -> bool {
        self.condition == Condition::Verified && !self.is_suspect()
    }

    pub fn dump_name(&self) -> String {
        format!("{}/{}", self.folder, self.manifest.dump.name)
    }
}

/// A folder that is no backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    pub folder: String,
    /// When the newest of its objects was written, Unix milliseconds.
    pub newest_at_ms: i64,
    /// It has a manifest, which cannot be read, and why: nobody knows what it is, so it stays.
    pub unreadable: Option<String>,
}

/// What there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Backups, the oldest first.
    pub entries: Vec<Entry>,
    pub others: Vec<Other>,
    /// All objects of both.
    pub objects: Vec<Object>,
}

/// Manifests that were read before: they never change.
#[derive(Debug, Default)]
pub struct Known(HashMap<String, Manifest>);

impl Catalog {
    /// Looks into a store.
    pub fn read(store: &dyn Store, known: &mut Known) -> Result<Self, BackupError> {
        let mut catalog = Self::default();
        let mut read = HashMap::default();
        for above in [layout::SETS, layout::SUSPECTS] {
            let objects = store.list(above).map_err(BackupError::of(above))?;
            let folder = |object: &Object| folder_of(&object.name).map(str::to_owned);
            for group in objects.chunk_by(|a, b| folder(a) == folder(b)) {
                let Some(folder) = folder(&group[0]) else { continue };
                catalog.add(store, folder, group, known, &mut read)?;
            }
            catalog.objects.extend(objects);
        }
        known.0 = read;
        let moment = |it: &Entry| (it.manifest.taken_at_ms, it.id.clone());
        catalog.entries.sort_by_key(moment);
        Ok(catalog)
    }

    fn add(
        &mut self,
        store: &dyn Store,
        folder: String,
        objects: &[Object],
        known: &mut Known,
        read: &mut HashMap<String, Manifest>,
    ) -> Result<(), BackupError> {
        let newest_at_ms = objects.iter().map(|it| it.modified_at_ms).max().unwrap_or(0);
        let find = |name: &str| {
            objects.iter().find(|it| it.name.strip_prefix(&folder) == Some(&format!("/{name}")))
        };
        let id = folder.rsplit('/').next().and_then(BackupId::parse);
        let Some((id, _)) = id.zip(find(layout::MANIFEST)) else {
            self.others.push(Other { folder, newest_at_ms, unreadable: None });
            return Ok(());
        };
        let manifest = match known.0.remove(&folder) {
            Some(manifest) => manifest,
            None => match read_manifest(store, &folder, &id)? {
                Some(Ok(manifest)) => manifest,
                Some(Err(reason)) => {
                    self.others.push(Other { folder, newest_at_ms, unreadable: Some(reason) });
                    return Ok(());
                }
                // It was removed a moment ago.
                None => return Ok(()),
            },
        };
        read.insert(folder.clone(), manifest.clone());
        let size = find(&manifest.dump.name).map(|it| it.bytes);
        let (condition, reason) = if size.is_none() {
            (Condition::Damaged, Some(format!("{} is not there", manifest.dump.name)))
        } else if size != Some(manifest.dump.bytes) {
            (Condition::Damaged, Some(format!("{} has another length", manifest.dump.name)))
        } else if find(layout::DAMAGED).is_some() {
            (Condition::Damaged, read_reason(store, &folder))
        } else if find(layout::VERIFIED).is_some() {
            (Condition::Verified, None)
        } else {
            (Condition::Unverified, None)
        };
        let is_accepted = find(layout::ACCEPTED).is_some();
        self.entries.push(Entry { id, folder, manifest, condition, reason, is_accepted });
        Ok(())
    }

    pub fn find(&self, id: &BackupId) -> Option<&Entry> {
        self.entries.iter().find(|it| it.id == *id)
    }

    /// The newest that counts.
    pub fn last_good(&self) -> Option<&Entry> {
        self.entries.iter().rfind(|it| it.is_good())
    }

    pub fn good_count(&self) -> usize {
        self.entries.iter().filter(|it| it.is_good()).count()
    }

    /// The objects of a folder, its manifest first, so that it is no backup any more before it is less than one.
    pub fn objects_of(&self, folder: &str) -> Vec<&Object> {
        let is_inside =
            |it: &&Object| it.name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let mut objects: Vec<_> = self.objects.iter().filter(is_inside).collect();
        objects.sort_by_key(|it| !it.name.ends_with(layout::MANIFEST));
        objects
    }
}

/// The folder of a backup that an object is in.
fn folder_of(name: &str) -> Option<&str> {
    let (above, _) = name.match_indices('/').nth(1)?;
    Some(&name[..above])
}

/// Reads a manifest: nothing if it is not there any more, a text if it cannot be read.
fn read_manifest(
    store: &dyn Store,
    folder: &str,
    id: &BackupId,
) -> Result<Option<Result<Manifest, String>>, BackupError> {
    let name = format!("{folder}/{}", layout::MANIFEST);
    match get(store, &name, MANIFEST_BYTES_MAX) {
        Ok(text) => Ok(Some(Manifest::parse(&text, id))),
        Err(StoreError::Missing) => Ok(None),
        Err(error) => Err(BackupError::Store { name, error }),
    }
}

/// Why a backup was found to be damaged. What the mark says is for people only.
fn read_reason(store: &dyn Store, folder: &str) -> Option<String> {
    let text = get(store, &format!("{folder}/{}", layout::DAMAGED), MANIFEST_BYTES_MAX).ok()?;
    serde_json::from_slice::<Mark>(&text).ok()?.reason
}
