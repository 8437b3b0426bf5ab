//! The options EX, PX, EXAT, PXAT, KEEPTTL and PERSIST, which several commands share: how they exclude each other, and
//! what deadline they mean. Never sets one.

use crate::args::ArgCursor;
use crate::context::Context;
use crate::error::CommandError;

/// What a command does about the deadline of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Expiry<'a> {
    /// Nothing is said.
    #[default]
    Unsaid,
    /// `KEEPTTL`
    Keep,
    /// `PERSIST`
    Persist,
    Set(Time<'a>),
}

/// Which of the options that are no time a command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alternative {
    Keep,
    Persist,
}

/// A moment as a client said it. Not a valid one yet: what is wrong with its grammar is told first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time<'a> {
    pub(crate) form: TimeForm,
    pub(crate) text: &'a [u8],
}

/// The unit and the origin of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeForm {
    /// `EX`
    Seconds,
    /// `PX`
    Milliseconds,
    /// `EXAT`
    UnixSeconds,
    /// `PXAT`
    UnixMilliseconds,
}

impl<'a> Expiry<'a> {
    /// Reads the option that has just been passed, if it is one of these. An error if it does not go with what was
    /// said before.
    pub(crate) fn read(
        &mut self,
        option: &[u8],
        options: &mut ArgCursor<'a>,
        alternative: Alternative,
    ) -> Result<bool, CommandError> {
        let form = match option.len() {
            2 if option.eq_ignore_ascii_case(b"EX") => TimeForm::Seconds,
            2 if option.eq_ignore_ascii_case(b"PX") => TimeForm::Milliseconds,
            4 if option.eq_ignore_ascii_case(b"EXAT") => TimeForm::UnixSeconds,
            4 if option.eq_ignore_ascii_case(b"PXAT") => TimeForm::UnixMilliseconds,
            7 => {
                let (name, said): (&[u8], _) = match alternative {
                    Alternative::Keep => (b"KEEPTTL", Self::Keep),
                    Alternative::Persist => (b"PERSIST", Self::Persist),
                };
                let is_it = option.eq_ignore_ascii_case(name);
                return if is_it { self.say(said) } else { Ok(false) };
            }
            _ => return Ok(false),
        };
        self.say(Self::Set(Time { form, text: options.required()? }))
    }

    /// An option may be repeated, then the last counts; two different ones exclude each other.
    fn say(&mut self, said: Self) -> Result<bool, CommandError> {
        let is_repetition = match (*self, said) {
            (Self::Unsaid, _) => true,
            (Self::Set(old), Self::Set(new)) => old.form == new.form,
            (old, new) => old == new,
        };
        if !is_repetition {
            return Err(CommandError::Syntax);
        }
        *self = said;
        Ok(true)
    }
}

impl Time<'_> {
    /// The moment in Unix milliseconds.
    pub(crate) fn deadline(self, cx: &Context<'_, '_>) -> Result<i64, CommandError> {
        let number = rubine_base::number::parse_i64(self.text).ok_or(CommandError::NotInteger)?;
        let deadline = (0 < number).then_some(number).and_then(|number| match self.form {
            TimeForm::Seconds => number.checked_mul(1000)?.checked_add(cx.now),
            TimeForm::Milliseconds => number.checked_add(cx.now),
            TimeForm::UnixSeconds => number.checked_mul(1000),
            TimeForm::UnixMilliseconds => Some(number),
        });
        deadline.ok_or_else(|| {
            let name = String::from_utf8_lossy(cx.args.at(0)).to_lowercase();
            CommandError::InvalidExpire(name)
        })
    }
}

/// Whether a key that is given this deadline goes at once. Where a master, a log or an import says itself when a key
/// goes, it stays.
pub(crate) fn is_over(cx: &Context<'_, '_>, deadline: i64) -> bool {
    deadline <= cx.now && cx.keys.removes_due()
}
