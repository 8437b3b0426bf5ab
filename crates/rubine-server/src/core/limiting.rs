//! What quotas mean for the clients of this worker: which of them one is bound to, and what becomes of a request that
//! exceeds one. Puts off and refuses nothing itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rubine_commands::{Acl, Args, CommandError, Flags, Group};
use rubine_config::QuotaMode;
use rubine_resp::writer::Reply;
use smallvec::SmallVec;

use super::Core;
use super::scripts::flags_of;
use crate::client::queue::Transaction;
use crate::client::suspension::Reason;
use crate::client::{Client, ClientFlags};
use crate::command_table::Entry;
use crate::quotas::{Bound, Kind, Quota, QuotaTable, Quotas, Seat, Shares, micros};
use crate::server::Server;

/// Who would wait for less than this need not, in seconds: it is owed instead, and the next one waits.
const WAIT_MIN_SECONDS: f64 = 0.001;

/// The commands that no quota is about: whoever may not go on any more has to be able to say who it is, and to change that.
const EXEMPT: Acl = Acl::ADMIN.union(Acl::CONNECTION);

/// What this worker knows of quotas.
pub(crate) struct LocalQuotas {
    table: Arc<QuotaTable>,
    /// That of `table`.
    generation: u64,
    /// By number of the quota.
    shares: Vec<Shares>,
    /// Clients whose requests wait: until when, and client.
    waiting: BTreeSet<(i64, u64)>,
}

/// What becomes of a request.
pub(crate) enum Verdict {
    Runs,
    /// Until then, Unix milliseconds.
    Waits(i64),
    Refused(CommandError),
}

/// What a request asks of one quota.
struct Load {
    quota: usize,
    /// By [`Kind`]. What it will be sent is not known yet.
    counts: [f64; Kind::ALL.len()],
    /// It may add to what is stored.
    adds: bool,
    /// The last of its commands that has been added: each counts once, however many of its keys the quota is about.
    last_command: usize,
    /// It asks for more than there is.
    exceeds: bool,
}

type Loads = SmallVec<[Load; 4]>;

impl LocalQuotas {
    pub(super) fn new(quotas: &Quotas) -> Self {
        let (table, generation) = (quotas.table(), quotas.generation());
        let shares = vec![Shares::default(); table.quotas().len()];
        Self { table, generation, shares, waiting: BTreeSet::new() }
    }

    pub(crate) fn table(&self) -> &Arc<QuotaTable> {
        &self.table
    }

    /// When the first of those that wait need not any more, Unix milliseconds.
    pub(crate) fn first_end(&self) -> Option<i64> {
        self.waiting.first().map(|it| it.0)
    }

    /// A client that need not wait any more.
    pub(crate) fn take_due(&mut self, now: i64) -> Option<u64> {
        if now < self.first_end()? {
            return None;
        }
        self.waiting.pop_first().map(|it| it.1)
    }

    /// Charges what the last request of a client has turned out to cost, now that it has been given so many bytes and run so
    /// many commands altogether.
    fn settle(&mut self, bound: &mut Bound, bytes: u64, commands: u64, now_us: u64) {
        let bytes = bytes.saturating_sub(bound.bytes_before);
        let commands =
            commands.saturating_sub(bound.commands_before).saturating_sub(bound.commands_paid);
        for number in bound.open.drain(..) {
            let quota = self.table.quota(number);
            for (kind, count) in [(Kind::Ops, commands), (Kind::Output, bytes)] {
                if 0 < count {
                    self.shares[number].charge(quota, kind, count as f64, now_us);
                }
            }
        }
    }

