//! Running commands that no client has asked for: those of a log, and those of slots that are being taken in. Writes no
//! journal, wakes no client and tells nobody of an event.

use rubine_base::random::seed_from_os;
use rubine_commands::{Args, ClientFacts, Command, CommandResult, Occasion, Runner};
use rubine_keyspace::{Changes, DueKeys, Locked, ViewOptions};
use rubine_resp::writer::{Output, Protocol, Reply};

use crate::settings::Settings;

/// An output that was longer is not kept for the next reply.
const KEPT_OUTPUT_BYTES_MAX: usize = 64 * 1024;

pub(crate) struct SilentRunner {
    runner: Runner,
    output: Output,
}

impl SilentRunner {
    pub(crate) fn new() -> Self {
        Self { runner: Runner::new(seed_from_os()), output: Output::new() }
    }

    /// Runs a command under the locks of its shards, at Unix milliseconds `now`. What it replies is nothing to anybody.
    pub(crate) fn run(
        &mut self,
        settings: &Settings,
        command: &Command,
        (db, now): (usize, i64),
        args: Args<'_>,
        locked: &mut Locked<'_>,
    ) -> CommandResult {
        let protocol = Protocol::Resp2;
        let occasion = Occasion {
            db,
            now,
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
        // What was sent in another life is not sent again: its removal follows.
        self.runner.effects.shipment = None;
        self.runner.changes = Changes::default();
    }
}
