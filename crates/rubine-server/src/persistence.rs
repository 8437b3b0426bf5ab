//! What is kept on disk: the append-only file, and dump files, written from snapshots and loaded in parallel; and what
//! the rest of the server may know of them. Never takes a client's request, and never forks.

pub(crate) mod aof;
pub(crate) mod disk;
pub(crate) mod dump_file;
pub(crate) mod libraries;
pub(crate) mod load;
pub(crate) mod loading;
mod pace;
pub(crate) mod rdb_load;
pub(crate) mod rdb_save;
pub(crate) mod save_points;
pub(crate) mod saves;

use std::sync::atomic::{AtomicU8, Ordering};

use bitflags::bitflags;

use self::disk::Disk;
use self::loading::Loading;
use self::saves::Saves;

bitflags! {
    /// Why commands may have to be refused. One number, so that in good times a command costs one look.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Trouble: u8 {
        /// Data is being loaded: what is there is not complete.
        const LOADING = 1 << 0;
        /// The last save in the background failed.
        const SAVE_FAILED = 1 << 1;
    }
}

/// The state of all that is kept on disk.
#[derive(Debug)]
pub(crate) struct Persistence {
    troubles: AtomicU8,
    pub(crate) disk: Disk,
    pub(crate) saves: Saves,
    pub(crate) loading: Loading,
}

impl Persistence {
    /// The state of a server that starts at `now`, Unix milliseconds.
    pub(crate) fn new(now: i64) -> Self {
        let troubles = AtomicU8::new(0);
        let (disk, loading) = (Disk::default(), Loading::default());
        Self { troubles, disk, saves: Saves::new(now / 1000), loading }
    }

    #[inline]
    pub(crate) fn troubles(&self) -> Trouble {
        Trouble::from_bits_retain(self.troubles.load(Ordering::Acquire))
    }

    pub(crate) fn set_trouble(&self, trouble: Trouble, is_there: bool) {
        if is_there {
            self.troubles.fetch_or(trouble.bits(), Ordering::AcqRel);
        } else {
            self.troubles.fetch_and(!trouble.bits(), Ordering::AcqRel);
        }
    }

    #[inline]
    pub(crate) fn is_loading(&self) -> bool {
        self.troubles().contains(Trouble::LOADING)
    }
}
