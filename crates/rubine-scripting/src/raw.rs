//! Lua's interface, made safe. Everything unsafe of this crate is here, and in the C of `lua/`.
//!
//! Two rules make it so. Errors of Lua are jumps, and no jump ever passes over a frame of Rust: functions in Rust return
//! what is to be raised, and C raises it (`lua/rubine.c`); and while Rust is at work, the allocator gives what it is
//! asked for, so that nothing that is called here fails. Wrong indexes and types are caught by Lua's own checks, which
//! are compiled in and end the process.

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};

use crate::run::{Context, Tick};

/// Instructions between two looks at whether the script is to end.
const TICK_INSTRUCTIONS: c_int = 10_000;
/// So many bytes may be allocated or looked through between them.
const TICK_BYTES: usize = 4 * 1024 * 1024;

/// The collector waits until this much more than what was left is in use, in per cent.
const PAUSE: c_int = 200;
/// So much, while there is little: a collection takes time for all that lives, and the libraries do.
const PAUSE_SMALL: c_int = 1_000;
const SMALL_BYTES: usize = 512 * 1024;

/// All that Lua allocates is aligned so.
const ALIGNMENT: usize = 8;

const REGISTRY: c_int = -10_000;
const GLOBALS: c_int = -10_002;

/// The second upvalue of a function in Rust.
pub(crate) const UPVALUE: i32 = GLOBALS - 2;

/// A function in Rust that scripts call. Its arguments are on the stack, from 1; its results are the topmost values.
pub(crate) type Function = fn(&mut Stack, &mut Context<'_>) -> Return;

/// How many results there are, or what is raised.
pub(crate) type Return = Result<usize, Raise>;

/// An error that a function in Rust raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Raise {
    /// The value on top.
    Value,
    /// The text on top, behind the place in the script.
    Error,
    /// An argument's number; the text on top says what is wrong with it.
    Argument(i32),
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There is no value at the index.
    None,
    Nil,
    Boolean,
    /// A pointer and nothing else; a script sees that to nothing only, which is `cjson.null`.
    Light,
    Number,
    Text,
    Table,
    Function,
    Userdata,
    Thread,
}

impl Kind {
    /// As Lua names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "no value",
            Self::Nil => "nil",
            Self::Boolean => "boolean",
            Self::Light | Self::Userdata => "userdata",
            Self::Number => "number",
            Self::Text => "string",
            Self::Table => "table",
            Self::Function => "function",
            Self::Thread => "thread",
        }
    }
}

/// How a call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Done,
    /// The error is on top of the stack.
    Failed,
}

/// A value that is kept for later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference(c_int);

/// An interpreter of its own.
pub(crate) struct Lua {
    stack: Stack,
    /// Lua holds its address.
    shared: NonNull<Shared>,
}

/// What the allocator and the hooks know. Lua gives them its address.
struct Shared {
    main: Cell<*mut State>,
    used: Cell<usize>,
    limit: Cell<usize>,
    /// Where everything is collected before an allocation has to fail.
    soft_limit: Cell<usize>,
    is_collection_due: Cell<bool>,
    /// Bytes that were allocated or looked through since the last look at whether the script is to end: a few
    /// instructions can take long.
    worked: Cell<usize>,
    /// A look comes with the next instruction.
    is_tick_due: Cell<bool>,
    /// Rust is at work: allocations do not fail.
    is_in_rust: Cell<bool>,
    /// The run ends, whatever the script does.
    is_stopping: Cell<bool>,
    is_collector_touched: Cell<bool>,
    watches_lines: Cell<bool>,
    pause: Cell<c_int>,
    argument: Cell<c_int>,
    /// The context of the call that runs, or null.
    context: Cell<*mut c_void>,
}

/// The stack of values through which Rust and Lua speak.
pub(crate) struct Stack(NonNull<State>);

#[repr(C)]
struct State {
    _opaque: [u8; 0],
}

type Allocate = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, usize) -> *mut c_void;

