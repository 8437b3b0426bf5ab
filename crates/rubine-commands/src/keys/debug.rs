//! The forms of DEBUG that look at data or make some. The server adds those that concern itself.

use std::fmt::Write;

use rubine_base::glob;
use rubine_base::number::parse_i64;
use rubine_keyspace::{AccessPolicy, Key};
use rubine_resp::writer::{Progress, Reply, ReplyStream};
use rubine_structures::hash::HashEncoding;
use rubine_structures::list::ListEncoding;
use rubine_structures::record::RecordRef;
use rubine_structures::set::SetEncoding;
use rubine_structures::sorted_set;
use rubine_structures::table::TableShape;
use rubine_structures::value::{Value, ValueRef};

use super::digest::{DatasetDigest, ValueDigest};
use crate::command::{Command, Flags};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};

/// The data part of a container whose other subcommands are the server's.
pub(crate) const COMMANDS: &[Command] = &[DEBUG];

const DEBUG: Command = <Command>::container("DEBUG", unknown_form, FORMS)
    .summary("Looks inside, for tests.")
    .complexity("O(1)")
    .counts_as_one()
    .flag(FLAGS);

const FORMS: &[Command] = &[
    DEBUG_DIGEST,
    DEBUG_DIGEST_VALUE,
    DEBUG_HTSTATS,
    DEBUG_HTSTATS_KEY,
    DEBUG_OBJECT,
    DEBUG_POPULATE,
    DEBUG_STRINGMATCH_LEN,
];

const FLAGS: Flags = Flags::ADMIN
    .union(Flags::NOSCRIPT)
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::PROTECTED);

fn unknown_form(cx: &mut Context<'_, '_>) -> CommandResult {
    Err(CommandError::unknown_subcommand(cx.args.get(1), "DEBUG"))
}

const DEBUG_DIGEST: Command = Command::new("DIGEST", digest)
    .summary("Computes a digest of all data, which is equal wherever the data is.")
    .complexity("O(N) with N the size of all data, in slices between other clients' commands.")
    .arity(2)
    .flag(FLAGS)
    .each_shard();

fn digest(cx: &mut Context<'_, '_>) -> CommandResult {
    let digest = DatasetDigest::new(cx.keys.image(), cx.now);
    cx.reply.stream(Box::new(DigestReply(digest)));
    Ok(())
}

/// Steps of a digest before other clients have their turn.
const STEPS_PER_FILL: usize = 64;

#[derive(Debug)]
struct DigestReply(DatasetDigest);

impl ReplyStream for DigestReply {
    fn fill(&mut self, reply: &mut Reply<'_>, _budget_bytes: usize) -> Progress {
        match (0..STEPS_PER_FILL).find_map(|_| self.0.step()) {
            Some(digest) => {
                reply.simple(&digest.hex());
                Progress::Done
            }
            None => Progress::More,
        }
    }

    fn pinned_bytes(&self) -> usize {
        0
    }
}

const DEBUG_DIGEST_VALUE: Command = Command::new("DIGEST-VALUE", digest_value)
    .summary("Computes a digest of what each key holds, without the key.")
    .syntax("[key ...]")
    .complexity("O(N) with N the size of the values, in slices between other clients' commands.")
    .arity(-2)
    .flag(FLAGS)
    .key_range(2, -1, 1, "RO");

fn digest_value(cx: &mut Context<'_, '_>) -> CommandResult {
    let keys = cx.args.from(2);
    cx.reply.array(keys.len());
    let values = keys.map(|key| {
        // A due key counts, too: the digest is of what is held.
        let record = cx.keys.peek_even_if_due(Key::new(key));
        record.map(ValueDigest::of_value)
    });
    let values = values.collect::<Vec<_>>().into_iter();
    cx.reply.stream(Box::new(ValueDigestReply { values, current: None, now: cx.now }));
    Ok(())
}

#[derive(Debug)]
struct ValueDigestReply {
    values: std::vec::IntoIter<Option<ValueDigest>>,
    current: Option<ValueDigest>,
    now: i64,
}

impl ReplyStream for ValueDigestReply {
    fn fill(&mut self, reply: &mut Reply<'_>, _budget_bytes: usize) -> Progress {
        /// The digest of nothing.
        const MISSING: &str = "0000000000000000000000000000000000000000";
        for _ in 0..STEPS_PER_FILL {
            if let Some(value) = &mut self.current {
                if let Some(digest) = value.step(self.now) {
                    reply.simple(&digest.hex());
                    self.current = None;
                }
            } else {
                match self.values.next() {
                    Some(Some(value)) => self.current = Some(value),
                    Some(None) => reply.simple(MISSING),
                    None => return Progress::Done,
                }
            }
        }
        Progress::More
    }

    fn pinned_bytes(&self) -> usize {
        self.values.len() * size_of::<ValueDigest>()
    }
}

const DEBUG_HTSTATS: Command = Command::new("HTSTATS", htstats)
    .summary("Tells how full the tables of a database are.")
    .syntax("db [FULL]")
    .complexity("O(N) with N the number of segments.")
    .arity(-3)
    .flag(FLAGS)
    .each_shard();

