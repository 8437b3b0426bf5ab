//! What clients may cost: requests that never end, replies that nobody reads, all of them together.

use std::time::Duration;

use rubine_testing::client::{Client, Received};
use rubine_testing::server::Server;
use rubine_testing::value::Value;

use crate::support::{call, elements, info, options, send, wait_until};

fn start(directives: &[(&str, &str)]) -> Server {
    let plain = options().with("workers", "2");
    let with_all = directives.iter().fold(plain, |it, (name, value)| it.with(name, value));
    with_all.start().expect("it starts")
}

/// Whether the server ends the connection, whatever else it sends before.
fn is_ended(client: &mut Client) -> bool {
    loop {
        match client.receive(Duration::from_secs(20)) {
            Ok(Received::Value(_)) => {}
            Ok(Received::Closed) => return true,
            Ok(Received::Nothing) | Err(_) => return false,
        }
    }
}

/// Sends requests whose replies it never reads, until the connection is gone or `count` are sent.
fn flood(client: &mut Client, line: &str, count: usize) {
    let request = format!("{line}\r\n").into_bytes();
    for _ in 0..count {
        if client.send_raw(&request).is_err() {
            return;
        }
    }
}

#[test]
fn a_request_that_never_ends() {
    let server = start(&[("client-query-buffer-limit", "1mb")]);
    let mut control = server.client();
    let mut within = server.client();
    let value = vec![b'v'; 900_000];
    let reply = within.call(&[b"SET".as_slice(), b"k", &value]).expect("a reply");
    assert_eq!(reply, Value::Status("OK".into()));
    let mut beyond = server.client();
    let _ = beyond.send_raw(b"*2\r\n$4\r\nECHO\r\n$3000000\r\n");
    let _ = beyond.send_raw(&vec![b'v'; 2_500_000]);
    assert!(is_ended(&mut beyond));
    let field = "client_query_buffer_limit_disconnections";
    assert_eq!(info(&mut control, "stats", field), "1");
    assert!(server.log().contains("max query buffer length"));
    assert_eq!(call(&mut within, "STRLEN k"), Value::Integer(900_000));
}

#[test]
fn replies_that_nobody_reads() {
    let server = start(&[("client-output-buffer-limit", "normal 2mb 0 0")]);
    let mut control = server.client();
    let mut stuck = server.client();
    flood(&mut stuck, &format!("ECHO {}", "x".repeat(50_000)), 1_000);
    assert!(is_ended(&mut stuck));
    let field = "client_output_buffer_limit_disconnections";
    assert_eq!(info(&mut control, "stats", field), "1");
    // Above the soft limit for too long, though nothing more is asked for.
    call(&mut control, "CONFIG SET client-output-buffer-limit \"normal 0 500kb 1\"");
    let mut slow = server.client();
    flood(&mut slow, &format!("ECHO {}", "x".repeat(50_000)), 200);
    wait_until("the end of the slow one", || info(&mut control, "stats", field) == "2");
    assert!(is_ended(&mut slow));
    assert_eq!(call(&mut control, "PING"), Value::Status("PONG".into()));
}

/// `maxmemory-clients` closes the largest connections, on whatever worker, and spares those that must stay.
#[test]
fn all_clients_together() {
    let server = start(&[]);
    let mut control = server.client();
    call(&mut control, "CLIENT NO-EVICT ON");
    let fill = |client: &mut Client, bytes: usize| {
        client.send_raw(format!("*1\r\n${}\r\n", bytes * 2).as_bytes()).expect("sent");
        client.send_raw(&vec![b'x'; bytes]).expect("sent");
    };
    let mut small: Vec<_> = (0..4).map(|_| server.client()).collect();
    let mut large: Vec<_> = (0..4).map(|_| server.client()).collect();
    let mut exempt = server.client();
    call(&mut exempt, "CLIENT NO-EVICT ON");
    small.iter_mut().for_each(|client| fill(client, 100_000));
    large.iter_mut().for_each(|client| fill(client, 1_000_000));
    fill(&mut exempt, 5_000_000);
    wait_until("all that was sent", || {
        let list = call(&mut control, "CLIENT LIST").as_text().expect("a text");
        let sizes = list.split_whitespace().filter_map(|it| it.strip_prefix("qbuf="));
        9_400_000 <= sizes.map(|it| it.parse::<usize>().expect("a number")).sum::<usize>()
    });
    call(&mut control, "CONFIG SET maxmemory-clients 1200kb");
    assert_eq!(info(&mut control, "stats", "evicted_clients"), "4");
    assert_eq!(info(&mut control, "clients", "connected_clients"), "6");
    assert!(large.iter_mut().all(is_ended));
    assert!(server.log().contains("Evicting client: id="));
    // What comes later is bounded, too.
    let mut late = server.client();
    let _ = late.send_raw(b"*1\r\n$9000000\r\n");
    let _ = late.send_raw(&vec![b'x'; 4_000_000]);
    assert!(is_ended(&mut late));
    assert_eq!(info(&mut control, "stats", "evicted_clients"), "5");
    // And what one request takes, before it is run; it is the last piece of it that is too much.
    call(&mut control, "CONFIG SET maxmemory-clients 4000000");
    let mut whole = server.client();
    let value = vec![b'x'; 3_300_000];
    assert!(whole.call(&[b"SET".as_slice(), b"never", &value]).is_err());
    assert_eq!(info(&mut control, "stats", "evicted_clients"), "6");
    assert_eq!(call(&mut control, "EXISTS never"), Value::Integer(0));
}

