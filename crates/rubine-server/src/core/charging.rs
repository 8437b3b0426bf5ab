//! What a request takes of time and bytes, charged to the slot of its keys: CLUSTER SLOT-STATS shows it. While nothing is
//! counted, nothing comes here.
//!
//! A transaction and a script are charged as one request: their commands' time is theirs, and so is the reply. A script that
//! may use several slots is charged to none.

use std::sync::Arc;

use rubine_base::crc::slot_of;
use rubine_commands::{Args, Flags, SlotUsage, SlotUsageCounts};
use rubine_resp::command::command_len;
use rubine_system::ticks;

use super::Core;
use super::after_run::Caller;
use super::observe::Measured;
use crate::client::slot::RequestSlot;
use crate::client::subscriptions::ChannelKind;
use crate::command_table::Entry;
use crate::observing::growing_reply::Told;
use crate::pubsub::Notice;
use crate::server::Server;

/// What MULTI takes, which is charged with its EXEC.
const MULTI_BYTES: u64 = 15;

/// What one worker charges to slots.
#[derive(Default)]
pub(super) struct Charging {
    /// Where it is counted, while it is.
    counts: Option<Arc<SlotUsageCounts>>,
    /// The slot of the transaction or script that has just run, which its request does not tell.
    ran: Option<RequestSlot>,
    /// What the command that runs has given to replicas, bytes for each of them.
    replicated: u64,
}

impl Charging {
    pub(super) fn of(server: &Server, thread: usize) -> Self {
        let cluster = server.cluster.as_ref();
        let counts = cluster.and_then(|it| it.usages().counts_of(thread));
        Self { counts, ..Self::default() }
    }

    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.counts.is_some()
    }

    /// What is given to replicas belongs to somebody else's command from here on. Returns what belonged to this one's.
    pub(super) fn set_apart(&mut self) -> u64 {
        std::mem::take(&mut self.replicated)
    }

    /// It belongs to this one's again, who had so much before.
    pub(super) fn resume(&mut self, replicated: u64) {
        self.replicated = replicated;
    }

    fn add(&self, slot: RequestSlot, usage: SlotUsage) {
        if let (Some(counts), RequestSlot::One(slot)) = (&self.counts, slot) {
            counts.add(slot, usage);
        }
    }
}

impl Core {
    /// Takes over whether anything is charged.
    pub(super) fn refresh_charging(&mut self) {
        self.charging = Charging::of(self.server, self.index);
    }

    /// The transaction or script that has run is charged to a slot.
    #[inline]
    pub(crate) fn note_slot(&mut self, slot: RequestSlot) {
        if self.charging.is_on() {
            self.charging.ran = Some(slot);
        }
    }

    /// That which was noted.
    pub(crate) fn noted_slot(&mut self) -> Option<RequestSlot> {
        self.charging.ran.take()
    }

    /// Something goes to the journal, and from there to replicas.
    #[cold]
    pub(super) fn note_replicated(&mut self) {
        self.charging.replicated += self.runner.effects.journal.byte_count() as u64;
    }

    /// Charges a request that has been answered.
    pub(super) fn charge(&mut self, measured: Measured<'_>, told: &mut Vec<Told>) {
        let Measured { entry, args, caller, ticks, request_bytes, reply_bytes, .. } = measured;
        if !self.charging.is_on() || caller == Caller::Script {
            return;
        }
        let ran = self.charging.ran.take();
        if caller == Caller::Transaction {
            // It is a part of what EXEC takes.
            return;
        }
        let slot = ran.unwrap_or_else(|| RequestSlot::of(entry.spec, args));
        let runs_queue = entry.spec.flags.contains(Flags::RUNS_QUEUE);
        let bytes_in = request_bytes + if runs_queue { MULTI_BYTES } else { 0 };
        let bytes_out = reply_bytes.unwrap_or(0) + self.take_replicated();
        let cpu_us = self.growth_us(entry, ticks);
        self.charging.add(slot, SlotUsage { cpu_us, bytes_in, bytes_out });
        if reply_bytes.is_none()
            && let (Some(counts), RequestSlot::One(slot)) = (self.charging.counts.clone(), slot)
        {
            told.push(Box::new(move |bytes_out| {
                counts.add(slot, SlotUsage { bytes_out, ..SlotUsage::default() });
            }));
        }
    }

    /// By how many whole microseconds the time of a command has grown with its last `ticks`: what is charged to slots comes
    /// to what INFO commandstats has, although most commands take less than one.
    fn growth_us(&self, entry: &'static Entry, ticks: u64) -> u64 {
        let us = |ticks: u64| (ticks as f64 / ticks::per_microsecond()) as u64;
        let total = self.stats().commands[entry.number].ticks.get();
        us(total) - us(total.saturating_sub(ticks))
    }

    /// Charges what came with a request that was queued or refused.
    #[cold]
    pub(crate) fn charge_request(&mut self, entry: &'static Entry, args: Args<'_>) {
        if entry.spec.takes(args.len()) {
            let bytes_in = args.request_bytes() as u64;
            let usage = SlotUsage { bytes_in, ..SlotUsage::default() };
            self.charging.add(RequestSlot::of(entry.spec, args), usage);
        }
    }

    /// Charges what a command that had waited has given to replicas.
    pub(super) fn charge_replicated(&mut self, entry: &'static Entry, args: Args<'_>) {
        let bytes_out = self.take_replicated();
        if 0 < bytes_out {
            let usage = SlotUsage { bytes_out, ..SlotUsage::default() };
            self.charging.add(RequestSlot::of(entry.spec, args), usage);
        }
    }

    /// What the command has given to replicas, to all of them together.
    fn take_replicated(&mut self) -> u64 {
        let bytes = std::mem::take(&mut self.charging.replicated);
        bytes * self.server.replication.replicas.known_count() as u64
    }

    /// Whether requests are charged to slots.
    #[inline]
    pub(crate) fn charges(&self) -> bool {
        self.charging.is_on()
    }

    /// Charges a message of a channel that belongs to a slot to it, for each client that gets it.
    #[inline]
    pub(super) fn charge_message(&self, notice: Notice<'_>, receivers: usize) {
        if let Some(counts) = &self.charging.counts {
            charge_message(counts, notice, receivers);
        }
    }
}

/// Charges a message, which came from anywhere.
#[cold]
pub(crate) fn charge_message(counts: &SlotUsageCounts, notice: Notice<'_>, receivers: usize) {
    let Notice { kind, channel, payload, .. } = notice;
    if kind == ChannelKind::ShardChannel {
        let bytes = command_len([b"smessage", channel, payload].into_iter()) * receivers;
        let usage = SlotUsage { bytes_out: bytes as u64, ..SlotUsage::default() };
        counts.add(slot_of(channel), usage);
    }
}
