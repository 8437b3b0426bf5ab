//! Reading into two buffers with one system call, without making them ready for it. Keeps nothing.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Reads what there is into the spare room of `first`, of which no more than `first_room` is used, and then into that of
/// `second`. Returns how many bytes that were, 0 at the end of the stream.
#[expect(unsafe_code, reason = "no library reads into the spare room of several vectors")]
pub fn read_into_two(
    fd: BorrowedFd<'_>,
    first: &mut Vec<u8>,
    first_room: usize,
    second: &mut Vec<u8>,
) -> io::Result<usize> {
    let first_room = first_room.min(first.capacity() - first.len());
    let rooms = [&mut first.spare_capacity_mut()[..first_room], second.spare_capacity_mut()];
    let pieces =
        rooms.map(|it| libc::iovec { iov_base: it.as_mut_ptr().cast(), iov_len: it.len() });
    // SAFETY: the pieces are spare room of vectors that are borrowed here for longer than the call takes.
    let read = unsafe { libc::readv(fd.as_raw_fd(), pieces.as_ptr(), pieces.len() as i32) };
    let Ok(count) = usize::try_from(read) else { return Err(io::Error::last_os_error()) };
    let in_first = count.min(first_room);
    // SAFETY: the kernel has written so many bytes, to the second piece none before the first was full.
    unsafe {
        first.set_len(first.len() + in_first);
        second.set_len(second.len() + count - in_first);
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn fills_the_first_before_the_second() {
        for sent in [1, 5, 6, 7, 20] {
            let (reader, mut writer) = std::io::pipe().unwrap();
            writer.write_all(&b"abcdefghijklmnopqrstuvwxyz"[..sent]).unwrap();
            let (mut first, mut second) = (Vec::with_capacity(100), Vec::with_capacity(8));
            first.push(b'-');
            let count = read_into_two(reader.as_fd(), &mut first, 6, &mut second).unwrap();
            let room = second.capacity();
            assert_eq!(count, sent.min(6 + room));
            assert_eq!(first, b"-abcdef"[..=count.min(6)]);
            assert_eq!(second, b"ghijklmnopqrst"[..count.saturating_sub(6)]);
        }
    }
}
