//! A store in memory that fails as it is told, for tests: at any request, before or after it was done, or slowly.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Arc;

use parking_lot::Mutex;
use rubine_base::clock::unix_millis;

use super::{Object, Store, Upload};
use crate::error::StoreError;

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is done.
    Before,
    /// It is done, and the answer is lost.
    After,
}

#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) objects: BTreeMap<String, (Vec<u8>, i64)>,
    pub(crate) unfinished: BTreeMap<String, Vec<u8>>,
    /// Requests so far.
    pub(crate) requests: usize,
    /// The request of this number fails, and those that follow it if `all_after`.
    pub(crate) fails_at: Option<(usize, Fault)>,
    pub(crate) all_after: bool,
    /// So many bytes fit in.
    pub(crate) room: Option<usize>,
    /// Objects that were removed.
    pub(crate) removed: Vec<String>,
}

#[derive(Clone, Default)]
pub(crate) struct Faulty(pub(crate) Arc<Mutex<Memory>>);

fn lost() -> StoreError {
    StoreError::Unreachable("the line is cut".to_owned())
}

impl Faulty {
    /// Does something, or fails as it was told.
    fn request<T>(
        &self,
        run: impl FnOnce(&mut Memory) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut memory = self.0.lock();
        memory.requests += 1;
        let number = memory.requests;
        let all_after = memory.all_after;
        let fault = memory.fails_at.filter(|it| it.0 == number || (all_after && it.0 < number));
        match fault.map(|it| it.1) {
            None => run(&mut memory),
            Some(Fault::Before) => Err(lost()),
            Some(Fault::After) => {
                let _ = run(&mut memory);
                Err(lost())
            }
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().objects.keys().cloned().collect()
    }

    /// One with the same objects, that does not fail.
    pub(crate) fn copy(&self) -> Self {
        let objects = self.0.lock().objects.clone();
        Self(Arc::new(Mutex::new(Memory { objects, ..Memory::default() })))
    }

    /// Changes an object, as nobody should.
    pub(crate) fn spoil(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.0.lock().objects.get_mut(name).expect("it is there").0);
    }
}

impl Memory {
    fn put(&mut self, name: &str, content: Vec<u8>) -> Result<(), StoreError> {
        let used: usize = self.objects.values().map(|it| it.0.len()).sum();
        if self.room.is_some_and(|room| room < used + content.len()) {
            return Err(StoreError::Failed("No space left on device".to_owned()));
        }
        if self.objects.contains_key(name) {
            return Err(StoreError::Exists);
        }
        self.objects.insert(name.to_owned(), (content, unix_millis()));
        Ok(())
    }
}

impl Store for Faulty {
    fn put_new(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        self.request(|memory| memory.put(name, content.to_vec()))
    }

    fn begin(&self, name: &str) -> Result<Box<dyn Upload>, StoreError> {
        let token = self.request(|memory| {
            let token = format!("{}", memory.requests);
            memory.unfinished.insert(token.clone(), Vec::new());
            Ok(token)
        })?;
        Ok(Box::new(Unfinished { store: self.clone(), name: name.to_owned(), token }))
    }

    fn abort(&self, _name: &str, token: &str) -> Result<(), StoreError> {
        self.request(|memory| {
            memory.unfinished.remove(token);
            Ok(())
        })
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        let content = self.request(|memory| {
            let found = memory.objects.get(name).ok_or(StoreError::Missing)?;
            Ok(found.0.clone())
        })?;
        Ok(Box::new(Cursor::new(content)))
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError> {
        self.request(|memory| {
            let of = |(name, (content, modified_at_ms)): (&String, &(Vec<u8>, i64))| Object {
                name: name.clone(),
                bytes: content.len() as u64,
                modified_at_ms: *modified_at_ms,
            };
            let above = format!("{folder}/");
            Ok(memory.objects.iter().filter(|it| it.0.starts_with(&above)).map(of).collect())
        })
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.request(|memory| {
            if memory.objects.remove(name).is_some() {
                memory.removed.push(name.to_owned());
            }
            Ok(())
        })
    }
}

struct Unfinished {
    store: Faulty,
    name: String,
    token: String,
}

impl Upload for Unfinished {
    fn token(&self) -> String {
        self.token.clone()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.store.request(|memory| {
            let content = memory.unfinished.get_mut(&self.token).ok_or(StoreError::Missing)?;
            content.extend_from_slice(bytes);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> Result<(), StoreError> {
        self.store.request(|memory| {
            let content = memory.unfinished.remove(&self.token).ok_or(StoreError::Missing)?;
            memory.put(&self.name, content)
        })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.store.0.lock().unfinished.contains_key(&self.token) {
            let _ = self.store.abort(&self.name, &self.token);
        }
    }
}
