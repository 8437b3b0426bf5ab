//! The forms of DEBUG that concern the server itself. Those that look at data are beside the data commands.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rubine_base::clock::monotonic_millis;
use rubine_base::number::{parse_f64, parse_i64};
use rubine_commands::{CommandError, CommandResult, Flags};
use rubine_keyspace::{Key, ShardSet};
use rubine_resp::writer::Protocol;

use super::form;
use crate::client::resting::Resting;
use crate::command_table::wrong_form;
use crate::core::{ServerCommand, Session};
use crate::mailbox::Message;
use crate::persistence::load::start_reload;
use crate::server::Asker;
use crate::settings::Settings;
use rubine_config::{RewriteError, RewriteScope, ShutdownOptions, parse_memory};
use rubine_storage::load::Reload;

pub(super) const DEBUG: ServerCommand = ServerCommand::container(
    "DEBUG",
    super::never_runs,
    &[
        ALERT_SPEED,
        super::aof::AOF_FLUSH_SLEEP,
        ASSERT,
        CHANGE_REPL_ID,
        super::cluster_faults::CLOSE_ON_DROP,
        super::cluster_faults::CLUSTERLINK,
        CONFIG_REWRITE_FORCE_ALL,
        super::stop_points::DELAY_RDB_CLIENT_FREE_SECONDS,
        super::cluster_faults::DISABLE_RANDOM_PING,
        super::cluster_faults::DISABLE_RECONNECTION,
        super::disk_fault::DISK_FAULT,
        super::cluster_faults::DROP_PACKETS,
        ERROR,
        HELP,
        HOLD_SHARD,
        super::aof::LOADAOF,
        LOG,
        PANIC,
        super::stop_points::PAUSE_AFTER_FORK,
        PAUSE_CRON,
        PROTOCOL,
        QUICKLIST_PACKED_THRESHOLD,
        REPLYBUFFER,
        RELOAD,
        super::stop_points::REPL_PAUSE,
        REPLICATE,
        RESTART,
        SEGFAULT,
        SET_ACTIVE_EXPIRE,
        SET_DISABLE_DENY_SCRIPTS,
        SET_SKIP_CHECKSUM_VALIDATION,
        SLEEP,
        SLOTMIGRATION,
        STRUCTSIZE,
    ],
);

const ALERT_SPEED: ServerCommand = form("ALERT-SPEED", alert_speed)
    .summary("Lets time pass so many times as quickly for alerts.")
    .syntax("factor")
    .arity(3);

/// A look at all rules takes a while, which no clock makes shorter.
const ALERT_SPEED_MAX: u64 = 1000;

fn alert_speed(session: &mut Session<'_>) -> CommandResult {
    let factor = parse_i64(session.args.at(2)).and_then(|it| u64::try_from(it).ok());
    let factor = factor.filter(|it| (1..=ALERT_SPEED_MAX).contains(it));
    session.core.server.operating.alerting.hurry(factor.ok_or(CommandError::NotInteger)?);
    session.reply.ok();
    Ok(())
}

const ASSERT: ServerCommand =
    form("ASSERT", crash).summary("Ends the server as a broken invariant would.");
const PANIC: ServerCommand =
    form("PANIC", crash).summary("Ends the server as a broken invariant would.");
const SEGFAULT: ServerCommand =
    form("SEGFAULT", crash).summary("Ends the server as a broken invariant would.");

fn crash(session: &mut Session<'_>) -> CommandResult {
    let form = String::from_utf8_lossy(session.args.at(1)).to_ascii_uppercase();
    panic!("DEBUG {form} called at Unix time {}", session.core.now / 1000);
}

const CHANGE_REPL_ID: ServerCommand = form("CHANGE-REPL-ID", change_repl_id)
    .summary("Gives the history of the data another name, so that no replica can go on with it.");

fn change_repl_id(session: &mut Session<'_>) -> CommandResult {
    session.core.server.journal.rename_history(crate::process::identity::new_history_id());
    session.reply.ok();
    Ok(())
}

const CONFIG_REWRITE_FORCE_ALL: ServerCommand =
    form("CONFIG-REWRITE-FORCE-ALL", config_rewrite_force_all)
        .summary("Does what CONFIG REWRITE does, with every directive that there is.");

fn config_rewrite_force_all(session: &mut Session<'_>) -> CommandResult {
    super::config::rewrite_file(session, RewriteScope::All)
}

