//! Libraries of functions: what FUNCTION keeps and lists, and `register_function`, by which their code declares them. An
//! immutable set of libraries is swapped whole; interpreters compare its number before they run anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use imbl::OrdMap;
use parking_lot::Mutex;

use crate::api::raise;
use crate::error::ScriptError;
use crate::raw::{Kind, Return, Stack};
use crate::run::{Context, Purpose};
use crate::shebang::{FLAGS, ScriptFlags, is_name};

/// A function of a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub name: Vec<u8>,
    pub description: Option<Vec<u8>>,
    pub flags: ScriptFlags,
}

/// A library that has been loaded once, so its code is known to work.
#[derive(Debug, PartialEq, Eq)]
pub struct Library {
    pub name: Vec<u8>,
    /// All of its text, with the shebang.
    pub code: Vec<u8>,
    /// In the order in which they were registered.
    pub functions: Vec<Function>,
    pub(crate) code_start: usize,
}

/// All libraries at one moment. One more takes no time in proportion to those that are there.
#[derive(Clone, Debug, Default)]
pub struct Libraries {
    by_name: OrdMap<Vec<u8>, Arc<Library>>,
    /// By names in small letters: a function is found however its name is written.
    functions: OrdMap<Vec<u8>, (Arc<Library>, usize)>,
}

/// What becomes of libraries that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// They stay, and one of a name that comes again is an error.
    Append,
    /// Those whose names come again go.
    Replace,
    /// All go.
    Flush,
}

impl Libraries {
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Library>> {
        self.by_name.values()
    }

    pub fn library_count(&self) -> usize {
        self.by_name.len()
    }

    pub fn function_count(&self) -> usize {
        self.functions.len()
    }

    pub fn library(&self, name: &[u8]) -> Option<&Arc<Library>> {
        self.by_name.get(name)
    }

    /// A function with its library, and which of that it is.
    pub fn function(&self, name: &[u8]) -> Option<(&Arc<Library>, usize)> {
        let found = match self.functions.get(name) {
            Some(found) => found,
            None => self.functions.get(&name.to_ascii_lowercase())?,
        };
        Some((&found.0, found.1))
    }

    /// What the code takes, about.
    pub fn memory(&self) -> usize {
        let of_function = |it: &Function| {
            size_of::<Function>() + it.name.len() * 2 + it.description.as_ref().map_or(0, Vec::len)
        };
        let of_library = |it: &Arc<Library>| {
            let functions: usize = it.functions.iter().map(of_function).sum();
            size_of::<Library>() + it.name.len() * 2 + it.code.len() + functions
        };
        self.by_name.values().map(of_library).sum()
    }

    /// FUNCTION LOAD: these libraries and one more.
    pub fn with(&self, library: Library, policy: Policy) -> Result<Self, ScriptError> {
        if policy == Policy::Append && self.by_name.contains_key(&library.name) {
            let text = [b"ERR Library '", &library.name[..], b"' already exists"].concat();
            return Err(ScriptError::Compile(text));
        }
        self.joined(vec![Arc::new(library)], Policy::Replace)
    }

    /// FUNCTION DELETE: these libraries without one.
    pub fn without(&self, name: &[u8]) -> Result<Self, ScriptError> {
        if !self.by_name.contains_key(name) {
            return Err(ScriptError::text("ERR Library not found"));
        }
        let mut libraries = self.clone();
        libraries.remove(name);
        Ok(libraries)
    }

    /// FUNCTION RESTORE: these libraries and others, or nothing of them.
    pub fn joined(&self, others: Vec<Arc<Library>>, policy: Policy) -> Result<Self, ScriptError> {
        let mut libraries = match policy {
            Policy::Flush => Self::default(),
            Policy::Append | Policy::Replace => self.clone(),
        };
        for other in &others {
            if policy == Policy::Append && libraries.by_name.contains_key(&other.name) {
                let text = [b"ERR Library ", &other.name[..], b" already exists"].concat();
                return Err(ScriptError::Compile(text));
            }
            libraries.remove(&other.name);
        }
        for other in others {
            libraries.insert(other)?;
        }
        Ok(libraries)
    }

    fn insert(&mut self, library: Arc<Library>) -> Result<(), ScriptError> {
        for (index, function) in library.functions.iter().enumerate() {
            let name = function.name.to_ascii_lowercase();
            if self.functions.contains_key(&name) {
                let text = [b"ERR Function ", &function.name[..], b" already exists"].concat();
                return Err(ScriptError::Compile(text));
            }
            self.functions.insert(name, (Arc::clone(&library), index));
        }
        self.by_name.insert(library.name.clone(), library);
        Ok(())
    }

    fn remove(&mut self, name: &[u8]) {
        if let Some(library) = self.by_name.remove(name) {
            for function in &library.functions {
                self.functions.remove(&function.name.to_ascii_lowercase());
            }
        }
    }
}

/// The libraries of a server.
#[derive(Debug, Default)]
pub struct LibraryRegistry {
    current: Mutex<Arc<Libraries>>,
    generation: AtomicU64,
    /// The generation that the last flush has begun.
    flushed_at: AtomicU64,
}

impl LibraryRegistry {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts up when the libraries change.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub fn current(&self) -> Arc<Libraries> {
        Arc::clone(&self.current.lock())
    }

