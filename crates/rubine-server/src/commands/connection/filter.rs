//! Which clients CLIENT LIST and CLIENT KILL are about: every criterion of Valkey 9, wanted or unwanted.
//! Looks only at what clients have published.

use std::sync::atomic::Ordering;

use rubine_acl::Users;
use rubine_base::number::parse_i64;
use rubine_commands::{Args, CommandError};

use crate::client::line::{flag_letters, has_flag};
use crate::client::{ClientFlags, ClientInfo};

/// The letters that CLIENT LIST may show as flags.
const FLAG_LETTERS: &[u8] = b"OSMPxbtRBdcuAUreTIiqEN";
/// The letters of capabilities.
const CAPA_LETTERS: &[u8] = b"r";

/// Who asks, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) id: u64,
    /// Unix milliseconds.
    pub(super) now: i64,
}

/// What a filter may name.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) databases: usize,
    pub(super) users: &'a Users,
}

/// Criteria that must all be met.
#[derive(Debug)]
pub(super) struct ClientFilter<'a> {
    pub(super) skips_asker: bool,
    age_seconds_min: Option<i64>,
    idle_seconds_min: Option<i64>,
    wanted: Criteria<'a>,
    /// None of these may be met.
    unwanted: Criteria<'a>,
}

#[derive(Debug, Default)]
struct Criteria<'a> {
    ids: Option<Vec<i64>>,
    kind: Option<Kind>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    ip: Option<&'a [u8]>,
    user: Option<&'a [u8]>,
    flags: Option<&'a [u8]>,
    capa: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
    library_name: Option<&'a [u8]>,
    library_version: Option<&'a [u8]>,
    db: Option<usize>,
}

/// What sort of connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    Replica,
    Primary,
    PubSub,
    SlotImport,
    SlotExport,
}

impl Kind {
    fn of(info: &ClientInfo) -> Self {
        match info.flags() {
            // One that watches is a replica to nobody.
            flags if flags.contains(ClientFlags::MASTER) => Self::Primary,
            flags if flags.contains(ClientFlags::REPLICA) => Self::Replica,
            flags if flags.contains(ClientFlags::SLOT_IMPORT) => Self::SlotImport,
            flags if flags.contains(ClientFlags::SLOT_EXPORT) => Self::SlotExport,
            flags if flags.contains(ClientFlags::PUBSUB) => Self::PubSub,
            _ => Self::Normal,
        }
    }

    fn parse(name: &[u8]) -> Result<Self, CommandError> {
        let kinds: [(&[u8], Self); 8] = [
            (b"normal", Self::Normal),
            (b"slave", Self::Replica),
            (b"replica", Self::Replica),
            (b"pubsub", Self::PubSub),
            (b"master", Self::Primary),
            (b"primary", Self::Primary),
            (b"slot-import", Self::SlotImport),
            (b"slot-export", Self::SlotExport),
        ];
        let found = kinds.into_iter().find(|(it, _)| it.eq_ignore_ascii_case(name));
        let unknown = || failed(&format!("Unknown client type '{}'", shown(name)));
        found.map(|(_, kind)| kind).ok_or_else(unknown)
    }
}

/// Whether a criterion is to be met or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sense {
    Wanted,
    Unwanted,
}

impl<'a> ClientFilter<'a> {
    /// A filter that lets everybody through but, if so asked, the asker.
    pub(super) fn new(skips_asker: bool) -> Self {
        Self {
            skips_asker,
            age_seconds_min: None,
            idle_seconds_min: None,
            wanted: Criteria::default(),
            unwanted: Criteria::default(),
        }
    }

    /// A filter for one address.
    pub(super) fn of_address(address: &'a [u8]) -> Self {
        let mut filter = Self::new(false);
        filter.wanted.address = Some(address);
        filter
    }

