//! Scripts that have run for longer than others wait for them: who is told so, in place of what they asked for.

use rubine_commands::{Args, CommandError, Flags};
use rubine_config::BusyReplyScope;
use rubine_resp::writer::Reply;

use super::{Request, settle_reply};
use crate::client::Client;
use crate::client::suspension::Reason;
use crate::command_table::Entry;
use crate::core::Core;

/// The gate: nobody is served beside a busy script who is not to be, by `busy-reply-scope`.
pub(super) fn not_busy(request: Request<'_>) -> Result<(), CommandError> {
    let Request { core, entry, args, .. } = request;
    if !core.is_script_busy {
        return Ok(());
    }
    let is_for_all = core.settings.busy_reply_scope == BusyReplyScope::All;
    let may_run = if ends_server(entry) {
        // What is to be saved would have to wait for the script.
        asks_for_no_save(args)
    } else {
        !is_for_all || entry.spec.flags.contains(Flags::ALLOW_BUSY)
    };
    if may_run {
        return Ok(());
    }
    core.server.scripting.busy_at(None).map_or(Ok(()), |kind| Err(CommandError::text(kind.busy())))
}

fn ends_server(entry: &Entry) -> bool {
    entry.spec.name == "SHUTDOWN"
}

fn asks_for_no_save(args: Args<'_>) -> bool {
    args.from(1).any(|it| it.eq_ignore_ascii_case(b"NOSAVE"))
}

impl Core {
    /// Answers a client whose request stands at a shard that a busy script holds, or waits for a thread for its own script.
    /// Returns whether it was one.
    pub(crate) fn refuse_busy(&mut self, client: &mut Client) -> bool {
        let scripting = &self.server.scripting;
        let kind = match (client.suspension(), &client.standing) {
            (Some(Reason::ScriptThread), _) => scripting.busy_at(None),
            (Some(Reason::BusyShard), Some(standing)) => {
                scripting.busy_at(Some(&standing.shards().collect::<Vec<_>>()))
            }
            _ => None,
        };
        let Some(kind) = kind else { return false };
        self.resume(client);
        if let Some(standing) = client.standing.take() {
            self.server.keyspace.withdraw(standing);
        }
        self.discard_brought(client);
        let Some(request) = client.suspended.take().and_then(|it| it.request) else { return true };
        let args = request.as_args();
        let entry = self.server.commands.find(args.at(0)).map(|it| it.asked_for(args));
        let mut output = std::mem::take(&mut client.output);
        let mut reply = Reply::new(&mut output, client.protocol);
        let mark = reply.mark();
        self.refuse(client, &mut reply, entry, args, &CommandError::text(kind.busy()));
        settle_reply(client, &mut reply, mark);
        client.output = output;
        true
    }
}
