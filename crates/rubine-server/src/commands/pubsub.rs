//! Publish and subscribe: SUBSCRIBE and its five siblings, PUBLISH, SPUBLISH, PUBSUB. What these answer to a
//! subscription are messages, one for each name, that come whatever CLIENT REPLY says.

use rubine_commands::{Acl, Channels, CommandResult, Flags};

use crate::client::subscriptions::ChannelKind;
use crate::command_table::wrong_form;
use crate::commands::help;
use crate::core::{ServerCommand, Session};

pub(crate) const COMMANDS: &[ServerCommand] = &[
    PSUBSCRIBE,
    PUBLISH,
    PUBSUB,
    PUNSUBSCRIBE,
    SPUBLISH,
    SSUBSCRIBE,
    SUBSCRIBE,
    SUNSUBSCRIBE,
    UNSUBSCRIBE,
];

/// The flags of subscribing and unsubscribing.
const LISTENING: Flags = Flags::PUBSUB
    .union(Flags::NOSCRIPT)
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::WHILE_SUBSCRIBED);
const PUBLISHING: Flags = Flags::PUBSUB
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::FAST)
    .union(Flags::MAY_REPLICATE);
const ASKING: Flags = Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE);

/// The channels are arguments, from the first on: one of them, or all.
const ONE: Channels = Channels::Names { count_max: 1 };
const EVERY: Channels = Channels::Names { count_max: usize::MAX };

const SUBSCRIBE: ServerCommand = ServerCommand::declare("SUBSCRIBE", subscribe)
    .summary("Listens to channels.")
    .syntax("channel [channel ...]")
    .since("2.0.0")
    .complexity("O(N) with N the number of channels.")
    .arity(-2)
    .flag(LISTENING.union(Flags::SENTINEL))
    .channels(EVERY);

fn subscribe(session: &mut Session<'_>) -> CommandResult {
    begin(session, ChannelKind::Channel, b"subscribe")
}

const PSUBSCRIBE: ServerCommand = ServerCommand::declare("PSUBSCRIBE", psubscribe)
    .summary("Listens to all channels that match one of the patterns.")
    .syntax("pattern [pattern ...]")
    .since("2.0.0")
    .complexity("O(N) with N the number of patterns.")
    .arity(-2)
    .flag(LISTENING.union(Flags::SENTINEL))
    .channels(Channels::Patterns);

fn psubscribe(session: &mut Session<'_>) -> CommandResult {
    begin(session, ChannelKind::Pattern, b"psubscribe")
}

const SSUBSCRIBE: ServerCommand = ServerCommand::declare("SSUBSCRIBE", ssubscribe)
    .summary("Listens to channels of a shard.")
    .syntax("shardchannel [shardchannel ...]")
    .since("7.0.0")
    .complexity("O(N) with N the number of channels.")
    .arity(-2)
    .key_range(1, -1, 1, "NOT_KEY")
    .flag(LISTENING)
    .channels(EVERY);

fn ssubscribe(session: &mut Session<'_>) -> CommandResult {
    begin(session, ChannelKind::ShardChannel, b"ssubscribe")
}

/// Listens to the names in the arguments.
fn begin(session: &mut Session<'_>, kind: ChannelKind, word: &[u8]) -> CommandResult {
    for name in session.args.from(1) {
        session.core.subscribe(session.client, kind, name);
        tell(session, kind, word, Some(name));
    }
    Ok(())
}

const UNSUBSCRIBE: ServerCommand = ServerCommand::declare("UNSUBSCRIBE", unsubscribe)
    .summary("Listens to channels no more, to none at all if none is named.")
    .syntax("[channel [channel ...]]")
    .since("2.0.0")
    .complexity("O(N) with N the number of channels.")
    .arity(-1)
    .flag(LISTENING.union(Flags::SENTINEL));

fn unsubscribe(session: &mut Session<'_>) -> CommandResult {
    end(session, ChannelKind::Channel, b"unsubscribe")
}

const PUNSUBSCRIBE: ServerCommand = ServerCommand::declare("PUNSUBSCRIBE", punsubscribe)
    .summary("Listens to what matches the patterns no more, to no pattern at all if none is named.")
    .syntax("[pattern [pattern ...]]")
    .since("2.0.0")
    .complexity("O(N) with N the number of patterns.")
    .arity(-1)
    .flag(LISTENING.union(Flags::SENTINEL));

fn punsubscribe(session: &mut Session<'_>) -> CommandResult {
    end(session, ChannelKind::Pattern, b"punsubscribe")
}

const SUNSUBSCRIBE: ServerCommand = ServerCommand::declare("SUNSUBSCRIBE", sunsubscribe)
    .summary("Listens to channels of a shard no more, to none at all if none is named.")
    .syntax("[shardchannel [shardchannel ...]]")
    .since("7.0.0")
    .complexity("O(N) with N the number of channels.")
    .arity(-1)
    .key_range(1, -1, 1, "NOT_KEY")
    .flag(LISTENING);

fn sunsubscribe(session: &mut Session<'_>) -> CommandResult {
    end(session, ChannelKind::ShardChannel, b"sunsubscribe")
}

/// Ceases to listen to the names in the arguments, or to all.
fn end(session: &mut Session<'_>, kind: ChannelKind, word: &[u8]) -> CommandResult {
    if 1 < session.args.len() {
        for name in session.args.from(1) {
            session.core.unsubscribe(session.client, kind, name);
            tell(session, kind, word, Some(name));
        }
        return Ok(());
    }
    let names = session.client.subscriptions.as_ref().map(|it| it.names(kind)).unwrap_or_default();
    for name in &names {
        session.core.unsubscribe(session.client, kind, name);
        tell(session, kind, word, Some(name));
    }
    if names.is_empty() {
        tell(session, kind, word, None);
    }
    Ok(())
}

