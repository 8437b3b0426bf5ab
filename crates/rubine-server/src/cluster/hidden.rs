//! Running commands on keys that nobody sees yet: those of slots that are being taken in, wherever they come from. Writes no
//! journal, wakes no client and tells nobody of an event.

use rubine_base::clock::unix_millis;
use rubine_base::crc::slot_of;
use rubine_base::number::parse_u64;
use rubine_cluster::slots::SlotSet;
use rubine_commands::{Args, ClientFacts, Command, CommandResult, Occasion, Runner, Scope};
use rubine_keyspace::{Changes, DueKeys, Locked, ViewOptions};
use rubine_resp::writer::{Output, Protocol, Reply};

use crate::command_table::Entry;
use crate::settings::Settings;

/// An output that was longer is not kept for the next reply.
const KEPT_OUTPUT_BYTES_MAX: usize = 64 * 1024;

pub(crate) struct HiddenRunner {
    runner: Runner,
    output: Output,
}

impl HiddenRunner {
    pub(crate) fn new() -> Self {
        Self { runner: Runner::new(rubine_base::random::seed_from_os()), output: Output::new() }
    }

    /// Runs a command under the locks of its shards. What it replies is nothing to anybody.
    pub(crate) fn run(
        &mut self,
        settings: &Settings,
        command: &Command,
        db: usize,
        args: Args<'_>,
        locked: &mut Locked<'_>,
    ) -> CommandResult {
        let protocol = Protocol::Resp2;
        let occasion = Occasion {
            db,
            now: unix_millis(),
            limits: &settings.limits,
            access: settings.access,
            view: ViewOptions { notes_access: true, due_keys: DueKeys::Shown },
            client: ClientFacts {
                protocol,
                may_wait: false,
                is_script: false,
                steps_at_once_max: u64::MAX,
                is_trusted: true,
                reads_every_key: true,
            },
        };
        let start = self.output.mark();
        let mut reply = Reply::new(&mut self.output, protocol);
        let result = self.runner.run(command, &occasion, &mut reply, args, locked);
        self.output.truncate_to(start);
        self.forget();
        result
    }

    /// Forgets what a client would get, and what else would follow.
    fn forget(&mut self) {
        if KEPT_OUTPUT_BYTES_MAX < self.output.buffered_bytes() {
            self.output = Output::new();
        }
        self.runner.effects.events.clear();
        self.runner.effects.wait = None;
        self.runner.effects.shipment = None;
        self.runner.changes = Changes::default();
    }
}

/// Whether a command is about keys, and all of them are of these slots.
pub(crate) fn is_about(entry: &Entry, args: Args<'_>, slots: &SlotSet) -> bool {
    match entry.spec.scope {
        Scope::Slot(index) => {
            let slot = args.get(index).and_then(parse_u64).and_then(|it| u16::try_from(it).ok());
            slot.is_some_and(|it| slots.contains(it))
        }
        Scope::Keys => {
            let (mut is_any, mut are_all) = (false, true);
            entry.spec.for_each_key(args, |index| {
                is_any = true;
                are_all &= slots.contains(slot_of(args.at(index)));
            });
            is_any && are_all
        }
        _ => false,
    }
}
