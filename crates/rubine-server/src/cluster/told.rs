//! What a primary, or a log on disk, tells of slots that are being taken in. Does nothing of it:
//! [`super::SlotMigrations::obey`] does.

use rubine_cluster::migration::{Establish, EstablishError, Finish, FinishError};
use rubine_commands::Args;
use rubine_journal::Journal;

use super::Cluster;

/// The command by which they tell it.
pub(crate) const SYNC_SLOTS: &str = "cluster|syncslots";

impl Cluster {
    /// Takes in a command of the name [`SYNC_SLOTS`]. An error is the text for whoever has sent it.
    pub(crate) fn hear(&self, journal: &Journal, args: Args<'_>) -> Result<(), String> {
        let words: Vec<&[u8]> = args.from(3).collect();
        let is =
            |it: &str| args.get(2).is_some_and(|word| word.eq_ignore_ascii_case(it.as_bytes()));
        self.tell_migrations(journal, |machine, view, now| match () {
            () if is("ESTABLISH") => {
                let establish = Establish::parse_told(&words).map_err(EstablishError::from);
                let begun = establish.and_then(|it| machine.track_import(it, view, now));
                begun.map(drop).map_err(|it| it.to_string())
            }
            () if is("FINISH") => {
                let finish = Finish::parse(&words).map_err(FinishError::from);
                finish.and_then(|it| machine.finish_import(&it, now)).map_err(|it| it.to_string())
            }
            // What a primary has heard itself is nothing to its replicas.
            () => Ok(()),
        })
    }
}
