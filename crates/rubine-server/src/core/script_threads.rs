//! Scripts that take long run on threads of their own, so that the clients of their worker are served meanwhile. The unit
//! that a script is a part of goes there with its locks, and comes back when the script has ended.

use std::sync::Arc;

use rubine_commands::Args;
use rubine_keyspace::Locked;
use rubine_resp::writer::{Output, Reply};
use rubine_scripting::Interpreter;
use rubine_system::process;
use rubine_system::ticks;

use super::debugging::Debugging;
use super::scripts::{Long, SHORT_MAX_US, ScriptRun, Venue};
use super::{Core, Session, SessionHandler};
use crate::client::Client;
use crate::client::away::{Ended, Progress, Ran, ScriptDebug, Slot};
use crate::client::request::OwnedArgs;
use crate::client::slot::RequestSlot;
use crate::client::suspension::{Brought, Reason};
use crate::mailbox::Message;
use crate::server::{Debugged, Job, Server};

impl Session<'_> {
    /// What has become of the client's script on another thread, if it has been there.
    pub(crate) fn take_ran(&mut self) -> Option<(Box<Ran>, Option<Box<Progress>>)> {
        match self.client.brought.take() {
            Some(Brought::Ran(ran, progress)) => Some((ran, progress)),
            brought => {
                self.client.brought = brought;
                None
            }
        }
    }

    /// Leave to run a script on another thread. `None` if all of them are busy: then the command is suspended, and has to end
    /// without a reply.
    pub(crate) fn take_slot(&mut self) -> Option<Slot> {
        let slot = self.core.take_slot(self.client);
        if slot.is_none() {
            self.wait_for_slot();
        }
        slot
    }

    /// What the debugger is to run the client's script with, if it is to.
    pub(crate) fn debugged(&self) -> Option<Debugged> {
        let is_kept = match self.client.debugging {
            ScriptDebug::Off => return None,
            ScriptDebug::Undone => false,
            ScriptDebug::Kept => true,
        };
        match self.client.socket.duplicate() {
            Ok(connection) => Some(Debugged { connection, is_kept }),
            Err(error) => {
                tracing::warn!("A script can't be debugged: {error}");
                None
            }
        }
    }

    /// Suspends the command until its turn at the threads for scripts comes.
    pub(crate) fn wait_for_slot(&mut self) {
        self.core.suspend(self.client, Some(self.args), Reason::ScriptThread);
    }
}

impl Core {
    /// Leave to run a script on another thread. `None` if all of them are busy: then the client is to wait for one.
    pub(crate) fn take_slot(&mut self, client: &mut Client) -> Option<Slot> {
        match client.brought.take() {
            Some(Brought::Slot(slot)) => return Some(slot),
            brought => client.brought = brought,
        }
        let Server { scripting, workers, .. } = self.server;
        scripting.threads.take_place(workers, self.index, client.id)
    }

