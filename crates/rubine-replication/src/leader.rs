//! What a master knows of its replicas, and what follows from it: who waits for a dump, when one is begun and for whom, who
//! is online, who has gone silent. Sends nothing and reads no clock: times are milliseconds of any clock that never steps
//! back.
//!
//! ```text
//! Introduced ──ask──> Waiting ──begin──> Receiving ──dump sent──> Online
//!     └──────────────ask, and the backlog has what it lacks────────^
//! ```
//!
//! A replica may want the stream beside the dump, over two connections (`leader/channels.rs`).

mod channels;

use std::collections::BTreeMap;
use std::fmt;

use rubine_journal::{HistoryId, NotShared, ReplicationOffset};

pub use self::channels::Channels;
use self::channels::Held;

/// Names a replica's connection.
pub type ReplicaId = u64;

/// Full synchronisations of one replica in a row that are begun without delay.
const SYNCS_AT_ONCE_MAX: u32 = 8;
/// A replica that has not begun anew for so long starts with a clean sheet.
const RECURRENCE_MS: u64 = 10 * 60 * 1000;
/// The longest that a replica is made to wait because it begins anew again and again.
const HOLD_OFF_MS_MAX: u64 = 60 * 1000;
/// Replicas that are remembered for it.
const RECURRENCES_MAX: usize = 1000;

/// What a replica has said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is something that a replica may say or not"
)]
pub struct Introduction {
    /// Where it says that it can be reached; without it, where it comes from.
    pub address: Option<String>,
    pub port: u16,
    /// It finds the end of a dump by a mark.
    pub takes_mark: bool,
    /// It knows that a master may have another history than the one that it asked for.
    pub takes_new_history: bool,
    /// Its version: 0x090102 for 9.1.2; `None` if it did not say.
    pub version: Option<u32>,
    /// It reads every version of dumps.
    pub reads_everything: bool,
    /// It wants a dump and nothing after it.
    pub wants_dump_only: bool,
    pub content: Content,
    /// Its id in the cluster that both are in.
    pub node_id: Option<Box<[u8]>>,
    /// It takes the stream beside the dump in this way, and is to have it so.
    pub takes_channels: Option<Channels>,
    /// The connection is for a dump whose stream goes over another one.
    pub is_for_dump: bool,
    /// The connection which the stream of this one's dump goes over, where the replica has named it.
    pub main: Option<ReplicaId>,
    /// The connection which the dump goes over that this one wants the stream of.
    pub dump: Option<ReplicaId>,
}

impl Introduction {
    /// Whether nothing follows the dump on this connection.
    fn ends_with_dump(&self) -> bool {
        self.wants_dump_only || self.is_for_dump
    }
}

/// Which dumps a replica reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// All that there are, or nobody knows better.
    #[default]
    Newest,
    /// Those of a version of Valkey.
    Valkey(u32),
    /// It has not said what it is, and left over so many dumps, each older than the one before.
    Older(u8),
}

/// Older dumps that are tried before the newest is again.
const OLDER_MAX: u8 = 2;

/// What is in a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub has_data: bool,
    pub has_functions: bool,
}

impl Default for Content {
    fn default() -> Self {
        Self { has_data: true, has_functions: true }
    }
}

/// How the end of a dump is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// By its length, which stands in front: it has to be complete before it is sent.
    Counted,
    /// By a mark of 40 bytes that stands in front and at the end.
    Marked,
}

/// Where a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has said who it is, and asked for nothing.
    Introduced,
    /// It waits for a dump to be begun.
    Waiting { since: u64, not_before: u64 },
    /// It gets a dump.
    Receiving { form: Form, is_sending: bool },
    /// It has the dump, and says so with its first acknowledgement.
    Loading,
    /// It waits for a second connection, which its dump will go over.
    AwaitingChannel,
    /// It gets every change, while it gets the dump over another connection, or loads it.
    Beside { channels: Channels, dump: Option<ReplicaId> },
    /// It gets every change.
    Online,
    /// It got the dump that it wanted, and goes.
    Done,
}

