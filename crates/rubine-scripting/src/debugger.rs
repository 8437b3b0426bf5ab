//! The debugger of scripts that `valkey-cli --ldb` speaks to: it stops at lines, shows variables and runs code. Does no
//! I/O but through its [`Console`].

use crate::convert::{before_zero, push_error};
use crate::host::Request;
use crate::raw::{Kind, Stack, Status};
use crate::run::{Context, Tick};
use rubine_base::number::parse_i64;

/// The client that debugs.
pub trait Console {
    /// Sends lines, as one array of simple strings.
    fn write(&mut self, lines: &[Vec<u8>]);

    /// Waits for a command with its arguments; `None` if the client has gone.
    fn read(&mut self) -> Option<Vec<Vec<u8>>>;
}

/// One session, of one run.
pub(crate) struct Debugger<'a> {
    console: &'a mut dyn Console,
    source: Vec<Vec<u8>>,
    breakpoints: Vec<i32>,
    /// Stops at the next line, and shows commands and replies.
    steps: bool,
    /// `redis.breakpoint` was called.
    breaks_next: bool,
    line: i32,
    /// Lines that are yet to be sent.
    lines: Vec<Vec<u8>>,
    line_bytes_max: usize,
}

const BREAKPOINTS_MAX: usize = 64;
/// Tables in tables are shown no deeper.
const DEPTH_MAX: usize = 10;
/// What is shown of a command.
const ARGUMENTS_MAX: usize = 10;
/// What is shown of a value, until `maxlen` is set.
const LINE_BYTES_MAX: usize = 256;
const LINE_BYTES_MIN: usize = 60;

const HELP: &[&str] = &[
    "Lua debugger help:",
    "[h]elp               Show this help.",
    "[s]tep               Run current line and stop again.",
    "[n]ext               Alias for step.",
    "[c]ontinue           Run till next breakpoint.",
    "[l]ist               List source code around current line.",
    "[l]ist [line]        List source code around [line].",
    "                     line = 0 means: current position.",
    "[l]ist [line] [ctx]  In this form [ctx] specifies how many lines",
    "                     to show before/after [line].",
    "[w]hole              List all source code. Alias for 'list 1 1000000'.",
    "[p]rint              Show all the local variables.",
    "[p]rint <var>        Show the value of the specified variable.",
    "                     Can also show global vars KEYS and ARGV.",
    "[b]reak              Show all breakpoints.",
    "[b]reak <line>       Add a breakpoint to the specified line.",
    "[b]reak -<line>      Remove breakpoint from the specified line.",
    "[b]reak 0            Remove all breakpoints.",
    "[t]race              Show a backtrace.",
    "[e]val <code>        Execute some Lua code (in a different callframe).",
    "[r]edis <cmd>        Execute a command.",
    "[m]axlen [len]       Trim logged replies and Lua var dumps to len.",
    "                     Specifying zero as <len> means unlimited.",
    "[a]bort              Stop the execution of the script. In sync",
    "                     mode dataset changes will be retained.",
    "",
    "Debugger functions you can call from Lua scripts:",
    "server.debug()       Produce logs in the debugger console.",
    "server.breakpoint()  Stop execution like if there was a breakpoint in the",
    "                     next line of code.",
];

/// What follows a command of the console.
enum Next {
    Command,
    Run,
    Raise,
}

impl<'a> Debugger<'a> {
    /// A session for a script of this text, which stops at its first line.
    pub(crate) fn new(console: &'a mut dyn Console, text: &[u8]) -> Self {
        let end = text.trim_ascii_end().len();
        Self {
            console,
            source: text[..end].split(|it| *it == b'\n').map(<[u8]>::to_vec).collect(),
            breakpoints: Vec::new(),
            steps: true,
            breaks_next: false,
            line: -1,
            lines: Vec::new(),
            line_bytes_max: LINE_BYTES_MAX,
        }
    }

    pub(crate) fn break_at_next_line(&mut self) {
        self.breaks_next = true;
    }

    /// Shows a command that is about to run.
    pub(crate) fn command(&mut self, request: Request<'_>) {
        if !self.steps {
            return;
        }
        let mut line = b"<redis>".to_vec();
        for (index, text) in request.args().enumerate() {
            if index == ARGUMENTS_MAX {
                let left = request.ranges.len() - index - 1;
                line.extend_from_slice(format!(" ... ({left} more)").as_bytes());
                break;
            }
            line.push(b' ');
            line.extend_from_slice(text);
        }
        self.log(line);
    }

