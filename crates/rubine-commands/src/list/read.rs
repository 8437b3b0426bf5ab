//! LINDEX, LLEN, LPOS, LRANGE: what looks at a list and changes nothing.

use rubine_structures::list::{End, List};

use super::{ITEMS_PER_STEP, find, range};
use crate::args::Args;
use crate::command::Command;
use crate::computation::Computation;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};

pub(super) const LINDEX: Command = Command::new("LINDEX", lindex)
    .summary("Returns the element of a list at an index; a negative one counts from the tail.")
    .syntax("key index")
    .complexity("O(log(N)) with N the number of elements.")
    .arity(3)
    .reads()
    .key("RO ACCESS");

fn lindex(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let Some(list) = find(&mut cx.keys, key)? else {
        cx.reply.null();
        return Ok(());
    };
    let index = range::item_index(cx.args.integer(2)?, list.len());
    match index.and_then(|index| list.get(index)) {
        Some(item) => cx.reply.bulk(item),
        None => cx.reply.null(),
    }
    Ok(())
}

pub(super) const LLEN: Command = Command::new("LLEN", llen)
    .summary("Returns the number of elements of a list.")
    .syntax("key")
    .complexity("O(1)")
    .arity(2)
    .reads()
    .fast()
    .key("RO");

fn llen(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let len = find(&mut cx.keys, key)?.map_or(0, List::len);
    cx.reply.integer(len as i64);
    Ok(())
}

pub(super) const LRANGE: Command = Command::new("LRANGE", lrange)
    .summary("Returns the elements of a list from one index to another, both included.")
    .syntax("key start stop")
    .complexity("O(log(S)+N) with S the number of elements and N those returned.")
    .arity(4)
    .reads()
    .key("RO ACCESS");

fn lrange(cx: &mut Context<'_, '_>) -> CommandResult {
    let (start, stop) = (cx.args.integer(2)?, cx.args.integer(3)?);
    let key = cx.key(1);
    match find(&mut cx.keys, key)? {
        Some(list) => {
            let range = range::between(start, stop, list.len());
            range::reply(&mut cx.reply, list, range, End::Front);
        }
        None => cx.reply.array(0),
    }
    Ok(())
}

pub(super) const LPOS: Command = Command::new("LPOS", lpos)
    .summary("Returns the index of an element of a list, or the indexes of several that are equal.")
    .syntax("key element [RANK rank] [COUNT num-matches] [MAXLEN len]")
    .since("6.0.6")
    .complexity("O(N) with N the number of elements looked at.")
    .arity(-3)
    .reads()
    .key("RO ACCESS");

fn lpos(cx: &mut Context<'_, '_>) -> CommandResult {
    let search = Search::parse(cx.args)?;
    let (key, needle) = (cx.key(1), cx.args.at(2));
    let Some(list) = find(&mut cx.keys, key)? else {
        match search.count_max {
            Some(_) => cx.reply.array(0),
            None => cx.reply.null(),
        }
        return Ok(());
    };
    let count_max = search.count_max;
    let lookup = Lookup { list: list.clone(), needle: needle.to_vec(), search };
    let Some(found) = cx.compute_reply(lookup) else { return Ok(()) };
    match (count_max, found.first()) {
        (Some(_), _) => {
            cx.reply.array(found.len());
            found.iter().for_each(|&index| cx.reply.integer(index));
        }
        (None, Some(&index)) => cx.reply.integer(index),
        (None, None) => cx.reply.null(),
    }
    Ok(())
}

/// A search through the items of a list.
struct Lookup {
    list: List,
    needle: Vec<u8>,
    search: Search,
}

impl Computation for Lookup {
    /// Where the needle was found.
    type Output = Vec<i64>;

    fn steps(&self) -> u64 {
        self.list.len().min(self.search.len_max) as u64 / ITEMS_PER_STEP
    }

    fn is_same(&self, other: &Self) -> bool {
        self.list.is_same(&other.list)
    }

    fn compute(&self) -> Vec<i64> {
        let Self { list, needle, search } = self;
        let len = list.len();
        let items: &mut dyn Iterator<Item = &[u8]> = match search.from {
            End::Front => &mut list.iter(),
            End::Back => &mut list.iter_back_from(len),
        };
        let found = items
            .take(search.len_max)
            .enumerate()
            .filter(|&(_, item)| item == needle)
            .skip(search.skipped)
            .map(|(steps, _)| match search.from {
                End::Front => steps as i64,
                End::Back => (len - 1 - steps) as i64,
            });
        found.take(search.count_max.unwrap_or(1)).collect()
    }
}

/// What LPOS looks for.
struct Search {
    from: End,
    /// Matches that do not count: the rank without its sign, less one.
    skipped: usize,
    /// Matches that are wanted, if COUNT was given: then the reply is an array.
    count_max: Option<usize>,
    /// How many items are looked at.
    len_max: usize,
}

impl Search {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut search =
            Self { from: End::Front, skipped: 0, count_max: None, len_max: usize::MAX };
        let mut options = args.options(3);
        // Zero stands for all.
        let or_all = |count: usize| if count == 0 { usize::MAX } else { count };
        while let Some(option) = options.next() {
            if options.is_at_end() {
                return Err(CommandError::Syntax);
            }
            if option.eq_ignore_ascii_case(b"RANK") {
                let rank = options.integer()?;
                search.skipped = skipped_by(rank)?;
                search.from = if rank < 0 { End::Back } else { End::Front };
            } else if option.eq_ignore_ascii_case(b"COUNT") {
                let count = options.count();
                search.count_max = Some(or_all(count.ok_or(COUNT_NEGATIVE)?));
            } else if option.eq_ignore_ascii_case(b"MAXLEN") {
                let len = options.count();
                search.len_max = or_all(len.ok_or(MAXLEN_NEGATIVE)?);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(search)
    }
}

/// How many matches stand before the one of this rank.
fn skipped_by(rank: i64) -> Result<usize, CommandError> {
    match rank {
        0 => Err(CommandError::text(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
             or use negative to start from the end of the list",
        )),
        i64::MIN => Err(CommandError::NotSymmetric),
        rank => Ok(rank.unsigned_abs() as usize - 1),
    }
}

const COUNT_NEGATIVE: CommandError = CommandError::text("ERR COUNT can't be negative");
const MAXLEN_NEGATIVE: CommandError = CommandError::text("ERR MAXLEN can't be negative");
