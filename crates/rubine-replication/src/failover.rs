//! FAILOVER: a master hands its part over to one of its replicas. It takes no writes any more, waits until the replica has
//! everything, and asks it to take over by following it. Sends nothing and reads no clock.
//!
//! ```text
//! None ──begin──> WaitingForSync ──one has all, or by force──> InProgress ──it took over──> None
//!                       └──────── time is over, aborted ───────────┴── it refused ──────────> None
//! ```

use rubine_journal::ReplicationOffset;

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    None,
    WaitingForSync,
    InProgress,
}

impl Phase {
    /// As INFO names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no-failover",
            Self::WaitingForSync => "waiting-for-sync",
            Self::InProgress => "failover-in-progress",
        }
    }
}

/// Where a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Whose turn it is; any replica's, if nobody's.
    pub target: Option<Address>,
    pub timeout_ms: Option<u64>,
    /// It takes over when the time is over, whatever it lacks.
    pub is_forced: bool,
}

/// A replica, as far as it matters here.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub address: Address,
    pub is_online: bool,
    pub has: ReplicationOffset,
}

/// Why it cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("FAILOVER already in progress.")]
    InProgress,
    #[error("FAILOVER is not valid when server is a replica.")]
    IsReplica,
    #[error("FAILOVER requires connected replicas.")]
    NoReplicas,
    #[error("FAILOVER with force option requires both a timeout and target HOST and IP.")]
    Unbounded,
    #[error("FAILOVER target HOST and PORT is not a replica.")]
    Unknown,
    #[error("FAILOVER target replica is not online.")]
    Offline,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Follow this replica, and ask it to take over. Without having everything it does so because the time is over.
    Follow { target: Address, has_everything: bool },
    /// It is given up: writes are taken again.
    Abort { target: Option<Address>, reason: &'static str },
}

/// What the log says of one that was given up.
pub fn tell_aborted(target: Option<&Address>, reason: &str) -> String {
    let whom = target.map_or("any replica".to_owned(), |it| format!("{}:{}", it.host, it.port));
    format!("FAILOVER to {whom} aborted: {reason}")
}

/// One at a time.
#[derive(Clone, Debug, Default)]
pub struct Failover {
    phase: Phase,
    wish: Wish,
    ends_at: Option<u64>,
}

impl Failover {
    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn target(&self) -> Option<&Address> {
        self.wish.target.as_ref()
    }

    /// Begins, if it can.
    pub fn begin(
        &mut self,
        wish: Wish,
        is_replica: bool,
        candidates: &[Candidate],
        now: u64,
    ) -> Result<(), Refusal> {
        if self.phase != Phase::None {
            return Err(Refusal::InProgress);
        }
        if is_replica {
            return Err(Refusal::IsReplica);
        }
        if candidates.is_empty() {
            return Err(Refusal::NoReplicas);
        }
        if wish.is_forced && (wish.timeout_ms.is_none() || wish.target.is_none()) {
            return Err(Refusal::Unbounded);
        }
        if let Some(target) = &wish.target {
            let found = candidates.iter().find(|it| it.address == *target);
            if !found.ok_or(Refusal::Unknown)?.is_online {
                return Err(Refusal::Offline);
            }
        }
        self.ends_at = wish.timeout_ms.map(|timeout| now.saturating_add(timeout));
        (self.phase, self.wish) = (Phase::WaitingForSync, wish);
        Ok(())
    }

    /// What is due now. `end` is where the log ends, to which nothing is added any more.
    pub fn tick(
        &mut self,
        candidates: &[Candidate],
        end: ReplicationOffset,
        now: u64,
    ) -> Option<Action> {
        if self.phase != Phase::WaitingForSync {
            return None;
        }
        if self.ends_at.is_some_and(|it| it <= now) {
            let Some(target) = self.wish.target.clone().filter(|_| self.wish.is_forced) else {
                return self.abort("Replica never caught up before timeout");
            };
            self.phase = Phase::InProgress;
            return Some(Action::Follow { target, has_everything: false });
        }
        let is_meant =
            |it: &&Candidate| self.wish.target.as_ref().is_none_or(|target| it.address == *target);
        let mut ready =
            candidates.iter().filter(is_meant).filter(|it| it.is_online && end <= it.has);
        let target = ready.next()?.address.clone();
        self.wish.target = Some(target.clone());
        self.phase = Phase::InProgress;
        Some(Action::Follow { target, has_everything: true })
    }

