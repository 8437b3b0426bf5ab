//! The process itself: going to the background, pinning threads, resource limits. Never touches data.

use std::io;

/// Lets the process go on in the background, without a terminal. Called before any thread is started.
#[expect(unsafe_code, reason = "fork has no safe interface")]
pub fn daemonize() -> io::Result<()> {
    // SAFETY: no other thread exists, so the child may do whatever the parent could.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        _ => std::process::exit(0),
    }
    rustix::process::setsid()?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// Raises the limit on open files to `wanted`, or as far as it goes. Returns what is in force.
pub fn raise_open_files(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if wanted <= current {
        return current;
    }
    let maximum = limit.maximum.map(|it| it.max(wanted));
    let attempts = [
        (Some(wanted), maximum),
        (Some(wanted.min(limit.maximum.unwrap_or(wanted))), limit.maximum),
    ];
    for (current, maximum) in attempts {
        if setrlimit(Resource::Nofile, Rlimit { current, maximum }).is_ok() {
            break;
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Lets a listening socket take data with the first packet of a connection, for `queue_len` connections at a time.
#[expect(unsafe_code, reason = "no library offers the option for listening sockets")]
pub fn set_tcp_fast_open(socket: &impl std::os::fd::AsRawFd, queue_len: u32) -> io::Result<()> {
    let value = libc::c_int::try_from(queue_len).unwrap_or(libc::c_int::MAX);
    let size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the option takes an int, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_FASTOPEN,
            (&raw const value).cast(),
            size,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