    /// Shows the reply, which is on top of the stack.
    pub(crate) fn reply(&mut self, stack: &mut Stack) {
        if self.steps {
            self.log_value(stack, b"<reply> ");
        }
    }

    /// `redis.debug`
    pub(crate) fn print(&mut self, stack: &mut Stack) {
        let mut line = format!("<debug> line {}: ", self.line).into_bytes();
        for index in 1..=stack.top() {
            if 1 < index {
                line.extend_from_slice(b", ");
            }
            stack.push_copy(index);
            describe(stack, &mut line, 0);
            stack.pop(1);
        }
        self.log(line);
    }

    /// Sends what is left.
    pub(crate) fn flush(&mut self) {
        if !self.lines.is_empty() {
            self.console.write(&self.lines);
            self.lines.clear();
        }
    }

    /// A line of the script is about to run.
    pub(crate) fn at_line(&mut self, stack: &mut Stack, cx: &mut Context<'_>) -> Tick {
        let Some((_, line)) = stack.frame(0) else { return Tick::GoOn };
        if line <= 0 {
            return Tick::GoOn;
        }
        self.line = line;
        let is_breakpoint = self.breakpoints.contains(&line) || self.breaks_next;
        if !self.steps && !is_breakpoint {
            return Tick::GoOn;
        }
        let reason = match (self.breaks_next, is_breakpoint) {
            (true, _) => "server.breakpoint() called",
            (false, true) => "break point",
            (false, false) => "step over",
        };
        (self.steps, self.breaks_next) = (false, false);
        self.log(format!("* Stopped at {line}, stop reason = {reason}"));
        self.log_source(line);
        loop {
            self.flush();
            let Some(command) = self.console.read() else {
                // The script goes on without anybody who looks.
                self.breakpoints.clear();
                return Tick::GoOn;
            };
            match self.run(stack, cx, &command) {
                Next::Command => {}
                Next::Run => return Tick::GoOn,
                Next::Raise => return Tick::Raise,
            }
        }
    }

    fn run(&mut self, stack: &mut Stack, cx: &mut Context<'_>, command: &[Vec<u8>]) -> Next {
        let Some((name, args)) = command.split_first() else { return Next::Command };
        match name.to_ascii_lowercase().as_slice() {
            b"s" | b"step" | b"n" | b"next" => {
                self.steps = true;
                return Next::Run;
            }
            b"c" | b"continue" => return Next::Run,
            b"a" | b"abort" => {
                push_error(stack, b"ERR script aborted for user request");
                return Next::Raise;
            }
            b"h" | b"help" => HELP.iter().for_each(|it| self.log(*it)),
            b"l" | b"list" => {
                let number = |at: usize| args.get(at).and_then(|it| parse_i64(it));
                let around = number(0).filter(|it| 0 < *it).unwrap_or(self.line.into());
                self.list(around, number(1).unwrap_or(5));
            }
            b"w" | b"whole" => self.list(1, i64::MAX / 2),
            b"p" | b"print" => match args {
                [name] => self.print_variable(stack, name),
                _ => self.print_locals(stack),
            },
            b"b" | b"break" if args.is_empty() => self.show_breakpoints(),
            b"b" | b"break" => args.iter().for_each(|it| self.change_breakpoint(it)),
            b"t" | b"trace" => self.trace(stack),
            b"e" | b"eval" => self.eval(stack, cx, &args.join(&b' ')),
            b"r" | b"redis" | b"server" | b"v" | b"valkey" => self.call(stack, cx, args),
            b"m" | b"maxlen" => self.set_line_bytes(args),
            _ => self.log("<error> Unknown debugger command or wrong number of arguments."),
        }
        Next::Command
    }

    fn log(&mut self, line: impl AsRef<[u8]>) {
        let break_to_blank = |it: &u8| if matches!(it, b'\r' | b'\n') { b' ' } else { *it };
        self.lines.push(line.as_ref().iter().map(break_to_blank).collect());
    }

