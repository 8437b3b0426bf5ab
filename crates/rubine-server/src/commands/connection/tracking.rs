//! CLIENT TRACKING and its relatives: a client that keeps copies of keys says how it wants to be told of changes.

use std::collections::BTreeSet;
use std::ops::Bound;

use rubine_base::number::parse_i64;
use rubine_commands::{Args, CommandError, CommandResult, Flags};

use crate::client::ClientFlags;
use crate::core::tracking::TrackingOptions;
use crate::core::{ServerCommand, Session};

/// The flags of what is allowed at any time outside scripts.
const FLAGS: Flags =
    Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::SENTINEL);

pub(super) const TRACKING: ServerCommand = ServerCommand::declare("TRACKING", tracking)
    .summary("Has the connection told when keys change that it has read, or that begin in some way.")
    .syntax(
        "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
    )
    .since("6.0.0")
    .complexity("O(1), and O(N*log(M)) with N the number of prefixes given and M that of all.")
    .arity(-3)
    .flag(FLAGS);

fn tracking(session: &mut Session<'_>) -> CommandResult {
    let (options, prefixes) = parse(session)?;
    let Session { args, client, core, .. } = session;
    let state = args.at(2);
    if state.eq_ignore_ascii_case(b"ON") {
        check(client.flags, options.flags, !prefixes.is_empty())?;
        if let Some(tracking) = &client.tracking {
            check_prefixes(&tracking.prefixes, &prefixes)?;
        } else {
            check_prefixes(&BTreeSet::new(), &prefixes)?;
        }
        let is_broadcast = options.flags.contains(ClientFlags::TRACKING_BROADCAST);
        let every_key: &[&[u8]] = &[b""];
        let is_for_all = is_broadcast && prefixes.is_empty();
        core.start_tracking(client, options, if is_for_all { every_key } else { &prefixes });
    } else if state.eq_ignore_ascii_case(b"OFF") {
        core.stop_tracking(client);
    } else {
        return Err(CommandError::Syntax);
    }
    session.reply.ok();
    Ok(())
}

