//! Compares replicas with this server: an image is taken where the stream tells replicas to take theirs, and a thread holds
//! the digests of both against each other. No worker waits for any of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rubine_base::clock::{monotonic_millis, monotonic_nanos, unix_millis};
use rubine_base::random::{Random, seed_from_os};
use rubine_journal::ReplicationOffset;
use rubine_keyspace::{ShardSet, Snapshot};
use rubine_replication::failover;
use rubine_replication::leader::{Replica, ReplicaId, State};
use rubine_replication::verify::{
    Answer, BUCKETS, Comparison, Counts, Differences, Digester, LISTED_BUCKETS_MAX, Request, RunId,
    Sender, differing, key_digests,
};
use rubine_storage::{Host as _, Stall};

use crate::process::logging::log;
use crate::replication::image::Image;
use crate::replication::verification::{Answered, Checked, Outcome, Phase, Run};
use crate::server::Server;

const FAILOVER: &str = "a failover is in progress";
/// How often whoever waits for answers looks at anything else.
const LOOK: Duration = Duration::from_millis(100);
/// How long a replica that has come to where the image is taken may say nothing.
const BEGIN_MS: u64 = 10_000;
/// How long a replica of a replica may say nothing: nobody here can see whether it is still there.
const SILENT_MS: u64 = 300_000;
/// Keys that are held against each other at once.
const KEYS_AT_ONCE: usize = 1 << 18;
/// How often one replica is asked for keys.
const ROUNDS_MAX: u32 = 64;
/// Keys that differ are named in the log, up to so many.
const LOGGED_KEYS_MAX: usize = 10;

/// Begins a comparison with all replicas that can be asked. An error says why there is none.
pub(crate) fn start(server: &'static Server) -> Result<(), String> {
    if server.replication.following.is_replica() {
        return Err("this server is a replica: its primary compares".to_owned());
    }
    check_role(server)?;
    let (asked, checked) = candidates(server);
    if checked.is_empty() {
        return Err("there is no replica".to_owned());
    }
    if asked.is_empty() {
        let why = checked.iter().map(|it| match &it.outcome {
            Outcome::Unable(reason) => format!("{} {reason}", it.address),
            _ => it.address.clone(),
        });
        let why: Vec<_> = why.collect();
        return Err(format!("no replica can be compared: {}", why.join("; ")));
    }
    let id = RunId(Random::with_seed(seed_from_os()).next_u64());
    let begun = server.replication.verification.begin(id, unix_millis(), checked);
    let (run, answers) = begun.ok_or("a verification or a repair is in progress")?;
    let for_thread = Arc::clone(&run);
    let work = move || conclude(&for_thread, compare(server, &for_thread, answers, asked));
    if let Err(error) = std::thread::Builder::new().name("verify".to_owned()).spawn(work) {
        let reason = format!("no thread can be started: {error}");
        conclude(&run, Err(reason.clone()));
        return Err(reason);
    }
    log::notice!("Verification of replicas started");
    Ok(())
}

/// Why the stream of this server is not to be added to now, if it is not.
pub(crate) fn check_role(server: &Server) -> Result<(), String> {
    if server.shutdown.is_under_way.load(Ordering::Acquire) {
        return Err("the server ends".to_owned());
    }
    if server.replication.following.is_replica() {
        return Err("this server has become a replica".to_owned());
    }
    if server.replication.failover.lock().phase() != failover::Phase::None {
        return Err(FAILOVER.to_owned());
    }
    Ok(())
}

/// Adds something to the stream of this server, if that may be done now. Nobody hands over in between.
pub(crate) fn in_stream<T>(server: &Server, add: impl FnOnce() -> T) -> Result<T, String> {
    check_role(server)?;
    let failover = server.replication.failover.lock();
    if failover.phase() != failover::Phase::None {
        return Err(FAILOVER.to_owned());
    }
    Ok(add())
}

/// Replicas that can be asked, with their places among all, and all.
fn candidates(server: &Server) -> (Vec<(ReplicaId, usize)>, Vec<Checked>) {
    let (mut asked, mut all) = (Vec::new(), Vec::new());
    server.replication.replicas.with(|leader| {
        for (id, replica) in leader.replicas() {
            let outcome = match replica.state {
                State::Introduced | State::Done => continue,
                _ if !replica.introduction.reads_everything => {
                    Outcome::Unable("is no Rubine, and cannot be asked".to_owned())
                }
                State::Online => {
                    asked.push((id, all.len()));
                    Outcome::Asked
                }
                _ => Outcome::Unable("is synchronizing".to_owned()),
            };
            all.push(checked(replica.name(), outcome));
        }
    });
    (asked, all)
}