    /// Shows the value on top, cut to what a line may have.
    fn log_value(&mut self, stack: &mut Stack, prefix: &[u8]) {
        let mut line = prefix.to_vec();
        describe(stack, &mut line, 0);
        let is_long = 0 < self.line_bytes_max && self.line_bytes_max < line.len();
        if is_long {
            line.truncate(self.line_bytes_max);
            line.extend_from_slice(b" ...");
        }
        self.log(line);
        if is_long {
            self.log("<hint> The above reply was trimmed. Use 'maxlen 0' to disable trimming.");
        }
    }

    fn log_source(&mut self, line: i32) {
        let text = usize::try_from(line - 1).ok().and_then(|it| self.source.get(it));
        let text = text.map_or(&b"<out of range source code line>"[..], |it| it);
        let mark = match (self.line == line, self.breakpoints.contains(&line)) {
            (true, true) => "->#",
            (true, false) => "-> ",
            (false, true) => "  #",
            (false, false) => "   ",
        };
        let line = [format!("{mark}{line:<3} ").as_bytes(), text].concat();
        self.log(line);
    }

    fn list(&mut self, around: i64, context: i64) {
        for line in 1..=self.source.len() as i64 {
            if line.abs_diff(around) <= context.unsigned_abs() {
                self.log_source(line as i32);
            }
        }
    }

    fn print_variable(&mut self, stack: &mut Stack, name: &[u8]) {
        let mut level = 0;
        while stack.frame(level).is_some() {
            for number in 1.. {
                let Some(local) = stack.push_local(level, number) else { break };
                if local.as_bytes() == name {
                    self.log_value(stack, b"<value> ");
                    stack.pop(1);
                    return;
                }
                stack.pop(1);
            }
            level += 1;
        }
        match name {
            b"KEYS" | b"ARGV" => {
                stack.push_globals();
                stack.push_text(name);
                stack.get(-2);
                self.log_value(stack, b"<value> ");
                stack.pop(2);
            }
            _ => self.log("No such variable."),
        }
    }

    fn print_locals(&mut self, stack: &mut Stack) {
        let mut is_any = false;
        for number in 1.. {
            let Some(name) = stack.push_local(0, number) else { break };
            if !name.contains("(*temporary)") {
                self.log_value(stack, format!("<value> {name} = ").as_bytes());
                is_any = true;
            }
            stack.pop(1);
        }
        if !is_any {
            self.log("No local variables in the current context.");
        }
    }

    fn show_breakpoints(&mut self) {
        if self.breakpoints.is_empty() {
            self.log("No breakpoints set. Use 'b <line>' to add one.");
            return;
        }
        self.log(format!("{} breakpoints set:", self.breakpoints.len()));
        for line in self.breakpoints.clone() {
            self.log_source(line);
        }
    }

    fn change_breakpoint(&mut self, argument: &[u8]) {
        let Some(line) = parse_i64(argument) else {
            self.log([b"Invalid argument:'", argument, b"'"].concat());
            return;
        };
        let count = self.breakpoints.len();
        match line {
            0 => {
                self.breakpoints.clear();
                self.log("All breakpoints removed.");
            }
            1.. if BREAKPOINTS_MAX <= count => self.log("Too many breakpoints set."),
            1.. => {
                let is_new =
                    line <= self.source.len() as i64 && !self.breakpoints.contains(&(line as i32));
                if is_new {
                    self.breakpoints.push(line as i32);
                    self.list(line, 1);
                } else {
                    self.log("Wrong line number.");
                }
            }
            _ => {
                self.breakpoints.retain(|it| i64::from(*it) != -line);
                let is_removed = self.breakpoints.len() < count;
                self.log(if is_removed {
                    "Breakpoint removed."
                } else {
                    "No breakpoint in the specified line."
                });
            }
        }
    }

    fn trace(&mut self, stack: &mut Stack) {
        let mut level = 0;
        while let Some((name, line)) = stack.frame(level) {
            if 0 < line {
                let preposition = if level == 0 { "In" } else { "From" };
                self.log(format!("{preposition} {name}:"));
                self.log_source(line);
            }
            level += 1;
        }
    }

    /// Runs code, as an expression if it is one.
    fn eval(&mut self, stack: &mut Stack, cx: &mut Context<'_>, code: &[u8]) {
        let top = stack.top();
        if stack.load(&[b"return ", code].concat(), c"@ldb_eval") == Status::Failed {
            stack.set_top(top);
            if stack.load(code, c"@ldb_eval") == Status::Failed {
                let text = before_zero(stack.coerce_text(-1).unwrap_or_default());
                let line = [b"Error compiling code: ", text].concat();
                self.log(line);
                stack.set_top(top);
                return;
            }
        }
        match stack.call_within(cx, 0) {
            Status::Done => self.log_value(stack, b"<retval> "),
            Status::Failed => self.log_error(stack),
        }
        stack.set_top(top);
    }