    /// Puts what `change` makes of the libraries in their place.
    pub fn change<E>(
        &self,
        change: impl FnOnce(&Libraries) -> Result<Libraries, E>,
    ) -> Result<(), E> {
        let mut current = self.current.lock();
        *current = Arc::new(change(&current)?);
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// FUNCTION FLUSH
    pub fn flush(&self) {
        *self.current.lock() = Arc::default();
        let generation = self.generation.fetch_add(1, Ordering::Release) + 1;
        self.flushed_at.fetch_max(generation, Ordering::Release);
    }

    /// The generation that the last flush has begun; 0 if there was none.
    pub(crate) fn flushed_at(&self) -> u64 {
        self.flushed_at.load(Ordering::Acquire)
    }
}

/// Checks what a library has registered.
pub(crate) fn check_functions(functions: &[Function]) -> Result<(), ScriptError> {
    for (index, function) in functions.iter().enumerate() {
        if !is_name(&function.name) {
            return Err(ScriptError::text(
                "ERR Function names can only contain letters, numbers, or underscores(_) and must \
                 be at least one character long",
            ));
        }
        if functions[..index].iter().any(|it| it.name == function.name) {
            return Err(ScriptError::text("ERR Function already exists in the library"));
        }
    }
    if functions.is_empty() {
        return Err(ScriptError::text("ERR No functions registered"));
    }
    Ok(())
}

/// `redis.register_function`
pub(crate) fn register(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    /// Of one library.
    const FUNCTIONS_MAX: usize = 100_000;
    if cx.purpose != Purpose::Load {
        return raise(
            stack,
            "ERR server.register_function can only be called on FUNCTION LOAD command",
        );
    }
    if FUNCTIONS_MAX <= cx.registered.len() {
        return raise(stack, "ERR too many functions in one library");
    }
    let result = match stack.top() {
        1 => read_named(stack),
        2 => read_positional(stack),
        _ => Err("ERR wrong number of arguments to server.register_function"),
    };
    match result {
        // The function itself is on top.
        Ok(function) => {
            let reference = stack.keep();
            cx.registered.push((function, reference));
            Ok(0)
        }
        Err(text) => raise(stack, text),
    }
}

fn read_positional(stack: &mut Stack) -> Result<Function, &'static str> {
    if !stack.is_text_or_number(1) {
        return Err("ERR first argument to server.register_function must be a string");
    }
    if stack.kind(2) != Kind::Function {
        return Err("ERR second argument to server.register_function must be a function");
    }
    let name = text_of(stack, 1);
    Ok(Function { name, description: None, flags: ScriptFlags::empty() })
}

/// Reads a table of named arguments, and pushes the function in it.
fn read_named(stack: &mut Stack) -> Result<Function, &'static str> {
    if stack.kind(1) != Kind::Table {
        return Err("ERR calling server.register_function with a single argument is only \
                    applicable to Lua table (representing named arguments).");
    }
    let (mut name, mut description, mut flags) = (None, None, ScriptFlags::empty());
    // Where the function will be.
    stack.push_nil();
    stack.push_nil();
    while stack.next(1) {
        // Numbers count as strings here.
        if !stack.is_text_or_number(-2) {
            return Err("ERR named argument key given to server.register_function is not a string");
        }
        let key = text_of(stack, -2).to_ascii_lowercase();
        match &key[..] {
            b"function_name" => {
                if !stack.is_text_or_number(-1) {
                    return Err(
                        "ERR function_name argument given to server.register_function must \
                                be a string",
                    );
                }
                name = Some(text_of(stack, -1));
            }
            b"description" => {
                if !stack.is_text_or_number(-1) {
                    return Err("ERR description argument given to server.register_function must \
                                be a string");
                }
                description = Some(text_of(stack, -1));
            }
            b"callback" => {
                if stack.kind(-1) != Kind::Function {
                    return Err("ERR callback argument given to server.register_function must be \
                                a function");
                }
                stack.push_copy(-1);
                stack.replace(2);
            }
            b"flags" => {
                if stack.kind(-1) != Kind::Table {
                    return Err("ERR flags argument to server.register_function must be a table \
                                representing function flags");
                }
                flags = read_flags(stack).ok_or("ERR unknown flag given")?;
            }
            _ => return Err("ERR unknown argument given to server.register_function"),
        }
        stack.pop(1);
    }
    let name = name.ok_or("ERR server.register_function must get a function name argument")?;
    if stack.kind(2) != Kind::Function {
        return Err("ERR server.register_function must get a callback argument");
    }
    Ok(Function { name, description, flags })
}

/// The flags in the table on top, which stays.
fn read_flags(stack: &mut Stack) -> Option<ScriptFlags> {
    let mut flags = ScriptFlags::empty();
    for index in 1.. {
        stack.get_element(-1, index);
        let is_end = stack.kind(-1) == Kind::Nil;
        let name = text_of(stack, -1);
        stack.pop(1);
        if is_end {
            break;
        }
        let is_flag = |(it, _): &&(&str, ScriptFlags)| it.as_bytes().eq_ignore_ascii_case(&name);
        flags |= FLAGS.iter().find(is_flag)?.1;
    }
    Some(flags)
}

/// The text of a value; empty if it is none.
fn text_of(stack: &mut Stack, index: i32) -> Vec<u8> {
    stack.push_copy(index);
    let text = stack.coerce_text(-1).map_or(Vec::new(), <[u8]>::to_vec);
    stack.pop(1);
    text
}
