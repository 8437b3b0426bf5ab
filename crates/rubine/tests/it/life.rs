//! How a server begins and ends, where it listens, and what bad clients cost it.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rubine_testing::client::Received;
use rubine_testing::value::{Value, encode_request};

use crate::support::{call, info, options, parallel_server, random, send, wait_until};

#[test]
fn sigterm_ends_it_in_order() {
    let mut server = options().with("pidfile", "own.pid").start().expect("it starts");
    let pid_file = server.directory().join("own.pid");
    let pid = std::fs::read_to_string(&pid_file).expect("the pid file is there");
    assert_eq!(pid.trim(), server.pid().to_string());
    assert_eq!(server.terminate().expect("it ends").code(), Some(0));
    assert!(!pid_file.exists(), "the pid file goes with the server");
    server.restart().expect("it starts again");
    let mut client = server.client();
    send(&mut client, "SHUTDOWN NOSAVE");
    assert_eq!(client.receive(Duration::from_secs(30)).expect("an end"), Received::Closed);
    server.kill();
    server.restart().expect("it starts again after a kill");
    assert_eq!(call(&mut server.client(), "PING"), Value::Status("PONG".into()));
}

#[test]
fn a_unix_socket_has_its_permissions() {
    let server = options()
        .with("unixsocket", "own.sock")
        .with("unixsocketperm", "700")
        .start()
        .expect("it starts");
    let path = server.directory().join("own.sock");
    let mode = std::fs::metadata(&path).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mut stream = UnixStream::connect(path).expect("it listens");
    stream.write_all(b"PING\r\n").expect("sent");
    let mut reply = [0; 7];
    stream.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply, b"+PONG\r\n");
}

/// A pipeline of multibulk and inline requests, cut anywhere, is answered in order.
#[test]
fn a_huge_pipeline_in_any_pieces() {
    const REQUESTS: u64 = 10_000;
    let server = parallel_server();
    let mut client = server.client();
    let mut random = random(5);
    let mut bytes = Vec::new();
    for number in 0..REQUESTS {
        match random.below(3) {
            0 => bytes.extend_from_slice(format!("ECHO {number}\r\n").as_bytes()),
            _ => encode_request(&["ECHO", &number.to_string()], &mut bytes),
        }
    }
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let cut = (1 + random.below(3_000) as usize).min(rest.len());
        client.send_raw(&rest[..cut]).expect("sent");
        rest = &rest[cut..];
    }
    for number in 0..REQUESTS {
        let reply = client.reply().expect("an echo");
        assert_eq!(reply.as_text(), Some(number.to_string()));
    }
}

/// An error quotes what was sent byte for byte. Bytes that are no UTF-8 came back as question marks.
#[test]
fn errors_quote_bytes_as_they_are() {
    let server = parallel_server();
    let client = server.client();
    let check = |arguments: &[&[u8]], expected: &[u8]| {
        let mut bytes = Vec::new();
        encode_request(arguments, &mut bytes);
        client.stream().write_all(&bytes).expect("sent");
        let mut reply = vec![0; expected.len()];
        client.stream().read_exact(&mut reply).expect("a reply");
        assert_eq!(reply.escape_ascii().to_string(), expected.escape_ascii().to_string());
    };
    check(
        &[b"f\xff\xc3", b"\xe9\0x"],
        b"-ERR unknown command 'f\xff\xc3', with args beginning with: '\xe9' \r\n",
    );
    check(&[b"OBJECT", b"\xff", b"k"], b"-ERR unknown subcommand '\xff'. Try OBJECT HELP.\r\n");
    check(&[b"XINFO", b"\xff", b"k"], b"-ERR unknown subcommand '\xff'. Try XINFO HELP.\r\n");
    check(
        &[b"XCLAIM", b"s\xff", b"\xfe", b"c", b"0", b"1-1"],
        b"-NOGROUP No such key 's\xff' or consumer group '\xfe'\r\n",
    );
    check(&[b"EXPIRE", b"k", b"1", b"\xff"], b"-ERR Unsupported option \xff\r\n");
}

#[test]
fn big_values_pass_both_ways() {
    let server = parallel_server();
    let mut client = server.client();
    let mut value = vec![0; 10_000_000];
    random(9).fill(&mut value);
    let is_set = client.call(&[b"SET".as_slice(), b"big", &value]).expect("a reply");
    assert_eq!(is_set, Value::Status("OK".into()));
    assert!(call(&mut server.client(), "GET big").as_bytes() == Some(&value));
}

/// Clients that begin something and stop there, or go.
#[test]
fn clients_that_stop_halfway_cost_little() {
    const CLIENTS: usize = 100;
    const COST_MAX: u64 = 40_000_000;
    let server = parallel_server();
    let mut control = server.client();
    let memory = |control: &mut _| -> u64 {
        info(control, "memory", "used_memory").parse().expect("a number")
    };
    let before = memory(&mut control);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.client()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        let begun = [
            "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\nabc",
            "*1000000\r\n$1\r\na\r\n",
            "MULTI\r\nSET k v\r\n",
            "BLPOP nothing 0\r\n",
            "SUBSCRI",
        ][index % 5];
        client.send_raw(begun.as_bytes()).expect("sent");
    }
    wait_until("their waiting", || info(&mut control, "clients", "blocked_clients") == "20");
    let cost = memory(&mut control).saturating_sub(before);
    assert!(cost < COST_MAX, "{cost} bytes for {CLIENTS} clients that sent next to nothing");
    drop(clients);
    wait_until("their end", || info(&mut control, "clients", "connected_clients") == "1");
    assert_eq!(call(&mut control, "EXISTS k"), Value::Integer(0));
}

#[test]
fn maxclients_and_passwords_are_enforced() {
    let server = options().with("maxclients", "3").start().expect("it starts");
    let mut control = server.client();
    wait_until("one client", || info(&mut control, "clients", "connected_clients") == "1");
    let mut others = [server.client(), server.client()];
    others.iter_mut().for_each(|it| drop(call(it, "PING")));
    let refusal = server.client().reply().expect("a refusal");
    assert_eq!(refusal, Value::Error("ERR max number of clients reached".into()));
    call(&mut control, "CONFIG SET maxclients 10 requirepass secret");
    let mut stranger = server.client();
    let refusal = call(&mut stranger, "GET k");
    assert_eq!(refusal, Value::Error("NOAUTH Authentication required.".into()));
    assert_eq!(call(&mut stranger, "AUTH secret"), Value::Status("OK".into()));
    assert_eq!(call(&mut stranger, "GET k"), Value::Nil);
}
