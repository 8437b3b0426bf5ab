//! Who may connect: protected mode, the limit on clients. Never reads from a socket.

use std::io::IoSlice;
use std::sync::Arc;

use crate::client::{Client, ClientInfo};
use crate::core::Core;
use rubine_config::Config;
use rubine_net::listener::Accepted;
use rubine_net::socket::Socket;

const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";

const PROTECTED: &[u8] = b"-DENIED Rubine is running in protected mode because protected mode is enabled and no \
password is set for the default user. In this mode connections are only accepted from the loopback interface. If you \
want to connect from external computers, you may adopt one of the following solutions: 1) Disable protected mode by \
sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting from the same host the \
server is running on; make sure that the server is not publicly accessible from the internet if you do so. Use CONFIG \
REWRITE to make this change permanent. 2) Set the protected-mode option to 'no' in the configuration file and restart \
the server. 3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. \
4) Set up an authentication password for the default user. NOTE: You only need to do one of the above things in order \
for the server to start accepting connections from the outside.\r\n";

/// Decides on a connection. One that is refused is told why and closed.
pub(crate) fn admit(
    core: &mut Core,
    config: &Config,
    accepted: Accepted,
    worker: usize,
) -> Option<(Socket, Arc<ClientInfo>)> {
    let Accepted { mut socket, addresses, ip } = accepted;
    let is_local = ip.is_none_or(|it| it.is_loopback());
    let server = core.server;
    // Whoever has yet to shake hands would not understand why not.
    let is_exposed = !socket.is_handshaking() && server.keeps_out(config, is_local);
    let is_full = config.maxclients as usize <= server.clients.len();
    if is_full || is_exposed {
        refuse(core, &mut socket, if is_full { TOO_MANY } else { PROTECTED });
        return None;
    }
    core.stats().connections_received.add(1);
    let id = server.clients.new_id();
    let info = ClientInfo::new(id, worker, addresses, socket.fd(), is_local, core.now);
    let info = Arc::new(info);
    server.clients.add(info.clone());
    Some((socket, info))
}

/// As [`admit`], for a client that has just shaken hands. Returns whether it may stay.
pub(super) fn admit_later(core: &mut Core, client: &mut Client) -> bool {
    let server = core.server;
    let is_exposed = server.keeps_out(&server.config.load(), client.info.is_local);
    if is_exposed {
        refuse(core, &mut client.socket, PROTECTED);
    }
    !is_exposed
}

fn refuse(core: &mut Core, socket: &mut Socket, text: &[u8]) {
    core.stats().rejected_connections.add(1);
    // Whether the words arrive is of no consequence.
    let _ = socket.write_vectored(&[IoSlice::new(text)]);
}
