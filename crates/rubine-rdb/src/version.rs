//! The versions of the format: what a file starts with, what the footer of a payload says, and what each may hold.
//! Decides nothing about data, only about what can be said in which version.

use std::fmt;

use rubine_structures::stream::Stream;
use rubine_structures::value::ValueRef;

/// The format of a file or payload. Up to 11 Redis and Valkey share it; after that, each numbers its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// What starts with `REDIS`.
    Redis(u16),
    /// What starts with `VALKEY`: 80 and later.
    Valkey(u16),
}

/// Which versions are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionCheck {
    /// Those that are known.
    #[default]
    Strict,
    /// Later ones too, as long as nothing unknown turns up in them: `rdb-version-check relaxed`.
    Relaxed,
}

/// Bytes of `REDIS0011` or `VALKEY080`.
pub const MAGIC_BYTES: usize = 9;

const REDIS_LAST: u16 = 15;
const VALKEY_FIRST: u16 = 80;
const VALKEY_LAST: u16 = 80;
const NUMBER_MAX: u16 = 9999;

impl Version {
    /// The newest version that Redis 7.2 and later and every Valkey read.
    pub const COMMON: Self = Self::Redis(11);
    /// The first version of Valkey, in which the fields of a hash can have deadlines.
    pub const VALKEY_FIELD_DEADLINES: Self = Self::Valkey(VALKEY_FIRST);
    /// The first version of Redis with such hashes.
    pub const REDIS_FIELD_DEADLINES: Self = Self::Redis(12);
    /// The first version in which a stream has what is known of its producers.
    pub const REDIS_PRODUCERS: Self = Self::Redis(13);
    /// The first version in which pending entries of a stream may belong to no consumer.
    pub const REDIS_GIVEN_BACK: Self = Self::Redis(14);

    /// What the first bytes of a file say.
    pub fn from_magic(magic: &[u8; MAGIC_BYTES]) -> Option<Self> {
        let (digits, is_valkey) = match magic {
            [b'R', b'E', b'D', b'I', b'S', digits @ ..] => (&digits[..], false),
            [b'V', b'A', b'L', b'K', b'E', b'Y', digits @ ..] => (&digits[..], true),
            _ => return None,
        };
        let number = digits.iter().try_fold(0, |number: u16, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u16::from(digit - b'0'))
        })?;
        let version = if is_valkey { Self::Valkey(number) } else { Self::Redis(number) };
        version.is_possible().then_some(version)
    }

    /// What the two bytes in the footer of a payload say, or what the directive `rdb-version` names.
    pub fn from_number(number: u16) -> Option<Self> {
        let version =
            if number < VALKEY_FIRST { Self::Redis(number) } else { Self::Valkey(number) };
        version.is_possible().then_some(version)
    }

    /// The number alone.
    pub fn number(self) -> u16 {
        match self {
            Self::Redis(number) | Self::Valkey(number) => number,
        }
    }

    /// What a file of this version starts with.
    pub fn magic(self) -> [u8; MAGIC_BYTES] {
        let text = match self {
            Self::Redis(number) => format!("REDIS{number:04}"),
            Self::Valkey(number) => format!("VALKEY{number:03}"),
        };
        text.into_bytes().try_into().expect("numbers have at most four digits, or three")
    }

    /// Whether files of this version can be read.
    pub fn is_read(self, check: VersionCheck) -> bool {
        let is_known = match self {
            Self::Redis(number) => number <= REDIS_LAST,
            Self::Valkey(number) => number <= VALKEY_LAST,
        };
        is_known || check == VersionCheck::Relaxed
    }

    /// Whether [`crate::encode::Encoder`] writes this version.
    pub fn is_written(self) -> bool {
        match self {
            Self::Redis(number) => (9..=REDIS_LAST).contains(&number),
            Self::Valkey(number) => number == VALKEY_LAST,
        }
    }

    /// The newest version that the most servers read and that can hold `value`.
    pub fn newest_common(value: ValueRef<'_>) -> Self {
        Self::holding(value)[0]
    }

    /// This version, or the next that holds `value` too. Redis's versions after 11 hold all that earlier ones and
    /// Valkey's do.
    #[must_use]
    pub fn or_holding(self, value: ValueRef<'_>) -> Self {
        let needed = Self::newest_common(value);
        match (self, needed) {
            (_, Self::COMMON) => self,
            (Self::Redis(own), Self::Redis(number)) => Self::Redis(own.max(number)),
            (Self::Redis(own), Self::Valkey(_)) if Self::COMMON.number() < own => self,
            _ => needed,
        }
    }

    /// The versions that can hold `value`, to be offered to a server of which nothing is known: the one that the most
    /// servers read first.
    pub fn holding(value: ValueRef<'_>) -> &'static [Self] {
        match value {
            ValueRef::Hash(hash) if hash.has_deadlines() => {
                &[Self::VALKEY_FIELD_DEADLINES, Self::REDIS_FIELD_DEADLINES]
            }
            ValueRef::Stream(stream) if has_given_back(stream) => &[Self::REDIS_GIVEN_BACK],
            ValueRef::Stream(stream) if stream.producers().is_some() => {
                &[Self::REDIS_PRODUCERS, Self::REDIS_GIVEN_BACK]
            }
            // Redis 7.2 and Valkey read the first, Redis 7.0 the second, Redis 5 and 6 the last.
            _ => &[Self::COMMON, Self::Redis(10), Self::Redis(9)],
        }
    }

    /// Whether this version has everything that Redis's version `number` brought. Valkey left at 11.
    pub(crate) fn has_redis(self, number: u16) -> bool {
        match self {
            Self::Redis(own) => number <= own,
            Self::Valkey(_) => number <= Self::COMMON.number(),
        }
    }

    pub fn is_valkey(self) -> bool {
        matches!(self, Self::Valkey(_))
    }

    fn is_possible(self) -> bool {
        match self {
            Self::Redis(number) => (1..=NUMBER_MAX).contains(&number),
            Self::Valkey(number) => VALKEY_FIRST <= number,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(number) => write!(f, "{number}"),
            Self::Valkey(number) => write!(f, "{number} of Valkey"),
        }
    }
}

