//! Where a request belongs in a cluster: here, at another node, or nowhere yet. Says so, and moves nothing.
//!
//! A request is looked at twice. Before its locks are taken it is told what is known without them. Under them it is looked
//! at again, for what has changed meanwhile, and for which of its keys are still here where a slot is moved key by key. Whoever
//! gives a slot away publishes the view first and then takes the locks of the slot's shard once: after that nothing runs
//! that has found the slot here.

use std::sync::Arc;

use rubine_cluster::View;
use rubine_commands::{Args, CommandError, Databases, Flags, Spec};
use rubine_config::ClusterPreferredEndpointType;
use rubine_keyspace::Locked;

use super::Core;
use super::scripts::flags_of;
use crate::access::request::database;
use crate::client::queue::Transaction;
use crate::client::slot::RequestSlot;
use crate::client::{Client, ClientFlags};
use crate::command_table::Entry;

/// Why a request does not run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    CrossSlot,
    /// Of a slot that is moved key by key, some keys of the request are here and some are not.
    TryAgain,
    Down,
    DownButForReads,
    NotServed,
    /// The slot, and the number of the node in the view.
    Moved(u16, u16),
    Ask(u16, u16),
}

/// What is asked about: a command, or EXEC with all that is queued.
#[derive(Clone, Copy)]
struct Query<'a> {
    client: &'a Client,
    entry: &'static Entry,
    args: Args<'a>,
    slot: RequestSlot,
}

impl Query<'_> {
    fn is_write(&self, core: &Core) -> bool {
        let flags = flags_of(core.server, self.entry, self.args);
        flags.contains(Flags::WRITE) || self.client.runs_any(self.entry, Flags::WRITE)
    }

    /// It is about sharded channels, which stay where their slot is until that has moved.
    fn is_about_channels(&self) -> bool {
        self.client.runs_any(self.entry, Flags::PUBSUB)
    }
}

/// Which keys of a request are here.
#[derive(Default)]
struct Found {
    missing: usize,
    existing: usize,
    are_several: bool,
}

impl Core {
    /// Whether a request surely belongs here, as nearly all do: one look at the view. Always outside a cluster.
    #[inline]
    pub(crate) fn is_at_home(
        &self,
        client: &Client,
        entry: &'static Entry,
        args: Args<'_>,
    ) -> bool {
        let Some(view) = &self.view else { return true };
        let is_mine = match entry.single_key {
            Some(index) => {
                let owner = view.owners[usize::from(args.key(index).slot())];
                owner == view.me || (owner == view.my_primary() && only_reads(client, entry))
            }
            None => match RequestSlot::of(entry.spec, args) {
                RequestSlot::Any => !entry.spec.flags.contains(Flags::RUNS_QUEUE),
                RequestSlot::One(slot) => view.is_mine(slot),
                RequestSlot::Several => false,
            },
        };
        let is_served = view.is_ok() && self.is_current(view);
        (is_mine && is_served) || client.identity.is_trusted()
    }

    /// Where a request belongs, if that is not here, as far as it can be told without its locks.
    #[cold]
    pub(crate) fn look_for_place(
        &self,
        client: &Client,
        entry: &'static Entry,
        args: Args<'_>,
    ) -> Option<CommandError> {
        let view = self.view.as_ref().filter(|_| !client.identity.is_trusted())?;
        let slot = client
            .queue_of(entry)
            .map_or_else(|| RequestSlot::of(entry.spec, args), Transaction::slot);
        let query = Query { client, entry, args, slot };
        let elsewhere = self.place(view, query, None).err()?;
        Some(self.elsewhere(view, client, elsewhere))
    }

    /// Looks at a request again, under its locks. Nothing if it may run.
    #[inline]
    pub(crate) fn look_again(
        &mut self,
        client: &Client,
        entry: &'static Entry,
        args: Args<'_>,
        locked: &Locked<'_>,
    ) -> Option<CommandError> {
        let view = self.view.as_ref()?;
        if !view.has_open_slots() && self.server.cluster.as_ref()?.version() == view.version {
            return None;
        }
        self.look_again_closely(client, entry, args, locked)
    }

    #[cold]
    fn look_again_closely(
        &mut self,
        client: &Client,
        entry: &'static Entry,
        args: Args<'_>,
        locked: &Locked<'_>,
    ) -> Option<CommandError> {
        self.follow_cluster();
        let view = self.view.as_ref().filter(|_| !client.identity.is_trusted())?;
        let slot = client
            .queue_of(entry)
            .map_or_else(|| RequestSlot::of(entry.spec, args), Transaction::slot);
        let query = Query { client, entry, args, slot };
        let elsewhere = self.place(view, query, Some(locked)).err()?;
        Some(self.elsewhere(view, client, elsewhere))
    }