impl State {
    /// As INFO and ROLE name it; `None` for what is shown nowhere.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Introduced | Self::Done => None,
            Self::Receiving { form: Form::Counted, is_sending: true } => Some("send_bulk"),
            Self::Waiting { .. } | Self::Receiving { .. } | Self::AwaitingChannel => {
                Some("wait_bgsave")
            }
            Self::Beside { channels: Channels::Dual, .. } => Some("bg_transfer"),
            Self::Beside { channels: Channels::Rdb, .. } => Some("send_bulk_and_stream"),
            Self::Loading | Self::Online => Some("online"),
        }
    }
}

/// One replica, as its master sees it.
#[derive(Clone, Debug)]
pub struct Replica {
    pub introduction: Introduction,
    pub state: State,
    /// The host that its connection comes from.
    pub host: String,
    /// It acknowledges nothing: it speaks the protocol of before PSYNC.
    pub is_silent: bool,
    pub reads: Reads,
    /// Why it gets everything anew, if that is to go over another connection.
    why: Option<WhyFull>,
    /// Up to where it has everything.
    pub acknowledged: ReplicationOffset,
    /// Up to where that is on its disk.
    pub synced: ReplicationOffset,
    /// When it last acknowledged, or went online.
    pub heard_at: u64,
}

impl Replica {
    /// Where others reach it.
    pub fn host(&self) -> &str {
        self.introduction.address.as_deref().unwrap_or(&self.host)
    }

    /// Host and port, as the log names it.
    pub fn name(&self) -> String {
        match self.introduction.port {
            0 => format!("{}:<unknown-replica-port>", self.host()),
            port => format!("{}:{port}", self.host()),
        }
    }

    /// Seconds since it was last heard, for one that gets the stream.
    pub fn lag_seconds(&self, now: u64) -> Option<u64> {
        (self.state == State::Online).then(|| now.saturating_sub(self.heard_at) / 1000)
    }
}

/// What a replica asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Everything, in the words of before PSYNC.
    Sync,
    /// Everything.
    Anew,
    /// What follows what it has.
    After { id: HistoryId, offset: ReplicationOffset },
}

/// Why a replica gets everything anew, in plain words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyFull {
    OldProtocol,
    HasNothing,
    OtherHistory { id: HistoryId, offset: ReplicationOffset, ours: HistoryId },
    NotKept { offset: ReplicationOffset, oldest: u64, end: u64 },
}

impl fmt::Display for WhyFull {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OldProtocol => {
                formatter.write_str("it speaks the old protocol, in which there is nothing else")
            }
            Self::HasNothing => formatter.write_str("it has nothing to go on from"),
            Self::OtherHistory { id, offset, ours } => write!(
                formatter,
                "what it has, up to offset {} of history {id}, is not what there was in {ours}",
                offset.0
            ),
            Self::NotKept { offset, oldest, end } => write!(
                formatter,
                "it has got to offset {}, and the backlog keeps {} bytes, up to {end}",
                offset.0,
                end - oldest
            ),
        }
    }
}

impl WhyFull {
    /// Why a request is not answered from the backlog.
    pub fn of(request: Request, refusal: NotShared, ours: HistoryId) -> Self {
        match (request, refusal) {
            (Request::Sync, _) => Self::OldProtocol,
            (Request::Anew, _) => Self::HasNothing,
            (Request::After { id, offset }, NotShared::History) => {
                Self::OtherHistory { id, offset, ours }
            }
            (Request::After { offset, .. }, NotShared::Range(range)) => {
                Self::NotKept { offset, oldest: range.oldest, end: range.end }
            }
        }
    }
}