/// Whether entries were given back to a group.
pub(crate) fn has_given_back(stream: &Stream) -> bool {
    stream.groups().any(|(_, group)| {
        let owned: usize = group.consumers().map(|(_, it)| it.pending_count()).sum();
        owned < group.pending_count()
    })
}

#[cfg(test)]
mod tests {
    use super::{Version, VersionCheck};

    #[test]
    fn files_say_their_version_first() {
        let check = |magic: &[u8; 9], expected| assert_eq!(Version::from_magic(magic), expected);
        check(b"REDIS0001", Some(Version::Redis(1)));
        check(b"REDIS0011", Some(Version::Redis(11)));
        check(b"VALKEY080", Some(Version::Valkey(80)));
        check(b"REDIS0987", Some(Version::Redis(987)));
        for refused in [b"REDIS0000", b"VALKEY011", b"REDIS-001", b"redis0011", b"VALKEY08 "] {
            check(refused, None);
        }
        for version in [Version::Redis(11), Version::Valkey(80)] {
            assert_eq!(Version::from_magic(&version.magic()), Some(version));
            assert_eq!(Version::from_number(version.number()), Some(version));
        }
    }

    #[test]
    fn versions_of_the_future_are_read_only_if_asked() {
        for version in [Version::Redis(16), Version::Redis(987), Version::Valkey(81)] {
            assert!(!version.is_read(VersionCheck::Strict));
            assert!(version.is_read(VersionCheck::Relaxed));
        }
        for version in [Version::Redis(1), Version::Redis(15), Version::Valkey(80)] {
            assert!(version.is_read(VersionCheck::Strict));
        }
    }

    #[test]
    fn each_family_has_its_own_after_eleven() {
        assert!(Version::Redis(12).has_redis(12));
        assert!(!Version::Valkey(80).has_redis(12));
        assert!(Version::Valkey(80).has_redis(11));
    }
}
