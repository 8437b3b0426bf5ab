//! Replicas that take the stream beside the dump, over two connections. In Valkey's way what follows the dump is held until the
//! first connection asks for it; in Redis's it is sent over the first one at once. Holds no bytes itself.

use rubine_journal::ReplicationOffset;

use super::{Action, Leader, Replica, ReplicaId, State, Terms, WhyFull};

/// How dump and stream go over two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// As in Valkey.
    Dual,
    /// As in Redis.
    Rdb,
}

/// What follows a dump, and nobody has come for yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    /// Since when the connection of the dump is gone.
    gone_since: Option<u64>,
}

impl Leader {
    /// A replica that cannot go on is to make a second connection. Why, is told when it has.
    pub fn send_apart(&mut self, id: ReplicaId, host: &str, why: WhyFull, now: u64) {
        let replica = self.entry(id, host, now);
        replica.why = Some(why);
        replica.heard_at = now;
        if replica.introduction.takes_channels == Some(Channels::Rdb) {
            replica.state = State::AwaitingChannel;
            self.alone_since = None;
        }
    }

    /// Why the dump is needed that this connection asks for, where the replica's other one has told.
    pub fn why_apart(&self, dump: ReplicaId) -> Option<WhyFull> {
        let replica = self.replicas.get(&dump).filter(|it| it.introduction.is_for_dump)?;
        if let Some(main) = replica.introduction.main {
            return self.replicas.get(&main)?.why;
        }
        let name = replica.name();
        let mut others = self.replicas.iter().filter(|(id, _)| **id != dump).rev();
        others.find_map(|(_, it)| it.why.filter(|_| it.name() == name))
    }

    /// Whether a connection waits for a second one.
    pub fn is_awaiting_channel(&self, id: ReplicaId) -> bool {
        self.replicas.get(&id).is_some_and(|it| it.state == State::AwaitingChannel)
    }

    pub(super) fn has_channel(&self, main: ReplicaId) -> bool {
        self.replicas.values().any(|it| it.introduction.main == Some(main))
    }

    /// What follows the dump of this connection is held.
    pub fn hold(&mut self, dump: ReplicaId) {
        self.held.insert(dump, Held::default());
    }

    /// Whether it is.
    pub fn is_held(&self, dump: ReplicaId) -> bool {
        self.held.contains_key(&dump)
    }

    /// How many such streams are held.
    pub fn held_count(&self) -> usize {
        self.held.len()
    }

    /// It need not be held any more, or cannot be.
    pub fn release(&mut self, dump: ReplicaId) {
        self.held.remove(&dump);
    }

    /// A replica has come for the stream that is held beside the dump of another connection. It has everything up to there
    /// when it has loaded that.
    pub fn attach(&mut self, main: ReplicaId, host: &str, dump: ReplicaId, now: u64) {
        self.release(dump);
        self.begin_beside(main, host, Channels::Dual, dump, now);
    }

    /// A replica gets the stream from now on, beside the dump of another connection.
    pub fn begin_beside(
        &mut self,
        main: ReplicaId,
        host: &str,
        channels: Channels,
        dump: ReplicaId,
        now: u64,
    ) {
        let other = self.replicas.get(&dump);
        let is_coming = other.is_some_and(|it| it.state != State::Done);
        let replica = self.entry(main, host, now);
        replica.state = State::Beside { channels, dump: is_coming.then_some(dump) };
        replica.acknowledged = ReplicationOffset(0);
        replica.heard_at = now;
        self.alone_since = None;
    }

    /// Whether a connection is shown as a part of another one.
    pub fn is_part_of_other(&self, id: ReplicaId) -> bool {
        let main = self.replicas.get(&id).and_then(|it| it.introduction.main);
        main.is_some_and(|it| self.replicas.contains_key(&it))
    }

    /// All of a dump has left. Its replica, which may load it now, is to be heard of from now on.
    pub(super) fn note_dump_sent(&mut self, dump: ReplicaId, now: u64) {
        for replica in self.replicas.values_mut() {
            if let State::Beside { dump: of, .. } = &mut replica.state
                && *of == Some(dump)
            {
                *of = None;
                replica.heard_at = now;
            }
        }
    }

    /// What becomes of the other connection of a replica that one is gone of. Returns it if it is of no use.
    pub(super) fn leave_other(&mut self, id: ReplicaId, replica: &Replica) -> Option<ReplicaId> {
        let is_there = |it: &ReplicaId| self.replicas.contains_key(it);
        match replica.state {
            State::Beside { dump, .. } => return dump.filter(is_there),
            State::AwaitingChannel => {
                let is_its = |it: &Replica| it.introduction.main == Some(id);
                return self.replicas.iter().find(|(_, it)| is_its(it)).map(|(id, _)| *id);
            }
            _ => {}
        }
        let is_asked_for = matches!(replica.state, State::Waiting { .. } | State::Receiving { .. });
        if !is_asked_for || !replica.introduction.is_for_dump {
            return None;
        }
        // Half a dump is none.
        self.release(id);
        let is_beside =
            |it: &Replica| matches!(it.state, State::Beside { dump, .. } if dump == Some(id));
        let mut mains = self.replicas.iter().filter(|(_, it)| is_beside(it)).map(|(id, _)| *id);
        mains.next().or(replica.introduction.main).filter(|it| self.replicas.contains_key(it))
    }

