//! A client as CLIENT LIST and the log show it, in a line.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use super::Client;
use super::info::{ClientFlags, ClientInfo, ClientNames, NO_COMMAND};
use super::subscriptions::ChannelKind;
use crate::command_table::CommandTable;
use crate::process::logging::user_data;
use rubine_config::Config;

/// The letter of each flag, in the order in which CLIENT LIST shows them.
const LETTERS: &[(char, ClientFlags)] = &[
    ('S', ClientFlags::REPLICA),
    ('M', ClientFlags::MASTER),
    ('O', ClientFlags::MONITOR),
    ('P', ClientFlags::PUBSUB),
    ('x', ClientFlags::MULTI),
    ('b', ClientFlags::BLOCKED),
    ('t', ClientFlags::TRACKING),
    ('R', ClientFlags::TRACKING_BROKEN),
    ('B', ClientFlags::TRACKING_BROADCAST),
    ('d', ClientFlags::DIRTY_WATCH),
    ('c', ClientFlags::CLOSE_AFTER_REPLY),
    ('A', ClientFlags::CLOSE_NOW),
    ('U', ClientFlags::UNIX_SOCKET),
    ('r', ClientFlags::READONLY),
    ('e', ClientFlags::NO_EVICT),
    ('T', ClientFlags::NO_TOUCH),
    ('I', ClientFlags::IMPORT_SOURCE),
    ('i', ClientFlags::SLOT_IMPORT),
    ('E', ClientFlags::SLOT_EXPORT),
    ('q', ClientFlags::SLOWED),
];

/// The bytes of a client's output that CLIENT LIST counts as its fixed buffer.
pub(crate) const FIXED_OUTPUT_BYTES: usize = 16 * 1024;

/// Whether the flag with that letter is set.
pub(crate) fn has_flag(flags: ClientFlags, letter: u8) -> bool {
    LETTERS.iter().any(|&(it, flag)| it == char::from(letter) && flags.contains(flag))
}

/// The letters of `flags`, `N` for none.
pub(crate) fn flag_letters(flags: ClientFlags) -> String {
    let letters: String = LETTERS
        .iter()
        .filter(|(_, flag)| flags.contains(*flag))
        .map(|(letter, _)| letter)
        .collect();
    if letters.is_empty() { "N".to_owned() } else { letters }
}

/// A client as the log shows it: without what it calls itself, if that is to be hidden.
pub(crate) fn log_line(
    commands: &CommandTable,
    info: &ClientInfo,
    now: i64,
    config: &Config,
) -> String {
    let mut names = info.names.lock().clone();
    if config.hide_user_data_from_log {
        let hidden = user_data(config, b"");
        (names.name, names.user) = (hidden.as_bytes().into(), hidden.as_bytes().into());
    }
    let mut text = String::new();
    add_line_with(&mut text, commands, info, &names, now);
    text.truncate(text.trim_end().len());
    text
}

/// A client in few words, as the log names whoever asked for something.
pub(crate) fn short_line(client: &Client, config: &Config) -> String {
    let info = &client.info;
    let names = info.names.lock().clone();
    let shown = |name: &[u8]| user_data(config, name).as_bytes().escape_ascii().to_string();
    format!(
        "id={} addr={} laddr={} fd={} name={} user={} lib-name={} lib-ver={}",
        info.id,
        info.address,
        info.local_address,
        info.fd,
        shown(&names.name),
        shown(&names.user),
        names.library_name.escape_ascii(),
        names.library_version.escape_ascii(),
    )
}

/// Appends what is known of a client, as `id=1 addr=.. ..`, and a line end.
pub(crate) fn add_line(text: &mut String, commands: &CommandTable, info: &ClientInfo, now: i64) {
    let names = info.names.lock().clone();
    add_line_with(text, commands, info, &names, now);
}

fn add_line_with(
    text: &mut String,
    commands: &CommandTable,
    info: &ClientInfo,
    names: &ClientNames,
    now: i64,
) {
    let seconds_since = |moment: i64| (now / 1000 - moment / 1000).max(0);
    let number = |atomic: &std::sync::atomic::AtomicUsize| atomic.load(Ordering::Relaxed);
    let lossy = String::from_utf8_lossy;
    let flags = info.flags_at(now);
    let capa = if flags.contains(ClientFlags::CAPA_REDIRECT) { "r" } else { "" };
    let unsent = number(&info.output_bytes) + number(&info.pinned_bytes);
    let fixed = unsent.min(FIXED_OUTPUT_BYTES);
    let queued = unsent - fixed;
    let events = if unsent == 0 { "r" } else { "rw" };
    let command = match number(&info.last_command) {
        NO_COMMAND => "NULL",
        number => commands.all()[number].full_name.as_str(),
    };
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} capa={capa} db={} sub={} psub={} ssub={} multi={} \
         watch={} qbuf={} qbuf-free={} argv-mem={} multi-mem={} ",
        info.id,
        info.address,
        info.local_address,
        info.fd,
        lossy(&names.name),
        seconds_since(info.connected_at),
        seconds_since(info.last_interaction.load(Ordering::Relaxed)),
        flag_letters(flags),
        number(&info.db),
        number(&info.subscriptions[ChannelKind::Channel.index()]),
        number(&info.subscriptions[ChannelKind::Pattern.index()]),
        number(&info.subscriptions[ChannelKind::ShardChannel.index()]),
        info.multi.load(Ordering::Relaxed),
        number(&info.watching),
        number(&info.query_len),
        number(&info.query_free),
        number(&info.argument_bytes),
        number(&info.multi_bytes),
    );
    let _ = writeln!(
        text,
        "rbs={} rbp={} obl={fixed} oll={} omem={queued} tot-mem={} events={events} cmd={command} user={} redir={} \
         resp={} lib-name={} lib-ver={} tot-net-in={} tot-net-out={} tot-cmds={}",
        number(&info.reply_buffer_bytes),
        number(&info.reply_peak_bytes),
        queued.div_ceil(FIXED_OUTPUT_BYTES),
        number(&info.total_bytes),
        lossy(&names.user),
        info.redirection.load(Ordering::Relaxed),
        info.protocol.load(Ordering::Relaxed),
        lossy(&names.library_name),
        lossy(&names.library_version),
        info.net_input.load(Ordering::Relaxed),
        info.net_output.load(Ordering::Relaxed),
        info.commands.load(Ordering::Relaxed),
    );
}
