//! The table `redis`, which is also `server`: what scripts call to run commands and to speak of their run.

use rubine_base::number::{DoubleText, write_i64};
use rubine_resp::parser::ArgRange;
use rubine_resp::writer::{Output, Protocol, Reply};
use sha1::{Digest, Sha1};

use crate::convert::{Pushed, before_zero, coded, push_error, push_reply, push_tagged};
use crate::functions;
use crate::host::{Called, LogLevel, Permission, Replication, Request};
use crate::raw::{Function, Kind, Raise, Return, Stack};
use crate::run::{Context, Stop};

/// What `redis` has in scripts and in functions.
pub(crate) const COMMON: &[(&str, Function)] = &[
    ("acl_check_cmd", acl_check_cmd),
    ("call", call),
    ("error_reply", error_reply),
    ("log", log),
    ("pcall", pcall),
    ("set_repl", set_repl),
    ("setresp", setresp),
    ("sha1hex", sha1hex),
    ("status_reply", status_reply),
];

/// What it has in scripts besides.
pub(crate) const SCRIPTS: &[(&str, Function)] =
    &[("breakpoint", breakpoint), ("debug", debug), ("replicate_commands", replicate_commands)];

/// What it has while a library is loaded.
pub(crate) const LOADING: &[(&str, Function)] =
    &[("log", log), ("register_function", functions::register)];

pub(crate) const LOG_LEVELS: &[(&str, i32)] =
    &[("LOG_DEBUG", 0), ("LOG_NOTICE", 2), ("LOG_VERBOSE", 1), ("LOG_WARNING", 3)];

pub(crate) const REPLICATION: &[(&str, i32)] =
    &[("REPL_ALL", 3), ("REPL_AOF", 1), ("REPL_NONE", 0), ("REPL_REPLICA", 2), ("REPL_SLAVE", 2)];

/// Raises an error that is a table.
pub(crate) fn raise(stack: &mut Stack, text: &str) -> Return {
    push_error(stack, text.as_bytes());
    Err(Raise::Value)
}

pub(crate) fn call(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    match run_command(stack, cx)? {
        Pushed::Value => Ok(1),
        Pushed::Error => Err(Raise::Value),
    }
}

fn pcall(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    run_command(stack, cx).map(|_| 1)
}

/// Runs the command on the stack and pushes its reply. What is raised is raised by `pcall` too: it ends the run.
fn run_command(stack: &mut Stack, cx: &mut Context<'_>) -> Result<Pushed, Raise> {
    if let Err(text) = take_arguments(stack, cx) {
        push_error(stack, text.as_bytes());
        return Ok(Pushed::Error);
    }
    stack.set_top(0);
    let buffers = &mut *cx.buffers;
    let request = Request { buffer: &buffers.request, ranges: &buffers.ranges };
    if let Some(debugger) = &mut cx.debugger {
        debugger.command(request);
    }
    let called = cx.host.call(request, &mut Reply::new(&mut buffers.reply, cx.protocol));
    if called == Called::Stop {
        buffers.reply = Output::default();
        cx.end(stack, Stop::Host);
        return Err(Raise::Value);
    }
    let pushed = push_reply(stack, &mut buffers.reply, &mut buffers.bytes).unwrap_or_else(|_| {
        buffers.reply = Output::default();
        stack.set_top(0);
        push_error(stack, b"ERR the reply is nested too deeply, or too long");
        Pushed::Error
    });
    if let Some(debugger) = &mut cx.debugger {
        debugger.reply(stack);
    }
    Ok(pushed)
}

