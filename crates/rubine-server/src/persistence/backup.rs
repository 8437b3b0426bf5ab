//! What backups ask of the server: whether its data is worth keeping, and images of it. Makes none itself.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rubine_backup::source::{Content, Image, Source};
use rubine_persistence::encryption::KeyRing;
use rubine_replication::follower::Phase;
use rubine_storage::Host as _;
use rubine_storage::backup_image::{BackupImage, Wanted};

use crate::server::Server;

/// The server itself: it lives as long as the process.
pub(crate) struct Backed(pub(crate) &'static Server);

impl Source for Backed {
    fn obstacle(&self) -> Option<String> {
        let server = self.0;
        if server.persistence.is_loading() {
            return Some("data is being loaded".to_owned());
        }
        let following = &server.replication.following;
        if !following.is_replica() || following.is_link_up() {
            return None;
        }
        let syncs = &following.syncs;
        let count = |it: &AtomicU64| it.load(Ordering::Relaxed);
        let whole = count(&syncs.full_count).saturating_sub(count(&syncs.failed_count));
        let was_never_up = whole + count(&syncs.partial_count) == 0;
        match following.link.phase() {
            Phase::Sync => Some("a sync with the master is under way".to_owned()),
            _ if was_never_up => {
                Some("this replica has not been in sync with its master yet".to_owned())
            }
            _ => None,
        }
    }

    fn image(&self, log_bytes_max: Option<u64>) -> Result<Image, String> {
        let is_compressed_later = 0 < self.0.config.load().backup_compression_level;
        let wanted = Wanted { is_compressed_later, log_bytes_max };
        let taken = BackupImage::take(self.0.storage(), wanted);
        let (image, log) = taken.map_err(|error| error.to_string())?;
        Ok(Image {
            taken_at_ms: image.taken_at_ms,
            keys: image.keys,
            databases: image.databases,
            memory_bytes: image.memory_bytes,
            log,
            content: Box::new(Written(image)),
        })
    }

    fn keys(&self) -> Option<Arc<KeyRing>> {
        self.0.aof.keys()
    }

    fn run_id(&self) -> String {
        self.0.process.run_id.clone()
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn is_ending(&self) -> bool {
        self.0.is_ending()
    }
}

struct Written(BackupImage);

impl Content for Written {
    fn write(self: Box<Self>, out: &mut dyn Write) -> io::Result<()> {
        self.0.write(out)
    }
}