    pub(super) fn tick_held(&mut self, now: u64, terms: &Terms, actions: &mut Vec<Action>) {
        for (dump, held) in &mut self.held {
            if self.replicas.contains_key(dump) {
                continue;
            }
            let since = *held.gone_since.get_or_insert(now);
            if since + terms.grace_ms < now {
                actions.push(Action::GiveUp(*dump));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leader::{Request, Transfer};

    const TERMS: Terms = Terms {
        is_diskless: true,
        delay_ms: 0,
        waiting_max: 0,
        timeout_ms: 60_000,
        grace_ms: 10_000,
        ping_ms: u64::MAX / 2,
        backlog_ttl_ms: 0,
        is_replica: false,
        is_quiet: false,
    };
    const MAIN: ReplicaId = 1;
    const DUMP: ReplicaId = 2;

    /// Both connections of a replica, up to where the dump is begun.
    fn begun(channels: Channels) -> (Leader, Transfer) {
        let mut leader = Leader::default();
        let said = leader.introduce(MAIN, "h", 0);
        (said.takes_channels, said.port) = (Some(channels), 7000);
        leader.send_apart(MAIN, "h", WhyFull::HasNothing, 0);
        let said = leader.introduce(DUMP, "h", 0);
        (said.is_for_dump, said.wants_dump_only, said.takes_mark) = (true, true, true);
        said.port = 7000;
        said.main = (channels == Channels::Rdb).then_some(MAIN);
        let request = if channels == Channels::Dual { Request::Sync } else { Request::Anew };
        assert_eq!(leader.why_apart(DUMP), Some(WhyFull::HasNothing));
        leader.begin_anew(DUMP, "h", request, 0);
        let transfer = leader.next_transfer(0, &TERMS).unwrap();
        assert!(!transfer.is_dump_only, "the stream is wanted");
        (leader, transfer)
    }

    fn name(leader: &Leader) -> &'static str {
        leader.get(MAIN).and_then(|it| it.state.name()).unwrap_or_default()
    }

    #[test]
    fn a_stream_is_held_until_it_is_asked_for() {
        let (mut leader, _) = begun(Channels::Dual);
        leader.hold(DUMP);
        assert!(leader.is_held(DUMP) && leader.held_count() == 1);
        leader.attach(MAIN, "h", DUMP, 100);
        assert_eq!((name(&leader), leader.held_count()), ("bg_transfer", 0));
        assert_eq!(leader.tick(100_000, &TERMS), [], "its dump is on its way");
        assert!(!leader.note_sent(DUMP, 100_000));
        leader.hear(MAIN, 150_000);
        assert_eq!(leader.tick(170_000, &TERMS), [], "it loads, and says so");
        assert!(leader.acknowledge(MAIN, ReplicationOffset(9), None, 180_000));
        assert_eq!(name(&leader), "online");
        assert_eq!((leader.leave(DUMP), leader.leave(MAIN)), (None, None));
    }

    #[test]
    fn a_stream_that_nobody_comes_for_is_given_up() {
        let (mut leader, _) = begun(Channels::Dual);
        leader.hold(DUMP);
        leader.note_sent(DUMP, 10);
        assert_eq!(leader.leave(DUMP), None);
        assert_eq!(leader.tick(1000, &TERMS), []);
        assert_eq!(leader.tick(11_000, &TERMS), []);
        assert_eq!(leader.tick(11_001, &TERMS), [Action::GiveUp(DUMP)]);
        // One that was cut short is of no use from the start.
        let (mut leader, _) = begun(Channels::Dual);
        leader.hold(DUMP);
        assert_eq!(leader.leave(DUMP), None, "nobody has come yet");
        assert!(!leader.is_held(DUMP));
    }

    #[test]
    fn two_connections_end_together() {
        for channels in [Channels::Dual, Channels::Rdb] {
            for (first, second) in [(MAIN, DUMP), (DUMP, MAIN)] {
                let (mut leader, _) = begun(channels);
                leader.begin_beside(MAIN, "h", channels, DUMP, 10);
                assert_eq!(leader.leave(first), Some(second));
                assert_eq!(leader.leave(second), None);
            }
        }
    }

    #[test]
    fn a_stream_begins_with_its_dump_in_rediss_way() {
        let (mut leader, _) = begun(Channels::Rdb);
        assert!(leader.is_awaiting_channel(MAIN) && leader.is_part_of_other(DUMP));
        assert_eq!(name(&leader), "wait_bgsave");
        assert_eq!(leader.tick(70_000, &TERMS), [], "its second connection is there");
        leader.begin_beside(MAIN, "h", Channels::Rdb, DUMP, 70_000);
        assert_eq!(name(&leader), "send_bulk_and_stream");
        leader.note_sent(DUMP, 80_000);
        assert_eq!(leader.tick(140_001, &TERMS), [Action::Cut(MAIN)], "nothing was heard of it");
    }
}