/// The options, as they stand: what does not go together is refused later, and only when tracking is switched on.
fn parse<'a>(session: &Session<'a>) -> Result<(TrackingOptions, Vec<&'a [u8]>), CommandError> {
    let args: Args<'a> = session.args;
    let (mut flags, mut redirection, mut prefixes) = (ClientFlags::empty(), 0, Vec::new());
    let mut options = args.options(3);
    while let Some(option) = options.next() {
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        if is(b"REDIRECT") && !options.is_at_end() {
            if redirection != 0 {
                return Err(CommandError::text(
                    "ERR A client can only redirect to a single other client",
                ));
            }
            let number = parse_i64(options.required()?).ok_or(CommandError::NotInteger)?;
            let client = u64::try_from(number).ok();
            let client = client.and_then(|it| session.core.server.clients.get(it));
            redirection = client
                .ok_or(CommandError::text("ERR The client ID you want redirect to does not exist"))?
                .id;
        } else if is(b"BCAST") {
            flags |= ClientFlags::TRACKING_BROADCAST;
        } else if is(b"OPTIN") {
            flags |= ClientFlags::TRACKING_OPTIN;
        } else if is(b"OPTOUT") {
            flags |= ClientFlags::TRACKING_OPTOUT;
        } else if is(b"NOLOOP") {
            flags |= ClientFlags::TRACKING_NOLOOP;
        } else if is(b"PREFIX") && !options.is_at_end() {
            prefixes.push(options.required()?);
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok((TrackingOptions { flags, redirection }, prefixes))
}

/// Whether a client with flags `old` may track with options `new`.
fn check(old: ClientFlags, new: ClientFlags, has_prefixes: bool) -> CommandResult {
    use ClientFlags as F;
    let broadcasts = new.contains(F::TRACKING_BROADCAST);
    let is_switch = |from: F, to: F| new.contains(to) && old.contains(from);
    let changes_mode = old.contains(F::TRACKING)
        && old.contains(F::TRACKING_BROADCAST) != new.contains(F::TRACKING_BROADCAST);
    let both = F::TRACKING_OPTIN | F::TRACKING_OPTOUT;
    let refusal = if has_prefixes && !broadcasts {
        "ERR PREFIX option requires BCAST mode to be enabled"
    } else if changes_mode {
        "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a \
         different mode."
    } else if broadcasts && new.intersects(both) {
        "ERR OPTIN and OPTOUT are not compatible with BCAST"
    } else if new.contains(both) {
        "ERR You can't specify both OPTIN mode and OPTOUT mode"
    } else if is_switch(F::TRACKING_OPTOUT, F::TRACKING_OPTIN)
        || is_switch(F::TRACKING_OPTIN, F::TRACKING_OPTOUT)
    {
        "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a \
         different mode."
    } else {
        return Ok(());
    };
    Err(CommandError::text(refusal))
}

/// Refuses prefixes of which one begins with another, or with one that the client has, or the other way round: a key
/// would be told twice.
fn check_prefixes(known: &BTreeSet<Box<[u8]>>, given: &[&[u8]]) -> CommandResult {
    let with_known = given.iter().enumerate().find_map(|(index, prefix)| {
        Some((index, overlapping(known.contains(&b""[..]), known, prefix)?))
    });
    let with_given = first_overlap(given);
    let (index, other, kind) = match (with_known, with_given) {
        (Some((index, other)), with_given) if with_given.is_none_or(|it| index <= it) => {
            (index, other, "an existing")
        }
        (_, Some(index)) => {
            let prefix = given[index];
            let overlaps = |it: &&&[u8]| it.starts_with(prefix) || prefix.starts_with(it);
            let other = given[index + 1..].iter().find(overlaps);
            (index, *other.expect("there is one"), "another provided")
        }
        (_, None) => return Ok(()),
    };
    let shown = String::from_utf8_lossy;
    let text = format!(
        "ERR Prefix '{}' overlaps with {kind} prefix '{}'. Prefixes for a single client must not overlap.",
        shown(given[index]),
        shown(other),
    );
    Err(CommandError::Other(text.into()))
}

/// The first of `known`, of which none begins with another but for the empty one, that overlaps with `prefix`.
fn overlapping<'a, K: AsRef<[u8]> + Ord + std::borrow::Borrow<[u8]>>(
    has_empty: bool,
    known: &'a BTreeSet<K>,
    prefix: &[u8],
) -> Option<&'a [u8]> {
    if has_empty {
        return Some(b"");
    }
    let before = (Bound::Unbounded, Bound::Excluded(prefix));
    let before = known.range::<[u8], _>(before).next_back().map(AsRef::as_ref);
    let from = (Bound::Included(prefix), Bound::Unbounded);
    let from = known.range::<[u8], _>(from).next().map(AsRef::as_ref);
    before.filter(|it| prefix.starts_with(it)).or_else(|| from.filter(|it| it.starts_with(prefix)))
}

/// The index of the first prefix that overlaps with a later one.
fn first_overlap(given: &[&[u8]]) -> Option<usize> {
    let mut first = None;
    // Of the later ones, the shortest that begin so: whatever overlaps with another of them overlaps with one of these.
    let mut later: BTreeSet<&[u8]> = BTreeSet::new();
    for (index, &prefix) in given.iter().enumerate().rev() {
        let found = overlapping(later.contains(&b""[..]), &later, prefix);
        if found.is_some() {
            first = Some(index);
        }
        if found.is_some_and(|it| it.len() <= prefix.len()) {
            continue;
        }
        while let Some(&longer) = later.range(prefix..).next().filter(|it| it.starts_with(prefix)) {
            later.remove(longer);
        }
        later.insert(prefix);
    }
    first
}

pub(super) const CACHING: ServerCommand = ServerCommand::declare("CACHING", caching)
    .summary("Says whether the connection keeps copies of what the next command reads.")
    .syntax("YES | NO")
    .since("6.0.0")
    .complexity("O(1)")
    .arity(3)
    .flag(FLAGS.union(Flags::ALLOW_BUSY));

