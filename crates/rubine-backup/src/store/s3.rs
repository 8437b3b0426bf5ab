//! Backups in a bucket of an object store that speaks S3. Requests run on a thread of their own, with one runtime; whoever
//! asks waits for the answer, within bounds. Large objects go in parts, and come in ranges.

mod access;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::HttpError;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore as _, ObjectStoreExt as _, PutMode,
    RetryConfig,
};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{Object, Store, Upload, cut_off};
use crate::error::StoreError;

pub use self::access::Access;

/// The smallest part that S3 takes is 5 MB.
const PART_BYTES: usize = 8 << 20;
/// Parts grow by `PART_BYTES` after each so many, so that an object of several TB has no more than S3 allows, 10,000.
const PARTS_BEFORE_GROWTH: usize = 1000;
/// Parts on their way at the same time.
const PARTS_AHEAD_MAX: usize = 3;
/// What is asked for at once of an object that is read.
const RANGE_BYTES: u64 = 8 << 20;
/// Objects that a list may have.
const LISTED_MAX: usize = 1_000_000;
/// How often a request is tried again.
const RETRIES_MAX: usize = 4;
/// What is shown of an error.
const ERROR_CHARS_MAX: usize = 400;

/// A bucket, and what the names in it begin with.
pub struct Bucket {
    shared: Arc<Shared>,
}

struct Shared {
    store: AmazonS3,
    prefix: String,
    handle: Handle,
    /// Dropped with it, it ends the thread of the runtime.
    _end: oneshot::Sender<()>,
}

impl Bucket {
    /// Starts the thread that talks to it. Nothing is asked of it yet.
    pub fn open(bucket: &str, prefix: &str, access: &Access) -> Result<Self, StoreError> {
        let fail =
            |error: io::Error| StoreError::Failed(format!("no thread can be started: {error}"));
        // It is the process's own from here on, if it has none.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
        let store = {
            let _entered = runtime.enter();
            builder(bucket, access).build().map_err(|error| refusal(&error))?
        };
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let run = move || {
            // It ends when the sender is gone.
            let _ = runtime.block_on(ended);
        };
        std::thread::Builder::new().name("backup s3".to_owned()).spawn(run).map_err(fail)?;
        let prefix = prefix.to_owned();
        Ok(Self { shared: Arc::new(Shared { store, prefix, handle, _end: end }) })
    }
}

fn builder(bucket: &str, access: &Access) -> AmazonS3Builder {
    let timeout = Duration::from_secs(access.timeout_seconds.max(1).into());
    let options = ClientOptions::new()
        .with_timeout(timeout)
        .with_connect_timeout(timeout.min(Duration::from_secs(10)))
        .with_allow_http(access.endpoint().is_some_and(|it| it.starts_with("http://")));
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: RETRIES_MAX,
        retry_timeout: timeout * 2,
    };
    // With a key of its own, what the environment says of another one is left alone.
    let is_alone = !access.access_key.is_empty();
    let builder = if is_alone { AmazonS3Builder::new() } else { AmazonS3Builder::from_env() };
    let builder = builder.with_client_options(options).with_retry(retry);
    // Not every store knows how to remove many at once.
    access.apply(builder).with_bucket_name(bucket).with_disable_bulk_delete(true)
}

impl Shared {
    fn path(&self, name: &str) -> Path {
        if self.prefix.is_empty() {
            Path::from(name)
        } else {
            Path::from(format!("{}/{name}", self.prefix))
        }
    }

    /// Begins a request; the answer comes through the channel.
    fn begin<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Receiver<Result<T, StoreError>> {
        let (sender, receiver) = sync_channel(1);
        self.handle.spawn(async move {
            // Whoever asked may have given up.
            let _ = sender.send(request.await.map_err(|error| refusal(&error)));
        });
        receiver
    }

    fn wait<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, StoreError> {
        await_answer(&self.begin(request))
    }
}

/// Where an object cannot be missing, the bucket is.
fn no_bucket(error: StoreError) -> StoreError {
    match error {
        StoreError::Missing => StoreError::Failed("there is no such bucket".to_owned()),
        other => other,
    }
}

fn await_answer<T>(answer: &Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
    answer.recv().unwrap_or_else(|_| Err(StoreError::Failed("the request was given up".to_owned())))
}