    /// What becomes of a request that asks this of quotas, by their rates. Charges it, unless it is refused.
    fn decide(&mut self, loads: &mut Loads, now: i64, now_us: u64) -> Verdict {
        let mut wait: f64 = 0.0;
        for Load { quota: number, counts, exceeds, .. } in &mut *loads {
            let quota = self.table.quota(*number);
            let shares = &mut self.shares[*number];
            let (mut kind, mut seconds) = (Kind::Ops, 0.0);
            for each in Kind::ALL {
                // What it will be sent is charged later: it is enough that nothing is owed.
                let count = if each == Kind::Output { 1.0 } else { counts[each as usize] };
                let wait = shares.wait(quota, each, count, now_us);
                if seconds < wait {
                    (kind, seconds) = (each, wait);
                }
            }
            if seconds <= 0.0 {
                continue;
            }
            *exceeds = true;
            let is_patient = seconds * 1000.0 <= f64::from(quota.rule.delay_ms_max());
            match quota.rule.mode {
                QuotaMode::Observe | QuotaMode::Exempt => {
                    quota.counts.observed.fetch_add(1, Ordering::Relaxed);
                }
                QuotaMode::Delay if is_patient => wait = wait.max(seconds),
                QuotaMode::Delay | QuotaMode::Error => {
                    quota.counts.refused.fetch_add(1, Ordering::Relaxed);
                    return Verdict::Refused(too_fast(quota, kind, seconds));
                }
            }
        }
        let waits = WAIT_MIN_SECONDS <= wait;
        let wait_ms = if waits { (wait * 1000.0).ceil() as i64 } else { 0 };
        for Load { quota: number, counts, exceeds, .. } in &*loads {
            let quota = self.table.quota(*number);
            let shares = &mut self.shares[*number];
            // What would have been refused would have cost nothing.
            let is_free = *exceeds && quota.only_observes();
            for kind in [Kind::Ops, Kind::Input] {
                let count = counts[kind as usize];
                if is_free {
                    quota.counts.taken[kind as usize].fetch_add(count as u64, Ordering::Relaxed);
                } else {
                    shares.charge(quota, kind, count, now_us);
                }
            }
            if *exceeds && waits && !is_free {
                quota.counts.delayed.fetch_add(1, Ordering::Relaxed);
                quota.counts.delayed_ms.fetch_add(wait_ms as u64, Ordering::Relaxed);
            }
        }
        if waits { Verdict::Waits(now + wait_ms) } else { Verdict::Runs }
    }

    /// Refuses what exceeds anything but a rate.
    fn check_sizes(&self, loads: &Loads, longest: usize) -> Result<(), CommandError> {
        for load in loads {
            let quota = self.table.quota(load.quota);
            let is_long = quota.rule.value.is_some_and(|max| max < longest as u64);
            let exceeds = is_long || load.adds && quota.is_full();
            if !exceeds {
                continue;
            }
            if quota.only_observes() {
                quota.counts.observed.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            quota.counts.refused.fetch_add(1, Ordering::Relaxed);
            return Err(if is_long {
                exceeded(quota, "value", &format!("exceeded by an argument of {longest} bytes"))
            } else {
                exceeded(quota, "memory", "used up, nothing may be added")
            });
        }
        Ok(())
    }
}

impl Shares {
    /// In how many seconds so much of that kind could be taken.
    fn wait(&mut self, quota: &Quota, kind: Kind, count: f64, now_us: u64) -> f64 {
        let share = &mut self.0[kind as usize];
        quota.bucket(kind).filter(|_| 0.0 < count).map_or(0.0, |it| it.wait(share, count, now_us))
    }

    /// Counts so much of that kind, and takes it where it is limited.
    fn charge(&mut self, quota: &Quota, kind: Kind, count: f64, now_us: u64) {
        quota.counts.taken[kind as usize].fetch_add(count as u64, Ordering::Relaxed);
        if let Some(bucket) = quota.bucket(kind) {
            bucket.take(&mut self.0[kind as usize], count, now_us);
        }
    }
}

impl Core {
    /// Takes over the quotas as they are now. Returns whether they have changed: then all clients are to be bound anew.
    pub(crate) fn refresh_quotas(&mut self) -> bool {
        let quotas = &self.server.quotas;
        if quotas.generation() == self.quotas.generation {
            return false;
        }
        let waiting = std::mem::take(&mut self.quotas.waiting);
        self.quotas = LocalQuotas { waiting, ..LocalQuotas::new(quotas) };
        true
    }

    /// Binds a client to the quotas that are about it from now on, if they have room for one more.
    pub(crate) fn bind(&self, client: &mut Client) -> Result<(), CommandError> {
        self.bind_by(client, Seat::take)
    }