    /// Where a command of a script belongs, whose keys are locked: the error that the script gets if that is not here.
    #[inline]
    pub(crate) fn look_within_script(
        &mut self,
        client: &Client,
        entry: &'static Entry,
        args: Args<'_>,
        locked: &Locked<'_>,
    ) -> Result<RequestSlot, CommandError> {
        if self.view.is_none() || client.identity.is_trusted() {
            return Ok(RequestSlot::Any);
        }
        self.follow_cluster();
        let Some(view) = &self.view else { return Ok(RequestSlot::Any) };
        let slot = RequestSlot::of(entry.spec, args);
        let query = Query { client, entry, args, slot };
        let text = match self.place(view, query, Some(locked)) {
            Ok(()) => return Ok(slot),
            Err(Elsewhere::DownButForReads) => format!(
                "ERR Script attempted to execute a write command '{}' while the cluster is down and readonly",
                entry.full_name
            ),
            Err(Elsewhere::Down) => {
                "ERR Script attempted to execute a command while the cluster is down".to_owned()
            }
            Err(_) => "ERR Script attempted to access a non local key in a cluster node".to_owned(),
        };
        Err(CommandError::Other(text.into()))
    }

    /// Takes over what is known of the cluster by now.
    pub(crate) fn follow_cluster(&mut self) {
        if let (Some(cluster), Some(view)) = (&self.server.cluster, &self.view)
            && cluster.version() != view.version
        {
            self.view = Some(cluster.view());
        }
    }

    /// Whether a request belongs here. Without `locked` it is not known which keys are there: then all count as being there.
    fn place(
        &self,
        view: &View,
        query: Query<'_>,
        locked: Option<&Locked<'_>>,
    ) -> Result<(), Elsewhere> {
        let slot = match query.slot {
            RequestSlot::Any => return Ok(()),
            RequestSlot::Several => return Err(Elsewhere::CrossSlot),
            RequestSlot::One(slot) => slot,
        };
        let owner = view.owners[usize::from(slot)];
        if view.node(owner).is_none() {
            return Err(Elsewhere::NotServed);
        }
        let Query { client, entry, .. } = query;
        let reads_replica = client.flags.contains(ClientFlags::READONLY);
        let sees_open_slots = !view.is_replica() || reads_replica;
        let target =
            view.migrating.get(&slot).filter(|_| sees_open_slots && owner == view.my_primary());
        let is_importing =
            sees_open_slots && target.is_none() && view.importing.contains_key(&slot);
        let found = match locked {
            Some(locked) if target.is_some() || is_importing => self.find_keys(query, locked)?,
            _ => Found::default(),
        };
        let (is_write, is_about_channels) = (query.is_write(self), query.is_about_channels());
        self.check_state(view, is_write, is_about_channels)?;
        let is_open = target.is_some() || is_importing;
        if is_open && !view.is_replica() && entry.spec.flags.contains(Flags::MOVES_KEYS) {
            return Ok(());
        }
        if let Some(&target) = target
            && 0 < found.missing
        {
            let some_are_here = 0 < found.existing;
            return Err(if some_are_here {
                Elsewhere::TryAgain
            } else {
                Elsewhere::Ask(slot, target)
            });
        }
        let asks =
            client.flags.contains(ClientFlags::ASKING) || entry.spec.flags.contains(Flags::ASKING);
        if is_importing && asks {
            let is_torn = found.are_several && 0 < found.missing;
            return if is_torn { Err(Elsewhere::TryAgain) } else { Ok(()) };
        }
        let may_read = (reads_replica || is_about_channels) && !is_write;
        let is_here =
            owner == view.me || (may_read && view.is_replica() && owner == view.my_primary());
        if is_here { Ok(()) } else { Err(Elsewhere::Moved(slot, owner)) }
    }

    /// Whether the machine has had its turn lately, so that what it said can be relied upon.
    #[inline]
    fn is_current(&self, view: &View) -> bool {
        let cluster = self.server.cluster.as_ref();
        cluster.is_some_and(|it| view.is_current(it.time_at(self.monotonic_ms)))
    }

    /// Whether the cluster is well enough for a request.
    fn check_state(
        &self,
        view: &View,
        is_write: bool,
        is_about_channels: bool,
    ) -> Result<(), Elsewhere> {
        if view.is_ok() && self.is_current(view) {
            return Ok(());
        }
        let routing = &self.settings.routing;
        if is_about_channels {
            return if routing.takes_messages_when_down { Ok(()) } else { Err(Elsewhere::Down) };
        }
        match (routing.reads_when_down, is_write) {
            (false, _) => Err(Elsewhere::Down),
            (true, true) => Err(Elsewhere::DownButForReads),
            (true, false) => Ok(()),
        }
    }

