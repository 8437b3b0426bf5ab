//! INFO: what the server knows of itself, in sections of `name:value` lines that tools parse. Field names and their
//! order are those of Redis and Valkey. Never locks a shard inside a transaction, which holds them all.

mod alerts;
mod audit;
mod backup;
mod clients;
mod counters;
mod history;
mod keysizes;
mod memory;
mod persistence;
mod quotas;
mod replication;
mod server;
mod text;
mod tls;

use rubine_commands::{CommandResult, Flags};

use crate::core::{ServerCommand, Session};
use crate::figures::{Shards, Source};
use crate::server::Server;
use text::Text;

pub(super) const INFO: ServerCommand = ServerCommand::declare("INFO", info)
    .summary("Returns what the server knows of itself.")
    .syntax("[section [section ...]]")
    .since("1.0.0")
    .complexity("O(1)")
    .tips("nondeterministic_output request_policy:all_shards response_policy:special")
    .arity(-1)
    .flag(Flags::LOADING.union(Flags::STALE).union(Flags::SENTINEL))
    .also(rubine_commands::Acl::DANGEROUS)
    .each_shard();

fn info(session: &mut Session<'_>) -> CommandResult {
    let wanted = Wanted::parse(session.args.from(1));
    let shards = session.locked.as_deref().map_or(Shards::Free, Shards::Locked);
    let source = Source { server: session.core.server, now: session.core.now, shards };
    let text = report(&source, &wanted);
    session.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// All sections, for a report about a crash. Looks at no shard, since locks may be held for ever.
pub(crate) fn crash_report(server: &'static Server, now: i64) -> String {
    let source = Source { server, now, shards: Shards::Unreachable };
    report(&source, &Wanted { usual: true, all: true, names: Vec::new() })
}

fn report(source: &Source<'_>, wanted: &Wanted) -> String {
    let mut text = Text::default();
    let is_sentinel = source.server.sentinel.is_some();
    let is_there = |it: &&Section| !is_sentinel || it.is_of_sentinel();
    for section in SECTIONS.iter().filter(is_there).filter(|it| wanted.includes(it)) {
        text.title(section.title);
        (section.write)(source, &mut text);
    }
    // Shown to those only who name it.
    if wanted.names.iter().any(|it| it == b"debug") {
        text.title("Debug");
        counters::debug(source, &mut text);
    }
    if let Some(sentinel) = &source.server.sentinel
        && wanted.includes(&Section::usual("sentinel", "Sentinel", |_, _| {}))
    {
        text.title("Sentinel");
        text.lines(&sentinel.driver().machine.info_section(source.now));
    }
    text.finish()
}

/// A section and who gets it.
struct Section {
    /// As it is asked for.
    name: &'static str,
    title: &'static str,
    /// Whether it is among those that nobody has to ask for.
    is_usual: bool,
    write: fn(&Source<'_>, &mut Text),
}

impl Section {
    const fn usual(
        name: &'static str,
        title: &'static str,
        write: fn(&Source<'_>, &mut Text),
    ) -> Self {
        Self { name, title, is_usual: true, write }
    }

    /// Whether a Sentinel, which has no data, has it too.
    fn is_of_sentinel(&self) -> bool {
        ["server", "clients", "stats", "cpu"].contains(&self.name)
    }

    const fn further(
        name: &'static str,
        title: &'static str,
        write: fn(&Source<'_>, &mut Text),
    ) -> Self {
        Self { name, title, is_usual: false, write }
    }
}

const SECTIONS: &[Section] = &[
    Section::usual("server", "Server", server::server),
    Section::further("tls", "TLS", tls::tls),
    Section::usual("clients", "Clients", clients::clients),
    Section::usual("memory", "Memory", memory::memory),
    Section::usual("persistence", "Persistence", persistence::persistence),
    Section::further("audit", "Audit", audit::audit),
    Section::further("alerts", "Alerts", alerts::alerts),
    Section::further("history", "History", history::history),
    Section::further("backup", "Backup", backup::backup),
    Section::further("quotas", "Quotas", quotas::quotas),
    Section::further("threads", "Threads", counters::threads),
    Section::usual("stats", "Stats", counters::stats),
    Section::usual("replication", "Replication", replication::replication),
    Section::usual("cpu", "CPU", server::cpu),
    Section::usual("modules", "Modules", |_, _| {}),
    Section::further("commandstats", "Commandstats", counters::commands),
    Section::usual("errorstats", "Errorstats", counters::errors),
    Section::further("latencystats", "Latencystats", counters::latencies),
    Section::usual("cluster", "Cluster", server::cluster),
    Section::usual("keyspace", "Keyspace", server::keyspace),
    Section::further("keysizes", "Keysizes", keysizes::keysizes),
];

/// The sections that were asked for.
struct Wanted {
    usual: bool,
    all: bool,
    names: Vec<Vec<u8>>,
}

impl Wanted {
    fn parse<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let names: Vec<_> = names.map(<[u8]>::to_ascii_lowercase).collect();
        let asks = |wanted: &[&[u8]]| names.iter().any(|it| wanted.contains(&it.as_slice()));
        Self {
            usual: names.is_empty() || asks(&[b"default"]),
            all: asks(&[b"all", b"everything"]),
            names,
        }
    }

    fn includes(&self, section: &Section) -> bool {
        let is_named = self.names.iter().any(|it| it == section.name.as_bytes());
        self.all || (self.usual && section.is_usual) || is_named
    }
}