unsafe extern "C" {
    fn lua_newstate(allocate: Allocate, data: *mut c_void) -> *mut State;
    fn lua_close(state: *mut State);
    fn lua_getallocf(state: *mut State, data: *mut *mut c_void) -> Option<Allocate>;
    fn lua_gettop(state: *mut State) -> c_int;
    fn lua_settop(state: *mut State, index: c_int);
    fn lua_pushvalue(state: *mut State, index: c_int);
    fn lua_insert(state: *mut State, index: c_int);
    fn lua_replace(state: *mut State, index: c_int);
    fn lua_checkstack(state: *mut State, count: c_int) -> c_int;
    fn lua_type(state: *mut State, index: c_int) -> c_int;
    fn lua_isnumber(state: *mut State, index: c_int) -> c_int;
    fn lua_tonumber(state: *mut State, index: c_int) -> f64;
    fn lua_toboolean(state: *mut State, index: c_int) -> c_int;
    fn lua_tolstring(state: *mut State, index: c_int, len: *mut usize) -> *const c_char;
    fn lua_objlen(state: *mut State, index: c_int) -> usize;
    fn lua_touserdata(state: *mut State, index: c_int) -> *mut c_void;
    fn lua_topointer(state: *mut State, index: c_int) -> *const c_void;
    fn lua_pushnil(state: *mut State);
    fn lua_pushnumber(state: *mut State, number: f64);
    fn lua_pushboolean(state: *mut State, value: c_int);
    fn lua_pushlstring(state: *mut State, text: *const c_char, len: usize);
    fn lua_pushlightuserdata(state: *mut State, pointer: *mut c_void);
    fn lua_pushcclosure(
        state: *mut State,
        function: unsafe extern "C" fn(*mut State) -> c_int,
        upvalues: c_int,
    );
    fn lua_createtable(state: *mut State, elements: c_int, fields: c_int);
    fn lua_newuserdata(state: *mut State, len: usize) -> *mut c_void;
    fn lua_rawget(state: *mut State, index: c_int);
    fn lua_rawgeti(state: *mut State, index: c_int, at: c_int);
    fn lua_rawset(state: *mut State, index: c_int);
    fn lua_rawseti(state: *mut State, index: c_int, at: c_int);
    fn lua_next(state: *mut State, index: c_int) -> c_int;
    fn lua_setmetatable(state: *mut State, index: c_int) -> c_int;
    fn lua_getmetatable(state: *mut State, index: c_int) -> c_int;
    fn lua_setreadonly(state: *mut State, index: c_int, readonly: c_int);
    fn lua_isreadonly(state: *mut State, index: c_int) -> c_int;
    fn lua_pcall(state: *mut State, args: c_int, results: c_int, handler: c_int) -> c_int;
    fn lua_gc(state: *mut State, what: c_int, data: c_int) -> c_int;
    fn luaL_loadbuffer(
        state: *mut State,
        code: *const c_char,
        len: usize,
        name: *const c_char,
    ) -> c_int;
    fn luaL_ref(state: *mut State, table: c_int) -> c_int;
    fn luaL_unref(state: *mut State, table: c_int, reference: c_int);

    fn rubine_open(state: *mut State);
    fn rubine_push_function(state: *mut State, function: *const c_void);
    fn rubine_watch(state: *mut State, count: c_int, lines: c_int);
    fn rubine_set_arguments(state: *mut State);
    fn rubine_error_handler(state: *mut State) -> c_int;
    fn rubine_pcall(state: *mut State) -> c_int;
    fn rubine_format_double(
        buffer: *mut c_char,
        size: usize,
        precision: c_int,
        value: f64,
    ) -> c_int;
    fn rubine_parse_double(text: *const c_char, len: *mut usize) -> f64;
    fn rubine_frame(
        state: *mut State,
        level: c_int,
        name: *mut c_char,
        size: usize,
        line: *mut c_int,
    ) -> c_int;
    fn rubine_local(state: *mut State, level: c_int, number: c_int) -> *const c_char;
}

/// The collector's operations, by Lua's numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Collect {
    Stop = 0,
    Restart = 1,
    All = 2,
    Count = 3,
    CountRest = 4,
    Step = 5,
    SetPause = 6,
    SetStepMultiplier = 7,
}

impl Lua {
    /// An interpreter with Lua's own libraries, which may take `memory_limit` bytes; 0 is no limit.
    pub(crate) fn new(memory_limit: usize) -> Self {
        let shared = Box::new(Shared {
            main: Cell::new(ptr::null_mut()),
            used: Cell::new(0),
            limit: Cell::new(0),
            soft_limit: Cell::new(0),
            is_collection_due: Cell::new(false),
            worked: Cell::new(0),
            is_tick_due: Cell::new(false),
            is_in_rust: Cell::new(true),
            is_stopping: Cell::new(false),
            is_collector_touched: Cell::new(true),
            watches_lines: Cell::new(false),
            pause: Cell::new(0),
            argument: Cell::new(0),
            context: Cell::new(ptr::null_mut()),
        });
        let shared = NonNull::from(Box::leak(shared));
        // SAFETY: `allocate` does what Lua asks of such a function, and `shared` lives until `drop` has closed it.
        let state = unsafe { lua_newstate(allocate, shared.as_ptr().cast()) };
        let state = NonNull::new(state).expect("allocations do not fail while Rust is at work");
        let mut lua = Self { stack: Stack(state), shared };
        lua.shared().main.set(state.as_ptr());
        lua.set_memory_limit(memory_limit);
        // SAFETY: the state is open, and opening the libraries raises nothing but for lack of memory.
        unsafe { rubine_open(state.as_ptr()) };
        lua.stack.set_top(0);
        lua.rest();
        lua
    }

