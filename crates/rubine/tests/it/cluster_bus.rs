//! The bus of a cluster and the file of its nodes: who is let in, what is refused, and what becomes of trouble.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rubine_testing::papers::Papers;
use rubine_testing::server::{Server, ServerOptions, free_port};
use rubine_testing::value::Value;

use crate::support::{call, info, options, wait_until};

/// How long the other side may take to end a connection.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node, and where its bus is.
fn node() -> (ServerOptions, u16) {
    let bus = free_port().expect("a free port");
    let options = options()
        .with("cluster-enabled", "yes")
        .with("cluster-port", &bus.to_string())
        .with("cluster-node-timeout", "3000")
        .with("enable-debug-command", "yes");
    (options, bus)
}

fn text(server: &Server, line: &str) -> String {
    let reply = call(&mut server.client(), line);
    reply.as_text().unwrap_or_else(|| panic!("{line}: {reply:?}"))
}

/// Introduces the second node to the first one, at these ports.
fn meet(first: &Server, (port, bus): (u16, u16)) {
    let reply = text(first, &format!("CLUSTER MEET 127.0.0.1 {port} {bus}"));
    assert_eq!(reply, "OK");
}

fn knows(server: &Server, count: usize) -> bool {
    let nodes = text(server, "CLUSTER NODES");
    nodes.lines().count() == count
        && !nodes.contains("handshake")
        && !nodes.contains("disconnected")
}

/// What a start says that does not succeed.
fn failed_start(arguments: &[&str]) -> String {
    let program = Command::new(env!("CARGO_BIN_EXE_rubine-server"))
        .args(["--port", &free_port().expect("a free port").to_string(), "--bind", "127.0.0.1"])
        .args(["--cluster-enabled", "yes", "--save", "", "--dir"])
        .arg(std::env::temp_dir())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it can be started");
    assert!(!program.status.success());
    let output = [program.stdout, program.stderr].concat();
    String::from_utf8_lossy(&output).into_owned()
}

#[test]
fn a_start_that_cannot_be_says_why() {
    let (options, _) = node();
    let server = options.start().expect("the server starts");
    let file = server.directory().join("nodes.conf");
    let bus = free_port().expect("a free port").to_string();
    let file_name = file.display().to_string();
    let said = failed_start(&["--cluster-port", &bus, "--cluster-config-file", &file_name]);
    assert!(said.contains("is already used by a different Cluster node"), "{said}");

    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = taken.local_addr().expect("it is bound").port();
    let other = server.directory().join("other.conf");
    let other_name = other.display().to_string();
    let said =
        failed_start(&["--cluster-port", &port.to_string(), "--cluster-config-file", &other_name]);
    assert!(said.contains(&format!("Failed listening on port {port} (cluster)")), "{said}");

    fs::write(&other, "vars currentEpoch 1 lastVoteEpoch 0\nnonsense\n").expect("it is written");
    let said = failed_start(&["--cluster-port", &bus, "--cluster-config-file", &other_name]);
    assert!(said.contains("line 2: a node has 8 words at least, here are 1"), "{said}");
}

/// Whoever is no node learns nothing and stops nothing.
#[test]
fn strangers_are_cut_off() {
    let ((first, bus), (second, other)) = (node(), node());
    let (first, second) = (first.start().expect("it starts"), second.start().expect("it starts"));
    let talk = |bytes: &[u8]| {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, bus)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
        stream.write_all(bytes).expect("it is sent");
        let mut answer = Vec::new();
        // A reset is an end, too.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{answer:?}");
    };
    talk(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // A length that nobody may ask for, a packet that is too short, and a message of somebody who is not known.
    talk(b"RCmb\xff\xff\xff\xff\0\x01\0\0\0\0\0\0");
    talk(b"RCmb\0\0\0\x10\0\x01\0\0\0\0\0\0");
    talk(b"RCmb\0\0\0\x21\0\x01\0\0\x80\x04\0\0\0\0\0\x04\0\0\0\x05newshello");
    meet(&first, (second.address().port(), other));
    wait_until("both know each other", || knows(&first, 2) && knows(&second, 2));
}

/// Nodes are asked for certificates whatever clients are asked for.
#[test]
fn nodes_speak_tls_among_each_other() {
    let papers = Papers::new();
    papers.issue("server", &[]);
    let start = || {
        let (options, bus) = node();
        let (options, port) = papers.give_to(options);
        let options = options.with("tls-cluster", "yes").with("tls-auth-clients", "no");
        (options.start().expect("it starts"), port, bus)
    };
    let ((first, _, bus), (second, port, other)) = (start(), start());
    meet(&first, (port, other));
    wait_until("both know each other", || knows(&first, 2) && knows(&second, 2));
    // Plain packets are no TLS.
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, bus)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    stream.write_all(&[b'R'; 4096]).expect("it is sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.windows(4).any(|it| it == b"RCmb"), "{answer:?}");
}

