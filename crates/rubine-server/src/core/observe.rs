//! What is remembered and shown of a command after it has run: it took long, its request or reply was large, or somebody
//! wants to see all. Most commands never come here: `after_run` compares three numbers.

use rubine_commands::{Args, Flags};
use rubine_keyspace::Waiter;
use rubine_resp::command::command_len;
use rubine_resp::writer::{Mark, Reply};
use rubine_system::ticks;
use smallvec::SmallVec;

use super::Core;
use super::after_run::{Caller, RanCommand};
use super::hand_offs::request_of;
use crate::client::{ClientFlags, ClientInfo};
use crate::command_table::Entry;
use crate::observing::command_log::{LogKind, LoggedCommand, shown_args};
use crate::observing::growing_reply::{Told, tell_size};
use crate::observing::hot_keys::Cost;
use crate::observing::latency::LatencyEvent;
use crate::settings::Settings;

/// From what on a command is looked at after it has run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notable {
    ticks: u64,
    request_bytes: u64,
    reply_bytes: u64,
}

impl Notable {
    pub(super) fn of(settings: &Settings) -> Self {
        let [slow, request, reply] = settings.command_logs;
        let ticks = ticks_of(slow.from).min(settings.latency_ticks);
        Self { ticks, request_bytes: request.from, reply_bytes: reply.from }
    }

    #[inline]
    pub(super) fn is_met(&self, ticks: u64, args: Args<'_>, reply: &Reply<'_>, mark: Mark) -> bool {
        self.ticks <= ticks
            || self.request_bytes <= args.request_bytes() as u64
            || self.reply_bytes <= reply.bytes_since(mark) as u64
    }
}

/// Microseconds as ticks; the most there can be stays that.
fn ticks_of(us: u64) -> u64 {
    if us == u64::MAX { us } else { (us as f64 * ticks::per_microsecond()) as u64 }
}

/// An entry of a log that is put in when the command is over which gave its client a reply: it comes after that one's.
pub(super) struct Later {
    kind: LogKind,
    value: u64,
    command: LoggedCommand,
}

/// One command that has come to its end, and what it came to.
#[derive(Clone, Copy)]
pub(super) struct Measured<'a> {
    pub(super) entry: &'static Entry,
    pub(super) args: Args<'a>,
    pub(super) caller: Caller,
    /// Its client has waited.
    has_waited: bool,
    client: &'a ClientInfo,
    pub(super) ticks: u64,
    pub(super) request_bytes: u64,
    /// `None` where a part of it has yet to be produced.
    pub(super) reply_bytes: Option<u64>,
}

/// Whose command it is.
struct Observed<'a> {
    info: &'a ClientInfo,
    has_waited: bool,
    is_master: bool,
}

impl Core {
    /// Takes over the settings that are in force, who watches, and whether keys are counted.
    pub(crate) fn refresh_settings(&mut self) {
        self.refresh_watching();
        self.settings = self.server.settings.load_full();
        let hot_keys = self.server.observing.hot_keys.current();
        self.refresh_charging();
        self.hot_keys = hot_keys.filter(|it| it.is_active(self.now));
        self.audited = self.server.observing.audit.audited();
        self.refresh_notable();
    }

    /// Works out from what on a command is looked at.
    pub(super) fn refresh_notable(&mut self) {
        self.notable = Notable::of(&self.settings);
        let audits_all = self.audited.as_ref().is_some_and(|it| it.has_data_commands);
        let looks_at_all = self.watch.is_on() || self.hot_keys.is_some() || self.charges();
        if looks_at_all || audits_all {
            self.notable.ticks = 0;
        }
    }

    /// Has the command that runs looked at when it has run, if it belongs in the audit log.
    #[cold]
    pub(super) fn look_at_next(&mut self, entry: &'static Entry) {
        if self.audited.as_ref().is_some_and(|it| it.event_of(entry).is_some()) {
            self.notable.ticks = 0;
        }
    }

    #[cold]
    pub(super) fn observe(&mut self, ran: &mut RanCommand<'_, '_>, ticks: u64) {
        let RanCommand { entry, args, caller, .. } = *ran;
        self.show(ran.client, caller, entry, args);
        let is_fast = entry.spec.flags.contains(Flags::FAST);
        let event = if is_fast { LatencyEvent::FastCommand } else { LatencyEvent::Command };
        self.note_latency(event, ticks);
        if ran.client.suspended.is_some() {
            // It waits; what it comes to is known later.
            return;
        }
        let client = Observed {
            info: &ran.client.info,
            has_waited: false,
            is_master: ran.client.flags.contains(ClientFlags::MASTER),
        };
        self.measure(entry, args, caller, client, ticks, (ran.reply, ran.reply_start));
        self.log_waited();
        if self.audited.is_some() {
            self.refresh_notable();
        }
    }

    /// Looks at the command of a client that has waited, now that it has a reply: what it took to make that.
    pub(super) fn observe_waited(
        &mut self,
        entry: &'static Entry,
        waiter: &Waiter,
        args: Args<'_>,
        ticks: u64,
        reply: &mut Reply<'_>,
        reply_start: Mark,
    ) {
        if !self.notable.is_met(ticks, args, reply, reply_start) {
            return;
        }
        self.note_latency(LatencyEvent::CommandUnblocking, ticks);
        if let Some(client) = self.server.clients.get(waiter.client) {
            let (caller, reply) = (Caller::Client, (reply, reply_start));
            let client = Observed { info: &client, has_waited: true, is_master: false };
            self.measure(entry, args, caller, client, ticks, reply);
        }
    }

