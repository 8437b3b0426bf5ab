//! Replies that are produced while their clients read them, whose sizes are known when the last of it is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rubine_resp::writer::{Mark, Progress, Reply, ReplyStream};

/// What happens with a reply's size when it is known.
pub(crate) type Told = Box<dyn FnOnce(u64) + Send + Sync>;

/// A reply of which streams have yet to produce a part. The last stream that goes, also with its client, has all be told
/// who wait for the size.
struct GrowingReply {
    bytes: AtomicU64,
    told: Vec<Told>,
}

impl Drop for GrowingReply {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        self.told.drain(..).for_each(|tell| tell(bytes));
    }
}

/// Has `told` run with the size of the reply since `mark`, which has streams.
pub(crate) fn tell_size(reply: &mut Reply<'_>, mark: Mark, told: Vec<Told>) {
    let growing = Arc::new(GrowingReply { bytes: AtomicU64::new(0), told });
    let written = reply.wrap_streams_since(mark, |stream| {
        Box::new(CountedStream { stream, growing: Arc::clone(&growing) })
    });
    growing.bytes.fetch_add(written as u64, Ordering::Relaxed);
}

struct CountedStream {
    stream: Box<dyn ReplyStream>,
    growing: Arc<GrowingReply>,
}

impl ReplyStream for CountedStream {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        let mark = reply.mark();
        let progress = self.stream.fill(reply, budget_bytes);
        self.growing.bytes.fetch_add(reply.bytes_since(mark) as u64, Ordering::Relaxed);
        progress
    }

    fn pinned_bytes(&self) -> usize {
        self.stream.pinned_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rubine_resp::writer::{Output, Progress, Protocol, Reply, ReplyStream};

    use super::{Told, tell_size};

    /// Writes one integer at a time.
    struct Integers(u64);

    impl ReplyStream for Integers {
        fn fill(&mut self, reply: &mut Reply<'_>, _: usize) -> Progress {
            reply.integer(7);
            self.0 -= 1;
            if self.0 == 0 { Progress::Done } else { Progress::More }
        }

        fn pinned_bytes(&self) -> usize {
            0
        }
    }

    #[test]
    fn the_size_of_all_parts_is_told_once() {
        let told = Arc::new(AtomicU64::new(0));
        let add = Arc::clone(&told);
        let tell: Told = Box::new(move |bytes| {
            add.fetch_add(bytes, Ordering::Relaxed);
        });
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, Protocol::Resp2);
        reply.ok();
        let mark = reply.mark();
        reply.array(2);
        reply.stream(Box::new(Integers(3)));
        reply.ok();
        reply.stream(Box::new(Integers(2)));
        reply.ok();
        tell_size(&mut reply, mark, vec![tell]);
        let expected = "*2\r\n".len() + 2 * "+OK\r\n".len() + 5 * ":7\r\n".len();
        for _ in 0..5 {
            assert_eq!(told.load(Ordering::Relaxed), 0);
            assert!(output.pump(1000));
        }
        assert_eq!(told.load(Ordering::Relaxed), expected as u64);
    }
}
