//! What XREAD and XREADGROUP are asked for, and how far their reply has come. Reads no stream.

use rubine_base::number::parse_i64;
use rubine_keyspace::Key;

use super::budget::Budget;
use crate::args::ArgCursor;
use crate::context::{Context, Nothing};
use crate::error::{CommandError, CommandResult};
const TIMEOUT_NOT_INTEGER: CommandError =
    CommandError::text("ERR timeout is not an integer or out of range");
pub(super) const NO_GROUP_OPTION: CommandError =
    CommandError::text("ERR Missing GROUP option for XREADGROUP");
const GROUP_OF_XREAD: CommandError = CommandError::text(
    "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
);
const NOACK_OF_XREAD: CommandError = CommandError::text(
    "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
);
const CLAIM_OF_XREAD: CommandError = CommandError::text(
    "ERR The CLAIM option is only supported by XREADGROUP. You called XREAD instead.",
);
const IDLE_NOT_INTEGER: CommandError = CommandError::text("ERR min-idle-time is not an integer");
const IDLE_NEGATIVE: CommandError =
    CommandError::text("ERR min-idle-time must be a positive integer");
const MAXCOUNT_NOT_POSITIVE: CommandError =
    CommandError::text("ERR MAXCOUNT must be a positive integer");
const MAXSIZE_NOT_POSITIVE: CommandError =
    CommandError::text("ERR MAXSIZE must be a positive integer");
const MAXCOUNT_BELOW_COUNT: CommandError =
    CommandError::text("ERR MAXCOUNT must be greater than or equal to COUNT");
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Xread,
    Xreadgroup,
}

/// What was said before the streams.
pub(super) struct Options<'a> {
    pub(super) count_max: u64,
    /// What all streams together may give.
    pub(super) budget: Budget,
    /// Pending entries that were delivered so many milliseconds ago are delivered again.
    pub(super) claim_min_idle: Option<i64>,
    pub(super) waits: bool,
    /// When it gives up waiting; `None` for never.
    pub(super) deadline: Option<i64>,
    /// Group and consumer.
    pub(super) group: Option<(&'a [u8], &'a [u8])>,
    pub(super) leaves_nothing_pending: bool,
    /// Number of the first key, and of keys.
    pub(super) first_key: usize,
    pub(super) key_count: usize,
}

