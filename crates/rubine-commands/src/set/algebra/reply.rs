//! How the result of set algebra goes to the client: at once if the sets are small, else by a stream that computes while
//! it writes. Never holds more of the result than a bit a member.

use rubine_resp::writer::{Progress, Reply, ReplyStream};

use super::merge::{Merge, Sequence};
use crate::set::read::{MEMBERS_AT_ONCE_MAX, cost_of};
use crate::set::write_member;

/// What it costs a stream to find out about a member, in bytes written.
const LOOK_COST: usize = 64;

/// Writes the members of the result, as a set.
pub(super) fn write_members(reply: &mut Reply<'_>, mut merge: Merge) {
    if !is_small(&merge) {
        return reply.stream(Box::new(Members::Count { merge, chosen: Chosen::default() }));
    }
    let header = reply.array_deferred();
    let mut count = 0;
    let mut has_more = true;
    while has_more {
        has_more = merge.visit_some(|member, is_in| {
            if is_in {
                write_member(reply, member);
                count += 1;
            }
        });
    }
    reply.set_set_len(header, count);
}

/// Writes how many members the result has, or `limit` if they are more.
pub(super) fn write_count(reply: &mut Reply<'_>, merge: Merge, limit: u64) {
    let is_small = is_small(&merge);
    let mut count = Count { merge, found: 0, limit };
    if is_small {
        count.fill(reply, usize::MAX);
    } else {
        reply.stream(Box::new(count));
    }
}

fn is_small(merge: &Merge) -> bool {
    merge.len() <= MEMBERS_AT_ONCE_MAX
}

/// Members of a result that are still to be written. How many they are has to be written first.
#[derive(Debug)]
enum Members {
    Count { merge: Merge, chosen: Chosen },
    Write { members: Sequence, chosen: Chosen, visited: usize },
    Done,
}

/// Which of the members that come by are in the result, one bit each.
#[derive(Debug, Default)]
struct Chosen {
    bits: Vec<u64>,
    len: usize,
    count: usize,
}

impl Chosen {
    fn push(&mut self, is_in: bool) {
        let bit = self.len % u64::BITS as usize;
        if bit == 0 {
            self.bits.push(0);
        }
        if let Some(last) = self.bits.last_mut() {
            *last |= u64::from(is_in) << bit;
        }
        self.len += 1;
        self.count += usize::from(is_in);
    }

    fn get(&self, index: usize) -> bool {
        self.bits[index / u64::BITS as usize] >> (index % u64::BITS as usize) & 1 == 1
    }
}

impl ReplyStream for Members {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        let mut spent = 0;
        while spent < budget_bytes {
            match self {
                Self::Count { merge, chosen } => {
                    let has_more = merge.visit_some(|member, is_in| {
                        spent += LOOK_COST + cost_of(member);
                        chosen.push(is_in);
                    });
                    if !has_more {
                        reply.set(chosen.count);
                        let Self::Count { merge, chosen } = std::mem::replace(self, Self::Done)
                        else {
                            unreachable!("it was counting just now");
                        };
                        let members = merge.into_members();
                        *self = Self::Write { members, chosen, visited: 0 };
                    }
                }
                Self::Write { members, chosen, visited } => {
                    let has_more = members.visit_some(|member| {
                        spent += cost_of(member);
                        if chosen.get(*visited) {
                            write_member(reply, member);
                        }
                        *visited += 1;
                    });
                    if !has_more {
                        *self = Self::Done;
                    }
                }
                Self::Done => return Progress::Done,
            }
        }
        Progress::More
    }

    fn pinned_bytes(&self) -> usize {
        match self {
            Self::Count { merge, chosen } => merge.pinned_bytes() + chosen.bits.len() * 8,
            Self::Write { members, chosen, .. } => members.pinned_bytes() + chosen.bits.len() * 8,
            Self::Done => 0,
        }
    }
}

/// A count that is still to be written.
#[derive(Debug)]
struct Count {
    merge: Merge,
    found: u64,
    limit: u64,
}

impl ReplyStream for Count {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        let Self { merge, found, limit } = self;
        let mut spent: usize = 0;
        while spent < budget_bytes {
            let has_more = merge.visit_some(|_, is_in| {
                spent += LOOK_COST;
                *found += u64::from(is_in);
            });
            if !has_more || *limit <= *found {
                reply.integer((*found).min(*limit) as i64);
                return Progress::Done;
            }
        }
        Progress::More
    }

    fn pinned_bytes(&self) -> usize {
        self.merge.pinned_bytes()
    }
}
