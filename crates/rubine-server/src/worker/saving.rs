//! The clock's look at what is to be saved although nobody asks.

use std::sync::atomic::Ordering;

use crate::core::Core;
use crate::persistence::saves::{self, Kind, Start};
use rubine_config::SavePoint;

/// Starts a save that was put off, or that is due. The first worker calls this now and then.
pub(super) fn look(core: &Core) {
    let server = core.server;
    if server.persistence.is_loading() || server.is_shutting_down.load(Ordering::Relaxed) {
        return;
    }
    let saves = &server.persistence.saves;
    if saves.is_busy() || server.aof.rewrite_status().is_running {
        return;
    }
    let moment = saves.moment(server, core.now / 1000);
    if saves.is_scheduled() {
        if moment.may_try() {
            saves.take_schedule();
            start(core);
        }
        return;
    }
    let config = server.config.load();
    if let Some(SavePoint { seconds, changes }) = moment.reached(&config.save) {
        tracing::info!("{changes} changes in {seconds} seconds. Saving...");
        start(core);
    }
}

fn start(core: &Core) {
    // If another save has begun since, that one does as well.
    let _: Start = saves::start(core.server, Kind::Background, core.now, Box::new(|_, _| {}));
}
