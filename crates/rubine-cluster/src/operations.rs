//! What the CLUSTER commands do. Parses no request: whoever declares the commands has done that. Errors are the replies.

mod change;
mod slots;

use thiserror::Error;

pub use slots::{Moving, SetSlot, SetSlotFacts};

/// Why an operation was refused. Nothing has happened, then.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OperationError {
    /// Of most operations. The name is shown as it was given.
    #[error("ERR Unknown node {0}")]
    UnknownNode(String),
    /// Of SETSLOT MIGRATING and IMPORTING.
    #[error("ERR I don't know about node {0}")]
    DontKnowNode(String),
    #[error("ERR Invalid node address specified: {0}:{1}")]
    InvalidAddress(String, u16),
    #[error("ERR Slot {0} is already unassigned")]
    AlreadyUnassigned(u16),
    #[error("ERR Slot {0} is already busy")]
    AlreadyBusy(u16),
    #[error("ERR Slot {0} specified multiple times")]
    SpecifiedTwice(u16),
    #[error("ERR DB must be empty to perform CLUSTER FLUSHSLOTS.")]
    NotEmpty,
    #[error("ERR Please use SETSLOT only with masters.")]
    NotAPrimary,
    #[error("ERR Slot import in progress.")]
    ImportInProgress,
    #[error("ERR Slot export in progress.")]
    ExportInProgress,
    #[error("ERR I'm not the owner of hash slot {0}")]
    NotTheOwner(u16),
    #[error("ERR I'm already the owner of hash slot {0}")]
    AlreadyTheOwner(u16),
    #[error("ERR Target node is myself")]
    TargetIsMyself,
    #[error("ERR Target node is not a master")]
    TargetIsNoPrimary,
    #[error(
        "ERR Can't assign hashslot {0} to a different node while I still hold keys for this hash slot."
    )]
    StillHasKeys(u16),
    #[error("ERR I tried hard but I can't forget myself...")]
    ForgetMyself,
    #[error("ERR Can't forget my master!")]
    ForgetMyPrimary,
    #[error("ERR Can't replicate myself")]
    ReplicateMyself,
    #[error("ERR I can only replicate a master, not a replica.")]
    ReplicateAReplica,
    #[error("ERR To set a master the node must be empty and without assigned slots.")]
    ReplicateWithData,
    #[error("ERR The specified node is not a master")]
    NodeIsNoPrimary,
    #[error("ERR You should send CLUSTER FAILOVER to a replica")]
    FailoverOfPrimary,
    #[error("ERR I'm a replica but my master is unknown to me")]
    PrimaryUnknown,
    #[error("ERR Master is down or failed, please use CLUSTER FAILOVER FORCE")]
    PrimaryDown,
    #[error("ERR Invalid config epoch specified: {0}")]
    InvalidEpoch(i64),
    #[error(
        "ERR The user can assign a config epoch only when the node does not know any other node."
    )]
    EpochAmongOthers,
    #[error("ERR Node config epoch is already non-zero")]
    EpochIsSet,
    #[error("ERR CLUSTER RESET can't be called with master nodes containing keys")]
    ResetWithKeys,
    #[error("ERR Cannot free cluster link(s) to myself")]
    LinkToMyself,
}

/// How a replica takes its primary's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failover {
    /// With the primary, which stops its clients until the replica has everything.
    Coordinated,
    /// Without it, but with the votes of the others.
    Force,
    /// Without anybody.
    Takeover,
}

/// Who asks for something, for the log.
#[derive(Clone, Copy, Debug)]
pub enum Asker<'a> {
    /// A client, as CLIENT LIST names it.
    Client(&'a str),
    /// The primary, by its stream.
    Primary(&'a str),
}

/// How much RESET forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    Soft,
    /// The own id and epochs, too.
    Hard,
}

/// Which connections with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    To,
    From,
    All,
}

impl Asker<'_> {
    pub(crate) fn client(&self) -> &str {
        match self {
            Self::Client(it) | Self::Primary(it) => it,
        }
    }
}
