//! DUMP and RESTORE: a value as bytes that any server of the family understands, and back. What takes long is done
//! without locks.

use rubine_base::SharedBytes;
use rubine_keyspace::{AccessPolicy, Key};
use rubine_rdb::Version;
use rubine_rdb::dump::{self, Checks, DumpError};
use rubine_rdb::error::WriteError;
use rubine_structures::value::{Value, ValueRef};

use crate::command::{Acl, Command, Flags};
use crate::computation::Computation;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

pub(crate) const COMMANDS: &[Command] = &[DUMP, RESTORE, RESTORE_ASKING];

/// Bytes that are written or read in one step of a computation.
const BYTES_PER_STEP: u64 = 64;
/// The longest idle time that access bits can tell, in seconds.
const IDLE_SECONDS_MAX: i64 = (1 << 24) - 1;

const DUMP: Command = Command::new("DUMP", dump)
    .summary("Writes what a key holds as bytes, in the format of dump files.")
    .syntax("key")
    .since("2.6.0")
    .complexity("O(N) with N the size of the value, without holding up others if it is large.")
    .tips("nondeterministic_output")
    .arity(2)
    .reads()
    .also(Acl::KEYSPACE)
    .key("RO ACCESS");

fn dump(cx: &mut Context<'_, '_>) -> CommandResult {
    let version = cx.limits.rdb_version;
    let Some(record) = cx.keys.find(cx.key(1)) else {
        cx.reply.null();
        return Ok(());
    };
    let encoding = Encoding { value: record.value().to_value(), version };
    let Some(payload) = cx.compute_reply(encoding) else { return Ok(()) };
    let payload = payload.map_err(|error| CommandError::Other(format!("ERR {error}").into()))?;
    cx.reply.shared(&SharedBytes::new(payload));
    Ok(())
}

/// Makes the payload of a value.
struct Encoding {
    value: Value<'static>,
    /// `None` for the newest that the most servers read and that can hold the value.
    version: Option<Version>,
}

impl Computation for Encoding {
    type Output = Result<Vec<u8>, WriteError>;

    fn steps(&self) -> u64 {
        steps_of(self.value.as_ref())
    }

    fn is_same(&self, _: &Self) -> bool {
        // Nobody asks: a reply may be that of the value as it was.
        false
    }

    fn compute(&self) -> Self::Output {
        let value = self.value.as_ref();
        dump::encode(value, self.version.unwrap_or_else(|| Version::newest_common(value)))
    }
}

fn steps_of(value: ValueRef<'_>) -> u64 {
    value.heap_bytes() as u64 / BYTES_PER_STEP
}

const RESTORE: Command = Command::new("RESTORE", restore)
    .summary("Makes a key of what DUMP wrote, here or in another server.")
    .syntax("key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]")
    .since("2.6.0")
    .complexity("O(N) with N the size of the value, without holding up others if it is large.")
    .arity(-4)
    .writes()
    .denies_oom()
    .also(Acl::KEYSPACE.union(Acl::DANGEROUS))
    .key("OW UPDATE");

const RESTORE_ASKING: Command = Command::new("RESTORE-ASKING", restore)
    .summary("Does what RESTORE does, in a slot that is being moved to this node.")
    .syntax("key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]")
    .since("3.0.0")
    .complexity("O(N) with N the size of the value, without holding up others if it is large.")
    .arity(-4)
    .writes()
    .denies_oom()
    .flag(Flags::ASKING)
    .also(Acl::KEYSPACE.union(Acl::DANGEROUS))
    .key("OW UPDATE");

