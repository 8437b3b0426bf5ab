//! Which commands are about keys that nobody sees yet: those of slots that are being taken in, wherever they come from.

use rubine_base::crc::slot_of;
use rubine_base::number::parse_u64;
use rubine_cluster::slots::SlotSet;
use rubine_commands::{Args, Scope};

use crate::command_table::Entry;

/// Whether a command is about keys, and all of them are of these slots.
pub(crate) fn is_about(entry: &Entry, args: Args<'_>, slots: &SlotSet) -> bool {
    match entry.spec.scope {
        Scope::Slot(index) => {
            let slot = args.get(index).and_then(parse_u64).and_then(|it| u16::try_from(it).ok());
            slot.is_some_and(|it| slots.contains(it))
        }
        Scope::Keys => {
            let (mut is_any, mut are_all) = (false, true);
            entry.spec.for_each_key(args, |index| {
                is_any = true;
                are_all &= slots.contains(slot_of(args.at(index)));
            });
            is_any && are_all
        }
        _ => false,
    }
}