    fn shared(&self) -> &Shared {
        // SAFETY: it was leaked by `new` and lives until `drop`; it is `Cell`s, of this thread only.
        unsafe { self.shared.as_ref() }
    }

    pub(crate) fn stack(&mut self) -> &mut Stack {
        &mut self.stack
    }

    /// Bytes that are in use.
    pub(crate) fn memory(&self) -> usize {
        self.shared().used.get()
    }

    /// The most that may be in use while a script runs; 0 is no limit.
    pub(crate) fn set_memory_limit(&mut self, bytes: usize) {
        let limit = if bytes == 0 { usize::MAX } else { bytes };
        self.shared().limit.set(limit);
        self.shared().soft_limit.set(limit / 4 * 3);
    }

    /// Gives all the memory back that can be.
    pub(crate) fn collect(&mut self) {
        self.stack.collector(Collect::All, 0);
    }

    /// Calls the function below `args` arguments on the stack, which are replaced by its result. The error is made by
    /// the handler at the index, if that is not 0.
    pub(crate) fn call(&mut self, cx: &mut Context<'_>, args: usize, handler: i32) -> Status {
        let state = self.stack.0.as_ptr();
        let shared = self.shared();
        shared.is_stopping.set(false);
        shared.watches_lines.set(cx.watches_lines());
        shared.is_collection_due.set(false);
        shared.is_tick_due.set(false);
        shared.worked.set(0);
        shared.soft_limit.set(shared.limit.get() / 4 * 3);
        let before = shared.context.replace(ptr::from_mut(cx).cast());
        // SAFETY: the context is borrowed for as long as the call lasts and touched by nothing else meanwhile. The call
        // is protected, so no jump leaves it.
        let status = unsafe {
            rubine_watch(state, TICK_INSTRUCTIONS, c_int::from(cx.watches_lines()));
            shared.is_in_rust.set(false);
            lua_pcall(state, args as c_int, 1, handler)
        };
        shared.is_in_rust.set(true);
        shared.context.set(before);
        self.rest();
        if status == 0 { Status::Done } else { Status::Failed }
    }

    /// Puts the collector into the state that it has between scripts.
    fn rest(&mut self) {
        let shared = self.shared();
        let pause = if shared.used.get() < SMALL_BYTES { PAUSE_SMALL } else { PAUSE };
        let is_touched = shared.is_collector_touched.replace(false);
        if is_touched || shared.pause.get() != pause {
            shared.pause.set(pause);
            self.stack.collector(Collect::SetPause, pause);
        }
        if is_touched {
            self.stack.collector(Collect::SetStepMultiplier, 200);
            self.stack.collector(Collect::Restart, 0);
        }
    }
}

impl Shared {
    /// Counts bytes that were allocated or looked through.
    fn note_work(&self, bytes: usize) {
        let worked = self.worked.get() + bytes;
        self.worked.set(worked);
        if TICK_BYTES < worked && !self.context.get().is_null() {
            self.worked.set(0);
            self.ask_for_tick();
        }
    }

    /// Has the script looked at before its next instruction.
    fn ask_for_tick(&self) {
        self.is_tick_due.set(true);
        // SAFETY: the main state lives as long as this.
        unsafe { rubine_watch(self.main.get(), 1, c_int::from(self.watches_lines.get())) }
    }

    /// Collects everything, and lets the script use half of what is left before that is done again.
    fn collect(&self, stack: &mut Stack) {
        stack.collector(Collect::All, 0);
        let (used, limit) = (self.used.get(), self.limit.get());
        let next = used.midpoint(limit);
        // Where little is left, the next collection would come too soon to be worth its time.
        let is_worth_it = used < limit && limit / 64 < limit - next;
        self.soft_limit.set(if is_worth_it { next.max(limit / 4 * 3) } else { limit });
    }
}

