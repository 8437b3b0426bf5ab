//! Which slot of a cluster a request is about. Knows no node.

use rubine_base::crc::slot_of;
use rubine_commands::{Args, Spec};

/// The slot of a request's keys and sharded channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RequestSlot {
    /// It has none, and runs wherever it is sent.
    #[default]
    Any,
    One(u16),
    Several,
}

impl RequestSlot {
    pub(crate) fn of(spec: &Spec, args: Args<'_>) -> Self {
        let mut slot = Self::Any;
        spec.for_each_key(args, |index| slot = slot.with(Self::One(slot_of(args.at(index)))));
        slot
    }

    /// That of `keys`, which are all the arguments.
    pub(crate) fn of_keys(keys: Args<'_>) -> Self {
        keys.from(0).fold(Self::Any, |slot, key| slot.with(Self::One(slot_of(key))))
    }

    /// That of both together.
    pub(crate) fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any, slot) | (slot, Self::Any) => slot,
            (Self::One(one), Self::One(other)) if one == other => self,
            _ => Self::Several,
        }
    }
}
