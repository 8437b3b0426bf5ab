//! What is written when an invariant of our own is broken, before the process ends: what happened, where, what each
//! worker was doing, and INFO. State is shared by all workers, so none of them may go on.

use std::backtrace::Backtrace;
use std::fmt::Write;
use std::sync::mpsc;
use std::time::Duration;

use rubine_base::clock::unix_millis;

use crate::commands::server::crash_info;
use crate::server::Server;

/// How long the report may take: whatever it looks at may be in pieces, and a lock held for ever.
const REPORT_SECONDS_MAX: u64 = 3;

/// Lets a panic of any thread write a report and end the process.
pub(crate) fn install(server: &'static Server) {
    std::panic::set_hook(Box::new(move |panic| {
        let reason = panic.to_string();
        let stack = server.config.load().crash_log_enabled.then(Backtrace::force_capture);
        let (done, is_done) = mpsc::channel::<()>();
        let writer = std::thread::Builder::new().name("crash".to_owned()).spawn(move || {
            report(server, &reason, stack.as_ref());
            drop(done);
        });
        if writer.is_ok() {
            // It ends by a closed channel as well as by too much time.
            let _ = is_done.recv_timeout(Duration::from_secs(REPORT_SECONDS_MAX));
        }
        std::process::abort();
    }));
}

fn report(server: &'static Server, reason: &str, stack: Option<&Backtrace>) {
    let Some(stack) = stack else {
        tracing::warn!("Rubine {} crashed: {reason}", env!("CARGO_PKG_VERSION"));
        return;
    };
    let config = server.config.load();
    tracing::warn!(
        "\n\n=== RUBINE BUG REPORT START: Cut & paste starting from here ===\n\
         Rubine {} crashed: {reason}\n{}\n------ STACK TRACE ------\n{stack}\n\
         ------ WORKERS ------\n{}",
        env!("CARGO_PKG_VERSION"),
        config.debug_context,
        workers(server)
    );
    // By itself, since it takes locks that may never be free again.
    tracing::warn!(
        "\n------ INFO OUTPUT ------\n{}\n=== RUBINE BUG REPORT END ===",
        crash_info(server, unix_millis())
    );
}

/// The command that each worker ran last or runs now. Not its arguments: they are the user's.
fn workers(server: &Server) -> String {
    let mut text = String::new();
    for (index, stats) in server.worker_stats().iter().enumerate() {
        let number = stats.last_command.get() as usize;
        let name = server.commands.all().get(number).map_or("none yet", |it| &it.full_name);
        writeln!(text, "worker {index}: last command {name}")
            .expect("writing to a string cannot fail");
    }
    text
}
