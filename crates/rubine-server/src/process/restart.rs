//! Has the process begin anew, as the program and with the arguments that it was started with.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// What the process was started as.
pub(crate) struct Origin(io::Result<Command>);

impl Origin {
    /// To be called before the process goes to another folder, since its arguments may refer to this one.
    pub(crate) fn new(name: &[u8], args: &[Vec<u8>]) -> Self {
        let describe = || {
            let mut command = Command::new(std::env::current_exe()?);
            command.current_dir(std::env::current_dir()?).arg0(OsStr::from_bytes(name));
            command.args(args.iter().map(|it| OsStr::from_bytes(it)));
            Ok(command)
        };
        Self(describe())
    }

    /// Begins anew after a while; returns only why that cannot be. Files and sockets of this life close themselves.
    pub(crate) fn begin_anew(self, delay: Duration) -> io::Error {
        std::thread::sleep(delay);
        match self.0 {
            Ok(mut command) => command.exec(),
            Err(error) => error,
        }
    }
}
