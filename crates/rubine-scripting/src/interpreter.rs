//! The interpreter of one worker: what it has compiled, and how a script or function runs in it. Decides nothing about
//! whether something may run.

use std::sync::Arc;

use rubine_base::hash::{HashMap, KeyHasher};
use rubine_resp::writer::{Protocol, Reply};

use crate::convert::{before_zero, write_reply};
use crate::debugger::{Console, Debugger};
use crate::error::ScriptError;
use crate::functions::{Function, Libraries, Library, LibraryRegistry, Policy, check_functions};
use crate::host::{Called, Host, Permission, Request, Verdict};
use crate::json;
use crate::random::Random48;
use crate::raw::{Kind, Lua, Reference, Stack, Status};
use crate::run::{Buffers, Context, Purpose, Stop};
use crate::sandbox::{self, FunctionGlobals, Settings};
use crate::scripts::{Origin, Script, Scripts, Sha};
use crate::shebang::{ScriptFlags, parse_library};
use rubine_base::random::{Random, seed_from_os};

/// Runs scripts and functions, one at a time. Made when first needed; it allocates little before that.
pub struct Interpreter {
    settings: Settings,
    scripts: Option<ScriptState>,
    functions: Option<FunctionState>,
    /// Where each run's random numbers begin.
    seeds: Random,
    /// The flush of all libraries that it has seen last.
    functions_flushed_at: u64,
    buffers: Buffers,
    hasher: KeyHasher,
    retired: Option<Retired>,
}

/// What an interpreter has thrown away: dropping it takes time in proportion to what scripts had left in it.
#[derive(Default)]
pub struct Retired {
    scripts: Option<ScriptState>,
    functions: Option<FunctionState>,
}

/// What a script is asked for by.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Its text, as in EVAL.
    Text(&'a [u8]),
    /// Forty digits, as in EVALSHA.
    Sha(&'a [u8]),
}

/// A script or function that is ready to run in the interpreter that has prepared it, until that prepares another.
#[derive(Clone, Copy, Debug)]
pub struct Prepared {
    purpose: Purpose,
    index: usize,
    pub flags: ScriptFlags,
}

/// What a script or function is run with.
pub struct Call<'a, 'r> {
    pub keys: Request<'a>,
    pub args: Request<'a>,
    pub host: &'a mut dyn Host,
    pub reply: &'a mut Reply<'r>,
}

/// How a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is a reply.
    Done,
    /// There is an error.
    Failed,
    /// It was killed, and there is an error that says so.
    Killed,
    /// The host has ended it, and nothing was written.
    Stopped,
}

/// An interpreter with what scripts see.
struct ScriptState {
    lua: Lua,
    json: Reference,
    handler: Reference,
    /// The registry's, when this was in order.
    generation: u64,
    evicted: u64,
    chunks: Vec<Option<Chunk>>,
    free: Vec<usize>,
    by_sha: HashMap<Sha, usize>,
    /// By a hash of the text.
    by_text: HashMap<u64, usize>,
}

struct Chunk {
    script: Arc<Script>,
    text_hash: u64,
    function: Reference,
}

/// An interpreter with what functions see.
struct FunctionState {
    lua: Lua,
    globals: FunctionGlobals,
    json: Reference,
    handler: Reference,
    generation: u64,
    libraries: Arc<Libraries>,
    /// Libraries whose code has run here.
    loaded: Vec<Loaded>,
    /// By the name as it was called: which library, and which function of it.
    by_name: HashMap<Vec<u8>, (usize, usize)>,
    prepared: (usize, usize),
}

struct Loaded {
    library: Arc<Library>,
    functions: Vec<Reference>,
}

/// Names of functions that are found at once.
const FUNCTION_NAMES_MAX: usize = 10_000;
/// Evicted scripts stay compiled until there are so many.
const EVICTED_MAX: u64 = 64;

