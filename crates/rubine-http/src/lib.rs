//! HTTP: metrics, health, and the console with its API, served by one thread of their own. Knows the server through one
//! trait, [`Host`]; whatever a person does here runs as a command of a client that is logged in as that person.
//!
//! It never touches data, never waits for a worker but as a client does, and has a bound for everything that comes from
//! outside: connections, headers, bodies, time.

#![forbid(unsafe_code)]

mod api;
mod console;
mod context;
mod credentials;
mod form;
mod health;
mod host;
mod jobs;
mod link;
mod listen;
mod probe;
mod reply;
mod route;
mod service;
mod sessions;

pub use health::{HealthFacts, LinkFacts, LoadingFacts};
pub use host::{AboutDirective, Host, Peer, Settings};
pub use probe::probe;
pub use service::{Place, Service};
pub use tokio_rustls::rustls::ServerConfig;
