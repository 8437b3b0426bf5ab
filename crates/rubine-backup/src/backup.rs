//! Makes one backup: uploads an image, writes the manifest, reads all back. Knows nothing of schedules, and removes nothing
//! but what it has left unfinished itself.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rubine_base::clock::unix_millis;
use rubine_base::random::seed_from_os;
use rubine_persistence::encryption::KeyRing;

use crate::catalog::{Catalog, Entry};
use crate::error::{BackupError, StoreError};
use crate::figures::{Figures, Phase};
use crate::layout::{self, BackupId};
use crate::manifest::{
    Dump, FORMAT, MANIFEST_BYTES_MAX, Manifest, Mark, UnfinishedUpload, shown, to_json,
};
use crate::seal::{Form, Limited, Limits, Uploading, write_sealed};
use crate::source::{Image, Source};
use crate::store::{Store, get, put};
use crate::suspicion::suspicion;
use crate::throttle::Throttle;
use crate::verify::verify;

/// Bytes that are gathered before they are given to the store.
const BUFFER_BYTES: usize = 256 * 1024;
/// An upload of another run is ended when it has gone on for so long.
const UPLOAD_AGE_MS: i64 = 24 * 60 * 60 * 1000;

/// What a backup is made with.
pub(crate) struct Maker<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) source: &'a dyn Source,
    pub(crate) figures: &'a Figures,
    pub(crate) bytes_per_second: &'a AtomicU64,
    pub(crate) level: u8,
    /// What tells the uploads of this server from those of others.
    pub(crate) owner: &'a str,
}

/// An image, and what there was when it was taken.
pub(crate) struct Begun {
    pub(crate) id: BackupId,
    pub(crate) image: Image,
    pub(crate) suspect: Option<String>,
    pub(crate) has_log: bool,
}

