//! The world that scripts see: which globals there are, and that nothing of it can be changed. Runs no script.

use crate::api;
use crate::raw::{Function, Kind, Lua, Reference, Stack};
use crate::{bits, json, msgpack, structs};

/// What the server says of itself, and what it allows.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The version of Redis that is followed.
    pub redis_version: String,
    /// The version of Valkey that is followed.
    pub valkey_version: String,
    pub server_name: String,
    /// `lua-enable-insecure-api`
    pub has_insecure_api: bool,
    /// The most that an interpreter may use while a script runs; 0 is no limit.
    pub memory_limit: usize,
}

/// What they get with `lua-enable-insecure-api` only.
const INSECURE: &[&str] = &["getfenv", "newproxy", "setfenv"];

/// The globals of functions, which are others while a library is loaded.
pub(crate) struct FunctionGlobals {
    metatable: Reference,
    running: Reference,
    loading: Reference,
}

/// Builds the globals of scripts. Returns the options of `cjson`.
pub(crate) fn open_scripts(lua: &mut Lua, settings: &Settings) -> Reference {
    let stack = lua.stack();
    let json = open_common(stack, settings);
    stack.push_globals();
    stack.get_field(-1, "server");
    set_functions(stack, api::SCRIPTS);
    stack.pop(1);
    for name in ["__redis__err__handler", "__server__err__handler"] {
        stack.push_error_handler();
        stack.set_field(-2, name);
    }
    protect_globals(stack);
    stack.pop(1);
    json
}

/// Builds the globals of functions; returns the options of `cjson` too.
pub(crate) fn open_functions(lua: &mut Lua, settings: &Settings) -> (FunctionGlobals, Reference) {
    let stack = lua.stack();
    let json = open_common(stack, settings);
    stack.push_globals();
    protect_globals(stack);
    let running = stack.keep();

    stack.push_table(0, 2);
    stack.push_table(0, 16);
    set_functions(stack, api::LOADING);
    set_numbers(stack, api::LOG_LEVELS);
    set_versions(stack, settings);
    set_strict(stack);
    stack.push_copy(-1);
    stack.set_field(-3, "server");
    stack.set_field(-2, "redis");
    set_strict(stack);
    protect(stack);
    let loading = stack.keep();

    // What functions have for globals is an empty table, behind which either is.
    stack.push_table(0, 0);
    stack.push_table(0, 1);
    stack.push_kept(running);
    stack.set_field(-2, "__index");
    stack.push_copy(-1);
    let metatable = stack.keep();
    stack.set_readonly(-1, true);
    stack.set_metatable(-2);
    stack.set_readonly(-1, true);
    stack.replace_globals();
    (FunctionGlobals { metatable, running, loading }, json)
}

impl FunctionGlobals {
    /// Shows what a library may use while it is loaded.
    pub(crate) fn show_loading(&self, stack: &mut Stack) {
        self.show(stack, self.loading);
    }

    /// Shows what functions may use.
    pub(crate) fn show_running(&self, stack: &mut Stack) {
        self.show(stack, self.running);
    }

    fn show(&self, stack: &mut Stack, globals: Reference) {
        stack.push_kept(self.metatable);
        stack.set_readonly(-1, false);
        stack.push_kept(globals);
        stack.set_field(-2, "__index");
        stack.set_readonly(-1, true);
        stack.pop(1);
    }
}

/// Sets what scripts and functions have in common; returns the options of `cjson`.
fn open_common(stack: &mut Stack, settings: &Settings) -> Reference {
    stack.push_globals();
    let insecure = if settings.has_insecure_api { &[][..] } else { INSECURE };
    for name in insecure {
        stack.push_nil();
        stack.set_field(-2, name);
    }
    stack.push_pcall();
    stack.set_field(-2, "pcall");
    set_functions(stack, &[("collectgarbage", api::collectgarbage)]);

    stack.get_field(-1, "math");
    set_functions(stack, &[("random", api::random), ("randomseed", api::randomseed)]);
    stack.pop(1);

    stack.push_table(0, 1);
    set_functions(stack, &[("clock", api::clock)]);
    stack.set_field(-2, "os");
    stack.push_table(0, 16);
    set_functions(stack, bits::FUNCTIONS);
    stack.set_field(-2, "bit");
    stack.push_table(0, 4);
    set_functions(stack, structs::FUNCTIONS);
    stack.set_field(-2, "struct");
    msgpack::push_module(stack);
    stack.set_field(-2, "cmsgpack");
    let json = json::push_module(stack);
    stack.set_field(-2, "cjson");

    stack.push_table(0, 32);
    set_functions(stack, api::COMMON);
    set_numbers(stack, api::LOG_LEVELS);
    set_numbers(stack, api::REPLICATION);
    set_versions(stack, settings);
    stack.push_copy(-1);
    stack.set_field(-3, "server");
    stack.set_field(-2, "redis");
    stack.pop(1);
    json
}

/// Sets functions in the table on top.
pub(crate) fn set_functions(stack: &mut Stack, functions: &[(&str, Function)]) {
    for (name, function) in functions {
        stack.push_function(*function);
        stack.set_field(-2, name);
    }
}

fn set_numbers(stack: &mut Stack, numbers: &[(&str, i32)]) {
    for (name, number) in numbers {
        stack.push_number(f64::from(*number));
        stack.set_field(-2, name);
    }
}

fn set_versions(stack: &mut Stack, settings: &Settings) {
    for (name, version) in
        [("REDIS_VERSION", &settings.redis_version), ("VALKEY_VERSION", &settings.valkey_version)]
    {
        stack.push_text(version);
        stack.set_field(-2, name);
        stack.push_number(f64::from(version_number(version)));
        stack.set_field(-2, &format!("{name}_NUM"));
    }
    stack.push_text(&settings.server_name);
    stack.set_field(-2, "SERVER_NAME");
}

/// A version as `0x00MMmmpp`.
fn version_number(version: &str) -> u32 {
    let mut parts = version.split('.').map(|it| it.parse::<u32>().unwrap_or(0) & 0xff);
    let mut part = || parts.next().unwrap_or(0);
    (part() << 16) | (part() << 8) | part()
}

/// Makes the table on top raise an error when it is asked for what is not in it.
fn set_strict(stack: &mut Stack) {
    stack.push_table(0, 1);
    stack.push_function(api::nonexistent);
    stack.set_field(-2, "__index");
    stack.set_metatable(-2);
}

fn protect_globals(stack: &mut Stack) {
    set_strict(stack);
    protect(stack);
    // The other types have no metatables, and nothing can give them one.
    stack.push_text("");
    if stack.get_metatable(-1) {
        protect(stack);
        stack.pop(1);
    }
    stack.pop(1);
}

/// Makes the table on top read-only, and all tables that can be reached from it.
fn protect(stack: &mut Stack) {
    if stack.is_readonly(-1) {
        return;
    }
    stack.set_readonly(-1, true);
    assert!(stack.ensure(4), "the libraries are a few levels deep");
    stack.push_nil();
    while stack.next(-2) {
        if stack.kind(-1) == Kind::Table {
            protect(stack);
        }
        stack.pop(1);
    }
    if stack.get_metatable(-1) {
        protect(stack);
        stack.pop(1);
    }
}
