//! HOTKEYS: which keys take most of the processor's time and of the network.

use std::sync::Arc;

use rubine_base::number::parse_i64;
use rubine_commands::{ArgCursor, CommandError, CommandResult, Flags};
use rubine_resp::writer::Reply;
use rubine_system::process::{Whose, cpu_time};
use rubine_system::ticks;

use crate::core::{ServerCommand, Session};
use crate::observing::hot_keys::{Ranking, Tracking, Wanted};

pub(super) const HOTKEYS: ServerCommand =
    ServerCommand::container("HOTKEYS", super::never_runs, &[GET, RESET, START, STOP])
        .summary("A container for commands about the keys that take most.")
        .since("8.6.0")
        .complexity("Depends on the subcommand.");

const FLAGS: Flags = Flags::ADMIN.union(Flags::NOSCRIPT);

/// Keys that are shown if the client does not say how many, and at most.
const COUNT: i64 = 10;
const COUNT_MAX: i64 = 64;
const DURATION_SECONDS_MAX: i64 = 1_000_000;
/// Slots that a cluster would have.
const LAST_SLOT: i64 = 16_383;

const START: ServerCommand = ServerCommand::declare("START", start)
    .summary("Starts to count what each key takes.")
    .syntax(
        "METRICS count [CPU] [NET] [COUNT k] [DURATION seconds] [SAMPLE ratio] \
         [SLOTS count slot [slot ...]]",
    )
    .since("8.6.0")
    .complexity("O(1)")
    .arity(-2)
    .flag(FLAGS);

fn start(session: &mut Session<'_>) -> CommandResult {
    let Session { core, args, .. } = session;
    let server = core.server;
    let hot_keys = &server.observing.hot_keys;
    if hot_keys.current().is_some_and(|it| it.is_active(core.now)) {
        return Err(CommandError::text("ERR hotkey tracking session already in progress"));
    }
    if args.len() < 4 || !args.at(2).eq_ignore_ascii_case(b"METRICS") {
        return Err(CommandError::text("ERR METRICS parameter is required"));
    }
    let mut options = args.options(3);
    let wanted = parse(&mut options)?;
    let cpu = cpu_time(Whose::Process);
    let tracking = Tracking::new(wanted, server.stats.threads.len(), core.now, cpu);
    hot_keys.set(Some(Arc::new(tracking)));
    // All workers look before they run what they have read.
    server.settings.renew();
    core.refresh_settings();
    session.reply.ok();
    Ok(())
}

