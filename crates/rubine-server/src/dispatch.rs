//! The life of a request, from its name to its reply: refused, put off, queued or run.

mod browsers;
mod busy;
pub(crate) mod delays;
mod gates;

use rubine_commands::{Args, CommandError, Flags, Scope, shards_of};
use rubine_keyspace::{Locked, ShardSet, Tracking};
use rubine_resp::parser::ProtocolError;
use rubine_resp::writer::{Mark, Reply};

use crate::client::moving::Hold;
use crate::client::suspension::{Brought, Reason};
use crate::client::{Client, ClientFlags, ReplyMode};
use crate::command_table::{Entry, Run, unknown_command, unknown_subcommand};
use crate::core::Core;
use crate::core::after_run::{Caller, RanCommand};
use crate::core::limiting::Verdict;
use crate::core::routing::is_about_place;
use crate::core::scripts::flags_of;
use crate::core::unit::Role;

/// Whether a client's next request may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    /// It waits, or its connection ends.
    Stop,
}

/// The flags of clients whose requests are looked at before they run.
const LOOKED_AT: ClientFlags = ClientFlags::PUBSUB.union(ClientFlags::LIMITED);

/// The flags of clients about whose replies there is more to do.
const SETTLED: ClientFlags = ClientFlags::REPLICA.union(ClientFlags::ASKING);

/// A request before it runs, for those who decide on that.
#[derive(Clone, Copy)]
struct Request<'a> {
    core: &'a Core,
    client: &'a Client,
    entry: &'static Entry,
    args: Args<'a>,
}

impl Core {
    /// Does with a request what is due: runs it, queues it, refuses it or puts it off.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it is called for each request, from one place")]
    pub(crate) fn execute(
        &mut self,
        client: &mut Client,
        reply: &mut Reply<'_>,
        entry: Option<&'static Entry>,
        args: Args<'_>,
    ) -> Flow {
        let mark = reply.mark();
        let flow = self.admit(client, reply, entry, args);
        settle_reply(client, reply, mark);
        if self.outbox.writer != 0 {
            self.dismiss_trackers(client, reply, entry);
        }
        flow
    }

    /// As [`Self::execute`], which is made once for the many that run at once.
    #[inline(never)]
    fn execute_again(
        &mut self,
        client: &mut Client,
        reply: &mut Reply<'_>,
        entry: Option<&'static Entry>,
        args: Args<'_>,
    ) {
        self.execute(client, reply, entry, args);
    }

    /// Runs a request again that was put off, now that it may go on.
    pub(crate) fn run_again(&mut self, client: &mut Client) {
        let Some(request) = client.suspended.take().and_then(|it| it.request) else { return };
        let args = request.as_args();
        let entry = self.server.commands.find(args.at(0)).map(|it| it.asked_for(args));
        let mut output = std::mem::take(&mut client.output);
        let mut reply = Reply::new(&mut output, client.protocol);
        if let Some(bound) = &mut client.bound {
            bound.is_paid = true;
        }
        match entry {
            // What it has begun is gone on with, whatever would keep it from beginning now.
            Some(entry) if matches!(client.brought, Some(Brought::Ran(..))) => {
                let mark = reply.mark();
                self.call(client, &mut reply, entry, args);
                settle_reply(client, &mut reply, mark);
            }
            _ => self.execute_again(client, &mut reply, entry, args),
        }
        client.output = output;
        if let Some(bound) = &mut client.bound {
            bound.is_paid = false;
        }
        if !matches!(client.suspension(), Some(Reason::BusyShard))
            && let Some(standing) = client.standing.take()
        {
            // It was refused, or waits for something else: its turn goes to the next.
            self.server.keyspace.withdraw(standing);
        }
        if client.suspension().is_none() {
            self.discard_brought(client);
        }
    }

    /// Answers a request that cannot be understood, and ends the connection.
    #[cold]
    pub(crate) fn protocol_error(&mut self, client: &mut Client, error: ProtocolError) {
        let protocol = client.protocol;
        let text = format!("ERR {error}");
        Reply::new(&mut client.output, protocol).error(&text);
        client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
        self.stats().error_replies.add(1);
        tracing::debug!("Protocol error ({error}) from client id={}", client.id);
    }