impl Maker<'_> {
    /// Takes an image, if the data is worth keeping.
    pub(crate) fn begin(
        &self,
        catalog: &Catalog,
        log_bytes_max: Option<u64>,
    ) -> Result<Begun, BackupError> {
        if let Some(obstacle) = self.source.obstacle() {
            return Err(BackupError::NotNow(obstacle));
        }
        let image = self.source.image(log_bytes_max).map_err(BackupError::Image)?;
        let last = catalog.last_good().map(|it| it.manifest.keys);
        let suspect = suspicion(image.keys, last);
        let id = BackupId::new(image.taken_at_ms, seed_from_os() as u32);
        Ok(Begun { id, image, suspect, has_log: false })
    }

    /// Uploads the image and commits it. It is a backup from then on, though one that was never read back.
    pub(crate) fn upload(&self, begun: Begun) -> Result<Entry, BackupError> {
        let Begun { id, image, suspect, has_log } = begun;
        self.figures.enter(Phase::Uploading);
        self.figures.current_keys.store(image.keys, Ordering::Relaxed);
        let form = Form { keys: self.source.keys(), level: self.level };
        let folder = layout::folder_of(&id, suspect.is_some());
        let name = format!("dump.rdb{}", form.suffix());
        let Image { taken_at_ms, keys, databases, memory_bytes, log, content } = image;
        // Whoever ships the log has it by now; this one would hold it back.
        drop(log);
        let path = format!("{folder}/{name}");
        let (bytes, plain_bytes, sha256) =
            self.put_large(&path, &form, |out| content.write(out))?;
        let dump = Dump {
            name,
            bytes,
            plain_bytes,
            sha256,
            compression: form.compression(),
            is_encrypted: form.keys.is_some(),
        };
        let manifest = Manifest {
            format: FORMAT,
            id: id.to_string(),
            taken_at_ms,
            taken_at: shown(taken_at_ms),
            made_by: self.source.version(),
            run_id: self.source.run_id(),
            keys,
            databases,
            memory_bytes,
            dump,
            suspect,
            has_log,
        };
        let name = format!("{folder}/{}", layout::MANIFEST);
        put(self.store, &name, &to_json(&manifest)).map_err(BackupError::of(&name))?;
        let condition = crate::catalog::Condition::Unverified;
        Ok(Entry { id, folder, manifest, condition, reason: None, is_accepted: false })
    }

    /// Uploads what `fill` writes, in parts, noting in the store that it is under way.
    fn put_large(
        &self,
        path: &str,
        form: &Form,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(u64, u64, String), BackupError> {
        let upload = self.store.begin(path).map_err(BackupError::of(path))?;
        let note = format!("{}/{:016x}.json", layout::UPLOADS, seed_from_os());
        let unfinished = UnfinishedUpload {
            name: path.to_owned(),
            token: upload.token(),
            run_id: self.owner.to_owned(),
            begun_at_ms: unix_millis(),
        };
        put(self.store, &note, &to_json(&unfinished)).map_err(BackupError::of(&note))?;
        let result = self.fill(path, upload, form, fill);
        // An upload that failed was aborted where that was possible. Where it was not, this says so to the next run.
        let is_settled =
            !matches!(result, Err(BackupError::Store { error: StoreError::Unreachable(_), .. }));
        if is_settled && let Err(error) = self.store.delete(&note) {
            tracing::warn!("Backup: {note} could not be removed: {error}");
        }
        result
    }

    fn fill(
        &self,
        path: &str,
        upload: Box<dyn crate::store::Upload>,
        form: &Form,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(u64, u64, String), BackupError> {
        let is_ending = || self.source.is_ending();
        let limits = self.limits(&is_ending);
        let failure = OnceLock::new();
        let uploading = Uploading::new(upload, limits, &failure);
        let out = io::BufWriter::with_capacity(BUFFER_BYTES, uploading);
        let written = write_sealed(out, form, fill).and_then(|(out, plain)| {
            let out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            Ok((out.into_parts(), plain))
        });
        let ((upload, bytes, sum), plain) = written.map_err(|error| {
            let of_store = failure.get().cloned();
            match of_store {
                _ if self.source.is_ending() => BackupError::Ending,
                Some(error) => BackupError::Store { name: path.to_owned(), error },
                None => BackupError::Image(error.to_string()),
            }
        })?;
        if self.source.is_ending() {
            return Err(BackupError::Ending);
        }
        upload.finish().map_err(BackupError::of(path))?;
        self.figures.uploaded_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok((bytes, plain, sum))
    }

    fn limits<'a>(&'a self, is_ending: &'a (dyn Fn() -> bool + Sync)) -> Limits<'a> {
        Limits {
            bytes_per_second: self.bytes_per_second,
            is_ending,
            counter: Some(&self.figures.current_bytes),
        }
    }

    /// Reads a backup back and notes what came of it. Where the way to it fails, nothing is noted.
    pub(crate) fn verify(&self, entry: &Entry) -> Result<u64, BackupError> {
        self.figures.enter(Phase::Verifying);
        let mut result = self.read_back(entry);
        // What the way has spoilt is not there the second time.
        if matches!(result, Err(BackupError::Damaged { .. })) {
            result = self.read_back(entry);
        }
        let (mark, reason, keys) = match &result {
            Ok(keys) => (layout::VERIFIED, None, Some(*keys)),
            Err(BackupError::Damaged { reason, .. }) => {
                self.figures.verify_failed.fetch_add(1, Ordering::Relaxed);
                (layout::DAMAGED, Some(reason.clone()), None)
            }
            Err(_) => return result,
        };
        mark_entry(self.store, entry, mark, &Mark { at_ms: unix_millis(), reason, keys })?;
        if result.is_ok() {
            self.figures.verified.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    fn read_back(&self, entry: &Entry) -> Result<u64, BackupError> {
        let name = entry.dump_name();
        let keys: Option<Arc<KeyRing>> = self.source.keys();
        // The manifest counts that is in the store, not the one that was to be put there.
        let path = format!("{}/{}", entry.folder, layout::MANIFEST);
        let text = get(self.store, &path, MANIFEST_BYTES_MAX).map_err(BackupError::of(&path))?;
        let manifest = Manifest::parse(&text, &entry.id);
        let manifest = manifest.map_err(|reason| BackupError::damaged(&path, reason))?;
        let object = match self.store.open(&name) {
            Err(StoreError::Missing) => return Err(BackupError::damaged(&name, "it is not there")),
            object => object.map_err(BackupError::of(&name))?,
        };
        std::thread::scope(|scope| {
            // What limits the transfer is borrowed, so the values are checked beside it.
            let (sender, receiver) = std::sync::mpsc::sync_channel(2);
            let reading = scope.spawn(move || {
                let pieces = Pieces { receiver, piece: io::Cursor::default() };
                verify(pieces, &name, &manifest, keys.as_deref())
            });
            self.transfer(object, &sender);
            drop(sender);
            let result = reading.join().expect("a panic aborts");
            if self.source.is_ending() { Err(BackupError::Ending) } else { result }
        })
    }

    /// Sends an object piece by piece, within limits, until its end, an error, or nobody wants more.
    fn transfer(
        &self,
        object: Box<dyn io::Read + Send>,
        sender: &std::sync::mpsc::SyncSender<io::Result<Vec<u8>>>,
    ) {
        use io::Read as _;
        let is_ending = || self.source.is_ending();
        let limits = Limits { counter: None, ..self.limits(&is_ending) };
        let mut object = Limited { source: object, limits, throttle: Throttle::default() };
        loop {
            let mut piece = Vec::with_capacity(BUFFER_BYTES);
            let read = (&mut object).take(BUFFER_BYTES as u64).read_to_end(&mut piece);
            let is_last = !matches!(read, Ok(1..));
            let sent = sender.send(read.map(|_| piece));
            if is_last || sent.is_err() {
                return;
            }
        }
    }
}

/// What a thread sends piece by piece. An empty piece is the end.
struct Pieces {
    receiver: std::sync::mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: io::Cursor<Vec<u8>>,
}

impl io::Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.piece.position() == self.piece.get_ref().len() as u64 {
            match self.receiver.recv() {
                Ok(piece) => self.piece = io::Cursor::new(piece?),
                // It was told of the end before.
                Err(_) => return Ok(0),
            }
        }
        self.piece.read(out)
    }
}

/// Puts a mark beside a backup. One that is there already says the same.
pub(crate) fn mark_entry(
    store: &dyn Store,
    entry: &Entry,
    name: &str,
    mark: &Mark,
) -> Result<(), BackupError> {
    let name = format!("{}/{name}", entry.folder);
    match store.put_new(&name, &to_json(mark)) {
        Ok(()) | Err(StoreError::Exists) => Ok(()),
        Err(error) => Err(BackupError::Store { name, error }),
    }
}

/// Ends uploads that an earlier run of this server has left, and old ones of others.
pub(crate) fn abort_unfinished(
    store: &dyn Store,
    owner: &str,
    now: i64,
) -> Result<(), BackupError> {
    for object in store.list(layout::UPLOADS).map_err(BackupError::of(layout::UPLOADS))? {
        let text = match get(store, &object.name, MANIFEST_BYTES_MAX) {
            Err(StoreError::Missing) => continue,
            text => text.map_err(BackupError::of(&object.name))?,
        };
        let Ok(note) = serde_json::from_slice::<UnfinishedUpload>(&text) else {
            tracing::warn!("Backup: {} says of no upload", object.name);
            continue;
        };
        let is_due = note.run_id == owner || note.begun_at_ms < now - UPLOAD_AGE_MS;
        if is_due {
            tracing::info!("Backup: ending the upload of {}, which was not finished", note.name);
            store.abort(&note.name, &note.token).map_err(BackupError::of(&note.name))?;
            store.delete(&object.name).map_err(BackupError::of(&object.name))?;
        }
    }
    Ok(())
}