impl Interpreter {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            scripts: None,
            functions: None,
            buffers: Buffers::default(),
            hasher: KeyHasher::with_seed(0),
            seeds: Random::with_seed(seed_from_os()),
            functions_flushed_at: 0,
            retired: None,
        }
    }

    /// What was thrown away by a flush, to be dropped where time does not matter. What nobody takes is dropped here, at the
    /// next flush.
    pub fn take_retired(&mut self) -> Option<Retired> {
        self.retired.take()
    }

    /// Throws away what a flush has made useless, so that its memory need not wait for the next script or function.
    pub fn follow_flushes(&mut self, scripts: &Scripts, libraries: &LibraryRegistry) {
        let generation = scripts.generation();
        if self.scripts.as_ref().is_some_and(|it| it.generation != generation) {
            self.retire_scripts();
        }
        self.follow_function_flush(libraries);
    }

    fn follow_function_flush(&mut self, libraries: &LibraryRegistry) {
        let flushed_at = libraries.flushed_at();
        if self.functions_flushed_at != flushed_at {
            self.functions_flushed_at = flushed_at;
            self.retire_functions();
        }
    }

    fn retire_scripts(&mut self) {
        self.retired.get_or_insert_default().scripts = self.scripts.take();
    }

    fn retire_functions(&mut self) {
        self.retired.get_or_insert_default().functions = self.functions.take();
    }

    /// From now on these hold. What was compiled is forgotten, if need be.
    pub fn set_settings(&mut self, settings: Settings) {
        let limit = settings.memory_limit;
        if settings.has_insecure_api != self.settings.has_insecure_api {
            self.retire_scripts();
            self.retire_functions();
        }
        self.scripts.iter_mut().for_each(|it| it.lua.set_memory_limit(limit));
        self.functions.iter_mut().for_each(|it| it.lua.set_memory_limit(limit));
        self.settings = settings;
    }

    /// Bytes that scripts use.
    pub fn script_memory(&self) -> usize {
        self.scripts.as_ref().map_or(0, |it| it.lua.memory())
    }

    /// Bytes that functions use.
    pub fn function_memory(&self) -> usize {
        self.functions.as_ref().map_or(0, |it| it.lua.memory())
    }

    /// Gives back all memory that can be had again.
    pub fn collect(&mut self) {
        self.scripts.iter_mut().for_each(|it| it.lua.collect());
        self.functions.iter_mut().for_each(|it| it.lua.collect());
    }

    /// Finds a script, or takes it in.
    pub fn prepare(
        &mut self,
        scripts: &Scripts,
        source: Source<'_>,
    ) -> Result<Prepared, ScriptError> {
        self.prepare_as(scripts, source, Origin::Eval)
    }

    /// SCRIPT LOAD
    pub fn load(&mut self, scripts: &Scripts, text: &[u8]) -> Result<Sha, ScriptError> {
        let prepared = self.prepare_as(scripts, Source::Text(text), Origin::Load)?;
        let script = self.script(prepared);
        scripts.note_loaded(script);
        Ok(script.sha)
    }

    fn prepare_as(
        &mut self,
        scripts: &Scripts,
        source: Source<'_>,
        origin: Origin,
    ) -> Result<Prepared, ScriptError> {
        let generation = scripts.generation();
        if self.scripts.as_ref().is_some_and(|it| it.generation != generation) {
            self.retire_scripts();
        }
        let settings = &self.settings;
        let state = self.scripts.get_or_insert_with(|| ScriptState::new(settings, generation));
        let index = match source {
            Source::Text(text) => {
                let hash = self.hasher.hash(text);
                state
                    .find_text(text, hash)
                    .map_or_else(|| state.take_in(scripts, text, hash, origin), Ok)?
            }
            Source::Sha(text) => {
                let sha = Sha::parse(text).ok_or(ScriptError::NoScript)?;
                if let Some(index) = state.find(sha) {
                    index
                } else {
                    let script = scripts.find(sha).ok_or(ScriptError::NoScript)?;
                    let hash = self.hasher.hash(&script.text);
                    state.compile(script, hash)?
                }
            }
        };
        let script = &state.chunk(index).script;
        scripts.touch(script);
        Ok(Prepared { purpose: Purpose::Script, index, flags: script.flags })
    }

    /// The script that is prepared.
    pub fn script(&self, prepared: Prepared) -> &Script {
        let state = self.scripts.as_ref().expect("a script is prepared in its state");
        &state.chunk(prepared.index).script
    }

    /// Finds a function, and runs its library's code if that has not run here yet.
    pub fn prepare_function(
        &mut self,
        registry: &LibraryRegistry,
        name: &[u8],
    ) -> Result<Prepared, ScriptError> {
        self.follow_function_flush(registry);
        let Self { settings, functions, buffers, .. } = self;
        let state = functions.get_or_insert_with(|| FunctionState::new(settings));
        state.follow(registry);
        let (at, function) = match state.by_name.get(name).copied() {
            Some(found) => found,
            None => state.find(name, buffers)?,
        };
        state.prepared = (at, function);
        let flags = state.loaded[at].library.functions[function].flags;
        Ok(Prepared { purpose: Purpose::Function, index: 0, flags })
    }

    /// The function that is prepared.
    pub fn function(&self, _prepared: Prepared) -> &Function {
        let state = self.functions.as_ref().expect("a function is prepared in its state");
        let (at, function) = state.prepared;
        &state.loaded[at].library.functions[function]
    }

    /// FUNCTION LOAD: runs the code of a library and puts it among the others; returns its name. The host is asked how
    /// long that may take.
    pub fn load_library(
        &mut self,
        registry: &LibraryRegistry,
        code: &[u8],
        policy: Policy,
        host: &mut dyn Host,
    ) -> Result<Vec<u8>, ScriptError> {
        let (name, _) = parse_library(code)?;
        if policy == Policy::Append && registry.current().library(&name).is_some() {
            let text = [b"ERR Library '", &name[..], b"' already exists"].concat();
            return Err(ScriptError::Compile(text));
        }
        self.follow_function_flush(registry);
        let library = self.compile_library(code, host)?;
        registry.change(|libraries| libraries.with(library, policy))?;
        Ok(name)
    }

    /// FUNCTION RESTORE: runs the code of libraries and puts them among the others, all or none. Each library has a host
    /// of its own, since each may take the time that one may take.
    pub fn restore_libraries<H: Host>(
        &mut self,
        registry: &LibraryRegistry,
        codes: &[Vec<u8>],
        policy: Policy,
        host: impl Fn() -> H,
    ) -> Result<(), ScriptError> {
        let mut libraries = Vec::new();
        for code in codes {
            libraries.push(Arc::new(self.compile_library(code, &mut host())?));
        }
        registry.change(|current| current.joined(libraries, policy))
    }

    /// Runs the code of a library, and finds out which functions it has.
    pub fn compile_library(
        &mut self,
        code: &[u8],
        host: &mut dyn Host,
    ) -> Result<Library, ScriptError> {
        let (name, code_start) = parse_library(code)?;
        let Self { settings, functions, buffers, .. } = self;
        let state = functions.get_or_insert_with(|| FunctionState::new(settings));
        let registered = state.run_code(&code[code_start..], host, buffers)?;
        let mut functions = Vec::new();
        for (function, reference) in registered {
            state.lua.stack().forget(reference);
            functions.push(function);
        }
        check_functions(&functions)?;
        Ok(Library { name, code: code.to_vec(), functions, code_start })
    }

    /// Runs what was prepared last.
    pub fn run(&mut self, prepared: Prepared, call: Call<'_, '_>) -> Outcome {
        self.run_with(prepared, call, None)
    }

    /// Runs the script that was prepared last, line by line as the console wants it.
    pub fn debug(
        &mut self,
        prepared: Prepared,
        call: Call<'_, '_>,
        console: &mut dyn Console,
    ) -> Outcome {
        self.run_with(prepared, call, Some(console))
    }

    fn run_with(
        &mut self,
        prepared: Prepared,
        call: Call<'_, '_>,
        console: Option<&mut dyn Console>,
    ) -> Outcome {
        let console = match (console, prepared.purpose) {
            (Some(console), Purpose::Script) => {
                Some((console, self.script(prepared).text.to_vec()))
            }
            _ => None,
        };
        let Self { scripts, functions, buffers, .. } = self;
        buffers.random = Random48::seeded(self.seeds.next_u64() as i32);
        let (lua, name, handler, function, json) = match prepared.purpose {
            Purpose::Script => {
                let state = scripts.as_mut().expect("a script is prepared in its state");
                let chunk =
                    state.chunks[prepared.index].as_ref().expect("what is prepared is compiled");
                let name = Name::Script(chunk.script.sha);
                (&mut state.lua, name, state.handler, chunk.function, state.json)
            }
            Purpose::Function | Purpose::Load => {
                let state = functions.as_mut().expect("a function is prepared in its state");
                let (at, index) = state.prepared;
                let loaded = &state.loaded[at];
                let name = Name::Function(loaded.library.functions[index].name.clone());
                (&mut state.lua, name, state.handler, loaded.functions[index], state.json)
            }
        };
        let outcome =
            run(lua, buffers, prepared.purpose, &name, (handler, function), call, console);
        if std::mem::take(&mut buffers.is_json_touched) {
            json::reset(lua.stack(), json);
        }
        buffers.rest();
        outcome
    }
}