/// What is nearly there is waited for in little more room than it needs, in whatever pieces it comes.
#[test]
fn an_argument_that_comes_in_pieces() {
    const LEN: usize = 200_000;
    let server = start(&[]);
    let mut control = server.client();
    let mut client = server.client();
    let size = |control: &mut Client, name: &str| -> usize {
        let list = call(control, "CLIENT LIST").as_text().expect("a text");
        let sizes = list.split_whitespace().filter_map(|it| it.strip_prefix(name));
        sizes.map(|it| it.parse::<usize>().expect("a number")).max().expect("a client")
    };
    client.send_raw(format!("*2\r\n$4\r\nECHO\r\n${LEN}\r\n").as_bytes()).expect("sent");
    let mut sent = 0;
    for piece in [LEN / 2, LEN / 2 - 1, 1] {
        client.send_raw(&vec![b'x'; piece]).expect("sent");
        sent += piece;
        wait_until("a piece", || sent <= size(&mut control, "qbuf="));
    }
    let total = size(&mut control, "tot-mem=");
    assert!(total < LEN * 3 / 2, "{total} bytes");
    client.send_raw(b"\r\n").expect("sent");
    assert_eq!(client.reply().expect("a reply"), Value::Bulk(vec![b'x'; LEN]));
}

/// Clients that send without end and read nothing cost no more than they may together.
#[test]
fn clients_that_are_stuck_cost_bounded_memory() {
    const LIMIT: u64 = 20_000_000;
    let server = start(&[("maxmemory-clients", "20000000")]);
    let mut control = server.client();
    call(&mut control, "CLIENT NO-EVICT ON");
    let memory = |control: &mut _| -> u64 {
        info(control, "memory", "used_memory").parse().expect("a number")
    };
    let before = memory(&mut control);
    let line = format!("ECHO {}", "x".repeat(20_000));
    let mut most = 0;
    let mut clients: Vec<_> = (0..20).map(|_| server.client()).collect();
    for client in &mut clients {
        flood(client, &line, 500);
        most = most.max(memory(&mut control).saturating_sub(before));
    }
    // Twice: buffers grow by doubling.
    assert!(most < 2 * LIMIT, "{most} bytes");
    assert_ne!(info(&mut control, "stats", "evicted_clients"), "0");
    drop(clients);
    wait_until("their end", || info(&mut control, "clients", "connected_clients") == "1");
    send(&mut control, "PING");
    assert_eq!(control.reply().expect("a reply"), Value::Status("PONG".into()));
}

/// A transaction lowers the limit and then pauses the clients. Another worker that began to evict in between waited for
/// the transaction's lock, and took the key once it had it.
#[test]
fn nothing_is_evicted_once_a_pause_has_begun() {
    let server = start(&[("maxmemory-policy", "allkeys-random"), ("enable-debug-command", "yes")]);
    let mut client = server.client();
    let queued = [
        "MULTI",
        "SET k v",
        "CONFIG SET maxmemory 1",
        // Longer than a worker sleeps.
        "DEBUG SLEEP 0.5",
        "CLIENT PAUSE 60000 WRITE",
    ];
    queued.into_iter().for_each(|line| drop(call(&mut client, line)));
    assert_eq!(elements(&call(&mut client, "EXEC")).len(), 4);
    // A look at the keys waits for whoever has their locks.
    for _ in 0..50 {
        assert_eq!(call(&mut client, "GET k"), Value::Bulk(b"v".to_vec()));
    }
    assert_eq!(info(&mut client, "stats", "evicted_keys"), "0");
    call(&mut client, "CLIENT UNPAUSE");
    wait_until("the eviction", || info(&mut client, "stats", "evicted_keys") == "1");
}
