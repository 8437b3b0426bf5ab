//! What COMMAND DOCS tells of a command: words for people, and its arguments as a tree.

use rubine_commands::{KeyAccess, Spec};
use rubine_resp::writer::Reply;

use super::syntax::{self, Argument, Kind};
use crate::command_table::Entry;

/// Writes the documentation of a command, its subcommands included.
pub(super) fn document(entry: &Entry, reply: &mut Reply<'_>) {
    let spec = entry.spec;
    let arguments = syntax::parse(spec.syntax);
    let has_subcommands = !entry.subcommands.is_empty() && !spec.counts_as_one;
    let texts = [
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", entry.group.name()),
        ("complexity", spec.complexity),
    ];
    let texts = texts.iter().filter(|it| !it.1.is_empty());
    let parts = usize::from(!arguments.is_empty()) + usize::from(has_subcommands);
    reply.map(texts.clone().count() + parts);
    for (name, text) in texts {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        KeyCounter::of(spec).write(&arguments, reply);
    }
    if has_subcommands {
        reply.bulk(b"subcommands");
        reply.map(entry.subcommands.len());
        for subcommand in &entry.subcommands {
            reply.bulk(subcommand.full_name.as_bytes());
            document(subcommand, reply);
        }
    }
}

/// Assigns keys to key specifications, in the order in which both stand.
struct KeyCounter {
    /// Specifications of real keys.
    spec_count: usize,
    next: usize,
}

impl KeyCounter {
    fn of(spec: &Spec) -> Self {
        let keys = spec.keys().filter(|it| !it.access().contains(KeyAccess::NOT_KEY));
        Self { spec_count: keys.count(), next: 0 }
    }

    fn write(&mut self, arguments: &[Argument], reply: &mut Reply<'_>) {
        reply.array(arguments.len());
        for argument in arguments {
            self.write_one(argument, reply);
        }
    }

    fn write_one(&mut self, argument: &Argument, reply: &mut Reply<'_>) {
        let is_key = argument.kind == Kind::Key && 0 < self.spec_count;
        let kind = match &argument.kind {
            Kind::Key if !is_key => "string",
            kind => kind.name(),
        };
        let key_spec = is_key.then(|| {
            let index = self.next.min(self.spec_count - 1);
            self.next += 1;
            index as i64
        });
        let flags = [
            (argument.is_optional, "optional"),
            (argument.is_multiple, "multiple"),
            (argument.is_token_multiple, "multiple_token"),
        ];
        let flags: Vec<_> =
            flags.into_iter().filter_map(|(is_set, name)| is_set.then_some(name)).collect();
        let parts = argument.kind.parts();

        // Name and type; then either what it is called in a line of help, or what it is made of.
        let len = 3
            + usize::from(key_spec.is_some())
            + usize::from(argument.token.is_some())
            + usize::from(!flags.is_empty());
        reply.map(len);
        text(reply, "name", &argument.name);
        text(reply, "type", kind);
        if parts.is_none() {
            text(reply, "display_text", &argument.name);
        }
        if let Some(index) = key_spec {
            reply.bulk(b"key_spec_index");
            reply.integer(index);
        }
        if let Some(token) = &argument.token {
            text(reply, "token", token);
        }
        if !flags.is_empty() {
            reply.bulk(b"flags");
            reply.set(flags.len());
            for flag in flags {
                reply.simple(flag);
            }
        }
        if let Some(parts) = parts {
            reply.bulk(b"arguments");
            self.write(parts, reply);
        }
    }
}

fn text(reply: &mut Reply<'_>, name: &str, value: &str) {
    reply.bulk(name.as_bytes());
    reply.bulk(value.as_bytes());
}
