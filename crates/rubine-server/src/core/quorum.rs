//! Replies of writes that leave when enough replicas have what was written (`write-quorum`). A client whose write is not
//! confirmed in time is cut: it was told nothing, and nothing else would be true.

use std::sync::atomic::Ordering;

use rubine_journal::{Offset, Park};

use super::Core;
use crate::client::{Client, ClientFlags};

impl Core {
    /// A client has written something that ends there: what it is told waits until enough replicas have it.
    #[inline]
    pub(crate) fn note_written(&mut self, client: &mut Client, end: Offset) {
        client.disk.written_offset = end;
        if self.settings.write_quorum.replicas != 0 {
            self.note_unconfirmed(client, end);
        }
    }

    #[cold]
    fn note_unconfirmed(&mut self, client: &mut Client, end: Offset) {
        let users = &self.settings.write_quorum.users;
        if users.is_empty() || users.iter().any(|it| **it == *client.info.names.lock().user) {
            client.disk.quorum_offset = end;
            self.must_ask_replicas = true;
        }
    }

    /// Whether a client's output has to stay until enough replicas have what it tells of. If so, the client is looked after
    /// again when that is so.
    #[inline]
    pub(crate) fn lacks_quorum(&mut self, client: &mut Client) -> bool {
        client.disk.quorum_offset != 0 && self.waits_for_quorum(client)
    }

    #[cold]
    fn waits_for_quorum(&mut self, client: &mut Client) -> bool {
        let offset = client.disk.quorum_offset;
        if self.confirmed() < offset {
            if !client.disk.is_unconfirmed {
                client.disk.is_unconfirmed = true;
                self.unconfirmed.insert((offset, client.id), self.monotonic_ms);
            }
            return true;
        }
        client.disk.quorum_offset = 0;
        false
    }

    /// Up to where enough replicas have everything.
    fn confirmed(&self) -> Offset {
        match self.settings.write_quorum.replicas {
            0 => Offset::MAX,
            _ => self.server.replication.replicas.quorum.reached(),
        }
    }

    /// Asks replicas how far they are, if somebody waits for that who did not before. Once a turn.
    pub(crate) fn ask_for_quorum(&mut self) {
        if std::mem::take(&mut self.must_ask_replicas) {
            self.ask_replicas();
        }
    }

    /// Sees to it that this worker is woken when the first of its clients need not wait any more. Returns whether that is so
    /// already.
    pub(crate) fn park_unconfirmed(&mut self) -> bool {
        let Some((&(offset, _), _)) = self.unconfirmed.first_key_value() else { return false };
        let (quorum, token) = (&self.server.replication.replicas.quorum, self.index as u64);
        if self.settings.write_quorum.replicas == 0 {
            return true;
        }
        quorum.cancel(token);
        !matches!(quorum.park(offset, token), Park::Parked)
    }

    /// The next client that waits for replicas and need not any more: they have what it wrote, or its time is over, and
    /// whether that is so.
    pub(crate) fn next_confirmed(&mut self) -> Option<(u64, bool)> {
        let (&(offset, id), &since) = self.unconfirmed.first_key_value()?;
        let is_late = since + self.settings.write_quorum.timeout_ms <= self.monotonic_ms;
        let is_confirmed = offset <= self.confirmed();
        if !is_confirmed && !is_late {
            return None;
        }
        self.unconfirmed.pop_first();
        Some((id, !is_confirmed))
    }

    /// Goes on with a client that has waited for replicas, or cuts it. It may have written more meanwhile, for which it waits
    /// anew.
    pub(crate) fn end_quorum_wait(&mut self, client: &mut Client, is_late: bool) {
        client.disk.is_unconfirmed = false;
        if !is_late {
            return;
        }
        client.flags |= ClientFlags::CLOSE_NOW;
        self.server.replication.replicas.quorum_timeouts.fetch_add(1, Ordering::Relaxed);
        let (id, address) = (client.id, &client.info.address);
        tracing::warn!(
            "Too few replicas have confirmed in time what client id={id} addr={address} wrote: it is cut, and not told that \
             it is written"
        );
    }
}
