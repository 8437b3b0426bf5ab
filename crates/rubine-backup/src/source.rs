//! What is asked of the server whose data is backed up.

use std::io;
use std::io::Write;
use std::sync::Arc;

use rubine_journal::Reader;
use rubine_persistence::encryption::KeyRing;

/// A server with data.
pub trait Source: Sync {
    /// Why its data is not worth keeping at this moment, if it is not: it is being loaded, or was never complete.
    fn obstacle(&self) -> Option<String>;

    /// An image of this moment, and with `log_bytes_max` a reader of what happens from then on, which may fall so far behind.
    fn image(&self, log_bytes_max: Option<u64>) -> Result<Image, String>;

    /// What objects are encrypted with, if they are.
    fn keys(&self) -> Option<Arc<KeyRing>>;

    /// This run of the program, and its version.
    fn run_id(&self) -> String;
    fn version(&self) -> String;

    /// Whether the server ends, and nothing long may go on.
    fn is_ending(&self) -> bool;
}

/// All data at one moment.
pub struct Image {
    /// Unix milliseconds.
    pub taken_at_ms: i64,
    pub keys: u64,
    /// One more than the highest database with keys.
    pub databases: u32,
    pub memory_bytes: u64,
    pub log: Option<Reader>,
    pub content: Box<dyn Content>,
}

/// What writes the dump file of an image.
pub trait Content: Send {
    /// Writes all of it.
    fn write(self: Box<Self>, out: &mut dyn Write) -> io::Result<()>;
}
