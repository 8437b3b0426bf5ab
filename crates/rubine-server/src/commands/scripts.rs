//! What the commands about scripts and those about functions share.

use rubine_commands::{Args, CommandError, CommandResult};
use rubine_scripting::ScriptError;

use crate::core::Session;
use crate::server::{NotKilled, ScriptKind};

pub(super) fn refusal(error: &ScriptError) -> CommandError {
    CommandError::quoting(&[&error.reply()])
}

/// Whether SCRIPT FLUSH and FUNCTION FLUSH have nothing but what they take.
pub(super) fn is_flush(args: Args<'_>) -> bool {
    match args.len() {
        2 => true,
        3 => [&b"ASYNC"[..], b"SYNC"].iter().any(|it| it.eq_ignore_ascii_case(args.at(2))),
        _ => false,
    }
}

/// SCRIPT KILL and FUNCTION KILL.
pub(super) fn kill(session: &mut Session<'_>, kind: ScriptKind) -> CommandResult {
    let undoes = match session.args.len() {
        2 => false,
        3 if session.args.at(2).eq_ignore_ascii_case(b"UNDO") => true,
        _ => return Err(CommandError::Syntax),
    };
    session.core.server.scripting.kill(kind, undoes).map_err(|reason| {
        CommandError::text(match (reason, kind) {
            (NotKilled::NoneRuns, _) => "NOTBUSY No scripts in execution right now.",
            (NotKilled::OtherKind, ScriptKind::Script) => ScriptKind::Function.busy(),
            (NotKilled::OtherKind, ScriptKind::Function) => ScriptKind::Script.busy(),
            (NotKilled::HasWritten, _) => {
                "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait \
                 the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command."
            }
        })
    })?;
    session.reply.ok();
    Ok(())
}