    fn admit(
        &mut self,
        client: &mut Client,
        reply: &mut Reply<'_>,
        entry: Option<&'static Entry>,
        args: Args<'_>,
    ) -> Flow {
        let Some(entry) = entry.filter(|it| it.is_runnable(args)) else {
            return self.refuse_unknown(client, reply, entry, args);
        };
        self.note_request(client, entry);
        if self.server.trackers.has_any() {
            self.attend_trackers(client, reply);
        }
        if !gates::are_open(self, client, entry, args, LOOKED_AT)
            && let Some(flow) = self.refuse_at_gate(client, reply, entry, args)
        {
            return flow;
        }
        if delays::may_hold(self, client)
            && delays::hold(Request { core: self, client, entry, args })
        {
            if matches!(client.brought, Some(Brought::Slot(_))) {
                // Others may run meanwhile.
                client.brought = None;
            }
            self.suspend(client, Some(args), Reason::Paused);
            return Flow::Stop;
        }
        if is_queued(client, entry)
            && let Some(transaction) = &mut client.transaction
        {
            let flags = flags_of(self.server, entry, args);
            transaction.push(entry, flags, args, &self.settings.limits);
            reply.simple("QUEUED");
            if self.charges() {
                self.charge_request(entry, args);
            }
            return Flow::Next;
        }
        self.call(client, reply, entry, args);
        if client.is_held() { Flow::Stop } else { Flow::Next }
    }

    /// Looks at every gate, for the client's user as it is now, and at its quotas. Nothing if the request may go on.
    #[cold]
    fn refuse_at_gate(
        &mut self,
        client: &mut Client,
        reply: &mut Reply<'_>,
        entry: &'static Entry,
        args: Args<'_>,
    ) -> Option<Flow> {
        let is_limited = client.flags.contains(ClientFlags::LIMITED);
        let rest = LOOKED_AT - ClientFlags::LIMITED;
        let mut error = None;
        if !is_limited || !gates::are_open(self, client, entry, args, rest) {
            self.follow_user(client);
            self.follow_cluster();
            if client.flags.contains(ClientFlags::CLOSE_NOW) {
                return Some(Flow::Stop);
            }
            error = gates::check(Request { core: self, client, entry, args }).err();
        }
        if is_limited && error.is_none() {
            match self.weigh(client, reply.buffered_bytes(), entry, args) {
                Verdict::Runs => {}
                Verdict::Refused(refusal) => error = Some(refusal),
                Verdict::Waits(until) => {
                    self.slow_down(client, args, until);
                    return Some(Flow::Stop);
                }
            }
        }
        let error = error?;
        self.refuse(client, reply, Some(entry), args, &error);
        self.show_refused(client, entry, args);
        Some(Flow::Next)
    }

    /// Notes which command comes, and looks whether there is memory for it.
    #[inline]
    fn note_request(&mut self, client: &mut Client, entry: &'static Entry) {
        client.traffic.last_command = entry.number;
        self.stats().last_command.set(entry.number as u64);
        if self.settings.maxmemory != 0 {
            self.look_at_memory(client, entry);
        }
    }