/// What the configuration says about all this.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Dumps go to sockets rather than through a file.
    pub is_diskless: bool,
    /// How long a dump waits for more replicas that want it.
    pub delay_ms: u64,
    /// As many as that need not wait any longer; 0 for no such number.
    pub waiting_max: usize,
    /// Who is silent for so long is cut.
    pub timeout_ms: u64,
    /// How long a stream is kept for a replica whose dump has left over a connection that is gone.
    pub grace_ms: u64,
    pub ping_ms: u64,
    /// How long the backlog outlives the last replica; 0 for ever.
    pub backlog_ttl_ms: u64,
    /// This server follows another itself: its master pings, and its backlog stays.
    pub is_replica: bool,
    /// Replicas are not to move on now.
    pub is_quiet: bool,
}

/// Replicas that get one dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub replicas: Vec<ReplicaId>,
    pub form: Form,
    pub content: Content,
    pub reads: Reads,
    /// No replica wants what follows the dump.
    pub is_dump_only: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell all that there is a master still.
    Ping,
    /// Send these an empty line: they wait for a dump.
    KeepAlive(Vec<ReplicaId>),
    /// Begin a dump for these.
    Begin(Transfer),
    /// Close this connection: the replica was not heard of for too long.
    Cut(ReplicaId),
    /// Nobody has come for the stream that follows the dump of this connection: it need not be kept any more.
    GiveUp(ReplicaId),
    /// Nobody will come back for the backlog.
    ForgetBacklog,
}

/// How often a replica has begun anew lately.
#[derive(Clone, Copy, Debug)]
struct Recurrence {
    count: u32,
    last_at: u64,
    /// Dumps over which it has left.
    left_over: u8,
}

/// All that a master knows of its replicas.
#[derive(Debug, Default)]
pub struct Leader {
    replicas: BTreeMap<ReplicaId, Replica>,
    is_transferring: bool,
    pinged_at: u64,
    kept_alive_at: u64,
    /// Since when there has been no replica.
    alone_since: Option<u64>,
    recurrences: BTreeMap<String, Recurrence>,
    /// Dumps whose stream is kept until somebody comes for it.
    held: BTreeMap<ReplicaId, Held>,
}

impl Leader {
    /// All that have asked for something, in the order of their coming.
    pub fn replicas(&self) -> impl Iterator<Item = (ReplicaId, &Replica)> {
        let all = self.replicas.iter().filter(|(_, it)| it.state != State::Introduced);
        all.map(|(id, replica)| (*id, replica))
    }

    /// How many connections are known, with those that have asked for nothing.
    pub fn len(&self) -> usize {
        self.replicas.len()
    }