/// What an error says about where it was.
enum Name {
    Script(Sha),
    Function(Vec<u8>),
}

fn run(
    lua: &mut Lua,
    buffers: &mut Buffers,
    purpose: Purpose,
    name: &Name,
    (handler, function): (Reference, Reference),
    call: Call<'_, '_>,
    console: Option<(&mut dyn Console, Vec<u8>)>,
) -> Outcome {
    let Call { keys, args, host, reply } = call;
    let stack = lua.stack();
    stack.set_top(0);
    stack.push_kept(handler);
    stack.push_kept(function);
    push_arguments(stack, keys);
    push_arguments(stack, args);
    let arg_count = match purpose {
        Purpose::Script => {
            stack.set_arguments();
            0
        }
        Purpose::Function | Purpose::Load => 2,
    };
    let mut cx = Context {
        host,
        purpose,
        protocol: Protocol::Resp2,
        stop: None,
        buffers,
        registered: Vec::new(),
        debugger: None,
    };
    if let Some((console, text)) = console {
        cx.debugger = Some(Debugger::new(console, &text));
    }
    let status = lua.call(&mut cx, arg_count, 1);
    cx.debugger.iter_mut().for_each(Debugger::flush);
    let stack = lua.stack();
    let outcome = match (cx.stop, status) {
        (Some(Stop::Host), _) => Outcome::Stopped,
        (None, Status::Done) => {
            let protocol = cx.protocol;
            write_reply(stack, protocol, reply, &mut |text| cx.host.count_error(text));
            Outcome::Done
        }
        (stop, _) => {
            let is_counted = write_error(stack, purpose, stop, name, &mut cx.buffers.bytes);
            reply.error_bytes(&cx.buffers.bytes);
            if is_counted {
                cx.host.count_error(&cx.buffers.bytes);
            }
            if stop.is_some() { Outcome::Killed } else { Outcome::Failed }
        }
    };
    stack.set_top(0);
    outcome
}