impl Drop for Lua {
    fn drop(&mut self) {
        // SAFETY: both were made by `new`, and nothing borrows them any more. Closing runs no code of scripts.
        unsafe {
            lua_close(self.stack.0.as_ptr());
            drop(Box::from_raw(self.shared.as_ptr()));
        }
    }
}

// SAFETY: an interpreter is a graph of its own, of which nothing is reachable but through it.
unsafe impl Send for Lua {}

impl Stack {
    fn state(&self) -> *mut State {
        self.0.as_ptr()
    }

    fn shared(&self) -> &Shared {
        // SAFETY: every state was made by `Lua::new`, whose `Shared` outlives it.
        unsafe { shared_of(self.state()) }
    }

    pub(crate) fn top(&self) -> i32 {
        // SAFETY: the state is open.
        unsafe { lua_gettop(self.state()) }
    }

    pub(crate) fn set_top(&mut self, index: i32) {
        // SAFETY: Lua checks the index.
        unsafe { lua_settop(self.state(), index) }
    }

    pub(crate) fn pop(&mut self, count: i32) {
        self.set_top(-count - 1);
    }

    /// Makes room for `count` more values; false if the script has too many already.
    #[must_use]
    pub(crate) fn ensure(&mut self, count: i32) -> bool {
        // SAFETY: the state is open; where memory is missing, Lua says so.
        unsafe { lua_checkstack(self.state(), count) != 0 }
    }

    pub(crate) fn push_copy(&mut self, index: i32) {
        // SAFETY: Lua checks the index and the room.
        unsafe { lua_pushvalue(self.state(), index) }
    }

    /// Moves the topmost value to `index`, and those from there on up.
    pub(crate) fn insert(&mut self, index: i32) {
        // SAFETY: Lua checks the index.
        unsafe { lua_insert(self.state(), index) }
    }

    /// Puts the topmost value in place of that at `index`.
    pub(crate) fn replace(&mut self, index: i32) {
        // SAFETY: Lua checks the index.
        unsafe { lua_replace(self.state(), index) }
    }

    pub(crate) fn push_nil(&mut self) {
        // SAFETY: Lua checks the room.
        unsafe { lua_pushnil(self.state()) }
    }

    pub(crate) fn push_boolean(&mut self, value: bool) {
        // SAFETY: as above.
        unsafe { lua_pushboolean(self.state(), c_int::from(value)) }
    }

    pub(crate) fn push_number(&mut self, value: f64) {
        // SAFETY: as above.
        unsafe { lua_pushnumber(self.state(), value) }
    }

    #[inline]
    pub(crate) fn push_text(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        // SAFETY: as above; the bytes are copied.
        unsafe { lua_pushlstring(self.state(), text.as_ptr().cast(), text.len()) }
    }

    /// Pushes the pointer to nothing, `cjson.null`.
    pub(crate) fn push_null(&mut self) {
        // SAFETY: as above.
        unsafe { lua_pushlightuserdata(self.state(), ptr::null_mut()) }
    }

    pub(crate) fn push_table(&mut self, elements: usize, fields: usize) {
        /// Room for more is made when they come.
        const RESERVED_MAX: usize = 1 << 20;
        let (elements, fields) = (elements.min(RESERVED_MAX), fields.min(RESERVED_MAX));
        // SAFETY: as above.
        unsafe { lua_createtable(self.state(), elements as c_int, fields as c_int) }
    }

    pub(crate) fn push_globals(&mut self) {
        self.push_copy(GLOBALS);
    }

    /// Takes two tables off the stack and sets them as KEYS and ARGV, though globals are read-only.
    pub(crate) fn set_arguments(&mut self) {
        assert!(self.kind(-2) == Kind::Table && self.kind(-1) == Kind::Table);
        // SAFETY: there are two values, and nothing is raised but for lack of memory.
        unsafe { rubine_set_arguments(self.state()) }
    }

    /// Makes the table on top the globals.
    pub(crate) fn replace_globals(&mut self) {
        self.replace(GLOBALS);
    }

    /// Makes a function in Rust of `function` and the value on top, which it finds at [`UPVALUE`].
    pub(crate) fn push_closure(&mut self, function: Function) {
        // SAFETY: `rubine_dispatch` gets this address back, and makes the same function of it.
        unsafe { rubine_push_function(self.state(), function as *const c_void) }
    }

    pub(crate) fn push_function(&mut self, function: Function) {
        self.push_nil();
        self.push_closure(function);
    }

