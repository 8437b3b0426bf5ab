//! The parts of a server that what is kept on disk concerns, and what is asked of the rest of it. Does nothing itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bitflags::bitflags;
use rubine_config::{Config, ConfigStore};
use rubine_journal::{Journal, Offset};
use rubine_keyspace::{AccessPolicy, Keyspace, Locked, SlotImport, Snapshot};
use rubine_persistence::log::Unit;

use crate::aof::Aof;
use crate::backlog::DiskBacklog;
use crate::disk::Disk;
use crate::loading::Loading;
use crate::saves::Saves;

/// The parts of a server that everything in this crate works on. They live as long as the process.
#[derive(Clone, Copy)]
pub struct Storage {
    pub keyspace: &'static Keyspace,
    pub journal: &'static Arc<Journal>,
    pub config: &'static ConfigStore,
    pub aof: &'static Aof,
    pub persistence: &'static Persistence,
    pub host: &'static dyn Host,
}

/// What is asked of the server around.
pub trait Host: Sync {
    /// Lets the workers look how far the disk has got. The tokens are those by which they were parked.
    fn wake(&self, tokens: &[u64]);

    /// Whether the server is to end, and nothing long may go on.
    fn is_ending(&self) -> bool;

    /// Whether more clients are worth waiting for before the log is forced to disk.
    fn lacks_waiters(&self) -> bool;

    /// Changes of data since the start, as save points count them.
    fn changes(&self) -> u64;

    /// Takes note of how long something took that may keep clients waiting.
    fn note_stall(&self, stall: Stall, nanos: u64);

    /// As many threads as may load side by side.
    fn loaders(&self) -> usize;

    /// Lets the calling thread run on the processors of the list only.
    fn pin(&self, processors: Option<&str>);

    /// How accesses are counted under this configuration.
    fn access_policy(&self, config: &Config) -> AccessPolicy;

    /// What decides on the form of values that are loaded.
    fn value_limits(&self, config: &Config) -> rubine_rdb::ValueLimits;

    /// The version of Redis that is followed, for dumps.
    fn followed_version(&self) -> &'static str;

    /// Adds to an image what nobody is to see yet: keys of slots that are being taken in. All shards are locked.
    fn add_hidden(&self, image: &mut Snapshot);

    /// All data is about to be replaced by what is on disk.
    fn begin_reload(&self);

    /// A dump says that slots are being taken in.
    fn note_import(&self, import: &SlotImport);

    /// Where keys of a slot are kept that is being taken in.
    fn hidden(&self, slot: u16) -> Option<&Keyspace>;

    /// What runs the units of a log.
    fn applier(&'static self) -> Result<Box<dyn Apply>, String>;
}

/// What may keep clients waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// The system took in a part of the log.
    AofWrite,
    /// The log was forced to disk, for nobody who waits.
    AofFsync,
    /// The same for clients who wait.
    AofFsyncAlways,
    /// Another manifest of the log was put in force.
    AofRename,
    /// All shards were locked, to see one moment.
    Snapshot,
}

/// Runs the units of a log.
pub trait Apply {
    /// Another file begins: the first database is selected.
    fn begin_file(&mut self);

    /// Runs a unit as a whole, or sees to it that this is done. Commands that fail are counted, as they failed when they
    /// were written; what is no command is an error, of this unit or of an earlier one.
    fn unit(&mut self, unit: &Unit<'_>) -> Result<(), String>;

    /// Returns when all units have been run, with how many of their commands have failed so far.
    fn barrier(&mut self) -> Result<u64, String>;
}

impl Storage {
    /// Everything before `offset` is on disk: lets go whoever waited for it.
    pub(crate) fn advance(self, offset: Offset) {
        let mut released = Vec::new();
        self.aof.synced().advance(offset, &mut released);
        self.host.wake(&released);
    }

    /// What is on disk is counted from `offset` on.
    pub(crate) fn restart(self, offset: Offset) {
        let mut abandoned = Vec::new();
        self.aof.synced().restart(offset, &mut abandoned);
        self.host.wake(&abandoned);
    }

    /// An image of all data, whoever may see it. All shards are locked.
    pub fn image(self, locked: &mut Locked<'_>) -> Snapshot {
        let mut image = locked.snapshot();
        self.host.add_hidden(&mut image);
        image
    }

    /// Changes since the last image that was saved.
    pub fn unsaved_changes(self) -> u64 {
        self.host.changes().saturating_sub(self.persistence.saves.saved_changes())
    }
}

bitflags! {
    /// Why commands may have to be refused. One number, so that in good times a command costs one look.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Trouble: u8 {
        /// Data is being loaded: what is there is not complete.
        const LOADING = 1 << 0;
        /// The last save in the background failed.
        const SAVE_FAILED = 1 << 1;
    }
}

/// The state of what is kept on disk, but for the log.
#[derive(Debug)]
pub struct Persistence {
    troubles: AtomicU8,
    pub disk: Disk,
    pub saves: Saves,
    pub loading: Loading,
    /// What replicas get, on disk.
    pub backlog: DiskBacklog,
}

impl Persistence {
    /// The state of a server that starts at `now`, Unix milliseconds.
    pub fn new(now: i64) -> Self {
        let troubles = AtomicU8::new(0);
        let (disk, loading) = (Disk::default(), Loading::default());
        let (saves, backlog) = (Saves::new(now / 1000), DiskBacklog::default());
        Self { troubles, disk, saves, loading, backlog }
    }

    #[inline]
    pub fn troubles(&self) -> Trouble {
        Trouble::from_bits_retain(self.troubles.load(Ordering::Acquire))
    }

    pub fn set_trouble(&self, trouble: Trouble, is_there: bool) {
        if is_there {
            self.troubles.fetch_or(trouble.bits(), Ordering::AcqRel);
        } else {
            self.troubles.fetch_and(!trouble.bits(), Ordering::AcqRel);
        }
    }

    #[inline]
    pub fn is_loading(&self) -> bool {
        self.troubles().contains(Trouble::LOADING)
    }
}