    /// Runs a command on its own.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "moving the locks costs as much as what is done here")]
    fn call(
        &mut self,
        client: &mut Client,
        reply: &mut Reply<'_>,
        entry: &'static Entry,
        args: Args<'_>,
    ) {
        let mut reply_start = reply.mark();
        let result = match entry.run {
            Run::Data(command) => {
                let shards = match entry.single_key {
                    Some(index)
                        if index < args.len() && matches!(entry.spec.scope, Scope::Keys) =>
                    {
                        ShardSet::of(args.key(index))
                    }
                    _ => shards_of(entry.spec, args, false),
                };
                let Some(mut locked) = self.lock(client, &shards) else {
                    self.suspend(client, Some(args), Reason::BusyShard);
                    self.start_clock();
                    return;
                };
                if let Some(error) = self.look_again(client, entry, args, &locked) {
                    drop(locked);
                    return self.refuse(client, reply, Some(entry), args, &error);
                }
                self.begin_client_unit(client, reply);
                reply_start = reply.mark();
                let hold = if client.brought.is_some() { self.take_hold(client) } else { None };
                let (db, flags) = (client.db, self.flags_for(client, entry, args));
                let counted = (self.runner.changes.hits, self.runner.changes.misses);
                let role = Role::Alone;
                let result = self.run_data(command, db, flags, role, reply, args, &mut locked);
                self.remember_read(client, entry, args, &mut locked);
                if locked.is_empty()
                    && let Some(busy) = self.runner.changes.busy_shard.take()
                {
                    reply.truncate_to(reply_start);
                    (self.runner.changes.hits, self.runner.changes.misses) = counted;
                    self.end_client_unit(client, locked);
                    self.stand_for(client, args, busy);
                    return;
                }
                if locked.is_empty() && self.runner.changes.tracking != Tracking::Off {
                    self.hear_before(client, reply, reply_start);
                }
                if !self.runner.effects.has_follow_up() {
                    self.end_client_unit(client, locked);
                } else if !self.follow_up(client, args, locked, counted, hold) {
                    self.start_clock();
                    return;
                } else if client.blocked().is_some() {
                    let caller = Caller::Client;
                    let ran =
                        RanCommand { entry, client, caller, args, reply, reply_start, result };
                    return self.after_beginning_to_wait(ran);
                }
                result
            }
            Run::Server(number) => {
                let handler = self.handlers[number];
                let result = self.run_session(handler, client, reply, entry, args, None);
                let has_yet_to_run = matches!(
                    client.suspension(),
                    Some(Reason::BusyShard | Reason::ScriptThread | Reason::Scripting(_))
                );
                if has_yet_to_run {
                    self.start_clock();
                    return;
                }
                result
            }
            Run::Container => unreachable!("containers are refused before"),
        };
        let caller = Caller::Client;
        self.after_run(RanCommand { entry, client, caller, args, reply, reply_start, result });
    }

    /// Ends the unit of a command that waits, computes or sends keys, and has that begin. Returns whether the command has
    /// run; otherwise it runs again later. `counted` are the hits and misses before it, `hold` is on keys that it moves.
    #[cold]
    fn follow_up(
        &mut self,
        client: &mut Client,
        args: Args<'_>,
        mut locked: Locked<'static>,
        counted: (u64, u64),
        mut hold: Option<Hold>,
    ) -> bool {
        if let Some(wait) = self.runner.effects.wait.take() {
            self.start_waiting(client, args, wait, &mut locked);
        }
        let task = self.runner.effects.task.take();
        let shipment = self.runner.effects.shipment.take();
        let may_ship = shipment.as_ref().is_none_or(|it| self.claim_keys(client, &mut hold, it));
        self.end_client_unit(client, locked);
        // What the command had no use for.
        if let Some(task) = self.runner.effects.computed.take() {
            self.server.aside.computations.discard(task);
        }
        if let Some(shipment) = self.runner.effects.shipped.take() {
            self.server.aside.computations.discard(shipment);
        }
        if let Some(task) = task {
            // It has not run yet, so it has not looked anything up either.
            (self.runner.changes.hits, self.runner.changes.misses) = counted;
            self.start_computing(client, args, task);
            return false;
        }
        if let Some(shipment) = shipment {
            if may_ship {
                self.start_shipping(client, args, shipment, hold);
            } else {
                // Others move the keys already: when they have, it tries again.
                self.server.aside.computations.discard(shipment);
                self.suspend(client, Some(args), Reason::Paused);
            }
            return false;
        }
        true
    }

    /// Runs a command of a transaction, whose locks are held.
    pub(crate) fn call_locked(
        &mut self,
        client: &mut Client,
        role: Role,
        reply: &mut Reply<'_>,
        entry: &'static Entry,
        args: Args<'_>,
        locked: &mut Locked<'static>,
    ) {
        let reply_start = reply.mark();
        let result = self.run_among_others(client, role, reply, entry, args, locked);
        if self.scripts.obstacle.is_none() {
            let caller = Caller::Transaction;
            self.after_run(RanCommand { entry, client, caller, args, reply, reply_start, result });
        }
    }

