//! MIGRATE: keys that move to another server. The handler says what is to be sent, and runs again to remove what has
//! arrived; it never sends anything itself.

use std::ops::Range;

use crate::args::Args;
use crate::command::{Acl, Command, Flags, KeyPositions, KeySpec};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;
use crate::shipment::{Parcel, Shipment, Target};

pub(crate) const COMMANDS: &[Command] = &[MIGRATE];

/// So often a key is sent that is changed each time before it could be removed.
const ROUNDS_MAX: u32 = 16;
/// How long the target may keep us waiting if the client does not say, in milliseconds.
const TIMEOUT_MS: u64 = 1000;

/// The one key, unless there is a list.
const KEY: usize = 3;
const OPTIONS: usize = 6;

const MIGRATE: Command = Command::new("MIGRATE", migrate)
    .summary("Moves keys to another server, or copies them there.")
    .syntax(
        "host port <key | \"\"> destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password] \
         [KEYS key [key ...]]",
    )
    .since("2.6.0")
    .complexity("O(N) with N the size of the values, without holding up others, except inside MULTI.")
    .tips("nondeterministic_output")
    .arity(-6)
    .writes()
    .also(Acl::DANGEROUS)
    .flag(Flags::MOVES_KEYS)
    .hides(find_secrets)
    .keys(KeySpec {
        positions: KeyPositions::Usually {
            at: KEY,
            find: |args, visit| find_keys(args, Form::Single).for_each(visit),
        },
        access: "RW ACCESS DELETE",
    })
    .keys(KeySpec {
        positions: KeyPositions::Keyword {
            keyword: "KEYS",
            from: -2,
            more: -1,
            find: |args, visit| find_keys(args, Form::List).for_each(visit),
        },
        access: "RW ACCESS DELETE INCOMPLETE",
    });

/// How a client names keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Single,
    List,
}

/// Which arguments are keys that are named in this form. Where there is both a key and a list, none is.
fn find_keys(args: Args<'_>, form: Form) -> Range<usize> {
    let mut options = args.options(OPTIONS);
    while !options.is_at_end() {
        if options.keyword("KEYS") {
            let is_list = form == Form::List && args.at(KEY).is_empty();
            return if is_list { options.index()..args.len() } else { 0..0 };
        }
        let operands = if options.keyword("AUTH") {
            1
        } else if options.keyword("AUTH2") {
            2
        } else {
            options.skip(1);
            0
        };
        options.skip(operands);
    }
    // Whoever asks may not have counted the arguments.
    let is_there = form == Form::Single && KEY < args.len();
    if is_there { KEY..KEY + 1 } else { 0..0 }
}

/// Names and passwords for the other server, wherever they stand before the keys.
fn find_secrets(args: Args<'_>, visit: &mut dyn FnMut(usize)) {
    let mut options = args.options(OPTIONS);
    while !options.is_at_end() && !options.keyword("KEYS") {
        let operands = if options.keyword("AUTH") {
            1
        } else if options.keyword("AUTH2") {
            2
        } else {
            options.skip(1);
            0
        };
        let first = options.index();
        (first..args.len().min(first + operands)).for_each(&mut *visit);
        options.skip(operands);
    }
}

/// What a client asks for.
struct Request {
    keys: Range<usize>,
    copies: bool,
    replaces: bool,
    user: Option<Vec<u8>>,
    password: Option<Vec<u8>>,
    db: i64,
    timeout_ms: u64,
}

