//! What a master answers, as it is meant. Decides nothing.

use rubine_journal::{HistoryId, ReplicationOffset};

use super::{DumpForm, MARK_BYTES, Place, Way};

/// An answer to PSYNC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It goes on, perhaps under another name.
    Continue(Option<HistoryId>),
    /// Everything comes, up to this place.
    FullResync(Place),
    /// Everything comes, over a connection of its own.
    Apart(Way),
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It may be different soon.
    Later,
    /// It knows the command, and does not let this replica have it.
    Denied,
    /// It does not know the command, or what was asked.
    Unknown,
}

pub(super) enum DumpHeader {
    Form(DumpForm),
    Error,
    Other,
}

/// Whether a master that answers so to PING may be introduced to: it may want a password first.
pub(super) fn may_go_on_after_ping(line: &[u8]) -> bool {
    const TOLERATED: [&[u8]; 4] = [b"+", b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted"];
    TOLERATED.iter().any(|it| line.starts_with(it))
}

pub(super) fn answer_to_psync(line: &[u8]) -> Answer {
    let mut words = line.split(|it| *it == b' ').filter(|it| !it.is_empty());
    match words.next().unwrap_or_default() {
        b"+CONTINUE" => Answer::Continue(words.next().and_then(HistoryId::parse)),
        b"+FULLRESYNC" => {
            let id = words.next().and_then(HistoryId::parse);
            let offset = words.next().and_then(number).map(ReplicationOffset);
            let place = id.zip(offset).map(|(id, offset)| Place { id, offset });
            place.map_or(Answer::Refused(Refusal::Later), Answer::FullResync)
        }
        b"+DUALCHANNELSYNC" => Answer::Apart(Way::Dual),
        b"+RDBCHANNELSYNC" => {
            let main = words.next().and_then(number);
            main.map_or(Answer::Refused(Refusal::Later), |main| Answer::Apart(Way::Rdb { main }))
        }
        b"-NOMASTERLINK" | b"-LOADING" | b"-BUSY" | b"-MASTERDOWN" => {
            Answer::Refused(Refusal::Later)
        }
        b"-NOPERM" | b"-NOAUTH" => Answer::Refused(Refusal::Denied),
        _ => Answer::Refused(Refusal::Unknown),
    }
}

pub(super) fn dump_header(line: &[u8]) -> DumpHeader {
    match line {
        [b'-', ..] => DumpHeader::Error,
        [b'$', rest @ ..] => {
            let mark = rest.strip_prefix(b"EOF:").map(<[u8; MARK_BYTES]>::try_from);
            match (mark, number(rest)) {
                (Some(Ok(mark)), _) => DumpHeader::Form(DumpForm::Mark(mark)),
                (None, Some(length)) => DumpHeader::Form(DumpForm::Length(length)),
                _ => DumpHeader::Other,
            }
        }
        _ => DumpHeader::Other,
    }
}

/// Where the dump on a second connection is, in Valkey's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DumpPlace {
    pub(super) place: Place,
    /// The database that is selected in the stream there, if one is.
    pub(super) database: Option<u32>,
    /// The master's number for the second connection.
    pub(super) channel: u64,
}

/// `$ENDOFF:offset id database client`.
pub(super) fn dump_place(line: &[u8]) -> Option<DumpPlace> {
    let mut words = line.strip_prefix(b"$ENDOFF:")?.split(|it| *it == b' ');
    let offset = ReplicationOffset(number(words.next()?)?);
    let id = HistoryId::parse(words.next()?)?;
    // It is -1 where none is selected.
    let database = rubine_base::number::parse_i64(words.next()?)?;
    let channel = number(words.next()?)?;
    let is_over = words.next().is_none();
    let place = Place { id, offset };
    is_over.then_some(DumpPlace { place, database: u32::try_from(database).ok(), channel })
}

/// A number that is not negative, and fits where others count with a sign.
fn number(text: &[u8]) -> Option<u64> {
    let number = rubine_base::number::parse_i64(text)?;
    u64::try_from(number).ok()
}