const ERROR: ServerCommand =
    form("ERROR", error).summary("Replies with an error of that text.").syntax("text").arity(3);

fn error(session: &mut Session<'_>) -> CommandResult {
    // A line break would end the reply early, and what follows it be taken for another one.
    let text = String::from_utf8_lossy(session.args.at(2)).replace(['\r', '\n'], " ");
    Err(CommandError::Other(text.into()))
}

const HELP: ServerCommand =
    form("HELP", crate::commands::help::help).summary("Returns what the subcommands do.");

const LOG: ServerCommand =
    form("LOG", log).summary("Writes a line to the server's log.").syntax("message").arity(3);

fn log(session: &mut Session<'_>) -> CommandResult {
    tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(session.args.at(2)));
    session.reply.ok();
    Ok(())
}

const PAUSE_CRON: ServerCommand = form("PAUSE-CRON", pause_cron)
    .summary("Stops what happens by the clock, or lets it go on.")
    .syntax("0|1")
    .arity(3);

fn pause_cron(session: &mut Session<'_>) -> CommandResult {
    let pauses = switch(session)?;
    session.core.server.switches.is_cron_paused.store(pauses, Ordering::Relaxed);
    session.reply.ok();
    Ok(())
}

const SET_ACTIVE_EXPIRE: ServerCommand = form("SET-ACTIVE-EXPIRE", set_active_expire)
    .summary("Decides whether keys that are due go although nobody asks for them.")
    .syntax("0|1")
    .arity(3);

fn set_active_expire(session: &mut Session<'_>) -> CommandResult {
    let expires = switch(session)?;
    session.core.server.switches.expires_actively.store(expires, Ordering::Relaxed);
    session.reply.ok();
    Ok(())
}

const SET_DISABLE_DENY_SCRIPTS: ServerCommand = form("SET-DISABLE-DENY-SCRIPTS", allow_all)
    .summary("Decides whether scripts may call commands that are denied to them.")
    .syntax("0|1")
    .arity(3);

fn allow_all(session: &mut Session<'_>) -> CommandResult {
    let allows = switch(session)?;
    session.core.server.switches.scripts_may_all.store(allows, Ordering::Relaxed);
    session.reply.ok();
    Ok(())
}

const SET_SKIP_CHECKSUM_VALIDATION: ServerCommand =
    form("SET-SKIP-CHECKSUM-VALIDATION", set_skip_checksum_validation)
        .summary("Decides whether RESTORE takes payloads whose checksum is wrong.")
        .syntax("0|1")
        .arity(3);

fn set_skip_checksum_validation(session: &mut Session<'_>) -> CommandResult {
    let skips = switch(session)?;
    let server = session.core.server;
    server.switches.checks_dump_sums.store(!skips, Ordering::Relaxed);
    let settings = server.settings.load();
    server.publish(Settings::clone(&settings));
    session.reply.ok();
    Ok(())
}

const QUICKLIST_PACKED_THRESHOLD: ServerCommand = form(
    "QUICKLIST-PACKED-THRESHOLD",
    quicklist_packed_threshold,
)
.summary(
    "Changes nothing: a list holds elements of every size alike, so none is a node of its own.",
)
.syntax("size")
.arity(3);

fn quicklist_packed_threshold(session: &mut Session<'_>) -> CommandResult {
    /// What Valkey takes, so that what was written for it fails where it fails there.
    const SIZES: std::ops::Range<u64> = 0..1 << 32;
    if parse_memory(session.args.at(2)).is_some_and(|size| SIZES.contains(&size)) {
        session.reply.ok();
        return Ok(());
    }
    Err(CommandError::text(
        "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
    ))
}

const REPLYBUFFER: ServerCommand = form("REPLYBUFFER", reply_buffer)
    .summary(
        "Decides when the buffers and peaks of clients are made smaller that have become idle.",
    )
    .syntax("PEAK-RESET-TIME <NEVER | RESET | milliseconds> | RESIZING <0 | 1>")
    .arity(4);

