//! What is remembered and shown of a command after it has run: it took long, or its request or reply was large. Most
//! commands never come here: `after_run` compares three numbers.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rubine_commands::{Args, Flags};
use rubine_keyspace::Waiter;
use rubine_resp::writer::{Mark, Reply};
use rubine_system::ticks;

use super::Core;
use super::after_run::{Caller, Ran};
use crate::client::ClientInfo;
use crate::command_table::Entry;
use crate::observing::command_log::{GrowingReply, LogKind, LoggedCommand, shown_args};
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

/// One command that has come to its end, and what it came to.
struct Measured<'a, 'r> {
    entry: &'static Entry,
    args: Args<'a>,
    client: &'a ClientInfo,
    ticks: u64,
    request_bytes: u64,
    reply: &'a mut Reply<'r>,
    reply_start: Mark,
}

impl Core {
    /// Takes over the settings that are in force.
    pub(crate) fn refresh_settings(&mut self) {
        self.refresh_watching();
        self.settings = self.server.settings.load_full();
        self.notable = Notable::of(&self.settings);
        if self.watch.is_on() {
            self.notable.ticks = 0;
        }
    }

    #[cold]
    pub(super) fn observe(&mut self, ran: &mut Ran<'_, '_>, ticks: u64) {
        self.show(ran.client, ran.caller, ran.entry, ran.args);
        let is_fast = ran.entry.spec.flags.contains(Flags::FAST);
        let event = if is_fast { LatencyEvent::FastCommand } else { LatencyEvent::Command };
        self.note_latency(event, ticks);
        if ran.client.suspended.is_some() {
            // It waits; what it comes to is known later.
            return;
        }
        let request_bytes = match ran.caller {
            Caller::Client => ran.args.request_bytes() as u64,
            Caller::Script => 0,
        };
        self.log(Measured {
            entry: ran.entry,
            args: ran.args,
            client: &ran.client.info,
            ticks,
            request_bytes,
            reply: ran.reply,
            reply_start: ran.reply_start,
        });
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
        let Some(client) = self.server.clients.get(waiter.client) else { return };
        let (client, request_bytes) = (&*client, args.request_bytes() as u64);
        self.log(Measured { entry, args, client, ticks, request_bytes, reply, reply_start });
    }

    /// Notes how long something took, if that is worth it.
    pub(crate) fn note_latency(&self, event: LatencyEvent, ticks: u64) {
        self.server.observing.latency.note(event, ticks, self.now);
    }

    /// Puts a command into the logs that it belongs in.
    fn log(&self, measured: Measured<'_, '_>) {
        let Measured { entry, args, client, ticks, request_bytes, reply, reply_start } = measured;
        if entry.spec.flags.contains(Flags::SKIP_COMMANDLOG) {
            return;
        }
        let logs = &self.server.observing.logs;
        let limits = &self.settings.command_logs;
        let command = || LoggedCommand {
            at: self.now / 1000,
            args: shown_args(entry.spec, args),
            address: client.address.clone(),
            client_name: client.names.lock().name.clone(),
        };
        let log = |kind: LogKind, value: u64| {
            let limits = limits[kind.index()];
            if limits.is_on() && limits.from <= value {
                logs.of(kind).push(value, command(), limits.len_max);
            }
        };
        let us = (ticks as f64 / ticks::per_microsecond()) as u64;
        log(LogKind::Slow, us);
        log(LogKind::LargeRequest, request_bytes);
        let reply_bytes = reply.bytes_since(reply_start);
        if reply_bytes < usize::MAX {
            log(LogKind::LargeReply, reply_bytes as u64);
            return;
        }
        let limits = limits[LogKind::LargeReply.index()];
        if limits.is_on() {
            // How large it is comes out while the client reads it.
            let bytes = AtomicU64::new(0);
            let growing = Arc::new(GrowingReply { logs, limits, command: command(), bytes });
            let written =
                reply.wrap_streams_since(reply_start, |it| GrowingReply::count(&growing, it));
            growing.bytes.fetch_add(written as u64, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
