//! The source's end of a connection: an image of slots, and then what changes in them, read from the journal behind the
//! image. Takes the locks of those slots' shards twice, for a moment, and makes no worker wait.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rubine_base::clock::{monotonic_millis, unix_millis};
use rubine_cluster::migration::{JobId, Word};
use rubine_cluster::slots::SlotSet;
use rubine_commands::{Args, FilterError, SlotFilter};
use rubine_journal::{Hold, Offset, Reader, ReplicaStart};
use rubine_keyspace::ShardSet;
use rubine_net::link::{Greeting, Link, Way};
use rubine_resp::parser::{ArgRange, Limits, Parsed, Parser, Sender};
use rubine_storage::slot_writer::SlotWriter;

use super::carrier::Carrier;
use crate::client::ClientInfo;
use crate::cluster::{Cluster, Order, Side};
use crate::persistence::load::wait_for_running_commands;
use crate::server::Server;

/// Nothing more is made while so much waits to be sent.
const UNSENT_BYTES_MAX: usize = 1024 * 1024;
/// What is made at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// What is made before it is looked what else there is to do.
const TURN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// No reply is longer.
const REPLY_BYTES_MAX: usize = 16 * 1024;
/// What the target says is short.
const LIMITS: Limits = Limits { bulk_bytes_max: REPLY_BYTES_MAX as i64, sender: Sender::Stranger };
/// Why what fits is always taken.
const ROOM: &str = "no more is made than what has room";

/// Connects to a node, and serves the connection until it ends, on a thread of its own.
pub(super) fn start(
    server: &'static Server,
    cluster: &'static Cluster,
    job: JobId,
    address: SocketAddr,
) -> Result<(), String> {
    let begin = || {
        let source = source_address(server)?;
        let way = Way { source, is_multipath: false };
        let link = Link::connect_by(address, way, server.tls_to_master())?;
        let addresses = (address.to_string(), String::new());
        let (id, now) = (server.clients.new_id(), unix_millis());
        let is_local = address.ip().is_loopback();
        let info = ClientInfo::new(id, 0, addresses, link.fd(), is_local, now);
        info.names.lock().user = b"(superuser)".to_vec();
        let carrier = Carrier::new(server, cluster, job, link, Arc::new(info), Side::Source)?;
        let export = Export {
            carrier,
            is_open: false,
            sending: Sending::Nothing,
            written_bytes: 0,
            image_at_ms: 0,
            held: None,
            pause_at: None,
        };
        std::thread::Builder::new().name("slot-export".to_owned()).spawn(move || export.run())
    };
    begin().map(drop).map_err(|error| error.to_string())
}

/// The address that connections are made from, if one is set.
pub(super) fn source_address(server: &Server) -> io::Result<Option<IpAddr>> {
    let config = server.config.load();
    let source = config.bind_source_addr.as_deref().filter(|it| !it.is_empty());
    let Some(source) = source else { return Ok(None) };
    Ok((source, 0).to_socket_addrs()?.next().map(|it| it.ip()))
}

struct Export {
    carrier: Carrier,
    is_open: bool,
    sending: Sending,
    /// What was written and is not counted as sent.
    written_bytes: usize,
    /// Nothing more of the image is made before that moment of the monotonic clock.
    image_at_ms: u64,
    /// Writes to these slots are held, and it is not known yet where in the journal the last of them is.
    held: Option<SlotSet>,
    /// It is to be told when the journal has left up to here.
    pause_at: Option<Offset>,
}

/// What is sent by itself.
enum Sending {
    Nothing,
    Image { image: SlotWriter, reader: Reader, slots: SlotSet },
    Changes { filter: SlotFilter, reader: Reader },
}

impl Export {
    fn run(mut self) {
        let outcome = self.serve();
        self.carrier.end(outcome);
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut has_work = true;
        loop {
            self.carrier.wait(has_work)?;
            if self.carrier.is_over()? {
                return Ok(());
            }
            if !self.is_open {
                self.is_open = self.carrier.link.open()?;
                has_work = false;
                if !self.is_open {
                    continue;
                }
                let job = self.carrier.job;
                self.carrier.tell(|machine, _, now| machine.connected(job, now));
            }
            self.obey()?;
            self.hear()?;
            self.make()?;
            let is_sent = self.carrier.link.flush()?;
            self.count_sent();
            self.show();
            self.check_limit()?;
            has_work = is_sent && self.has_more();
        }
    }

    /// Whether more can be made now. Otherwise whoever writes to the journal wakes this thread.
    fn has_more(&self) -> bool {
        match &self.sending {
            Sending::Nothing => false,
            Sending::Image { .. } => true,
            Sending::Changes { reader, .. } => {
                !reader.arm(reader.position() + 1, self.carrier.waker())
            }
        }
    }

