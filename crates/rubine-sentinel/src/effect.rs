//! What the machine wants to be done. Does none of it.

use std::net::SocketAddr;

use rubine_base::clock::Millis;

use crate::link::LinkId;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Verbose,
    Notice,
    Warning,
}

/// An event that people and clients are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub level: Level,
    /// What happened: the channel on which it is published, unless it is for debugging only.
    pub channel: &'static str,
    /// To whom.
    pub text: String,
}

/// Names a program that is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobId(pub(crate) u64);

/// One thing to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect, and tell of the replies under this name.
    Connect {
        link: LinkId,
        to: SocketAddr,
    },
    /// Nothing more is wanted of it, and no event of it either.
    Close {
        link: LinkId,
    },
    Send {
        link: LinkId,
        command: Vec<Vec<u8>>,
    },
    /// Log it and publish it.
    Tell(Notice),
    /// Log it only.
    Log {
        level: Level,
        text: String,
    },
    /// Log that no failover begins before this moment.
    LogDelay {
        until: Millis,
    },
    /// Find out what a host name stands for.
    Resolve {
        host: String,
    },
    /// Start a program: its path and its arguments.
    Run {
        job: JobId,
        command: Vec<String>,
    },
    /// Kill one that runs for too long.
    Kill {
        pid: u32,
    },
    SetLogLevel(String),
    /// End this process at once, as a test has asked for.
    Crash,
}

/// What follows from an event.
#[derive(Debug, Default)]
pub struct Effects {
    /// The configuration has to be on disk before any of the actions.
    pub saves: bool,
    pub actions: Vec<Action>,
}
