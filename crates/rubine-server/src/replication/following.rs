//! Whom this server follows, if anybody.

use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Default)]
pub(crate) struct Following {
    is_replica: AtomicBool,
}

impl Following {
    /// Whether this server is a replica. One load.
    #[inline]
    pub(crate) fn is_replica(&self) -> bool {
        self.is_replica.load(Ordering::Relaxed)
    }

    /// Whether this server, a replica, has what its master has, and goes on with it.
    pub(crate) fn is_in_sync(&self) -> bool {
        !self.is_replica()
    }
}
