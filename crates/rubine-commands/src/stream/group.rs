//! XGROUP: groups and their consumers come and go.

use rubine_structures::stream::{Group, Stream, StreamId};
use rubine_structures::value::Value;

use super::{
    discard, edit_group, find_mut, known, no_group_for_key, parse_id, parse_id_or_edge,
    subcommand_syntax,
};
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

const BUSY: CommandError = CommandError::text("BUSYGROUP Consumer Group name already exists");
const NO_KEY: CommandError = CommandError::text(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to \
     create an empty stream automatically.",
);
const ENTRIES_READ_NEGATIVE: CommandError =
    CommandError::text("ERR value for ENTRIESREAD must be positive or -1");

/// With each option once. More is refused, but after other mistakes.
const CREATE_ARGS_MAX: usize = 8;
const SETID_ARGS_MAX: usize = 7;

pub(super) const XGROUP: Command = <Command>::container("XGROUP", unknown_form, FORMS)
    .summary("Manages the groups that read a stream.")
    .since("5.0.0")
    .complexity("O(1)");

const FORMS: &[Command] = &[CREATE, CREATECONSUMER, DELCONSUMER, DESTROY, SETID];

fn unknown_form(cx: &mut Context<'_, '_>) -> CommandResult {
    Err(CommandError::unknown_subcommand(cx.args.get(1), "XGROUP"))
}

const CREATE: Command = Command::new("CREATE", create)
    .summary("Makes a group that reads a stream from an identifier on.")
    .syntax("key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]")
    .since("5.0.0")
    .complexity("O(1)")
    .arity(-5)
    .writes()
    .denies_oom()
    .key_at(2, "RW INSERT");

fn create(cx: &mut Context<'_, '_>) -> CommandResult {
    let options = Options::parse(cx)?;
    let (key, name, arg_count) = (cx.key(2), cx.args.at(3), cx.args.len());
    let stream = find_mut(&mut cx.keys, key)?;
    if stream.is_none() && !options.makes_stream {
        return Err(NO_KEY);
    }
    if CREATE_ARGS_MAX < arg_count {
        return Err(subcommand_syntax(cx, "XGROUP"));
    }
    let last_id = stream.as_ref().map_or(StreamId::MIN, |it| it.last_id());
    let id = match cx.args.at(4) {
        b"$" => last_id,
        id => parse_id(id, 0)?,
    };
    let group = Group::new(id, options.entries_read);
    if let Some(stream) = stream {
        if !stream.add_group(name, group) {
            return Err(BUSY);
        }
        cx.keys.add_dirty(1);
    } else {
        let mut stream = Stream::new();
        stream.add_group(name, group);
        cx.keys.store(key, Value::Stream(stream), None);
        cx.notify(key, Event::NEW);
        cx.keys.note_change(key);
    }
    cx.notify(key, Event::XGROUP_CREATE);
    cx.reply.ok();
    Ok(())
}

const SETID: Command = Command::new("SETID", setid)
    .summary("Sets from where on a group reads.")
    .syntax("key group <id | $> [ENTRIESREAD entries-read]")
    .since("5.0.0")
    .complexity("O(1)")
    .arity(-5)
    .writes()
    .key_at(2, "RW UPDATE");

fn setid(cx: &mut Context<'_, '_>) -> CommandResult {
    let options = Options::parse(cx)?;
    if options.makes_stream {
        return Err(subcommand_syntax(cx, "XGROUP"));
    }
    let (key, name) = (cx.key(2), cx.args.at(3));
    let last_id = known_group(cx)?.last_id();
    if SETID_ARGS_MAX < cx.args.len() {
        return Err(subcommand_syntax(cx, "XGROUP"));
    }
    let id = match cx.args.at(4) {
        b"$" => last_id,
        id => parse_id_or_edge(id, 0)?,
    };
    edit_group(cx, key, name, |group| {
        group.last_id = id;
        group.entries_read = options.entries_read;
    });
    cx.keys.add_dirty(1);
    cx.notify(key, Event::XGROUP_SETID);
    cx.reply.ok();
    Ok(())
}

struct Options {
    makes_stream: bool,
    entries_read: Option<u64>,
}