    fn obey(&mut self) -> io::Result<()> {
        let server = self.carrier.server;
        for order in self.carrier.handle.take_orders() {
            match order {
                Order::Authenticate => {
                    let config = server.config.load();
                    let user = config.primaryuser.as_deref().filter(|it| !it.is_empty());
                    let password = config.primaryauth.as_deref();
                    let greeting = Greeting { user, password, protocol: None };
                    self.carrier.link.greet(&greeting).expect(ROOM);
                }
                Order::Send(bytes) => self.send(&bytes)?,
                Order::SendKeys(slots) => self.begin_sending(slots)?,
                Order::ReachPause(slots) => self.held = Some(slots),
            }
        }
        self.find_pause();
        Ok(())
    }

    /// Finds where in the journal the last write is that began before writes were held. Scripts that take long may write
    /// until they end.
    fn find_pause(&mut self) {
        let server = self.carrier.server;
        let Some(slots) = self.held.take_if(|_| !server.scripting.is_any_long()) else { return };
        wait_for_running_commands(server);
        if server.scripting.is_any_long() {
            self.held = Some(slots);
            return;
        }
        let locked = server.keyspace.lock(&ShardSet::of_slots(slots.iter()));
        self.pause_at = Some(server.journal.end());
        drop(locked);
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let full = |_| io::Error::other("the target does not take what is sent");
        self.written_bytes += bytes.len();
        self.carrier.link.send_bytes(bytes).map_err(full)
    }

    /// Counts what has left since it was called last.
    fn count_sent(&mut self) {
        let unsent = self.carrier.link.unsent().min(self.written_bytes);
        let sent = (self.written_bytes - unsent) as u64;
        self.written_bytes = unsent;
        self.carrier.cluster.migrations.export_bytes.fetch_add(sent, Ordering::Relaxed);
    }

    /// Takes the image, and opens the reader of what follows on it.
    fn begin_sending(&mut self, slots: SlotSet) -> io::Result<()> {
        let server = self.carrier.server;
        let numbers: Vec<u16> = slots.iter().collect();
        let limit = server.config.load().client_output_buffer_limit.replica.hard_bytes;
        let hold = if limit == 0 { Hold::Everything } else { Hold::UpTo(limit) };
        let shards = ShardSet::of_slots(numbers.iter().copied());
        let mut locked = server.keyspace.lock(&shards);
        let images = locked.snapshot_slots(&numbers);
        let reader = server.journal.open_replica_reader(ReplicaStart::End, hold);
        drop(locked);
        let reader = reader.map_err(|error| io::Error::other(error.to_string()))?;
        let image = SlotWriter::new(images);
        let total = image.progress().1;
        self.carrier.handle.progress.keys_total.store(total, Ordering::Relaxed);
        self.sending = Sending::Image { image, reader, slots };
        Ok(())
    }

    /// Takes in what the target says: replies first, and then its own words.
    fn hear(&mut self) -> io::Result<()> {
        let received = self.carrier.link.receive();
        let mut args = Vec::new();
        while let Some(first) = self.carrier.link.input().first().copied() {
            let consumed =
                if first == b'*' { self.hear_word(&mut args)? } else { self.hear_reply()? };
            let Some(consumed) = consumed else { break };
            self.carrier.link.consume(consumed);
        }
        received
    }

    fn hear_reply(&self) -> io::Result<Option<usize>> {
        let input = self.carrier.link.input();
        let Some(len) = input.windows(2).position(|it| it == b"\r\n") else {
            if REPLY_BYTES_MAX < input.len() {
                let text = "Response to establish job is larger than buffer limit";
                return Err(io::Error::new(ErrorKind::InvalidData, text));
            }
            return Ok(None);
        };
        let (job, line) = (self.carrier.job, String::from_utf8_lossy(&input[..len]));
        self.carrier.tell(|machine, _, now| machine.replied(job, &line, now));
        Ok(Some(len + 2))
    }

    fn hear_word(&self, args: &mut Vec<ArgRange>) -> io::Result<Option<usize>> {
        args.clear();
        let input = self.carrier.link.input();
        let parsed = Parser::new().parse_command(input, args, &LIMITS);
        let parsed = parsed.map_err(|it| io::Error::new(ErrorKind::InvalidData, it))?;
        let consumed = match parsed {
            Parsed::Incomplete { .. } => return Ok(None),
            Parsed::Empty { consumed } => return Ok(Some(consumed)),
            Parsed::Request { consumed, .. } => consumed,
        };
        let said = Args::new(&input[..consumed], args);
        let word = word_of(said);
        let (job, journal) = (self.carrier.job, &self.carrier.server.journal);
        self.show();
        let unsent = self.carrier.handle.remaining_bytes(journal.end());
        self.carrier.tell(|machine, _, now| match word {
            Some(word) => {
                machine.note_remaining(job, unsent);
                machine.received(job, word, now);
            }
            None => machine.received_unknown(job, now),
        });
        Ok(Some(consumed))
    }

