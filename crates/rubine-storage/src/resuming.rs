//! A server that starts goes on with the history that its data is of. Loads nothing itself.

use rubine_journal::{History, HistoryId, Origin, Previous, ReplicationOffset};

use crate::storage::Storage;

/// What the data of this server becomes a part of again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// The history of a master, which is followed from there.
    OfMaster,
    /// One of its own, which begins where the old one was left.
    Own,
}

/// Goes on with a history at `offset`: as the master that this server was, so that its replicas go on with what follows, or as the
/// replica of one.
pub(crate) fn resume_history(
    storage: Storage,
    id: HistoryId,
    offset: ReplicationOffset,
    database: Option<u32>,
) -> Resumed {
    let (journal, config) = (storage.journal, storage.config.load());
    if config.replicaof.is_some() {
        journal.resume_history(History::new(id), offset, Origin::Master);
        journal.note_database(database);
        return Resumed::OfMaster;
    }
    // Another may have gone on with the old one meanwhile, so what follows has a name of its own.
    let own = journal.point().history.id;
    let history = History { id: own, previous: Some(Previous { id, until: offset }) };
    journal.set_backlog(config.repl_backlog_size);
    journal.resume_history(history, offset, Origin::Here);
    Resumed::Own
}
