//! MODULE: extensions in C, of which there are none. Loads nothing, and says why.

use rubine_commands::{CommandError, CommandResult, Flags};

use crate::core::{ServerCommand, Session};

pub(super) const MODULE: ServerCommand =
    ServerCommand::container("MODULE", super::never_runs, &[HELP, LIST, LOAD, LOADEX, UNLOAD])
        .summary("A container for commands about modules.")
        .since("4.0.0")
        .complexity("Depends on the subcommand.");

const FLAGS: Flags = Flags::ADMIN.union(Flags::NOSCRIPT);

const HELP: ServerCommand = crate::commands::help::HELP;

const LIST: ServerCommand = ServerCommand::declare("LIST", list)
    .summary("Returns the modules that are loaded: none.")
    .since("4.0.0")
    .complexity("O(1)")
    .tips("nondeterministic_output_order")
    .arity(2)
    .flag(FLAGS);

fn list(session: &mut Session<'_>) -> CommandResult {
    session.reply.array(0);
    Ok(())
}

const LOAD: ServerCommand = ServerCommand::declare("LOAD", load)
    .summary("Refuses to load a module: those in C need the insides of another server.")
    .syntax("path [arg [arg ...]]")
    .since("4.0.0")
    .complexity("O(1)")
    .arity(-3)
    .flag(FLAGS.union(Flags::NO_ASYNC_LOADING));

const LOADEX: ServerCommand = ServerCommand::declare("LOADEX", load)
    .summary("Refuses to load a module, as MODULE LOAD does.")
    .syntax("path [CONFIG name value [CONFIG name value ...]] [ARGS args [args ...]]")
    .since("7.0.0")
    .complexity("O(1)")
    .arity(-3)
    .flag(FLAGS.union(Flags::NO_ASYNC_LOADING));

fn load(session: &mut Session<'_>) -> CommandResult {
    check_permission(session)?;
    tracing::warn!("MODULE LOAD: modules in C cannot be loaded");
    Err(CommandError::text("ERR Error loading the extension. Please check the server logs."))
}

const UNLOAD: ServerCommand = ServerCommand::declare("UNLOAD", unload)
    .summary("Refuses to unload a module, since none is loaded.")
    .syntax("name")
    .since("4.0.0")
    .complexity("O(1)")
    .arity(3)
    .flag(FLAGS.union(Flags::NO_ASYNC_LOADING));

fn unload(session: &mut Session<'_>) -> CommandResult {
    check_permission(session)?;
    Err(CommandError::text("ERR Error unloading module: no such module with that name"))
}

/// As another server would: by `enable-module-command`.
fn check_permission(session: &Session<'_>) -> CommandResult {
    let config = session.core.server.config.load();
    if config.enable_module_command.allows(session.client.info.is_local) {
        return Ok(());
    }
    Err(CommandError::text(
        "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", you can run it from a \
         local connection, otherwise you need to set this option in the configuration file, and then restart the \
         server.",
    ))
}
