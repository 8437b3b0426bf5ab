//! What is asked about the keys of hash slots. Never asks who has a slot: that is for whoever lets a command run.

pub(crate) mod scan;
pub(crate) mod stats;

use rubine_base::crc::{self, SLOT_COUNT};
use rubine_resp::writer::{Progress, Reply, ReplyStream};
use rubine_structures::table::TableSnapshot;

use crate::args::Args;
use crate::command::{Acl, Command, Databases, Flags};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::{Event, EventClass};

pub(crate) const COMMANDS: &[Command] = &[CLUSTER, scan::CLUSTERSCAN];

/// The data part of a container whose other subcommands are the server's.
const CLUSTER: Command = <Command>::container("CLUSTER", unknown_form, FORMS)
    .summary("Looks at a cluster, and changes it.")
    .syntax("")
    .since("3.0.0")
    .complexity("Depends on the subcommand.");

const FORMS: &[Command] = &[COUNTKEYSINSLOT, FLUSHSLOT, GETKEYSINSLOT, KEYSLOT, stats::SLOT_STATS];

fn unknown_form(cx: &mut Context<'_, '_>) -> CommandResult {
    Err(CommandError::unknown_subcommand(cx.args.get(1), "CLUSTER"))
}

/// Refuses all that a server cannot do which is no node of a cluster.
fn check_mode(cx: &Context<'_, '_>) -> CommandResult {
    if cx.limits.cluster {
        Ok(())
    } else {
        Err(CommandError::text("ERR This instance has cluster support disabled"))
    }
}

/// The slot that an argument names, if it names one.
pub(crate) fn slot_at(args: Args<'_>, index: usize) -> Option<u16> {
    let slot = args.integer(index).ok().and_then(|it| u16::try_from(it).ok());
    slot.filter(|it| *it < SLOT_COUNT)
}

/// The slot that an argument names, in the words of what is about a slot's keys alone.
fn named_slot(args: Args<'_>, index: usize) -> Result<u16, CommandError> {
    slot_at(args, index).ok_or(CommandError::text("ERR Invalid or out of range slot"))
}

const COUNTKEYSINSLOT: Command = Command::new("COUNTKEYSINSLOT", countkeysinslot)
    .summary("Counts the keys of a hash slot in the selected database.")
    .syntax("slot")
    .since("3.0.0")
    .complexity("O(1)")
    .arity(3)
    .flag(Flags::STALE)
    .slot_at(2);

fn countkeysinslot(cx: &mut Context<'_, '_>) -> CommandResult {
    check_mode(cx)?;
    cx.args.integer(2)?;
    let slot = slot_at(cx.args, 2).ok_or(CommandError::text("ERR Invalid slot"))?;
    let owners = cx.limits.slot_owners.as_ref();
    let hidden = owners.map_or(0, |it| it.hidden_len(cx.keys.db(), slot));
    cx.reply.integer((cx.keys.slot_len(slot) + hidden) as i64);
    Ok(())
}

const FLUSHSLOT: Command = Command::new("FLUSHSLOT", flushslot)
    .summary("Removes all keys of a hash slot, in all databases.")
    .syntax("slot [ASYNC | SYNC]")
    .since("9.0.0")
    .complexity("O(1); O(N) with N the number of keys where somebody is told of each.")
    .arity(-3)
    .writes()
    .flag(Flags::ADMIN.union(Flags::NO_ASYNC_LOADING))
    .also(Acl::KEYSPACE)
    .databases(Databases::All)
    .slot_at(2);