    /// Adds the criteria in `args` from number `from` on. Of one given twice the later counts, but numbers add up.
    pub(super) fn parse(
        &mut self,
        args: Args<'a>,
        from: usize,
        known: Known<'_>,
    ) -> Result<(), CommandError> {
        let mut at = from;
        while let Some(option) = args.get(at) {
            let (sense, name) = match option.split_at_checked(4) {
                Some((not, name)) if not.eq_ignore_ascii_case(b"NOT-") => (Sense::Unwanted, name),
                _ => (Sense::Wanted, option),
            };
            at += 1;
            if name.eq_ignore_ascii_case(b"ID") {
                at = self.criteria(sense).parse_ids(args, at)?;
                continue;
            }
            let value = args.get(at).ok_or(CommandError::Syntax)?;
            at += 1;
            if sense == Sense::Unwanted || !self.parse_single(name, value)? {
                self.criteria(sense).parse(sense, name, value, known)?;
            }
        }
        Ok(())
    }

    fn criteria(&mut self, sense: Sense) -> &mut Criteria<'a> {
        match sense {
            Sense::Wanted => &mut self.wanted,
            Sense::Unwanted => &mut self.unwanted,
        }
    }

    /// Reads an option that cannot be turned into its opposite; returns whether it is one.
    fn parse_single(&mut self, name: &[u8], value: &[u8]) -> Result<bool, CommandError> {
        if name.eq_ignore_ascii_case(b"SKIPME") {
            let is_yes = value.eq_ignore_ascii_case(b"yes");
            if !is_yes && !value.eq_ignore_ascii_case(b"no") {
                return Err(CommandError::Syntax);
            }
            self.skips_asker = is_yes;
        } else if name.eq_ignore_ascii_case(b"MAXAGE") {
            self.age_seconds_min = Some(seconds("maxage", value)?);
        } else if name.eq_ignore_ascii_case(b"IDLE") {
            self.idle_seconds_min = Some(seconds("idle", value)?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether a client is one of those that are meant.
    pub(super) fn lets_through(&self, info: &ClientInfo, asker: Asker) -> bool {
        let seconds_since = |moment: i64| asker.now / 1000 - moment / 1000;
        let last_interaction = info.last_interaction.load(Ordering::Relaxed);
        let is_old = |min: Option<i64>, since: i64| min.is_none_or(|it| it <= seconds_since(since));
        !(self.skips_asker && info.id == asker.id)
            && is_old(self.age_seconds_min, info.connected_at)
            && is_old(self.idle_seconds_min, last_interaction)
            && self.wanted.answers(info, asker.now).all(|is_met| is_met)
            && !self.unwanted.answers(info, asker.now).any(|is_met| is_met)
    }
}

impl<'a> Criteria<'a> {
    /// Reads numbers as long as there are any; returns where they end.
    fn parse_ids(&mut self, args: Args<'a>, from: usize) -> Result<usize, CommandError> {
        let ids = self.ids.get_or_insert_default();
        let mut at = from;
        while let Some(id) = args.get(at).and_then(parse_i64) {
            if id < 1 {
                return Err(failed("client-id should be greater than 0"));
            }
            ids.push(id);
            at += 1;
        }
        Ok(at)
    }

    fn parse(
        &mut self,
        sense: Sense,
        name: &[u8],
        value: &'a [u8],
        known: Known<'_>,
    ) -> Result<(), CommandError> {
        let place = match name.to_ascii_uppercase().as_slice() {
            b"TYPE" => {
                self.kind = Some(Kind::parse(value)?);
                return Ok(());
            }
            b"DB" => {
                self.db = Some(parse_db(sense, value, known.databases)?);
                return Ok(());
            }
            b"ADDR" => &mut self.address,
            b"LADDR" => &mut self.local_address,
            b"IP" => &mut self.ip,
            b"USER" => {
                if known.users.get(value).is_none() {
                    return Err(failed(&format!("No such user '{}'", shown(value))));
                }
                &mut self.user
            }
            b"FLAGS" => {
                check_letters(sense, ["flags", "FLAGS"], FLAG_LETTERS, value)?;
                &mut self.flags
            }
            b"CAPA" => {
                check_letters(sense, ["capa", "CAPA"], CAPA_LETTERS, value)?;
                &mut self.capa
            }
            b"NAME" => &mut self.name,
            b"LIB-NAME" => &mut self.library_name,
            b"LIB-VER" => &mut self.library_version,
            _ => return Err(CommandError::Syntax),
        };
        *place = Some(value);
        Ok(())
    }

    /// For each criterion that was given, whether `info` meets it.
    fn answers(&self, info: &ClientInfo, now: i64) -> impl Iterator<Item = bool> {
        let names = info.names.lock();
        // What a client has not told is equal to nothing.
        let is_same =
            |wanted: Option<&[u8]>, value: &[u8]| wanted.map(|it| !value.is_empty() && value == it);
        let flags = info.flags_at(now);
        [
            self.ids.as_ref().map(|it| it.contains(&(info.id as i64))),
            self.kind.map(|it| it == Kind::of(info)),
            is_same(self.address, info.address.as_bytes()),
            is_same(self.local_address, info.local_address.as_bytes()),
            self.ip.map(|it| has_ip(info.address.as_bytes(), it)),
            is_same(self.user, &names.user),
            self.flags.map(|it| has_flags(flags, it)),
            self.capa.map(|it| it.is_empty() || flags.contains(ClientFlags::CAPA_REDIRECT)),
            is_same(self.name, &names.name),
            is_same(self.library_name, &names.library_name),
            is_same(self.library_version, &names.library_version),
            self.db.map(|it| it == info.db.load(Ordering::Relaxed)),
        ]
        .into_iter()
        .flatten()
    }
}

fn has_flags(flags: ClientFlags, letters: &[u8]) -> bool {
    letters.iter().all(|&letter| match letter {
        b'N' => flag_letters(flags) == "N",
        letter => has_flag(flags, letter),
    })
}

/// Whether `address`, as `ip:port` or `[ip]:port`, is of that IP address.
fn has_ip(address: &[u8], ip: &[u8]) -> bool {
    let Some(colon) = address.iter().rposition(|&it| it == b':') else { return false };
    let (host, port) = (&address[..colon], &address[colon + 1..]);
    let host = host.strip_prefix(b"[").and_then(|it| it.strip_suffix(b"]")).unwrap_or(host);
    // A unix socket has the port 0.
    host == ip && port != b"0"
}

fn seconds(name: &str, value: &[u8]) -> Result<i64, CommandError> {
    match parse_i64(value) {
        None => Err(failed(&format!("{name} is not an integer or out of range"))),
        Some(..=0) => Err(failed(&format!("{name} should be greater than 0"))),
        Some(seconds) => Ok(seconds),
    }
}

fn parse_db(sense: Sense, value: &[u8], databases: usize) -> Result<usize, CommandError> {
    let name = if sense == Sense::Wanted { "DB" } else { "NOT-DB" };
    let number = parse_i64(value).and_then(|it| i32::try_from(it).ok());
    let Some(number) = number else {
        return Err(failed(&format!("{name} is not an integer or out of range")));
    };
    let db = usize::try_from(number).ok().filter(|&it| it < databases);
    db.ok_or_else(|| failed(&format!("{name} number should be between 0 and {}", databases - 1)))
}

/// Checks that all letters are known. `names` are the option's, in small letters and capitals.
fn check_letters(
    sense: Sense,
    names: [&str; 2],
    known: &[u8],
    letters: &[u8],
) -> Result<(), CommandError> {
    if letters.iter().all(|it| known.contains(it)) {
        return Ok(());
    }
    let [small, capital] = names;
    let filter = match sense {
        Sense::Wanted => "provided".to_owned(),
        Sense::Unwanted => format!("NOT-{capital}"),
    };
    Err(failed(&format!("Unknown {small} found in the {filter} filter: {}", shown(letters))))
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn failed(reason: &str) -> CommandError {
    CommandError::Other(format!("ERR {reason}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ip_is_compared_whole() {
        let cases = [
            ("127.0.0.1:5000", "127.0.0.1", true),
            ("127.0.0.1:5000", "127.0.0", false),
            ("127.0.0.1:5000", "127.0.0.1:5000", false),
            ("[::1]:5000", "::1", true),
            ("[::1]:5000", "::", false),
            ("/tmp/socket:0", "/tmp/socket", false),
            ("127.0.0.1:5000", "", false),
        ];
        for (address, ip, is_same) in cases {
            assert_eq!(has_ip(address.as_bytes(), ip.as_bytes()), is_same, "{address} {ip}");
        }
    }
}
