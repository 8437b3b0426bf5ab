//! What changes the running server as a whole: new settings, and its end.

pub(crate) mod defrag;
pub(crate) mod reconfigure;
pub(crate) mod sentinel;
pub(crate) mod shutdown;
pub(crate) mod tls;
