//! All data commands, by family. Lists what the family files declare, nothing else.

use crate::command::{Command, Group};
use crate::{
    bitmap, cluster, geo, hash, hyperloglog, keys, list, set, sort, sorted_set, stream, string,
};

/// The commands of one group.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub group: Group,
    pub commands: &'static [Command],
}

/// Every data command.
pub const FAMILIES: &[Family] = &[
    Family { group: Group::Generic, commands: keys::dump::COMMANDS },
    Family { group: Group::Generic, commands: keys::expire::COMMANDS },
    Family { group: Group::Generic, commands: keys::migrate::COMMANDS },
    Family { group: Group::Generic, commands: keys::object::COMMANDS },
    Family { group: Group::Generic, commands: keys::presence::COMMANDS },
    Family { group: Group::Generic, commands: keys::relocate::COMMANDS },
    Family { group: Group::Generic, commands: keys::scan::COMMANDS },
    Family { group: Group::Generic, commands: sort::COMMANDS },
    Family { group: Group::Server, commands: keys::database::COMMANDS },
    Family { group: Group::Server, commands: keys::debug::COMMANDS },
    Family { group: Group::Server, commands: keys::object::MEMORY_COMMANDS },
    Family { group: Group::String, commands: string::COMMANDS },
    Family { group: Group::List, commands: list::COMMANDS },
    Family { group: Group::Set, commands: set::COMMANDS },
    Family { group: Group::SortedSet, commands: sorted_set::COMMANDS },
    Family { group: Group::Hash, commands: hash::COMMANDS },
    Family { group: Group::Geo, commands: geo::COMMANDS },
    Family { group: Group::Bitmap, commands: bitmap::COMMANDS },
    Family { group: Group::Stream, commands: stream::COMMANDS },
    Family { group: Group::HyperLogLog, commands: hyperloglog::COMMANDS },
    Family { group: Group::Cluster, commands: cluster::COMMANDS },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::FAMILIES;
    use crate::command::{Command, KeyAccess, Scope};

    fn all() -> impl Iterator<Item = &'static Command> {
        let commands = FAMILIES.iter().flat_map(|family| family.commands);
        commands.flat_map(|it| std::iter::once(it).chain(it.subcommands))
    }

    #[test]
    fn names_are_unique_capitals_in_order() {
        for family in FAMILIES {
            let names: Vec<_> = family.commands.iter().map(|it| it.spec.name).collect();
            assert!(names.is_sorted(), "{names:?}");
        }
        let mut seen = BTreeSet::new();
        for command in FAMILIES.iter().flat_map(|family| family.commands) {
            assert_eq!(command.spec.name, command.spec.name.to_ascii_uppercase());
            assert!(seen.insert(command.spec.name), "{} stands twice", command.spec.name);
        }
    }

    #[test]
    fn every_command_is_described() {
        for command in all().filter(|it| it.subcommands.is_empty()) {
            let spec = &command.spec;
            assert!(spec.summary.ends_with('.'), "{}: {}", spec.name, spec.summary);
            assert!(spec.complexity.starts_with("O("), "{}: {}", spec.name, spec.complexity);
        }
    }

    #[test]
    fn key_access_is_in_known_words() {
        for key in all().flat_map(|it| it.spec.keys()) {
            for word in key.access.split_whitespace() {
                assert!(KeyAccess::from_name(word).is_some(), "{word}");
            }
        }
    }

    #[test]
    fn whoever_has_no_keys_says_which_shards() {
        use crate::command::Flags;
        for command in all() {
            let spec = &command.spec;
            let touches = spec.flags.intersects(Flags::WRITE | Flags::READONLY);
            let says = spec.keys().next().is_some() || !matches!(spec.scope, Scope::Keys);
            assert!(!touches || says || !command.subcommands.is_empty(), "{}", spec.name);
        }
    }
}
