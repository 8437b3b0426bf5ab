//! What fuzz targets call, and property tests too: whatever comes from others leads to no panic.

mod machine;

pub use machine::machine;

use crate::message::{Bounds, Decoder, encode};
use crate::nodes_conf;

const BOUNDS: Bounds = Bounds::known(1 << 20);

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

/// A nodes.conf. What can be read of it is read again as the same.
pub fn nodes_conf(bytes: &[u8]) {
    let Ok(Some(saved)) = nodes_conf::parse(bytes, false) else { return };
    let text = nodes_conf::write(&saved);
    assert_eq!(nodes_conf::parse(text.as_bytes(), false), Ok(Some(saved)), "{text}");
}
