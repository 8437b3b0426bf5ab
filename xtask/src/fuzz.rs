//! `cargo xtask fuzz`: random commands for a child server. It must go on living, and whatever it replies must be RESP.
//! What the replies say is for other tests.

mod grammar;

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rubine_base::random::Random;
use rubine_testing::client::{Client, Received};
use rubine_testing::render::quote;
use rubine_testing::server::{Server, ServerOptions};
use rubine_testing::value::{Value, encode_request};

use self::grammar::Command;
use crate::Failure;
use crate::build;
use crate::clock::Stopwatch;
use crate::process::target_directory;

/// Requests sent at once.
const BATCH_MAX: u64 = 60;

/// How long a batch may be silent before its client is given up: it waits for a key.
const SILENCE_MAX: Duration = Duration::from_millis(150);

/// Commands that end the server or lock everybody out, as they should.
const LEFT_OUT: &[&str] = &[
    "SHUTDOWN",
    "DEBUG SEGFAULT",
    "DEBUG PANIC",
    "DEBUG ASSERT",
    "DEBUG SLEEP",
    "DEBUG PAUSE-CRON",
    "DEBUG POPULATE",
    // What follows on that connection is no reply.
    "PSYNC",
    "SYNC",
    // Whoever follows another server has its data, and takes no writes.
    "REPLICAOF",
    "SLAVEOF",
    // For as long as it asks, even CLIENT UNPAUSE has to wait.
    "CLIENT PAUSE",
    "CONFIG SET",
    "CONFIG REWRITE",
    "DEBUG CONFIG-REWRITE-FORCE-ALL",
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Connections at a time
    #[arg(long, default_value_t = 4)]
    connections: u64,
    /// Makes the same requests again; their order among connections differs
    #[arg(long)]
    seed: Option<u64>,
    /// The server, instead of one built for it
    #[arg(long)]
    server: Option<PathBuf>,
}

impl Options {
    /// A short run, for every change: the same requests every time, so that a failure is the change's.
    pub(crate) fn for_every_change(seconds: u64) -> Self {
        const SEED: u64 = 2026;
        Self { seconds, connections: 4, seed: Some(SEED), server: None }
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let program = build::server_or(options.server.as_deref(), "dev")?;
    let server = ServerOptions::new(&program)
        .with("workers", "3")
        .with("enable-debug-command", "yes")
        // No single argument makes the server allocate more than this.
        .with("proto-max-bulk-len", "4mb")
        .with("maxmemory", "500mb")
        .with("maxmemory-policy", "allkeys-random")
        .start()?;
    let docs = server.client().call(&["COMMAND", "DOCS"])?;
    let mut commands = grammar::commands(&docs);
    commands.retain(|it| !it.is_among(LEFT_OUT));
    if commands.is_empty() {
        return Err("COMMAND DOCS describes nothing".into());
    }
    let seed = options.seed.unwrap_or_else(rubine_base::random::seed_from_os);
    println!("fuzz: {} commands, --seed {seed}", commands.len());
    let campaign = Campaign {
        server: &server,
        commands: &commands,
        stopwatch: Stopwatch::start(),
        length: Duration::from_secs(options.seconds),
        has_failed: AtomicBool::new(false),
        request_count: AtomicU64::new(0),
    };
    let results: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..options.connections)
            .map(|index| {
                let random = Random::with_seed(seed.wrapping_add(index));
                let campaign = &campaign;
                scope.spawn(move || campaign.fuzz(random))
            })
            .collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let failures: Vec<String> = results
        .into_iter()
        .filter_map(|it| it.unwrap_or_else(|_| Err("a client panicked".to_owned())).err())
        .collect();
    if failures.is_empty() {
        println!("fuzz: {} requests", campaign.request_count.load(Ordering::Relaxed));
        return Ok(());
    }
    Err(report(&failures, &server)?.into())
}

/// Writes what was sent last to files beside the build, and says where.
fn report(failures: &[String], server: &Server) -> io::Result<String> {
    let folder = target_directory().join("fuzz");
    std::fs::create_dir_all(&folder)?;
    for (index, failure) in failures.iter().enumerate() {
        std::fs::write(folder.join(format!("client-{index}.txt")), failure)?;
    }
    std::fs::write(folder.join("server.log"), server.log())?;
    let reasons: Vec<_> = failures.iter().filter_map(|it| it.lines().next()).collect();
    let (reasons, folder) = (reasons.join("\n"), folder.display());
    Ok(format!("{reasons}\nfuzz: the last batches and the server's log are in {folder}"))
}