fn push_arguments(stack: &mut Stack, arguments: Request<'_>) {
    stack.push_table(arguments.ranges.len(), 0);
    for (index, text) in (1..).zip(arguments.args()) {
        stack.push_text(text);
        stack.set_element(-2, index);
    }
}

/// Writes the error on top of the stack to `out`; returns whether it is yet to be counted.
fn write_error(
    stack: &mut Stack,
    purpose: Purpose,
    stop: Option<Stop>,
    name: &Name,
    out: &mut Vec<u8>,
) -> bool {
    const TEXT_BYTES_MAX: usize = 100;
    out.clear();
    if stop.is_none() && stack.kind(-1) != Kind::Table {
        out.extend_from_slice(b"ERR Error running script, ");
        let text = stack.coerce_text(-1).unwrap_or(b"execution failure");
        let text = before_zero(text);
        out.extend_from_slice(&text[..text.len().min(TEXT_BYTES_MAX)]);
        return true;
    }
    let error = stack.top();
    let mut field = |name: &str| {
        if stack.kind(error) != Kind::Table {
            return (None, false);
        }
        stack.get_field(error, name);
        let text = stack.coerce_text(-1).map(|it| before_zero(it).to_vec());
        let is_set = stack.boolean(-1);
        stack.set_top(error);
        (text, is_set)
    };
    let text = match (stop, purpose) {
        (Some(_), Purpose::Script) => b"ERR Script killed by user with SCRIPT KILL.".to_vec(),
        (Some(_), _) => b"ERR Script killed by user with FUNCTION KILL.".to_vec(),
        (None, _) => field("err").0.unwrap_or_else(|| b"ERR unknown error".to_vec()),
    };
    out.extend_from_slice(&text);
    if let (Some(source), Some(line)) = (field("source").0, field("line").0) {
        out.extend_from_slice(b" script: ");
        match name {
            Name::Script(sha) => out.extend_from_slice(&sha.to_hex()),
            Name::Function(name) => out.extend_from_slice(name),
        }
        out.extend_from_slice(&[b", on ", &source[..], b":", &line, b"."].concat());
    }
    !field("ignore_error_stats_update").1
}

impl ScriptState {
    fn new(settings: &Settings, generation: u64) -> Self {
        let mut lua = Lua::new(settings.memory_limit);
        let json = sandbox::open_scripts(&mut lua, settings);
        lua.stack().push_error_handler();
        let handler = lua.stack().keep();
        Self {
            lua,
            json,
            handler,
            generation,
            evicted: 0,
            chunks: Vec::new(),
            free: Vec::new(),
            by_sha: HashMap::default(),
            by_text: HashMap::default(),
        }
    }

