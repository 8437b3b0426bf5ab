//! Two ends over a real socket.

use std::io::{ErrorKind, IoSlice};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use rubine_config::Config;
use rubine_testing::papers::Papers;
use rustls::pki_types::ServerName;

use super::TlsStream;
use crate::tls::Contexts;

/// A client and a server that have shaken hands.
fn ends() -> (TlsStream, TlsStream) {
    let papers = Papers::new();
    let config = Config {
        tls_port: 1,
        tls_cert_file: Some(papers.path("server.crt")),
        tls_key_file: Some(papers.path("server.key")),
        tls_ca_cert_file: Some(papers.path("ca.crt")),
        ..Config::default()
    };
    let contexts = Contexts::of(&config).unwrap().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    let [near, far] = [near, far].map(|it| {
        it.set_nonblocking(true).unwrap();
        TcpStream::from_std(it)
    });
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = TlsStream::connecting(near, Arc::clone(&contexts.client), name).unwrap();
    let mut server = TlsStream::accepted(far, Arc::clone(&contexts.server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        client.handshake().unwrap();
        server.handshake().unwrap();
        pause();
    }
    (client, server)
}

fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}

fn write(end: &mut TlsStream, text: &[u8]) {
    let mut written = 0;
    while written < text.len() {
        match end.write_vectored(&[IoSlice::new(&text[written..])]) {
            Ok(count) => written += count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
}

/// Reads up to `room` bytes once; nothing if there is none.
fn read(end: &mut TlsStream, room: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(room);
    match end.read_into_two(&mut bytes, room, &mut Vec::new()) {
        Ok(_) => bytes,
        Err(error) => {
            let kinds = [ErrorKind::WouldBlock, ErrorKind::Interrupted];
            assert!(kinds.contains(&error.kind()), "{error}");
            Vec::new()
        }
    }
}

/// What came while plain text still waited to be taken was never read: the event that told of it was over when the plain
/// text was, and the stream said that its socket was empty, which it had been.
#[test]
fn what_comes_while_plain_text_waits_is_not_forgotten() {
    let (mut client, mut server) = ends();
    write(&mut client, &[b'a'; 10_000]);
    let mut told = Vec::new();
    while told.is_empty() {
        pause();
        told = read(&mut server, 1000);
    }
    write(&mut client, b"more");
    // As a program does that is told of the new bytes now, and reads as long as it is told that there is more.
    pause();
    while server.holds_more() {
        told.extend(read(&mut server, 4000));
    }
    assert_eq!(told.len(), 10_004);
    assert!(told.ends_with(b"more"));
}