fn htstats(cx: &mut Context<'_, '_>) -> CommandResult {
    let db = usize::try_from(cx.args.integer(2)?).ok().filter(|&db| db < cx.limits.databases);
    let db = db.ok_or(CommandError::text("ERR Out of range database"))?;
    let keys = cx.keys.in_db(db);
    let (shape, volatile) = (keys.shape(), keys.volatile_len());
    let TableShape { directory_len, segments, slots, records } = shape;
    let text = if records == 0 {
        "[Dictionary HT]\nNo stats available for empty hash tables\n".to_owned()
    } else {
        format!(
            "[Dictionary HT]\nHash table 0 stats (main hash table):\n table size: {slots}\n \
             number of entries: {records}\n directory entries: {directory_len}\n \
             segments: {segments}\n[Expires HT]\n number of entries: {volatile}\n"
        )
    };
    cx.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

const DEBUG_HTSTATS_KEY: Command = Command::new("HTSTATS-KEY", htstats_key)
    .summary("Tells how full the table behind one key is.")
    .syntax("key [FULL]")
    .complexity("O(1)")
    .arity(-3)
    .flag(FLAGS)
    .key_at(2, "RO");

fn htstats_key(cx: &mut Context<'_, '_>) -> CommandResult {
    let record = cx.keys.find_untouched(cx.key(2)).ok_or(CommandError::NoSuchKey)?;
    let len = match record.value() {
        ValueRef::Hash(hash) if hash.encoding() == HashEncoding::Hashtable => hash.len(),
        ValueRef::Set(set) if set.encoding() == SetEncoding::Hashtable => set.len(),
        ValueRef::SortedSet(set) if set.encoding() == sorted_set::SortedSetEncoding::Skiplist => {
            set.len()
        }
        _ => {
            return Err(CommandError::text(
                "ERR The value stored at the specified key is not represented using an hash table",
            ));
        }
    };
    let text = format!("Hash table 0 stats (main hash table):\n number of entries: {len}\n");
    cx.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

const DEBUG_OBJECT: Command = Command::new("OBJECT", object)
    .summary("Tells where and how a value is held.")
    .syntax("key [FAST]")
    .complexity("O(1)")
    .arity(-3)
    .flag(FLAGS)
    .key_at(2, "RO");

fn object(cx: &mut Context<'_, '_>) -> CommandResult {
    let access = cx.keys.access();
    let record = cx.keys.peek_even_if_due(cx.key(2)).ok_or(CommandError::NoSuchKey)?;
    let mut text = format!(
        "Value at:{:p} refcount:1 encoding:{}",
        record.key().as_ptr(),
        record.value().encoding()
    );
    let mut tell = |name: &str, number: i64| {
        write!(text, " {name}:{number}").expect("writing to a string cannot fail");
    };
    if !cx.args.get(3).is_some_and(|it| it.eq_ignore_ascii_case(b"FAST")) {
        tell("serializedlength", content_bytes(record) as i64);
    }
    let bits = record.access();
    match access.policy {
        AccessPolicy::Lfu { .. } => {
            tell("lfu_freq", access.frequency(bits).into());
            tell("lfu_access_time_minutes", (bits >> 8).into());
        }
        AccessPolicy::Lru => {
            tell("lru", bits.into());
            tell("lru_seconds_idle", access.idle_seconds(bits).into());
        }
    }
    if let ValueRef::List(list) = record.value()
        && list.encoding() == ListEncoding::Quicklist
    {
        tell("ql_nodes", list.drop_cost() as i64);
        tell("ql_listpack_max", cx.limits.list_max_listpack_size);
    }
    cx.reply.simple(&text);
    Ok(())
}

/// Bytes of a value's content, as good as can be told without going through it.
fn content_bytes(record: RecordRef<'_>) -> usize {
    match record.value() {
        ValueRef::Int(number) => itoa::Buffer::new().format(number).len(),
        ValueRef::Bytes { bytes, .. } => bytes.len(),
        ValueRef::Shared(bytes) => bytes.len(),
        ValueRef::List(_)
        | ValueRef::Set(_)
        | ValueRef::Hash(_)
        | ValueRef::SortedSet(_)
        | ValueRef::Stream(_) => record.value().heap_bytes(),
    }
}

const DEBUG_POPULATE: Command = Command::new("POPULATE", populate)
    .summary("Makes many small strings, for tests; existing keys stay.")
    .syntax("count [prefix [size]]")
    .complexity("O(N) with N the count, during which nothing else runs.")
    .arity(-3)
    .flag(FLAGS)
    .all_shards();

fn populate(cx: &mut Context<'_, '_>) -> CommandResult {
    let natural = |index: usize| {
        let number = parse_i64(cx.args.at(index)).and_then(|it| u64::try_from(it).ok());
        number.ok_or(CommandError::NotPositive)
    };
    let count = natural(2)?;
    let prefix = cx.args.get(3).unwrap_or(b"key").to_vec();
    let size = if cx.args.len() < 5 { 0 } else { natural(4)? };
    if cx.limits.string_len_max < size {
        return Err(CommandError::StringTooLong);
    }
    for number in 0..count {
        let digits = itoa::Buffer::new().format(number).to_owned();
        let name = [&prefix, b":".as_slice(), digits.as_bytes()].concat();
        let key = Key::new(&name);
        if cx.keys.find_to_write(key).is_some() {
            continue;
        }
        let mut value = format!("value:{number}").into_bytes();
        if 0 < size {
            value.resize(size as usize, 0);
        }
        cx.keys.store(key, Value::string(&value), None);
        cx.keys.note_touch(key);
    }
    cx.replicate_nothing();
    cx.reply.ok();
    Ok(())
}

const DEBUG_STRINGMATCH_LEN: Command = Command::new("STRINGMATCH-LEN", stringmatch_len)
    .summary("Tells whether a pattern matches a string.")
    .syntax("pattern string")
    .complexity("O(N*M) with N and M the lengths.")
    .arity(4)
    .flag(FLAGS);

fn stringmatch_len(cx: &mut Context<'_, '_>) -> CommandResult {
    let matches = glob::matches(cx.args.at(2), cx.args.at(3), glob::Case::Sensitive);
    cx.reply.integer(i64::from(matches));
    Ok(())
}
