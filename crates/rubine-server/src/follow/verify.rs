//! A replica's part in the comparison with its master: it takes an image where the stream says so, and a thread of its own
//! tells the master the digests of what is in it. Neither the stream nor any worker waits for that.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rubine_base::clock::monotonic_nanos;
use rubine_commands::Args;
use rubine_keyspace::{Locked, Snapshot};
use rubine_replication::leader::{Replica, State};
use rubine_replication::verify::{Answer, Digester, Request, RunId, Sender, write_key_digest};
use rubine_storage::{Host as _, Stall};

use crate::replication::image::Image;
use crate::server::Server;

/// Requests that wait while one is worked on. The master makes one at a time.
const REQUESTS_MAX: usize = 4;
/// An image for which nothing is asked for so long is given up.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// How often it is looked whether somebody still wants it.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes of keys that are told at once.
const KEYS_BYTES: usize = 64 * 1024;

/// What is asked in the place of REPLCONF GETACK, if it is that.
pub(super) fn request_of(args: Args<'_>) -> Option<Request> {
    let is_asked = args.len() == 3 && args.at(1).eq_ignore_ascii_case(b"GETACK");
    if is_asked { Request::parse(args.at(2)) } else { None }
}

/// The image that is kept for a comparison.
pub(super) struct Verifying {
    server: &'static Server,
    kept: Option<Kept>,
}

struct Kept {
    run: RunId,
    requests: SyncSender<Request>,
    /// Nobody wants it any more.
    is_over: Arc<AtomicBool>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Verifying {
    pub(super) fn new(server: &'static Server) -> Self {
        Self { server, kept: None }
    }

    /// The stream is over, and with it what was asked in it.
    pub(super) fn abandon(&mut self) {
        self.kept = None;
    }

    /// Does what the master asks for at this place of the stream. All shards are locked where an image is to be taken.
    pub(super) fn take(&mut self, request: Request, locked: &mut Locked<'_>) {
        match request {
            Request::Begin { run, now } => {
                self.kept = None;
                self.begin(run, now, locked);
            }
            Request::List { run, .. } => {
                let kept = self.kept.as_ref().filter(|it| it.run == run);
                // Whoever asks for more than can wait asks in vain, and gives up.
                if kept.is_some_and(|it| it.requests.try_send(request).is_err()) {
                    self.kept = None;
                }
            }
            Request::End { run } => self.kept = self.kept.take().filter(|it| it.run != run),
        }
    }

    fn begin(&mut self, run: RunId, now: i64, locked: &mut Locked<'_>) {
        let server = self.server;
        let Some(stream) = server.replication.outbox.stream() else { return };
        let start = monotonic_nanos();
        let snapshot = locked.snapshot();
        server.note_stall(Stall::Snapshot, monotonic_nanos() - start);
        let (requests, receiver) = sync_channel(REQUESTS_MAX);
        let is_over = Arc::new(AtomicBool::new(false));
        let sender = Sender { run, name: server.process.run_id.clone() };
        let answering = Answering { server, stream, sender, is_over: Arc::clone(&is_over) };
        let digester = Digester::new(run, now);
        let run_thread = move || answering.run(snapshot, digester, &receiver);
        match std::thread::Builder::new().name("verify".to_owned()).spawn(run_thread) {
            Ok(_) => self.kept = Some(Kept { run, requests, is_over }),
            Err(error) => tracing::warn!("Can't compare with the primary: no thread: {error}"),
        }
    }
}

/// Tells the master what is in an image.
struct Answering {
    server: &'static Server,
    stream: u64,
    sender: Sender,
    is_over: Arc<AtomicBool>,
}

impl Answering {
    fn run(self, snapshot: Snapshot, digester: Digester, requests: &Receiver<Request>) {
        tracing::info!("The primary compares what this replica has with what it has itself");
        let replicas = self.server.replication.replicas.with(|it| {
            let answers =
                |it: &Replica| it.state == State::Online && it.introduction.reads_everything;
            it.replicas().filter(|(_, it)| answers(it)).count() as u32
        });
        if self.tell(&Answer::Begun { address: String::new(), replicas }).is_break() {
            return;
        }
        let mut image = Image::new(snapshot, digester);
        let answer = match image.digests(&|| self.check()) {
            Ok((digests, _)) => Answer::Digests(digests),
            Err(reason) => Answer::Refused { reason },
        };
        if self.tell(&answer).is_break() {
            return;
        }
        while self.answer_next(&mut image, requests).is_continue() {}
    }

    fn answer_next(&self, image: &mut Image, requests: &Receiver<Request>) -> ControlFlow<()> {
        let mut waited = Duration::ZERO;
        let request = loop {
            match requests.recv_timeout(LOOK) {
                Ok(request) => break request,
                Err(RecvTimeoutError::Disconnected) => return ControlFlow::Break(()),
                Err(RecvTimeoutError::Timeout) => waited += LOOK,
            }
            if let Err(reason) = image.cost() {
                return self.refuse(reason);
            }
            if self.check().is_err() || KEPT_FOR <= waited {
                return ControlFlow::Break(());
            }
        };
        let Request::List { round, name, buckets, .. } = request else {
            return ControlFlow::Break(());
        };
        if name != self.sender.name {
            return ControlFlow::Continue(());
        }
        let mut bytes = Vec::new();
        let mut flow = ControlFlow::Continue(());
        let listed = image.list(&buckets, &|| self.check(), |it| {
            write_key_digest(it, &mut bytes);
            if KEYS_BYTES <= bytes.len() && flow.is_continue() {
                flow = self.tell(&Answer::Keys(std::mem::take(&mut bytes).into()));
            }
        });
        if let Err(reason) = listed {
            return self.refuse(reason);
        }
        flow?;
        if !bytes.is_empty() {
            self.tell(&Answer::Keys(bytes.into()))?;
        }
        self.tell(&Answer::Listed { round })
    }

    fn refuse(&self, reason: String) -> ControlFlow<()> {
        // Whether that arrives or not, it is over.
        let _ = self.tell(&Answer::Refused { reason });
        ControlFlow::Break(())
    }

    /// Why to end, if somebody wants that.
    fn check(&self) -> Result<(), String> {
        let is_over = self.is_over.load(Ordering::Relaxed)
            || self.server.shutdown.is_under_way.load(Ordering::Acquire);
        if is_over { Err("it is not wanted any more".to_owned()) } else { Ok(()) }
    }

    /// Has the master told something, as soon as there is room for it.
    fn tell(&self, answer: &Answer) -> ControlFlow<()> {
        let replication = &self.server.replication;
        let message = answer.command(&self.sender);
        if !replication.outbox.put(self.stream, message, || self.check().is_ok()) {
            return ControlFlow::Break(());
        }
        replication.following.wake();
        ControlFlow::Continue(())
    }
}
