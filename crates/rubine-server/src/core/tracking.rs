//! Clients that keep copies of keys: what they read is remembered, and what they are told reaches their output before the
//! reply of any command that could have seen the change. Takes no lock of a shard, but to forget what nobody needs.

use rubine_commands::{Args, Flags};
use rubine_journal::Offset;
use rubine_keyspace::{Locked, Stale, Tracking, Waiter, WaiterState};
use rubine_resp::writer::{Mark, Output, Protocol, Reply};

use super::Core;
use crate::client::inbox::{Notice, Posted};
use crate::client::{Client, ClientFlags, ReplyMode};
use crate::command_table::Entry;
use crate::tracking::Tracker;

/// Where notices go for clients that cannot be sent what is no reply.
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// Keys whose readers are forgotten at once when there are too many, and by how much that grows while there are.
const TRIM_STEPS: usize = 100;

/// Room for so many changes of a unit is kept for the next.
const STALE_KEPT_MAX: usize = 1024;

/// How a client wants to be told of changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrackingOptions {
    /// Those among the flags of tracking that it asks for.
    pub(crate) flags: ClientFlags,
    /// The number of the client that gets its notices; 0 for itself.
    pub(crate) redirection: u64,
}

impl Core {
    /// Lets a client track, or track in another way, and adds `prefixes` to those that it is told of.
    pub(crate) fn start_tracking(
        &mut self,
        client: &mut Client,
        options: TrackingOptions,
        prefixes: &[&[u8]],
    ) {
        let TrackingOptions { flags, redirection } = options;
        client.flags -= ClientFlags::TRACKING_OPTIONS - ClientFlags::TRACKING_CACHING;
        client.flags |= flags | ClientFlags::TRACKING;
        let tracking = client.tracking.get_or_insert_default();
        tracking.redirection = redirection;
        tracking.prefixes.extend(prefixes.iter().map(|it| Box::from(*it)));
        let tracker = Tracker {
            info: client.info.clone(),
            redirection: self.server.clients.get(redirection),
            is_broadcast: flags.contains(ClientFlags::TRACKING_BROADCAST),
            omits_own: flags.contains(ClientFlags::TRACKING_NOLOOP),
        };
        self.server.trackers.set(tracker, prefixes.iter().copied());
        // The rest of a transaction counts.
        self.note_trackers();
        self.outbox.writer = client.id;
    }

    /// Ends a client's tracking, if it does. What it has read is forgotten when the keys change.
    pub(crate) fn stop_tracking(&mut self, client: &mut Client) {
        let Some(tracking) = client.tracking.take() else { return };
        let prefixes = tracking.prefixes.iter().map(|it| &**it);
        self.server.trackers.remove(&client.info, prefixes);
        client.flags -= ClientFlags::TRACKING | ClientFlags::TRACKING_OPTIONS;
    }

    /// Has changes noted from here on if anybody is to be told of them. Called under the locks of a unit.
    #[inline]
    pub(crate) fn note_trackers(&mut self) {
        self.runner.changes.tracking = self.server.trackers.mode();
    }

    /// Remembers which keys a command has read for a client, while they are locked.
    #[inline]
    pub(crate) fn remember_read(
        &mut self,
        client: &Client,
        entry: &'static Entry,
        args: Args<'_>,
        locked: &mut Locked<'_>,
    ) {
        if client.flags.contains(ClientFlags::TRACKING) {
            let reader = self.server.trackers.number_of(&client.info);
            self.remember_reader(client.flags, reader, entry, args, locked);
        }
    }

    /// As [`Self::remember_read`], by a client's flags and its number as a reader.
    #[cold]
    pub(super) fn remember_reader(
        &mut self,
        flags: ClientFlags,
        reader: u32,
        entry: &'static Entry,
        args: Args<'_>,
        locked: &mut Locked<'_>,
    ) {
        let is_caching_given = flags.contains(ClientFlags::TRACKING_CACHING);
        let is_excepted = flags.contains(ClientFlags::TRACKING_OPTIN) && !is_caching_given
            || flags.contains(ClientFlags::TRACKING_OPTOUT) && is_caching_given
            || flags.contains(ClientFlags::TRACKING_BROADCAST);
        // What it would be computed from may be another value when the command runs again.
        let runs_again =
            self.runner.effects.task.is_some() || self.runner.effects.shipment.is_some();
        if is_excepted || runs_again || !entry.spec.flags.contains(Flags::READONLY) {
            return;
        }
        entry.spec.for_each_key(args, |index| {
            let key = args.key(index);
            if locked.covers(key) {
                locked.add_reader(key, reader);
            }
        });
    }