fn checked(address: String, outcome: Outcome) -> Checked {
    Checked { address, outcome, counts: Counts::default(), unexamined: 0 }
}

/// A replica that is compared.
struct Peer {
    /// Where it stands in the report.
    index: usize,
    /// Its connection; `None` if its answers are passed on by another replica.
    connection: Option<ReplicaId>,
    /// What it calls itself, once it has said so.
    name: Option<String>,
    /// When something was last heard.
    heard_at: u64,
    digests: Option<Box<[u64]>>,
    /// The last round of keys that is complete.
    listed: u32,
    failure: Option<String>,
}

impl Peer {
    fn new(index: usize, connection: Option<ReplicaId>) -> Self {
        let (name, digests, listed, failure) = Default::default();
        Self { index, connection, name, heard_at: monotonic_millis(), digests, listed, failure }
    }

    fn is_settled(&self) -> bool {
        self.digests.is_some() || self.failure.is_some()
    }
}

/// A comparison as far as it has come.
struct Verifier<'r> {
    server: &'static Server,
    run: &'r Run,
    answers: Receiver<Answered>,
    peers: Vec<Peer>,
    /// Replicas of replicas that have yet to say that they are there.
    missing: u32,
    /// Where the image was taken, and when.
    offset: ReplicationOffset,
    begun_at: u64,
    /// What is held against what a replica lists.
    comparison: Option<Comparison>,
}

fn compare(
    server: &'static Server,
    run: &Run,
    answers: Receiver<Answered>,
    asked: Vec<(ReplicaId, usize)>,
) -> Result<(), String> {
    server.pin(server.config.load().bgsave_cpulist.as_deref());
    let peers = asked.into_iter().map(|(id, index)| Peer::new(index, Some(id))).collect();
    let now = unix_millis();
    let (snapshot, offset) = take_image(server, run, now)?;
    run.report.lock().offset = offset.0;
    let begun_at = monotonic_millis();
    let mut verifier =
        Verifier { server, run, answers, peers, missing: 0, offset, begun_at, comparison: None };
    let mut image = Image::new(snapshot, Digester::new(run.id, now));
    let outcome = verifier.compare(&mut image);
    drop(image);
    // Otherwise replicas give their images up by themselves, when the stream ends or nobody asks any more.
    let _ = tell(server, &Request::End { run: run.id });
    outcome
}

/// Takes the image, and has replicas take theirs at the same place of the stream.
fn take_image(
    server: &'static Server,
    run: &Run,
    now: i64,
) -> Result<(Snapshot, ReplicationOffset), String> {
    let mut locked = server.keyspace.lock(&ShardSet::All);
    let start = monotonic_nanos();
    append(server, &Request::Begin { run: run.id, now })?;
    let offset = server.journal.point().offset;
    let snapshot = locked.snapshot();
    drop(locked);
    server.note_stall(Stall::Snapshot, monotonic_nanos() - start);
    server.journal.notify();
    Ok((snapshot, offset))
}

fn tell(server: &Server, request: &Request) -> Result<(), String> {
    append(server, request)?;
    server.journal.notify();
    Ok(())
}

fn append(server: &Server, request: &Request) -> Result<(), String> {
    let second = (unix_millis() / 1000) as u64;
    let text = request.text();
    let words: [&[u8]; 3] = [b"REPLCONF", b"GETACK", text.as_bytes()];
    in_stream(server, || server.journal.tell_replicas(&words, second)).map(drop)
}