    pub fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }

    pub fn get(&self, id: ReplicaId) -> Option<&Replica> {
        self.replicas.get(&id)
    }

    /// What a connection from `host` has said of itself, to be added to.
    pub fn introduce(&mut self, id: ReplicaId, host: &str, now: u64) -> &mut Introduction {
        &mut self.entry(id, host, now).introduction
    }

    fn entry(&mut self, id: ReplicaId, host: &str, now: u64) -> &mut Replica {
        self.replicas.entry(id).or_insert_with(|| Replica {
            introduction: Introduction::default(),
            state: State::Introduced,
            host: host.to_owned(),
            is_silent: false,
            reads: Reads::default(),
            why: None,
            acknowledged: ReplicationOffset(0),
            synced: ReplicationOffset(0),
            heard_at: now,
        })
    }

    /// A replica goes on from what it has.
    pub fn go_on(&mut self, id: ReplicaId, host: &str, has: ReplicationOffset, now: u64) {
        let replica = self.entry(id, host, now);
        replica.state = State::Online;
        replica.acknowledged = has;
        replica.heard_at = now;
        let name = replica.name();
        self.alone_since = None;
        self.recurrences.remove(&name);
    }

    /// A replica is to get everything. Returns for how many milliseconds it is put off, because it begins anew again and
    /// again.
    pub fn begin_anew(&mut self, id: ReplicaId, host: &str, request: Request, now: u64) -> u64 {
        let replica = self.entry(id, host, now);
        replica.is_silent = request == Request::Sync;
        let name = replica.name();
        let said = &replica.introduction;
        let is_tool = !said.is_for_dump && (said.wants_dump_only || replica.is_silent);
        let (version, reads_everything) =
            (replica.introduction.version, replica.introduction.reads_everything);
        let hold_off = if is_tool { 0 } else { self.hold_off(&name, now) };
        let left_over = self.recurrences.get(&name).map_or(0, |it| it.left_over);
        let reads = match version {
            _ if reads_everything => Reads::Newest,
            Some(version) => Reads::Valkey(version),
            None if left_over.is_multiple_of(OLDER_MAX + 1) => Reads::Newest,
            None => Reads::Older(left_over % (OLDER_MAX + 1)),
        };
        let not_before = now + hold_off;
        let replica = self.entry(id, host, now);
        replica.reads = reads;
        replica.state = State::Waiting { since: now, not_before };
        self.alone_since = None;
        hold_off
    }

    /// How long a replica is put off that has begun anew so often.
    fn hold_off(&mut self, name: &str, now: u64) -> u64 {
        self.recurrences.retain(|_, it| now < it.last_at + RECURRENCE_MS);
        if RECURRENCES_MAX <= self.recurrences.len() {
            return 0;
        }
        let recurrence = self.recurrences.entry(name.to_owned());
        let recurrence = recurrence.or_insert(Recurrence { count: 0, last_at: now, left_over: 0 });
        recurrence.count += 1;
        recurrence.last_at = now;
        let beyond = recurrence.count.saturating_sub(SYNCS_AT_ONCE_MAX);
        if beyond == 0 { 0 } else { (1000 << beyond.min(16)).min(HOLD_OFF_MS_MAX) }
    }

    /// A connection is gone. Returns another one of the same replica that is of no use by that.
    pub fn leave(&mut self, id: ReplicaId) -> Option<ReplicaId> {
        let replica = self.replicas.remove(&id)?;
        let has_left_over = matches!(
            replica.state,
            State::Receiving { .. } | State::Loading | State::Beside { dump: None, .. }
        );
        if has_left_over && let Some(recurrence) = self.recurrences.get_mut(&replica.name()) {
            // It may not know this version of dumps.
            recurrence.left_over = recurrence.left_over.wrapping_add(1);
        }
        self.leave_other(id, &replica)
    }

    /// What is due now. To be called some times a second.
    pub fn tick(&mut self, now: u64, terms: &Terms) -> Vec<Action> {
        const KEEP_ALIVE_MS: u64 = 1000;
        let mut actions = Vec::new();
        let is_followed = self.replicas().next().is_some();
        if is_followed
            && !terms.is_replica
            && !terms.is_quiet
            && self.pinged_at + terms.ping_ms <= now
        {
            self.pinged_at = now;
            actions.push(Action::Ping);
        }
        if self.kept_alive_at + KEEP_ALIVE_MS <= now {
            self.kept_alive_at = now;
            let waits = |it: &Replica| match it.state {
                State::Waiting { .. } => true,
                State::Receiving { form: Form::Counted, is_sending } => !is_sending,
                _ => false,
            };
            let waiting: Vec<_> =
                self.replicas.iter().filter(|(_, it)| waits(it)).map(|(id, _)| *id).collect();
            if !waiting.is_empty() {
                actions.push(Action::KeepAlive(waiting));
            }
        }
        let is_late = |(id, it): &(&ReplicaId, &Replica)| {
            let is_to_be_heard = match it.state {
                State::Online | State::Loading | State::Beside { dump: None, .. } => !it.is_silent,
                State::AwaitingChannel => !self.has_channel(**id),
                _ => false,
            };
            is_to_be_heard && it.heard_at + terms.timeout_ms < now
        };
        let late = self.replicas.iter().filter(is_late);
        actions.extend(late.map(|(id, _)| Action::Cut(*id)));
        self.tick_held(now, terms, &mut actions);
        actions.extend(self.next_transfer(now, terms).map(Action::Begin));
        if is_followed {
            self.alone_since = None;
        } else {
            let since = *self.alone_since.get_or_insert(now);
            let is_over = terms.backlog_ttl_ms != 0 && since + terms.backlog_ttl_ms < now;
            if is_over && !terms.is_replica {
                actions.push(Action::ForgetBacklog);
            }
        }
        actions
    }

    /// The dump that is to be begun now, if one is.
    pub fn next_transfer(&mut self, now: u64, terms: &Terms) -> Option<Transfer> {
        if self.is_transferring {
            return None;
        }
        let mut waiting: Vec<(ReplicaId, u64, u64)> = Vec::new();
        for (id, replica) in &self.replicas {
            if let State::Waiting { since, not_before } = replica.state {
                waiting.push((*id, since, not_before));
            }
        }
        waiting.retain(|(_, _, not_before)| *not_before <= now);
        let (first, ..) = *waiting.iter().min_by_key(|(_, since, _)| *since)?;
        let form_of = |it: &Replica| match (
            terms.is_diskless
                || it.introduction.content != Content::default()
                || it.introduction.is_for_dump,
            it.introduction.takes_mark,
        ) {
            (true, true) => Form::Marked,
            _ => Form::Counted,
        };
        let of = |id: ReplicaId| &self.replicas[&id];
        let form = form_of(of(first));
        let (content, reads) = (of(first).introduction.content, of(first).reads);
        let fits = |id: ReplicaId| {
            let replica = of(id);
            let said = &replica.introduction;
            form_of(replica) == form && said.content == content && replica.reads == reads
        };
        waiting.retain(|(id, ..)| fits(*id));
        let longest = waiting.iter().map(|(_, since, _)| now.saturating_sub(*since)).max()?;
        let are_enough = terms.waiting_max != 0 && terms.waiting_max <= waiting.len();
        if form == Form::Marked && longest < terms.delay_ms && !are_enough {
            return None;
        }
        let replicas: Vec<_> = waiting.into_iter().map(|(id, ..)| id).collect();
        let is_tool = |said: &Introduction| said.wants_dump_only && !said.is_for_dump;
        let is_dump_only = replicas.iter().all(|id| is_tool(&of(*id).introduction));
        for id in &replicas {
            if let Some(replica) = self.replicas.get_mut(id) {
                replica.state = State::Receiving { form, is_sending: form == Form::Marked };
            }
        }
        self.is_transferring = true;
        Some(Transfer { replicas, form, content, reads, is_dump_only })
    }

    /// Whether a dump is being made.
    pub fn is_transferring(&self) -> bool {
        self.is_transferring
    }

    /// The dump is made: another one may be begun.
    pub fn end_transfer(&mut self) {
        self.is_transferring = false;
    }

    /// A dump whose end is known begins to leave.
    pub fn note_sending(&mut self, id: ReplicaId) {
        if let Some(replica) = self.replicas.get_mut(&id)
            && let State::Receiving { is_sending, .. } = &mut replica.state
        {
            *is_sending = true;
        }
    }

    /// All of the dump has left. Returns whether what follows it may be sent: not before its end was found, where that is
    /// looked for.
    pub fn note_sent(&mut self, id: ReplicaId, now: u64) -> bool {
        let Some(replica) = self.replicas.get_mut(&id) else { return false };
        let State::Receiving { form, .. } = replica.state else { return false };
        replica.heard_at = now;
        replica.state = match form {
            _ if replica.introduction.ends_with_dump() => State::Done,
            Form::Marked if !replica.is_silent => State::Loading,
            _ => State::Online,
        };
        let state = replica.state;
        if state == State::Done {
            self.note_dump_sent(id, now);
        }
        state == State::Online
    }

    /// A replica says that it lives, while it has nothing else to say.
    pub fn hear(&mut self, id: ReplicaId, now: u64) {
        if let Some(replica) = self.replicas.get_mut(&id) {
            replica.heard_at = now;
        }
    }

    /// A replica says what it has. Returns whether it is online by that.
    pub fn acknowledge(
        &mut self,
        id: ReplicaId,
        has: ReplicationOffset,
        synced: Option<ReplicationOffset>,
        now: u64,
    ) -> bool {
        let Some(replica) = self.replicas.get_mut(&id) else { return false };
        replica.heard_at = now;
        replica.acknowledged = replica.acknowledged.max(has);
        replica.synced = replica.synced.max(synced.unwrap_or_default());
        let is_new = matches!(replica.state, State::Loading | State::Beside { .. });
        if is_new {
            replica.state = State::Online;
        }
        is_new
    }

    /// Replicas that were heard within so many seconds.
    pub fn good_count(&self, now: u64, lag_seconds_max: u64) -> usize {
        let is_good = |it: &&Replica| it.lag_seconds(now).is_some_and(|lag| lag <= lag_seconds_max);
        self.replicas.values().filter(is_good).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        is_diskless: true,
        delay_ms: 5000,
        waiting_max: 0,
        timeout_ms: 60_000,
        grace_ms: 60_000,
        ping_ms: 10_000,
        backlog_ttl_ms: 3_600_000,
        is_replica: false,
        is_quiet: false,
    };

    fn waiting(leader: &mut Leader, id: ReplicaId, now: u64) {
        waiting_with(leader, id, None, now);
    }

    fn waiting_with(leader: &mut Leader, id: ReplicaId, version: Option<u32>, now: u64) {
        let said = leader.introduce(id, "10.0.0.1", now);
        said.port = 7000 + id as u16;
        said.takes_mark = true;
        said.version = version;
        leader.begin_anew(id, "10.0.0.1", Request::Anew, now);
    }

    fn begun(actions: &[Action]) -> Vec<ReplicaId> {
        let mut all = actions.iter().filter_map(|it| match it {
            Action::Begin(transfer) => Some(transfer.replicas.clone()),
            _ => None,
        });
        all.next().unwrap_or_default()
    }

    #[test]
    fn a_dump_waits_for_others_and_goes_to_all() {
        let mut leader = Leader::default();
        waiting(&mut leader, 1, 20_000);
        assert_eq!(begun(&leader.tick(21_000, &TERMS)), []);
        waiting(&mut leader, 2, 22_000);
        assert_eq!(begun(&leader.tick(24_999, &TERMS)), []);
        assert_eq!(begun(&leader.tick(25_000, &TERMS)), [1, 2]);
        waiting(&mut leader, 3, 26_000);
        assert_eq!(begun(&leader.tick(40_000, &TERMS)), [], "one at a time");
        leader.end_transfer();
        assert_eq!(begun(&leader.tick(40_000, &TERMS)), [3]);
        assert!(!leader.note_sent(1, 41_000), "it says first that it has found the end");
        assert!(leader.acknowledge(1, ReplicationOffset(10), None, 42_000));
        assert!(!leader.acknowledge(1, ReplicationOffset(9), None, 43_000));
        assert_eq!(leader.get(1).unwrap().acknowledged, ReplicationOffset(10));
        assert_eq!(leader.good_count(53_000, 10), 1);
        assert_eq!(leader.good_count(54_000, 10), 0);
    }

    #[test]
    fn enough_replicas_need_not_wait() {
        let mut leader = Leader::default();
        let terms = Terms { waiting_max: 2, ..TERMS };
        waiting(&mut leader, 1, 0);
        assert_eq!(begun(&leader.tick(10, &terms)), []);
        waiting(&mut leader, 2, 20);
        assert_eq!(begun(&leader.tick(20, &terms)), [1, 2]);
    }

    #[test]
    fn who_needs_another_dump_waits_for_the_next() {
        let mut leader = Leader::default();
        waiting(&mut leader, 1, 0);
        waiting_with(&mut leader, 2, Some(0x09_01_02), 0);
        waiting(&mut leader, 3, 0);
        leader.introduce(3, "", 0).takes_mark = false;
        assert_eq!(begun(&leader.tick(5000, &TERMS)), [1]);
        leader.end_transfer();
        assert_eq!(begun(&leader.tick(5000, &TERMS)), [2]);
        leader.end_transfer();
        let actions = leader.tick(5000, &TERMS);
        assert_eq!(begun(&actions), [3]);
        assert_eq!(leader.get(3).unwrap().state.name(), Some("wait_bgsave"));
        leader.note_sending(3);
        assert_eq!(leader.get(3).unwrap().state.name(), Some("send_bulk"));
        assert!(leader.note_sent(3, 6000), "its end was known: nothing is waited for");
    }

    #[test]
    fn who_begins_anew_again_and_again_is_put_off() {
        let mut leader = Leader::default();
        let mut hold_offs = Vec::new();
        for round in 0..11 {
            leader.introduce(round, "10.0.0.1", 0).port = 7000;
            hold_offs.push(leader.begin_anew(round, "10.0.0.1", Request::Anew, round * 1000));
            leader.leave(round);
        }
        assert_eq!(hold_offs[7..], [0, 2000, 4000, 8000]);
        leader.introduce(20, "10.0.0.1", 0).port = 7000;
        let later = 10_000 + RECURRENCE_MS;
        assert_eq!(leader.begin_anew(20, "10.0.0.1", Request::Anew, later), 0);
        assert_eq!(leader.begin_anew(21, "10.0.0.1", Request::Sync, later), 0);
    }

    #[test]
    fn who_leaves_over_a_dump_gets_an_older_one() {
        let mut leader = Leader::default();
        let terms = Terms { delay_ms: 0, ..TERMS };
        let mut reads = Vec::new();
        for round in 0..4 {
            leader.introduce(round, "10.0.0.1", 0).port = 7000;
            let now = round * 100_000;
            leader.begin_anew(round, "10.0.0.1", Request::Anew, now);
            let transfer = leader.next_transfer(now + HOLD_OFF_MS_MAX, &terms).unwrap();
            reads.push(transfer.reads);
            leader.end_transfer();
            leader.leave(round);
        }
        assert_eq!(reads, [Reads::Newest, Reads::Older(1), Reads::Older(2), Reads::Newest]);
    }

    #[test]
    fn silence_has_an_end() {
        let mut leader = Leader::default();
        leader.go_on(1, "h", ReplicationOffset(5), 1000);
        assert_eq!(leader.tick(10_000, &TERMS), [Action::Ping]);
        assert_eq!(leader.tick(10_001, &TERMS), []);
        let quiet = Terms { is_quiet: true, ..TERMS };
        assert_eq!(leader.tick(30_000, &quiet), []);
        assert_eq!(leader.tick(61_001, &TERMS), [Action::Ping, Action::Cut(1)]);
        leader.leave(1);
        assert_eq!(leader.tick(70_000, &TERMS), []);
        assert_eq!(leader.tick(70_000 + 3_600_000, &TERMS), []);
        assert_eq!(leader.tick(70_001 + 3_600_000, &TERMS), [Action::ForgetBacklog]);
        let replica = Terms { is_replica: true, ..TERMS };
        assert_eq!(leader.tick(80_000 + 3_600_000, &replica), []);
    }

    #[test]
    fn who_waits_for_a_dump_is_kept_alive() {
        let mut leader = Leader::default();
        waiting(&mut leader, 1, 1000);
        let actions = leader.tick(2000, &TERMS);
        assert_eq!(actions, [Action::KeepAlive(vec![1])]);
        assert_eq!(leader.tick(2500, &TERMS), []);
    }
}