    /// Runs a command.
    fn call(&mut self, stack: &mut Stack, cx: &mut Context<'_>, args: &[Vec<u8>]) {
        let top = stack.top();
        if !stack.ensure(args.len() as i32 + 4) {
            self.log("max lua stack reached");
            return;
        }
        self.log([&b"<redis>"[..], &[&b" "[..], &args.join(&b' ')].concat()].concat());
        stack.push_function(crate::api::call);
        args.iter().for_each(|it| stack.push_text(it));
        match stack.call_within(cx, args.len()) {
            Status::Done => self.log_value(stack, b"<reply> "),
            Status::Failed => self.log_error(stack),
        }
        stack.set_top(top);
    }

    /// Shows the error on top.
    fn log_error(&mut self, stack: &mut Stack) {
        if stack.kind(-1) == Kind::Table {
            stack.get_field(-1, "err");
        }
        let text = before_zero(stack.coerce_text(-1).unwrap_or_default());
        let line = [b"<error> ", text].concat();
        self.log(line);
    }

    fn set_line_bytes(&mut self, args: &[Vec<u8>]) {
        match args {
            [] => {
                self.log(format!(
                    "<value> replies are truncated at {} bytes.",
                    self.line_bytes_max
                ));
            }
            [len] => match parse_i64(len).and_then(|it| usize::try_from(it).ok()) {
                Some(0) => {
                    self.line_bytes_max = 0;
                    self.log("<value> replies are unlimited.");
                }
                Some(len) => {
                    self.line_bytes_max = len.max(LINE_BYTES_MIN);
                    let text =
                        format!("<value> replies are truncated at {} bytes.", self.line_bytes_max);
                    self.log(text);
                }
                None => self.log("<error> Invalid maxlen value."),
            },
            _ => self.log("<error> Wrong number of arguments for 'maxlen'."),
        }
    }
}

/// Appends the value on top as a person reads it.
fn describe(stack: &mut Stack, out: &mut Vec<u8>, depth: usize) {
    if DEPTH_MAX <= depth || !stack.ensure(4) {
        out.extend_from_slice(b"<max recursion level reached! Nested table?>");
        return;
    }
    match stack.kind(-1) {
        Kind::Text => {
            out.push(b'"');
            out.extend_from_slice(stack.text(-1).unwrap_or_default());
            out.push(b'"');
        }
        Kind::Boolean => out.extend_from_slice(if stack.boolean(-1) { b"true" } else { b"false" }),
        Kind::Number => crate::raw::write_general(out, 6, stack.to_number(-1).unwrap_or_default()),
        Kind::Nil | Kind::None => out.extend_from_slice(b"nil"),
        Kind::Table => describe_table(stack, out, depth),
        kind => {
            let address = stack.identity(-1);
            out.extend_from_slice(format!("\"{}@{address:#x}\"", kind.name()).as_bytes());
        }
    }
}

fn describe_table(stack: &mut Stack, out: &mut Vec<u8>, depth: usize) {
    /// What is shown of one.
    const TABLE_BYTES_MAX: usize = 1024 * 1024;
    let start = out.len();
    out.push(b'{');
    let mut expected = 1.0;
    let mut is_array = true;
    // As a map first; an array is told from it at the end only.
    let mut array = vec![b'{'];
    stack.push_nil();
    while stack.next(-2) {
        is_array &= stack.number(-2).is_some_and(|it| it.to_bits() == f64::to_bits(expected));
        expected += 1.0;
        let value_start = array.len();
        describe(stack, &mut array, depth + 1);
        array.extend_from_slice(b"; ");
        stack.push_copy(-2);
        out.push(b'[');
        describe(stack, out, depth + 1);
        stack.pop(1);
        out.extend_from_slice(b"]=");
        out.extend_from_slice(&array[value_start..]);
        stack.pop(1);
        if TABLE_BYTES_MAX < out.len() {
            stack.pop(1);
            break;
        }
    }
    if is_array {
        out.truncate(start);
        out.append(&mut array);
    }
    out.push(b'}');
}
