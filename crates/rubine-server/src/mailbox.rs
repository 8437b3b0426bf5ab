//! What one worker tells another. Messages of one sender arrive in the order in which they were sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use mio::Waker;
use parking_lot::Mutex;
use rubine_base::hash::HashMap;
use rubine_cluster::slots::SlotSet;
use rubine_commands::{Shipment, Task};
use rubine_journal::Offset;
use rubine_resp::writer::Output;

use crate::client::ClientInfo;
use crate::client::away::{Ran, Slot};
use crate::client::inbox::Posted;
use crate::client::replica::ReplicaFeed;
use crate::client::subscriptions::ChannelKind;
use crate::observing::monitor::Lines;
use crate::publication::Publication;
use rubine_net::socket::Socket;

/// A worker's incoming messages. All but those that were published are bounded by the number of clients.
pub(crate) struct Mailbox {
    queue: Mutex<Queue>,
    waker: Waker,
    /// Bytes of published messages in `queue`, readable without its lock.
    published_bytes: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    messages: Vec<Message>,
    published_bytes: usize,
    /// Bytes of lines for clients that watch.
    line_bytes: usize,
    /// Made when all names together are above what one may have: until then, none is.
    tally: Option<Tally>,
}

/// Something that another worker, or a thread of the server, wants a worker to do.
pub(crate) enum Message {
    /// Serve this connection.
    Connection { socket: Socket, info: Arc<ClientInfo> },
    /// The command of a waiting client ran: this is its reply, where what it wrote ends in the journal, and what must be
    /// on disk before the client is told.
    Served { client: u64, output: Output, written: Option<Offset>, seen: Offset, told: Told },
    /// Stop waiting: answer as after a time-out, or with the error.
    Unblock { client: u64, with_error: bool },
    /// Close the connection, at once.
    Kill { client: u64 },
    /// What a client's command needs is computed.
    Computed { client: u64, task: Task },
    /// What a client's command sends to another server has been sent, or not.
    Shipped { client: u64, shipment: Box<Shipment> },
    /// A script of a client has run on another thread.
    ScriptRan { client: u64, ran: Box<Ran> },
    /// A client's script may run on another thread now.
    ScriptTurn { client: u64, slot: Slot },
    /// It is the turn of these clients' requests at a shard that was busy.
    ShardFree { clients: Box<[u64]> },
    /// A message to clients that listen.
    Published(Arc<Publication>),
    /// A client is to be told of copies of keys.
    Notified { client: u64 },
    /// Clients are to be told of keys with their prefixes.
    Broadcast,
    /// More was published under a name than may wait: whoever has listened to it since `version` or before, is cut.
    Overrun { kind: ChannelKind, name: Arc<[u8]>, version: u64 },
    /// Close who listens as one of these users to what that no longer may, and say so.
    ChannelsWithdrawn { users: Arc<[Box<[u8]>]>, done: Sender<()> },
    /// Commands for clients that watch.
    Lines(Arc<Lines>),
    /// More lines came than may wait: whoever watches since `version` or before, is cut.
    LinesOverrun { version: u64 },
    /// Do nothing for so long.
    Sleep { span: Duration },
    /// A save that a client's reply waits for has ended.
    FlushSaved { client: u64 },
    /// Drop this at the end of the turn: whoever drops the last of its kind has somebody told.
    EndOfTurn { told: Box<dyn Send> },
    /// A dump is made for a client that is a replica: what stands in front of it, and what the client is sent.
    FullSync { client: u64, header: Vec<u8>, feed: Box<ReplicaFeed> },
    /// A replica waits for a dump: let it know that there is somebody.
    KeepReplicaAlive { client: u64 },
    /// Replicas have what a client waits for, or enough of them.
    Replicated { client: u64 },
    /// A pause of all clients is over or was changed.
    PauseChanged,
    /// Keys have been loaded: remove what is due among them, as far as that is soon done, and say so.
    RemoveLoadedDue { sender: Sender<()> },
    /// Clients that wait on these shards may be served.
    HandOffs { shards: Vec<usize> },
    /// This server follows another from now on: whoever waits for keys waits in vain.
    BecameReplica { sender: Sender<()> },
    /// The cluster is known to be another than before: whoever waits for keys may wait in vain.
    ClusterChanged,
    /// Slots are no longer served here: whoever listens to channels in them is told.
    SlotsReleased { slots: Arc<SlotSet> },
    /// All keys may be others than before: let those who wait for one look again.
    DataReplaced,
    /// Say when this is read: no command runs any more that began before it was sent.
    Acknowledge { sender: Sender<()> },
    /// Something that a worker looks at every turn has changed.
    Wake,
}

