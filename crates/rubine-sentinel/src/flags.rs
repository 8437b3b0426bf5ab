//! What an instance is, and what is true of it, as `SENTINEL MASTERS` and its relatives show it.

use bitflags::bitflags;

/// What an instance is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Master,
    Replica,
    Sentinel,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Replica => "slave",
            Self::Sentinel => "sentinel",
        }
    }
}

bitflags! {
    /// Facts that come and go one by one.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Flags: u16 {
        /// We do not hear of it.
        const S_DOWN = 1 << 0;
        /// Enough of us do not hear of it.
        const O_DOWN = 1 << 1;
        /// This Sentinel takes its master for down.
        const MASTER_DOWN = 1 << 2;
        const FAILOVER_IN_PROGRESS = 1 << 3;
        /// The replica that becomes the master.
        const PROMOTED = 1 << 4;
        const RECONF_SENT = 1 << 5;
        const RECONF_INPROG = 1 << 6;
        const RECONF_DONE = 1 << 7;
        /// A failover that nobody else is asked about.
        const FORCE_FAILOVER = 1 << 8;
        /// A failover that the master and its replica agree on.
        const COORD_FAILOVER = 1 << 9;
        const SCRIPT_KILL_SENT = 1 << 10;
        /// It was started anew, and has not been well since.
        const MASTER_REBOOT = 1 << 11;
    }
}

impl Flags {
    /// Those that stand before the kind of the instance, and those behind it, each with its name.
    pub(crate) const BEFORE_KIND: [(Self, &'static str); 2] =
        [(Self::S_DOWN, "s_down"), (Self::O_DOWN, "o_down")];
    pub(crate) const BEHIND_KIND: [(Self, &'static str); 10] = [
        (Self::MASTER_DOWN, "master_down"),
        (Self::FAILOVER_IN_PROGRESS, "failover_in_progress"),
        (Self::PROMOTED, "promoted"),
        (Self::RECONF_SENT, "reconf_sent"),
        (Self::RECONF_INPROG, "reconf_inprog"),
        (Self::RECONF_DONE, "reconf_done"),
        (Self::FORCE_FAILOVER, "force_failover"),
        (Self::COORD_FAILOVER, "coordinated_failover"),
        (Self::SCRIPT_KILL_SENT, "script_kill_sent"),
        (Self::MASTER_REBOOT, "master_reboot"),
    ];

    /// Down, in one way or the other.
    pub(crate) const DOWN: Self = Self::S_DOWN.union(Self::O_DOWN);
    /// On the way to a new master.
    pub(crate) const RECONFIGURING: Self = Self::RECONF_SENT.union(Self::RECONF_INPROG);
}
