//! What is asked of a user, and how a refusal reads. Decides nothing: `permissions.rs` does.

use crate::commands::CommandNumber;

bitflags::bitflags! {
    /// What a request does with a key, or what a pattern of keys allows.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u8 {
        const READ = 1 << 0;
        const WRITE = 1 << 1;
    }
}

/// How a request names a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelUse {
    /// PUBLISH, SUBSCRIBE and their like: the channel must match a pattern of the user's.
    Literal,
    /// PSUBSCRIBE: the pattern must be one of the user's, letter by letter.
    Pattern,
}

/// What a request wants. Whoever implements it says where things stand among the arguments; they are asked for
/// only as far as an answer depends on them, and once for each set of permissions that is tried.
pub trait Request {
    /// A container's subcommand has a number of its own.
    fn command(&self) -> CommandNumber;

    /// The arguments, of which the command's name is number 0.
    fn argument(&self, index: usize) -> Option<&[u8]>;

    /// The numbers of the arguments that are keys, and what is done with them.
    fn keys(&self) -> impl Iterator<Item = (usize, Access)>;

    /// The numbers of the arguments that are channels which are published or subscribed to. Whoever ends a
    /// subscription asks for nothing.
    fn channels(&self) -> impl Iterator<Item = (usize, ChannelUse)>;

    /// The databases that the request touches, each with the number of the argument that names it, or 0:
    /// those that SELECT, SWAPDB, MOVE and COPY name; all of them for FLUSHALL; and the current one, last, if it has
    /// keys or is in one of the categories `keyspace`, `read` and `write` (but is none of the above without keys).
    fn databases(&self) -> impl Iterator<Item = (usize, u32)>;
}

/// Why a user was refused, in the words of ACL LOG. If several sets of permissions refuse, the last of these counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Database,
    Command,
    Key,
    Channel,
    /// A name and a password that do not belong together.
    Auth,
    /// A certificate that belongs to no user.
    TlsCertificate,
}

impl Reason {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::TlsCertificate as usize + 1;

    /// The word in ACL LOG.
    pub fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Command => "command",
            Self::Key => "key",
            Self::Channel => "channel",
            Self::Auth => "auth",
            Self::TlsCertificate => "tls-cert",
        }
    }
}

/// A request that its user may not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denial {
    pub reason: Reason,
    /// The number of the argument that must not be touched; 0 if it is the command or the current database.
    pub argument: usize,
}

impl Denial {
    pub(crate) const COMMAND: Self = Self { reason: Reason::Command, argument: 0 };

    /// What the client is told behind `NOPERM`, without what it must not know.
    pub fn text(self, user: &[u8], full_name: &str) -> Vec<u8> {
        match self.reason {
            Reason::Key => b"No permissions to access a key".to_vec(),
            Reason::Channel => b"No permissions to access a channel".to_vec(),
            Reason::Database => b"No permissions to access database".to_vec(),
            _ => self.detailed_text(user, full_name, b""),
        }
    }

    /// What ACL DRYRUN says. `object` is the argument that the denial names.
    pub fn detailed_text(self, user: &[u8], full_name: &str, object: &[u8]) -> Vec<u8> {
        let pieces: [&[u8]; 3] = match self.reason {
            Reason::Key => [b"access the '", object, b"' key"],
            Reason::Channel => [b"access the '", object, b"' channel"],
            Reason::Database => [b"access database ", object, b""],
            _ => [b"run the '", full_name.as_bytes(), b"' command"],
        };
        [&[b"User ", user, b" has no permissions to "], &pieces[..]].concat().concat()
    }

    /// What EXEC says, behind `NOPERM`, of a command that was allowed when it was queued.
    pub fn exec_text(self) -> String {
        let reason = match self.reason {
            Reason::Command => "no permission to execute the command or subcommand",
            Reason::Key => "no permission to touch the specified keys",
            Reason::Channel => "no permission to access one of the channels used as arguments",
            _ => "no permission",
        };
        format!(
            "ACLs rules changed between the moment the transaction was accumulated and the EXEC call. \
             This command is no longer allowed for the following reason: {reason}"
        )
    }

    /// What ACL LOG shows as the object: the argument that must not be touched, or the command.
    pub fn object<'a>(self, request: &'a impl Request, full_name: &'a str) -> &'a [u8] {
        let argument = if self.argument == 0 { None } else { request.argument(self.argument) };
        argument.unwrap_or(full_name.as_bytes())
    }
}