/// One run against one server.
struct Campaign<'a> {
    server: &'a Server,
    commands: &'a [Command],
    stopwatch: Stopwatch,
    length: Duration,
    has_failed: AtomicBool,
    request_count: AtomicU64,
}

impl Campaign<'_> {
    /// Goes on until the time is over or something is found. An error tells what, then the batch that was sent last.
    fn fuzz(&self, mut random: Random) -> Result<(), String> {
        let mut client = None;
        while self.stopwatch.elapsed() < self.length && !self.has_failed.load(Ordering::Relaxed) {
            let batch = self.batch(&mut random);
            self.request_count.fetch_add(batch.len() as u64, Ordering::Relaxed);
            let outcome = self.play(&mut client, &batch, &mut random).and_then(|is_whole| {
                if !is_whole {
                    client = None;
                    self.check_alive()?;
                }
                Ok(())
            });
            if let Err(error) = outcome {
                self.has_failed.store(true, Ordering::Relaxed);
                return Err(format!("{error}\n{}", as_text(&batch)));
            }
        }
        Ok(())
    }

    fn batch(&self, random: &mut Random) -> Vec<Vec<Vec<u8>>> {
        let count = 1 + random.below(BATCH_MAX);
        let mut batch: Vec<Vec<Vec<u8>>> = (0..count)
            .map(|_| {
                let index = random.below(self.commands.len() as u64) as usize;
                self.commands[index].request(random)
            })
            .filter(|request| !request.is_empty())
            .collect();
        if random.below(2) == 0 {
            batch.insert(0, vec![b"HELLO".to_vec(), b"3".to_vec()]);
        }
        batch
    }

    /// Sends a batch and reads until it is answered. `false` if that did not come.
    fn play(
        &self,
        client: &mut Option<Client>,
        batch: &[Vec<Vec<u8>>],
        random: &mut Random,
    ) -> Result<bool, String> {
        let mut bytes = Vec::new();
        for request in batch {
            encode_request(request, &mut bytes);
        }
        let marker = format!("marker:{}", random.next_u64());
        encode_request(&["RESET"], &mut bytes);
        encode_request(&["ECHO", &marker], &mut bytes);
        let client = match client {
            Some(client) => client,
            None => match Client::connect(self.server.address()) {
                Ok(new) => client.insert(new),
                Err(_) => return Ok(false),
            },
        };
        let cut = random.below(bytes.len() as u64) as usize;
        if client.send_raw(&bytes[..cut]).and_then(|()| client.send_raw(&bytes[cut..])).is_err() {
            return Ok(false);
        }
        loop {
            match client.receive(SILENCE_MAX) {
                Ok(Received::Value(value)) => {
                    if value == Value::Bulk(marker.clone().into_bytes()) {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(format!("a reply is not RESP: {error}"));
                }
                Ok(Received::Nothing | Received::Closed) | Err(_) => return Ok(false),
            }
        }
    }

    /// Whether the server answers a new client. It may have been told to close it, so it is asked more than once.
    fn check_alive(&self) -> Result<(), String> {
        const TRIES: usize = 4;
        for _ in 0..TRIES {
            let ping = Client::connect(self.server.address()).and_then(|mut it| it.call(&["PING"]));
            let log = self.server.log();
            if log.contains("panicked at") {
                return Err("the server panicked".to_owned());
            }
            if ping.is_ok() {
                return Ok(());
            }
            thread::sleep(SILENCE_MAX);
        }
        Err("the server does not answer".to_owned())
    }
}

/// A batch as redis-cli takes it.
fn as_text(batch: &[Vec<Vec<u8>>]) -> String {
    batch.iter().fold(String::new(), |mut text, request| {
        let words: Vec<_> = request.iter().map(|word| quote(word)).collect();
        writeln!(text, "{}", words.join(" ")).expect("writing to a string cannot fail");
        text
    })
}
