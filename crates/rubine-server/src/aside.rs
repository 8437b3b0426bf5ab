//! The threads beside the workers, for what takes long: computations, and keys that go to other servers. They take no
//! shard's lock.

pub(crate) mod compute;
pub(crate) mod defrag;
pub(crate) mod migration;

use std::sync::Arc;

use crate::client::moving::MovingKeys;

/// The work of these threads, and what they have in hand.
pub(crate) struct Aside {
    pub(crate) computations: Arc<compute::Queue>,
    pub(crate) migrations: Arc<migration::Migrations>,
    /// Keys that move to other servers now.
    pub(crate) moving: Arc<MovingKeys>,
    pub(crate) defrag: defrag::Defrag,
}

impl Aside {
    /// Nothing is to be done yet. `tell_waiters` tells those who wait for keys that move.
    pub(crate) fn new(tell_waiters: impl Fn() + Send + Sync + 'static) -> Self {
        let (computations, migrations, defrag) = Default::default();
        let moving = Arc::new(MovingKeys::new(tell_waiters));
        Self { computations, migrations, moving, defrag }
    }
}
