//! Keys that get another name or database: COPY, MOVE, RENAME, RENAMENX. Contents are shared or moved, never copied, so
//! each takes the same time whatever the key holds.

use rubine_keyspace::Key;
use rubine_structures::record::Record;

use crate::args::{ArgCursor, Args};
use crate::command::{Command, Databases};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

pub(crate) const COMMANDS: &[Command] = &[COPY, MOVE, RENAME, RENAMENX];

const RENAME: Command = Command::new("RENAME", rename)
    .summary("Gives a key another name, replacing what was there.")
    .syntax("key newkey")
    .complexity("O(1)")
    .arity(3)
    .writes()
    .key("RW ACCESS DELETE")
    .key_at(2, "OW UPDATE");

fn rename(cx: &mut Context<'_, '_>) -> CommandResult {
    let (source, destination) = (cx.key(1), cx.key(2));
    if cx.keys.find_to_write(source).is_none() {
        return Err(CommandError::NoSuchKey);
    }
    if source.bytes() != destination.bytes() {
        cx.keys.remove(destination);
        move_record(cx, source, destination);
    }
    cx.reply.ok();
    Ok(())
}

const RENAMENX: Command = Command::new("RENAMENX", renamenx)
    .summary("Gives a key another name, unless there is a key of that name.")
    .syntax("key newkey")
    .complexity("O(1)")
    .arity(3)
    .writes()
    .fast()
    .key("RW ACCESS DELETE")
    .key_at(2, "OW INSERT");

fn renamenx(cx: &mut Context<'_, '_>) -> CommandResult {
    let (source, destination) = (cx.key(1), cx.key(2));
    if cx.keys.find_to_write(source).is_none() {
        return Err(CommandError::NoSuchKey);
    }
    // A key is there under its own name, too.
    let is_free = cx.keys.find_to_write(destination).is_none();
    if is_free {
        move_record(cx, source, destination);
    }
    cx.reply.integer(i64::from(is_free));
    Ok(())
}

/// Moves what `source` holds, with deadline and access bits, to `destination`, where nothing is.
fn move_record(cx: &mut Context<'_, '_>, source: Key<'_>, destination: Key<'_>) {
    let Some(record) = cx.keys.take(source) else { return };
    let (deadline, access) = (record.as_ref().deadline(), record.as_ref().access());
    let renamed = Record::new(destination.bytes(), record.into_value(), deadline, access);
    cx.keys.insert(destination, renamed);
    cx.notify(destination, Event::NEW);
    cx.keys.note_touch(source);
    cx.notify(source, Event::RENAME_FROM);
    cx.touched(destination, Event::RENAME_TO);
}

const MOVE: Command = Command::new("MOVE", move_to_db)
    .summary("Moves a key to another database, unless there is a key of that name.")
    .syntax("key db")
    .complexity("O(1)")
    .arity(3)
    .writes()
    .fast()
    .databases(Databases::Named(|_, visit| visit(2)))
    .key("RW ACCESS UPDATE");

fn move_to_db(cx: &mut Context<'_, '_>) -> CommandResult {
    let source_db = cx.keys.db();
    let db = parse_db(cx, &mut cx.args.options(2))?;
    if db == source_db {
        return Err(CommandError::SameObject);
    }
    let key = cx.key(1);
    let may_move =
        cx.keys.find_to_write(key).is_some() && cx.keys.in_db(db).find_to_write(key).is_none();
    if may_move && let Some(record) = cx.keys.take(key) {
        cx.keys.in_db(db).insert(key, record);
        cx.notify_in(db, key, Event::NEW);
        cx.keys.in_db(db).note_touch(key);
        cx.touched(key, Event::MOVE_FROM);
        cx.notify_in(db, key, Event::MOVE_TO);
    }
    cx.reply.integer(i64::from(may_move));
    Ok(())
}

const COPY: Command = Command::new("COPY", copy)
    .summary("Puts what a key holds under another one, too.")
    .syntax("source destination [DB destination-db] [REPLACE]")
    .since("6.2.0")
    .complexity("O(1): content is shared until one of the keys is changed.")
    .arity(-3)
    .writes()
    .denies_oom()
    .databases(Databases::Named(find_copy_dbs))
    .key("RO ACCESS")
    .key_at(2, "OW UPDATE");

/// Of several, the last one is copied to. With a wrong option among them, nothing is.
fn find_copy_dbs(args: Args<'_>, visit: &mut dyn FnMut(usize)) {
    let mut found = Vec::new();
    let mut options = args.options(3);
    while !options.is_at_end() {
        if 2 <= options.remaining() && options.keyword("DB") {
            found.push(options.index());
            options.skip(1);
        } else if !options.keyword("REPLACE") {
            return;
        }
    }
    found.into_iter().for_each(visit);
}

fn copy(cx: &mut Context<'_, '_>) -> CommandResult {
    let mut db = cx.keys.db();
    let mut replaces = false;
    let mut options = cx.args.options(3);
    while !options.is_at_end() {
        if options.keyword("REPLACE") {
            replaces = true;
        } else if 2 <= options.remaining() && options.keyword("DB") {
            db = parse_db(cx, &mut options)?;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let (source, destination) = (cx.key(1), cx.key(2));
    if db == cx.keys.db() && source.bytes() == destination.bytes() {
        return Err(CommandError::SameObject);
    }
    let found = cx.keys.find(source).map(|it| (it.value().to_value(), it.deadline()));
    let Some((value, deadline)) = found else {
        cx.reply.integer(0);
        return Ok(());
    };
    let mut keys = cx.keys.in_db(db);
    let is_taken = keys.find_to_write(destination).is_some();
    if is_taken && !replaces {
        cx.reply.integer(0);
        return Ok(());
    }
    // Removed first, since a copy's access bits are those of a new key.
    keys.remove(destination);
    keys.store(destination, value, deadline);
    keys.note_change(destination);
    cx.notify_in(db, destination, Event::NEW);
    cx.notify_in(db, destination, Event::COPY_TO);
    cx.reply.integer(1);
    Ok(())
}

/// The next argument as the number of a database.
fn parse_db(cx: &Context<'_, '_>, options: &mut ArgCursor<'_>) -> Result<usize, CommandError> {
    let number = options.integer()?;
    if i32::try_from(number).is_err() {
        return Err(CommandError::not_between(i32::MIN.into(), i32::MAX.into()));
    }
    let db = usize::try_from(number).ok().filter(|&db| db < cx.limits.databases);
    db.ok_or(CommandError::DbOutOfRange)
}
