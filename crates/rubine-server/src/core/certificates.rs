//! Clients that are who their certificate says. Looks at certificates that the handshake has found good.

use rubine_commands::CommandError;
use rubine_net::tls::user_names;

use super::Core;
use super::limiting::turn_away;
use crate::client::Client;

impl Core {
    /// Makes a client the user that its certificate names, where `tls-auth-clients-user` says so. Without such a user it
    /// stays who every client is at first.
    pub(crate) fn welcome_certificate(&self, client: &mut Client) {
        let field = self.server.config.load().tls_auth_clients_user;
        let certificate = client.socket.tls().and_then(|it| it.peer_certificate());
        let Some(certificate) = certificate else { return };
        let names = user_names(certificate, field);
        let mut is_known = false;
        for name in &names {
            match self.enter_as(client, name) {
                Ok(true) => {
                    is_known = true;
                    break;
                }
                Ok(false) => {}
                Err(error) => return turn_away(client, &error),
            }
        }
        if is_known {
            self.audit_login(&client.info, "certificate");
            let name = client.info.names.lock().user.escape_ascii().to_string();
            tracing::debug!("TLS: Auto-authenticated client as {name}");
        } else if let Some(name) = names.last() {
            self.note_unknown_certificate(client, name);
            tracing::debug!(
                "TLS: no user is called as a certificate says: {}",
                name.escape_ascii()
            );
        }
    }

    /// Makes a client the user of that name, without a password, if there is one that may enter. Returns whether there is.
    fn enter_as(&self, client: &mut Client, name: &[u8]) -> Result<bool, CommandError> {
        self.become_user(client, |users| users.get(name).filter(|it| it.is_enabled()))
    }
}
