//! CONFIG: what is in force, a change of it, the file it came from, and the counters that INFO shows.

use rubine_commands::{CommandError, CommandResult, Flags};

use crate::control::reconfigure;
use crate::core::{ServerCommand, Session};
use rubine_config::{Directive, RewriteScope, SetError, Setter, find};

pub(super) const CONFIG: ServerCommand =
    ServerCommand::container("CONFIG", super::never_runs, &[GET, RESETSTAT, REWRITE, SET])
        .summary("A container for commands about the configuration.")
        .since("2.0.0")
        .complexity("Depends on the subcommand.");

const FLAGS: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);

const GET: ServerCommand = ServerCommand::declare("GET", get)
    .summary("Returns the directives that match a name or pattern, with their values.")
    .syntax("parameter [parameter ...]")
    .since("2.0.0")
    .complexity("O(N) with N the number of directives.")
    .arity(-3)
    .flag(FLAGS);

fn get(session: &mut Session<'_>) -> CommandResult {
    let patterns: Vec<_> = session.args.from(2).collect();
    let found = session.core.server.config.load().get(&patterns);
    session.reply.map(found.len());
    for (name, value) in found {
        session.reply.bulk(&name);
        session.reply.bulk(&value);
    }
    Ok(())
}

const SET: ServerCommand = ServerCommand::declare("SET", set)
    .summary("Gives directives new values, all or none.")
    .syntax("parameter value [parameter value ...]")
    .since("2.0.0")
    .complexity("O(N) with N the number of directives given.")
    .tips("request_policy:all_nodes response_policy:all_succeeded")
    .arity(-4)
    .flag(FLAGS)
    .hides(|args, visit| {
        let is_secret = |name: &[u8]| find(name).is_some_and(Directive::is_sensitive);
        (2..args.len())
            .step_by(2)
            .filter(|&it| is_secret(args.at(it)))
            .for_each(|it| visit(it + 1));
    });

fn set(session: &mut Session<'_>) -> CommandResult {
    let server = session.core.server;
    let arguments: Vec<_> = session.args.from(2).collect();
    let is_loading = server.persistence.is_loading();
    let setter = Setter { is_local: session.client.info.is_local, is_loading };
    let outcome = server
        .config
        .set(&arguments, setter, |old, new, changed| reconfigure::apply(server, old, new, changed));
    // Later requests of this very batch are under the new settings, too.
    session.core.refresh_settings();
    session.core.evict_clients(session.core.settings.client_bytes_max);
    outcome.map_err(|error| {
        CommandError::Other(match error {
            SetError::Syntax => return CommandError::Syntax,
            SetError::Loading => "LOADING Rubine is loading the dataset in memory".into(),
            error => format!("ERR {error}").into(),
        })
    })?;
    session.reply.ok();
    Ok(())
}

const RESETSTAT: ServerCommand = ServerCommand::declare("RESETSTAT", resetstat)
    .summary("Lets the counters that INFO shows start anew.")
    .since("2.0.0")
    .complexity("O(N) with N the number of commands.")
    .tips("request_policy:all_nodes response_policy:all_succeeded")
    .arity(2)
    .flag(FLAGS);

fn resetstat(session: &mut Session<'_>) -> CommandResult {
    session.core.server.reset_stats();
    // What this worker has counted and not yet added up belongs to the past.
    session.core.flush_counts();
    session.core.server.reset_stats();
    session.reply.ok();
    Ok(())
}

const REWRITE: ServerCommand = ServerCommand::declare("REWRITE", rewrite)
    .summary("Writes what is in force into the file that the server was started with.")
    .since("2.8.0")
    .complexity("O(N) with N the number of directives.")
    .tips("request_policy:all_nodes response_policy:all_succeeded")
    .arity(2)
    .flag(FLAGS);

fn rewrite(session: &mut Session<'_>) -> CommandResult {
    rewrite_file(session, RewriteScope::Changed)
}

/// Rewrites the configuration file and replies.
pub(super) fn rewrite_file(session: &mut Session<'_>, scope: RewriteScope) -> CommandResult {
    let server = session.core.server;
    let outcome = server.rewrite_config(scope, None);
    if let Err(error) = outcome {
        tracing::warn!("CONFIG REWRITE failed: {error}");
        return Err(CommandError::Other(format!("ERR {error}").into()));
    }
    tracing::warn!("CONFIG REWRITE executed with success.");
    session.reply.ok();
    Ok(())
}
