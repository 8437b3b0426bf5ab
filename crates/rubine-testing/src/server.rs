//! A server as a child process: started on a free port in a directory of its own, killed and cleaned up on drop.
//! Works with any program that takes redis-server's arguments, so a real server can stand beside ours in one test.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::client::Client;

/// How often a starting or stopping server is looked at, and for how long in all: 30 s.
const POLL: Duration = Duration::from_millis(10);
const POLLS_MAX: u32 = 3_000;

/// A port may be taken by another program between choosing it and listening on it.
const START_ATTEMPTS_MAX: u32 = 5;

/// How much of a log a failing test shows.
const LOG_TAIL_LINES: usize = 40;

/// What to start.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    program: PathBuf,
    /// Directives with their values, passed as `--name value`.
    directives: Vec<(String, String)>,
    prefix: Vec<String>,
    file: Option<String>,
    ip: IpAddr,
}

/// What a server's configuration file is called, if it has one.
pub const CONFIG_FILE: &str = "server.conf";

impl ServerOptions {
    /// A server without persistence.
    pub fn new(program: &Path) -> Self {
        let (directives, prefix, file) = Default::default();
        let ip = Ipv4Addr::LOCALHOST.into();
        Self { program: program.to_owned(), directives, prefix, file, ip }
            .with("save", "")
            .with("appendonly", "no")
    }

    /// Adds a directive; a later value replaces an earlier one.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.directives.retain(|(known, _)| known != name);
        self.directives.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts with a configuration file of this content, [`CONFIG_FILE`] in the server's directory. It is written at
    /// the first start only; what it says counts less than the directives.
    #[must_use]
    pub fn with_file(mut self, text: &str) -> Self {
        self.file = Some(text.to_owned());
        self
    }

    /// Starts through another program, such as `taskset -c 0`.
    #[must_use]
    pub fn behind(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Listens at another address than that of loopback.
    #[must_use]
    pub fn at(mut self, ip: IpAddr) -> Self {
        self.ip = ip;
        self
    }

    /// Starts it and waits until it answers.
    pub fn start(self) -> io::Result<Server> {
        let directory = Directory::new()?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let port = free_port()?;
            let mut server = Server {
                child: None,
                address: SocketAddr::from((self.ip, port)),
                options: self.clone(),
                directory: directory.clone(),
            };
            match server.spawn() {
                Err(error)
                    if attempts == START_ATTEMPTS_MAX
                        || error.kind() == io::ErrorKind::NotFound =>
                {
                    let log = server.log_tail();
                    let program = self.program.display();
                    return Err(io::Error::new(error.kind(), format!("{program}: {error}\n{log}")));
                }
                Err(_) => {}
                Ok(()) => return Ok(server),
            }
        }
    }
}

/// A running child process, or one that was killed and can be restarted.
pub struct Server {
    child: Option<Child>,
    address: SocketAddr,
    options: ServerOptions,
    directory: Directory,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("asked only of a running server").id()
    }

    /// Its working directory, where it keeps its files.
    pub fn directory(&self) -> &Path {
        &self.directory.path
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        match Client::connect(self.address) {
            Ok(client) => client,
            Err(error) => {
                panic!("cannot connect to {}: {error}\n{}", self.address, self.log_tail())
            }
        }
    }

    /// Whether its process is over though nobody has ended it here.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|it| matches!(it.try_wait(), Ok(Some(_))))
    }

    /// Ends it as a power cut would: SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only when it is gone already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end by SIGTERM and waits until it has.
    pub fn terminate(&mut self) -> io::Result<ExitStatus> {
        let pid = self.pid().to_string();
        Command::new("kill").arg(&pid).status()?;
        let child = self.child.as_mut().expect("pid() was just asked");
        for _ in 0..POLLS_MAX {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "does not end on SIGTERM"))
    }

    /// Kills it if it runs, and starts it again with the same directory and port.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill();
        self.spawn()
    }

    /// Changes a directive for the next start.
    pub fn set_directive(&mut self, name: &str, value: &str) {
        self.options = self.options.clone().with(name, value);
    }

    /// Takes a directive away for the next start.
    pub fn unset_directive(&mut self, name: &str) {
        self.options.directives.retain(|(known, _)| known != name);
    }

    /// Changes through which other program it is started next time.
    pub fn set_prefix(&mut self, prefix: &[&str]) {
        self.options = self.options.clone().behind(prefix);
    }

    /// All it has written to its standard output and error.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.directory.path.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    fn spawn(&mut self) -> io::Result<()> {
        let log =
            File::options().create(true).append(true).open(self.directory.path.join("log"))?;
        let mut words = self.options.prefix.iter().map(PathBuf::from).collect::<Vec<_>>();
        words.push(self.options.program.clone());
        if let Some(text) = &self.options.file {
            let path = self.directory.path.join(CONFIG_FILE);
            if !path.exists() {
                fs::write(&path, text)?;
            }
            words.push(path);
        }
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(["--port", &self.address.port().to_string()])
            .args(["--bind", &self.address.ip().to_string(), "--dir"])
            .arg(&self.directory.path)
            .args(
                self.options
                    .directives
                    .iter()
                    .flat_map(|(name, value)| [format!("--{name}"), value.clone()]),
            )
            .current_dir(&self.directory.path)
            // Texts are sorted alike on every machine.
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = self.child.insert(command.spawn()?);
        for _ in 0..POLLS_MAX {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Err(io::Error::other(format!("ended at once: {status}")));
            }
            if answers(self.address) {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        self.kill();
        Err(io::Error::new(io::ErrorKind::TimedOut, "does not answer"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.options.program.display(), self.log_tail());
        }
    }
}

/// A port on loopback that nobody listens on now.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Loading servers answer PING with an error, which is not ready yet.
fn answers(address: SocketAddr) -> bool {
    let reply = Client::connect(address).and_then(|mut client| client.run("PING"));
    matches!(reply.as_deref(), Ok("PONG"))
}

/// A directory that is removed with its last user.
#[derive(Clone)]
struct Directory {
    path: PathBuf,
    _removal: std::sync::Arc<Removal>,
}

struct Removal(PathBuf);

impl Directory {
    fn new() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("rubine-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self { _removal: std::sync::Arc::new(Removal(path.clone())), path })
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        // A directory left behind in the temporary folder harms no test.
        let _ = fs::remove_dir_all(&self.0);
    }
}
