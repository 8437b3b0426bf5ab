//! Every transcript, played over TCP against the program as it is: what the tests of the commands see in their own
//! process, and the commands that only a server has.

use std::path::Path;
use std::thread;

use rubine_testing::target::TcpTarget;
use rubine_testing::transcript::check_directory;

use crate::support::options;

/// A server for each folder, side by side: most of the time is spent waiting for what takes time.
#[test]
fn all_of_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts");
    let folders = std::fs::read_dir(root).expect("the transcripts are there");
    let folders: Vec<_> = folders.map(|entry| entry.expect("readable").path()).collect();
    assert!(!folders.is_empty());
    thread::scope(|scope| {
        for folder in &folders {
            scope.spawn(move || {
                let options = options().with("enable-debug-command", "yes").with("workers", "2");
                let server = options.start().expect("the server starts");
                let mut target = TcpTarget::connect(server.address()).expect("it answers");
                check_directory(folder, &mut target);
            });
        }
    });
}
