//! TLS as clients meet it: who may in, who is sent away, records cut anywhere, storms, and certificates that change.

#[expect(clippy::unwrap_used, reason = "a test without papers has failed")]
pub(crate) mod line;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rubine_base::clock::monotonic_nanos;
use rubine_testing::papers::Papers;
use rubine_testing::server::{Server, free_port};
use rubine_testing::value::Value;
use rustls::StreamOwned;

use self::line::{
    Line, address, ask, client_config, connect, connection, is_cut, known_config, prepared, socket,
    socket_at,
};
use crate::support::{call, info, random, wait_until};

/// A client that shows no certificate.
fn nobody(papers: &Papers, server: &Server) -> Line {
    StreamOwned::new(connection(&client_config(papers, None)), socket(server))
}

#[test]
fn clients_need_a_certificate_of_the_authority() {
    let (papers, others) = (Papers::new(), Papers::new());
    let server = prepared(&papers).start().unwrap();
    let mut plain = server.client();
    let mut line = connect(&papers, &server);
    ask(&mut line, "PING", "+PONG\r\n");
    ask(&mut line, "SET key value", "+OK\r\n");
    ask(&mut line, "GET key", "$5\r\nvalue\r\n");
    is_cut(&mut nobody(&papers, &server));
    // It trusts the server, which does not know who vouches for it.
    let stranger = StreamOwned::new(
        connection(&client_config(&papers, Some(("client", &others)))),
        socket(&server),
    );
    is_cut(&mut { stranger });
    // It does not trust the server.
    is_cut(&mut connect(&others, &server));
    for (answer, lets_in) in [("no", true), ("optional", true), ("yes", false)] {
        call(&mut plain, &format!("CONFIG SET tls-auth-clients {answer}"));
        let mut line = nobody(&papers, &server);
        if lets_in { ask(&mut line, "PING", "+PONG\r\n") } else { is_cut(&mut line) }
    }
    call(&mut plain, "CONFIG SET tls-auth-clients optional");
    let config = client_config(&papers, Some(("client", &others)));
    is_cut(&mut StreamOwned::new(connection(&config), socket(&server)));
    ask(&mut line, "PING", "+PONG\r\n");
}

#[test]
fn who_speaks_otherwise_than_the_port_is_told_or_cut() {
    let papers = Papers::new();
    let server = prepared(&papers).start().unwrap();
    for _ in 0..3 {
        let mut plain = socket(&server);
        plain.write_all(b"PING\r\n").unwrap();
        let mut reply = Vec::new();
        let _ = plain.read_to_end(&mut reply);
        assert_eq!(reply, b"");
        let socket = TcpStream::connect(server.address()).unwrap();
        let config = known_config(&papers);
        let error = StreamOwned::new(connection(&config), socket).write_all(b"PING\r\n");
        assert!(error.unwrap_err().to_string().contains("HandshakeFailure"));
    }
    let log = server.log();
    let told = log.lines().filter(|it| it.contains("speak")).count();
    assert_eq!(told, 1, "the log tells of it once a while: {log}");
    // Neither is an argument that looks like it.
    let mut client = server.client();
    assert_eq!(call(&mut client, "ECHO \"\\x16\\x03\\x01\""), Value::Bulk(vec![22, 3, 1]));
}

#[test]
fn bad_files_stop_the_start_and_change_nothing_later() {
    let papers = Papers::new();
    let other = Papers::new();
    let broken = papers.path("broken");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")
        .unwrap();
    let faults = [
        ("tls-cert-file", papers.path("none"), "none: No such file or directory"),
        ("tls-cert-file", papers.path("server.key"), "there is no certificate in it"),
        ("tls-key-file", papers.path("server.crt"), "there is no private key in it"),
        ("tls-key-file", other.path("server.key"), "server.key: keys may not be consistent"),
        ("tls-ca-cert-file", broken.clone(), "broken: no certificate in it is one of an authority"),
        ("tls-ca-cert-file", String::new(), "Either tls-ca-cert-file or tls-ca-cert-dir"),
        ("tls-protocols", "TLSv1.1".to_owned(), "TLSv1.2"),
        ("tls-ciphers", "RC4".to_owned(), "Failed to configure ciphers: RC4"),
    ];
    let server = prepared(&papers).start().unwrap();
    let mut client = server.client();
    for (directive, value, reason) in faults {
        let error = prepared(&papers).with(directive, &value).start().err().unwrap().to_string();
        assert!(error.contains(reason), "{directive} {value}: {error}");
        let reply = call(&mut client, &format!("CONFIG SET {directive} \"{value}\""));
        let is_refused = matches!(&reply, Value::Error(it) if it.contains("Unable to update TLS"));
        assert!(is_refused, "{directive} {value}: {reply:?}");
        assert!(server.log().contains(reason));
        ask(&mut connect(&papers, &server), "PING", "+PONG\r\n");
    }
}