    /// The same of one whose time was over before it found anything.
    pub(super) fn observe_given_up(
        &mut self,
        waiter: &Waiter,
        reply: &mut Reply<'_>,
        reply_start: Mark,
    ) {
        let name = waiter.args.first();
        if let Some(entry) = name.and_then(|it| self.server.commands.find(it)) {
            let (bytes, ranges) = request_of(waiter);
            let args = Args::new(&bytes, &ranges);
            self.count_waited(entry, 0);
            self.observe_waited(entry, waiter, args, 0, reply, reply_start);
        }
    }

    /// Notes how long something took, if that is worth it.
    pub(crate) fn note_latency(&self, event: LatencyEvent, ticks: u64) {
        self.server.observing.latency.note(event, ticks, self.now);
    }

    /// Remembers of a command what is to be remembered. What its reply comes to may be known only later.
    fn measure(
        &mut self,
        entry: &'static Entry,
        args: Args<'_>,
        caller: Caller,
        Observed { info: client, has_waited, is_master }: Observed<'_>,
        ticks: u64,
        (reply, reply_start): (&mut Reply<'_>, Mark),
    ) {
        self.audit_command(entry, args, caller, client, ticks, (reply, reply_start));
        let request_bytes = match caller {
            // Its commands come in units.
            Caller::Client if is_master => command_len(args.from(0)) as u64,
            Caller::Client | Caller::Transaction => args.request_bytes() as u64,
            Caller::Script => 0,
        };
        let reply_bytes = match reply.bytes_since(reply_start) {
            _ if is_master => Some(0),
            usize::MAX => None,
            bytes => Some(bytes as u64),
        };
        let measured =
            Measured { entry, args, caller, has_waited, client, ticks, request_bytes, reply_bytes };
        let mut told = Vec::new();
        if !entry.spec.flags.contains(Flags::SKIP_COMMANDLOG) {
            self.log(measured, &mut told);
        }
        self.count_keys(measured, &mut told);
        self.charge(measured, &mut told);
        if !told.is_empty() {
            tell_size(reply, reply_start, told);
        }
    }

    /// Puts a command into the logs that it belongs in.
    fn log(&mut self, measured: Measured<'_>, told: &mut Vec<Told>) {
        let Measured { entry, args, client, ticks, request_bytes, reply_bytes, .. } = measured;
        let logs = &self.server.observing.logs;
        let (at, shows) = (self.now / 1000, self.settings.log_shows);
        let command = || LoggedCommand {
            at,
            args: shown_args(entry.spec, args, shows),
            address: client.address.clone(),
            client_name: client.names.lock().name.clone(),
        };
        let us = (ticks as f64 / ticks::per_microsecond()) as u64;
        let values = [Some(us), Some(request_bytes), reply_bytes];
        let limits = self.settings.command_logs;
        for ((kind, limits), value) in LogKind::ALL.into_iter().zip(limits).zip(values) {
            match value {
                _ if !limits.is_on() => {}
                Some(value) if limits.from <= value => {
                    let command = command();
                    if measured.has_waited {
                        self.later.push(Later { kind, value, command });
                    } else {
                        logs.of(kind).push(value, command, limits.len_max);
                    }
                }
                Some(_) => {}
                None => {
                    let command = command();
                    told.push(Box::new(move |value| {
                        if limits.from <= value {
                            logs.of(kind).push(value, command, limits.len_max);
                        }
                    }));
                }
            }
        }
    }

    /// Puts in what clients have got that had waited.
    #[inline]
    pub(crate) fn log_waited(&mut self) {
        if !self.later.is_empty() {
            self.log_some_waited();
        }
    }

    #[cold]
    fn log_some_waited(&mut self) {
        for Later { kind, value, command } in self.later.drain(..) {
            let len_max = self.settings.command_logs[kind.index()].len_max;
            self.server.observing.logs.of(kind).push(value, command, len_max);
        }
    }

    /// Counts what a command took for its keys, if somebody wants to know. Those of a script count as the script's.
    fn count_keys(&mut self, measured: Measured<'_>, told: &mut Vec<Told>) {
        let Measured { entry, args, caller, ticks, request_bytes, reply_bytes, .. } = measured;
        let Some(tracking) = self.hot_keys.clone().filter(|_| caller != Caller::Script) else {
            return;
        };
        if !tracking.is_active(self.now) {
            // Its time is over.
            return self.refresh_settings();
        }
        let mut keys: SmallVec<[&[u8]; 8]> = SmallVec::new();
        entry.spec.for_each_key(args, |index| keys.extend(args.get(index)));
        let ratio = tracking.wanted.sample_ratio;
        let is_sampled = ratio == 1 || self.runner.random.below(ratio) == 0;
        let (worker, bytes) = (self.index, request_bytes + reply_bytes.unwrap_or(0));
        tracking.count(worker, Cost { ticks, bytes }, &keys, is_sampled);
        if reply_bytes.is_none() && !keys.is_empty() {
            let keys: Vec<Box<[u8]>> = keys.into_iter().map(Box::from).collect();
            told.push(Box::new(move |bytes| {
                let keys: Vec<&[u8]> = keys.iter().map(|it| &**it).collect();
                tracking.count(worker, Cost { ticks: 0, bytes }, &keys, is_sampled);
            }));
        }
    }
}
