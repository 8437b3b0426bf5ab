//! Who follows this server.

#[derive(Default)]
pub(crate) struct Replicas {}