fn caching(session: &mut Session<'_>) -> CommandResult {
    let flags = &mut session.client.flags;
    if !flags.contains(ClientFlags::TRACKING) {
        return Err(CommandError::text(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    }
    let choice = session.args.at(2);
    let (mode, refusal) = if choice.eq_ignore_ascii_case(b"YES") {
        let refusal =
            "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.";
        (ClientFlags::TRACKING_OPTIN, refusal)
    } else if choice.eq_ignore_ascii_case(b"NO") {
        let refusal =
            "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.";
        (ClientFlags::TRACKING_OPTOUT, refusal)
    } else {
        return Err(CommandError::Syntax);
    };
    if !flags.contains(mode) {
        return Err(CommandError::text(refusal));
    }
    *flags |= ClientFlags::TRACKING_CACHING;
    session.reply.ok();
    Ok(())
}

pub(super) const GETREDIR: ServerCommand = ServerCommand::declare("GETREDIR", getredir)
    .summary("Returns the number of the connection that is told of changes in place of this one.")
    .since("6.0.0")
    .complexity("O(1)")
    .arity(2)
    .flag(FLAGS.union(Flags::ALLOW_BUSY));

fn getredir(session: &mut Session<'_>) -> CommandResult {
    session.reply.integer(redirection(session));
    Ok(())
}

/// The client that is told in place of this one, 0 for none, -1 if nobody is told.
fn redirection(session: &Session<'_>) -> i64 {
    session.client.tracking.as_ref().map_or(-1, |it| it.redirection as i64)
}

pub(super) const TRACKINGINFO: ServerCommand = ServerCommand::declare("TRACKINGINFO", info)
    .summary("Returns how the connection is told of changes of keys.")
    .since("6.2.0")
    .complexity("O(N) with N the number of prefixes.")
    .arity(2)
    .flag(FLAGS);

fn info(session: &mut Session<'_>) -> CommandResult {
    use ClientFlags as F;
    let redirection = redirection(session);
    let Session { client, reply, .. } = session;
    let has = |flags: F| client.flags.contains(flags);
    let shown = [
        (has(F::TRACKING_BROADCAST), "bcast"),
        (has(F::TRACKING_OPTIN), "optin"),
        (has(F::TRACKING_OPTIN | F::TRACKING_CACHING), "caching-yes"),
        (has(F::TRACKING_OPTOUT), "optout"),
        (has(F::TRACKING_OPTOUT | F::TRACKING_CACHING), "caching-no"),
        (has(F::TRACKING_NOLOOP), "noloop"),
        (has(F::TRACKING_BROKEN), "broken_redirect"),
    ];
    let shown = shown.into_iter().filter(|it| it.0).map(|it| it.1);
    let first = if has(F::TRACKING) { "on" } else { "off" };
    let flags: Vec<&str> = std::iter::once(first).chain(shown).collect();
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|it| reply.bulk(it.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(redirection);
    reply.bulk(b"prefixes");
    let prefixes = client.tracking.iter().flat_map(|it| &it.prefixes);
    reply.array(prefixes.clone().count());
    prefixes.for_each(|it| reply.bulk(it));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the peers do: each with each, in order.
    fn naive(known: &BTreeSet<Box<[u8]>>, given: &[&[u8]]) -> Option<String> {
        let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
        for (index, prefix) in given.iter().enumerate() {
            if let Some(other) = known.iter().find(|it| overlap(it, prefix)) {
                return Some(format!("{prefix:?} an existing {other:?}"));
            }
            if let Some(other) = given[index + 1..].iter().find(|it| overlap(it, prefix)) {
                return Some(format!("{prefix:?} another provided {other:?}"));
            }
        }
        None
    }

    #[test]
    fn the_first_overlap_is_told() {
        let mut random = rubine_base::random::Random::with_seed(3);
        let mut word = || {
            let len = random.below(7);
            (0..len).map(|_| b'a' + random.below(3) as u8).collect::<Box<[u8]>>()
        };
        let (mut refused, mut count) = (0, 0);
        while refused < 2000 || count - refused < 100 {
            count += 1;
            let mut known = BTreeSet::new();
            for _ in 0..count % 4 {
                let word = word();
                if naive(&known, &[&word]).is_none() {
                    known.insert(word);
                }
            }
            if count % 50 == 0 {
                // As BCAST without prefixes adds it.
                known.insert(Box::default());
            }
            let words: Vec<_> = (0..count % 5).map(|_| word()).collect();
            let given: Vec<&[u8]> = words.iter().map(|it| &**it).collect();
            let expected = naive(&known, &given);
            let found = check_prefixes(&known, &given).err().map(|it| it.to_string());
            assert_eq!(expected.is_some(), found.is_some(), "{known:?} {given:?}");
            if let (Some(expected), Some(found)) = (expected, found) {
                refused += 1;
                let parts: Vec<&str> = found.split('\'').collect();
                let kind = if parts[2].contains("an existing") {
                    "an existing"
                } else {
                    "another provided"
                };
                let told = format!("{:?} {kind} {:?}", parts[1].as_bytes(), parts[3].as_bytes());
                assert_eq!(told, expected, "{known:?} {given:?}");
            }
        }
    }
}
