//! The part that this server plays in replication: whom it follows, and who follows it. What follows from that for
//! commands, others do.

pub(crate) mod following;
pub(crate) mod image;
pub(crate) mod outbox;
pub(crate) mod own_keys;
pub(crate) mod replicas;
pub(crate) mod verification;

use parking_lot::Mutex;
use rubine_replication::failover::Failover;

use self::following::Following;
use self::outbox::Outbox;
use self::replicas::Replicas;
use self::verification::Verification;

#[derive(Default)]
pub(crate) struct Replication {
    /// The master that this server follows, if it does.
    pub(crate) following: Following,
    /// Who follows this server.
    pub(crate) replicas: Replicas,
    /// What this server, a replica, has to tell its master.
    pub(crate) outbox: Outbox,
    /// Whether replicas have what this server has.
    pub(crate) verification: Verification,
    /// Handing over to one of them.
    pub(crate) failover: Mutex<Failover>,
}
