//! What a supervisor that has started the server is told: systemd by messages to its socket, upstart by stopping for a
//! moment. Without one of them nothing happens.

use std::ffi::OsStr;
use std::io;

use rubine_config::Supervised;

const SYSTEMD_VARIABLE: &str = "NOTIFY_SOCKET";
const UPSTART_VARIABLE: &str = "UPSTART_JOB";

/// Finds out who supervises, and begins with it. Returns who it is, or why nobody is although the configuration says so;
/// a server that is supervised must not go to the background.
pub(crate) fn begin(wanted: Supervised) -> Result<Option<Supervised>, String> {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let found = match wanted {
        Supervised::Auto if is_set(UPSTART_VARIABLE) => Supervised::Upstart,
        Supervised::Auto if is_set(SYSTEMD_VARIABLE) => Supervised::Systemd,
        other => other,
    };
    match found {
        Supervised::Systemd => send("STATUS=Rubine is loading...\n")?,
        Supervised::Upstart if is_set(UPSTART_VARIABLE) => {
            let pid = rustix::process::getpid();
            // It goes on when it is told to.
            rustix::process::kill_process(pid, rustix::process::Signal::STOP)
                .map_err(|error| format!("upstart supervision error: {error}"))?;
        }
        Supervised::Upstart => {
            return Err(format!(
                "upstart supervision requested, but {UPSTART_VARIABLE} not found!"
            ));
        }
        Supervised::No | Supervised::Auto => return Ok(None),
    }
    Ok(Some(found))
}

/// Clients can connect.
pub(crate) fn say_ready(supervised: Supervised) {
    say(supervised, "STATUS=Ready to accept connections\nREADY=1\n");
}

/// The end has begun.
pub(crate) fn say_stopping(supervised: Supervised) {
    say(supervised, "STOPPING=1\n");
}

fn say(supervised: Supervised, message: &str) {
    if supervised == Supervised::Systemd
        && let Err(reason) = send(message)
    {
        tracing::warn!("{reason}");
    }
}

fn send(message: &str) -> Result<(), String> {
    let socket = std::env::var_os(SYSTEMD_VARIABLE)
        .ok_or_else(|| format!("systemd supervision error: {SYSTEMD_VARIABLE} not found!"))?;
    send_to(&socket, message.as_bytes())
        .map_err(|error| format!("systemd supervision error: {error}"))
}

fn send_to(path: &OsStr, message: &[u8]) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let socket = UnixDatagram::unbound()?;
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    socket.send_to_addr(message, &address)?;
    Ok(())
}
