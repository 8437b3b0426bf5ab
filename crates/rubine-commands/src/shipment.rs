//! Keys on their way to another server: what a command hands to whoever may open connections, and what it gets back.
//! Sends nothing.

use rubine_rdb::Version;
use rubine_structures::value::{Value, ValueRef};

use crate::error::CommandError;

/// Keys to be sent to another server. The command that asks for it runs again when that has been tried.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
pub struct Shipment {
    pub target: Target,
    /// The database there, as the client named it.
    pub db: i64,
    /// Bounds each wait for the target.
    pub timeout_ms: u64,
    /// Whether whatever the target has under the same keys is replaced.
    pub replaces: bool,
    /// Whether the target is told that their slot is on its way to it, as in a cluster it has to be.
    pub asks: bool,
    /// The version of payloads; `None` for the newest that the target reads.
    pub version: Option<Version>,
    pub parcels: Vec<Parcel>,
    /// Nothing is removed here.
    pub(crate) copies: bool,
    /// The first thing that went wrong.
    pub(crate) failure: Option<CommandError>,
    /// The connection failed: what came of the rest, nobody knows.
    pub(crate) is_broken: bool,
    /// It is sent for the first time, the second ..
    pub(crate) round: u32,
}

/// Where it goes, and as whom. Connections to equal targets are as good as each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub host: Vec<u8>,
    pub port: Vec<u8>,
    pub user: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
}

/// One key.
#[derive(Debug)]
pub struct Parcel {
    pub key: Box<[u8]>,
    /// `None` if the key is gone, and shall go there too.
    pub value: Option<Value<'static>>,
    /// When it is due, Unix milliseconds.
    pub deadline: Option<i64>,
    /// What the target has under this key came from here, and is replaced.
    pub is_there: bool,
    /// The target has said that it has it.
    pub is_acknowledged: bool,
    /// Number of the argument that is the key.
    pub(crate) argument: usize,
}

/// A shipment that has to be sent so often is contested.
const CONTESTED_ROUNDS: u32 = 4;

impl Shipment {
    /// Whether keys are to be removed here when they have arrived.
    pub fn removes(&self) -> bool {
        !self.copies
    }

    /// Whether its keys are changed so often that it may never arrive.
    pub fn is_contested(&self) -> bool {
        CONTESTED_ROUNDS <= self.round
    }

    /// The target, or the format, does not take one of the keys.
    pub fn refuse(&mut self, error: CommandError) {
        self.failure.get_or_insert(error);
    }

    /// The connection failed.
    pub fn break_off(&mut self, error: CommandError) {
        self.refuse(error);
        self.is_broken = true;
    }
}

impl Parcel {
    /// Whether a key still holds what was sent.
    pub(crate) fn is_same(&self, value: ValueRef<'_>, deadline: Option<i64>) -> bool {
        let is_same = self.value.as_ref().is_some_and(|it| it.as_ref().is_same(value));
        is_same && self.deadline == deadline
    }
}
