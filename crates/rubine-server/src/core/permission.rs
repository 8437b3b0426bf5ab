//! Whether a client may do what it asks for, wherever the command comes from: a request, a queue, a script, a wait.
//! What is refused is noted for ACL LOG.

use rubine_acl::{Access, Context, Denial, Incident, Reason};
use rubine_commands::{Args, CommandError, Scope};
use rubine_keyspace::Waiter;

use super::Core;
use crate::access::request::Wish;
use crate::client::line::add_line;
use crate::client::queue::Transaction;
use crate::client::{Client, ClientFlags, ClientInfo};
use crate::command_table::Entry;

impl Core {
    /// Whether a client may run a command now, as far as its user is concerned.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a comparison, for all who may do everything")]
    pub(crate) fn may(&self, client: &Client, entry: &'static Entry, args: Args<'_>) -> bool {
        let generation = self.server.access.generation();
        client.identity.is_free(generation) || self.may_in(generation, client, entry, args)
    }

    #[inline(never)]
    fn may_in(
        &self,
        generation: u64,
        client: &Client,
        entry: &'static Entry,
        args: Args<'_>,
    ) -> bool {
        let identity = &client.identity;
        if identity.generation != generation || !identity.is_authenticated {
            return false;
        }
        let single = entry.single_key_access(args);
        if let Some((index, access)) = single
            && let Some(key) = args.get(index)
            && identity.user.surely_allows(entry.number, key, access)
        {
            return true;
        }
        identity.user.check(&self.wish(client, entry, args)).is_ok()
    }

    /// As [`Self::may`], of a command within a transaction or script. A refusal is noted.
    #[inline]
    pub(crate) fn permit(
        &self,
        client: &mut Client,
        entry: &'static Entry,
        args: Args<'_>,
        context: Context,
    ) -> Result<(), Denial> {
        if client.identity.is_free(self.server.access.generation()) {
            return Ok(());
        }
        if client.identity.is_trusted() {
            return Ok(());
        }
        self.follow_user(client);
        let checked = client.identity.user.check(&self.wish(client, entry, args));
        checked.inspect_err(|denial| self.note_denial(client, entry, args, *denial, context))
    }

    /// Has a client be what its user is now. If that is gone, so is the client: it is nobody for what it has begun, and
    /// begins nothing more.
    pub(crate) fn follow_user(&self, client: &mut Client) {
        let access = &self.server.access;
        if client.identity.generation == access.generation() {
            return;
        }
        let users = access.users();
        if !client.identity.follow(&users) {
            client.identity.lose_user(&users);
            client.flags |= ClientFlags::CLOSE_NOW;
        }
        // Whoever had not said who it is may be somebody now.
        self.bind_again(client);
    }

    /// The flags by which a command runs, of which one says whether the keys that it names by a pattern may be read.
    #[inline]
    pub(crate) fn flags_for(
        &self,
        client: &Client,
        entry: &'static Entry,
        args: Args<'_>,
    ) -> ClientFlags {
        match entry.spec.scope {
            Scope::AllIf(_) => self.flags_with_sight(client, entry, args),
            Scope::Keys | Scope::All | Scope::Each | Scope::Slot(_) => client.flags,
        }
    }

    #[cold]
    fn flags_with_sight(
        &self,
        client: &Client,
        entry: &'static Entry,
        args: Args<'_>,
    ) -> ClientFlags {
        let mut flags = client.flags;
        let user = &client.identity.user;
        let reads_all = user.is_unrestricted()
            || user.may_with_every_key(&self.wish(client, entry, args), Access::READ);
        flags.set(ClientFlags::SEES_SOME_KEYS, !reads_all);
        flags
    }

    /// What a client asks for by a command.
    #[inline]
    pub(crate) fn wish<'a>(
        &self,
        client: &Client,
        entry: &'static Entry,
        args: Args<'a>,
    ) -> Wish<'a> {
        let queued_db = client.transaction.as_ref().and_then(Transaction::selected_db);
        let db = queued_db.unwrap_or(client.db);
        Wish { entry, args, db, db_count: self.settings.limits.databases }
    }

    /// What a client is told, behind `start`.
    #[cold]
    pub(crate) fn no_permission(
        &self,
        start: &str,
        denial: Denial,
        client: &Client,
        entry: &'static Entry,
    ) -> CommandError {
        let full_name = self.server.commands.name_in_rules(entry);
        let text = denial.text(client.identity.user.name(), full_name);
        CommandError::quoting(&[start.as_bytes(), &text])
    }

    /// Notes a refusal for ACL LOG.
    #[cold]
    pub(crate) fn note_denial(
        &self,
        client: &Client,
        entry: &'static Entry,
        args: Args<'_>,
        denial: Denial,
        context: Context,
    ) {
        self.show_client(client);
        let wish = self.wish(client, entry, args);
        let full_name = self.server.commands.name_in_rules(entry);
        let object = denial.object(&wish, full_name).to_vec();
        let username = client.identity.user.name().to_vec();
        self.note_incident(&client.info, denial.reason, context, object, username);
    }

    /// Notes that somebody could not prove to be a user.
    #[cold]
    pub(crate) fn note_failed_login(&self, client: &Client, args: Args<'_>, username: &[u8]) {
        self.show_client(client);
        let context = if client.transaction.is_some() { Context::Multi } else { Context::TopLevel };
        let object = args.at(0).to_vec();
        self.note_incident(&client.info, Reason::Auth, context, object, username.to_vec());
    }

    /// Notes that a certificate names no user: `name` for one.
    pub(super) fn note_unknown_certificate(&self, client: &Client, name: &[u8]) {
        let (reason, context) = (Reason::TlsCertificate, Context::TopLevel);
        self.note_incident(&client.info, reason, context, Vec::new(), name.to_vec());
    }

    /// Has others see a client as it is, unless it only stands for another one, on a thread for scripts.
    fn show_client(&self, client: &Client) {
        if self.index < self.server.workers.len() {
            client.publish();
        }
    }

    fn note_incident(
        &self,
        info: &ClientInfo,
        reason: Reason,
        context: Context,
        object: Vec<u8>,
        username: Vec<u8>,
    ) {
        let mut line = String::new();
        add_line(&mut line, &self.server.commands, info, self.now);
        let client_info = line.trim_end().as_bytes().to_vec();
        let incident = Incident { reason, context, object, username, client_info };
        self.audit_incident(info, &incident);
        self.server.access.note(incident, self.now, self.settings.acl_log_len_max);
    }

    /// The error for a client that has waited, if its user may not run its command any more.
    #[cold]
    pub(super) fn refusal_of_waiter(
        &self,
        waiter: &Waiter,
        entry: &'static Entry,
        args: Args<'_>,
    ) -> Option<CommandError> {
        let info = self.server.clients.get(waiter.client)?;
        let name = info.names.lock().user.clone();
        let users = self.server.access.users();
        let db_count = self.settings.limits.databases;
        let wish = Wish { entry, args, db: waiter.db, db_count };
        let denial = users.get(&name)?.check(&wish).err()?;
        let full_name = self.server.commands.name_in_rules(entry);
        let object = denial.object(&wish, full_name).to_vec();
        let error = CommandError::quoting(&[b"NOPERM ", &denial.text(&name, full_name)]);
        self.note_incident(&info, denial.reason, Context::TopLevel, object, name);
        Some(error)
    }
}