    /// Pushes the `pcall` of scripts.
    pub(crate) fn push_pcall(&mut self) {
        // SAFETY: a function of C; Lua checks the room.
        unsafe { lua_pushcclosure(self.state(), rubine_pcall, 0) }
    }

    /// Pushes what makes an error a table that knows its place.
    pub(crate) fn push_error_handler(&mut self) {
        // SAFETY: as above.
        unsafe { lua_pushcclosure(self.state(), rubine_error_handler, 0) }
    }

    pub(crate) fn kind(&self, index: i32) -> Kind {
        // SAFETY: the state is open; an index without a value is no error here.
        match unsafe { lua_type(self.state(), index) } {
            0 => Kind::Nil,
            1 => Kind::Boolean,
            2 => Kind::Light,
            3 => Kind::Number,
            4 => Kind::Text,
            5 => Kind::Table,
            6 => Kind::Function,
            7 => Kind::Userdata,
            8 => Kind::Thread,
            _ => Kind::None,
        }
    }

    /// A number, or a text that is one, as Lua's arithmetic takes it.
    pub(crate) fn to_number(&self, index: i32) -> Option<f64> {
        // SAFETY: the state is open; neither changes the value.
        unsafe {
            (lua_isnumber(self.state(), index) != 0).then(|| lua_tonumber(self.state(), index))
        }
    }

    pub(crate) fn number(&self, index: i32) -> Option<f64> {
        (self.kind(index) == Kind::Number).then(|| self.to_number(index).unwrap_or(0.0))
    }

    pub(crate) fn boolean(&self, index: i32) -> bool {
        // SAFETY: the state is open.
        unsafe { lua_toboolean(self.state(), index) != 0 }
    }

    /// The bytes of a text, and of nothing else.
    #[inline]
    pub(crate) fn text(&self, index: i32) -> Option<&[u8]> {
        let mut len = 0;
        // SAFETY: a text has this address as long as it is on the stack, which this borrow prevents from changing. Only
        // a text is asked for, so nothing is converted.
        unsafe {
            if lua_type(self.state(), index) != 4 {
                return None;
            }
            let text = lua_tolstring(self.state(), index, &raw mut len);
            Some(std::slice::from_raw_parts(text.cast(), len))
        }
    }

    /// The bytes of a text, or of a number, which becomes text where it stands. Not for keys of a table that is walked.
    pub(crate) fn coerce_text(&mut self, index: i32) -> Option<&[u8]> {
        let mut len = 0;
        // SAFETY: as for `text`.
        unsafe {
            let text = lua_tolstring(self.state(), index, &raw mut len);
            (!text.is_null()).then(|| std::slice::from_raw_parts(text.cast(), len))
        }
    }

    /// Whether there is a text or a number.
    pub(crate) fn is_text_or_number(&self, index: i32) -> bool {
        matches!(self.kind(index), Kind::Text | Kind::Number)
    }

    /// Whether there is `cjson.null`.
    pub(crate) fn is_null(&self, index: i32) -> bool {
        // SAFETY: the state is open.
        self.kind(index) == Kind::Light && unsafe { lua_touserdata(self.state(), index).is_null() }
    }

    /// What tells one object from another.
    pub(crate) fn identity(&self, index: i32) -> usize {
        // SAFETY: the state is open; the address is not followed.
        unsafe { lua_topointer(self.state(), index) as usize }
    }

    /// Replaces the key on top by what the table at `index` has for it.
    pub(crate) fn get(&mut self, index: i32) {
        // SAFETY: Lua checks that it is a table; no metamethod is asked.
        unsafe { lua_rawget(self.state(), index) }
    }

    /// Pushes what the table at `index` has for a text.
    pub(crate) fn get_field(&mut self, index: i32, name: &str) {
        let index = self.absolute(index);
        self.push_text(name);
        self.get(index);
    }

    /// Pushes element `at` of the table at `index`.
    pub(crate) fn get_element(&mut self, index: i32, at: i32) {
        // SAFETY: as for `get`.
        unsafe { lua_rawgeti(self.state(), index, at) }
    }

    /// Takes a key and a value off the stack and sets them in the table at `index`, which is not read-only. A key that
    /// no table can have is dropped.
    pub(crate) fn set(&mut self, index: i32) {
        let is_key = match self.kind(-2) {
            Kind::Nil | Kind::None => false,
            Kind::Number => self.to_number(-2).is_some_and(|it| !it.is_nan()),
            _ => true,
        };
        assert!(!self.is_readonly(index), "a function in Rust sets into its own tables only");
        if is_key {
            // SAFETY: Lua checks that it is a table; keys that raise an error were sorted out.
            unsafe { lua_rawset(self.state(), index) }
        } else {
            self.pop(2);
        }
    }