/// Either word is understood; memory is freed in the background anyway, and the keys are gone at once.
fn flushslot(cx: &mut Context<'_, '_>) -> CommandResult {
    check_mode(cx)?;
    if 4 < cx.args.len() {
        return Err(CommandError::wrong_form(cx.args.get(1), "CLUSTER"));
    }
    let slot = named_slot(cx.args, 2)?;
    let mut options = cx.args.options(3);
    if !options.is_at_end() && !options.keyword("SYNC") && !options.keyword("ASYNC") {
        return Err(CommandError::Syntax);
    }
    let is_listened = cx.effects.listened.is_some_and(|it| it.contains(EventClass::GENERIC));
    let mut gone: Vec<(usize, Box<[u8]>)> = Vec::new();
    cx.keys.clear_slot(slot, is_listened, |db, key| gone.push((db, key.into())));
    for (db, key) in gone.into_iter().filter(|_| is_listened) {
        cx.effects.events.push((Event::DEL, db, key));
    }
    cx.reply.ok();
    Ok(())
}

const GETKEYSINSLOT: Command = Command::new("GETKEYSINSLOT", getkeysinslot)
    .summary("Lists keys of a hash slot in the selected database.")
    .syntax("slot count")
    .since("3.0.0")
    .complexity("O(N) with N the number of keys, in slices between other clients' commands.")
    .tips("nondeterministic_output")
    .arity(4)
    .flag(Flags::STALE)
    .slot_at(2);

/// So many keys, or fewer, are listed at once.
const KEYS_AT_ONCE_MAX: usize = 1000;

fn getkeysinslot(cx: &mut Context<'_, '_>) -> CommandResult {
    check_mode(cx)?;
    cx.args.integer(2)?;
    let count = u64::try_from(cx.args.integer(3)?);
    let (Some(slot), Ok(count)) = (slot_at(cx.args, 2), count) else {
        return Err(CommandError::text("ERR Invalid slot or number of keys"));
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let own = cx.keys.slot_len(slot).min(count);
    // Those of a slot that is being taken in are listed, too, as they are counted.
    let owners = cx.limits.slot_owners.as_ref().filter(|_| own < count);
    let hidden = owners.and_then(|it| it.hidden_image(cx.keys.db(), slot));
    let hidden_count = hidden.as_ref().map_or(0, |it| it.len().min(count - own));
    cx.reply.array(own + hidden_count);
    match (KEYS_AT_ONCE_MAX < own).then(|| cx.keys.slot_image(slot)).flatten() {
        Some(image) => cx.reply.stream(Box::new(SlotKeys { image, left: own, cursor: 0 })),
        None => cx.keys.each_in_slot(slot, own, |record| cx.reply.bulk(record.key())),
    }
    if let Some(image) = hidden.filter(|_| hidden_count != 0) {
        let (image, left, cursor) = (image.into_table(), hidden_count, 0);
        cx.reply.stream(Box::new(SlotKeys { image, left, cursor }));
    }
    Ok(())
}

/// Many keys of a slot, from an image.
#[derive(Debug)]
struct SlotKeys {
    image: TableSnapshot,
    left: usize,
    /// Where in the table the next is.
    cursor: u64,
}

impl ReplyStream for SlotKeys {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        /// Records that are looked at before the budget of bytes is.
        const RECORDS_PER_STEP: usize = 32;
        let mut bytes = 0;
        while 0 < self.left && bytes < budget_bytes {
            let count = self.left.min(RECORDS_PER_STEP);
            let next = self.image.scan(self.cursor, count, |record| {
                if 0 < self.left {
                    self.left -= 1;
                    bytes += record.key().len();
                    reply.bulk(record.key());
                }
            });
            let Some(next) = next else { break };
            self.cursor = next;
        }
        if self.left == 0 { Progress::Done } else { Progress::More }
    }

    fn pinned_bytes(&self) -> usize {
        0
    }
}

const KEYSLOT: Command = Command::new("KEYSLOT", keyslot)
    .summary("Tells the hash slot of a key.")
    .syntax("key")
    .since("3.0.0")
    .complexity("O(N) with N the number of bytes of the key.")
    .arity(3)
    .flag(Flags::STALE);

/// It is a question about a key alone, and answered outside a cluster, too, as in Valkey 9.1.
fn keyslot(cx: &mut Context<'_, '_>) -> CommandResult {
    cx.reply.integer(i64::from(crc::slot_of(cx.args.at(2))));
    Ok(())
}
