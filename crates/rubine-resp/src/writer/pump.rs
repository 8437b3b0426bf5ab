//! Streams of an output, whose time to write has come. Never sends anything.

use super::output::{BLOCK_BYTES, Block, Output};
use super::{Progress, Reply};

/// A stream runs when less than this waits in front of it.
const LOW_WATER_BYTES: usize = BLOCK_BYTES;

impl Output {
    /// Lets the first stream produce about `budget_bytes` if little waits in front of it; returns whether it ran.
    pub fn pump(&mut self, budget_bytes: usize) -> bool {
        if self.stream_count == 0 {
            return false;
        }
        let mut waiting_bytes = 0;
        let Some(index) = self.blocks.iter().position(|block| match block.sendable() {
            Some(bytes) => {
                waiting_bytes += bytes.len();
                false
            }
            None => true,
        }) else {
            return false;
        };
        if LOW_WATER_BYTES < waiting_bytes - self.front_sent {
            return false;
        }
        self.run_stream(index, budget_bytes);
        true
    }

    /// Runs the stream at `index`; what it writes takes its place in the queue.
    fn run_stream(&mut self, index: usize, budget_bytes: usize) {
        self.seal();
        let mut behind = self.blocks.split_off(index + 1);
        let Some(Block::Stream { mut stream, protocol }) = self.blocks.pop_back() else {
            unreachable!("the block at the index is a stream");
        };
        // What it writes goes on where the bytes in front of it end, so that both leave as one piece.
        if matches!(self.blocks.back(), Some(Block::Bytes(_)))
            && let Some(Block::Bytes(bytes)) = self.pop_back()
        {
            self.recycle(bytes);
        }
        let stream_count_behind = std::mem::take(&mut self.stream_count) - 1;
        let progress = stream.fill(&mut Reply::new(self, protocol), budget_bytes);
        assert!(self.stream_count == 0, "a stream must not push another");
        self.stream_count = stream_count_behind;
        match progress {
            Progress::More => self.push_stream(stream, protocol),
            Progress::Done if !behind.is_empty() => self.seal(),
            Progress::Done => {}
        }
        self.blocks.append(&mut behind);
    }
}