    /// Makes what is to be sent next, as far as there is room for it.
    fn make(&mut self) -> io::Result<()> {
        let mut chunk = Vec::new();
        let mut made = 0;
        while self.carrier.link.unsent() < UNSENT_BYTES_MAX && made < TURN_BYTES_MAX {
            chunk.clear();
            let has_more = match &mut self.sending {
                Sending::Nothing => false,
                Sending::Image { .. } if monotonic_millis() < self.image_at_ms => break,
                Sending::Image { image, .. } => {
                    let delay_us = key_delay_us(self.carrier.server);
                    let before = image.progress().0;
                    let bytes = if delay_us == 0 { CHUNK_BYTES } else { 1 };
                    let has_more = image.write_some(bytes, &mut chunk)?;
                    if delay_us != 0 {
                        let delay_ms =
                            (image.progress().0 - before).saturating_mul(delay_us) / 1000;
                        self.image_at_ms = monotonic_millis() + delay_ms;
                    }
                    has_more
                }
                Sending::Changes { filter, reader } => {
                    let mut slices = Vec::new();
                    let before = reader.position();
                    let read = reader.read(CHUNK_BYTES, &mut slices);
                    read.map_err(|it| io::Error::other(it.to_string()))?;
                    let passed = slices.iter().try_for_each(|it| filter.pass(it, &mut chunk));
                    if let Err(error) = passed {
                        return self.end_by(&error);
                    }
                    before != reader.position()
                }
            };
            made += chunk.len().max(1);
            self.send(&chunk)?;
            let progress = &self.carrier.handle.progress;
            progress.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            self.carrier.link.flush()?;
            if !has_more && !self.end_image() {
                break;
            }
        }
        self.tell_pause();
        Ok(())
    }

    /// What changes cannot be passed on any more.
    fn end_by(&mut self, error: &FilterError) -> io::Result<()> {
        if !matches!(error, FilterError::Everything(_)) {
            return Err(io::Error::other(error.to_string()));
        }
        self.sending = Sending::Nothing;
        self.carrier.tell(|machine, _, now| machine.flushed(now));
        Ok(())
    }

    /// If all of the image is on its way, goes on with what has changed since. Returns whether that was so.
    fn end_image(&mut self) -> bool {
        let (image, reader, slots) = match std::mem::replace(&mut self.sending, Sending::Nothing) {
            Sending::Image { image, reader, slots } => (image, reader, slots),
            other => {
                self.sending = other;
                return false;
            }
        };
        let database = reader.database_at_start().map(|it| it as usize);
        let filter = SlotFilter::new(slots.iter(), database, image.selected());
        self.note_keys(&image);
        self.sending = Sending::Changes { filter, reader };
        let job = self.carrier.job;
        self.carrier.tell(|machine, _, now| machine.snapshot_sent(job, now));
        true
    }

    /// Tells when all that was written before writes were held is on its way.
    fn tell_pause(&mut self) {
        let Sending::Changes { reader, .. } = &self.sending else { return };
        if self.pause_at.is_some_and(|it| it <= reader.position()) {
            self.pause_at = None;
            let job = self.carrier.job;
            self.carrier.tell(|machine, _, now| machine.paused(job, now));
        }
    }

    fn show(&self) {
        let unsent = self.carrier.link.unsent();
        let behind_from = match &self.sending {
            Sending::Image { image, reader, .. } => {
                self.note_keys(image);
                Some(reader.position())
            }
            // What the journal has waits only while the connection takes no more.
            Sending::Changes { reader, .. } if unsent != 0 => Some(reader.position()),
            _ => None,
        };
        self.carrier.handle.show_remaining(unsent, behind_from);
        self.carrier.show(self.carrier.link.input().len());
    }

    /// Ends it when too much waits: the limit may have been set since it began.
    fn check_limit(&self) -> io::Result<()> {
        let server = self.carrier.server;
        let limit = server.config.load().client_output_buffer_limit.replica.hard_bytes;
        if limit == 0 || self.carrier.handle.remaining_bytes(server.journal.end()) <= limit {
            return Ok(());
        }
        Err(io::Error::other("more waits to be sent than client-output-buffer-limit allows"))
    }

    fn note_keys(&self, image: &SlotWriter) {
        let progress = &self.carrier.handle.progress;
        progress.keys.store(image.progress().0, Ordering::Relaxed);
    }
}

/// Microseconds that each key of an image takes longer: `rdb-key-save-delay`, which is for tests.
fn key_delay_us(server: &Server) -> u64 {
    u64::try_from(server.config.load().rdb_key_save_delay).unwrap_or(0)
}

/// The word of SYNCSLOTS that somebody says, if it is one.
pub(super) fn word_of(said: Args<'_>) -> Option<Word> {
    let is =
        |index: usize, word: &[u8]| said.get(index).is_some_and(|it| it.eq_ignore_ascii_case(word));
    if is(0, b"CLUSTER") && is(1, b"SYNCSLOTS") { Word::parse(said.get(2)?) } else { None }
}