fn reply_buffer(session: &mut Session<'_>) -> CommandResult {
    let (form, value) = (session.args.at(2), session.args.at(3));
    let resting = &session.core.server.client_eviction.resting;
    if form.eq_ignore_ascii_case(b"PEAK-RESET-TIME") {
        let milliseconds = match value.to_ascii_uppercase().as_slice() {
            b"NEVER" => i64::MAX,
            b"RESET" => Resting::PEAK_MS,
            _ => parse_i64(value).ok_or(CommandError::NotInteger)?,
        };
        resting.peak_ms.store(milliseconds, Ordering::Relaxed);
    } else if form.eq_ignore_ascii_case(b"RESIZING") {
        let resizes = parse_i64(value).unwrap_or(0) != 0;
        resting.shrinks_output.store(resizes, Ordering::Relaxed);
    } else {
        return Err(wrong_form(session.args, "DEBUG"));
    }
    session.reply.ok();
    Ok(())
}

/// Argument 2 as a switch. As in C, all that is no number is 0.
fn switch(session: &Session<'_>) -> Result<bool, CommandError> {
    Ok(parse_i64(session.args.at(2)).unwrap_or(0) != 0)
}

const SLOTMIGRATION: ServerCommand = form("SLOTMIGRATION", stop_migrations)
    .summary("Decides whether slots that move change hands.")
    .syntax("<PREVENT-PAUSE | PREVENT-FAILOVER> 0|1")
    .arity(4);

fn stop_migrations(session: &mut Session<'_>) -> CommandResult {
    let server = session.core.server;
    let what = session.args.at(2);
    let stops = parse_i64(session.args.at(3)).unwrap_or(0) != 0;
    let is_pause = what.eq_ignore_ascii_case(b"PREVENT-PAUSE");
    if !is_pause && !what.eq_ignore_ascii_case(b"PREVENT-FAILOVER") {
        return Err(wrong_form(session.args, "DEBUG"));
    }
    if let Some(cluster) = &server.cluster {
        cluster.tell_migrations(&server.journal, |machine, _, _| {
            let mut all = machine.stops();
            *if is_pause { &mut all.before_pause } else { &mut all.before_takeover } = stops;
            machine.set_stops(all);
        });
    }
    session.reply.ok();
    Ok(())
}

const SLEEP: ServerCommand = form("SLEEP", sleep)
    .summary("Lets the server do nothing for a while.")
    .syntax("seconds")
    .arity(3);

fn sleep(session: &mut Session<'_>) -> CommandResult {
    let seconds = parse_f64(session.args.at(2)).unwrap_or(0.0);
    if let Ok(span) = Duration::try_from_secs_f64(seconds) {
        let following = &session.core.server.replication.following;
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        following.sleep_until(monotonic_millis().saturating_add(millis));
        let others = session.core.server.workers.iter().enumerate();
        for (_, worker) in others.filter(|(index, _)| *index != session.core.index) {
            worker.send(Message::Sleep { span });
        }
        std::thread::sleep(span);
    }
    session.reply.ok();
    Ok(())
}

const HOLD_SHARD: ServerCommand = form("HOLD-SHARD", hold_shard)
    .summary("Keeps the lock of a key's shard for a while, on a thread of its own; replies when it has it.")
    .syntax("key milliseconds")
    .arity(4)
    .flag(Flags::NO_MULTI);

fn hold_shard(session: &mut Session<'_>) -> CommandResult {
    let milliseconds = parse_i64(session.args.at(3)).and_then(|it| u64::try_from(it).ok());
    let span = Duration::from_millis(milliseconds.ok_or(CommandError::NotInteger)?);
    let shards = ShardSet::of(Key::new(session.args.at(2)));
    let server = session.core.server;
    let asker = Asker {
        worker: session.core.index,
        client: session.client.id,
        protocol: session.client.protocol,
    };
    session.core.block_until_answered(session.client);
    let hold = move || {
        let locked = server.keyspace.lock(&shards);
        asker.answer(&server.workers, |reply| reply.simple("OK"));
        std::thread::sleep(span);
        drop(locked);
    };
    if let Err(error) = std::thread::Builder::new().name("hold".to_owned()).spawn(hold) {
        tracing::warn!("DEBUG HOLD-SHARD: no thread can be started: {error}");
        asker.answer(&server.workers, |reply| reply.error("ERR"));
    }
    Ok(())
}

const RELOAD: ServerCommand = form("RELOAD", reload)
    .summary("Saves all data, forgets it, and loads it again. Commands that need data are refused meanwhile.")
    .syntax("[option [option ...]]")
    .complexity("O(N) with N the number of keys.")
    .arity(-2)
    .flag(Flags::NO_MULTI);