    /// Binds a client that has just come. One that there is no room for is told so, and goes.
    pub(crate) fn welcome(&self, client: &mut Client) {
        if let Err(error) = self.bind(client) {
            turn_away(client, &error);
        }
    }

    /// As [`Self::bind`], for one that is there already, and stays.
    pub(crate) fn bind_again(&self, client: &mut Client) {
        // It cannot be refused so.
        let _ = self.bind_by(client, |quota| Some(Seat::take_anyway(quota)));
    }

    fn bind_by(
        &self,
        client: &mut Client,
        take_seat: impl Fn(&Arc<Quota>) -> Option<Seat>,
    ) -> Result<(), CommandError> {
        let table = &self.quotas.table;
        let before = client.bound.take();
        client.flags -= ClientFlags::LIMITED;
        let identity = &client.identity;
        let name = identity.user.name();
        if table.is_empty() || !identity.is_authenticated || table.is_exempt(name) {
            return Ok(());
        }
        let user = table.of_user(name);
        if user.is_none() && !table.has_any_of_data() {
            return Ok(());
        }
        let seat =
            match user.map(|it| table.quota(it)) {
                None => None,
                Some(quota) => {
                    let kept = before.and_then(|it| it.seat).filter(|it| it.is_of(quota));
                    let seat = kept.or_else(|| take_seat(quota));
                    Some(seat.ok_or_else(|| {
                        exceeded(quota, "clients", "reached, there may be no more")
                    })?)
                }
            };
        client.bound = Some(Box::new(Bound { user, seat, ..Bound::default() }));
        client.flags |= ClientFlags::LIMITED;
        Ok(())
    }

    /// What becomes of a request of a client that quotas are about. `unsent` bytes of replies wait to be sent to it.
    pub(crate) fn weigh(
        &mut self,
        client: &mut Client,
        unsent: usize,
        entry: &'static Entry,
        args: Args<'_>,
    ) -> Verdict {
        let Some(mut bound) = client.bound.take() else { return Verdict::Runs };
        let verdict = if std::mem::take(&mut bound.is_paid) {
            Verdict::Runs
        } else {
            self.weigh_bound(client, &mut bound, unsent, entry, args)
        };
        client.bound = Some(bound);
        verdict
    }

    fn weigh_bound(
        &mut self,
        client: &Client,
        bound: &mut Bound,
        unsent: usize,
        entry: &'static Entry,
        args: Args<'_>,
    ) -> Verdict {
        let now_us = micros();
        let bytes = client.traffic.net_output + unsent as u64;
        let commands = client.traffic.commands;
        self.quotas.settle(bound, bytes, commands, now_us);
        let queue = client.transaction.as_ref();
        // MULTI costs nothing, and neither does what is queued: EXEC pays for all of it.
        let begins = entry.acl().contains(Acl::TRANSACTION) && queue.is_none() && !entry.has_keys();
        if entry.acl().intersects(EXEMPT) || begins {
            return Verdict::Runs;
        }
        let is_queued = queue.is_some() && !entry.spec.flags.contains(Flags::NEVER_QUEUED);
        let table = &self.quotas.table;
        let db = queue.and_then(Transaction::selected_db).unwrap_or(client.db);
        let mut loads = Loads::new();
        let general = [bound.user, table.of_db(db)];
        let ops = match queue.filter(|_| !is_queued) {
            None => {
                add_loads(self.server, table, general, &mut loads, 1, (entry, args));
                1
            }
            Some(queue) => {
                for (command, number) in queue.commands().zip(1..) {
                    add_loads(self.server, table, general, &mut loads, number, command);
                }
                queue.len() as u64
            }
        };
        let may_change = entry.spec.flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE);
        let longest = if may_change { args.from(1).map(<[u8]>::len).max() } else { None };
        if let Err(error) = self.quotas.check_sizes(&loads, longest.unwrap_or(0)) {
            return Verdict::Refused(error);
        }
        if is_queued {
            return Verdict::Runs;
        }
        if queue.is_some() && !entry.spec.flags.contains(Flags::RUNS_QUEUE) {
            // What is thrown away was sent all the same.
            for Load { quota: number, counts, .. } in &loads {
                let quota = self.quotas.table.quota(*number);
                for kind in [Kind::Ops, Kind::Input] {
                    let count = counts[kind as usize];
                    self.quotas.shares[*number].charge(quota, kind, count, now_us);
                }
            }
            return Verdict::Runs;
        }
        let verdict = self.quotas.decide(&mut loads, self.now, now_us);
        if !matches!(verdict, Verdict::Refused(_)) {
            bound.open = loads.iter().map(|it| it.quota).collect();
            bound.bytes_before = bytes;
            bound.commands_before = commands;
            // EXEC is counted with what it runs.
            bound.commands_paid = ops + u64::from(queue.is_some());
        }
        verdict
    }

