//! ACL LOG: what was refused, newest first.

use rubine_acl::LogEntry;
use rubine_base::number::parse_i64;
use rubine_commands::{CommandError, CommandResult};
use rubine_resp::writer::Reply;

use super::ADMIN_FLAGS;
use crate::command_table::wrong_form;
use crate::core::{ServerCommand, Session};

/// Entries that are shown unless it is said how many.
const SHOWN_DEFAULT: usize = 10;

pub(super) const LOG: ServerCommand = ServerCommand::declare("LOG", log)
    .summary("Returns what was refused to users lately, or forgets it.")
    .syntax("[count | RESET]")
    .since("6.0.0")
    .complexity("O(N) with N the number of entries shown.")
    .arity(-2)
    .flag(ADMIN_FLAGS);

fn log(session: &mut Session<'_>) -> CommandResult {
    let access = &session.core.server.access;
    let count = match (session.args.get(2), session.args.len()) {
        (None, _) => SHOWN_DEFAULT,
        (Some(word), 3) if word.eq_ignore_ascii_case(b"RESET") => {
            access.reset_log();
            session.reply.ok();
            return Ok(());
        }
        (Some(count), 3) => {
            let count = parse_i64(count).ok_or(CommandError::NotInteger)?;
            usize::try_from(count).unwrap_or(0)
        }
        _ => return Err(wrong_form(session.args, "ACL")),
    };
    let log = access.log();
    let count = count.min(log.entries().len());
    let (reply, now) = (&mut session.reply, session.core.now);
    reply.array(count);
    log.entries().take(count).for_each(|entry| write_entry(reply, entry, now));
    Ok(())
}

fn write_entry(reply: &mut Reply<'_>, entry: &LogEntry, now: i64) {
    let incident = &entry.incident;
    let texts: [(&str, &[u8]); 4] = [
        ("reason", incident.reason.name().as_bytes()),
        ("context", incident.context.name().as_bytes()),
        ("object", &incident.object),
        ("username", &incident.username),
    ];
    reply.map(10);
    reply.bulk(b"count");
    reply.integer(entry.count as i64);
    for (name, text) in texts {
        reply.bulk(name.as_bytes());
        reply.bulk(text);
    }
    reply.bulk(b"age-seconds");
    reply.double(entry.age_seconds(now));
    reply.bulk(b"client-info");
    reply.bulk(&incident.client_info);
    let numbers = [
        ("entry-id", entry.id as i64),
        ("timestamp-created", entry.created_ms),
        ("timestamp-last-updated", entry.updated_ms),
    ];
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(number);
    }
}
