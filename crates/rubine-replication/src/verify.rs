//! Whether a replica has what its master has. Both take an image at one offset and make digests of it, a bucket of keys at a
//! time; the keys of buckets that differ are held against each other one by one. Here is what the two say to each other, what
//! is counted, and how it is compared. Has no image, sends nothing and reads no clock.
//!
//! | the master, within the stream | the replica, on its link |
//! |---|---|
//! | `REPLCONF GETACK verify:RUN:begin:TIME` | `REPLCONF VERIFY RUN:NAME BEGUN replicas` |
//! | | `REPLCONF VERIFY RUN:NAME DIGESTS bytes` |
//! | `REPLCONF GETACK verify:RUN:list:ROUND:NAME:BUCKETS` | `REPLCONF VERIFY RUN:NAME KEYS bytes`, some times |
//! | | `REPLCONF VERIFY RUN:NAME LISTED round` |
//! | `REPLCONF GETACK verify:RUN:end` | |
//! | | `REPLCONF VERIFY RUN:NAME REFUSED reason`, at any time |
//!
//! All replicas get the same stream. One of another family takes the master's words for the question how far it is, which it
//! answers, and says nothing else: it is never sent a word that it does not know. A replica that has replicas itself passes
//! their answers on.

mod differences;
mod digest;
mod words;

pub use differences::{Comparison, Counts, Difference, Differences, Kind};
pub use digest::Digester;
pub use words::{
    Answer, KeyDigest, Malformed, Request, RunId, Sender, key_digests, write_key_digest,
};

/// Keys are spread over so many buckets, whose digests all leave at once. Both sides have to agree on it.
pub const BUCKETS: usize = 1 << 14;

/// Buckets that are asked for at once.
pub const LISTED_BUCKETS_MAX: usize = 1024;

/// The buckets in which two images differ.
pub fn differing(ours: &[u64], theirs: &[u64]) -> Vec<u16> {
    let pairs = ours.iter().zip(theirs).enumerate();
    pairs.filter(|(_, (ours, theirs))| ours != theirs).map(|(bucket, _)| bucket as u16).collect()
}
