//! What one worker tells another. Messages of one sender arrive in the order in which they were sent.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use mio::Waker;
use parking_lot::Mutex;
use rubine_commands::{Shipment, Task};
use rubine_journal::Offset;
use rubine_resp::writer::Output;

use crate::client::ClientInfo;
use crate::publication::Publication;
use rubine_net::socket::Socket;

/// A worker's incoming messages.
pub(crate) struct Mailbox {
    messages: Mutex<Vec<Message>>,
    waker: Waker,
}

/// Something that another worker, or a thread of the server, wants a worker to do.
pub(crate) enum Message {
    /// Serve this connection.
    Connection { socket: Socket, info: Arc<ClientInfo> },
    /// The command of a waiting client ran: this is its reply, where what it wrote ends in the journal, and what must be
    /// on disk before the client is told.
    Served { client: u64, output: Output, written: Option<Offset>, seen: Offset },
    /// Stop waiting: answer as after a time-out, or with the error.
    Unblock { client: u64, with_error: bool },
    /// Close the connection, at once.
    Kill { client: u64 },
    /// What a client's command needs is computed.
    Computed { client: u64, task: Task },
    /// What a client's command sends to another server has been sent, or not.
    Shipped { client: u64, shipment: Box<Shipment> },
    /// It is the turn of these clients' requests at a shard that was busy.
    ShardFree { clients: Box<[u64]> },
    /// A message to clients that listen.
    Published(Arc<Publication>),
    /// A pause of all clients is over or was changed.
    PauseChanged,
    /// Keys have been loaded: remove what is due among them, as far as that is soon done, and say so.
    RemoveLoadedDue { sender: Sender<()> },
    /// All keys may be others than before: let those who wait for one look again.
    DataReplaced,
    /// Say when this is read: no command runs any more that began before it was sent.
    Acknowledge { sender: Sender<()> },
    /// Something that a worker looks at every turn has changed.
    Wake,
}

impl Mailbox {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { messages: Mutex::new(Vec::new()), waker }
    }

    /// Puts a message in and wakes the worker.
    pub(crate) fn send(&self, message: Message) {
        let mut messages = self.messages.lock();
        let was_empty = messages.is_empty();
        messages.push(message);
        drop(messages);
        if was_empty {
            // A failing wake-up means that the event queue is gone, and the worker with it.
            let _ = self.waker.wake();
        }
    }

    /// Takes all messages out.
    pub(crate) fn take(&self, into: &mut Vec<Message>) {
        std::mem::swap(&mut *self.messages.lock(), into);
    }
}
