//! Walks through the keys of a database: KEYS, RANDOMKEY, SCAN. Never holds a shard's lock for more than a bounded
//! number of records.

use rubine_base::crc::{self, SLOT_COUNT};
use rubine_base::glob;
use rubine_base::number::{parse_i64, parse_u64_loosely};
use rubine_keyspace::{ScanCursor, Snapshot};
use rubine_resp::writer::{Progress, Reply, ReplyStream};
use rubine_structures::record::RecordRef;
use rubine_structures::value::Type;

use crate::args::Args;
use crate::command::{Acl, Command};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};

pub(crate) const COMMANDS: &[Command] = &[KEYS, RANDOMKEY, SCAN];

/// Names of keys, as a pattern chooses them.
#[derive(Debug)]
enum Pattern<P> {
    All,
    Glob(P),
}

impl<P: AsRef<[u8]>> Pattern<P> {
    /// A lone star stands for all names, the empty one too.
    fn new(text: P) -> Self {
        if text.as_ref() == b"*" { Self::All } else { Self::Glob(text) }
    }

    fn matches(&self, key: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Glob(pattern) => glob::matches(pattern.as_ref(), key, glob::Case::Sensitive),
        }
    }
}

const KEYS: Command = Command::new("KEYS", keys)
    .summary("Lists all keys whose names match a pattern.")
    .syntax("pattern")
    .complexity("O(N) with N the number of keys, in slices between other clients' commands.")
    .tips("nondeterministic_output_order request_policy:all_shards")
    .arity(2)
    .reads()
    .also(Acl::DANGEROUS)
    .each_shard();

/// With fewer keys than this, KEYS answers at once.
const KEYS_AT_ONCE_MAX: usize = 1000;

fn keys(cx: &mut Context<'_, '_>) -> CommandResult {
    if KEYS_AT_ONCE_MAX < cx.keys.len() {
        let stream = KeyNames::new(
            cx.keys.image(),
            cx.keys.db(),
            Pattern::new(cx.args.at(1).to_vec()),
            cx.keys.due_until(),
        );
        cx.reply.stream(Box::new(stream));
        return Ok(());
    }
    let pattern = Pattern::new(cx.args.at(1));
    let names = cx.reply.array_deferred();
    let mut count = 0;
    let mut cursor = Some(ScanCursor::START);
    while let Some(from) = cursor {
        cursor = cx.keys.scan(from, KEYS_AT_ONCE_MAX, |record, is_due| {
            if !is_due && pattern.matches(record.key()) {
                count += 1;
                cx.reply.bulk(record.key());
            }
        });
    }
    cx.reply.set_array_len(names, count);
    Ok(())
}

/// Records that a stream looks at before other clients have their turn.
const RECORDS_PER_FILL: usize = 1000;

/// Records that a stream looks at before it looks at its budget of bytes.
const RECORDS_PER_STEP: usize = 32;

/// The reply of KEYS over many keys, from an image: first it counts, since the number comes first, then it lists.
#[derive(Debug)]
struct KeyNames {
    image: Snapshot,
    db: usize,
    pattern: Pattern<Vec<u8>>,
    /// Keys with a deadline up to this are not shown.
    due_until: i64,
    phase: Phase,
    cursor: ScanCursor,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Counting { count: usize },
    Listing,
}

impl KeyNames {
    fn new(image: Snapshot, db: usize, pattern: Pattern<Vec<u8>>, due_until: i64) -> Self {
        let phase = Phase::Counting { count: 0 };
        Self { image, db, pattern, due_until, phase, cursor: ScanCursor::START }
    }

    /// The number of names, where it is known without looking at each.
    fn known_count(&self) -> Option<usize> {
        let is_every_key = matches!(self.pattern, Pattern::All)
            && (self.due_until == i64::MIN || self.image.volatile_len(self.db) == 0);
        is_every_key.then(|| self.image.len(self.db))
    }

    /// Visits the names among some records from the cursor on. Returns the number of records, or of shards without
    /// any, that this took, and whether there are more.
    fn step(&mut self, mut visit: impl FnMut(&[u8])) -> (usize, bool) {
        let mut seen = 0;
        let next = self.image.scan(self.db, self.cursor, RECORDS_PER_STEP, |record| {
            seen += 1;
            let is_due = record.deadline().is_some_and(|deadline| deadline <= self.due_until);
            if !is_due && self.pattern.matches(record.key()) {
                visit(record.key());
            }
        });
        self.cursor = next.unwrap_or(ScanCursor::START);
        (seen.max(1), next.is_some())
    }

    /// Goes on counting. Returns the count when it is complete.
    fn count_on(&mut self, mut count: usize) -> Option<usize> {
        let mut seen = 0;
        while seen < RECORDS_PER_FILL {
            let (records, has_more) = self.step(|_| count += 1);
            seen += records;
            if !has_more {
                return Some(count);
            }
        }
        self.phase = Phase::Counting { count };
        None
    }
}

impl ReplyStream for KeyNames {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        if let Phase::Counting { count } = self.phase {
            if let Some(count) = self.known_count().or_else(|| self.count_on(count)) {
                reply.array(count);
                self.phase = Phase::Listing;
            }
            return Progress::More;
        }
        let (mut seen, mut bytes) = (0, 0);
        while seen < RECORDS_PER_FILL && bytes < budget_bytes {
            let (records, has_more) = self.step(|name| {
                bytes += name.len();
                reply.bulk(name);
            });
            seen += records;
            if !has_more {
                return Progress::Done;
            }
        }
        Progress::More
    }

    fn pinned_bytes(&self) -> usize {
        match &self.pattern {
            Pattern::All => 0,
            Pattern::Glob(pattern) => pattern.capacity(),
        }
    }
}

