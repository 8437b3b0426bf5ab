//! What master and replica say to each other when they compare what they have. Whatever comes from the other side is
//! looked at before it is believed.

use std::fmt;

use rubine_resp::command::{INTO_MEMORY, write_command};
use thiserror::Error;

use super::{BUCKETS, LISTED_BUCKETS_MAX};

const PREFIX: &[u8] = b"verify:";
/// The name of a replica, which it chooses itself, is not longer.
const NAME_BYTES_MAX: usize = 64;
/// Of an address, so much is shown.
const ADDRESS_CHARS_MAX: usize = 300;
/// Of a reason, so much is shown.
const REASON_CHARS_MAX: usize = 512;

/// One comparison. Random, since it is also what digests are made with: no two are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl RunId {
    fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != 16 {
            return None;
        }
        u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok().map(Self)
    }
}

/// What the master asks of its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Take an image here. What is due at `now`, in Unix milliseconds, does not count on either side.
    Begin { run: RunId, now: i64 },
    /// The replica of this name is to list the keys of these buckets.
    List { run: RunId, round: u32, name: String, buckets: Vec<u16> },
    /// The image is of no use any more.
    End { run: RunId },
}

impl Request {
    /// What stands behind REPLCONF GETACK.
    pub fn text(&self) -> String {
        match self {
            Self::Begin { run, now } => format!("verify:{run}:begin:{now}"),
            Self::List { run, round, name, buckets } => {
                let buckets: String = buckets.iter().map(|it| format!("{it:04x}")).collect();
                format!("verify:{run}:list:{round}:{name}:{buckets}")
            }
            Self::End { run } => format!("verify:{run}:end"),
        }
    }

    /// Reads what stands behind REPLCONF GETACK; `None` if it is the plain question.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = text.strip_prefix(PREFIX)?.split(|it| *it == b':');
        let run = RunId::parse(parts.next()?)?;
        let kind = parts.next()?;
        let mut next = || parts.next().and_then(|it| std::str::from_utf8(it).ok());
        match kind {
            b"begin" => Some(Self::Begin { run, now: next()?.parse().ok()? }),
            b"list" => {
                let round = next()?.parse().ok()?;
                let name = next()?.to_owned();
                let buckets = parse_buckets(next()?.as_bytes())?;
                Some(Self::List { run, round, name, buckets })
            }
            b"end" => Some(Self::End { run }),
            _ => None,
        }
    }
}

fn parse_buckets(text: &[u8]) -> Option<Vec<u16>> {
    let is_good = text.len().is_multiple_of(4) && text.len() / 4 <= LISTED_BUCKETS_MAX;
    if !is_good {
        return None;
    }
    let bucket = |digits: &[u8]| {
        let number = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        Some(number).filter(|it| usize::from(*it) < BUCKETS)
    };
    text.chunks_exact(4).map(bucket).collect()
}

/// Whose answer it is, to what: `RUN:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub run: RunId,
    /// How it is asked for keys: random, and chosen by itself.
    pub name: String,
}

impl fmt::Display for Sender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.run, self.name)
    }
}

impl Sender {
    fn parse(text: &[u8]) -> Option<Self> {
        let (run, name) = text.split_at_checked(16)?;
        let name = std::str::from_utf8(name).ok()?.strip_prefix(':')?;
        let is_name = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.bytes().all(|it| it.is_ascii_alphanumeric());
        Some(Self { run: RunId::parse(run)?, name: name.to_owned() }).filter(|_| is_name)
    }
}

/// What a replica answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has the image, and so many replicas that will answer, too. Where it is reached stands in front, once a master has
    /// passed it on.
    Begun { address: String, replicas: u32 },
    /// The digests of all buckets.
    Digests(Box<[u64]>),
    /// Some keys of the buckets that it was asked for, as [`key_digests`] reads them.
    Keys(Box<[u8]>),
    /// These were all.
    Listed { round: u32 },
    /// It cannot, for this reason.
    Refused { reason: String },
}

/// An answer that no replica gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a replica's answer about what it has cannot be read")]
pub struct Malformed;

impl Answer {
    /// The whole of it, as it is sent.
    pub fn command(&self, sender: &Sender) -> Vec<u8> {
        let (kind, payload) = self.words();
        let (mut bytes, sender) = (Vec::new(), sender.to_string());
        let words: [&[u8]; 5] = [b"REPLCONF", b"VERIFY", sender.as_bytes(), kind, &payload];
        write_command(&words, &mut bytes).expect(INTO_MEMORY);
        bytes
    }

    fn words(&self) -> (&'static [u8], Vec<u8>) {
        match self {
            Self::Begun { address, replicas } => {
                (b"BEGUN", format!("{address} {replicas}").into_bytes())
            }
            Self::Digests(digests) => {
                (b"DIGESTS", digests.iter().flat_map(|it| it.to_le_bytes()).collect())
            }
            Self::Keys(bytes) => (b"KEYS", bytes.to_vec()),
            Self::Listed { round } => (b"LISTED", round.to_string().into_bytes()),
            Self::Refused { reason } => (b"REFUSED", reason.clone().into_bytes()),
        }
    }