fn reload(session: &mut Session<'_>) -> CommandResult {
    let mut reload = Reload { saves: true, flushes: true, merges: false };
    for option in session.args.from(2) {
        match option.to_ascii_lowercase().as_slice() {
            b"merge" => reload.merges = true,
            b"noflush" => reload.flushes = false,
            b"nosave" => reload.saves = false,
            _ => {
                return Err(CommandError::text(
                    "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    let server = session.core.server;
    let asker = Asker {
        worker: session.core.index,
        client: session.client.id,
        protocol: session.client.protocol,
    };
    let on_end = move |outcome: Result<(), &'static str>| {
        asker.answer(&server.workers, |reply| match outcome {
            Ok(()) => reply.ok(),
            Err(text) => reply.error(text),
        });
    };
    session.core.block_until_answered(session.client);
    if let Err(error) = start_reload(server, reload, on_end) {
        tracing::warn!("DEBUG RELOAD: no thread can be started: {error}");
        asker.answer(&server.workers, |reply| reply.error("ERR"));
    }
    Ok(())
}

const REPLICATE: ServerCommand = form("REPLICATE", replicate)
    .summary("Sends a command to replicas that this server does not run.")
    .syntax("command [arg [arg ...]]")
    .arity(-3);

fn replicate(session: &mut Session<'_>) -> CommandResult {
    let words: Vec<&[u8]> = session.args.from(2).collect();
    let second = (session.core.now / 1000) as u64;
    session.core.server.journal.tell_replicas(&words, second);
    session.reply.ok();
    Ok(())
}

const RESTART: ServerCommand = form("RESTART", restart)
    .summary("Rewrites the configuration file, ends the server in order and starts it again.")
    .syntax("[delay-milliseconds]")
    .arity(-2)
    .flag(Flags::NO_MULTI);

fn restart(session: &mut Session<'_>) -> CommandResult {
    let delay = match session.args.get(2) {
        Some(_) => session.args.integer(2)?.max(0).unsigned_abs(),
        None => 0,
    };
    let server = session.core.server;
    // A server that was started without a file has none to rewrite.
    if !matches!(
        server.rewrite_config(RewriteScope::Changed, None),
        Ok(()) | Err(RewriteError::NoFile)
    ) {
        return Err(CommandError::text("ERR failed to restart the server. Check server logs."));
    }
    let asker = Asker {
        worker: session.core.index,
        client: session.client.id,
        protocol: session.client.protocol,
    };
    server.shutdown.restart_after(Duration::from_millis(delay));
    session.core.block_until_answered(session.client);
    crate::control::shutdown::begin(server, ShutdownOptions::NOW, Some(asker));
    Ok(())
}

const STRUCTSIZE: ServerCommand =
    form("STRUCTSIZE", structsize).summary("Tells how large some of the structures are.");

fn structsize(session: &mut Session<'_>) -> CommandResult {
    let text = format!(
        "bits:{} pointer:{} client:{} table:{}",
        usize::BITS,
        size_of::<usize>(),
        size_of::<crate::client::Client>(),
        size_of::<rubine_structures::table::Table>()
    );
    session.reply.simple(&text);
    Ok(())
}

const PROTOCOL: ServerCommand = form("PROTOCOL", protocol)
    .summary("Replies with a value of the type that is asked for.")
    .syntax("string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false")
    .arity(3);

fn protocol(session: &mut Session<'_>) -> CommandResult {
    let reply = &mut session.reply;
    match session.args.at(2).to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.integer(12345),
        b"double" => reply.double_text(b"3.141"),
        b"bignum" => reply.big_number("1234567999999999999999999999999999999"),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|it| reply.integer(it));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|it| reply.integer(it));
        }
        b"map" => {
            reply.map(3);
            for number in 0..3 {
                reply.integer(number);
                reply.boolean(number == 1);
            }
        }
        b"attrib" => {
            if reply.attribute(1) {
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.integer(90);
            }
            // An attribute is only there beside a reply of its own.
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            if reply.protocol() != Protocol::Resp3 {
                return Err(CommandError::text("ERR RESP2 is not supported by this command"));
            }
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
            // A push is no reply either.
            reply.bulk(b"Some real reply following the push reply");
        }
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        b"verbatim" => reply.verbatim(*b"txt", b"This is a verbatim\nstring"),
        _ => {
            return Err(CommandError::text(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}
