//! What the server knows of itself at one moment, for all who tell of it: INFO, MEMORY STATS, metrics. Formats nothing for
//! clients, and changes nothing but what it remembers of the past.

pub(crate) mod clients;
pub(crate) mod memory;
pub(crate) mod metrics;
pub(crate) mod saving;

use rubine_keyspace::Locked;

use crate::server::Server;

/// What figures are made from.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) server: &'static Server,
    /// Unix milliseconds.
    pub(crate) now: i64,
    pub(crate) shards: Shards<'a>,
}

/// How the shards may be looked at.
#[derive(Clone, Copy)]
pub(crate) enum Shards<'a> {
    /// One after the other, each under its lock; those that are busy are passed by.
    Free,
    /// These, whose locks are held.
    Locked(&'a Locked<'static>),
    /// Not at all.
    Unreachable,
}

impl Source<'_> {
    pub(crate) fn for_each_shard(&self, mut look: impl FnMut(&rubine_keyspace::Shard)) {
        match self.shards {
            Shards::Free => {
                self.server.keyspace.for_each_free_shard(|_, shard| look(shard));
            }
            Shards::Locked(locked) => locked.shards().for_each(look),
            Shards::Unreachable => {}
        }
    }
}