impl Options {
    fn parse(cx: &Context<'_, '_>) -> Result<Self, CommandError> {
        let mut parsed = Self { makes_stream: false, entries_read: None };
        let mut options = cx.args.options(5);
        while !options.is_at_end() {
            if options.keyword("MKSTREAM") {
                parsed.makes_stream = true;
            } else if 2 <= options.remaining() && options.keyword("ENTRIESREAD") {
                parsed.entries_read = match options.integer()? {
                    -1 => None,
                    count => Some(u64::try_from(count).map_err(|_| ENTRIES_READ_NEGATIVE)?),
                };
            } else {
                return Err(subcommand_syntax(cx, "XGROUP"));
            }
        }
        Ok(parsed)
    }
}

/// The stream of the group that arguments 2 and 3 name; an error if there is no such group.
fn known_group<'v>(cx: &'v mut Context<'_, '_>) -> Result<&'v mut Stream, CommandError> {
    let (key, name) = (cx.key(2), cx.args.at(3));
    let stream = find_mut(&mut cx.keys, key)?.ok_or(NO_KEY)?;
    match stream.group(name) {
        Some(_) => Ok(stream),
        None => Err(no_group_for_key(key.bytes(), name)),
    }
}

const DESTROY: Command = Command::new("DESTROY", destroy)
    .summary("Removes a group and all that is pending in it.")
    .syntax("key group")
    .since("5.0.0")
    .complexity("O(1): what is pending is freed in the background.")
    .arity(4)
    .writes()
    .key_at(2, "RW DELETE");

fn destroy(cx: &mut Context<'_, '_>) -> CommandResult {
    let (key, name) = (cx.key(2), cx.args.at(3));
    let stream = find_mut(&mut cx.keys, key)?.ok_or(NO_KEY)?;
    let before = stream.clone();
    let is_removed = stream.remove_group(name);
    if is_removed {
        // Whoever waits for entries of the group has to learn that there is none any more.
        cx.keys.note_side_change(key);
        cx.notify(key, Event::XGROUP_DESTROY);
    }
    discard(cx, before);
    cx.reply.integer(i64::from(is_removed));
    Ok(())
}

const CREATECONSUMER: Command = Command::new("CREATECONSUMER", createconsumer)
    .summary("Makes a consumer in a group.")
    .syntax("key group consumer")
    .since("6.2.0")
    .complexity("O(log(N)) with N the number of consumers.")
    .arity(5)
    .writes()
    .denies_oom()
    .key_at(2, "RW INSERT");

fn createconsumer(cx: &mut Context<'_, '_>) -> CommandResult {
    let (key, name, consumer, now) = (cx.key(2), cx.args.at(3), cx.args.at(4), cx.now);
    known_group(cx)?;
    let is_new = edit_group(cx, key, name, |group| {
        let is_new = group.find_consumer(consumer).is_none();
        if is_new {
            group.add_consumer(consumer, now);
        }
        is_new
    });
    if is_new {
        cx.keys.add_dirty(1);
        cx.notify(key, Event::XGROUP_CREATECONSUMER);
    }
    cx.reply.integer(i64::from(is_new));
    Ok(())
}

const DELCONSUMER: Command = Command::new("DELCONSUMER", delconsumer)
    .summary("Removes a consumer and all that is pending for it.")
    .syntax("key group consumer")
    .since("5.0.0")
    .complexity(
        "O(M*log(N)) with M the entries pending for the consumer and N those for the group.",
    )
    .arity(5)
    .writes()
    .key_at(2, "RW DELETE");

fn delconsumer(cx: &mut Context<'_, '_>) -> CommandResult {
    let (key, name, consumer) = (cx.key(2), cx.args.at(3), cx.args.at(4));
    let before = known_group(cx)?.clone();
    let found = before.group(name).and_then(|group| group.find_consumer(consumer));
    let mut pending = 0;
    if let Some(id) = found {
        let stream = known(&mut cx.keys, key);
        pending = stream.edit_group(name, |it| it.remove_consumer(id)).unwrap_or(0);
        cx.keys.add_dirty(1);
        cx.notify(key, Event::XGROUP_DELCONSUMER);
    }
    discard(cx, before);
    cx.reply.integer(pending as i64);
    Ok(())
}