/// What an error means here.
fn refusal(error: &Error) -> StoreError {
    match error {
        Error::NotFound { .. } => return StoreError::Missing,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => return StoreError::Exists,
        _ => {}
    }
    let mut text: String = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    let mut is_network = false;
    while let Some(it) = cause {
        is_network |= it.is::<HttpError>();
        let more = it.to_string();
        if is_network && !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = it.source();
    }
    if let Some((at, _)) = text.char_indices().nth(ERROR_CHARS_MAX) {
        text.truncate(at);
    }
    // What is said of a list comes without a kind.
    let names = |codes: &[&str]| codes.iter().any(|it| text.contains(it));
    if names(&["NoSuchBucket"]) {
        return StoreError::Failed("there is no such bucket".to_owned());
    }
    let is_refused =
        names(&["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403 Forbidden"]);
    match error {
        _ if is_refused => StoreError::Refused(text),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => StoreError::Refused(text),
        _ if is_network => StoreError::Unreachable(text),
        _ => StoreError::Failed(text),
    }
}

impl Store for Bucket {
    fn put_new(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let (shared, path) = (Arc::clone(&self.shared), self.shared.path(name));
        let content = Bytes::copy_from_slice(content);
        let put = self.shared.wait(async move {
            let create = PutMode::Create.into();
            match shared.store.put_opts(&path, content.clone().into(), create).await {
                // A store without conditions: names are used once, so looking before is nearly as good.
                Err(error) if is_unknown(&error) => match shared.store.head(&path).await {
                    Ok(_) => Err(Error::AlreadyExists {
                        path: path.to_string(),
                        source: Box::new(error),
                    }),
                    Err(Error::NotFound { .. }) => shared.store.put(&path, content.into()).await,
                    Err(error) => Err(error),
                },
                result => result,
            }
        });
        put.map(drop).map_err(no_bucket)
    }

    fn begin(&self, name: &str) -> Result<Box<dyn Upload>, StoreError> {
        let (shared, path) = (Arc::clone(&self.shared), self.shared.path(name));
        let begun = self.shared.wait(async move { shared.store.create_multipart(&path).await });
        let upload_id = begun.map_err(no_bucket)?;
        Ok(Box::new(Multipart {
            shared: Arc::clone(&self.shared),
            path: self.shared.path(name),
            upload_id,
            buffer: BytesMut::new(),
            parts: Vec::new(),
            waiting: VecDeque::new(),
            is_done: false,
        }))
    }

    fn abort(&self, name: &str, token: &str) -> Result<(), StoreError> {
        let (shared, path) = (Arc::clone(&self.shared), self.shared.path(name));
        let token = token.to_owned();
        match self.shared.wait(async move { shared.store.abort_multipart(&path, &token).await }) {
            Err(StoreError::Missing) => Ok(()),
            result => result,
        }
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        let (shared, path) = (Arc::clone(&self.shared), self.shared.path(name));
        let size = self.shared.wait(async move { shared.store.head(&path).await })?.size;
        let mut ranges = Ranges {
            shared: Arc::clone(&self.shared),
            path: self.shared.path(name),
            size,
            asked_up_to: 0,
            waiting: VecDeque::new(),
            content: Bytes::new(),
        };
        ranges.ask_ahead();
        Ok(Box::new(ranges))
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError> {
        let (shared, path) = (Arc::clone(&self.shared), self.shared.path(folder));
        let strip = if self.shared.prefix.is_empty() { 0 } else { self.shared.prefix.len() + 1 };
        let listed = self.shared.wait(async move {
            let mut objects = Vec::new();
            let mut stream = shared.store.list(Some(&path));
            while let Some(found) = stream.try_next().await? {
                if LISTED_MAX <= objects.len() {
                    let source =
                        format!("there are more than {LISTED_MAX} objects in {path}").into();
                    return Err(Error::Generic { store: "S3", source });
                }
                objects.push(Object {
                    name: found.location.as_ref().get(strip..).unwrap_or_default().to_owned(),
                    bytes: found.size,
                    modified_at_ms: found.last_modified.timestamp_millis(),
                });
            }
            Ok(objects)
        });
        let mut objects = listed.map_err(no_bucket)?;
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        let (shared, path) = (Arc::clone(&self.shared), self.shared.path(name));
        match self.shared.wait(async move { shared.store.delete(&path).await }) {
            Err(StoreError::Missing) => Ok(()),
            result => result,
        }
    }
}

/// Whether a store says that it does not know what it was asked for.
fn is_unknown(error: &Error) -> bool {
    let text = error.to_string();
    matches!(error, Error::NotImplemented { .. } | Error::NotSupported { .. })
        || (matches!(error, Error::Generic { .. }) && text.contains("NotImplemented"))
}

/// An object that is uploaded in parts.
struct Multipart {
    shared: Arc<Shared>,
    path: Path,
    upload_id: String,
    buffer: BytesMut,
    parts: Vec<PartId>,
    /// Parts that are on their way, in order.
    waiting: VecDeque<Receiver<Result<PartId, StoreError>>>,
    is_done: bool,
}

impl Multipart {
    fn part_bytes(&self) -> usize {
        let begun = self.parts.len() + self.waiting.len();
        PART_BYTES * (1 + begun / PARTS_BEFORE_GROWTH)
    }