fn restore(cx: &mut Context<'_, '_>) -> CommandResult {
    let options = Options::parse(cx)?;
    let key = cx.key(1);
    // Real servers look before they read on, so this is what clients expect to hear first.
    if !options.replaces && cx.keys.find_to_write(key).is_some() {
        return Err(CommandError::BusyKey);
    }
    let deadline = options.deadline(cx)?;
    let payload = cx.args.at(3);
    let decoded = if payload.len() as u64 / BYTES_PER_STEP <= cx.client.steps_at_once_max {
        Decoding::decode(payload, cx.limits.dump_checks, &cx.limits.rdb())
    } else {
        let payload = payload.to_vec();
        let (checks, limits) = (cx.limits.dump_checks, cx.limits.rdb());
        let Some(decoded) = cx.compute(Decoding { payload, checks, limits }) else {
            return Ok(());
        };
        decoded
    };
    let value = decoded.map_err(|error| match error {
        DumpError::Footer => CommandError::DumpFooter,
        DumpError::Damaged(damage) => CommandError::DumpData(damage),
    })?;
    let had_value = options.replaces && cx.keys.remove(key);
    // A master or a log says itself when a key goes.
    let is_over = deadline.is_some_and(|at| at <= cx.now) && !cx.client.is_trusted;
    if is_over {
        cx.keys.discard(value);
        if had_value {
            cx.touched(key, Event::DEL);
            cx.replicate(&[b"UNLINK", key.bytes()]);
        }
    } else {
        cx.keys.store(key, value, deadline);
        options.note_access(cx, key);
        cx.notify(key, Event::NEW);
        cx.touched(key, Event::RESTORE);
        if let Some(deadline) = deadline.filter(|_| !options.is_absolute) {
            replicate_with(cx, deadline);
        }
    }
    cx.reply.ok();
    Ok(())
}

/// Makes the value of a payload. It follows from the arguments alone.
struct Decoding {
    payload: Vec<u8>,
    checks: Checks,
    limits: rubine_rdb::ValueLimits,
}

impl Decoding {
    fn decode(
        payload: &[u8],
        checks: Checks,
        limits: &rubine_rdb::ValueLimits,
    ) -> Result<Value<'static>, DumpError> {
        dump::decode(payload, checks, limits)
    }
}

impl Computation for Decoding {
    type Output = Result<Value<'static>, DumpError>;

    fn steps(&self) -> u64 {
        self.payload.len() as u64 / BYTES_PER_STEP
    }

    fn is_same(&self, other: &Self) -> bool {
        self.payload == other.payload && self.checks == other.checks && self.limits == other.limits
    }

    fn compute(&self) -> Self::Output {
        Self::decode(&self.payload, self.checks, &self.limits)
    }
}

/// What stands behind the payload.
#[derive(Default)]
struct Options {
    replaces: bool,
    is_absolute: bool,
    idle_seconds: Option<i64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(cx: &Context<'_, '_>) -> Result<Self, CommandError> {
        let mut parsed = Self::default();
        let mut options = cx.args.options(4);
        while !options.is_at_end() {
            let has_operand = 2 <= options.remaining();
            if options.keyword("REPLACE") {
                parsed.replaces = true;
            } else if options.keyword("ABSTTL") {
                parsed.is_absolute = true;
            } else if has_operand && parsed.frequency.is_none() && options.keyword("IDLETIME") {
                let seconds = options.integer()?;
                if seconds < 0 {
                    return Err(CommandError::IdleTimeInvalid);
                }
                parsed.idle_seconds = Some(seconds);
            } else if has_operand && parsed.idle_seconds.is_none() && options.keyword("FREQ") {
                let frequency = u8::try_from(options.integer()?);
                parsed.frequency = Some(frequency.map_err(|_| CommandError::FrequencyInvalid)?);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(parsed)
    }

    /// When the key is due, if ever.
    fn deadline(&self, cx: &Context<'_, '_>) -> Result<Option<i64>, CommandError> {
        match cx.args.integer(2)? {
            0 => Ok(None),
            ttl if ttl < 0 => Err(CommandError::TtlInvalid),
            ttl if self.is_absolute => Ok(Some(ttl)),
            ttl => Ok(Some(ttl.saturating_add(cx.now))),
        }
    }

    /// Sets the access bits, if the policy is the one that the option is about.
    fn note_access(&self, cx: &mut Context<'_, '_>, key: Key<'_>) {
        let access = cx.keys.access();
        let bits = match access.policy {
            AccessPolicy::Lru => self
                .idle_seconds
                .map(|seconds| access.with_idle_seconds(seconds.min(IDLE_SECONDS_MAX) as u32)),
            AccessPolicy::Lfu { .. } => self.frequency.map(|it| access.with_frequency(it)),
        };
        if let Some(bits) = bits
            && let Some(record) = cx.keys.peek_even_if_due(key)
        {
            record.set_access(bits);
        }
    }
}

/// Writes the command to the journal with the deadline in place of the time that is left.
fn replicate_with(cx: &mut Context<'_, '_>, deadline: i64) {
    let mut buffer = itoa::Buffer::new();
    let deadline = buffer.format(deadline).as_bytes();
    let mut command: Vec<&[u8]> = cx.args.from(0).collect();
    command[2] = deadline;
    command.push(b"ABSTTL");
    cx.replicate(&command);
}