    /// Which keys of a request are here, of a slot that is being moved.
    fn find_keys(&self, query: Query<'_>, locked: &Locked<'_>) -> Result<Found, Elsewhere> {
        let Query { client, entry, args, .. } = query;
        let mut found = Found::default();
        let mut first = None;
        let is_counted = !query.is_about_channels();
        let (mut db, db_count) = (client.db, self.settings.limits.databases);
        let single = [(entry, args)];
        let queued = client.queue_of(entry).into_iter().flat_map(Transaction::commands);
        for (entry, args) in queued.chain(single) {
            let other_db = named_db(entry.spec, args, db_count).filter(|it| *it != db);
            if let (Databases::Selects(_), Some(selected)) = (entry.spec.databases, other_db) {
                db = selected;
            }
            let mut leaves_db = false;
            entry.spec.for_each_key(args, |index| {
                leaves_db |= other_db.is_some();
                let key = args.key(index);
                found.are_several |= *first.get_or_insert(args.at(index)) != args.at(index);
                let is_here = locked.covers(key) && locked.find(db, key, self.now).is_some();
                if is_counted && is_here {
                    found.existing += 1;
                } else if is_counted {
                    found.missing += 1;
                }
            });
            if leaves_db {
                // Whether it has moved already cannot be told of a key in another database.
                return Err(Elsewhere::TryAgain);
            }
        }
        Ok(found)
    }

    /// What a client is told of where its request belongs.
    #[cold]
    fn elsewhere(&self, view: &View, client: &Client, elsewhere: Elsewhere) -> CommandError {
        let (word, slot, node) = match elsewhere {
            Elsewhere::CrossSlot => {
                return CommandError::text("CROSSSLOT Keys in request don't hash to the same slot");
            }
            Elsewhere::TryAgain => {
                return CommandError::text(
                    "TRYAGAIN Multiple keys request during rehashing of slot",
                );
            }
            Elsewhere::Down => return CommandError::text("CLUSTERDOWN The cluster is down"),
            Elsewhere::DownButForReads => {
                let text = "CLUSTERDOWN The cluster is down and only accepts read commands";
                return CommandError::text(text);
            }
            Elsewhere::NotServed => return CommandError::text("CLUSTERDOWN Hash slot not served"),
            Elsewhere::Moved(slot, node) => ("MOVED", slot, node),
            Elsewhere::Ask(slot, node) => ("ASK", slot, node),
        };
        let Some(node) = view.node(node) else {
            return CommandError::text("CLUSTERDOWN Hash slot not served");
        };
        let is_ipv6 = client.info.address.starts_with('[');
        let host = match self.settings.routing.endpoint {
            ClusterPreferredEndpointType::Ip => node.client_ip(is_ipv6),
            ClusterPreferredEndpointType::Hostname if node.hostname.is_empty() => "?",
            ClusterPreferredEndpointType::Hostname => &node.hostname,
            ClusterPreferredEndpointType::UnknownEndpoint => "",
        };
        let port = node.client_port(client.socket.tls().is_some());
        CommandError::Other(format!("{word} {slot} {host}:{port}").into())
    }
}

/// Whether a client has said that it reads from replicas, and its command does no more.
fn only_reads(client: &Client, entry: &Entry) -> bool {
    client.flags.contains(ClientFlags::READONLY)
        && !entry.spec.flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE)
}

/// The database that a command names.
fn named_db(spec: &Spec, args: Args<'_>, db_count: usize) -> Option<usize> {
    let (Databases::Named(find) | Databases::Selects(find)) = spec.databases else { return None };
    let mut named = None;
    find(args, &mut |index| {
        named = database(args.get(index), db_count).map(|it| it as usize).or(named);
    });
    named
}

/// Whether an error tells a client where its request belongs, which is said as it is wherever it comes up.
pub(crate) fn is_about_place(text: &str) -> bool {
    ["REDIRECT ", "MOVED ", "ASK ", "CROSSSLOT ", "TRYAGAIN ", "CLUSTERDOWN "]
        .iter()
        .any(|it| text.starts_with(it))
}

/// The view that a worker begins with.
pub(super) fn first_view(server: &crate::server::Server) -> Option<Arc<View>> {
    server.cluster.as_ref().map(crate::cluster::Cluster::view)
}