    /// Tells of the changes of a unit, whose locks are still held.
    #[cold]
    pub(super) fn tell_stale(&mut self, locked: &mut Locked<'_>) {
        let server = self.server;
        let stale = &mut self.runner.changes.stale;
        if stale.iter().any(|it| matches!(it, Stale::All)) {
            locked.forget_readers();
        }
        server.trackers.invalidate(&server.workers, stale, &mut self.outbox);
        stale.clear();
        stale.shrink_to(STALE_KEPT_MAX);
    }

    /// Remembers which keys a command has read that has waited, while they are locked. Returns what the client is to be told
    /// before its reply.
    #[cold]
    pub(super) fn attend_served(
        &mut self,
        waiter: &Waiter,
        entry: &'static Entry,
        args: Args<'_>,
        locked: &mut Locked<'_>,
    ) -> Vec<Posted> {
        let server = self.server;
        let Some(info) = server.clients.get(waiter.client) else { return Vec::new() };
        let flags = info.flags();
        if flags.contains(ClientFlags::TRACKING) {
            let reader = server.trackers.number_of(&info);
            self.remember_reader(flags, reader, entry, args, locked);
        }
        // What is noted for prefixes is its own worker's to tell, after the reply.
        info.inbox.take_unless(|| false)
    }

    /// As [`Self::write_journal`], for the command of a client that has waited. Returns what that client is to be told after
    /// its reply.
    pub(super) fn write_journal_of(
        &mut self,
        client: u64,
        locked: &mut Locked<'_>,
    ) -> (Option<Offset>, Vec<Posted>) {
        let writer = std::mem::replace(&mut self.outbox.writer, client);
        let own = std::mem::take(&mut self.outbox.own);
        let end = self.write_journal(locked);
        self.outbox.writer = writer;
        (end, std::mem::replace(&mut self.outbox.own, own))
    }

    /// Before a client's request: it hears what was changed before, and what it does is known to be its doing.
    #[cold]
    pub(crate) fn attend_trackers(&mut self, client: &mut Client, reply: &mut Reply<'_>) {
        self.trim_tracked();
        self.outbox.writer = client.id;
        self.hear(client, reply);
    }

    /// Begins a unit of a client's own commands, as [`Self::begin_unit`]. Before its reply, the client hears of all that the
    /// locked shards have seen.
    #[inline]
    pub(crate) fn begin_client_unit(&mut self, client: &mut Client, reply: &mut Reply<'_>) {
        self.begin_unit();
        if self.runner.changes.tracking != Tracking::Off {
            self.hear(client, reply);
        }
    }

    /// Tells a client what waits for it. The locks under which its command sees keys are held, or it sees none.
    #[cold]
    fn hear(&mut self, client: &mut Client, reply: &mut Reply<'_>) {
        // Whoever wants no replies has what is no reply by itself.
        if client.sending.reply_mode != ReplyMode::On {
            return;
        }
        let server = self.server;
        if client.flags.contains(ClientFlags::TRACKING_BROADCAST)
            && server.trackers.has_broadcasts(self.index)
        {
            // What it is told of its own changes is not to come before their replies.
            let writer = std::mem::take(&mut self.outbox.writer);
            let (workers, reader) = (&server.workers, Some(client.id));
            server.trackers.broadcast(workers, self.index, reader, &mut self.outbox);
            self.outbox.writer = writer;
        }
        if client.info.inbox.has_notices() {
            client.info.inbox.take_unless(|| false).iter().for_each(|it| write(client, reply, it));
        }
    }

    /// After a walk from shard to shard: the client hears of what it may have met before the walk's reply, which begins at
    /// `reply_start`. No key's value is in that, so what it hears too early it hears in time.
    #[cold]
    pub(crate) fn hear_before(
        &mut self,
        client: &mut Client,
        reply: &mut Reply<'_>,
        reply_start: Mark,
    ) {
        let mut output = Output::new();
        let mut notices = Reply::new(&mut output, client.protocol);
        self.hear(client, &mut notices);
        if !output.is_empty() {
            reply.insert(reply_start, output);
        }
    }

