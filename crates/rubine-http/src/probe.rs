//! A request to a server's health, for images that have no other program to ask with. Blocks, and prints nothing.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Each step may take so long.
const STEP_TIME: Duration = Duration::from_secs(5);
/// What is read of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Asks `url`, of the form `http://host[:port][/path]`. Returns whether the answer was 200, and its text.
pub fn probe(url: &str) -> Result<(bool, String), String> {
    let rest = url.strip_prefix("http://").ok_or_else(|| {
        format!(
            "'{url}' is no address of the form http://host:port/path (https is not spoken here)"
        )
    })?;
    let slash = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(slash);
    let path = if path.is_empty() { "/healthz" } else { path };
    let is_whole = authority.rsplit_once(':').is_some_and(|(_, it)| it.parse::<u16>().is_ok());
    let place = if is_whole { authority.to_owned() } else { format!("{authority}:80") };
    let answer = ask(&place, path).map_err(|error| format!("{url}: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    Ok((status == "200", body.to_owned()))
}

fn ask(place: &str, path: &str) -> io::Result<String> {
    let mut failure = io::Error::other("there is no such host");
    for address in place.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, STEP_TIME) {
            Ok(stream) => return exchange(stream, place, path),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn exchange(mut stream: TcpStream, place: &str, path: &str) -> io::Result<String> {
    stream.set_read_timeout(Some(STEP_TIME))?;
    stream.set_write_timeout(Some(STEP_TIME))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::probe;

    #[test]
    fn the_status_decides() {
        for (status, expected) in [("200 OK", true), ("503 Service Unavailable", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).unwrap();
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nyes");
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8_lossy(&request[..read]).into_owned()
            });
            let (is_good, text) = probe(&format!("http://{address}")).unwrap();
            assert_eq!((is_good, text.as_str()), (expected, "yes"));
            assert!(server.join().unwrap().starts_with("GET /healthz HTTP/1.1\r\n"));
        }
    }

    #[test]
    fn what_is_no_address_is_an_error() {
        for url in ["", "https://localhost", "localhost:80", "http://", "http://127.0.0.1:1/x"] {
            assert!(probe(url).is_err(), "{url}");
        }
    }
}
