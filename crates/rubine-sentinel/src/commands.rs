//! `SENTINEL` and its subcommands: what they do, and what they reply. Whoever declares them has checked the number of their
//! arguments.

mod change;
mod set;
mod show;

pub use self::show::{Facts, MasterFacts};
use rubine_base::clock::Millis;
use rubine_base::number::parse_i64;
use rubine_resp::writer::Reply;

use crate::instance::Master;
use crate::machine::Sentinel;

/// A command that has come.
pub struct Request<'a, 'r> {
    /// What stands behind the subcommand's name.
    pub args: &'a [&'a [u8]],
    pub reply: Reply<'r>,
    pub now: Millis,
    /// Whether there is a program of that name that may be run.
    pub is_executable: &'a dyn Fn(&str) -> bool,
}

/// How a subcommand is run. What it returns as an error is the reply.
pub type Handler = fn(&mut Sentinel, &mut Request<'_, '_>) -> Result<Outcome, String>;

/// What a reply depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It stands.
    Replied,
    /// It stands if the configuration was saved; otherwise this is to be replied.
    IfSaved(Unsaved),
}

/// A reply in place of one that must not be given, as the configuration could not be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsaved {
    Refusal,
    /// To whom asks for a vote: only whether we take the master for down.
    NoVote {
        is_down: bool,
    },
}

impl Unsaved {
    pub fn reply(self, reply: &mut Reply<'_>) {
        match self {
            Self::Refusal => reply.error("ERR Failed to save config file. Check server logs."),
            Self::NoVote { is_down } => show::master_state(reply, is_down, "*", 0),
        }
    }
}

const NO_SUCH_MASTER: &str = "ERR No such master with that name";

impl Sentinel {
    /// Runs a subcommand.
    pub fn run(
        &mut self,
        handler: Handler,
        request: &mut Request<'_, '_>,
    ) -> Result<Outcome, String> {
        self.core.now = request.now;
        let outcome = handler(self, request);
        if matches!(outcome, Ok(Outcome::IfSaved(_))) {
            // What it rests on may be older, and not on disk still.
            self.core.save_again();
        }
        outcome
    }

    /// The (pretended) PUBLISH: nothing but hello messages of other Sentinels.
    pub fn publish(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        let [channel, message] = request.args else { return Err(syntax()) };
        if *channel != crate::machine::HELLO_CHANNEL {
            let text = "ERR Only HELLO messages are accepted by Sentinel instances.";
            return Err(text.to_owned());
        }
        self.take_hello(message);
        request.reply.integer(1);
        Ok(Outcome::Replied)
    }

    fn master(&self, request: &Request<'_, '_>) -> Result<&Master, String> {
        let name = text(request.args.first().copied().unwrap_or_default());
        self.masters.get(&*name).ok_or_else(|| NO_SUCH_MASTER.to_owned())
    }
}

fn syntax() -> String {
    "ERR syntax error".to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

/// A number above 0.
fn positive(word: &[u8]) -> Option<i64> {
    parse_i64(word).filter(|it| 0 < *it)
}

/// What is written into the configuration must not bring lines of its own. `first` is the place of the first argument.
fn refuse_control_characters(args: &[&[u8]], first: usize, command: &str) -> Result<(), String> {
    let at = args.iter().position(|it| it.iter().any(u8::is_ascii_control));
    match at {
        Some(at) => Err(format!(
            "ERR Invalid argument at index {} for {command}: control characters are not allowed",
            first + at
        )),
        None => Ok(()),
    }
}
