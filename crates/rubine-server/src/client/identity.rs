//! Which user a client is, and whether it may ask for anything. Never decides on a command.

use std::sync::Arc;

use rubine_acl::{User, Users};

/// A number that no state of the users has.
const NEVER: u64 = u64::MAX;

/// The user that a client is, as it was in one state of all users.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that change one by one")]
pub(crate) struct Identity {
    pub(crate) user: Arc<User>,
    /// It has said who it is, or needed not when it came.
    has_logged_in: bool,
    /// It may send what only those may who are known.
    pub(crate) is_authenticated: bool,
    /// It has been authenticated at some time: it is no stranger.
    pub(crate) was_authenticated: bool,
    /// It is nobody's client: what it runs has been allowed before.
    is_trusted: bool,
    /// The state of the users that this is from.
    pub(crate) generation: u64,
    /// `generation`, if it may do everything then.
    free_at: u64,
}

impl Identity {
    /// Somebody who has not said who it is.
    pub(crate) fn of_stranger(users: &Users) -> Self {
        let mut identity = Self {
            user: Arc::clone(users.default_user()),
            has_logged_in: is_open(users.default_user()),
            is_authenticated: false,
            was_authenticated: false,
            is_trusted: false,
            generation: NEVER,
            free_at: NEVER,
        };
        identity.settle(users);
        identity
    }

    /// One whose commands come from a log, whatever users there are by now.
    pub(crate) fn trusted(users: &Users) -> Self {
        Self { is_trusted: true, ..Self::of_stranger(users) }
    }

    pub(crate) fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    /// Whether it may do everything, when the users are in the state `generation`.
    #[inline]
    pub(crate) fn is_free(&self, generation: u64) -> bool {
        self.free_at == generation
    }

    /// It has proved to be that user.
    pub(crate) fn log_in(&mut self, user: Arc<User>, users: &Users) {
        self.user = user;
        self.has_logged_in = true;
        self.settle(users);
    }

    /// It is as it was when it came.
    pub(crate) fn log_out(&mut self, users: &Users) {
        let was_authenticated = self.was_authenticated;
        *self = Self { was_authenticated, ..Self::of_stranger(users) };
    }

    /// Its user is there no more: it is nobody, whatever strangers may.
    pub(crate) fn lose_user(&mut self, users: &Users) {
        self.user = Arc::clone(users.default_user());
        self.has_logged_in = false;
        self.settle(users);
    }

    /// Follows its user into another state. Returns whether it is there still.
    #[must_use]
    pub(crate) fn follow(&mut self, users: &Users) -> bool {
        let Some(user) = users.get(self.user.name()) else { return false };
        self.user = Arc::clone(user);
        self.settle(users);
        true
    }

    fn settle(&mut self, users: &Users) {
        self.generation = users.generation();
        self.is_authenticated = self.has_logged_in || is_open(users.default_user());
        self.was_authenticated |= self.is_authenticated;
        let is_free = self.is_authenticated && self.user.is_unrestricted();
        self.free_at = if is_free { self.generation } else { NEVER };
    }
}

/// Whether everybody is that user who has not said anything else.
pub(crate) fn is_open(default_user: &User) -> bool {
    default_user.takes_any_password() && default_user.is_enabled()
}