/// What a client is told of copies of keys around the reply of a command that has waited.
#[derive(Default)]
pub(crate) struct Told {
    /// Of what was changed before the command ran.
    pub(crate) before: Vec<Posted>,
    /// Of what the command has changed.
    pub(crate) after: Vec<Posted>,
}

impl Mailbox {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { queue: Mutex::default(), waker, published_bytes: AtomicUsize::new(0) }
    }

    /// Puts a message in and wakes the worker.
    pub(crate) fn send(&self, message: Message) {
        let mut queue = self.queue.lock();
        let was_empty = queue.messages.is_empty();
        queue.messages.push(message);
        drop(queue);
        self.wake_if(was_empty);
    }

    /// Puts a message to clients in that listen, and wakes the worker. Under each name, `bytes_max` may wait at most; 0 is for
    /// no bound.
    pub(crate) fn publish(&self, publication: &Arc<Publication>, bytes_max: u64) {
        let mut queue = self.queue.lock();
        let was_empty = queue.messages.is_empty();
        let bytes = publication.byte_count();
        let is_above = bytes_max != 0 && bytes_max < (queue.published_bytes + bytes) as u64;
        if is_above && !queue.count(publication, bytes_max) {
            return;
        }
        queue.published_bytes += bytes;
        queue.messages.push(Message::Published(Arc::clone(publication)));
        self.published_bytes.store(queue.published_bytes, Ordering::Relaxed);
        drop(queue);
        self.wake_if(was_empty);
    }

    /// Puts lines for clients that watch in, and wakes the worker. If more than `bytes_max` would wait, those clients are
    /// cut instead.
    pub(crate) fn send_lines(&self, lines: &Arc<Lines>, bytes_max: usize) {
        let mut queue = self.queue.lock();
        let was_empty = queue.messages.is_empty();
        let has_overrun = bytes_max < queue.line_bytes;
        queue.line_bytes += lines.bytes.len();
        if has_overrun {
            // It was said before, and covers these as well.
            if let Some(Message::LinesOverrun { version }) = queue.messages.last_mut() {
                *version = lines.version;
                return;
            }
            queue.messages.push(Message::LinesOverrun { version: lines.version });
        } else {
            queue.messages.push(Message::Lines(Arc::clone(lines)));
        }
        drop(queue);
        self.wake_if(was_empty);
    }

    fn wake_if(&self, was_empty: bool) {
        if was_empty {
            // A failing wake-up means that the event queue is gone, and the worker with it.
            let _ = self.waker.wake();
        }
    }

    /// Takes all messages out.
    pub(crate) fn take(&self, into: &mut Vec<Message>) {
        let mut queue = self.queue.lock();
        std::mem::swap(&mut queue.messages, into);
        queue.line_bytes = 0;
        if queue.published_bytes != 0 {
            queue.published_bytes = 0;
            self.published_bytes.store(0, Ordering::Relaxed);
        }
        let tally = queue.tally.take();
        drop(queue);
        if let Some(tally) = tally {
            into.extend(tally.overruns());
        }
    }

    /// Bytes of published messages that wait here.
    pub(crate) fn published_bytes(&self) -> usize {
        self.published_bytes.load(Ordering::Relaxed)
    }
}

impl Queue {
    /// Counts a publication by its names, with all that wait already. Returns whether anybody is to have it.
    #[cold]
    fn count(&mut self, publication: &Publication, bytes_max: u64) -> bool {
        let tally = self.tally.get_or_insert_with(|| {
            let mut tally = Tally::default();
            for message in &self.messages {
                if let Message::Published(earlier) = message {
                    tally.add(earlier, bytes_max);
                }
            }
            tally
        });
        tally.add(publication, bytes_max)
    }
}

/// Bytes of the messages that wait, by the names under which they were published.
#[derive(Default)]
struct Tally {
    names: HashMap<(usize, Arc<[u8]>), Waiting>,
}

#[derive(Default)]
struct Waiting {
    bytes: u64,
    /// The version of the last message that was too much.
    overrun: Option<u64>,
}

impl Tally {
    /// Returns whether it is not too much under all of its names: those who listen to the others are to have it.
    fn add(&mut self, publication: &Publication, bytes_max: u64) -> bool {
        let bytes = publication.byte_count() as u64;
        let mut is_wanted = false;
        publication.for_each_name(|kind, name, version| {
            let waiting = self.names.entry((kind.index(), Arc::clone(name))).or_default();
            waiting.bytes += bytes;
            if bytes_max < waiting.bytes {
                waiting.overrun = Some(version);
            } else {
                is_wanted = true;
            }
        });
        is_wanted
    }

    fn overruns(self) -> impl Iterator<Item = Message> {
        self.names.into_iter().filter_map(|((kind, name), waiting)| {
            let version = waiting.overrun?;
            Some(Message::Overrun { kind: ChannelKind::ALL[kind], name, version })
        })
    }
}
