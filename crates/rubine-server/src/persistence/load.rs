//! What concerns workers when data is loaded. Loads nothing itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rubine_scripting::{Interpreter, Libraries, Policy};
use rubine_storage::Trouble;
use rubine_storage::load::{self, Reload};

use crate::mailbox::Message;
use crate::server::{LoadingHost, Server, interpreter_settings};
use crate::tracking::Outbox;

/// How often it is looked whether a script still runs.
const LOOK: Duration = Duration::from_millis(1);

/// Saves all data, forgets it, and loads it again, on a thread of its own. `on_end` is told whether it went well;
/// otherwise the error's text is given.
pub(crate) fn start_reload(
    server: &'static Server,
    reload: Reload,
    on_end: impl FnOnce(Result<(), &'static str>) + Send + 'static,
) -> std::io::Result<()> {
    let run = move || {
        let storage = server.storage();
        load::announce(storage, load::dump_bytes(&server.config.load()));
        wait_for_running_commands(server);
        while server.scripting.is_any_long() {
            std::thread::sleep(LOOK);
        }
        let outcome = load::reload(storage, reload).and_then(|()| {
            revive_libraries(server).map_err(|reason| {
                tracing::warn!("{reason}");
                "ERR Error trying to load the function libraries, check server logs."
            })
        });
        end_reload(server);
        server.persistence.set_trouble(Trouble::LOADING, false);
        on_end(outcome);
        wake_waiters(server);
    };
    std::thread::Builder::new().name("reload".to_owned()).spawn(run).map(drop)
}

/// All data is another: whatever was known of what was there before is forgotten.
pub(crate) fn end_reload(server: &Server) {
    if let Some(cluster) = &server.cluster {
        cluster.end_reload(&server.journal);
    }
    forget_copies(server);
}

/// Removes keys and fields that fell due while the server was down, before clients see them: as long as nobody is served
/// a worker walks through its part, though not for longer than a blink.
pub(crate) fn remove_due(server: &'static Server) {
    ask_workers(server, |sender| Message::RemoveLoadedDue { sender });
}

/// Returns when no worker runs a command any more that it began before the call. Not to be called by a worker.
pub(crate) fn wait_for_running_commands(server: &'static Server) {
    ask_workers(server, |sender| Message::Acknowledge { sender });
}

/// Has clients give up all copies of keys that they keep. Called before any of them sees what there is now.
pub(crate) fn forget_copies(server: &Server) {
    server.trackers.invalidate_all(&server.workers, &mut Outbox::new(None));
}

/// Has those who wait for keys look at what there is now. Any worker can do it for all.
pub(crate) fn wake_waiters(server: &Server) {
    server.workers[0].send(Message::DataReplaced);
}

/// Sends each worker a message and waits for the answers. Not to be called by a worker.
fn ask_workers(server: &'static Server, message: impl Fn(Sender<()>) -> Message) {
    /// Workers that end leave their messages unread.
    const LOOK_FOR_THE_END: Duration = Duration::from_millis(50);
    let (sender, answers) = channel();
    for worker in server.workers.iter() {
        worker.send(message(sender.clone()));
    }
    drop(sender);
    let mut missing = server.workers.len();
    while 0 < missing && !server.shutdown.is_under_way.load(Ordering::Acquire) {
        match answers.recv_timeout(LOOK_FOR_THE_END) {
            Ok(()) => missing -= 1,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
}

/// Makes libraries that came with a file ones that can be called. The error names the library that does not work.
pub(crate) fn revive_libraries(server: &Server) -> Result<(), String> {
    let mut interpreter = Interpreter::new(interpreter_settings(&server.config.load()));
    let mut libraries = Vec::new();
    for (name, code) in server.persistence.saves.functions.all() {
        let library = interpreter.compile_library(&code, &mut LoadingHost::new());
        libraries.push(Arc::new(library.map_err(|error| {
            format!("The function library '{}' does not load: {error}", name.escape_ascii())
        })?));
    }
    let joined = server
        .scripting
        .libraries
        .change(|_| Libraries::default().joined(libraries, Policy::Append));
    joined.map_err(|error| format!("The function libraries do not load: {error}"))
}
