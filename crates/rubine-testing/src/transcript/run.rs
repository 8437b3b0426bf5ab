//! Plays a transcript against a target, compares, and rewrites expectations on demand.

use std::fmt::{self, Write as _};
use std::io;
use std::ops::Range;
use std::time::Duration;

use rubine_base::hash::HashMap;

use super::compare::{CLOSED, NOTHING, accepts};
use super::{Action, Expectation, Peer, Transcript};
use crate::client::Received;
use crate::render::render;
use crate::target::{ClientIndex, Identity, Target};

/// How long an expected reply may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long `...` listens. A server that answers later is still found out by the reply that follows.
const QUIET: Duration = Duration::from_millis(60);

/// How long a request without any expectation is given to answer before `...` is written for it.
const UPDATE_TIMEOUT: Duration = Duration::from_millis(300);

/// The connection that a transcript starts with.
const MAIN: &str = "main";

/// Which steps a peer is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All but those that `@only` reserves for others.
    All,
    /// Only those that `@only` gives to this very peer.
    OnlyNamed,
}

/// What one file gave.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Replies compared.
    pub checked: usize,
    pub failures: Vec<Failure>,
    /// The file with the target's replies in it, when asked for.
    pub updated: Option<String>,
}

/// A reply that was not the expected one.
#[derive(Debug)]
pub struct Failure {
    pub name: String,
    /// Counted from one.
    pub line: usize,
    pub request: String,
    pub expected: Vec<String>,
    pub actual: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}:{}: {}", self.name, self.line, self.request)?;
        let actual: Vec<&str> = self.actual.split('\n').collect();
        let same_start = self.expected.iter().zip(&actual).take_while(|(a, b)| a == b).count();
        for line in &actual[..same_start] {
            writeln!(formatter, "    {line}")?;
        }
        for line in &self.expected[same_start..] {
            writeln!(formatter, "  - {line}")?;
        }
        for line in &actual[same_start..] {
            writeln!(formatter, "  + {line}")?;
        }
        Ok(())
    }
}

/// Plays `transcript` on a reset target.
pub fn run(
    transcript: &Transcript,
    target: &mut dyn Target,
    scope: Scope,
    update: bool,
) -> Outcome {
    let identity = target.identity().clone();
    let mut player = Player {
        transcript,
        target,
        identity,
        update,
        clients: HashMap::default(),
        current: MAIN.to_owned(),
        outcome: Outcome::default(),
        rewrites: Vec::new(),
    };
    player.play(scope);
    let Player { mut outcome, rewrites, .. } = player;
    if update {
        outcome.updated = Some(rewritten(&transcript.lines, rewrites));
    }
    outcome
}

struct Player<'a> {
    transcript: &'a Transcript,
    target: &'a mut dyn Target,
    identity: Identity,
    update: bool,
    clients: HashMap<String, ClientIndex>,
    current: String,
    outcome: Outcome,
    /// Lines to replace, in the order of the file.
    rewrites: Vec<(Range<usize>, String)>,
}

impl Player<'_> {
    fn play(&mut self, scope: Scope) {
        if let Err(error) = self.target.reset() {
            self.fail(0, Vec::new(), format!("cannot reset the server: {error}"));
            return;
        }
        for step in &self.transcript.steps {
            let is_asked = match &step.only {
                _ if self.identity.name == "rubine" => true,
                Some(peer) => peer.is(&self.identity),
                None => scope == Scope::All,
            };
            if !is_asked {
                continue;
            }
            if let Err(error) = self.act(step.line_index, &step.action) {
                // What follows stands on what failed.
                self.fail(step.line_index, Vec::new(), format!("{error}; the rest is not played"));
                break;
            }
        }
        // The next file resets too; this one only must not leave its configuration to whoever comes then.
        if let Err(error) = self.target.reset() {
            self.fail(0, Vec::new(), format!("cannot reset the server: {error}"));
        }
    }

    fn act(&mut self, line_index: usize, action: &Action) -> io::Result<()> {
        match action {
            Action::Advance(duration) => self.target.advance(*duration),
            Action::Configure { name, value } => self.target.configure(name, value),
            Action::Fresh => {
                self.clients.clear();
                MAIN.clone_into(&mut self.current);
                self.target.reset()
            }
            Action::Client(name) => {
                self.current.clone_from(name);
                self.client().map(|_| ())
            }
            Action::Resp(version) => {
                let client = self.client()?;
                self.target.send(client, &[b"HELLO".to_vec(), version.clone().into_bytes()])?;
                match self.target.receive(client, REPLY_TIMEOUT)? {
                    Received::Value(value) if !render(&value).starts_with("(error)") => Ok(()),
                    other => Err(io::Error::other(format!("HELLO {version}: {other:?}"))),
                }
            }
            Action::Request { args, expected } => {
                let client = self.client()?;
                self.target.send(client, args)?;
                self.check(line_index, client, expected)
            }
            Action::Arrival { expected } => {
                let client = self.client()?;
                self.check(line_index, client, expected)
            }
        }
    }

    fn client(&mut self) -> io::Result<ClientIndex> {
        if let Some(&client) = self.clients.get(&self.current) {
            return Ok(client);
        }
        let client = self.target.connect()?;
        self.clients.insert(self.current.clone(), client);
        Ok(client)
    }

    fn check(
        &mut self,
        line_index: usize,
        client: ClientIndex,
        expectation: &Expectation,
    ) -> io::Result<()> {
        let is_this_peer = |(peer, _): &&(Peer, Range<usize>)| peer.is(&self.identity);
        let own = expectation.differs.iter().find(is_this_peer).map(|(_, lines)| lines);
        let range = own.unwrap_or(&expectation.lines).clone();
        let expected = &self.transcript.lines[range.clone()];

        let timeout = match expected {
            [] => UPDATE_TIMEOUT,
            [line] if line == NOTHING => QUIET,
            _ => REPLY_TIMEOUT,
        };
        let actual = match self.target.receive(client, timeout)? {
            Received::Value(value) => render(&value),
            Received::Nothing => NOTHING.to_owned(),
            Received::Closed => {
                let current = self.current.clone();
                self.clients.remove(&current);
                CLOSED.to_owned()
            }
        };
        self.outcome.checked += 1;
        if accepts(expected, expectation.order, &actual) {
            return Ok(());
        }
        if self.update {
            self.rewrites.push((range, actual));
        } else {
            self.fail(line_index, expected.to_vec(), actual);
        }
        Ok(())
    }

    fn fail(&mut self, line_index: usize, expected: Vec<String>, actual: String) {
        let request = self.transcript.lines.get(line_index).cloned().unwrap_or_default();
        let name = self.transcript.name.clone();
        self.outcome.failures.push(Failure {
            name,
            line: line_index + 1,
            request,
            expected,
            actual,
        });
    }
}

fn rewritten(lines: &[String], rewrites: Vec<(Range<usize>, String)>) -> String {
    let mut out = String::new();
    let mut next = 0;
    for (range, text) in rewrites {
        for line in &lines[next..range.start] {
            writeln!(out, "{line}").expect("a String takes any text");
        }
        // As redis-cli shows null arrays, and as editors leave the ends of lines.
        for line in text.replace("(nil array)", "(nil)").split('\n') {
            writeln!(out, "{}", line.trim_end()).expect("a String takes any text");
        }
        next = range.end;
    }
    for line in &lines[next..] {
        writeln!(out, "{line}").expect("a String takes any text");
    }
    out
}
