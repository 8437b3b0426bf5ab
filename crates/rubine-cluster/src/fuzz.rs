//! What fuzz targets call, and property tests too: whatever comes from others leads to no panic.

mod machine;

pub use machine::machine;

use crate::message::{Bounds, Decoder, encode};
use crate::migration::{Establish, Finish, MigrationAction, MigrationConfig, Migrations, Word};
use crate::nodes_conf;
use crate::view::{Lease, View};

const BOUNDS: Bounds = Bounds::known(1 << 20);

const CONFIG: MigrationConfig = MigrationConfig {
    timeout: 60_000,
    failover_timeout: 5000,
    failover_bytes_max: 0,
    log_len_max: 10,
    has_password: false,
};

/// The bytes of a connection. What can be read of them can be sent again.
pub fn packets(bytes: &[u8]) {
    let mut decoder = Decoder::default();
    for piece in bytes.chunks(1000) {
        decoder.push(piece);
        while let Ok(Some(received)) = decoder.take(BOUNDS) {
            let Ok(message) = received.content else { continue };
            let mut again = Decoder::default();
            again.push(&encode(&message));
            assert!(again.take(BOUNDS).is_ok_and(|it| it.is_some_and(|it| it.content.is_ok())));
        }
    }
}

/// What is said between the ends of a migration of slots: the arguments behind `CLUSTER SYNCSLOTS`, apart by line ends. What
/// can be read of it is passed on as the same.
pub fn sync_slots(bytes: &[u8]) {
    let args: Vec<&[u8]> = bytes.split(|it| *it == b'\n').take(100).collect();
    let (&word, rest) = args.split_first().expect("splitting gives one piece at least");
    if let Some(word) = Word::parse(word) {
        assert!(word.encoded().ends_with(format!("{}\r\n", word.name()).as_bytes()));
    }
    if let Ok(finish) = Finish::parse(rest) {
        let again = finish.command();
        let again: Vec<&[u8]> = again[3..].iter().map(Vec::as_slice).collect();
        assert_eq!(Finish::parse(&again), Ok(finish));
    }
    if let Ok(establish) = Establish::parse_told(rest) {
        let mut replica = Migrations::new(CONFIG);
        let view = View::with_lease(Lease::new(0));
        replica.track_import(establish, &view, 1).expect("it is the only one");
        for action in replica.take_actions() {
            let MigrationAction::Hide { slots, .. } = action else { continue };
            assert!(slots.iter().all(|slot| replica.is_importing(slot)));
        }
    }
}

/// A nodes.conf. What can be read of it is read again as the same.
pub fn nodes_conf(bytes: &[u8]) {
    let Ok(Some(saved)) = nodes_conf::parse(bytes, false) else { return };
    let text = nodes_conf::write(&saved);
    assert_eq!(nodes_conf::parse(text.as_bytes(), false), Ok(Some(saved)), "{text}");
}
