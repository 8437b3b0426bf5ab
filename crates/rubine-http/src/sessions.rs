//! Who is logged in to the console: a random token in a cookie stands for a user and its password, which are kept while the
//! session lasts, so that a connection that was lost can be made again, by whoever may log in still.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use rubine_base::clock::monotonic_millis;
use rubine_base::hash::HashMap;
use tokio::sync::Mutex as AsyncMutex;

use crate::credentials::Credentials;
use crate::host::{Host, Peer};
use crate::link::{Link, LinkError};

/// Sessions at a time. The one that was idle for longest makes room.
const SESSIONS_MAX: usize = 64;
/// A session that is not used for so long ends.
const IDLE_TIME: Duration = Duration::from_secs(30 * 60);
const TOKEN_BYTES: usize = 32;

/// All sessions, by the digests of their tokens.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<[u8; 32], Arc<Session>>>);

/// Somebody who is logged in.
pub(crate) struct Session {
    pub(crate) peer: Peer,
    credentials: Credentials,
    /// What a form has to send back, so that no other site can have one sent.
    pub(crate) form_token: String,
    used_at: Mutex<u64>,
    /// The connection of pages, and that of the command line.
    pages: AsyncMutex<Option<Link>>,
    pub(crate) shell: AsyncMutex<Option<Link>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Why somebody is not logged in.
pub(crate) enum NoSession {
    Refused,
    Failed(LinkError),
}

impl Sessions {
    /// Begins a session, if the server lets such a user in. Returns its token.
    pub(crate) async fn begin(
        &self,
        host: &'static dyn Host,
        peer: Peer,
        credentials: Credentials,
    ) -> Result<String, NoSession> {
        let link = open(host, peer, &credentials).await?;
        let (token, form_token) = (new_token(), new_token());
        let session = Arc::new(Session {
            peer,
            credentials,
            form_token,
            used_at: Mutex::new(monotonic_millis()),
            pages: AsyncMutex::new(Some(link)),
            shell: AsyncMutex::default(),
        });
        let mut sessions = self.0.lock();
        sessions.retain(|_, it| !it.is_over());
        if SESSIONS_MAX <= sessions.len() {
            let oldest = sessions.iter().min_by_key(|(_, it)| *it.used_at.lock()).map(|it| *it.0);
            oldest.map(|it| sessions.remove(&it));
        }
        sessions.insert(fingerprint(&token), session);
        Ok(token)
    }

    /// The session of a token, which is used by that.
    pub(crate) fn find(&self, token: &str) -> Option<Arc<Session>> {
        let print = fingerprint(token);
        let mut sessions = self.0.lock();
        let session = sessions.get(&print)?;
        if session.is_over() {
            sessions.remove(&print);
            return None;
        }
        *session.used_at.lock() = monotonic_millis();
        Some(Arc::clone(session))
    }

    pub(crate) fn end(&self, token: &str) {
        self.0.lock().remove(&fingerprint(token));
    }
}

impl Session {
    /// One that lasts for one request.
    pub(crate) async fn of_request(
        host: &'static dyn Host,
        peer: Peer,
        credentials: Credentials,
    ) -> Result<Arc<Self>, NoSession> {
        let link = open(host, peer, &credentials).await?;
        Ok(Arc::new(Self {
            peer,
            credentials,
            form_token: String::new(),
            used_at: Mutex::new(monotonic_millis()),
            pages: AsyncMutex::new(Some(link)),
            shell: AsyncMutex::default(),
        }))
    }

    pub(crate) fn user(&self) -> String {
        String::from_utf8_lossy(&self.credentials.user).into_owned()
    }

    fn is_over(&self) -> bool {
        *self.used_at.lock() + (IDLE_TIME.as_millis() as u64) < monotonic_millis()
    }

    /// A connection of its own, logged in as the session's user.
    pub(crate) async fn connect(&self, host: &'static dyn Host) -> Result<Link, LinkError> {
        match open(host, self.peer, &self.credentials).await {
            Ok(link) => Ok(link),
            Err(NoSession::Failed(error)) => Err(error),
            Err(NoSession::Refused) => {
                Err(LinkError::Closed("the user or its password is not known any more".to_owned()))
            }
        }
    }

    /// The connection of pages, held by one request at a time; a new one where it was lost.
    pub(crate) async fn link(
        &self,
        host: &'static dyn Host,
    ) -> Result<tokio::sync::MappedMutexGuard<'_, Link>, LinkError> {
        self.ready(&self.pages, host).await
    }

    /// That of the command line, which keeps its database and its transaction between two commands.
    pub(crate) async fn shell_link(
        &self,
        host: &'static dyn Host,
    ) -> Result<tokio::sync::MappedMutexGuard<'_, Link>, LinkError> {
        self.ready(&self.shell, host).await
    }

    async fn ready<'a>(
        &'a self,
        place: &'a AsyncMutex<Option<Link>>,
        host: &'static dyn Host,
    ) -> Result<tokio::sync::MappedMutexGuard<'a, Link>, LinkError> {
        let mut link = place.lock().await;
        let is_usable = match &mut *link {
            Some(link) => link.is_usable(),
            None => false,
        };
        if !is_usable {
            *link = None;
            *link = Some(self.connect(host).await?);
        }
        Ok(tokio::sync::MutexGuard::map(link, |it| it.as_mut().expect("it was made just now")))
    }
}

async fn open(
    host: &'static dyn Host,
    peer: Peer,
    credentials: &Credentials,
) -> Result<Link, NoSession> {
    let mut link = Link::open(host, peer).map_err(NoSession::Failed)?;
    if !link.log_in(credentials).await.map_err(NoSession::Failed)? {
        return Err(NoSession::Refused);
    }
    // A user that may not name itself goes without.
    let _ = link.run(&[b"CLIENT", b"SETINFO", b"LIB-NAME", b"rubine-console"]).await;
    Ok(link)
}

fn new_token() -> String {
    let mut bytes = [0; TOKEN_BYTES];
    SystemRandom::new().fill(&mut bytes).expect("the system has random numbers");
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

/// Sessions are found by this, so that how long it takes tells nothing of a token.
fn fingerprint(token: &str) -> [u8; 32] {
    digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("a digest of SHA-256 has 32 bytes")
}