/// Copies the arguments on the stack to the buffers.
fn take_arguments(stack: &mut Stack, cx: &mut Context<'_>) -> Result<(), &'static str> {
    let count = stack.top();
    if count == 0 {
        return Err("ERR Please specify at least one argument for this call");
    }
    let (buffer, ranges) = (&mut cx.buffers.request, &mut cx.buffers.ranges);
    buffer.clear();
    ranges.clear();
    for index in 1..=count {
        let start = buffer.len();
        if let Some(text) = stack.text(index) {
            buffer.extend_from_slice(text);
        } else if let Some(number) = stack.number(index) {
            write_number(buffer, number);
        } else {
            return Err("ERR Command arguments must be strings or integers");
        }
        ranges.push(ArgRange { start, len: buffer.len() - start });
    }
    Ok(())
}

/// A number as an argument: integers as digits, others in the shortest form that reads back.
fn write_number(out: &mut Vec<u8>, number: f64) {
    const INTEGERS: f64 = (i64::MAX / 2) as f64;
    let is_integer = number.abs() <= INTEGERS && is_whole(number);
    if is_integer {
        write_i64(out, number as i64);
    } else if number.is_nan() {
        out.extend_from_slice(if number.is_sign_negative() { b"-nan" } else { b"nan" });
    } else {
        out.extend_from_slice(DoubleText::of_digits(number).as_bytes());
    }
}

fn acl_check_cmd(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    if let Err(text) = take_arguments(stack, cx) {
        return raise(stack, text);
    }
    let request = Request { buffer: &cx.buffers.request, ranges: &cx.buffers.ranges };
    match cx.host.check_permission(request) {
        Permission::Granted => stack.push_boolean(true),
        Permission::Denied => stack.push_boolean(false),
        Permission::Invalid => {
            return raise(stack, "ERR Invalid command passed to server.acl_check_cmd()");
        }
    }
    Ok(1)
}

fn error_reply(stack: &mut Stack, _: &mut Context<'_>) -> Return {
    match stack.text(-1).filter(|_| stack.top() == 1) {
        Some(text) => {
            let text = coded(text.strip_prefix(b"-").unwrap_or(text));
            push_error(stack, &text);
        }
        None => push_error(stack, b"ERR wrong number or type of arguments"),
    }
    Ok(1)
}

fn status_reply(stack: &mut Stack, _: &mut Context<'_>) -> Return {
    match stack.text(-1).filter(|_| stack.top() == 1) {
        Some(text) => {
            let text = text.to_vec();
            push_tagged(stack, "ok", &text);
        }
        None => push_error(stack, b"ERR wrong number or type of arguments"),
    }
    Ok(1)
}

fn sha1hex(stack: &mut Stack, _: &mut Context<'_>) -> Return {
    if stack.top() != 1 {
        return raise(stack, "ERR wrong number of arguments");
    }
    let digest = hex(&Sha1::digest(stack.coerce_text(1).unwrap_or_default()).into());
    stack.push_text(digest);
    Ok(1)
}

/// A digest in hexadecimal digits.
pub(crate) fn hex(digest: &[u8; 20]) -> [u8; 40] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|at| {
        let byte = digest[at / 2];
        DIGITS[usize::from(if at % 2 == 0 { byte >> 4 } else { byte & 15 })]
    })
}

fn log(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    let count = stack.top();
    if count < 2 {
        return raise(stack, "ERR server.log() requires two arguments or more.");
    }
    let Some(level) = stack.to_number(1) else {
        return raise(stack, "ERR First argument must be a number (log level).");
    };
    let level = match level as i32 {
        0 => LogLevel::Debug,
        1 => LogLevel::Verbose,
        2 => LogLevel::Notice,
        3 => LogLevel::Warning,
        _ => return raise(stack, "ERR Invalid log level."),
    };
    let mut line = Vec::new();
    for index in 2..=count {
        if let Some(text) = stack.coerce_text(index) {
            if 2 < index {
                line.push(b' ');
            }
            line.extend_from_slice(before_zero(text));
        }
    }
    cx.host.log(level, &line);
    Ok(0)
}

fn setresp(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    if stack.top() != 1 {
        return raise(stack, "ERR server.setresp() requires one argument.");
    }
    cx.protocol = match stack.to_number(1).unwrap_or(0.0) as i32 {
        2 => Protocol::Resp2,
        3 => Protocol::Resp3,
        _ => return raise(stack, "ERR RESP version must be 2 or 3."),
    };
    Ok(0)
}

fn set_repl(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    if stack.top() != 1 {
        return raise(stack, "ERR server.set_repl() requires one argument.");
    }
    let flags = stack.to_number(1).unwrap_or(0.0) as i32;
    if flags & !3 != 0 {
        return raise(
            stack,
            "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
        );
    }
    cx.host.set_replication(Replication { to_log: flags & 1 != 0, to_replicas: flags & 2 != 0 });
    Ok(0)
}

fn replicate_commands(stack: &mut Stack, _: &mut Context<'_>) -> Return {
    stack.push_boolean(true);
    Ok(1)
}

fn breakpoint(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    if let Some(debugger) = &mut cx.debugger {
        debugger.break_at_next_line();
    }
    stack.push_boolean(cx.debugger.is_some());
    Ok(1)
}

fn debug(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    if let Some(debugger) = &mut cx.debugger {
        debugger.print(stack);
    }
    Ok(0)
}

/// `os.clock`
pub(crate) fn clock(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    let seconds = cx.host.cpu_seconds();
    stack.push_number(seconds);
    Ok(1)
}

