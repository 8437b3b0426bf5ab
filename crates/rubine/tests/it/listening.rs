//! Where a server listens, whom it lets in, and the file that says so.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use rubine_testing::client::Client;
use rubine_testing::server::{CONFIG_FILE, Server};
use rubine_testing::value::Value;

use crate::support::{call, elements, options};

fn pong(address: IpAddr, server: &Server) -> Option<Value> {
    let address = SocketAddr::new(address, server.address().port());
    Client::connect(address).ok().map(|mut client| call(&mut client, "PING"))
}

/// Several addresses of both families, changed while the server runs.
#[test]
fn several_addresses_of_both_families() {
    let (four, six) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    let other_four = IpAddr::from([127, 0, 0, 2]);
    let has_six = TcpListener::bind((six, 0)).is_ok();
    let server = options().start().expect("it starts");
    let mut control = server.client();
    let ok = Value::Status("OK".into());
    let expected = Some(Value::Status("PONG".into()));
    assert_eq!(pong(four, &server), expected);
    assert_eq!(pong(other_four, &server), None, "it listens on one address");
    // A leading minus: the address may be missing.
    assert_eq!(call(&mut control, "CONFIG SET bind \"127.0.0.1 127.0.0.2 -::1 -192.0.2.1\""), ok);
    assert_eq!(pong(four, &server), expected);
    assert_eq!(pong(other_four, &server), expected);
    assert_eq!(pong(six, &server), if has_six { expected.clone() } else { None });
    let refused = call(&mut control, "CONFIG SET bind \"127.0.0.1 192.0.2.1\"");
    assert!(matches!(refused, Value::Error(_)), "an address that must be there: {refused:?}");
    assert_eq!(pong(other_four, &server), expected, "what was refused has changed nothing");
    assert_eq!(call(&mut control, "CONFIG SET bind 127.0.0.1"), ok);
    assert_eq!(pong(other_four, &server), None);
    assert_eq!(pong(six, &server), None);
    // Whoever is connected stays.
    assert_eq!(call(&mut control, "PING"), Value::Status("PONG".into()));
}

/// An address of this machine that others could use, if it has one.
fn own_address() -> Option<IpAddr> {
    // Connecting a datagram socket sends nothing; it only chooses where one would be sent from.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Without a password, only this machine is let in; others learn why.
#[test]
fn protected_mode() {
    let Some(address) = own_address() else {
        eprintln!("this machine has no address but loopback ones");
        return;
    };
    let server = options().start().expect("it starts");
    let mut control = server.client();
    let listens = call(&mut control, &format!("CONFIG SET bind \"127.0.0.1 {address}\""));
    assert_eq!(listens, Value::Status("OK".into()));
    let outside = SocketAddr::new(address, server.address().port());
    let mut stream = TcpStream::connect(outside).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    let mut refusal = String::new();
    stream.read_to_string(&mut refusal).expect("a refusal, then the end");
    assert!(refusal.starts_with("-DENIED "), "{refusal}");
    let pong = Some(Value::Status("PONG".into()));
    assert_eq!(self::pong(Ipv4Addr::LOCALHOST.into(), &server), pong);
    call(&mut control, "CONFIG SET requirepass secret");
    let refusal = self::pong(address, &server);
    assert_eq!(refusal, Some(Value::Error("NOAUTH Authentication required.".into())));
    call(&mut control, "CONFIG SET requirepass \"\" protected-mode no");
    assert_eq!(self::pong(address, &server), pong);
}

#[test]
fn an_algorithm_that_the_kernel_does_not_have_is_refused() {
    let server = options().start().expect("it starts");
    let mut control = server.client();
    let known = call(&mut control, "CONFIG SET tcp-congestion reno");
    assert_eq!(known, Value::Status("OK".into()));
    let refused = call(&mut control, "CONFIG SET tcp-congestion nonsense");
    let expected = "ERR CONFIG SET failed (possibly related to argument 'tcp-congestion')";
    assert!(format!("{refused:?}").contains(expected), "{refused:?}");
    let kept = call(&mut control, "CONFIG GET tcp-congestion");
    assert_eq!(elements(&kept)[1].as_text().as_deref(), Some("reno"));
    let refused = options().with("tcp-congestion", "nonsense").start().map(drop);
    let refused = refused.expect_err("it does not start").to_string();
    assert!(refused.contains("tcp-congestion 'nonsense': "), "{refused}");
}

const FILE: &str = "\
# The cache of the shop.
maxmemory 10mb

# Nobody is idle for long.
timeout 0
  # indented
hash-max-listpack-entries 128 

# Points of no return:
# maxmemory-policy noeviction
";

/// CONFIG REWRITE changes what has changed, where it stands, and what it writes can be read again.
#[test]
fn a_rewritten_file_keeps_comments_and_order() {
    let mut server = options().with_file(FILE).start().expect("it starts");
    let mut control = server.client();
    let changes = "CONFIG SET maxmemory 20mb maxmemory-policy allkeys-lru requirepass \"a b\"";
    assert_eq!(call(&mut control, changes), Value::Status("OK".into()));
    assert_eq!(call(&mut control, "CONFIG REWRITE"), Value::Status("OK".into()));
    let path = server.directory().join(CONFIG_FILE);
    let text = std::fs::read_to_string(&path).expect("the file is there");
    let written: Vec<&str> = text.lines().collect();
    let line = |wanted: &str| {
        let mut places = written.iter().enumerate().filter(|(_, line)| **line == wanted);
        let place = places.next().unwrap_or_else(|| panic!("`{wanted}` is missing in\n{text}")).0;
        assert!(places.next().is_none(), "`{wanted}` is there twice in\n{text}");
        place
    };
    let in_order = [
        "# The cache of the shop.",
        "maxmemory 20mb",
        "# Nobody is idle for long.",
        "timeout 0",
        "hash-max-listpack-entries 128",
        "# Points of no return:",
        "# maxmemory-policy noeviction",
        "# Generated by CONFIG REWRITE",
        "maxmemory-policy allkeys-lru",
    ];
    assert!(in_order.map(line).is_sorted(), "the order is kept in\n{text}");
    assert!(line("requirepass \"a b\"") > line("# Generated by CONFIG REWRITE"));
    call(&mut control, "CONFIG SET maxmemory 30mb");
    call(&mut control, "CONFIG REWRITE");
    let text = std::fs::read_to_string(&path).expect("the file is there");
    assert_eq!(text.matches("CONFIG REWRITE").count(), 1, "it is signed once");
    assert_eq!(text.matches("maxmemory 30mb").count(), 1, "{text}");
    // The server asks for a password from the start now, so it is not waited for by PING.
    server.kill();
    let open = text.replace("requirepass", "#requirepass").replace("user default", "#user default");
    let _ = std::fs::write(&path, open);
    server.restart().expect("it takes what it has written");
    let reply = call(&mut server.client(), "CONFIG GET maxmemory*y");
    let policy = reply.as_elements().and_then(|it| it.last()).and_then(Value::as_text);
    assert_eq!(policy.as_deref(), Some("allkeys-lru"), "{reply:?}");
}