impl Verifier<'_> {
    fn compare(&mut self, image: &mut Image) -> Result<(), String> {
        let (server, run) = (self.server, self.run);
        let check = || check(server, run);
        let (ours, keys) = image.digests(&check)?;
        run.report.lock().keys = keys;
        while 0 < self.missing || !self.peers.iter().all(Peer::is_settled) {
            self.listen(image)?;
        }
        for index in 0..self.peers.len() {
            let Some(theirs) = self.peers[index].digests.take() else { continue };
            let buckets = differing(&ours, &theirs);
            if self.peers[index].failure.is_none() {
                self.list(index, &buckets, image)?;
            }
        }
        self.peers.iter().for_each(|it| self.note_outcome(it));
        Ok(())
    }

    /// Takes in answers for a while, and looks who has gone.
    fn listen(&mut self, image: &Image) -> Result<(), String> {
        match self.answers.recv_timeout(LOOK) {
            Ok(answered) => {
                self.take(answered);
                while let Ok(answered) = self.answers.try_recv() {
                    self.take(answered);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err("nobody can answer".to_owned()),
        }
        check(self.server, self.run)?;
        image.cost()?;
        self.look_after_peers();
        Ok(())
    }

    fn take(&mut self, (connection, sender, answer): Answered) {
        if let Answer::Begun { address, replicas } = &answer {
            self.note_begun(connection, &sender, address);
            self.missing += replicas;
        }
        let is_senders = |it: &&mut Peer| it.name.as_ref() == Some(&sender.name);
        let Some(peer) = self.peers.iter_mut().find(is_senders) else { return };
        peer.heard_at = monotonic_millis();
        match answer {
            Answer::Begun { .. } => {}
            Answer::Digests(digests) => peer.digests = Some(digests),
            Answer::Keys(bytes) => {
                let Some(comparison) = &mut self.comparison else { return };
                let mut report = self.run.report.lock();
                for read in key_digests(&bytes) {
                    match read {
                        Ok(it) => comparison.add_theirs(it, &mut report.differences),
                        Err(error) => peer.failure = Some(error.to_string()),
                    }
                }
            }
            Answer::Listed { round } => peer.listed = round,
            Answer::Refused { reason } => peer.failure = Some(reason),
        }
    }

    /// A replica has its image: one that was asked, or one of theirs.
    fn note_begun(&mut self, connection: ReplicaId, sender: &Sender, address: &str) {
        let is_new = |it: &&mut Peer| it.connection == Some(connection) && it.name.is_none();
        if let Some(peer) = self.peers.iter_mut().find(is_new) {
            // A replica passes on what others say only after it has said so itself: they get the stream through it.
            peer.name = Some(sender.name.clone());
        } else if 0 < self.missing {
            self.missing -= 1;
            let mut report = self.run.report.lock();
            report.replicas.push(checked(address.to_owned(), Outcome::Asked));
            let mut peer = Peer::new(report.replicas.len() - 1, None);
            peer.name = Some(sender.name.clone());
            self.peers.push(peer);
        }
    }

    /// Gives up whoever has gone, and whoever does not come to where the image was taken.
    fn look_after_peers(&mut self) {
        let now = monotonic_millis();
        let timeout_ms = u64::from(self.server.config.load().repl_timeout) * 1000;
        let (offset, waited_ms) = (self.offset, now - self.begun_at);
        let lost = |peer: &Peer| {
            let silent_ms = now - peer.heard_at;
            let Some(id) = peer.connection else {
                return (SILENT_MS < silent_ms).then(|| "says nothing any more".to_owned());
            };
            self.server.replication.replicas.with(|leader| match leader.get(id) {
                None => Some("has lost its link meanwhile".to_owned()),
                Some(Replica { state: State::Online, acknowledged, .. }) => {
                    let behind = offset.0.saturating_sub(acknowledged.0);
                    match behind {
                        _ if peer.name.is_some() => None,
                        0 if BEGIN_MS < silent_ms.min(waited_ms) => {
                            Some("does not answer: it knows of no verification".to_owned())
                        }
                        1.. if timeout_ms < waited_ms => Some(format!(
                            "lags: after {} seconds it is {behind} bytes behind the offset to compare at",
                            waited_ms / 1000
                        )),
                        _ => None,
                    }
                }
                Some(_) => Some("is synchronizing".to_owned()),
            })
        };
        for peer in &mut self.peers {
            if peer.failure.is_none() {
                peer.failure = lost(peer);
            }
        }
        let heard_at = self.peers.iter().map(|it| it.heard_at).max().unwrap_or(0);
        // Nobody here can see how far behind they are, so they may be as late as one that can be seen.
        if 0 < self.missing && timeout_ms < now - heard_at.min(now) {
            let reason = Outcome::Unable("has not been heard of by way of another".to_owned());
            let unknown = format!("{} further replicas of replicas", self.missing);
            self.run.report.lock().replicas.push(checked(unknown, reason));
            self.missing = 0;
        }
    }

    /// Holds the keys of buckets in which a replica differs against its own, some at a time.
    fn list(&mut self, index: usize, buckets: &[u16], image: &mut Image) -> Result<(), String> {
        let keys_in_one = (image.len() / BUCKETS).max(1);
        let at_once = (KEYS_AT_ONCE / keys_in_one).clamp(1, LISTED_BUCKETS_MAX);
        let (server, run) = (self.server, self.run);
        let place = self.peers[index].index;
        let Some(name) = self.peers[index].name.clone() else { return Ok(()) };
        let mut round = 0;
        for buckets in buckets.chunks(at_once) {
            if round == ROUNDS_MAX {
                run.report.lock().replicas[place].unexamined += buckets.len();
                continue;
            }
            round += 1;
            let mut comparison = Comparison::new(place);
            image.list(buckets, &|| check(server, run), |it| comparison.add_ours(it))?;
            self.comparison = Some(comparison);
            let (name, buckets) = (name.clone(), buckets.to_vec());
            tell(server, &Request::List { run: run.id, round, name, buckets })?;
            while self.peers[index].listed != round && self.peers[index].failure.is_none() {
                self.listen(image)?;
            }
            let Some(comparison) = self.comparison.take() else { continue };
            if self.peers[index].failure.is_some() {
                // What it has not listed is not known to be missing.
                return Ok(());
            }
            let mut report = run.report.lock();
            let counts = comparison.end(&mut report.differences);
            let total = &mut report.replicas[place].counts;
            total.other += counts.other;
            total.missing += counts.missing;
            total.extra += counts.extra;
        }
        Ok(())
    }

    fn note_outcome(&self, peer: &Peer) {
        let mut report = self.run.report.lock();
        let checked = &mut report.replicas[peer.index];
        let is_same = checked.counts == Counts::default() && checked.unexamined == 0;
        checked.outcome = match &peer.failure {
            Some(reason) => Outcome::Unable(reason.clone()),
            None if is_same => Outcome::Same,
            None => Outcome::Differs,
        };
    }
}

/// Why to end, if there is a reason.
fn check(server: &Server, run: &Run) -> Result<(), String> {
    if run.is_cancelled() {
        return Err("it was cancelled".to_owned());
    }
    if run.is_overrun() {
        return Err("replicas answer faster than their answers can be looked at".to_owned());
    }
    check_role(server)
}

/// Notes what came of it, and tells the log.
fn conclude(run: &Run, outcome: Result<(), String>) {
    let mut report = run.report.lock();
    report.ended_at = Some(unix_millis());
    report.phase = match outcome {
        Ok(()) => Phase::Done,
        Err(_) if run.is_cancelled() => Phase::Cancelled,
        Err(reason) => Phase::Failed(reason),
    };
    match &report.phase {
        Phase::Failed(reason) => log::warning!("Verification of replicas failed: {reason}"),
        Phase::Cancelled => log::notice!("Verification of replicas cancelled"),
        Phase::Done | Phase::Running => {
            for checked in &report.replicas {
                tell_outcome(checked, report.offset, report.keys);
            }
            tell_keys(&report.differences, &report.replicas);
        }
    }
}

fn tell_outcome(checked: &Checked, offset: u64, keys: u64) {
    let Checked { address, outcome, counts, unexamined } = checked;
    match outcome {
        Outcome::Same | Outcome::Asked => {
            log::notice!("Replica {address} has the same {keys} keys at offset {offset}");
        }
        Outcome::Differs => {
            let Counts { other, missing, extra } = counts;
            let more = match unexamined {
                0 => String::new(),
                _ => format!(", and more: {unexamined} of {BUCKETS} parts were not looked into"),
            };
            log::warning!(
                "Replica {address} differs at offset {offset}: {missing} keys are missing, {extra} are there that should \
                 not be, {other} hold something else{more}"
            );
        }
        Outcome::Unable(reason) => {
            log::warning!("Replica {address} could not be compared: it {reason}");
        }
    }
}

fn tell_keys(differences: &Differences, replicas: &[Checked]) {
    for it in differences.named().iter().take(LOGGED_KEYS_MAX) {
        let address = replicas.get(it.replica).map_or("", |it| it.address.as_str());
        let (kind, key) = (it.kind.name(), it.key.escape_ascii());
        log::warning!("Differs at {address}: database {}, key '{key}' ({kind})", it.db);
    }
}