    /// Refuses what stands for no command.
    #[cold]
    fn refuse_unknown(
        &mut self,
        client: &mut Client,
        reply: &mut Reply<'_>,
        entry: Option<&'static Entry>,
        args: Args<'_>,
    ) -> Flow {
        let error = match entry {
            None if browsers::is_http(args) => {
                self.refuse_http(client);
                return Flow::Stop;
            }
            None if !client.identity.is_authenticated => gates::not_authenticated(),
            None => unknown_command(args),
            Some(entry) if args.len() < 2 => CommandError::Arity(entry.full_name.clone()),
            Some(entry) => unknown_subcommand(entry, args),
        };
        self.refuse(client, reply, entry, args, &error);
        Flow::Next
    }

    /// Replies with a refusal; a transaction that is being queued will not run.
    fn refuse(
        &mut self,
        client: &mut Client,
        reply: &mut Reply<'_>,
        entry: Option<&'static Entry>,
        args: Args<'_>,
        error: &CommandError,
    ) {
        let runs_queue = entry.is_some_and(|it| it.spec.flags.contains(Flags::RUNS_QUEUE));
        if runs_queue {
            // What is refused so is not run later either.
            client.transaction = None;
            self.unwatch_all(client);
        } else if let Some(transaction) = &mut client.transaction {
            transaction.spoil();
        }
        if let Some(entry) = entry {
            self.stats().commands[entry.number].rejected_calls.add(1);
            if self.charges() {
                self.charge_request(entry, args);
            }
        }
        let text = if runs_queue { error.to_string() } else { String::new() };
        if runs_queue && !is_about_place(&text) {
            let reason = text.strip_prefix("ERR ").unwrap_or(&text);
            let text = format!("EXECABORT Transaction discarded because of: {reason}");
            reply.error(&text);
            self.count_error(&CommandError::Other(text.into()));
        } else {
            error.write(reply);
            self.count_error(error);
        }
    }
}

/// Whether a command is queued where its client is: what manages the queue is not.
fn is_queued(client: &Client, entry: &Entry) -> bool {
    client.transaction.is_some() && !entry.spec.flags.contains(Flags::NEVER_QUEUED)
}

/// What a command has replied is sent or not, as the client has asked for.
fn settle_reply(client: &mut Client, reply: &mut Reply<'_>, mark: Mark) {
    if client.sending.reply_mode != ReplyMode::On {
        suppress(client, reply, mark);
    }
    if client.flags.intersects(SETTLED) {
        settle_special(client, reply, mark);
    }
    client.sending.keeps_output = false;
}

/// A replica is answered nothing, and ASKING is for one command, or for one transaction.
#[cold]
fn settle_special(client: &mut Client, reply: &mut Reply<'_>, mark: Mark) {
    if client.flags.contains(ClientFlags::REPLICA) && reply.mark() != mark {
        end_rogue(client, reply, mark);
    }
    if client.flags.contains(ClientFlags::ASKS_NEXT) {
        client.flags -= ClientFlags::ASKS_NEXT;
    } else if client.transaction.is_none() && client.suspension().is_none() {
        client.flags -= ClientFlags::ASKING;
    }
}

/// A replica sends nothing that is answered: an answer would stand among what it follows.
#[cold]
fn end_rogue(client: &mut Client, reply: &mut Reply<'_>, mark: Mark) {
    reply.truncate_to(mark);
    client.flags |= ClientFlags::CLOSE_NOW;
    let (id, address) = (client.id, &client.info.address);
    tracing::warn!("Replica (id={id} addr={address}) sent a command that has a reply: it is cut.");
}

/// Takes back what a command replied to a client that wants no replies, for now or at all.
#[cold]
fn suppress(client: &mut Client, reply: &mut Reply<'_>, mark: Mark) {
    if client.suspension().is_some() {
        return;
    }
    if !client.sending.keeps_output {
        reply.truncate_to(mark);
    }
    client.sending.reply_mode = match client.sending.reply_mode {
        ReplyMode::On | ReplyMode::Skip => ReplyMode::On,
        ReplyMode::SkipNext => ReplyMode::Skip,
        ReplyMode::Off => ReplyMode::Off,
    };
}