#[test]
fn a_certificate_says_who_its_client_is() {
    let papers = Papers::new();
    papers.issue("alice", &["urn:one", "urn:two"]);
    let server = prepared(&papers).with("tls-auth-clients-user", "CN").start().unwrap();
    let mut client = server.client();
    let target = address(&server);
    let line = |name: &str| {
        let config = client_config(&papers, Some((name, &papers)));
        StreamOwned::new(connection(&config), socket_at(target))
    };
    let who = |name: &str, expected: &str| {
        ask(&mut line(name), "ACL WHOAMI", &format!("${}\r\n{expected}\r\n", expected.len()));
    };
    who("alice", "default");
    assert_eq!(info(&mut client, "stats", "acl_access_denied_tls_cert"), "1");
    call(&mut client, "ACL SETUSER alice on +@all");
    call(&mut client, "ACL SETUSER urn:two on +@all");
    who("alice", "alice");
    who("client", "default");
    call(&mut client, "CONFIG SET tls-auth-clients-user URI");
    who("alice", "urn:two");
    call(&mut client, "ACL SETUSER urn:one on +@all");
    who("alice", "urn:one");
    call(&mut client, "ACL SETUSER urn:one off");
    who("alice", "urn:two");
    // Nobody else is let in without a password where one is needed.
    call(&mut client, "CONFIG SET requirepass secret");
    who("alice", "urn:two");
    ask(&mut line("client"), "PING", "-NOAUTH Authentication required.\r\n");
    call(&mut client, "CONFIG SET tls-auth-clients-user off");
    ask(&mut line("client"), "PING", "-NOAUTH Authentication required.\r\n");
}

#[test]
fn ports_come_and_go() {
    let papers = Papers::new();
    let server = prepared(&papers).with("tls-port", "0").start().unwrap();
    let mut client = server.client();
    let port = free_port().unwrap();
    assert_eq!(info(&mut client, "tls", "tls_server_cert_serial"), "none");
    call(&mut client, &format!("CONFIG SET tls-port {port}"));
    ask(&mut connect(&papers, &server), "PING", "+PONG\r\n");
    assert_ne!(info(&mut client, "tls", "tls_server_cert_serial"), "none");
    assert_ne!(info(&mut client, "tls", "tls_ca_cert_expires_in_seconds"), "0");
    assert!(info(&mut client, "server", "listener1").starts_with("name=tls,"));
    let mut line = connect(&papers, &server);
    // The same port, spoken to otherwise.
    let own = server.address().port();
    ask(&mut line, &format!("CONFIG SET port 0 tls-port {own}"), "+OK\r\n");
    let stays = StreamOwned::new(
        connection(&known_config(&papers)),
        TcpStream::connect(server.address()).unwrap(),
    );
    ask(&mut { stays }, "PING", "+PONG\r\n");
    ask(&mut line, &format!("CONFIG SET tls-port 0 port {own}"), "+OK\r\n");
    assert_eq!(call(&mut server.client(), "PING"), Value::Status("PONG".to_owned()));
    ask(&mut line, "PING", "+PONG\r\n");
}

#[test]
fn changed_files_are_taken_over_and_bad_ones_are_not() {
    let papers = Papers::new();
    let server = prepared(&papers).with("tls-auto-reload-interval", "1").start().unwrap();
    let mut client = server.client();
    let serial = |client: &mut _| info(client, "tls", "tls_server_cert_serial");
    let first = serial(&mut client);
    let mut old = connect(&papers, &server);
    ask(&mut old, "PING", "+PONG\r\n");
    papers.issue("server", &[]);
    wait_until("another certificate", || serial(&mut client) != first);
    let second = serial(&mut client);
    std::fs::write(papers.path("server.key"), "half of a file").unwrap();
    wait_until("a word about it", || server.log().contains("Background TLS reload failed"));
    assert_eq!(serial(&mut client), second);
    ask(&mut connect(&papers, &server), "PING", "+PONG\r\n");
    ask(&mut old, "PING", "+PONG\r\n");
    papers.issue("server", &[]);
    wait_until("a third certificate", || serial(&mut client) != second);
    // Whoever comes back with a session of before is let in all the same, by a new handshake.
    ask(&mut connect(&papers, &server), "PING", "+PONG\r\n");
}