    fn send_part(&mut self, content: Bytes) -> Result<(), StoreError> {
        while PARTS_AHEAD_MAX <= self.waiting.len() {
            self.await_part()?;
        }
        let index = self.parts.len() + self.waiting.len();
        let (shared, path, id) =
            (Arc::clone(&self.shared), self.path.clone(), self.upload_id.clone());
        let part = async move { shared.store.put_part(&path, &id, index, content.into()).await };
        self.waiting.push_back(self.shared.begin(part));
        Ok(())
    }

    fn await_part(&mut self) -> Result<(), StoreError> {
        if let Some(answer) = self.waiting.pop_front() {
            self.parts.push(await_answer(&answer)?);
        }
        Ok(())
    }
}

impl Upload for Multipart {
    fn token(&self) -> String {
        self.upload_id.clone()
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let part_bytes = self.part_bytes();
            let room = part_bytes.saturating_sub(self.buffer.len());
            let (now, rest) = bytes.split_at(bytes.len().min(room));
            self.buffer.extend_from_slice(now);
            bytes = rest;
            if part_bytes <= self.buffer.len() {
                let part = std::mem::take(&mut self.buffer).freeze();
                self.send_part(part)?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        let last = std::mem::take(&mut self.buffer).freeze();
        if !last.is_empty() || (self.parts.is_empty() && self.waiting.is_empty()) {
            self.send_part(last)?;
        }
        while !self.waiting.is_empty() {
            self.await_part()?;
        }
        let (shared, path, id) =
            (Arc::clone(&self.shared), self.path.clone(), self.upload_id.clone());
        let parts = std::mem::take(&mut self.parts);
        self.shared
            .wait(async move { shared.store.complete_multipart(&path, &id, parts).await })?;
        self.is_done = true;
        Ok(())
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        // Parts that are on their way would make the store keep what was aborted.
        while let Some(answer) = self.waiting.pop_front() {
            let _ = await_answer(&answer);
        }
        let (shared, path, id) =
            (Arc::clone(&self.shared), self.path.clone(), self.upload_id.clone());
        let aborted =
            self.shared.wait(async move { shared.store.abort_multipart(&path, &id).await });
        if let Err(error) = aborted {
            tracing::warn!(
                "Backup: the unfinished upload of {} could not be aborted: {error}",
                self.path
            );
        }
    }
}

/// Reads an object range by range, one ahead.
struct Ranges {
    shared: Arc<Shared>,
    path: Path,
    size: u64,
    asked_up_to: u64,
    waiting: VecDeque<Receiver<Result<Bytes, StoreError>>>,
    content: Bytes,
}

impl Ranges {
    fn ask_ahead(&mut self) {
        while self.waiting.len() < 2 && self.asked_up_to < self.size {
            let range = self.asked_up_to..self.size.min(self.asked_up_to + RANGE_BYTES);
            self.asked_up_to = range.end;
            let (shared, path) = (Arc::clone(&self.shared), self.path.clone());
            let length = range.end - range.start;
            let part = async move {
                let content = shared.store.get_range(&path, range).await?;
                if content.len() as u64 != length {
                    return Err(Error::Generic { store: "S3", source: Box::new(cut_off()) });
                }
                Ok(content)
            };
            self.waiting.push_back(self.shared.begin(part));
        }
    }
}

impl Read for Ranges {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.content.is_empty() {
            let Some(answer) = self.waiting.pop_front() else { return Ok(0) };
            self.content = await_answer(&answer)?;
            self.ask_ahead();
        }
        let count = out.len().min(self.content.len());
        out[..count].copy_from_slice(&self.content.split_to(count));
        Ok(count)
    }
}
