//! LATENCY: what has kept the server from its work, and how long commands take.

use rubine_commands::{CommandError, CommandResult, Flags};
use rubine_system::ticks;

use crate::command_table::Entry;
use crate::core::{ServerCommand, Session};
use crate::observing::latency::{LatencyEvent, graph, report};
use crate::stats::histogram;

pub(super) const LATENCY: ServerCommand = ServerCommand::container(
    "LATENCY",
    super::never_runs,
    &[DOCTOR, GRAPH, HISTOGRAM, HISTORY, LATEST, RESET],
)
.summary("A container for commands about what takes long.")
.since("2.8.13")
.complexity("Depends on the subcommand.");

const FLAGS: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);

const DOCTOR: ServerCommand = ServerCommand::declare("DOCTOR", doctor)
    .summary("Returns what can be said about the events that took long.")
    .since("2.8.13")
    .complexity("O(1)")
    .tips("nondeterministic_output request_policy:all_nodes response_policy:special")
    .arity(2)
    .flag(FLAGS);

fn doctor(session: &mut Session<'_>) -> CommandResult {
    let core = &session.core;
    let is_on = core.server.config.load().latency_monitor_threshold != 0;
    let text = report(&core.server.observing.latency.all(), is_on, core.now);
    session.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

const GRAPH: ServerCommand = ServerCommand::declare("GRAPH", draw)
    .summary("Returns a drawing of how long an event took lately.")
    .syntax("event")
    .since("2.8.13")
    .complexity("O(1)")
    .tips("nondeterministic_output request_policy:all_nodes response_policy:special")
    .arity(3)
    .flag(FLAGS);

fn draw(session: &mut Session<'_>) -> CommandResult {
    let name = session.args.at(2);
    let core = &session.core;
    let found = LatencyEvent::named(name)
        .and_then(|event| Some((event, core.server.observing.latency.of(event)?)));
    let Some((event, series)) = found else {
        return Err(CommandError::quoting(&[b"ERR No samples available for event '", name, b"'"]));
    };
    let text = graph(event, &series, core.now);
    session.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

const HISTORY: ServerCommand = ServerCommand::declare("HISTORY", history)
    .summary("Returns the worst times of an event, by second.")
    .syntax("event")
    .since("2.8.13")
    .complexity("O(1)")
    .tips("nondeterministic_output request_policy:all_nodes response_policy:special")
    .arity(3)
    .flag(FLAGS);

fn history(session: &mut Session<'_>) -> CommandResult {
    let event = LatencyEvent::named(session.args.at(2));
    let series = event.and_then(|it| session.core.server.observing.latency.of(it));
    let samples = series.unwrap_or_default().samples;
    session.reply.array(samples.len());
    for sample in samples {
        session.reply.array(2);
        session.reply.integer(sample.at);
        session.reply.integer(sample.millis as i64);
    }
    Ok(())
}

const LATEST: ServerCommand = ServerCommand::declare("LATEST", latest)
    .summary("Returns the last and the worst time of every event.")
    .since("2.8.13")
    .complexity("O(1)")
    .tips("nondeterministic_output request_policy:all_nodes response_policy:special")
    .arity(2)
    .flag(FLAGS);

fn latest(session: &mut Session<'_>) -> CommandResult {
    let events = session.core.server.observing.latency.all();
    session.reply.array(events.len());
    for (event, series) in events {
        let (at, millis) = series.samples.last().map_or((0, 0), |it| (it.at, it.millis));
        session.reply.array(6);
        session.reply.bulk(event.name().as_bytes());
        session.reply.integer(at);
        for number in [millis, series.max, series.sum, series.count] {
            session.reply.integer(number as i64);
        }
    }
    Ok(())
}

const RESET: ServerCommand = ServerCommand::declare("RESET", reset)
    .summary("Forgets what is known of events, or of all; returns of how many something was known.")
    .syntax("[event [event ...]]")
    .since("2.8.13")
    .complexity("O(1)")
    .tips("request_policy:all_nodes response_policy:agg_sum")
    .arity(-2)
    .flag(FLAGS);

fn reset(session: &mut Session<'_>) -> CommandResult {
    let latency = &session.core.server.observing.latency;
    let count = if session.args.len() == 2 {
        latency.reset(None)
    } else {
        let events = session.args.from(2).filter_map(LatencyEvent::named);
        events.map(|it| latency.reset(Some(it))).sum()
    };
    session.reply.integer(count as i64);
    Ok(())
}

const HISTOGRAM: ServerCommand = ServerCommand::declare("HISTOGRAM", histograms)
    .summary("Returns how many calls of commands took how long at most.")
    .syntax("[command [command ...]]")
    .since("7.0.0")
    .complexity("O(N) with N the number of commands.")
    .tips("nondeterministic_output request_policy:all_nodes response_policy:special")
    .arity(-2)
    .flag(FLAGS);

fn histograms(session: &mut Session<'_>) -> CommandResult {
    let server = session.core.server;
    let entries: Vec<&'static Entry> = if session.args.len() == 2 {
        server.commands.all().to_vec()
    } else {
        let named = session.args.from(2).filter_map(|it| server.commands.find_full(it));
        named.flat_map(counted_as).collect()
    };
    let counted = entries.into_iter().map(|entry| {
        let mut counts = Vec::new();
        for stats in &server.stats.threads {
            if let Some(latency) = stats.commands[entry.number].latency.get() {
                latency.add_to(&mut counts);
            }
        }
        (entry, counts)
    });
    let known: Vec<_> = counted.filter(|(_, counts)| counts.iter().any(|&it| it != 0)).collect();
    session.reply.map(known.len());
    for (entry, counts) in known {
        let steps = histogram::cumulative(&counts, ticks::per_microsecond());
        session.reply.bulk(entry.full_name.as_bytes());
        session.reply.map(2);
        session.reply.bulk(b"calls");
        session.reply.integer(counts.iter().sum::<u64>() as i64);
        session.reply.bulk(b"histogram_usec");
        session.reply.map(steps.len());
        for (micros, count) in steps {
            session.reply.integer(micros as i64);
            session.reply.integer(count as i64);
        }
    }
    Ok(())
}

/// What statistics know of a command and of those behind its name.
fn counted_as(entry: &'static Entry) -> impl Iterator<Item = &'static Entry> {
    let subcommands = entry.subcommands.iter().copied();
    std::iter::once(entry).chain(subcommands.filter(|it| it.number != entry.number))
}
