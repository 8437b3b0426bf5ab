//! Requests that are parsed and not yet run, and what is fetched from memory for all of them before the first one runs.
//! Changes nothing and decides nothing: what is fetched is a guess at what the commands will read.

use std::ops::Range;

use rubine_commands::{Args, ArgsApart};
use rubine_keyspace::{Hint, Key, Keyspace, Place, Reading};
use rubine_resp::parser::ArgRange;
use smallvec::SmallVec;

use crate::client::Client;
use crate::command_table::Entry;

/// So many keys a batch has as a rule, or fewer.
const HINTS_USUAL: usize = 64;
/// Keys of one request that are fetched ahead.
const PREFETCHED_KEYS_MAX: usize = 16;
/// Members of one collection that are fetched ahead at a time, and from how many on it is worth to look for them.
const PREFETCHED_MEMBERS_MAX: usize = 64;
const PREFETCHED_MEMBERS_MIN: usize = 4;

/// One request of a batch.
pub(crate) struct Request {
    /// Where in the client's query it starts and ends.
    pub(crate) span: Range<usize>,
    /// Its arguments in the batch.
    pub(crate) args: Range<usize>,
    pub(crate) entry: Option<&'static Entry>,
    /// The number of its one key argument, and where that belongs; 0 for none.
    pub(crate) key: (usize, Place),
}

impl Request {
    /// Its arguments, when `query` and `apart` are its client's and `args` are the batch's.
    #[inline]
    pub(crate) fn args<'b>(
        &self,
        query: &'b [u8],
        apart: &'b ArgsApart,
        args: &'b [ArgRange],
    ) -> Args<'b> {
        let (buffer, ranges) = (&query[self.span.clone()], &args[self.args.clone()]);
        Args::of_request(buffer, ranges, apart, self.key)
    }
}

/// Requests of one client, one after the other.
pub(crate) struct Run {
    /// The client's slot.
    pub(crate) client: usize,
    /// Where they stand in the batch.
    pub(crate) requests: Range<usize>,
}

/// Requests of several clients. Empty between two batches.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) requests: Vec<Request>,
    pub(crate) args: Vec<ArgRange>,
    pub(crate) runs: Vec<Run>,
    /// Whether any request looks for members of a collection.
    looks_for_members: bool,
}

/// The clients of a worker, by their slots.
type Clients = [Option<Box<Client>>];

impl Batch {
    /// Asks for the home buckets of all keys, and then for the records in them. All records at once: to ask for them
    /// between the commands, some time before each is needed, was slower.
    pub(crate) fn prefetch_records(&mut self, keyspace: &Keyspace, clients: &Clients) {
        let reading = Reading::new();
        let mut hints: SmallVec<[Hint<'_>; HINTS_USUAL]> = SmallVec::new();
        let mut look = |db: usize, place: Place| {
            if let Some(hint) = keyspace.hint(&reading, db, place) {
                hint.prefetch_bucket();
                keyspace.prefetch_shard(db, place);
                hints.push(hint);
            }
        };
        let Self { requests, args, runs, looks_for_members } = self;
        for Run { client, requests: run } in runs {
            let Some(client) = &clients[*client] else { continue };
            for request in &mut requests[run.clone()] {
                let Some(entry) = request.entry else { continue };
                let input = &client.input;
                let args = request.args(&input.query, input.apart.whole(), args);
                *looks_for_members |= entry.spec.members.is_some();
                if let Some(index) = entry.single_key {
                    if let Some(key) = args.get(index) {
                        let place = Key::new(key).place();
                        request.key = (index, place);
                        look(client.db, place);
                    }
                } else {
                    let mut left = PREFETCHED_KEYS_MAX;
                    entry.spec.for_each_key(args, |index| {
                        if 0 < left {
                            left -= 1;
                            look(client.db, Key::new(args.at(index)).place());
                        }
                    });
                }
            }
        }
        hints.into_iter().for_each(Hint::prefetch_record);
    }

    /// Asks for the members of a large collection, where several requests in a row or one with many members look into
    /// the same one.
    #[inline]
    pub(crate) fn prefetch_members(&mut self, keyspace: &Keyspace, clients: &Clients) {
        if std::mem::take(&mut self.looks_for_members) {
            self.prefetch_named_members(keyspace, clients);
        }
    }

    fn prefetch_named_members(&self, keyspace: &Keyspace, clients: &Clients) {
        let mut collection: Option<(usize, &[u8])> = None;
        let mut members: SmallVec<[&[u8]; PREFETCHED_MEMBERS_MAX]> = SmallVec::new();
        let fetch = |collection: Option<(usize, &[u8])>, members: &[&[u8]]| {
            if let Some((db, key)) = collection
                && PREFETCHED_MEMBERS_MIN <= members.len()
            {
                keyspace.prefetch_members(db, Key::new(key), members);
            }
        };
        for Run { client, requests } in &self.runs {
            let Some(client) = &clients[*client] else { continue };
            for request in &self.requests[requests.clone()] {
                let Some(entry) = request.entry else { continue };
                let Some((first, step)) = entry.spec.members else { continue };
                let input = &client.input;
                let args = request.args(&input.query, input.apart.whole(), &self.args);
                let key = entry.single_key.and_then(|index| args.get(index));
                let found = key.map(|key| (client.db, key));
                if collection != found {
                    fetch(collection, &members);
                    members.clear();
                    collection = found;
                }
                let room = PREFETCHED_MEMBERS_MAX - members.len();
                let named = (first..args.len()).step_by(step).take(room);
                members.extend(named.map(|it| args.at(it)));
            }
        }
        fetch(collection, &members);
    }
}
