//! The ways in which a server is started: in the background, by a supervisor, to say something and end.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rubine_testing::client::Client;
use rubine_testing::server::free_port;
use rubine_testing::value::Value;

use crate::support::{call, elements, info, options, send, wait_until};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_rubine-server"))
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).stdin(Stdio::null()).output().expect("it can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rubine-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where nothing supervises it, `daemonize` lets the command end as soon as the server goes on by itself.
#[test]
fn in_the_background() {
    let folder = Folder::new("background");
    let port = free_port().expect("a free port");
    let arguments = ["--daemonize", "yes", "--supervised", "auto", "--pidfile", "own.pid"];
    let started = program()
        .args(arguments)
        .args(["--logfile", "own.log", "--save", "", "--bind", "127.0.0.1", "--dir"])
        .arg(&folder.0)
        .args(["--port", &port.to_string()])
        .env_remove("NOTIFY_SOCKET")
        .output()
        .expect("it can be started");
    assert!(started.status.success() && started.stdout.is_empty(), "{started:?}");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait_until("a server in the background", || {
        Client::connect(address).and_then(|mut client| client.run("PING")).is_ok()
    });
    let mut client = Client::connect(address).expect("it listens");
    let pid = fs::read_to_string(folder.0.join("own.pid")).expect("the pid file is there");
    assert_eq!(info(&mut client, "server", "process_id"), pid.trim());
    assert_eq!(info(&mut client, "server", "process_supervised"), "unknown");
    let title = fs::read(format!("/proc/{}/cmdline", pid.trim())).expect("it runs");
    assert!(text(&title).contains(&format!(" 127.0.0.1:{port}")), "{}", text(&title));
    send(&mut client, "SHUTDOWN NOSAVE");
    wait_until("its end", || !folder.0.join("own.pid").exists());
    let log = fs::read_to_string(folder.0.join("own.log")).expect("the log is there");
    wait_until("its last word", || {
        fs::read_to_string(folder.0.join("own.log")).is_ok_and(|it| it.contains("bye bye"))
    });
    assert!(log.contains("Ready to accept connections tcp"), "{log}");
}

/// systemd learns of each step; a server that it has started stays where it is.
#[test]
fn under_systemd() {
    let folder = Folder::new("systemd");
    let path = folder.0.join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    let variable = format!("NOTIFY_SOCKET={}", path.display());
    let server = options()
        .behind(&["env", &variable])
        .with("supervised", "auto")
        .with("daemonize", "yes")
        .start();
    let mut server = server.expect("it starts, and its process stays");
    let next = || {
        let mut buffer = [0; 1000];
        let len = socket.recv(&mut buffer).expect("a message");
        text(&buffer[..len])
    };
    assert_eq!(next(), "STATUS=Rubine is loading...\n");
    assert_eq!(next(), "STATUS=Ready to accept connections\nREADY=1\n");
    let mut control = server.client();
    assert_eq!(info(&mut control, "server", "process_supervised"), "systemd");
    assert_eq!(info(&mut control, "server", "process_id"), server.pid().to_string());
    server.terminate().expect("it ends");
    assert_eq!(next(), "STOPPING=1\n");
    server.unset_directive("daemonize");
    server.set_directive("supervised", "systemd");
    server.set_prefix(&["env", "-u", "NOTIFY_SOCKET"]);
    server.restart().expect("it starts without anybody to be told");
    assert!(server.log().contains("systemd supervision error: NOTIFY_SOCKET not found!"));
}

#[test]
fn what_is_read_from_standard_input_comes_between_file_and_options() {
    let folder = Folder::new("input");
    fs::create_dir_all(folder.0.join("parts")).expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.0.join(name), text).expect("written");
    write("parts/1.conf", "maxmemory 1kb\nhz 20\n");
    write("parts/2.conf", "maxmemory 2kb\n");
    write(
        "own.conf",
        "hz 10\ninclude parts/*.conf\ninclude none/*.conf\ntimeout 7\nmaxclients 9\n",
    );
    let port = free_port().expect("a free port");
    let mut child = program()
        .args(["own.conf", "--maxclients", "11", "--port", &port.to_string(), "--save", "", "-"])
        .current_dir(&folder.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it can be started");
    let mut input = child.stdin.take().expect("it is a pipe");
    input.write_all(b"timeout 8\nmaxclients 10\nbind 127.0.0.1\n").expect("it reads");
    drop(input);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait_until("a server", || Client::connect(address).is_ok());
    let mut client = Client::connect(address).expect("it listens");
    let found = call(&mut client, "CONFIG GET maxclients maxmemory timeout hz");
    let found: Vec<_> = elements(&found).iter().filter_map(Value::as_text).collect();
    let expected = ["hz", "20", "maxclients", "11", "maxmemory", "2048", "timeout", "8"];
    assert_eq!(found, expected);
    send(&mut client, "SHUTDOWN");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_mistake_stops_the_start_and_is_told_with_its_place() {
    let folder = Folder::new("mistake");
    let file = folder.0.join("own.conf");
    fs::write(&file, "port 0\n\n# no\nmaxclent 3\n").expect("written");
    let refused = run(&[&file.display().to_string()]);
    assert_eq!(refused.status.code(), Some(1));
    let told = text(&refused.stderr);
    let place = format!(
        "Reading the configuration file, at line 4 of {}\n>>> 'maxclent 3'",
        file.display()
    );
    assert!(told.contains(&place) && told.contains("did you mean 'maxclients'?"), "{told}");
}

/// On a terminal a reason stands once; with a log file, both there and where whoever has started it sees it.
#[test]
fn the_reason_why_it_does_not_start_is_told_once() {
    const REASON: &str = "Configured to not listen anywhere, exiting.";
    let folder = Folder::new("reason");
    let told = |options: &[&str]| {
        let folder = folder.0.display().to_string();
        let refused = run(&[&["--port", "0", "--dir", &folder], options].concat());
        assert_eq!(refused.status.code(), Some(1));
        let places = [text(&refused.stdout), text(&refused.stderr)];
        places.map(|it| it.matches(REASON).count())
    };
    assert_eq!(told(&[]), [1, 0]);
    assert_eq!(told(&["--loglevel", "nothing"]), [0, 1]);
    assert_eq!(told(&["--logfile", "own.log"]), [0, 1]);
    let log = fs::read_to_string(folder.0.join("own.log")).expect("the log is there");
    assert_eq!(log.matches(REASON).count(), 1, "{log}");
}

#[test]
fn questions_that_are_answered_without_a_server() {
    for option in ["-v", "--version"] {
        let told = run(&[option]);
        assert!(told.status.success() && text(&told.stdout).starts_with("Rubine server v="));
    }
    for option in ["-h", "--help"] {
        let told = run(&[option]);
        assert!(told.status.success() && text(&told.stdout).starts_with("Usage: rubine-server "));
    }
    let told = run(&["--check-system"]);
    let report = text(&told.stdout);
    let checked =
        ["slow-clocksource", "xen-clocksource", "overcommit", "open-files", "tcp-backlog"];
    for name in checked {
        assert!(report.contains(&format!("[{name}]...")), "{report}");
    }
    assert_eq!(told.status.success(), !report.contains("WARNING"), "{report}");
    let told = run(&["--test-memory", "1"]);
    let report = text(&told.stdout);
    assert!(told.status.success() && report.contains("Your memory passed this test."), "{report}");
    for wrong in [&["--test-memory"][..], &["--test-memory", "much"], &["--test-memory", "0"]] {
        let told = run(wrong);
        assert_eq!(told.status.code(), Some(1), "{wrong:?}");
        assert!(text(&told.stdout).contains("the amount of memory to test in megabytes"));
    }
}

#[test]
fn a_renamed_command_has_its_new_name_alone() {
    let file = "rename-command GET fetch\nrename-command APPEND \"\"\n";
    let server = options().with_file(file).start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "SET some-longer-key value");
    let is_unknown = |reply: &Value| matches!(reply, Value::Error(text) if text.starts_with("ERR unknown command"));
    for _ in 0..2 {
        let value = call(&mut client, "FETCH some-longer-key");
        assert_eq!(value, Value::Bulk(b"value".to_vec()));
        assert!(is_unknown(&call(&mut client, "GET some-longer-key")));
        assert!(is_unknown(&call(&mut client, "APPEND some-longer-key x")));
    }
}