const RANDOMKEY: Command = Command::new("RANDOMKEY", randomkey)
    .summary("Names a key chosen at random.")
    .complexity("O(1)")
    .tips("nondeterministic_output request_policy:all_shards response_policy:special")
    .arity(1)
    .reads()
    .each_shard();

fn randomkey(cx: &mut Context<'_, '_>) -> CommandResult {
    match cx.keys.random_key() {
        Some(key) => cx.reply.bulk(&key),
        None => cx.reply.null(),
    }
    Ok(())
}

const SCAN: Command = Command::new("SCAN", scan)
    .summary("Lists some keys, and from where the next call goes on.")
    .syntax("cursor [MATCH pattern] [COUNT count] [TYPE type]")
    .since("2.8.0")
    .complexity("O(N) with N the COUNT; O(N) for all calls together with N the number of keys.")
    .tips("nondeterministic_output request_policy:special response_policy:special")
    .arity(-2)
    .reads()
    .each_shard();

/// Records that one SCAN looks at, however many COUNT asks for.
const SCAN_RECORDS_MAX: usize = 16 * 1024;

fn scan(cx: &mut Context<'_, '_>) -> CommandResult {
    let cursor = parse_u64_loosely(cx.args.at(1)).ok_or(CommandError::InvalidCursor)?;
    let options = ScanOptions::parse(cx.args)?;
    let mut names = Names::default();
    let mut due = Names::default();
    let look = |record: RecordRef<'_>, is_due: bool| {
        if options.wants(record) {
            if is_due { &mut due } else { &mut names }.push(record.key());
        }
    };
    let cursor = ScanCursor::from_number(cursor);
    let next = match options.match_slot().filter(|_| cx.limits.cluster) {
        // All that can match is in one slot.
        Some(slot) => {
            cx.keys.scan_slots(cursor.max(ScanCursor::at_slot(slot)), slot, options.count, look)
        }
        None => cx.keys.scan(cursor, options.count, look),
    };
    due.iter().for_each(|key| cx.keys.found_due(key));
    cx.reply.array(2);
    let next = next.map_or(0, ScanCursor::number);
    cx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    cx.reply.array(names.len());
    names.iter().for_each(|name| cx.reply.bulk(name));
    Ok(())
}

/// What SCAN was asked for.
#[derive(Debug)]
pub(crate) struct ScanOptions<'a> {
    pattern: Pattern<&'a [u8]>,
    pub(crate) count: usize,
    type_of: Option<Type>,
    pub(crate) slot: Option<u16>,
}

impl<'a> ScanOptions<'a> {
    fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        Self::parse_as(args, Slots::Unnamed)
    }

    /// As [`Self::parse`], with the option SLOT.
    pub(crate) fn parse_with_slot(args: Args<'a>) -> Result<Self, CommandError> {
        Self::parse_as(args, Slots::Named)
    }

    /// The slot that all keys are in which can match the pattern, if there is one.
    pub(crate) fn match_slot(&self) -> Option<u16> {
        match self.pattern {
            Pattern::All => None,
            Pattern::Glob(pattern) => crc::slot_of_pattern(pattern),
        }
    }

    /// Whether a record is among what was asked for.
    pub(crate) fn wants(&self, record: RecordRef<'_>) -> bool {
        self.type_of.is_none_or(|it| it == record.value().type_of())
            && self.pattern.matches(record.key())
    }

    fn parse_as(args: Args<'a>, slots: Slots) -> Result<Self, CommandError> {
        let mut parsed = Self { pattern: Pattern::All, count: 10, type_of: None, slot: None };
        let mut options = args.options(2);
        while !options.is_at_end() {
            if options.keyword("NOVALUES") {
                return Err(CommandError::text("ERR NOVALUES option can only be used in HSCAN"));
            }
            if options.keyword("NOSCORES") {
                return Err(CommandError::text("ERR NOSCORES option can only be used in ZSCAN"));
            }
            if options.remaining() < 2 {
                return Err(CommandError::Syntax);
            }
            if options.keyword("COUNT") {
                let count = options.integer()?;
                if count < 1 {
                    return Err(CommandError::Syntax);
                }
                parsed.count = usize::try_from(count)
                    .map_or(SCAN_RECORDS_MAX, |count| count.min(SCAN_RECORDS_MAX));
            } else if options.keyword("MATCH") {
                parsed.pattern = Pattern::new(options.required()?);
            } else if options.keyword("TYPE") {
                let name = options.required()?;
                let found = Type::from_name(name);
                parsed.type_of = Some(found.ok_or_else(|| CommandError::unknown_type(name))?);
            } else if slots == Slots::Named && options.keyword("SLOT") {
                if parsed.slot.is_some() {
                    let error = "ERR SLOT option can only be specified once";
                    return Err(CommandError::text(error));
                }
                let slot = parse_i64(options.required()?).and_then(|it| u16::try_from(it).ok());
                let slot = slot.filter(|it| *it < SLOT_COUNT);
                let error = CommandError::text("ERR Invalid or out of range slot");
                parsed.slot = Some(slot.ok_or(error)?);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(parsed)
    }
}

/// Whether a walk can be told a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slots {
    Named,
    Unnamed,
}

/// Byte strings one behind the other, so that collecting them costs no allocation each.
#[derive(Debug, Default)]
pub(crate) struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    pub(crate) fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| &self.bytes[std::mem::replace(&mut start, end)..end])
    }
}