/// Whoever asks for a save is told that it has failed, and the node goes on: nothing was decided.
#[test]
fn a_save_that_a_client_wants_may_fail() {
    let server = node().0.start().expect("it starts");
    assert_eq!(text(&server, "CLUSTER SAVECONFIG"), "OK");
    assert_eq!(integer(&server, "DEBUG DISK-FAULT SYNC 0 1 ENOSPC"), 0);
    let Value::Error(error) = call(&mut server.client(), "CLUSTER SAVECONFIG") else {
        panic!("it was saved");
    };
    assert!(
        error.starts_with("ERR error saving the cluster node config: Could not sync"),
        "{error}"
    );
    assert_eq!(text(&server, "CLUSTER SAVECONFIG"), "OK");
}

/// All that a node has decided is on disk, or it says that it is not.
#[test]
fn a_full_disk_is_told() {
    let (options, _) = node();
    let server =
        options.with("cluster-config-save-behavior", "best-effort").start().expect("it starts");
    // The first save may be under way still.
    assert_eq!(text(&server, "CLUSTER SAVECONFIG"), "OK");
    let before = fs::read_to_string(server.directory().join("nodes.conf")).expect("it is there");
    assert_eq!(integer(&server, "DEBUG DISK-FAULT WRITE 0 1 ENOSPC"), 0);
    let Value::Error(error) = call(&mut server.client(), "CLUSTER SAVECONFIG") else {
        panic!("it was saved");
    };
    let expected =
        "ERR error saving the cluster node config: Could not write to tmp cluster config file";
    assert!(error.starts_with(expected), "{error}");
    let after = fs::read_to_string(server.directory().join("nodes.conf")).expect("it is there");
    assert_eq!(after, before);
    assert_eq!(integer(&server, "DEBUG DISK-FAULT OFF"), 1);
    assert_eq!(text(&server, "CLUSTER ADDSLOTS 1 2 3"), "OK");
    let after = fs::read_to_string(server.directory().join("nodes.conf")).expect("it is there");
    assert!(after.contains("connected 1-3"), "{after}");
}

fn integer(server: &Server, line: &str) -> i64 {
    crate::support::integer(&call(&mut server.client(), line))
}

/// A node comes back with its name, its slots and whom it knows, wherever it listens by then.
#[test]
fn what_a_node_knows_is_kept() {
    let ((first, _), (second, other)) = (node(), node());
    let (mut first, second) =
        (first.start().expect("it starts"), second.start().expect("it starts"));
    assert_eq!(text(&first, "CLUSTER ADDSLOTSRANGE 0 100"), "OK");
    meet(&first, (second.address().port(), other));
    wait_until("both know each other", || knows(&first, 2) && knows(&second, 2));
    let id = text(&first, "CLUSTER MYID");
    first.kill();
    let moved = free_port().expect("a free port");
    first.set_directive("cluster-port", &moved.to_string());
    first.restart().expect("it starts again");
    assert_eq!(text(&first, "CLUSTER MYID"), id);
    wait_until("both know each other again", || knows(&first, 2) && knows(&second, 2));
    wait_until("its new port is known", || {
        let nodes = text(&second, "CLUSTER NODES");
        nodes.lines().any(|it| {
            it.starts_with(&id) && it.contains(&format!("@{moved}")) && it.ends_with("0-100")
        })
    });
}

#[test]
fn whoever_publishes_waits_for_the_other_nodes() {
    const MESSAGES: usize = 800;
    const MESSAGE_BYTES: usize = 256 * 1024;
    const PUBLISHERS: usize = 4;
    let start = || {
        let (options, bus) = node();
        let options = options.with("client-output-buffer-limit", "pubsub 0 0 0");
        (options.start().expect("it starts"), bus)
    };
    let ((first, _), (second, bus)) = (start(), start());
    meet(&first, (second.address().port(), bus));
    wait_until("they know each other", || knows(&first, 2) && knows(&second, 2));
    let mut listener = second.client();
    call(&mut listener, "SUBSCRIBE news");
    let message = vec![b'x'; MESSAGE_BYTES];
    let publish = || {
        let mut client = first.client();
        (0..MESSAGES / PUBLISHERS).for_each(|_| {
            client.send(&[&b"PUBLISH"[..], b"news", &message]).expect("it is sent");
        });
        (0..MESSAGES / PUBLISHERS).for_each(|_| {
            client.reply().expect("it is published");
        });
    };
    let is_over = AtomicBool::new(false);
    // Somebody who publishes nothing is not held up.
    let ask = || {
        let mut client = first.client();
        let mut answers = 0;
        while !is_over.load(Ordering::Relaxed) {
            assert_eq!(call(&mut client, "PING").as_text().as_deref(), Some("PONG"));
            answers += 1;
        }
        assert!(10 < answers, "{answers}");
    };
    std::thread::scope(|scope| {
        (0..PUBLISHERS).for_each(|_| drop(scope.spawn(publish)));
        scope.spawn(ask);
        (0..MESSAGES).for_each(|_| {
            let heard = listener.reply().expect("a message");
            let text = heard.as_elements().and_then(|it| it[2].as_text());
            assert_eq!(text.expect("it is a message").len(), MESSAGE_BYTES);
        });
        is_over.store(true, Ordering::Relaxed);
    });
    // What waited at any moment, of the 200 MB that were published.
    let peak = info(&mut first.client(), "memory", "used_memory_peak");
    let peak: usize = peak.parse().expect("it is a number");
    assert!(peak < 96 << 20, "{peak}");
}