    fn chunk(&self, index: usize) -> &Chunk {
        self.chunks[index].as_ref().expect("an index that is known is of a chunk")
    }

    fn find(&self, sha: Sha) -> Option<usize> {
        let index = *self.by_sha.get(&sha)?;
        (!self.chunk(index).script.is_gone()).then_some(index)
    }

    fn find_text(&self, text: &[u8], hash: u64) -> Option<usize> {
        let index = *self.by_text.get(&hash)?;
        let script = &self.chunk(index).script;
        (*script.text == *text && !script.is_gone()).then_some(index)
    }

    /// Finds a script that is not known by its text, or makes it known.
    fn take_in(
        &mut self,
        scripts: &Scripts,
        text: &[u8],
        hash: u64,
        origin: Origin,
    ) -> Result<usize, ScriptError> {
        let sha = Sha::of(text);
        if let Some(script) = scripts.find(sha) {
            return match self.find(sha) {
                Some(index) => Ok(index),
                None => self.compile(script, hash),
            };
        }
        // Only what compiles is taken in.
        let script = Script::parse(text, sha)?;
        let function = compile(self.lua.stack(), script.code())?;
        let script = scripts.insert(script, origin);
        let index = self.add(script, hash, function);
        self.drop_evicted(scripts, index);
        Ok(index)
    }

    fn compile(&mut self, script: Arc<Script>, text_hash: u64) -> Result<usize, ScriptError> {
        let function = compile(self.lua.stack(), script.code())?;
        Ok(self.add(script, text_hash, function))
    }

    fn add(&mut self, script: Arc<Script>, text_hash: u64, function: Reference) -> usize {
        if let Some(index) = self.by_sha.get(&script.sha).copied() {
            self.drop_chunk(index);
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.chunks.push(None);
            self.chunks.len() - 1
        });
        self.by_sha.insert(script.sha, index);
        self.by_text.insert(text_hash, index);
        self.chunks[index] = Some(Chunk { script, text_hash, function });
        index
    }

    fn drop_chunk(&mut self, index: usize) {
        let Some(chunk) = self.chunks[index].take() else { return };
        self.lua.stack().forget(chunk.function);
        self.by_sha.remove(&chunk.script.sha);
        if self.by_text.get(&chunk.text_hash) == Some(&index) {
            self.by_text.remove(&chunk.text_hash);
        }
        self.free.push(index);
    }

    /// Drops what is in the registry no longer, when there may be many of them.
    fn drop_evicted(&mut self, scripts: &Scripts, kept: usize) {
        let evicted = scripts.evicted_count();
        if evicted - self.evicted < EVICTED_MAX {
            return;
        }
        self.evicted = evicted;
        for index in (0..self.chunks.len()).filter(|it| *it != kept) {
            if self.chunks[index].as_ref().is_some_and(|it| it.script.is_gone()) {
                self.drop_chunk(index);
            }
        }
    }
}

fn compile(stack: &mut Stack, code: &[u8]) -> Result<Reference, ScriptError> {
    match stack.load(code, c"@user_script") {
        Status::Done => Ok(stack.keep()),
        Status::Failed => {
            let text = before_zero(stack.coerce_text(-1).unwrap_or_default());
            let error = ScriptError::quoting("ERR Error compiling script (new function): ", text);
            stack.pop(1);
            Err(error)
        }
    }
}

impl FunctionState {
    fn new(settings: &Settings) -> Self {
        let mut lua = Lua::new(settings.memory_limit);
        let (globals, json) = sandbox::open_functions(&mut lua, settings);
        lua.stack().push_error_handler();
        let handler = lua.stack().keep();
        Self {
            lua,
            globals,
            json,
            handler,
            generation: 0,
            libraries: Arc::default(),
            loaded: Vec::new(),
            by_name: HashMap::default(),
            prepared: (0, 0),
        }
    }

    /// Takes over what has changed in the registry.
    fn follow(&mut self, registry: &LibraryRegistry) {
        let generation = registry.generation();
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        self.libraries = registry.current();
        self.by_name.clear();
        let is_there = |it: &Loaded| {
            let current = self.libraries.library(&it.library.name);
            current.is_some_and(|current| Arc::ptr_eq(current, &it.library))
        };
        let (kept, gone) = std::mem::take(&mut self.loaded).into_iter().partition(is_there);
        self.loaded = kept;
        let gone: Vec<Loaded> = gone;
        for reference in gone.into_iter().flat_map(|it| it.functions) {
            self.lua.stack().forget(reference);
        }
    }