/// A socket that breaks after so many bytes, each of which is sent alone.
struct Cut {
    socket: TcpStream,
    left: usize,
    piece: usize,
}

impl Write for Cut {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.left).min(self.piece);
        if count == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.left -= count;
        self.socket.write_all(&bytes[..count])?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl Read for Cut {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.socket.read(room)
    }
}

#[test]
fn a_handshake_may_be_cut_at_every_byte() {
    let papers = Papers::new();
    let server = prepared(&papers).start().unwrap();
    let config = known_config(&papers);
    let mut left = 0;
    loop {
        let socket = socket(&server);
        let mut line: Line<Cut> =
            StreamOwned::new(connection(&config), Cut { socket, left, piece: usize::MAX });
        if line.write_all(b"SET key value\r\n").and_then(|()| line.flush()).is_ok() {
            let mut reply = [0; 5];
            line.read_exact(&mut reply).unwrap();
            assert_eq!(&reply, b"+OK\r\n");
            break;
        }
        left += 1;
    }
    assert!(700 < left, "what a client sends is longer than {left} bytes");
    let mut client = server.client();
    wait_until("those that were cut are gone", || {
        info(&mut client, "clients", "connected_clients") == "1"
    });
}

#[test]
fn records_come_byte_by_byte() {
    let papers = Papers::new();
    let server = prepared(&papers).start().unwrap();
    let config = known_config(&papers);
    for piece in [1, 2, 7] {
        let socket = Cut { socket: socket(&server), left: usize::MAX, piece };
        let mut line = StreamOwned::new(connection(&config), socket);
        ask(&mut line, "SET key value", "+OK\r\n");
        ask(&mut line, "GET key", "$5\r\nvalue\r\n");
    }
}

#[test]
fn what_is_no_record_ends_the_connection_and_nothing_else() {
    let papers = Papers::new();
    let server = prepared(&papers).start().unwrap();
    let mut witness = connect(&papers, &server);
    let config = known_config(&papers);
    let mut random = random(7);
    for turn in 0..200 {
        let mut line = StreamOwned::new(connection(&config), socket(&server));
        if turn % 2 == 0 {
            ask(&mut line, "PING", "+PONG\r\n");
        }
        let noise: Vec<u8> = (0..=random.below(2000)).map(|_| random.next_u64() as u8).collect();
        let record = [&[22 + (turn % 3) as u8, 3, 3][..], &noise].concat();
        let _ = line.sock.write_all(&record);
        let _ = line.sock.shutdown(std::net::Shutdown::Write);
        let _ = line.sock.read_to_end(&mut Vec::new());
        ask(&mut witness, "PING", "+PONG\r\n");
    }
}

#[test]
fn large_values_and_long_pipelines_come_through() {
    const LEN: usize = 64 << 20;
    let papers = Papers::new();
    let server = prepared(&papers).start().unwrap();
    let mut line = connect(&papers, &server);
    line.conn.set_buffer_limit(None);
    let value: Vec<u8> = (0..LEN).map(|at| (at % 251) as u8).collect();
    write!(line, "*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n${LEN}\r\n").unwrap();
    for piece in value.chunks(100_000) {
        line.write_all(piece).unwrap();
    }
    ask(&mut line, "", "+OK\r\n");
    let header = format!("${LEN}\r\n");
    ask(&mut line, "GET large", &header);
    let mut back = vec![0; LEN];
    line.read_exact(&mut back).unwrap();
    assert!(back == value);
    ask(&mut line, "PING", "\r\n+PONG\r\n");
    let requests = "SET key value\r\nGET key\r\n".repeat(20_000);
    let replies = "+OK\r\n$5\r\nvalue\r\n".repeat(20_000);
    // Written whole before the first reply is read.
    ask(&mut line, requests.trim_end(), &replies);
    let mut client = server.client();
    let buffers: u64 = call(&mut client, "CLIENT LIST")
        .as_text()
        .unwrap()
        .split_whitespace()
        .filter_map(|it| it.strip_prefix("tot-mem=")?.parse::<u64>().ok())
        .sum();
    assert!(buffers < 1 << 20, "{buffers} bytes are kept for clients at rest");
}