    /// It is given up, if it goes on.
    pub fn abort(&mut self, reason: &'static str) -> Option<Action> {
        if self.phase == Phase::None {
            return None;
        }
        let target = std::mem::take(self).wish.target;
        Some(Action::Abort { target, reason })
    }

    /// The replica has answered the request to take over. Returns whether it was asked.
    pub fn note_taken_over(&mut self) -> bool {
        let was_asked = self.phase == Phase::InProgress;
        if was_asked {
            *self = Self::default();
        }
        was_asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Address {
        Address { host: "h".to_owned(), port }
    }

    fn candidate(port: u16, has: u64) -> Candidate {
        Candidate { address: address(port), is_online: true, has: ReplicationOffset(has) }
    }

    fn follow(port: u16, has_everything: bool) -> Action {
        Action::Follow { target: address(port), has_everything }
    }

    const END: ReplicationOffset = ReplicationOffset(100);

    #[test]
    fn it_waits_for_one_that_has_everything() {
        let mut failover = Failover::default();
        let lagging = [candidate(1, 90), candidate(2, 99)];
        failover.begin(Wish::default(), false, &lagging, 0).unwrap();
        assert_eq!(failover.tick(&lagging, END, 1_000_000), None);
        let ready = [candidate(1, 90), candidate(2, 100)];
        assert_eq!(failover.tick(&ready, END, 1_000_001), Some(follow(2, true)));
        assert_eq!(failover.phase().name(), "failover-in-progress");
        assert!(failover.note_taken_over());
        assert_eq!(failover.phase(), Phase::None);
    }

    #[test]
    fn its_time_ends_by_force_or_not_at_all() {
        let lagging = [candidate(1, 90), candidate(2, 100)];
        let wish = Wish { target: Some(address(1)), timeout_ms: Some(50), is_forced: false };
        let mut failover = Failover::default();
        failover.begin(wish.clone(), false, &lagging, 0).unwrap();
        assert_eq!(failover.tick(&lagging, END, 49), None, "another one is not meant");
        let reason = "Replica never caught up before timeout";
        let aborted = Action::Abort { target: Some(address(1)), reason };
        assert_eq!(failover.tick(&lagging, END, 50), Some(aborted));
        failover.begin(Wish { is_forced: true, ..wish }, false, &lagging, 0).unwrap();
        assert_eq!(failover.tick(&lagging, END, 50), Some(follow(1, false)));
        let reason = "it refused";
        let aborted = Action::Abort { target: Some(address(1)), reason };
        assert_eq!(failover.abort(reason), Some(aborted));
        assert_eq!(failover.abort(reason), None);
    }

    #[test]
    fn it_does_not_begin_where_it_could_not_end() {
        let replicas = [candidate(1, 0), Candidate { is_online: false, ..candidate(2, 0) }];
        let to = |port| Wish { target: Some(address(port)), ..Wish::default() };
        let forced = Wish { is_forced: true, ..to(1) };
        for (wish, is_replica, candidates, expected) in [
            (Wish::default(), true, &replicas[..], Refusal::IsReplica),
            (Wish::default(), false, &[], Refusal::NoReplicas),
            (forced, false, &replicas, Refusal::Unbounded),
            (to(3), false, &replicas, Refusal::Unknown),
            (to(2), false, &replicas, Refusal::Offline),
        ] {
            let mut failover = Failover::default();
            assert_eq!(failover.begin(wish, is_replica, candidates, 0), Err(expected));
            assert_eq!(failover.phase(), Phase::None);
        }
        let mut failover = Failover::default();
        failover.begin(to(1), false, &replicas, 0).unwrap();
        assert_eq!(failover.begin(to(1), false, &replicas, 0), Err(Refusal::InProgress));
    }
}