    /// Takes the value off the stack and sets it as a field of the table at `index`.
    pub(crate) fn set_field(&mut self, index: i32, name: &str) {
        let index = self.absolute(index);
        self.push_text(name);
        self.insert(-2);
        self.set(index);
    }

    /// Takes the value off the stack and makes it element `at` of the table at `index`.
    pub(crate) fn set_element(&mut self, index: i32, at: i32) {
        assert!(!self.is_readonly(index), "a function in Rust sets into its own tables only");
        // SAFETY: Lua checks that it is a table, and a number is a key.
        unsafe { lua_rawseti(self.state(), index, at) }
    }

    /// Replaces the key on top by the next key and its value in the table at `index`; by nothing at the end. The key is
    /// nil or one that came from here, and the table is unchanged since.
    pub(crate) fn next(&mut self, index: i32) -> bool {
        // SAFETY: Lua checks that it is a table; callers leave keys as they came.
        unsafe { lua_next(self.state(), index) != 0 }
    }

    /// Takes the table on top off the stack and makes it the metatable of the value at `index`.
    pub(crate) fn set_metatable(&mut self, index: i32) {
        assert!(!self.is_readonly(index), "metatables are set while the sandbox is built");
        // SAFETY: Lua checks both.
        unsafe { lua_setmetatable(self.state(), index) };
    }

    /// Pushes the metatable of the value at `index`, if it has one.
    pub(crate) fn get_metatable(&mut self, index: i32) -> bool {
        // SAFETY: Lua checks the room.
        unsafe { lua_getmetatable(self.state(), index) != 0 }
    }

    pub(crate) fn set_readonly(&mut self, index: i32, is_readonly: bool) {
        // SAFETY: Lua checks that it is a table.
        unsafe { lua_setreadonly(self.state(), index, c_int::from(is_readonly)) }
    }

    pub(crate) fn is_readonly(&self, index: i32) -> bool {
        // SAFETY: the state is open; what is no table is not read-only.
        unsafe { lua_isreadonly(self.state(), index) != 0 }
    }

    /// Pushes memory that the collector owns, with `words` in it.
    pub(crate) fn push_words<const N: usize>(&mut self, words: [i32; N]) {
        // SAFETY: so much memory was asked for; Lua aligns it.
        unsafe {
            lua_newuserdata(self.state(), size_of_val(&words)).cast::<[i32; N]>().write(words);
        }
    }

    /// What [`Stack::push_words`] has pushed to `index`.
    pub(crate) fn words<const N: usize>(&mut self, index: i32) -> Option<&mut [i32; N]> {
        let is_words = self.kind(index) == Kind::Userdata;
        // SAFETY: userdata has the length that it was made with; bytes are integers whatever they are; and it lives as
        // long as it is on the stack or an upvalue.
        unsafe {
            if !is_words || lua_objlen(self.state(), index) != size_of::<[i32; N]>() {
                return None;
            }
            lua_touserdata(self.state(), index).cast::<[i32; N]>().as_mut()
        }
    }

    /// Takes the value off the stack and keeps it.
    pub(crate) fn keep(&mut self) -> Reference {
        // SAFETY: the registry is a table, and numbers are its keys.
        Reference(unsafe { luaL_ref(self.state(), REGISTRY) })
    }

    pub(crate) fn push_kept(&mut self, Reference(reference): Reference) {
        // SAFETY: as above.
        unsafe { lua_rawgeti(self.state(), REGISTRY, reference) }
    }

    pub(crate) fn forget(&mut self, Reference(reference): Reference) {
        // SAFETY: as above.
        unsafe { luaL_unref(self.state(), REGISTRY, reference) }
    }

    /// Compiles source and pushes the function, or the text of an error.
    pub(crate) fn load(&mut self, code: &[u8], name: &CStr) -> Status {
        // SAFETY: loading is protected, so no jump leaves it; the bytes are read before it returns.
        let status = unsafe {
            luaL_loadbuffer(self.state(), code.as_ptr().cast(), code.len(), name.as_ptr())
        };
        if status == 0 { Status::Done } else { Status::Failed }
    }

    /// Has the collector do something; what it changes lasts until the run ends.
    pub(crate) fn collector(&mut self, what: Collect, data: i32) -> i32 {
        if matches!(what, Collect::Stop | Collect::SetPause | Collect::SetStepMultiplier) {
            self.shared().is_collector_touched.set(!self.shared().context.get().is_null());
        }
        // SAFETY: collecting calls no code of scripts, and raises nothing.
        unsafe { lua_gc(self.state(), what as c_int, data) }
    }

