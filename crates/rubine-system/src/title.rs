//! The title of the process: the memory in which the kernel has put the arguments is what the list of processes shows.
//! Whoever wants to read the arguments does so before.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;

use parking_lot::Mutex;

/// The memory that the kernel put the arguments into, and right behind them the environment. Invariant: both are
/// writable for as long as the process lives, and nobody reads them any more.
#[derive(Debug)]
struct Area {
    start: usize,
    arguments_len: usize,
    len: usize,
    program: String,
}

static AREA: Mutex<Option<Area>> = Mutex::new(None);

/// Makes room for a title. Called while there is one thread only.
pub fn prepare() {
    let Some((start, arguments_len, len)) = find() else { return };
    let program = std::env::args_os().next().unwrap_or_default();
    let program = program.to_string_lossy().into_owned();
    if move_environment() {
        *AREA.lock() = Some(Area { start, arguments_len, len, program });
    }
}

/// The name by which the program was started.
pub fn program() -> String {
    AREA.lock().as_ref().map(|it| it.program.clone()).unwrap_or_default()
}

/// Shows `title`, as far as there is room. Without [`prepare`] nothing happens.
#[expect(unsafe_code, reason = "no library and no call of the system sets it")]
pub fn set(title: &[u8]) {
    let mut area = AREA.lock();
    let Some(Area { start, arguments_len, len, .. }) = area.as_mut() else { return };
    // SAFETY: the invariant of the area; its lock keeps other calls of this function away.
    let bytes = unsafe {
        std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut::<u8>(*start), *len)
    };
    // The last byte stays 0, as everything expects that has to do with texts of C.
    let shown = title.len().min(bytes.len() - 1);
    bytes.fill(0);
    bytes[..shown].copy_from_slice(&title[..shown]);
    // Where that is not 0, the kernel shows what is there up to the first 0, and not just all that was arguments.
    if shown + 1 < *arguments_len {
        bytes[*arguments_len - 1] = b'.';
    }
}

/// Where arguments are, the length of theirs, and that with the environment.
fn find() -> Option<(usize, usize, usize)> {
    // `arg_start` of proc_pid_stat(5), counted from behind the name of the program, which may hold anything.
    const ARGUMENTS_AT: usize = 45;
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    let numbers = fields.split_ascii_whitespace().skip(ARGUMENTS_AT).take(4);
    let numbers: Vec<usize> = numbers.map(|it| it.parse().ok()).collect::<Option<_>>()?;
    let &[start, end, environment_start, environment_end] = numbers.as_slice() else { return None };
    let is_whole = start != 0 && start < end && end == environment_start && end <= environment_end;
    is_whole.then(|| (start, end - start, environment_end - start))
}

/// Has the environment stand elsewhere. Returns whether it does.
#[expect(unsafe_code, reason = "the environment belongs to all threads")]
fn move_environment() -> bool {
    let entry = |(name, value): (OsString, OsString)| {
        // What came from the kernel holds no byte 0 but at its ends.
        Some((CString::new(name.into_vec()).ok()?, CString::new(value.into_vec()).ok()?))
    };
    let entries: Vec<_> = std::env::vars_os().filter_map(entry).collect();
    // SAFETY: the caller sees to it that no other thread exists, which could read it meanwhile.
    if unsafe { libc::clearenv() } != 0 {
        return false;
    }
    entries.iter().all(|(name, value)| {
        // SAFETY: as above; the texts end with a byte 0 and are copied.
        unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) == 0 }
    })
}
