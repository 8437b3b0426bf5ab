//! The types of values by the byte that stands before the key. What one byte means depends on the version, since
//! Redis and Valkey use some of them for different things. Reads and writes nothing.

use crate::version::Version;

/// How a value is written. Variants are in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    String,
    List,
    Set,
    /// A sorted set with scores in text.
    SortedSetText,
    Hash,
    SortedSet,
    /// What a module wrote for itself alone, so that nobody else can find its end.
    ModuleOld,
    Module,
    HashZipmap,
    ListZiplist,
    SetIntset,
    SortedSetZiplist,
    HashZiplist,
    ListQuicklist,
    /// With the generation of the format, 1 to 5.
    Stream(u8),
    HashListpack,
    SortedSetListpack,
    ListQuicklist2,
    SetListpack,
    /// Valkey 9.0: each field with an absolute deadline.
    HashDeadlines,
    /// Redis 7.4's release candidate: each field with an absolute deadline before it.
    HashMetadataOld,
    HashListpackExOld,
    /// Redis 7.4: deadlines relative to the first.
    HashMetadata,
    HashListpackEx,
    /// Redis 8.8: a type of its own.
    Array,
    /// Redis 8.10: fields first, then values.
    HashTemplateListpack,
    HashTemplateListpackRef,
    HashTemplateArray,
    HashTemplateArrayRef,
}

impl Kind {
    /// What `byte` stands for in a file or payload of `version`.
    pub fn of(byte: u8, version: Version) -> Option<Self> {
        const PLAIN: [Kind; 8] = [
            Kind::String,
            Kind::List,
            Kind::Set,
            Kind::SortedSetText,
            Kind::Hash,
            Kind::SortedSet,
            Kind::ModuleOld,
            Kind::Module,
        ];
        let kind = match byte {
            0..=7 => PLAIN[usize::from(byte)],
            9 => Self::HashZipmap,
            10 => Self::ListZiplist,
            11 => Self::SetIntset,
            12 => Self::SortedSetZiplist,
            13 => Self::HashZiplist,
            14 => Self::ListQuicklist,
            15 => Self::Stream(1),
            16 => Self::HashListpack,
            17 => Self::SortedSetListpack,
            18 => Self::ListQuicklist2,
            19 => Self::Stream(2),
            20 => Self::SetListpack,
            21 => Self::Stream(3),
            22 if version.is_valkey() => Self::HashDeadlines,
            22.. if !version.has_redis(12) => return None,
            26.. if !version.has_redis(13) => return None,
            27.. if !version.has_redis(14) => return None,
            29.. if !version.has_redis(15) => return None,
            22 => Self::HashMetadataOld,
            23 => Self::HashListpackExOld,
            24 => Self::HashMetadata,
            25 => Self::HashListpackEx,
            26 => Self::Stream(4),
            27 => Self::Stream(5),
            28 => Self::Array,
            29 => Self::HashTemplateListpack,
            30 => Self::HashTemplateListpackRef,
            31 => Self::HashTemplateArray,
            32 => Self::HashTemplateArrayRef,
            _ => return None,
        };
        Some(kind)
    }

    /// The number of a kind that is written.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::String => 0,
            Self::List => 1,
            Self::Set => 2,
            Self::SortedSetText => 3,
            Self::Hash => 4,
            Self::SortedSet => 5,
            Self::ModuleOld => 6,
            Self::Module => 7,
            Self::HashZipmap => 9,
            Self::ListZiplist => 10,
            Self::SetIntset => 11,
            Self::SortedSetZiplist => 12,
            Self::HashZiplist => 13,
            Self::ListQuicklist => 14,
            Self::Stream(1) => 15,
            Self::HashListpack => 16,
            Self::SortedSetListpack => 17,
            Self::ListQuicklist2 => 18,
            Self::Stream(2) => 19,
            Self::SetListpack => 20,
            Self::Stream(3) => 21,
            Self::HashDeadlines | Self::HashMetadataOld => 22,
            Self::HashListpackExOld => 23,
            Self::HashMetadata => 24,
            Self::HashListpackEx => 25,
            Self::Stream(4) => 26,
            Self::Stream(_) => 27,
            Self::Array => 28,
            Self::HashTemplateListpack => 29,
            Self::HashTemplateListpackRef => 30,
            Self::HashTemplateArray => 31,
            Self::HashTemplateArrayRef => 32,
        }
    }

    /// The type that `TYPE` would report, or a name for what it would not.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List | Self::ListZiplist | Self::ListQuicklist | Self::ListQuicklist2 => "list",
            Self::Set | Self::SetIntset | Self::SetListpack => "set",
            Self::SortedSetText
            | Self::SortedSet
            | Self::SortedSetZiplist
            | Self::SortedSetListpack => "zset",
            Self::Stream(_) => "stream",
            Self::ModuleOld | Self::Module => "module",
            Self::Array => "array",
            _ => "hash",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;
    use crate::version::Version;

    #[test]
    fn a_number_means_what_its_version_says() {
        let check = |byte, version, expected| assert_eq!(Kind::of(byte, version), expected);
        check(22, Version::Valkey(80), Some(Kind::HashDeadlines));
        check(22, Version::Redis(12), Some(Kind::HashMetadataOld));
        check(22, Version::Redis(11), None);
        check(24, Version::Valkey(80), None);
        check(24, Version::Redis(12), Some(Kind::HashMetadata));
        check(8, Version::Redis(12), None);
        check(33, Version::Redis(15), None);
        check(255, Version::Redis(15), None);
    }

    #[test]
    fn numbers_go_both_ways() {
        for version in [Version::Redis(15), Version::Valkey(80)] {
            for byte in 0..=u8::MAX {
                if let Some(kind) = Kind::of(byte, version) {
                    assert_eq!(kind.byte(), byte);
                }
            }
        }
    }
}