impl Request {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut keys = KEY..KEY + 1;
        let (mut copies, mut replaces) = (false, false);
        let (mut user, mut password) = (None, None);
        let mut options = args.options(OPTIONS);
        while !options.is_at_end() {
            if options.keyword("COPY") {
                copies = true;
            } else if options.keyword("REPLACE") {
                replaces = true;
            } else if options.keyword("AUTH") {
                password = Some(options.required()?.to_vec());
            } else if options.keyword("AUTH2") {
                user = Some(options.required()?.to_vec());
                password = Some(options.required()?.to_vec());
            } else if options.keyword("KEYS") {
                if !args.at(KEY).is_empty() {
                    return Err(CommandError::KeyBesideKeys);
                }
                keys = options.index()..args.len();
                break;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let timeout_ms = match args.integer(5)? {
            ..=0 => TIMEOUT_MS,
            timeout => timeout as u64,
        };
        let db = args.integer(4)?;
        Ok(Self { keys, copies, replaces, user, password, db, timeout_ms })
    }
}

fn migrate(cx: &mut Context<'_, '_>) -> CommandResult {
    let request = Request::parse(cx.args)?;
    match cx.effects.shipped.take() {
        None => pack(cx, request),
        Some(shipment) if request.copies => {
            cx.replicate_nothing();
            shipment.parcels.into_iter().for_each(|it| discard(cx, it));
            conclude(cx, shipment.failure)
        }
        Some(shipment) => settle(cx, shipment),
    }
}

/// Hands what the keys hold to whoever sends it.
fn pack(cx: &mut Context<'_, '_>, request: Request) -> CommandResult {
    let mut parcels = Vec::new();
    for argument in request.keys {
        let key = cx.key(argument);
        let Some(record) = cx.keys.find(key) else { continue };
        parcels.push(Parcel {
            key: key.bytes().into(),
            value: Some(record.value().to_value()),
            deadline: record.deadline(),
            is_there: false,
            is_acknowledged: false,
            argument,
        });
    }
    if parcels.is_empty() {
        cx.reply.simple("NOKEY");
        return Ok(());
    }
    let target = Target {
        host: cx.args.at(1).to_vec(),
        port: cx.args.at(2).to_vec(),
        user: request.user,
        password: request.password,
    };
    cx.effects.shipment = Some(Box::new(Shipment {
        target,
        db: request.db,
        timeout_ms: request.timeout_ms,
        replaces: request.replaces,
        asks: cx.limits.cluster,
        version: cx.limits.rdb_version,
        parcels,
        copies: request.copies,
        failure: None,
        is_broken: false,
        round: 1,
    }));
    Ok(())
}

/// Removes the keys that have arrived as they are. What was changed meanwhile is sent once more: the target's copy is
/// then one of ours.
fn settle(cx: &mut Context<'_, '_>, mut shipment: Box<Shipment>) -> CommandResult {
    let mut moved = Vec::new();
    let mut changed = Vec::new();
    // All are looked at before any is removed, since a key may be named twice.
    for parcel in std::mem::take(&mut shipment.parcels) {
        if !parcel.is_acknowledged {
            discard(cx, parcel);
            continue;
        }
        let (value, deadline) = match cx.keys.peek(cx.key(parcel.argument)) {
            Some(record) if parcel.is_same(record.value(), record.deadline()) => {
                moved.push(parcel.argument);
                discard(cx, parcel);
                continue;
            }
            Some(record) => (Some(record.value().to_value()), record.deadline()),
            None => {
                // It was due, which it is there as well; or it is gone from both.
                let is_due = parcel.deadline.is_some_and(|deadline| deadline <= cx.now);
                if is_due || parcel.value.is_none() {
                    discard(cx, parcel);
                    continue;
                }
                (None, None)
            }
        };
        let Parcel { key, value: earlier, argument, .. } = parcel;
        if let Some(earlier) = earlier {
            cx.keys.discard(earlier);
        }
        let (is_there, is_acknowledged) = (true, false);
        changed.push(Parcel { key, value, deadline, is_there, is_acknowledged, argument });
    }
    remove(cx, &moved);
    if !changed.is_empty() && !shipment.is_broken {
        if shipment.round < ROUNDS_MAX {
            shipment.round += 1;
            shipment.parcels = changed;
            cx.effects.shipment = Some(shipment);
            return Ok(());
        }
        shipment.refuse(CommandError::KeptChanging);
    }
    changed.into_iter().for_each(|it| discard(cx, it));
    conclude(cx, shipment.failure)
}

/// Removes keys, for which the journal has one command.
fn remove(cx: &mut Context<'_, '_>, arguments: &[usize]) {
    cx.replicate_nothing();
    let mut command: Vec<&[u8]> = vec![b"DEL"];
    for &argument in arguments {
        let key = cx.key(argument);
        if cx.keys.remove(key) {
            cx.touched(key, Event::DEL);
            command.push(cx.args.at(argument));
        }
    }
    if 1 < command.len() {
        cx.replicate(&command);
    }
}

fn conclude(cx: &mut Context<'_, '_>, failure: Option<CommandError>) -> CommandResult {
    if let Some(failure) = failure {
        return Err(failure);
    }
    cx.reply.ok();
    Ok(())
}

/// Has the handle freed, which may be the last one of its value.
fn discard(cx: &mut Context<'_, '_>, parcel: Parcel) {
    if let Some(value) = parcel.value {
        cx.keys.discard(value);
    }
}
