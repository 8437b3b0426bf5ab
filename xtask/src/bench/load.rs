//! Fills servers, loads them and watches their processes. Knows nothing of what is measured.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::process::Command;
use std::time::Duration;

use rubine_testing::client::Client;
use rubine_testing::server::Server;
use rubine_testing::value::encode_request;

use super::{Bench, CLIENT_CORE};
use crate::Failure;
use crate::process::output;

/// Requests sent before their replies are read. Their replies fit into socket buffers, so neither side waits for ever.
const BATCH: u64 = 1_000;

/// A reply that takes longer is a server that hangs.
const TIMEOUT: Duration = Duration::from_secs(100);

/// Sends the request that `request` makes for each number, in pipelines. Every reply must be a single line, no error, or
/// the ID of an entry.
pub(crate) fn fill(
    address: SocketAddr,
    numbers: Range<u64>,
    request: impl Fn(u64) -> Vec<String>,
) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    let mut replies = vec![0; 64 * 1024];
    let mut next = numbers.start;
    while next < numbers.end {
        let batch_end = numbers.end.min(next + BATCH);
        bytes.clear();
        for number in next..batch_end {
            encode_request(&request(number), &mut bytes);
        }
        stream.write_all(&bytes)?;
        let mut missing = batch_end - next;
        let mut is_line_start = true;
        while missing > 0 {
            let count = stream.read(&mut replies)?;
            if count == 0 {
                return Err("the server closed the connection".into());
            }
            for &byte in &replies[..count] {
                if is_line_start && byte == b'-' {
                    return Err(String::from_utf8_lossy(&replies[..count]).into_owned().into());
                }
                // The length of a bulk string, whose text is the line that counts.
                missing += u64::from(is_line_start && byte == b'$');
                is_line_start = byte == b'\n';
                missing -= u64::from(is_line_start);
            }
        }
        next = batch_end;
    }
    Ok(())
}

/// What valkey-benchmark sends.
pub(crate) struct Load<'a> {
    /// Those of the request, or `-t` and a test of its own.
    pub(crate) words: &'a [&'a str],
    pub(crate) requests: u64,
    pub(crate) pipeline: u32,
    pub(crate) clients: u32,
    /// Bytes of `__data__`.
    pub(crate) value_size: u32,
    /// `__rand_int__` is below it.
    pub(crate) keys: u64,
}

impl<'a> Load<'a> {
    /// From fifty clients, with values of 64 bytes and a million random keys.
    pub(crate) fn new(words: &'a [&'a str], requests: u64, pipeline: u32) -> Self {
        Self { words, requests, pipeline, clients: 50, value_size: 64, keys: 1_000_000 }
    }
}

/// Requests per second that valkey-benchmark reaches on the clients' core. In a quick run, with a tenth of the keys.
pub(crate) fn rate(bench: &Bench, server: &Server, load: &Load<'_>) -> Result<f64, Failure> {
    let mut command = Command::new("taskset");
    command
        .args(["--cpu-list", CLIENT_CORE])
        .arg(&bench.benchmark)
        .args(["-h", "127.0.0.1", "-p", &server.address().port().to_string(), "--csv"])
        .args(["-c", &load.clients.to_string(), "-d", &load.value_size.to_string()])
        .args(["-r", &bench.scaled(load.keys).to_string()])
        .args(["-n", &load.requests.to_string(), "-P", &load.pipeline.to_string()])
        .args(load.words);
    let printed = output(&mut command)?;
    requests_per_second(&printed)
        .ok_or_else(|| format!("valkey-benchmark printed no rate:\n{printed}").into())
}

/// The second column of the last line, behind the test's quoted name.
fn requests_per_second(printed: &str) -> Option<f64> {
    printed.lines().last()?.split("\",\"").nth(1)?.parse().ok()
}

/// Processor time that a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ProcessorTime {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl ProcessorTime {
    /// What `/proc/PID/stat` says now.
    pub(crate) fn of(pid: u32) -> Result<Self, Failure> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&stat)
            .ok_or_else(|| format!("/proc/{pid}/stat is not understood: {stat}").into())
    }

    pub(crate) fn since(self, start: Self) -> Self {
        let [user, system] = [(self.user, start.user), (self.system, start.system)]
            .map(|(end, start)| end.saturating_sub(start));
        Self { user, system }
    }

    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may hold anything.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
        // Linux shows these times in hundredths of a second on every architecture.
        let mut next = || Some(Duration::from_millis(10 * ticks.next()?.ok()?));
        Some(Self { user: next()?, system: next()? })
    }
}

/// A number that INFO tells.
pub(crate) fn info_number(client: &mut Client, field: &str) -> Result<u64, Failure> {
    let text = client.call(&["INFO"])?.as_text().ok_or("INFO is text")?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(value.ok_or_else(|| format!("INFO has no {field}"))?.trim().parse()?)
}

/// Bytes of memory that a process takes by itself.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64, Failure> {
    memory_field(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// A line of the system's, which counts in kilobytes.
pub(crate) fn memory_field(path: &str, name: &str) -> Result<u64, Failure> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|it| it.trim().split(' ').next()?.parse::<u64>().ok());
    Ok(kilobytes.ok_or_else(|| format!("no {name} in {path}"))? * 1024)
}

/// The middle one; the lower of the two middle ones of an even count.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ProcessorTime, median, requests_per_second};

    #[test]
    fn the_rate_stands_behind_the_name() {
        let printed =
            "\"test\",\"rps\",\"avg_latency_ms\"\n\"MSET (10 keys)\",\"123456.79\",\"0.1\"\n";
        assert_eq!(requests_per_second(printed), Some(123_456.79));
    }

    #[test]
    fn processor_time() {
        let stat = "42 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 20 0 0 20";
        let expected =
            ProcessorTime { user: Duration::from_millis(1500), system: Duration::from_millis(200) };
        assert_eq!(ProcessorTime::parse(stat), Some(expected));
    }

    #[test]
    fn medians() {
        for (values, middle) in [(&[3.0, 1.0, 2.0][..], 2.0), (&[4.0, 1.0], 1.0)] {
            assert!((median(values) - middle).abs() < f64::EPSILON, "{values:?}");
        }
    }
}
