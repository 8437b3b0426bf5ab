//! What COMMAND INFO tells of a command: ten parts in a fixed order.

use rubine_commands::{Acl, Flags, KeyAccess, KeyPositions, KeySpec, Spec};
use rubine_resp::writer::Reply;

use crate::command_table::Entry;

/// The flags that clients are told, in order.
const FLAGS: &[(Flags, &str)] = &[
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENYOOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::PUBSUB, "pubsub"),
    (Flags::NOSCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_MONITOR, "skip_monitor"),
    (Flags::SKIP_COMMANDLOG, "skip_commandlog"),
    (Flags::ASKING, "asking"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (Flags::NO_ASYNC_LOADING, "no_async_loading"),
    (Flags::NO_MULTI, "no_multi"),
    (Flags::MOVABLE_KEYS, "movablekeys"),
    (Flags::ALLOW_BUSY, "allow_busy"),
];

/// The ACL categories, in order.
pub(super) const CATEGORIES: &[(Acl, &str)] = &[
    (Acl::KEYSPACE, "keyspace"),
    (Acl::READ, "read"),
    (Acl::WRITE, "write"),
    (Acl::SET, "set"),
    (Acl::SORTED_SET, "sortedset"),
    (Acl::LIST, "list"),
    (Acl::HASH, "hash"),
    (Acl::STRING, "string"),
    (Acl::BITMAP, "bitmap"),
    (Acl::HYPERLOGLOG, "hyperloglog"),
    (Acl::GEO, "geo"),
    (Acl::STREAM, "stream"),
    (Acl::PUBSUB, "pubsub"),
    (Acl::ADMIN, "admin"),
    (Acl::FAST, "fast"),
    (Acl::SLOW, "slow"),
    (Acl::BLOCKING, "blocking"),
    (Acl::DANGEROUS, "dangerous"),
    (Acl::CONNECTION, "connection"),
    (Acl::TRANSACTION, "transaction"),
    (Acl::SCRIPTING, "scripting"),
];

const ACCESS: &[(KeyAccess, &str)] = &[
    (KeyAccess::RO, "RO"),
    (KeyAccess::RW, "RW"),
    (KeyAccess::OW, "OW"),
    (KeyAccess::RM, "RM"),
    (KeyAccess::ACCESS, "access"),
    (KeyAccess::UPDATE, "update"),
    (KeyAccess::INSERT, "insert"),
    (KeyAccess::DELETE, "delete"),
    (KeyAccess::NOT_KEY, "not_key"),
    (KeyAccess::INCOMPLETE, "incomplete"),
    (KeyAccess::VARIABLE_FLAGS, "variable_flags"),
];

/// Writes what a command is, its subcommands included.
pub(super) fn describe(entry: &Entry, reply: &mut Reply<'_>) {
    let spec = entry.spec;
    let mut flags = spec.flags;
    flags.set(Flags::MOVABLE_KEYS, spec.has_movable_keys());
    let (first, last, step) = legacy_range(spec);

    reply.array(10);
    reply.bulk(entry.full_name.as_bytes());
    reply.integer(i64::from(spec.arity));
    statuses(reply, FLAGS.iter().filter(|it| flags.contains(it.0)).map(|it| it.1), "");
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    let acl = entry.acl();
    statuses(reply, CATEGORIES.iter().filter(|it| acl.contains(it.0)).map(|it| it.1), "@");
    tips(spec, reply);
    let keys: Vec<_> = spec.keys().collect();
    reply.set(keys.len());
    for it in keys {
        key_spec(it, reply);
    }
    let subcommands = if spec.counts_as_one { &[][..] } else { &entry.subcommands };
    reply.array(subcommands.len());
    for subcommand in subcommands {
        describe(subcommand, reply);
    }
}

/// Writes what a command does with a key.
pub(super) fn access(access: KeyAccess, reply: &mut Reply<'_>) {
    statuses(reply, ACCESS.iter().filter(|it| access.contains(it.0)).map(|it| it.1), "");
}

