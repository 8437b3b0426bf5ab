//! Why something about backups did not go well. A store that cannot be reached, one that refuses, and one that has nothing are
//! three different things: whoever takes the one for the other starts empty.

use std::io;

use thiserror::Error;

/// What a store says instead of doing what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    #[error("it is not there")]
    Missing,
    #[error("it is there already")]
    Exists,
    #[error("access is refused: {0}")]
    Refused(String),
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    #[error("{0}")]
    Failed(String),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{AlreadyExists, NotFound, PermissionDenied, ReadOnlyFilesystem};
        if let Some(inner) = error.get_ref().and_then(|it| it.downcast_ref::<Self>()) {
            return inner.clone();
        }
        match error.kind() {
            NotFound => Self::Missing,
            AlreadyExists => Self::Exists,
            PermissionDenied | ReadOnlyFilesystem => Self::Refused(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        let kind = match error {
            StoreError::Missing => io::ErrorKind::NotFound,
            StoreError::Exists => io::ErrorKind::AlreadyExists,
            StoreError::Refused(_) => io::ErrorKind::PermissionDenied,
            StoreError::Unreachable(_) | StoreError::Failed(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Why a backup was not made, verified, removed or restored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BackupError {
    #[error("no backup-url is configured")]
    NotConfigured,
    /// The server has nothing yet that is worth keeping.
    #[error("nothing is uploaded: {0}")]
    NotNow(String),
    #[error("{0} is under way already")]
    Busy(&'static str),
    #[error("the data could not be written out: {0}")]
    Image(String),
    #[error("{name}: {error}")]
    Store { name: String, error: StoreError },
    #[error("there is no backup in {0}")]
    NoBackup(String),
    #[error("there is no backup with the id {0}")]
    NoSuchBackup(String),
    #[error("{name} is damaged: {reason}")]
    Damaged { name: String, reason: String },
    /// What is there cannot be what was asked for.
    #[error("{0}")]
    Unfit(String),
    #[error("the server ends")]
    Ending,
}

impl BackupError {
    /// What a store said of an object.
    pub fn of(name: &str) -> impl FnOnce(StoreError) -> Self {
        let name = name.to_owned();
        move |error| Self::Store { name, error }
    }

    pub(crate) fn damaged(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::Damaged { name: name.to_owned(), reason: reason.to_string() }
    }
}
