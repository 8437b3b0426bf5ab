//! Arguments that are read to where they stay: however they are cut, in whatever command and at whatever place, what they
//! do is what short ones do.

use std::io::Write;
use std::time::Duration;

use rubine_testing::client::{Client, Received};
use rubine_testing::server::Server;
use rubine_testing::value::{Value, encode_request};

use crate::support::{call, elements, info, integer, options, send, wait_until};

fn start() -> Server {
    options().with("workers", "2").start().expect("it starts")
}

/// Bytes that differ from place to place, and from text to text.
fn text(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| b'a' + ((at / 7 + at % 5 + seed) % 26) as u8).collect()
}

/// Sends `bytes` in pieces of about `piece` bytes, some of which arrive alone.
fn send_in_pieces(client: &mut Client, bytes: &[u8], piece: usize) {
    for (index, piece) in bytes.chunks(piece).enumerate() {
        client.stream().write_all(piece).expect("it is sent");
        if index.is_multiple_of(3) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn reply(client: &mut Client) -> Value {
    match client.receive(Duration::from_secs(30)).expect("a reply") {
        Received::Value(value) => value,
        other => panic!("a reply was due, not {other:?}"),
    }
}

fn get(client: &mut Client, key: &[u8]) -> Vec<u8> {
    let value = client.call(&[b"GET".as_slice(), key]).expect("a reply");
    value.as_bytes().expect("a string").to_vec()
}

#[test]
fn any_command_takes_them_in_pieces_of_any_size() {
    let server = start();
    let mut client = server.client();
    client.stream().set_nodelay(true).expect("a socket");
    for (round, piece) in [4_999, 30_011, 65_536, 1_000_003, 8_000_000].into_iter().enumerate() {
        let (a, b, c) = (text(32 * 1024, round), text(300_001, round), text(2_500_000, round));
        let requests: &[&[&[u8]]] = &[
            &[b"SET", b"a", &a],
            &[b"PING"],
            &[b"MSET", b"b", &b, b"short", b"x", b"c", &c, b"number", b"17"],
            &[b"SET", b"d", &c, b"EX", b"1000"],
            &[b"APPEND", b"d", &b],
            &[b"HSET", b"hash", b"field", &b, &a, b"value"],
            &[b"SET", &b, b"of a long key"],
            &[b"ECHO", &a],
            &[b"MULTI"],
            &[b"SET", b"e", &b],
            &[b"APPEND", b"e", &a],
            &[b"EXEC"],
            &[b"RPUSH", b"list", &a, &b, &a],
            &[b"INCR", b"number"],
            &[&a, &b],
            &[b"PING"],
        ];
        let mut bytes = Vec::new();
        requests.iter().for_each(|it| encode_request(it, &mut bytes));
        send_in_pieces(&mut client, &bytes, piece);
        let replies: Vec<Value> = requests.iter().map(|_| reply(&mut client)).collect();
        assert_eq!(replies[4], Value::Integer((c.len() + b.len()) as i64));
        assert_eq!(replies[7].as_bytes(), Some(&a[..]));
        assert_eq!(elements(&replies[11])[1], Value::Integer((a.len() + b.len()) as i64));
        assert_eq!(integer(&replies[13]), 18);
        assert!(matches!(replies[14], Value::Error(_)), "{:?}", replies[14]);
        assert_eq!(replies[15], Value::Status("PONG".into()));
        assert_eq!(get(&mut client, b"a"), a);
        assert_eq!(get(&mut client, b"b"), b);
        assert_eq!(get(&mut client, b"c"), c);
        assert_eq!(get(&mut client, b"d"), [&c[..], &b].concat());
        assert_eq!(get(&mut client, b"e"), [&b[..], &a].concat());
        assert_eq!(get(&mut client, &b), b"of a long key");
        let field = client.call(&[b"HGET".as_slice(), b"hash", &a]).expect("a reply");
        assert_eq!(field.as_bytes(), Some(&b"value"[..]));
        let list = call(&mut client, "LRANGE list 0 -1");
        let expected = [&a, &b, &a].map(|it| Some(&it[..]));
        assert!(elements(&list).iter().map(Value::as_bytes).eq(expected));
        call(&mut client, "FLUSHALL");
    }
}

#[test]
fn the_log_has_them() {
    let mut server =
        options().with("workers", "2").with("appendonly", "yes").start().expect("it starts");
    let mut client = server.client();
    let (a, b) = (text(40_000, 1), text(1_500_000, 2));
    for request in [
        &[b"SET".as_slice(), b"a", &a][..],
        &[b"MSET".as_slice(), b"b", &b, b"c", &a],
        &[b"SETEX".as_slice(), b"d", b"1000", &b],
        &[b"SET".as_slice(), b"a", &b, b"GET"],
    ] {
        client.call(request).expect("a reply");
    }
    call(&mut client, "WAITAOF 1 0 0");
    server.restart().expect("it starts again");
    let mut client = server.client();
    for (key, value) in [(b"a", &b), (b"b", &b), (b"c", &a), (b"d", &b)] {
        assert_eq!(&get(&mut client, key), value);
    }
}

#[test]
fn a_waiting_client_may_send_them_ahead() {
    let server = start();
    let mut client = server.client();
    let value = text(600_000, 3);
    send(&mut client, "BLPOP queue 0");
    let mut other = server.client();
    wait_until("the wait", || info(&mut other, "clients", "blocked_clients") == "1");
    let mut bytes = Vec::new();
    encode_request(&[b"SET".as_slice(), b"k", &value], &mut bytes);
    let (first, rest) = bytes.split_at(100_000);
    client.stream().write_all(first).expect("it is sent");
    call(&mut other, "RPUSH queue x");
    client.stream().write_all(rest).expect("it is sent");
    assert_eq!(elements(&reply(&mut client)).len(), 2);
    assert_eq!(reply(&mut client), Value::Status("OK".into()));
    assert_eq!(get(&mut other, b"k"), value);
}

/// What has been announced and has not arrived takes little memory, and what has arrived is the client's.
#[test]
fn they_count_as_their_clients_memory() {
    let server = start();
    let mut control = server.client();
    let used = |control: &mut Client| -> i64 {
        info(control, "memory", "used_memory").parse().expect("a number")
    };
    let before = used(&mut control);
    let mut claimant = server.client();
    claimant.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\nx").expect("it is sent");
    wait_until("what it sends", || info(&mut control, "stats", "total_reads_processed") != "0");
    let list = |control: &mut Client| call(control, "CLIENT LIST").as_text().expect("a text");
    wait_until("its line", || list(&mut control).contains("qbuf=33 "));
    assert!(used(&mut control) - before < 2_000_000);
    claimant.stream().write_all(&vec![b'x'; 3_000_000]).expect("it is sent");
    wait_until("all of it", || list(&mut control).contains("qbuf=3000033 "));
    let taken = used(&mut control) - before;
    assert!((3_000_000..7_000_000).contains(&taken), "{taken}");
    call(&mut control, "CLIENT NO-EVICT ON");
    call(&mut control, "CONFIG SET maxmemory-clients 1mb");
    wait_until("its end", || info(&mut control, "clients", "connected_clients") == "1");
    wait_until("its memory", || used(&mut control) - before < 1_000_000);
}

/// A reply and what belongs to it leave in one piece, whatever it is made of.
#[test]
fn a_reply_is_one_write() {
    let server = start();
    let mut client = server.client();
    let members: Vec<String> = (0..600).map(|it| format!("member:{it}")).collect();
    call(&mut client, &format!("RPUSH list {}", members.join(" ")));
    let mut writes = || {
        let count = info(&mut client, "stats", "total_writes_processed");
        call(&mut client, "LRANGE list 0 -1");
        count.parse::<i64>().expect("a number")
    };
    let first = writes();
    // The reply to INFO, and that to LRANGE.
    assert_eq!(writes() - first, 2);
}