/// Tells what was done, and how many names the client listens to now: shard channels are counted on their own.
fn tell(session: &mut Session<'_>, kind: ChannelKind, word: &[u8], name: Option<&[u8]>) {
    let Session { client, reply, .. } = session;
    let count = |kind| client.subscriptions.as_ref().map_or(0, |it| it.len(kind));
    let count = match kind {
        ChannelKind::Channel | ChannelKind::Pattern => {
            count(ChannelKind::Channel) + count(ChannelKind::Pattern)
        }
        ChannelKind::ShardChannel => count(ChannelKind::ShardChannel),
    };
    client.sending.keeps_output = true;
    reply.push(3);
    reply.bulk(word);
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(count as i64);
}

const PUBLISH: ServerCommand = ServerCommand::declare("PUBLISH", publish)
    .summary("Sends a message to all who listen to a channel; returns how many they are.")
    .syntax("channel message")
    .since("2.0.0")
    .complexity("O(N+M) with N the number of listeners and M that of all patterns.")
    .arity(3)
    .flag(PUBLISHING.union(Flags::SENTINEL))
    .channels(ONE);

fn publish(session: &mut Session<'_>) -> CommandResult {
    send(session, ChannelKind::Channel)
}

const SPUBLISH: ServerCommand = ServerCommand::declare("SPUBLISH", spublish)
    .summary(
        "Sends a message to all who listen to a channel of a shard; returns how many they are.",
    )
    .syntax("shardchannel message")
    .since("7.0.0")
    .complexity("O(N) with N the number of listeners.")
    .arity(3)
    .key("NOT_KEY")
    .flag(PUBLISHING)
    .channels(ONE);

fn spublish(session: &mut Session<'_>) -> CommandResult {
    send(session, ChannelKind::ShardChannel)
}

fn send(session: &mut Session<'_>, kind: ChannelKind) -> CommandResult {
    let (channel, payload) = (session.args.at(1), session.args.at(2));
    let Session { core, client, locked, .. } = session;
    let receivers = core.publish(client, kind, channel, payload, locked.is_some());
    session.reply.integer(receivers as i64);
    Ok(())
}

const HELP: ServerCommand = help::HELP.except(Acl::PUBSUB);

const PUBSUB: ServerCommand = ServerCommand::container(
    "PUBSUB",
    super::server::never_runs,
    &[CHANNELS, HELP, NUMPAT, NUMSUB, SHARDCHANNELS, SHARDNUMSUB],
)
.summary("A container of commands about who listens to what.")
.since("2.8.0")
.complexity("Depends on the subcommand.");

const CHANNELS: ServerCommand = ServerCommand::declare("CHANNELS", channels)
    .summary("Returns the channels that somebody listens to.")
    .syntax("[pattern]")
    .since("2.8.0")
    .complexity("O(N) with N the number of channels.")
    .arity(-2)
    .flag(ASKING);

fn channels(session: &mut Session<'_>) -> CommandResult {
    list(session, ChannelKind::Channel)
}

const SHARDCHANNELS: ServerCommand = ServerCommand::declare("SHARDCHANNELS", shardchannels)
    .summary("Returns the channels of shards that somebody listens to.")
    .syntax("[pattern]")
    .since("7.0.0")
    .complexity("O(N) with N the number of channels.")
    .arity(-2)
    .flag(ASKING);

fn shardchannels(session: &mut Session<'_>) -> CommandResult {
    list(session, ChannelKind::ShardChannel)
}

fn list(session: &mut Session<'_>, kind: ChannelKind) -> CommandResult {
    if 3 < session.args.len() {
        return Err(wrong_form(session.args, "PUBSUB"));
    }
    let names = session.core.server.pubsub.names(kind, session.args.get(2));
    session.reply.array(names.len());
    names.iter().for_each(|name| session.reply.bulk(name));
    Ok(())
}

const NUMPAT: ServerCommand = ServerCommand::declare("NUMPAT", numpat)
    .summary("Returns how many different patterns somebody listens to.")
    .since("2.8.0")
    .complexity("O(1)")
    .arity(2)
    .flag(ASKING);

fn numpat(session: &mut Session<'_>) -> CommandResult {
    session.reply.integer(session.core.server.pubsub.len(ChannelKind::Pattern) as i64);
    Ok(())
}

const NUMSUB: ServerCommand = ServerCommand::declare("NUMSUB", numsub)
    .summary("Returns how many listen to each channel, those with patterns left out.")
    .syntax("[channel [channel ...]]")
    .since("2.8.0")
    .complexity("O(N) with N the number of channels named.")
    .arity(-2)
    .flag(ASKING);

fn numsub(session: &mut Session<'_>) -> CommandResult {
    count(session, ChannelKind::Channel)
}

const SHARDNUMSUB: ServerCommand = ServerCommand::declare("SHARDNUMSUB", shardnumsub)
    .summary("Returns how many listen to each channel of a shard.")
    .syntax("[shardchannel [shardchannel ...]]")
    .since("7.0.0")
    .complexity("O(N) with N the number of channels named.")
    .arity(-2)
    .flag(ASKING);

fn shardnumsub(session: &mut Session<'_>) -> CommandResult {
    count(session, ChannelKind::ShardChannel)
}

fn count(session: &mut Session<'_>, kind: ChannelKind) -> CommandResult {
    session.reply.array((session.args.len() - 2) * 2);
    for name in session.args.from(2) {
        session.reply.bulk(name);
        session.reply.integer(session.core.server.pubsub.listener_count(kind, name) as i64);
    }
    Ok(())
}
