//! Requests that are parsed and not yet run, and what is fetched from memory for all of them before the first one runs.
//! Changes nothing and decides nothing: what is fetched is a guess at what the commands will read.

use std::ops::Range;

use rubine_commands::Args;
use rubine_keyspace::{Key, Keyspace, Place};
use rubine_resp::parser::ArgRange;
use smallvec::SmallVec;

use crate::client::Client;
use crate::command_table::Entry;

/// Keys of one request that are fetched ahead.
const PREFETCHED_KEYS_MAX: usize = 16;
/// Members of one collection that are fetched ahead at a time, and from how many on it is worth to look for them.
const PREFETCHED_MEMBERS_MAX: usize = 64;
const PREFETCHED_MEMBERS_MIN: usize = 4;

/// One request of a batch.
pub(crate) struct Request {
    pub(crate) client: usize,
    /// Where in the client's query it starts and ends.
    pub(crate) span: Range<usize>,
    /// Its arguments in the batch.
    pub(crate) args: Range<usize>,
    pub(crate) entry: Option<&'static Entry>,
    /// The number of its one key argument, and where that belongs.
    pub(crate) key: Option<(usize, Place)>,
}

/// Requests of several clients. Empty between two batches.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) requests: Vec<Request>,
    pub(crate) args: Vec<ArgRange>,
    places: Vec<(usize, Place)>,
}

/// The clients of a worker, by their slots.
type Clients = [Option<Box<Client>>];

impl Batch {
    /// Asks for the home buckets of all keys.
    pub(crate) fn prefetch_buckets(&mut self, keyspace: &Keyspace, clients: &Clients) {
        let Self { requests, args, places } = self;
        for request in requests {
            let Some((entry, db, args)) = resolve(request, args, clients) else { continue };
            if let Some(index) = entry.spec.single_key() {
                if let Some(key) = args.get(index) {
                    let place = Key::new(key).place();
                    request.key = Some((index, place));
                    places.push((db, place));
                }
            } else {
                let most = places.len() + PREFETCHED_KEYS_MAX;
                entry.spec.for_each_key(args, |index| {
                    if places.len() < most {
                        places.push((db, Key::new(args.at(index)).place()));
                    }
                });
            }
        }
        keyspace.prefetch_buckets(places);
    }

    /// Asks for the records in these buckets.
    pub(crate) fn prefetch_records(&mut self, keyspace: &Keyspace) {
        keyspace.prefetch_records(&self.places);
        self.places.clear();
    }

    /// Asks for the members of a large collection, where several requests in a row or one with many members look into
    /// the same one.
    pub(crate) fn prefetch_members(&self, keyspace: &Keyspace, clients: &Clients) {
        let mut collection: Option<(usize, &[u8])> = None;
        let mut members: SmallVec<[&[u8]; PREFETCHED_MEMBERS_MAX]> = SmallVec::new();
        let fetch = |collection: Option<(usize, &[u8])>, members: &[&[u8]]| {
            if let Some((db, key)) = collection
                && PREFETCHED_MEMBERS_MIN <= members.len()
            {
                keyspace.prefetch_members(db, Key::new(key), members);
            }
        };
        for request in &self.requests {
            let Some((entry, db, args)) = resolve(request, &self.args, clients) else { continue };
            let Some((first, step)) = entry.spec.members else { continue };
            let key = entry.spec.single_key().and_then(|index| args.get(index));
            let found = key.map(|key| (db, key));
            if collection != found {
                fetch(collection, &members);
                members.clear();
                collection = found;
            }
            let room = PREFETCHED_MEMBERS_MAX - members.len();
            members.extend((first..args.len()).step_by(step).take(room).map(|it| args.at(it)));
        }
        fetch(collection, &members);
    }
}

/// The command of a request, its database, and its arguments.
#[inline]
fn resolve<'b>(
    request: &Request,
    args: &'b [ArgRange],
    clients: &'b Clients,
) -> Option<(&'static Entry, usize, Args<'b>)> {
    let client = clients[request.client].as_ref()?;
    let buffer = &client.query[request.span.clone()];
    Some((request.entry?, client.db, Args::new(buffer, &args[request.args.clone()])))
}
