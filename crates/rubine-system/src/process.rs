//! The process itself: going to the background, resource limits, groups. Never touches data.

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

/// Lowers the claim of the calling thread to a processor where others want one, too, and lets them have it soon: after a
/// tenth of a millisecond instead of some.
#[expect(unsafe_code, reason = "no library offers the length of time slices")]
pub fn yield_to_others() {
    /// About a third of what it had.
    const NICENESS: i32 = 5;
    const SLICE_NANOS: u64 = 100_000;
    const NICE_MAX: i32 = 19;
    // Linux keeps this number thread by thread.
    let before = rustix::process::getpriority_process(None).unwrap_or(0);
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: (before + NICENESS).min(NICE_MAX),
        sched_priority: 0,
        // Before Linux 6.12 this means nothing to threads of this kind.
        sched_runtime: SLICE_NANOS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the structure is whole and outlives the call, which writes nothing but the calling thread's claim.
    let refused = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if refused != 0 {
        // Without it the thread works all the same.
        let _ = rustix::process::nice(NICENESS);
    }
}

/// Lets the calling thread sleep no longer than it asks for, as far as the clock goes; without it, Linux adds up to 50
/// microseconds.
pub fn sleep_precisely() {
    // Where it is refused, sleeps are longer.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

/// Processor time, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    pub user_us: u64,
    pub system_us: u64,
}

/// Whose processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Process,
    /// Child processes that have ended.
    Children,
    /// The calling thread.
    Thread,
}

/// Asks the system for the processor time that was used so far.
pub fn cpu_time(whose: Whose) -> CpuTime {
    let usage = usage(whose);
    let micros = |it: libc::timeval| it.tv_sec as u64 * 1_000_000 + it.tv_usec as u64;
    CpuTime { user_us: micros(usage.ru_utime), system_us: micros(usage.ru_stime) }
}

/// How often the calling thread had to leave its processor to others although it had more to do.
pub fn interruptions() -> u64 {
    usage(Whose::Thread).ru_nivcsw as u64
}

#[expect(unsafe_code, reason = "no library offers the usage of one thread")]
fn usage(whose: Whose) -> libc::rusage {
    let who = match whose {
        Whose::Process => libc::RUSAGE_SELF,
        Whose::Children => libc::RUSAGE_CHILDREN,
        Whose::Thread => libc::RUSAGE_THREAD,
    };
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the system fills in the structure, for which all zeros are a value, too.
    unsafe {
        libc::getrusage(who, usage.as_mut_ptr());
        usage.assume_init()
    }
}

/// Bytes of the process in physical memory.
pub fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Bytes of physical memory that the machine has.
pub fn system_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram as u64 * u64::from(info.mem_unit)
}

/// As many connections as may wait to be accepted at one socket.
pub fn backlog_max() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

/// Whether the kernel gives huge pages to programs that did not ask for them.
pub fn huge_pages_are_forced() -> bool {
    let text = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    text.is_ok_and(|it| it.contains("[always]"))
}

/// The number of the group that goes by `name`, or by this number. `None` if there is no such group.
pub fn find_group(name: &str) -> Option<u32> {
    group_named(name).or_else(|| name.parse().ok())
}

#[expect(unsafe_code, reason = "only the C library knows where groups are written down")]
fn group_named(name: &str) -> Option<u32> {
    const BUFFER_MAX: usize = 1 << 20;
    let name = std::ffi::CString::new(name).ok()?;
    let mut buffer: Vec<libc::c_char> = vec![0; 1024];
    loop {
        let mut group = std::mem::MaybeUninit::<libc::group>::uninit();
        let mut found = std::ptr::null_mut();
        // SAFETY: everything outlives the call, and the length is that of the buffer.
        let result = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                group.as_mut_ptr(),
                buffer.as_mut_ptr(),
                buffer.len(),
                &raw mut found,
            )
        };
        if result == libc::ERANGE && buffer.len() < BUFFER_MAX {
            buffer.resize(buffer.len() * 2, 0);
            continue;
        }
        // SAFETY: where it is not null it points to `group`, which is filled in then.
        return (result == 0 && !found.is_null()).then(|| unsafe { (*found).gr_gid });
    }
}

/// Descriptors that the server itself needs, beside those of its clients.
pub const RESERVED_FILES: u64 = 32;

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
