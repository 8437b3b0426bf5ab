//! A receiver of alerts: a small HTTP server that notes what it gets, and does as it is told.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rubine_testing::papers::Papers;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// How it answers one request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// With a status line and further header lines.
    Status(&'static str),
    /// Not at all: the connection is closed.
    Close,
    /// After so long.
    Late(Duration),
}

/// A request that came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) path: String,
    headers: Vec<(String, String)>,
    pub(super) text: String,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|it| it.0.eq_ignore_ascii_case(name));
        found.map(|it| it.1.as_str())
    }

    pub(super) fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|it| panic!("{it}: {}", self.text))
    }
}

/// The receiver. Its thread ends with the process.
pub(super) struct Receiver {
    pub(super) port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

impl Receiver {
    pub(super) fn start() -> Self {
        Self::listen(None)
    }

    /// One that speaks TLS, with the certificate of `server`.
    pub(super) fn with_tls(papers: &Papers) -> Self {
        let chain = CertificateDer::pem_file_iter(papers.path("server.crt")).unwrap();
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(papers.path("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::listen(Some(Arc::new(config)))
    }

    fn listen(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = Self { port, requests: Arc::default(), answers: Arc::default() };
        let (requests, answers) = (Arc::clone(&receiver.requests), Arc::clone(&receiver.answers));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (requests, answers) = (Arc::clone(&requests), Arc::clone(&answers));
                let tls = tls.clone();
                std::thread::spawn(move || {
                    let _ = match tls {
                        Some(config) => {
                            let connection = ServerConnection::new(config).unwrap();
                            serve(StreamOwned::new(connection, socket), &requests, &answers)
                        }
                        None => serve::<TcpStream>(socket, &requests, &answers),
                    };
                });
            }
        });
        receiver
    }

    /// Has it answer the next requests so; after them it says 200.
    pub(super) fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().extend(answers);
    }

    /// What has come to a path.
    pub(super) fn requests(&self, path: &str) -> Vec<Request> {
        self.requests.lock().iter().filter(|it| it.path == path).cloned().collect()
    }
}

/// Serves one connection until it ends.
fn serve<S: Read + Write>(
    stream: S,
    requests: &Mutex<Vec<Request>>,
    answers: &Mutex<VecDeque<Answer>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if stream.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        assert!(first.starts_with("POST "), "{first}");
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
                None => break,
            }
        }
        let mut request = Request { path, headers, text: String::new() };
        let len = request.header("content-length").expect("the length is told").parse().unwrap();
        let mut body = vec![0; len];
        stream.read_exact(&mut body)?;
        request.text = String::from_utf8(body).unwrap();
        requests.lock().push(request);
        let answer = answers.lock().pop_front().unwrap_or(Answer::Status("200 OK"));
        let line = match answer {
            Answer::Close => return Ok(()),
            Answer::Late(time) => {
                std::thread::sleep(time);
                "200 OK"
            }
            Answer::Status(line) => line,
        };
        write!(stream.get_mut(), "HTTP/1.1 {line}\r\nContent-Length: 5\r\n\r\nwords")?;
        stream.get_mut().flush()?;
    }
}
