//! MEMORY: where the memory goes, what to make of it, and giving back what the allocator keeps. USAGE, which looks at
//! a key, is beside the data commands.

use rubine_commands::{CommandError, CommandResult, Flags};

use crate::core::{ServerCommand, Session};
use crate::figures::clients::ClientFacts;
use crate::figures::memory::{MemoryFacts, ratio};
use crate::figures::{Shards, Source};
use rubine_system::allocator;

pub(super) const MEMORY: ServerCommand =
    ServerCommand::container("MEMORY", super::never_runs, &[DOCTOR, MALLOC_STATS, PURGE, STATS])
        .summary("A container for commands about memory.")
        .since("4.0.0")
        .complexity("Depends on the subcommand.");

fn facts(session: &Session<'_>) -> MemoryFacts {
    let shards = session.locked.as_deref().map_or(Shards::Free, Shards::Locked);
    let source = Source { server: session.core.server, now: session.core.now, shards };
    MemoryFacts::gather(&source, &ClientFacts::gather(&source))
}

const STATS: ServerCommand = ServerCommand::declare("STATS", stats)
    .summary("Returns where the memory goes.")
    .since("4.0.0")
    .complexity("O(1)")
    .arity(2)
    .each_shard()
    .tips("nondeterministic_output request_policy:all_shards response_policy:special");

/// What the texts of scripts take, and libraries.
fn script_bytes(session: &Session<'_>) -> (i64, i64) {
    let scripting = &session.core.server.scripting;
    (scripting.scripts.memory() as i64, scripting.libraries.current().memory() as i64)
}

fn stats(session: &mut Session<'_>) -> CommandResult {
    let facts = facts(session);
    let allocator::Stats { allocated, active, resident } = facts.allocator;
    let databases = facts.databases.iter().enumerate().filter(|(_, it)| it.keys != 0);
    let databases: Vec<_> = databases.map(|(db, facts)| (db, *facts)).collect();
    let tables: u64 = databases.iter().map(|(_, it)| it.table_bytes).sum();
    let data = facts.used.saturating_sub(facts.startup);
    let per_key = data.checked_div(facts.keys()).unwrap_or(0);
    let more = |whole: u64, part: u64| whole as i64 - part as i64;
    let (scripts, libraries) = script_bytes(session);
    let server = session.core.server;
    let before = [
        ("peak.allocated", facts.peak as i64),
        ("total.allocated", facts.used as i64),
        ("startup.allocated", facts.startup as i64),
        ("replication.backlog", server.journal.status().backlog_bytes() as i64),
        ("replicas.repl.buffer", facts.held as i64),
        ("clients.slaves", facts.replicas as i64),
        ("clients.normal", facts.clients as i64),
        ("cluster.links", server.cluster.as_ref().map_or(0, |it| it.links().1 as i64)),
        ("cluster.slot_import", 0),
        ("cluster.slot_export", 0),
        ("aof.buffer", 0),
        ("lua.caches", scripts),
        ("functions.caches", libraries),
    ];
    let after = [
        ("overhead.db.hashtable.lut", Figure::Bytes(tables as i64)),
        ("overhead.db.hashtable.rehashing", Figure::Bytes(0)),
        ("overhead.total", Figure::Bytes(facts.overhead() as i64)),
        ("db.dict.rehashing.count", Figure::Bytes(0)),
        ("keys.count", Figure::Bytes(facts.keys() as i64)),
        ("keys.bytes-per-key", Figure::Bytes(per_key as i64)),
        ("dataset.bytes", Figure::Bytes(facts.dataset() as i64)),
        ("dataset.percentage", Figure::Ratio(facts.dataset_percent())),
        ("peak.percentage", Figure::Ratio(facts.peak_percent())),
        ("allocator.allocated", Figure::Bytes(allocated as i64)),
        ("allocator.active", Figure::Bytes(active as i64)),
        ("allocator.resident", Figure::Bytes(resident as i64)),
        ("allocator.muzzy", Figure::Bytes(0)),
        ("allocator-fragmentation.ratio", Figure::Ratio(ratio(active, allocated))),
        ("allocator-fragmentation.bytes", Figure::Bytes(more(active, allocated))),
        ("allocator-rss.ratio", Figure::Ratio(ratio(resident, active))),
        ("allocator-rss.bytes", Figure::Bytes(more(resident, active))),
        ("rss-overhead.ratio", Figure::Ratio(ratio(facts.resident_set, resident))),
        ("rss-overhead.bytes", Figure::Bytes(more(facts.resident_set, resident))),
        ("fragmentation", Figure::Ratio(ratio(facts.resident_set, facts.used))),
        ("fragmentation.bytes", Figure::Bytes(more(facts.resident_set, facts.used))),
    ];
    let reply = &mut session.reply;
    reply.map(before.len() + databases.len() + after.len());
    for (name, bytes) in before {
        reply.bulk(name.as_bytes());
        reply.integer(bytes);
    }
    for (db, facts) in databases {
        reply.bulk(format!("db.{db}").as_bytes());
        reply.map(2);
        reply.bulk(b"overhead.hashtable.main");
        reply.integer(facts.table_bytes as i64);
        // Deadlines are part of the records: there is no second table.
        reply.bulk(b"overhead.hashtable.expires");
        reply.integer(0);
    }
    for (name, figure) in after {
        reply.bulk(name.as_bytes());
        match figure {
            Figure::Bytes(number) => reply.integer(number),
            Figure::Ratio(value) => reply.double(value),
        }
    }
    Ok(())
}

enum Figure {
    Bytes(i64),
    Ratio(f64),
}

