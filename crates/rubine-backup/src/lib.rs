//! Backups: what is kept in a folder or a bucket, when it is made, how long it is kept, how it is verified and read back.
//! Knows no client, no worker and no command: it asks the server for images and its journal through [`Source`], and works on
//! a [`Store`], which tests let fail. What is decided about backups (names, manifests, what is suspect, what is kept, what is
//! due) are pure functions.

#![forbid(unsafe_code)]

pub mod catalog;
pub mod error;
pub mod figures;
pub mod layout;
pub mod manifest;
pub mod restore;
pub mod retention;
pub mod schedule;
pub mod service;
pub mod source;
pub mod store;
pub mod suspicion;
pub mod target;

mod backup;
mod chain;
mod seal;
mod throttle;
mod verify;