    /// Has a script run on another thread, within the unit that has begun. `request` goes on when the script has ended; if
    /// that is a transaction, from where `progress` says.
    pub(crate) fn run_elsewhere(
        &mut self,
        client: &mut Client,
        request: Args<'_>,
        (long, command): (Long, Args<'_>),
        progress: Option<Box<Progress>>,
        locked: Locked<'static>,
        slot: Slot,
    ) {
        let Long { given, rules, key_count, debugged } = long;
        let away = self.send_away(locked);
        let (worker, likeness) = (self.index, client.likeness());
        let command = OwnedArgs::together(command);
        self.suspend(client, Some(request), Reason::Scripting(progress));
        let (server, handlers) = (self.server, self.handlers);
        // What was shown before comes before what the script does.
        self.send_lines();
        let threads = &server.scripting.threads;
        let job = Job {
            worker,
            client: likeness,
            given,
            rules,
            command,
            key_count,
            away,
            slot,
            debugged,
        };
        let Some(number) = threads.push(job) else { return };
        let start = || {
            let (info, identity) = (Arc::clone(&client.info), client.identity.clone());
            let stand_in = Client::without_connection(info, identity)?;
            let thread = std::thread::Builder::new().name(format!("script {number}"));
            thread.spawn(move || serve(server, handlers, number, stand_in))
        };
        let Err(error) = start() else { return };
        tracing::warn!("A script can't run for long: no thread can be started: {error}");
        if let Some(job) = threads.note_lack(number) {
            let mut reply = Output::new();
            Reply::new(&mut reply, job.client.protocol()).error("ERR no thread can be started");
            answer(server, job, Ended::Replied, reply, Box::default(), 0, None);
        }
    }

    /// Runs a script for a client of a worker.
    fn run_job(&mut self, stand_in: &mut Client, mut job: Job) {
        let start = ticks::now();
        self.refresh_settings();
        let mut locked = self.take_up(job.away);
        self.start_clock();
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, stand_in.protocol);
        let mut interpreter = self.take_interpreter();
        let command = job.command.as_args();
        let (ended, name) = match self.prepare_script(&mut interpreter, job.given, command) {
            Err(error) => {
                reply.error_bytes(&error.reply());
                (Ended::Replied, Box::default())
            }
            Ok((prepared, name)) if prepared.flags != job.rules.flags => (Ended::Stale, name),
            Ok((prepared, name)) => {
                let (given, rules, key_count) = (job.given, job.rules, job.key_count);
                let run = ScriptRun { prepared, given, rules, name, command, key_count };
                let interpreter = &mut interpreter;
                let (reply, locked) = (&mut reply, &mut locked);
                let ended = if let Some(debugged) = job.debugged.take() {
                    self.debug_script(stand_in, interpreter, &run, debugged, reply, locked)
                } else {
                    let setting = Venue::Thread;
                    self.run_script(stand_in, interpreter, &run, setting, reply, locked)
                };
                (ended, run.name)
            }
        };
        // It is not to run for long again and again in vain.
        let ended = if ended == Ended::NeedsMore { Ended::NeedsAll } else { ended };
        self.keep_interpreter(interpreter);
        self.send_lines();
        job.away = self.send_away(locked);
        let used = self.noted_slot();
        answer(self.server, job, ended, output, name, ticks::now().wrapping_sub(start), used);
    }
}

impl Core {
    /// Runs a script as the client wants it who debugs.
    fn debug_script(
        &mut self,
        stand_in: &mut Client,
        interpreter: &mut Interpreter,
        run: &ScriptRun<'_>,
        debugged: Debugged,
        reply: &mut Reply<'_>,
        locked: &mut Locked<'static>,
    ) -> Ended {
        let Debugged { connection, is_kept } = debugged;
        let mut debugging = Debugging::new(self.server, connection);
        let mark = self.mark();
        let setting = Venue::Debugger(&mut debugging);
        let ended = self.run_script(stand_in, interpreter, run, setting, reply, locked);
        if !is_kept {
            self.undo_to(&mark, locked);
        }
        if ended == Ended::Replied {
            debugging.end();
        }
        ended
    }
}

/// Sends a script's unit back to the worker that it came from.
fn answer(
    server: &Server,
    job: Job,
    ended: Ended,
    reply: Output,
    name: Box<[u8]>,
    spent_ticks: u64,
    used: Option<RequestSlot>,
) {
    let Job { worker, client, away, slot, .. } = job;
    let was_short = (spent_ticks as f64) < ticks::per_microsecond() * SHORT_MAX_US / 2.0;
    let ran = Box::new(Ran { away, ended, reply, name, spent_ticks, used, was_short });
    server.workers[worker].send(Message::ScriptRan { client: client.id(), ran });
    drop(slot);
}

/// A thread's life. It ends when there has been nothing to do for a while.
fn serve(
    server: &'static Server,
    handlers: &'static [SessionHandler],
    number: usize,
    mut stand_in: Client,
) {
    process::yield_to_others();
    let mut core = Core::new(server, handlers, server.workers.len() + number);
    let threads = Arc::clone(&server.scripting.threads);
    while let Some(job) = threads.next(number) {
        stand_in.take_on(job.client.clone());
        core.run_job(&mut stand_in, job);
    }
    for counter in [&core.stats().script_bytes, &core.stats().function_bytes] {
        counter.set(0);
    }
}