    /// Finds a function by its name, and runs its library's code if that has not run here yet.
    fn find(&mut self, name: &[u8], buffers: &mut Buffers) -> Result<(usize, usize), ScriptError> {
        let (library, function) =
            self.libraries.function(name).ok_or(ScriptError::text("ERR Function not found"))?;
        let library = Arc::clone(library);
        let known = self.loaded.iter().position(|it| Arc::ptr_eq(&it.library, &library));
        let at = known.unwrap_or(self.loaded.len());
        if known.is_none() {
            let mut host = LoadingAgain { polls_left: LoadingAgain::POLLS_MAX };
            let code = &library.code[library.code_start..];
            let registered = self.run_code(code, &mut host, buffers)?;
            if registered.len() != library.functions.len() {
                registered.into_iter().for_each(|(_, it)| self.lua.stack().forget(it));
                return Err(ScriptError::text("ERR the library registers other functions now"));
            }
            let functions = registered.into_iter().map(|(_, it)| it).collect();
            self.loaded.push(Loaded { library, functions });
        }
        // Names that are written in many ways are not all remembered.
        if self.by_name.len() < FUNCTION_NAMES_MAX {
            self.by_name.insert(name.to_vec(), (at, function));
        }
        Ok((at, function))
    }

    /// Runs the code of a library; returns what it has registered.
    fn run_code(
        &mut self,
        code: &[u8],
        host: &mut dyn Host,
        buffers: &mut Buffers,
    ) -> Result<Vec<(Function, Reference)>, ScriptError> {
        let stack = self.lua.stack();
        stack.set_top(0);
        if stack.load(code, c"@user_function") == Status::Failed {
            let text = before_zero(stack.coerce_text(-1).unwrap_or_default());
            let error = ScriptError::quoting("ERR Error compiling function: ", text);
            stack.pop(1);
            return Err(error);
        }
        self.globals.show_loading(stack);
        let mut cx = Context {
            host,
            purpose: Purpose::Load,
            protocol: Protocol::Resp2,
            stop: None,
            buffers,
            registered: Vec::new(),
            debugger: None,
        };
        let status = self.lua.call(&mut cx, 0, 0);
        let (registered, stop) = (cx.registered, cx.stop);
        let stack = self.lua.stack();
        self.globals.show_running(stack);
        let result = match (stop, status) {
            (Some(Stop::Host), _) => Err(ScriptError::Stopped),
            (None, Status::Done) => return Ok(registered),
            (Some(Stop::Killed), _) => {
                Err(ScriptError::text("ERR Error registering functions: ERR FUNCTION LOAD timeout"))
            }
            (None, Status::Failed) => {
                let text = load_error(stack);
                Err(ScriptError::quoting("ERR Error registering functions: ", &text))
            }
        };
        stack.set_top(0);
        registered.into_iter().for_each(|(_, it)| stack.forget(it));
        result
    }
}

/// The text of the error on top, with a code.
fn load_error(stack: &mut Stack) -> Vec<u8> {
    if stack.kind(-1) == Kind::Table {
        stack.get_field(-1, "err");
        return match stack.coerce_text(-1) {
            Some(text) => before_zero(text).to_vec(),
            None => b"ERR unknown error".to_vec(),
        };
    }
    [b"ERR ", before_zero(stack.coerce_text(-1).unwrap_or(b"unknown error"))].concat()
}

/// Answers the code of a library that has been loaded elsewhere already.
struct LoadingAgain {
    polls_left: u32,
}

impl LoadingAgain {
    /// It has taken half a second at most, there.
    const POLLS_MAX: u32 = 100_000;
}

impl Host for LoadingAgain {
    fn call(&mut self, _: Request<'_>, reply: &mut Reply<'_>) -> Called {
        reply.error("ERR no command can be called while a library is loaded");
        Called::Replied
    }

    fn poll(&mut self) -> Verdict {
        self.polls_left = self.polls_left.saturating_sub(1);
        if self.polls_left == 0 { Verdict::Kill } else { Verdict::GoOn }
    }

    fn check_permission(&mut self, _: Request<'_>) -> Permission {
        Permission::Denied
    }
}