    /// Calls a function as [`Lua::call`] does, from between two instructions of a script.
    pub(crate) fn call_within(&mut self, cx: &mut Context<'_>, args: usize) -> Status {
        let shared = self.shared();
        let before = shared.context.replace(ptr::from_mut(cx).cast());
        shared.is_in_rust.set(false);
        // SAFETY: as for `Lua::call`; the context is the one that was there, lent on.
        let status = unsafe { lua_pcall(self.state(), args as c_int, 1, 0) };
        let shared = self.shared();
        shared.is_in_rust.set(true);
        shared.context.set(before);
        if status == 0 { Status::Done } else { Status::Failed }
    }

    /// The name and line of the function at a level of calls; a line of 0 or less where it is none of the script's.
    pub(crate) fn frame(&self, level: i32) -> Option<(String, i32)> {
        let (mut name, mut line) = ([0; 64], 0);
        // SAFETY: the name is cut to what it may have, and ends in a zero byte.
        unsafe {
            let found =
                rubine_frame(self.state(), level, name.as_mut_ptr(), name.len(), &raw mut line);
            (found != 0)
                .then(|| (CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned(), line))
        }
    }

    /// Pushes local variable `number` of the function at a level of calls, and returns its name.
    pub(crate) fn push_local(&mut self, level: i32, number: i32) -> Option<String> {
        // SAFETY: a name lives as long as its function, and is copied at once.
        unsafe {
            let name = rubine_local(self.state(), level, number);
            (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
        }
    }

    /// The bytes that the interpreter uses exceed what it may while Rust was at work.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.shared().limit.get() < self.shared().used.get()
    }

    /// Bytes that the script may still use.
    pub(crate) fn room(&self) -> usize {
        /// What one text may have where there is no limit.
        const TEXT_BYTES_MAX: usize = 512 * 1024 * 1024;
        self.shared().limit.get().saturating_sub(self.shared().used.get()).min(TEXT_BYTES_MAX)
    }

    /// Ends the run: the error that is raised next is not caught by the script.
    pub(crate) fn stop(&mut self) {
        let shared = self.shared();
        shared.is_stopping.set(true);
        // SAFETY: both are states of this interpreter.
        unsafe {
            rubine_watch(self.state(), 1, 0);
            rubine_watch(shared.main.get(), 1, 0);
        }
    }

    fn absolute(&self, index: i32) -> i32 {
        if GLOBALS < index && index < 0 { self.top() + 1 + index } else { index }
    }
}

/// Appends `value` as C's `%.*g` writes it.
pub(crate) fn write_general(out: &mut Vec<u8>, precision: i32, value: f64) {
    let mut buffer = [0_u8; 64];
    // SAFETY: it writes no more than there is room for, and says how much.
    let len =
        unsafe { rubine_format_double(buffer.as_mut_ptr().cast(), buffer.len(), precision, value) };
    out.extend_from_slice(&buffer[..usize::try_from(len).unwrap_or(0).min(buffer.len() - 1)]);
}

/// The number at the start of `text`, as C's `strtod` reads it, and how long it is. The text has a zero byte.
pub(crate) fn parse_double(text: &CStr) -> (f64, usize) {
    let mut len = 0;
    // SAFETY: the text ends in a zero byte, where reading ends.
    let value = unsafe { rubine_parse_double(text.as_ptr(), &raw mut len) };
    (value, len)
}

/// # Safety
/// The state is one of an interpreter that [`Lua::new`] has made, and lives as long as what is returned is used.
unsafe fn shared_of<'a>(state: *mut State) -> &'a Shared {
    let mut data = ptr::null_mut();
    // SAFETY: the caller says that the state is open; its allocator's data is a `Shared`.
    unsafe {
        lua_getallocf(state, &raw mut data);
        &*data.cast::<Shared>()
    }
}