/// `math.random`
pub(crate) fn random(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    use crate::random::Random48;
    let share = f64::from(cx.buffers.random.draw() % Random48::MAX) / f64::from(Random48::MAX);
    let number = match stack.top() {
        0 => share,
        1 => {
            let upper = check_integer(stack, 1)?;
            if upper < 1 {
                return argument(stack, 1, "interval is empty");
            }
            (share * f64::from(upper)).floor() + 1.0
        }
        2 => {
            let (lower, upper) = (check_integer(stack, 1)?, check_integer(stack, 2)?);
            if upper < lower {
                return argument(stack, 2, "interval is empty");
            }
            let span = upper.wrapping_sub(lower).wrapping_add(1);
            (share * f64::from(span)).floor() + f64::from(lower)
        }
        _ => return error(stack, "wrong number of arguments"),
    };
    stack.push_number(number);
    Ok(1)
}

/// `math.randomseed`
pub(crate) fn randomseed(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    let seed = check_integer(stack, 1)?;
    cx.buffers.random = crate::random::Random48::seeded(seed);
    Ok(0)
}

/// `collectgarbage`; what it changes lasts until the run ends.
pub(crate) fn collectgarbage(stack: &mut Stack, _: &mut Context<'_>) -> Return {
    use crate::raw::Collect;
    let what = if matches!(stack.kind(1), Kind::None | Kind::Nil) {
        Collect::All
    } else {
        match check_option(
            stack,
            1,
            &["stop", "restart", "collect", "count", "step", "setpause", "setstepmul"],
        )? {
            0 => Collect::Stop,
            1 => Collect::Restart,
            2 => Collect::All,
            3 => Collect::Count,
            4 => Collect::Step,
            5 => Collect::SetPause,
            _ => Collect::SetStepMultiplier,
        }
    };
    let data =
        if matches!(stack.kind(2), Kind::None | Kind::Nil) { 0 } else { check_integer(stack, 2)? };
    let result = stack.collector(what, data);
    match what {
        Collect::Count => {
            let rest = stack.collector(Collect::CountRest, 0);
            stack.push_number(f64::from(result) + f64::from(rest) / 1024.0);
        }
        Collect::Step => stack.push_boolean(result != 0),
        _ => stack.push_number(f64::from(result)),
    }
    Ok(1)
}

/// What is raised when a table is asked for something that is not in it.
pub(crate) fn nonexistent(stack: &mut Stack, _: &mut Context<'_>) -> Return {
    if stack.top() != 2 {
        return error(stack, "Wrong number of arguments to luaProtectedTableError");
    }
    let Some(name) = stack.coerce_text(2) else {
        return error(
            stack,
            "Second argument to luaProtectedTableError must be a string or number",
        );
    };
    let text = [b"Script attempted to access nonexistent global variable '", name, b"'"].concat();
    stack.push_text(text);
    Err(Raise::Error)
}

/// Raises a text with the place in the script.
pub(crate) fn error(stack: &mut Stack, text: &str) -> Return {
    stack.push_text(text);
    Err(Raise::Error)
}

/// Raises that an argument is wrong.
pub(crate) fn argument(stack: &mut Stack, number: i32, text: &str) -> Return {
    stack.push_text(text);
    Err(Raise::Argument(number))
}

/// Raises that an argument is of another type.
pub(crate) fn wrong_type<T>(stack: &mut Stack, number: i32, expected: &str) -> Result<T, Raise> {
    let found = stack.kind(number).name();
    stack.push_text(format!("{expected} expected, got {found}"));
    Err(Raise::Argument(number))
}

pub(crate) fn check_number(stack: &mut Stack, number: i32) -> Result<f64, Raise> {
    match stack.to_number(number) {
        Some(value) => Ok(value),
        None => wrong_type(stack, number, "number"),
    }
}

/// A number as Lua makes an integer of 64 bits of it.
pub(crate) fn check_integer_wide(stack: &mut Stack, number: i32) -> Result<i64, Raise> {
    Ok(crate::convert::to_integer(check_number(stack, number)?))
}

/// A number as Lua makes a C integer of it.
pub(crate) fn check_integer(stack: &mut Stack, number: i32) -> Result<i32, Raise> {
    Ok(crate::convert::to_integer(check_number(stack, number)?) as i32)
}

/// Which of `options` an argument is.
pub(crate) fn check_option(
    stack: &mut Stack,
    number: i32,
    options: &[&str],
) -> Result<usize, Raise> {
    let Some(text) = stack.coerce_text(number) else { return wrong_type(stack, number, "string") };
    let text = before_zero(text);
    if let Some(index) = options.iter().position(|it| it.as_bytes() == text) {
        return Ok(index);
    }
    let message = [b"invalid option '", text, b"'"].concat();
    stack.push_text(message);
    Err(Raise::Argument(number))
}

/// Whether a number is an integer.
pub(crate) fn is_whole(number: f64) -> bool {
    number.fract().to_bits() << 1 == 0
}