const DOCTOR: ServerCommand = ServerCommand::declare("DOCTOR", doctor)
    .summary("Returns what is noticeable about the use of memory.")
    .since("4.0.0")
    .complexity("O(1)")
    .arity(2)
    .each_shard()
    .tips("nondeterministic_output request_policy:all_shards response_policy:special");

fn doctor(session: &mut Session<'_>) -> CommandResult {
    let facts = facts(session);
    let clients = session.core.server.clients.len() as u64;
    session.reply.verbatim(*b"txt", diagnosis(&facts, clients).as_bytes());
    Ok(())
}

/// Below this nothing can be said: the server itself outweighs the data.
const DIAGNOSED_MIN_BYTES: u64 = 5 << 20;
/// Smaller differences are no reason to worry, whatever the ratio.
const EXCESS_MIN_BYTES: u64 = 10 << 20;
const PEAK_RATIO_MAX: f64 = 1.5;
const FRAGMENTATION_RATIO_MAX: f64 = 1.4;
const CLIENT_BYTES_MAX: u64 = 200 << 10;

fn diagnosis(facts: &MemoryFacts, clients: u64) -> String {
    if facts.used < DIAGNOSED_MIN_BYTES {
        return "There is too little data for a diagnosis: below 5 MB the server itself weighs more.\n"
            .to_owned();
    }
    let exceeds = |whole: u64, part: u64, ratio_max: f64| {
        ratio_max < ratio(whole, part) && EXCESS_MIN_BYTES < whole.saturating_sub(part)
    };
    let allocator::Stats { allocated, active, resident } = facts.allocator;
    let findings = [
        (
            exceeds(facts.peak, facts.used, PEAK_RATIO_MAX),
            "Peak memory: far more memory was in use at some time than is now. What is free again stays with the \
             allocator for a while, so the process may look large; MEMORY PURGE gives it back at once.",
        ),
        (
            exceeds(active, allocated, FRAGMENTATION_RATIO_MAX),
            "Fragmentation: many pages are held for few bytes each, as happens when values of changing sizes come \
             and go.",
        ),
        (
            exceeds(resident, active, FRAGMENTATION_RATIO_MAX),
            "Allocator: it keeps many free pages. MEMORY PURGE gives them back.",
        ),
        (
            exceeds(facts.resident_set, resident, FRAGMENTATION_RATIO_MAX),
            "Process: it takes far more memory than its allocator does, for example for threads and the program \
             itself.",
        ),
        (
            CLIENT_BYTES_MAX < facts.clients / clients.max(1),
            "Clients: on average they have more than 200 KB in their buffers. Some may send faster than they are \
             served, or not read what they asked for; see CLIENT LIST.",
        ),
    ];
    let findings: Vec<_> = findings.iter().filter(|it| it.0).map(|it| it.1).collect();
    if findings.is_empty() {
        return "Nothing is noticeable about the use of memory.\n".to_owned();
    }
    format!("* {}\n", findings.join("\n* "))
}

const PURGE: ServerCommand = ServerCommand::declare("PURGE", purge)
    .summary("Gives memory back to the system that the allocator keeps for later.")
    .since("4.0.0")
    .complexity("Depends on how much there is to give back.")
    .arity(2)
    .flag(Flags::LOADING)
    .tips("request_policy:all_shards response_policy:all_succeeded");

fn purge(session: &mut Session<'_>) -> CommandResult {
    if !allocator::purge() {
        return Err(CommandError::text("ERR Error purging dirty pages"));
    }
    session.reply.ok();
    Ok(())
}

const MALLOC_STATS: ServerCommand = ServerCommand::declare("MALLOC-STATS", malloc_stats)
    .summary("Returns the allocator's own statistics.")
    .since("4.0.0")
    .complexity("Depends on how much memory is allocated.")
    .arity(2)
    .flag(Flags::LOADING)
    .tips("nondeterministic_output request_policy:all_shards response_policy:special");

fn malloc_stats(session: &mut Session<'_>) -> CommandResult {
    session.reply.verbatim(*b"txt", &allocator::report());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{MemoryFacts, diagnosis};
    use rubine_system::allocator::Stats;

    fn check(facts: &MemoryFacts, expected: &[&str]) {
        let text = diagnosis(facts, 1);
        let found: Vec<_> = text.lines().filter_map(|it| it.split(':').next()).collect();
        assert_eq!(found, expected, "{facts:?}");
    }

    #[test]
    fn what_is_noticeable_is_said() {
        const MB: u64 = 1 << 20;
        let allocator = Stats { allocated: 100 * MB, active: 101 * MB, resident: 102 * MB };
        let healthy = || MemoryFacts {
            used: 100 * MB,
            peak: 110 * MB,
            resident_set: 105 * MB,
            allocator,
            ..MemoryFacts::default()
        };
        check(&healthy(), &["Nothing is noticeable about the use of memory."]);
        check(&MemoryFacts { peak: 200 * MB, ..healthy() }, &["* Peak memory"]);
        check(&MemoryFacts { resident_set: 200 * MB, ..healthy() }, &["* Process"]);
        check(&MemoryFacts { clients: MB, ..healthy() }, &["* Clients"]);
        let fragmented = Stats { active: 150 * MB, resident: 250 * MB, ..allocator };
        let facts = MemoryFacts { allocator: fragmented, ..healthy() };
        check(&facts, &["* Fragmentation", "* Allocator"]);
        check(
            &MemoryFacts { used: MB, ..healthy() },
            &["There is too little data for a diagnosis"],
        );
    }
}