fn parse(options: &mut ArgCursor<'_>) -> Result<Wanted, CommandError> {
    const METRICS_MAX: i64 = 2;
    let within = |text: &[u8], max: i64, error: &'static str| match parse_i64(text) {
        Some(number) if (1..=max).contains(&number) => Ok(number),
        _ => Err(CommandError::text(error)),
    };
    let metric_count =
        within(options.required()?, METRICS_MAX, "ERR METRICS count must be > 0 and <= 2")?;
    let (mut cpu, mut net) = (false, false);
    for _ in 0..metric_count {
        let Some(name) = options.next() else {
            return Err(CommandError::text(
                "ERR METRICS count does not match number of metric types provided",
            ));
        };
        // What later versions count is passed over.
        if name.eq_ignore_ascii_case(b"CPU") {
            if std::mem::replace(&mut cpu, true) {
                return Err(CommandError::text("ERR METRICS CPU defined more than once!"));
            }
        } else if name.eq_ignore_ascii_case(b"NET") && std::mem::replace(&mut net, true) {
            return Err(CommandError::text("ERR METRICS NET defined more than once!"));
        }
    }
    if !cpu && !net {
        return Err(CommandError::text("ERR METRICS no valid metrics passed. Supported: CPU|NET"));
    }
    let (mut count, mut duration_ms, mut sample_ratio) = (COUNT, None, 1);
    while let Some(option) = options.next() {
        let value = options.next().ok_or(CommandError::Syntax)?;
        if option.eq_ignore_ascii_case(b"COUNT") {
            count = within(value, COUNT_MAX, "ERR COUNT must be between 1 and 64")?;
        } else if option.eq_ignore_ascii_case(b"DURATION") {
            let error = "ERR DURATION must be between 1 and 1000000";
            duration_ms = Some(within(value, DURATION_SECONDS_MAX, error)? * 1000);
        } else if option.eq_ignore_ascii_case(b"SAMPLE") {
            sample_ratio = within(value, i64::from(i32::MAX), "ERR SAMPLE ratio must be positive")?;
        } else if option.eq_ignore_ascii_case(b"SLOTS") {
            return Err(CommandError::text(
                "ERR SLOTS parameter cannot be used in non-cluster mode",
            ));
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let (count, sample_ratio) = (count as usize, sample_ratio as u64);
    Ok(Wanted { cpu, net, count, duration_ms, sample_ratio })
}

const STOP: ServerCommand = ServerCommand::declare("STOP", stop)
    .summary("Ends the counting; what was counted stays.")
    .since("8.6.0")
    .complexity("O(1)")
    .arity(2)
    .flag(FLAGS);

fn stop(session: &mut Session<'_>) -> CommandResult {
    let Session { core, reply, .. } = session;
    let now = core.now;
    match core.server.observing.hot_keys.current().filter(|it| it.is_active(now)) {
        Some(tracking) => {
            tracking.stop(now);
            core.server.settings.renew();
            core.refresh_settings();
            reply.ok();
        }
        None => reply.null(),
    }
    Ok(())
}

const RESET: ServerCommand = ServerCommand::declare("RESET", reset)
    .summary("Forgets what was counted.")
    .since("8.6.0")
    .complexity("O(1)")
    .arity(2)
    .flag(FLAGS);

fn reset(session: &mut Session<'_>) -> CommandResult {
    let hot_keys = &session.core.server.observing.hot_keys;
    if hot_keys.current().is_some_and(|it| it.is_active(session.core.now)) {
        return Err(CommandError::text(
            "ERR hotkey tracking session in progress, stop tracking first",
        ));
    }
    hot_keys.set(None);
    session.reply.ok();
    Ok(())
}

const GET: ServerCommand = ServerCommand::declare("GET", get)
    .summary("Returns what was counted, and the keys that took most.")
    .since("8.6.0")
    .complexity("O(K) where K is the number of hotkeys returned.")
    .arity(2)
    .flag(FLAGS);

fn get(session: &mut Session<'_>) -> CommandResult {
    let Session { core, reply, .. } = session;
    let now = core.now;
    let Some(tracking) = core.server.observing.hot_keys.current() else {
        reply.null();
        return Ok(());
    };
    let wanted = tracking.wanted;
    let totals = tracking.totals();
    let micros = |ticks: u64| (ticks as f64 / ticks::per_microsecond()) as u64;
    // One element for each node that is asked.
    reply.array(1);
    reply.map(7 + if wanted.cpu { 3 } else { 0 } + if wanted.net { 2 } else { 0 });
    number(reply, "tracking-active", u64::from(tracking.is_active(now)));
    number(reply, "sample-ratio", wanted.sample_ratio);
    reply.bulk(b"selected-slots");
    reply.array(1);
    reply.array(2);
    reply.integer(0);
    reply.integer(LAST_SLOT);
    number(reply, "all-commands-all-slots-us", micros(totals.ticks));
    number(reply, "net-bytes-all-commands-all-slots", totals.bytes);
    number(reply, "collection-start-time-unix-ms", tracking.started_at as u64);
    number(reply, "collection-duration-ms", tracking.duration_ms(now) as u64);
    if wanted.cpu {
        let (cpu, before) = (cpu_time(Whose::Process), tracking.cpu_before);
        number(reply, "total-cpu-time-user-ms", (cpu.user_us - before.user_us) / 1000);
        number(reply, "total-cpu-time-sys-ms", (cpu.system_us - before.system_us) / 1000);
    }
    if wanted.net {
        number(reply, "total-net-bytes", totals.sampled_bytes);
    }
    if wanted.cpu {
        rank(reply, "by-cpu-time-us", tracking.by_ticks(), micros);
    }
    if wanted.net {
        rank(reply, "by-net-bytes", tracking.by_bytes(), |bytes| bytes);
    }
    Ok(())
}

fn number(reply: &mut Reply<'_>, name: &str, number: u64) {
    reply.bulk(name.as_bytes());
    reply.integer(number as i64);
}

fn rank(reply: &mut Reply<'_>, name: &str, ranking: Ranking, unit: impl Fn(u64) -> u64) {
    reply.bulk(name.as_bytes());
    reply.array(ranking.len() * 2);
    for (key, sum) in ranking {
        reply.bulk(&key);
        reply.integer(unit(sum) as i64);
    }
}
