//! The part that this server plays in replication: whom it follows, and who follows it. What follows from that for
//! commands, others do.

pub(crate) mod following;
pub(crate) mod own_keys;
pub(crate) mod replicas;

use parking_lot::Mutex;
use rubine_replication::failover::Failover;

use self::following::Following;
use self::replicas::Replicas;

#[derive(Default)]
pub(crate) struct Replication {
    /// The master that this server follows, if it does.
    pub(crate) following: Following,
    /// Who follows this server.
    pub(crate) replicas: Replicas,
    /// Handing over to one of them.
    pub(crate) failover: Mutex<Failover>,
}
