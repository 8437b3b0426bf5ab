//! The order of a sorted set: by score, then by member. Scores are compared as integers whose order is theirs.
//! Never takes NaN.

use std::cmp::Ordering;

/// A score as an integer. Two scores have the order of their integers, save for the two zeros.
#[inline]
pub(super) fn encode(score: f64) -> u64 {
    debug_assert!(!score.is_nan());
    let bits = score.to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

#[inline]
pub(super) fn decode(code: u64) -> f64 {
    f64::from_bits(if code >> 63 == 0 { !code } else { code & !(1 << 63) })
}

/// What a score counts as where scores are compared: zero has no sign then.
#[inline]
pub(super) fn rank_of(code: u64) -> u64 {
    const MINUS_ZERO: u64 = (1 << 63) - 1;
    if code == MINUS_ZERO { MINUS_ZERO + 1 } else { code }
}

/// The beginning of a member as an integer: where two differ, the members have their order.
#[inline]
pub(super) fn prefix_of(member: &[u8]) -> u64 {
    let mut prefix = [0; 8];
    let len = member.len().min(prefix.len());
    prefix[..len].copy_from_slice(&member[..len]);
    u64::from_be_bytes(prefix)
}

/// A place between two elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Position<'a> {
    /// Before the elements with this score.
    BeforeScore(f64),
    /// After the elements with this score.
    AfterScore(f64),
    /// Where all elements have one score: before this member.
    BeforeMember(&'a [u8]),
    /// Where all elements have one score: after this member.
    AfterMember(&'a [u8]),
}

/// A place between two elements, ready to be compared with.
#[derive(Clone, Copy)]
pub(super) struct Probe<'a> {
    /// The score's rank, if the score counts.
    rank: Option<u64>,
    /// The member and its prefix, if the member counts.
    member: Option<(&'a [u8], u64)>,
    /// Whether the place is after the elements that are equal in what counts.
    is_after: bool,
}

impl<'a> Probe<'a> {
    pub(super) fn at(position: Position<'a>) -> Self {
        let score =
            |score, is_after| Self { rank: Some(rank_of(encode(score))), member: None, is_after };
        let member = |member: &'a [u8], is_after| Self {
            rank: None,
            member: Some((member, prefix_of(member))),
            is_after,
        };
        match position {
            Position::BeforeScore(it) => score(it, false),
            Position::AfterScore(it) => score(it, true),
            Position::BeforeMember(it) => member(it, false),
            Position::AfterMember(it) => member(it, true),
        }
    }

    /// The place before one element.
    pub(super) fn before(code: u64, member: &'a [u8]) -> Self {
        let member = Some((member, prefix_of(member)));
        Self { rank: Some(rank_of(code)), member, is_after: false }
    }

    /// The place after one element.
    pub(super) fn after(code: u64, member: &'a [u8]) -> Self {
        Self { is_after: true, ..Self::before(code, member) }
    }

    /// Whether the place is after an element. Its prefix and member are asked for only where they count.
    #[inline]
    pub(super) fn is_behind<'m>(
        &self,
        rank: u64,
        prefix: impl FnOnce() -> u64,
        member: impl FnOnce() -> &'m [u8],
    ) -> bool {
        let by_score = self.rank.map_or(Ordering::Equal, |own| rank.cmp(&own));
        let order = match self.member {
            Some((own, own_prefix)) if by_score.is_eq() => {
                prefix().cmp(&own_prefix).then_with(|| member().cmp(own))
            }
            _ => by_score,
        };
        order.is_lt() || order.is_eq() && self.is_after
    }
}