    /// After a client's request and its reply: it hears of what it has changed itself, and what it said of the next request
    /// is over.
    #[cold]
    pub(crate) fn dismiss_trackers(
        &mut self,
        client: &mut Client,
        reply: &mut Reply<'_>,
        entry: Option<&'static Entry>,
    ) {
        self.outbox.writer = 0;
        let own = std::mem::take(&mut self.outbox.own);
        own.iter().for_each(|it| write(client, reply, it));
        let is_of_client = entry.is_some_and(|it| it.is_part_of("client"));
        if !is_of_client && client.transaction.is_none() && client.suspension().is_none() {
            client.flags -= ClientFlags::TRACKING_CACHING;
        }
    }

    /// Forgets readers of some keys, who are told so, while there are more keys than there may be.
    #[inline]
    pub(crate) fn trim_tracked(&mut self) {
        let keys_max = self.settings.tracked_keys_max;
        if keys_max != 0 && keys_max < self.server.keyspace.tracked().keys() {
            self.trim_tracked_to(keys_max);
        }
    }

    #[cold]
    fn trim_tracked_to(&mut self, keys_max: usize) {
        let (server, outbox) = (self.server, &mut self.outbox);
        self.trim_rounds += 1;
        let steps = TRIM_STEPS * self.trim_rounds;
        let random = &mut self.runner.random;
        let are_more = server.keyspace.trim_tracked(keys_max, steps, random, |readers| {
            server.trackers.tell_readers(&server.workers, readers, outbox);
        });
        if !are_more {
            self.trim_rounds = 0;
        }
    }

    /// By the clock: forgets what is too much, and all when nobody tracks any more.
    pub(crate) fn look_after_tracked(&mut self) {
        let server = self.server;
        if server.trackers.has_any() {
            self.trim_tracked();
        } else if self.index == 0 && server.keyspace.tracked().keys() != 0 {
            server.keyspace.forget_tracked(|| !server.trackers.has_any());
        }
    }

    /// Takes the clients of this worker for whom there is something, from what is noted for prefixes, too.
    pub(crate) fn take_notified(&mut self) -> Vec<u64> {
        let server = self.server;
        if server.trackers.has_broadcasts(self.index) {
            server.trackers.broadcast(&server.workers, self.index, None, &mut self.outbox);
        }
        std::mem::take(&mut self.outbox.near)
    }
}

/// Tells a client something between its requests.
pub(crate) fn tell(client: &mut Client, notices: &[Posted]) {
    if notices.is_empty() {
        return;
    }
    let mut output = std::mem::take(&mut client.output);
    let mut reply = Reply::new(&mut output, client.protocol);
    notices.iter().for_each(|it| write(client, &mut reply, it));
    client.output = output;
}

/// Gives a client what waits for it, between its requests. Returns whether that is anything.
pub(crate) fn hear_now(client: &mut Client) -> bool {
    // Of what its command has read that has waited, it is not told before the reply, which is on its way.
    let waiter = client.blocked().map(|it| it.waiter.clone()).filter(|it| !it.keys.is_empty());
    let is_served = || waiter.is_some_and(|it| it.state() == WaiterState::Served);
    let notices = client.info.inbox.take_unless(is_served);
    tell(client, &notices);
    !notices.is_empty()
}

/// Writes a notice as the client can take it, if it can.
fn write(client: &mut Client, reply: &mut Reply<'_>, posted: &Posted) {
    let Posted { notice, is_redirected } = posted;
    let is_resp3 = reply.protocol() == Protocol::Resp3;
    // It may have ceased to track meanwhile.
    if !is_redirected && !client.flags.contains(ClientFlags::TRACKING) {
        return;
    }
    if let Notice::BrokenRedirection(other) = notice {
        let redirection = client.tracking.as_ref().map(|it| it.redirection);
        if redirection == Some(*other) {
            client.flags |= ClientFlags::TRACKING_BROKEN;
        }
        if is_resp3 {
            reply.push(2);
            reply.bulk(b"tracking-redir-broken");
            reply.integer(*other as i64);
        }
        return;
    }
    if is_resp3 {
        reply.push(2);
        reply.bulk(b"invalidate");
    } else if *is_redirected && client.flags.contains(ClientFlags::PUBSUB) {
        reply.array(3);
        reply.bulk(b"message");
        reply.bulk(CHANNEL);
    } else {
        return;
    }
    match notice {
        Notice::Key(key) => {
            reply.array(1);
            reply.bulk(key);
        }
        Notice::Keys(array) => reply.raw(array),
        Notice::All => reply.null(),
        Notice::BrokenRedirection(_) => unreachable!("it was written above"),
    }
}