unsafe extern "C" fn allocate(
    data: *mut c_void,
    block: *mut c_void,
    old_bytes: usize,
    new_bytes: usize,
) -> *mut c_void {
    // SAFETY: Lua hands over what `lua_newstate` was given, blocks that came from here, and their true sizes.
    unsafe {
        let shared = &*data.cast::<Shared>();
        let old_bytes = if block.is_null() { 0 } else { old_bytes };
        let used = shared.used.get() - old_bytes + new_bytes;
        let grows = old_bytes < new_bytes;
        if grows && !shared.is_in_rust.get() && shared.soft_limit.get() < used {
            if shared.limit.get() < used {
                return ptr::null_mut();
            }
            shared.is_collection_due.set(true);
            shared.ask_for_tick();
        }
        if grows {
            shared.note_work(new_bytes - old_bytes);
        }
        shared.used.set(used);
        let layout = |bytes| Layout::from_size_align_unchecked(bytes, ALIGNMENT);
        match (block.is_null(), new_bytes) {
            (true, 0) => ptr::null_mut(),
            (true, _) => or_abort(alloc(layout(new_bytes)), layout(new_bytes)),
            (false, 0) => {
                dealloc(block.cast(), layout(old_bytes));
                ptr::null_mut()
            }
            (false, _) => {
                or_abort(realloc(block.cast(), layout(old_bytes), new_bytes), layout(new_bytes))
            }
        }
    }
}

/// As everywhere in this program, the process ends where the system has no memory.
fn or_abort(block: *mut u8, layout: Layout) -> *mut c_void {
    if block.is_null() {
        std::alloc::handle_alloc_error(layout);
    }
    block.cast()
}

/// C calls it for a function in Rust. It returns how many results there are, or a code of `rubine.h`.
#[unsafe(no_mangle)]
unsafe extern "C" fn rubine_dispatch(state: *mut State, function: *const c_void) -> c_int {
    // SAFETY: C hands over the address that `push_closure` was given, and the state that runs. The context is that of
    // the call, which waits and does not touch it.
    unsafe {
        let shared = shared_of(state);
        let function = std::mem::transmute::<*const c_void, Function>(function);
        let mut stack = Stack(NonNull::new_unchecked(state));
        shared.is_in_rust.set(true);
        let context = shared.context.get().cast::<Context<'_>>().as_mut();
        let mut result = match context {
            Some(_) if shared.is_stopping.get() => {
                stack.push_nil();
                Err(Raise::Value)
            }
            Some(cx) => function(&mut stack, cx),
            None => unreachable!("a script runs within a call"),
        };
        if shared.soft_limit.get() < shared.used.get() {
            shared.collect(&mut stack);
            if stack.is_over_limit() {
                stack.push_text("not enough memory");
                result = Err(Raise::Value);
            }
        }
        shared.is_in_rust.set(false);
        match result {
            Ok(count) => count as c_int,
            Err(Raise::Value) => -1,
            Err(Raise::Error) => -2,
            Err(Raise::Argument(number)) => {
                shared.argument.set(number);
                -3
            }
        }
    }
}

/// The argument that is wrong.
#[unsafe(no_mangle)]
unsafe extern "C" fn rubine_argument(state: *mut State) -> c_int {
    // SAFETY: C hands over the state that runs.
    unsafe { shared_of(state).argument.get() }
}

/// C has looked through a long text.
#[unsafe(no_mangle)]
unsafe extern "C" fn rubine_worked(state: *mut State, bytes: usize) {
    // SAFETY: C hands over the state that runs.
    unsafe { shared_of(state).note_work(bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rubine_is_stopping(state: *mut State) -> c_int {
    // SAFETY: as above.
    c_int::from(unsafe { shared_of(state).is_stopping.get() })
}

/// C calls it between instructions. What it returns, if not 0, says that the value on top is to be raised.
#[unsafe(no_mangle)]
unsafe extern "C" fn rubine_tick(state: *mut State, is_line: c_int) -> c_int {
    // SAFETY: as for `rubine_dispatch`.
    unsafe {
        let shared = shared_of(state);
        let Some(cx) = shared.context.get().cast::<Context<'_>>().as_mut() else { return 0 };
        let mut stack = Stack(NonNull::new_unchecked(state));
        shared.is_in_rust.set(true);
        if shared.is_collection_due.replace(false) {
            shared.collect(&mut stack);
        }
        if shared.is_tick_due.replace(false) {
            let count = if shared.is_stopping.get() { 1 } else { TICK_INSTRUCTIONS };
            rubine_watch(state, count, c_int::from(shared.watches_lines.get()));
            rubine_watch(shared.main.get(), count, c_int::from(shared.watches_lines.get()));
        }
        let tick = if shared.is_stopping.get() {
            stack.push_nil();
            Tick::Raise
        } else {
            cx.tick(&mut stack, is_line != 0)
        };
        shared.is_in_rust.set(false);
        c_int::from(tick == Tick::Raise)
    }
}