    /// Has a client's request wait until then.
    pub(crate) fn slow_down(&mut self, client: &mut Client, args: Args<'_>, until: i64) {
        client.info.slowed_at.store(self.now, Ordering::Relaxed);
        self.quotas.waiting.insert((until, client.id));
        self.suspend(client, Some(args), Reason::OverQuota);
    }

    /// Charges what the last request of a client has cost that goes away.
    pub(crate) fn settle_last(&mut self, client: &mut Client) {
        if let Some(bound) = &mut client.bound {
            let bytes = client.traffic.net_output + client.output.buffered_bytes() as u64;
            self.quotas.settle(bound, bytes, client.traffic.commands, micros());
        }
    }
}

/// Has a client go, and tells it why.
pub(super) fn turn_away(client: &mut Client, error: &CommandError) {
    error.write(&mut Reply::new(&mut client.output, client.protocol));
    client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
}

/// Adds what one command, the `number`th of its request, asks of the quotas of its user and database, and of those of its keys.
fn add_loads(
    server: &Server,
    table: &QuotaTable,
    general: [Option<usize>; 2],
    loads: &mut Loads,
    number: usize,
    (entry, args): (&'static Entry, Args<'_>),
) {
    let bytes = args.byte_count() as f64;
    let flags = entry.spec.flags;
    let is_script = entry.group == Group::Scripting && flags.contains(Flags::MAY_REPLICATE);
    let adds = flags.contains(Flags::DENYOOM)
        || is_script && flags_of(server, entry, args).contains(Flags::MAY_REPLICATE);
    let mut add = |quota: usize| {
        let index = loads.iter().position(|it| it.quota == quota).unwrap_or_else(|| {
            let counts = Default::default();
            loads.push(Load { quota, counts, adds: false, last_command: 0, exceeds: false });
            loads.len() - 1
        });
        let load = &mut loads[index];
        if load.last_command == number {
            return;
        }
        load.last_command = number;
        load.counts[Kind::Ops as usize] += 1.0;
        load.counts[Kind::Input as usize] += bytes;
        load.adds |= adds;
    };
    general.into_iter().flatten().for_each(&mut add);
    if table.has_prefixes() {
        for (spec, _) in entry.keys(args) {
            spec.for_each(args, &mut |index| table.for_each_of_key(args.at(index), &mut add));
        }
    }
}

/// The refusal of a request that comes too soon.
fn too_fast(quota: &Quota, kind: Kind, seconds: f64) -> CommandError {
    let option = match kind {
        Kind::Ops => "ops",
        Kind::Input => "in",
        Kind::Output => "out",
    };
    let millis = (seconds * 1000.0).ceil().max(1.0);
    exceeded(quota, option, &format!("exceeded, retry after {millis:.0} ms"))
}

/// The refusal of what exceeds one option of a quota.
fn exceeded(quota: &Quota, option: &str, how: &str) -> CommandError {
    let options = quota.rule.options();
    let value = options.iter().find(|it| it.0 == option).map_or("", |it| &it.1);
    let (kind, name) = (quota.rule.subject.kind(), quota.rule.subject.name());
    let start = format!("THROTTLED quota {kind} '");
    let end = format!("': {option}={value} {how}");
    CommandError::quoting(&[start.as_bytes(), &name, end.as_bytes()])
}
