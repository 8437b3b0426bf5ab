//! A request as its user's permissions are asked about it. Decides nothing.

use rubine_acl::{Access, ChannelUse, CommandNumber, Request};
use rubine_base::number::parse_i64;
use rubine_commands::{Acl, Args, Channels, Databases};
use smallvec::SmallVec;

use crate::command_table::Entry;

/// Most commands have no more keys.
const KEYS_USUAL: usize = 4;

/// What somebody wants to do.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) entry: &'static Entry,
    pub(crate) args: Args<'a>,
    /// The database that is selected when it runs.
    pub(crate) db: usize,
    /// How many databases there are.
    pub(crate) db_count: usize,
}

impl Request for Wish<'_> {
    #[inline]
    fn command(&self) -> CommandNumber {
        self.entry.number
    }

    #[inline]
    fn argument(&self, index: usize) -> Option<&[u8]> {
        self.args.get(index)
    }

    #[inline]
    fn keys(&self) -> impl Iterator<Item = (usize, Access)> {
        let mut keys: SmallVec<[(usize, Access); KEYS_USUAL]> = SmallVec::new();
        for (spec, access) in self.entry.keys(self.args) {
            spec.for_each(self.args, &mut |index| keys.push((index, access)));
        }
        keys.into_iter()
    }

    fn channels(&self) -> impl Iterator<Item = (usize, ChannelUse)> {
        let (count, usage) = match self.entry.spec.channels {
            None => (0, ChannelUse::Literal),
            Some(Channels::Names { count_max }) => (count_max, ChannelUse::Literal),
            Some(Channels::Patterns) => (usize::MAX, ChannelUse::Pattern),
        };
        (1..self.args.len()).take(count).map(move |index| (index, usage))
    }

    fn databases(&self) -> impl Iterator<Item = (usize, u32)> {
        let mut databases = Vec::new();
        let mut uses_selected = self.entry.has_keys();
        match self.entry.spec.databases {
            Databases::Selected => uses_selected |= self.is_about_data(),
            Databases::Named(find) | Databases::Selects(find) => {
                databases = self.named_databases(find);
            }
            Databases::All => {
                uses_selected = false;
                databases.extend((0..self.db_count as u32).map(|number| (0, number)));
            }
        }
        if uses_selected {
            databases.push((0, self.db as u32));
        }
        databases.into_iter()
    }
}

impl Wish<'_> {
    fn is_about_data(&self) -> bool {
        self.entry.acl().intersects(Acl::KEYSPACE | Acl::READ | Acl::WRITE)
    }

    /// The databases that arguments name. None, if one of them cannot be: the command will say so.
    fn named_databases(&self, find: rubine_commands::NumberFinder) -> Vec<(usize, u32)> {
        let mut named = Some(Vec::new());
        find(self.args, &mut |index| {
            let number = database(self.args.get(index), self.db_count);
            named = named.take().zip(number).map(|(mut named, number)| {
                named.push((index, number));
                named
            });
        });
        named.unwrap_or_default()
    }
}

/// The database that an argument names, if there is one of that number.
pub(crate) fn database(argument: Option<&[u8]>, db_count: usize) -> Option<u32> {
    let number = argument.and_then(parse_i64).and_then(|it| u32::try_from(it).ok());
    number.filter(|&it| (it as usize) < db_count)
}