fn statuses<'a>(reply: &mut Reply<'_>, names: impl Iterator<Item = &'a str>, prefix: &str) {
    let names: Vec<_> = names.collect();
    reply.set(names.len());
    for name in names {
        reply.simple(&format!("{prefix}{name}"));
    }
}

fn tips(spec: &Spec, reply: &mut Reply<'_>) {
    let tips: Vec<_> = spec.tips.split_whitespace().collect();
    reply.set(tips.len());
    for tip in tips {
        reply.bulk(tip.as_bytes());
    }
}

/// First key, last key and step, for clients from before there were key specifications: the ranges that start at a
/// fixed argument and follow one another.
fn legacy_range(spec: &Spec) -> (i64, i64, i64) {
    let mut joined: Option<(i64, i64, i64)> = None;
    for keys in spec.keys() {
        let (first, last, step) = match keys.positions {
            KeyPositions::Range { first, last, step } => (first as i64, last as i64, step as i64),
            KeyPositions::Usually { at, .. } => (at as i64, at as i64, 1),
            _ => continue,
        };
        joined = match joined {
            None => Some((first, last, step)),
            Some((start, end, 1)) if step == 1 && end + 1 == first => Some((start, last, 1)),
            Some(range) => Some(range),
        };
    }
    joined.unwrap_or((0, 0, 0))
}

fn key_spec(keys: &KeySpec, reply: &mut Reply<'_>) {
    reply.map(3);
    reply.bulk(b"flags");
    access(keys.access(), reply);
    match keys.positions {
        KeyPositions::Range { first, last, step } => {
            let last = if last < 0 { last as i64 } else { last as i64 - first as i64 };
            part(reply, "begin_search", "index", &[("index", first as i64)]);
            let range = [("lastkey", last), ("keystep", step as i64), ("limit", 0)];
            part(reply, "find_keys", "range", &range);
        }
        KeyPositions::Usually { at, .. } => {
            part(reply, "begin_search", "index", &[("index", at as i64)]);
            part(reply, "find_keys", "range", &[("lastkey", 0), ("keystep", 1), ("limit", 0)]);
        }
        KeyPositions::Counted { at, step } => {
            part(reply, "begin_search", "index", &[("index", at as i64)]);
            let count = [("keynumidx", 0), ("firstkey", 1), ("keystep", step as i64)];
            part(reply, "find_keys", "keynum", &count);
        }
        KeyPositions::Keyword { keyword, from, more, .. } => {
            begin_at_keyword(reply, keyword, from as i64);
            let range = [("lastkey", more as i64), ("keystep", 1), ("limit", 0)];
            part(reply, "find_keys", "range", &range);
        }
        KeyPositions::Streams { keyword, from } => {
            begin_at_keyword(reply, keyword, from as i64);
            // The keys are the first half of what follows.
            let half = [("lastkey", -1), ("keystep", 1), ("limit", 2)];
            part(reply, "find_keys", "range", &half);
        }
        KeyPositions::Custom(_) => {
            part(reply, "begin_search", "unknown", &[]);
            part(reply, "find_keys", "unknown", &[]);
        }
    }
}

/// The half of a key specification that looks for a keyword.
fn begin_at_keyword(reply: &mut Reply<'_>, keyword: &str, from: i64) {
    reply.bulk(b"begin_search");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"keyword");
    reply.bulk(b"spec");
    reply.map(2);
    reply.bulk(b"keyword");
    reply.bulk(keyword.as_bytes());
    reply.bulk(b"startfrom");
    reply.integer(from);
}

/// One half of a key specification: how its search begins or what it finds.
fn part(reply: &mut Reply<'_>, name: &str, kind: &str, numbers: &[(&str, i64)]) {
    reply.bulk(name.as_bytes());
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(numbers.len());
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(*number);
    }
}
