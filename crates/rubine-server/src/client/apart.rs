//! Long arguments of the request that a client is sending: each is gathered where it stays, rather than in the query
//! buffer. Reads from no socket.

use rubine_base::SharedBytes;
use rubine_commands::ArgsApart;

/// An announced length is believed up to this, or up to as much again as has arrived. A reservation costs nothing until
/// it is filled.
const LEAD_BYTES_MAX: usize = 1024 * 1024;

/// What is taken out of the request at the front of a client's query.
#[derive(Debug, Default)]
pub(crate) struct Apart {
    /// Those that have arrived, in the order of the request.
    whole: ArgsApart,
    /// What has arrived of the next.
    arriving: Vec<u8>,
    /// The length that it will have; 0 where nothing is on its way. Invariant: more than has arrived.
    arriving_len: usize,
    /// The bytes of all that has arrived.
    byte_count: usize,
}

impl Apart {
    /// Begins with an argument of `len` bytes of which `first_bytes`, not all, have arrived.
    pub(crate) fn begin(&mut self, len: usize, first_bytes: &[u8]) {
        assert!(first_bytes.len() < len, "the argument is not whole");
        self.arriving.reserve_exact(len.min(LEAD_BYTES_MAX.max(2 * first_bytes.len())));
        self.arriving.extend_from_slice(first_bytes);
        self.arriving_len = len;
        self.byte_count += first_bytes.len();
    }

    pub(crate) fn is_arriving(&self) -> bool {
        self.arriving_len != 0
    }

    /// Lets `read` append to what has arrived, and to `behind` what comes after the argument. It is handed the two buffers, and
    /// how many bytes the first may get. Returns what it says, and whether it filled all room that there was.
    pub(crate) fn receive<E>(
        &mut self,
        behind: &mut Vec<u8>,
        read: impl FnOnce(&mut Vec<u8>, usize, &mut Vec<u8>) -> Result<usize, E>,
    ) -> Result<(usize, bool), E> {
        let before = self.arriving.len();
        let left = self.arriving_len - before;
        if before == self.arriving.capacity() {
            self.arriving.reserve_exact(left.min(before.max(LEAD_BYTES_MAX)));
        }
        let room = left.min(self.arriving.capacity() - before);
        // As long as there is no room for all of the argument, nothing comes behind it.
        let mut nothing = Vec::new();
        let behind = if room == left { behind } else { &mut nothing };
        let count = read(&mut self.arriving, room, behind)?;
        let has_all = self.arriving.len() == before + room;
        let is_filled = has_all && behind.len() == behind.capacity();
        self.byte_count += self.arriving.len() - before;
        if self.arriving.len() == self.arriving_len {
            self.whole.0.push(SharedBytes::new(std::mem::take(&mut self.arriving)));
            self.arriving_len = 0;
        }
        Ok((count, is_filled))
    }

    /// Whether the request at the front of the query has any that have arrived.
    #[inline]
    pub(crate) fn has_any(&self) -> bool {
        !self.whole.0.is_empty()
    }

    /// Those that have arrived.
    #[inline]
    pub(crate) fn whole(&self) -> &ArgsApart {
        &self.whole
    }

    /// Hands out those that have arrived, for their request to be run.
    #[inline]
    pub(crate) fn take(&mut self) -> ArgsApart {
        if self.whole.0.is_empty() {
            return ArgsApart::default();
        }
        self.byte_count -= self.whole.0.iter().map(|it| it.len()).sum::<usize>();
        std::mem::take(&mut self.whole)
    }

    /// Bytes that have arrived and belong to a request that has not run.
    #[inline]
    pub(crate) fn byte_count(&self) -> usize {
        self.byte_count
    }

    /// Gives back the room for what has yet to arrive, of a client that sends nothing.
    pub(crate) fn rest(&mut self) {
        self.arriving.shrink_to_fit();
    }

    /// The memory that they take.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.byte_count - self.arriving.len() + self.arriving.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte_at(at: usize) -> u8 {
        (at % 251) as u8
    }

    fn sent_behind(len: usize) -> [u8; 2] {
        [byte_at(len), byte_at(len + 1)]
    }

    /// Feeds an argument in pieces, each with what a socket would have behind it.
    fn gather(len: usize, piece: usize) -> (Apart, Vec<u8>) {
        let sent: Vec<u8> = (0..len + 2).map(byte_at).collect();
        let (mut apart, mut behind) = (Apart::default(), Vec::with_capacity(2));
        let mut at = piece.min(len - 1);
        apart.begin(len, &sent[..at]);
        while apart.is_arriving() {
            let lead = apart.allocated_bytes() - apart.byte_count();
            assert!(lead <= LEAD_BYTES_MAX.max(apart.byte_count()), "{lead} at {at} of {len}");
            let read = |argument: &mut Vec<u8>, room: usize, behind: &mut Vec<u8>| {
                let capacities = (argument.capacity(), behind.capacity());
                let arrived = &sent[at..sent.len().min(at + piece)];
                let (first, rest) = arrived.split_at(arrived.len().min(room));
                argument.extend_from_slice(first);
                let rest = &rest[..rest.len().min(behind.capacity() - behind.len())];
                behind.extend_from_slice(rest);
                assert_eq!(capacities, (argument.capacity(), behind.capacity()));
                Ok::<_, ()>(first.len() + rest.len())
            };
            at += apart.receive(&mut behind, read).unwrap().0;
        }
        assert_eq!(apart.whole().0[0][..], sent[..len]);
        (apart, behind)
    }

    #[test]
    fn what_does_not_come_takes_no_room() {
        const LEN: usize = 1_000_000;
        let mut apart = Apart::default();
        apart.begin(LEN, b"a");
        assert!(LEN <= apart.allocated_bytes());
        apart.rest();
        assert!(apart.allocated_bytes() < 64, "{}", apart.allocated_bytes());
        while apart.is_arriving() {
            let read = |argument: &mut Vec<u8>, room: usize, _: &mut Vec<u8>| {
                argument.extend_from_slice(&vec![b'b'; room.min(100_000)]);
                Ok::<_, ()>(room.min(100_000))
            };
            apart.receive(&mut Vec::new(), read).unwrap();
            apart.rest();
        }
        assert_eq!(apart.take().0[0].len(), LEN);
    }

    #[test]
    fn gathers_pieces_of_any_size_in_bounded_memory() {
        for len in [32 * 1024, 1_000_000, 5_000_000] {
            for piece in [1000, 16 * 1024, 3_000_000] {
                let (mut apart, behind) = gather(len, piece);
                assert!(
                    [&b""[..], &sent_behind(len)[..1], &sent_behind(len)].contains(&&behind[..])
                );
                assert_eq!(apart.byte_count(), len);
                assert_eq!(apart.take().0.len(), 1);
                assert_eq!(apart.allocated_bytes(), 0);
            }
        }
    }
}