#[test]
fn a_storm_of_handshakes_holds_up_nobody() {
    const THREADS: usize = 8;
    const EACH: usize = 40;
    let papers = Papers::new();
    let server = prepared(&papers).start().unwrap();
    let mut witness = connect(&papers, &server);
    ask(&mut witness, "PING", "+PONG\r\n");
    let config = known_config(&papers);
    // And some that never say anything.
    let idle: Vec<_> = (0..50).map(|_| socket(&server)).collect();
    let target = address(&server);
    let storm: Vec<_> = (0..THREADS)
        .map(|_| {
            let config = Arc::clone(&config);
            thread::spawn(move || {
                for _ in 0..EACH {
                    let socket = TcpStream::connect(target).unwrap();
                    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                    let mut line = StreamOwned::new(connection(&config), socket);
                    ask(&mut line, "PING", "+PONG\r\n");
                }
            })
        })
        .collect();
    let mut longest = Duration::ZERO;
    while storm.iter().any(|it| !it.is_finished()) {
        let start = monotonic_nanos();
        ask(&mut witness, "PING", "+PONG\r\n");
        longest = longest.max(Duration::from_nanos(monotonic_nanos() - start));
    }
    storm.into_iter().for_each(|it| it.join().unwrap());
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    drop(idle);
}

#[test]
fn sessions_are_resumed_unless_that_is_off() {
    let papers = Papers::new();
    let server = prepared(&papers).start().unwrap();
    let mut client = server.client();
    for (caching, kind) in
        [("yes", rustls::HandshakeKind::Resumed), ("no", rustls::HandshakeKind::Full)]
    {
        call(&mut client, &format!("CONFIG SET tls-session-caching {caching}"));
        let config = known_config(&papers);
        let mut found = rustls::HandshakeKind::Full;
        for _ in 0..2 {
            let mut line = StreamOwned::new(connection(&config), socket(&server));
            ask(&mut line, "PING", "+PONG\r\n");
            found = line.conn.handshake_kind().unwrap();
        }
        assert_eq!(found, kind, "{caching}");
    }
}

#[test]
fn versions_and_ciphers_are_those_that_are_allowed() {
    let papers = Papers::new();
    let server = prepared(&papers).start().unwrap();
    let mut client = server.client();
    call(&mut client, "CONFIG SET tls-protocols TLSv1.2 tls-ciphers ECDHE-ECDSA-CHACHA20-POLY1305");
    let mut line = connect(&papers, &server);
    ask(&mut line, "PING", "+PONG\r\n");
    assert_eq!(line.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    let suite = line.conn.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    call(&mut client, "CONFIG SET tls-protocols TLSv1.3 tls-ciphersuites TLS_AES_128_GCM_SHA256");
    let mut line = connect(&papers, &server);
    ask(&mut line, "PING", "+PONG\r\n");
    let suite = line.conn.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
}

#[test]
fn keys_move_over_tls() {
    let papers = Papers::new();
    let from = prepared(&papers).with("tls-cluster", "yes").start().unwrap();
    let to = prepared(&papers).start().unwrap();
    let (mut here, mut there) = (from.client(), to.client());
    let large = "x".repeat(3_000_000);
    call(&mut here, &format!("MSET a 1 b 2 large {large}"));
    let port = address(&to).port();
    let migrate = format!("MIGRATE 127.0.0.1 {port} \"\" 0 5000 KEYS a b large");
    assert_eq!(call(&mut here, &migrate), Value::Status("OK".to_owned()));
    assert_eq!(call(&mut there, "STRLEN large").as_integer(), Some(3_000_000));
    assert_eq!(call(&mut here, "EXISTS a b large").as_integer(), Some(0));
    // The same connection again, and another that does not speak it.
    call(&mut here, "SET c 3");
    let migrate = format!("MIGRATE 127.0.0.1 {port} c 0 5000");
    assert_eq!(call(&mut here, &migrate), Value::Status("OK".to_owned()));
    assert_eq!(info(&mut here, "stats", "migrate_cached_sockets"), "1");
    call(&mut here, "SET d 4");
    let plain = format!("MIGRATE 127.0.0.1 {} d 0 5000", to.address().port());
    let refused = call(&mut here, &plain);
    assert!(
        matches!(&refused, Value::Error(it) if it.starts_with("IOERR error or timeout connecting"))
    );
    call(&mut here, "CONFIG SET tls-cluster no");
    assert_eq!(call(&mut here, &plain), Value::Status("OK".to_owned()));
    // Whoever is vouched for by nobody that we know gets nothing.
    call(&mut here, "CONFIG SET tls-cluster yes");
    let others = Papers::new();
    let other = prepared(&others).with("tls-auth-clients", "no").start().unwrap();
    call(&mut here, "SET e 5");
    let migrate = format!("MIGRATE 127.0.0.1 {} e 0 5000", address(&other).port());
    let refused = call(&mut here, &migrate);
    assert!(
        matches!(&refused, Value::Error(it) if it.starts_with("IOERR error or timeout connecting"))
    );
    assert_eq!(call(&mut here, "GET e"), Value::Bulk(b"5".to_vec()));
}