impl<'a> Options<'a> {
    pub(super) fn parse(cx: &Context<'a, '_>, kind: Kind) -> Result<Self, CommandError> {
        let mut options = cx.args.options(1);
        let mut parsed = Self {
            count_max: u64::MAX,
            budget: Budget::default(),
            claim_min_idle: None,
            waits: false,
            deadline: None,
            group: None,
            leaves_nothing_pending: false,
            first_key: 0,
            key_count: 0,
        };
        while !options.is_at_end() {
            let arguments = options.remaining() - 1;
            if parsed.parse_limit(&mut options)? {
            } else if 1 <= arguments && options.keyword("CLAIM") {
                parsed.claim_min_idle = Some(min_idle(&mut options)?);
                if kind == Kind::Xread {
                    return Err(CLAIM_OF_XREAD);
                }
            } else if 1 <= arguments && options.keyword("BLOCK") {
                parsed.deadline = deadline(&mut options, cx.now)?;
                parsed.waits = true;
            } else if 1 <= arguments && options.keyword("STREAMS") {
                parsed.first_key = options.index();
                if !arguments.is_multiple_of(2) {
                    return Err(unbalanced(kind));
                }
                parsed.key_count = arguments / 2;
                break;
            } else if 2 <= arguments && options.keyword("GROUP") {
                let group = (options.required()?, options.required()?);
                parsed.group = Some(group);
                if kind == Kind::Xread {
                    return Err(GROUP_OF_XREAD);
                }
            } else if options.keyword("NOACK") {
                parsed.leaves_nothing_pending = true;
                if kind == Kind::Xread {
                    return Err(NOACK_OF_XREAD);
                }
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let is_below = parsed.budget.entries() < parsed.count_max && parsed.count_max < u64::MAX;
        match parsed.group {
            _ if is_below => Err(MAXCOUNT_BELOW_COUNT),
            _ if parsed.first_key == 0 => Err(CommandError::Syntax),
            None if kind == Kind::Xreadgroup => Err(NO_GROUP_OPTION),
            _ => Ok(parsed),
        }
    }

    /// Reads an option that limits what is returned; false if the next argument is none.
    fn parse_limit(&mut self, options: &mut ArgCursor<'_>) -> Result<bool, CommandError> {
        if options.remaining() < 2 {
            return Ok(false);
        }
        let positive = |options: &mut ArgCursor<'_>, error| {
            let number = options.next().and_then(parse_i64).filter(|&it| 0 < it);
            number.map(|it| it as u64).ok_or(error)
        };
        if options.keyword("COUNT") {
            let count = u64::try_from(options.integer()?).ok().filter(|&it| 0 < it);
            self.count_max = count.unwrap_or(u64::MAX);
        } else if options.keyword("MAXCOUNT") {
            self.budget.limit_entries(positive(options, MAXCOUNT_NOT_POSITIVE)?);
        } else if options.keyword("MAXSIZE") {
            self.budget.limit_bytes(positive(options, MAXSIZE_NOT_POSITIVE)?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Numbers of the arguments that are keys.
    pub(super) fn keys(&self) -> std::ops::Range<usize> {
        self.first_key..self.first_key + self.key_count
    }

    /// Lets the client wait, or replies that there is nothing.
    pub(super) fn wait(
        &self,
        cx: &mut Context<'_, '_>,
        rewritten: Vec<(usize, Box<[u8]>)>,
    ) -> CommandResult {
        if !self.waits {
            cx.reply.null_array();
            return Ok(());
        }
        cx.wait_for(self.keys(), self.deadline, Nothing::NullArray)?;
        if let Some(wait) = &mut cx.effects.wait {
            // A group that goes while somebody waits for it, or its key, ends the wait with an error.
            wait.ends_on_error = self.group.is_some();
            wait.rewritten = rewritten;
            // What is pending becomes old enough without anybody's doing.
            wait.retry_after = self.claim_min_idle.map(|it| it.clamp(RETRY_MIN, RETRY_MAX));
        }
        Ok(())
    }
}

/// Milliseconds between looks at what is pending, for those who wait for that.
const RETRY_MIN: i64 = 10;
const RETRY_MAX: i64 = 1000;

fn min_idle(options: &mut ArgCursor<'_>) -> Result<i64, CommandError> {
    match options.next().and_then(parse_i64) {
        None => Err(IDLE_NOT_INTEGER),
        Some(..0) => Err(IDLE_NEGATIVE),
        Some(min_idle) => Ok(min_idle),
    }
}

/// When a timeout in milliseconds is over; never for 0.
fn deadline(options: &mut ArgCursor<'_>, now: i64) -> Result<Option<i64>, CommandError> {
    match options.next().and_then(parse_i64).ok_or(TIMEOUT_NOT_INTEGER)? {
        ..0 => Err(CommandError::TimeoutNegative),
        0 => Ok(None),
        timeout => now.checked_add(timeout).map(Some).ok_or(CommandError::TimeoutOutOfRange),
    }
}

fn unbalanced(kind: Kind) -> CommandError {
    let (name, symbol) = match kind {
        Kind::Xread => ("xread", '$'),
        Kind::Xreadgroup => ("xreadgroup", '>'),
    };
    let text = format!(
        "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{symbol}' must be specified."
    );
    CommandError::Other(text.into())
}

/// Streams that there is something of, as they are written.
#[derive(Default)]
pub(super) struct Served {
    header: Option<rubine_resp::writer::Deferred>,
    count: usize,
}

impl Served {
    /// Begins a stream's part of the reply.
    pub(super) fn begin(&mut self, cx: &mut Context<'_, '_>, key: Key<'_>) {
        use rubine_resp::writer::Protocol;
        if self.header.is_none() {
            self.header = Some(cx.reply.array_deferred());
        }
        self.count += 1;
        if cx.reply.protocol() == Protocol::Resp2 {
            cx.reply.array(2);
        }
        cx.reply.bulk(key.bytes());
    }

    /// Ends the reply; false if there was nothing.
    pub(super) fn finish(self, cx: &mut Context<'_, '_>) -> bool {
        use rubine_resp::writer::Protocol;
        let Some(header) = self.header else { return false };
        match cx.reply.protocol() {
            Protocol::Resp2 => cx.reply.set_array_len(header, self.count),
            Protocol::Resp3 => cx.reply.set_map_len(header, self.count),
        }
        true
    }
}
