//! What is true of one run of a script: who is asked, which protocol its commands speak, whether it is to end. Knows
//! nothing of how values are converted.

use rubine_resp::parser::ArgRange;
use rubine_resp::writer::{Output, Protocol};

use crate::debugger::Debugger;
use crate::functions::Function;
use crate::host::{Host, Verdict};
use crate::random::Random48;
use crate::raw::{Reference, Stack};

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Script,
    Function,
    /// The code of a library, which may register functions and nothing else.
    Load,
}

/// Why a run ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Killed,
    /// The host wants it so.
    Host,
}

/// What functions in Rust are handed beside their arguments.
pub(crate) struct Context<'a> {
    pub(crate) host: &'a mut dyn Host,
    pub(crate) purpose: Purpose,
    /// That of the script's commands.
    pub(crate) protocol: Protocol,
    pub(crate) stop: Option<Stop>,
    pub(crate) buffers: &'a mut Buffers,
    /// What a library has registered, with the functions themselves.
    pub(crate) registered: Vec<(Function, Reference)>,
    pub(crate) debugger: Option<Debugger<'a>>,
}

/// Memory that runs use one after the other.
#[derive(Default)]
pub(crate) struct Buffers {
    /// The arguments of the command that is called.
    pub(crate) request: Vec<u8>,
    pub(crate) ranges: Vec<ArgRange>,
    /// Its reply.
    pub(crate) reply: Output,
    /// A reply that came in pieces; text that a library makes.
    pub(crate) bytes: Vec<u8>,
    pub(crate) random: Random48,
    /// A script has changed the options of `cjson`.
    pub(crate) is_json_touched: bool,
}

impl Buffers {
    /// What one of them may keep between runs.
    const KEPT_BYTES_MAX: usize = 64 * 1024;

    /// Gives back what a large value took.
    pub(crate) fn rest(&mut self) {
        for buffer in [&mut self.request, &mut self.bytes] {
            if Self::KEPT_BYTES_MAX < buffer.capacity() {
                *buffer = Vec::new();
            }
        }
        if Self::KEPT_BYTES_MAX < self.ranges.capacity() * size_of::<ArgRange>() {
            self.ranges = Vec::new();
        }
    }
}

/// What comes of a look between instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    GoOn,
    /// The value on top is raised.
    Raise,
}

impl Context<'_> {
    pub(crate) fn watches_lines(&self) -> bool {
        self.debugger.is_some()
    }

    /// Looks whether the script is to end. At a new line, the debugger may want to stop.
    pub(crate) fn tick(&mut self, stack: &mut Stack, is_line: bool) -> Tick {
        if is_line {
            // What the debugger runs is not debugged.
            let Some(mut debugger) = self.debugger.take() else { return Tick::GoOn };
            let tick = debugger.at_line(stack, self);
            self.debugger = Some(debugger);
            return tick;
        }
        match self.host.poll() {
            Verdict::GoOn => Tick::GoOn,
            Verdict::Kill => self.end(stack, Stop::Killed),
            Verdict::Stop => self.end(stack, Stop::Host),
        }
    }

    /// Ends the run, with an error that no script catches.
    pub(crate) fn end(&mut self, stack: &mut Stack, stop: Stop) -> Tick {
        self.stop = Some(stop);
        stack.stop();
        stack.push_nil();
        Tick::Raise
    }
}