    /// Reads what stands behind REPLCONF VERIFY.
    pub fn parse(sender: &[u8], kind: &[u8], payload: &[u8]) -> Result<(Sender, Self), Malformed> {
        let sender = Sender::parse(sender).ok_or(Malformed)?;
        let text = || std::str::from_utf8(payload).map_err(|_| Malformed);
        let answer = match kind {
            b"BEGUN" => {
                let (address, replicas) = text()?.rsplit_once(' ').ok_or(Malformed)?;
                let replicas = replicas.parse().map_err(|_| Malformed)?;
                Self::Begun { address: shown(address.as_bytes(), ADDRESS_CHARS_MAX), replicas }
            }
            b"DIGESTS" => {
                let (digests, rest) = payload.as_chunks::<8>();
                if digests.len() != BUCKETS || !rest.is_empty() {
                    return Err(Malformed);
                }
                Self::Digests(digests.iter().map(|it| u64::from_le_bytes(*it)).collect())
            }
            b"KEYS" => Self::Keys(payload.into()),
            b"LISTED" => Self::Listed { round: text()?.parse().map_err(|_| Malformed)? },
            b"REFUSED" => Self::Refused { reason: shown(payload, REASON_CHARS_MAX) },
            _ => return Err(Malformed),
        };
        Ok((sender, answer))
    }
}

/// So much of a text of the other side as is shown, in one line.
fn shown(text: &[u8], chars_max: usize) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().filter(|it| !it.is_control()).take(chars_max).collect()
}

/// A key and the digest of what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDigest<'a> {
    pub db: u32,
    pub key: &'a [u8],
    pub digest: u64,
}

/// | bytes | field |
/// |---|---|
/// | 4 | database |
/// | 8 | digest |
/// | 4 | length of the key |
/// | + | the key |
///
/// All numbers are little-endian.
pub fn write_key_digest(it: KeyDigest<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&it.db.to_le_bytes());
    out.extend_from_slice(&it.digest.to_le_bytes());
    out.extend_from_slice(&(it.key.len() as u32).to_le_bytes());
    out.extend_from_slice(it.key);
}

/// The keys of an answer.
pub fn key_digests(bytes: &[u8]) -> impl Iterator<Item = Result<KeyDigest<'_>, Malformed>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let read = take_key_digest(&mut rest).ok_or(Malformed);
        if read.is_err() {
            rest = &[];
        }
        Some(read)
    })
}

fn take_key_digest<'a>(rest: &mut &'a [u8]) -> Option<KeyDigest<'a>> {
    let db = u32::from_le_bytes(take(rest)?);
    let digest = u64::from_le_bytes(take(rest)?);
    let len = u32::from_le_bytes(take(rest)?);
    let (key, left) = rest.split_at_checked(len as usize)?;
    *rest = left;
    Some(KeyDigest { db, key, digest })
}

fn take<const LEN: usize>(rest: &mut &[u8]) -> Option<[u8; LEN]> {
    let (bytes, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_read_as_they_were_written() {
        let run = RunId(0xab);
        let name = "0f".repeat(20);
        for (request, text) in [
            (Request::Begin { run, now: 17 }, "verify:00000000000000ab:begin:17".to_owned()),
            (
                Request::List { run, round: 3, name: name.clone(), buckets: vec![0, 0x3fff] },
                format!("verify:00000000000000ab:list:3:{name}:00003fff"),
            ),
            (Request::End { run }, "verify:00000000000000ab:end".to_owned()),
        ] {
            assert_eq!(request.text(), text);
            assert_eq!(Request::parse(text.as_bytes()), Some(request));
        }
        for text in ["*", "", "verify:", "verify:1:end", "verify:00000000000000ab:list:3:x:4000"] {
            assert_eq!(Request::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn answers_are_read_as_they_were_written() {
        let sender = Sender { run: RunId(7), name: "ab12".to_owned() };
        let mut keys = Vec::new();
        let key = KeyDigest { db: 3, key: b"k\r\n", digest: 9 };
        write_key_digest(key, &mut keys);
        assert_eq!(key_digests(&keys).collect::<Vec<_>>(), [Ok(key)]);
        for answer in [
            Answer::Begun { address: "10.0.0.1:7000".to_owned(), replicas: 2 },
            Answer::Begun { address: String::new(), replicas: 0 },
            Answer::Digests((0..BUCKETS as u64).collect()),
            Answer::Keys(keys.into()),
            Answer::Listed { round: 4 },
            Answer::Refused { reason: "no".to_owned() },
        ] {
            let (kind, payload) = answer.words();
            let read = Answer::parse(sender.to_string().as_bytes(), kind, &payload);
            assert_eq!(read, Ok((sender.clone(), answer)));
        }
        for (kind, payload) in
            [(&b"BEGUN"[..], &b"a"[..]), (b"DIGESTS", b"1"), (b"LISTED", b"x"), (b"X", b"")]
        {
            assert_eq!(Answer::parse(b"0000000000000007:a", kind, payload), Err(Malformed));
        }
    }

    proptest! {
        #[test]
        fn nothing_that_comes_is_too_much(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Request::parse(&bytes);
            let _ = Request::parse(&[b"verify:00000000000000ab:list:".as_slice(), &bytes].concat());
            let found: Vec<_> = key_digests(&bytes).collect();
            prop_assert!(found.len() <= bytes.len());
            for kind in [&b"BEGUN"[..], b"DIGESTS", b"KEYS", b"LISTED", b"REFUSED"] {
                let _ = Answer::parse(b"0000000000000007:a", kind, &bytes);
                let _ = Answer::parse(&bytes, kind, b"1");
            }
        }
    }
}
