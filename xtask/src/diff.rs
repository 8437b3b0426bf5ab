//! `cargo xtask diff`: random requests to our server and to a real one, whose replies and states must be the same. What is
//! found is played again, made as short as possible, and shown with the seed.

mod compare;
mod minimise;
mod pair;
mod requests;
mod users;
mod words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rubine_base::random::Random;
use rubine_testing::server::{Server, ServerOptions};
use rubine_testing::value::Value;

use self::minimise::minimise;
use self::pair::{Addresses, Difference, as_line, play};
use self::requests::{Grammar, Request};
use crate::Failure;
use crate::build;
use crate::clock::Stopwatch;
use crate::peer;

/// Requests of one sequence, between two empty states.
const SEQUENCE_LEN: usize = 80;

/// A difference counts if it shows again in so many plays: what is about the clock may not.
const CONFIRMATIONS: usize = 2;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Makes the same requests again
    #[arg(long)]
    seed: Option<u64>,
    /// Ends after so many kinds of differences
    #[arg(long, default_value_t = 20)]
    differences: usize,
    /// Random users, and whether they may run random commands
    #[arg(long)]
    users: bool,
    /// Our server, instead of one built for it
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// The server to compare with, instead of Valkey
    #[arg(long, value_name = "PATH")]
    peer: Option<PathBuf>,
}

impl Options {
    /// A short run, for every change: the same requests every time, so that a failure is the change's.
    pub(crate) fn for_every_change(seconds: u64, users: bool) -> Self {
        const SEED: u64 = 2026;
        Self { seconds, seed: Some(SEED), differences: 20, users, server: None, peer: None }
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let ours = build::server_or(options.server.as_deref(), "dev")?;
    let peer = options.peer.clone().or_else(|| peer::valkey_program("valkey-server"));
    let peer = peer.ok_or("no valkey-server: set VALKEY_BIN_DIR, or name one with --peer")?;
    let servers = [start(&ours)?, start(&peer)?];
    let addresses = Addresses(servers.each_ref().map(Server::address));
    let docs = servers[1].client().call(&["COMMAND", "DOCS"])?;
    let more_groups = if options.users { users::GROUPS } else { &[] };
    let grammar = Grammar::new(&docs, &names_of_commands(&servers[0])?, more_groups);
    let seed = options.seed.unwrap_or_else(rubine_base::random::seed_from_os);
    println!("diff: {} commands, --seed {seed}", grammar.len());

    let (stopwatch, length) = (Stopwatch::start(), Duration::from_secs(options.seconds));
    let mut kinds = BTreeSet::new();
    let (mut sequences, mut requests, mut passing) = (0, 0, 0);
    while stopwatch.elapsed() < length && kinds.len() < options.differences {
        let mut random = Random::with_seed(seed.wrapping_add(sequences));
        let sequence = if options.users {
            users::sequence(&grammar, &mut random, SEQUENCE_LEN)
        } else {
            grammar.sequence(&mut random, SEQUENCE_LEN)
        };
        sequences += 1;
        requests += sequence.len();
        let difference = match play(addresses, &sequence) {
            Ok(difference) => difference,
            Err(error) => return Err(told_dead(&error, &servers, &sequence).into()),
        };
        let Some(difference) = difference else { continue };
        if !is_confirmed(addresses, &sequence, &difference)? {
            passing += 1;
        } else if kinds.insert(kind_of(&difference)) {
            let sequence_seed = seed.wrapping_add(sequences - 1);
            report(addresses, &sequence, &difference, sequence_seed)?;
        }
    }
    println!(
        "diff: {sequences} sequences, {requests} requests, {passing} passing differences, {} kinds of \
         differences",
        kinds.len()
    );
    if kinds.is_empty() { Ok(()) } else { Err("our server differs".into()) }
}

fn start(program: &Path) -> Result<Server, Failure> {
    let server = ServerOptions::new(program)
        .with("enable-debug-command", "yes")
        // No argument makes a string longer than this.
        .with("proto-max-bulk-len", "1mb")
        // Valkey looks at its clock so often when a client's wait is over.
        .with("hz", "500")
        .start()?;
    // Otherwise, what was due a while ago is still counted on one side.
    let reply = server.client().call(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"])?;
    assert!(reply == Value::Status("OK".to_owned()), "it can be switched off");
    Ok(server)
}

fn names_of_commands(server: &Server) -> Result<Vec<String>, Failure> {
    let list = server.client().call(&["COMMAND", "LIST"])?;
    let names = list.as_elements().unwrap_or_default().iter().filter_map(Value::as_text);
    Ok(names.map(|it| it.to_uppercase()).collect())
}

/// Whether the same comes again, in the same place.
fn is_confirmed(
    addresses: Addresses,
    sequence: &[Request],
    difference: &Difference,
) -> Result<bool, Failure> {
    for _ in 0..CONFIRMATIONS {
        let again = play(addresses, sequence)?;
        if again.is_none_or(|it| it.index != difference.index) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What two differences have in common that are most likely one mistake: the command, and the replies without their
/// numbers and strings.
fn kind_of(difference: &Difference) -> String {
    let command = difference.about.split(' ').next().unwrap_or_default().to_uppercase();
    let shape = |text: &str| {
        let first = text.lines().next().unwrap_or_default();
        let is_error = first.starts_with("(error)");
        let kept = first.chars().filter(|it| is_error && it.is_alphabetic() || *it == '(');
        kept.take(60).collect::<String>()
    };
    format!("{command} {} {}", shape(&difference.ours), shape(&difference.theirs))
}

/// Shows a difference, as few requests as lead to it, and how to make them again.
fn report(
    addresses: Addresses,
    sequence: &[Request],
    difference: &Difference,
    seed: u64,
) -> Result<(), Failure> {
    let kind = kind_of(difference);
    let played = &sequence[..sequence.len().min(difference.index + 1)];
    let still_fails = |part: &[Request]| {
        play(addresses, part).map(|it| it.is_some_and(|it| kind_of(&it) == kind))
    };
    let shortest = minimise(played, still_fails)?;
    let shown = play(addresses, &shortest)?;
    println!("\n=== --seed {seed}");
    for request in &shortest {
        println!("> {}", as_line(request));
    }
    println!("{}", shown.as_ref().unwrap_or(difference));
    Ok(())
}

/// A server is gone, or speaks no RESP: the last requests, and what it said.
fn told_dead(error: &std::io::Error, servers: &[Server; 2], sequence: &[Request]) -> String {
    let requests: Vec<String> = sequence.iter().map(as_line).collect();
    let logs = servers.each_ref().map(Server::log);
    format!("{error}\n{}\n--- ours\n{}\n--- theirs\n{}", requests.join("\n"), logs[0], logs[1])
}
