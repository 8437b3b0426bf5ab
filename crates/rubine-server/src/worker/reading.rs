//! What a client has sent: from its socket into its query buffer, and from there into requests of a batch. Runs none.

use std::io;

use rubine_base::clock::monotonic_millis;
use rubine_keyspace::Place;
use rubine_resp::parser::Parsed;

use super::batch::{Batch, Request};
use super::handshakes;
use crate::client::{Client, ClientFlags, Input};
use crate::core::Core;

/// Room for one read.
const READ_BYTES: usize = 16 * 1024;
/// Room for one read of a client that sends much at once.
const READ_BYTES_MAX: usize = 256 * 1024;
/// A query buffer of up to this size is like all others.
pub(super) const USUAL_QUERY_BYTES_MAX: usize = 2 * READ_BYTES;
/// Query buffers that are kept for reuse: enough for two groups of clients.
const SPARE_BUFFERS_MAX: usize = 32;
/// An empty query buffer up to this size is kept by a client whose requests arrive in parts.
const KEPT_QUERY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one client in one turn, beyond which nothing is read for its sake alone.
const TURN_INPUT_BYTES_MAX: usize = 1024 * 1024;
/// Requests of one client in one turn; the rest has to wait for the others.
const TURN_REQUESTS_MAX: usize = 1024;

/// Reads once. Notes the end of the stream as a wish to be closed.
pub(super) fn read(core: &Core, client: &mut Client) {
    if client.input.apart.is_arriving() {
        return read_apart(core, client);
    }
    let Client { socket, input, .. } = &mut *client;
    let read_bytes = input.read_bytes.max(READ_BYTES);
    if input.query.capacity() - input.query.len() < input.read_want.max(read_bytes / 4) {
        // Not twice the size, which would count against the client's memory; enough, still, that copying is rare.
        let grown = input.query.len() / 4;
        input.query.reserve_exact(input.read_want.max(read_bytes).max(grown));
    }
    let read = socket.read_into(&mut input.query);
    let is_filled = input.query.len() == input.query.capacity();
    if note_read(core, client, read.map(|count| (count, is_filled))) {
        client.input.may_parse = true;
        client.input.query_peak = client.input.query_peak.max(client.input.query.len());
        adapt(&mut client.input, is_filled);
    }
}

/// Chooses how much to read at once the next time. Whoever has sent more than a read takes will do so again, and each
/// read that leaves something behind costs a turn, and a reply that leaves alone.
#[inline]
fn adapt(input: &mut Input, is_filled: bool) {
    if is_filled {
        input.read_bytes = (input.read_bytes.max(READ_BYTES) * 2).min(READ_BYTES_MAX);
    } else if READ_BYTES < input.read_bytes && input.query.len() < input.read_bytes / 4 {
        input.read_bytes /= 2;
    }
}

/// Reads once, to where a long argument stays, and what comes behind it to the query.
#[cold]
fn read_apart(core: &Core, client: &mut Client) {
    let Client { socket, input, .. } = &mut *client;
    if input.query.capacity() - input.query.len() < READ_BYTES / 4 {
        input.query.reserve_exact(READ_BYTES / 4);
    }
    let received = input.apart.receive(&mut input.query, |argument, room, query| {
        socket.read_into_two(argument, room, query)
    });
    if note_read(core, client, received) {
        client.input.may_parse = !client.input.apart.is_arriving();
        client.input.query_peak = client.input.query_peak.max(client.input.query.len());
    }
}

/// Takes note of what a read has brought: so many bytes, and whether they filled the room for them. Returns whether any
/// came.
fn note_read(core: &Core, client: &mut Client, read: io::Result<(usize, bool)>) -> bool {
    core.stats().reads_processed.add(1);
    match read {
        Ok((0, _)) => client.flags |= ClientFlags::CLOSE_NOW,
        Ok((count, is_filled)) => {
            // A full buffer may have left something behind; a short read has not, but for the end of the stream.
            client.input.is_readable =
                is_filled || client.input.is_read_closed || client.socket.holds_more();
            client.input.turn_bytes += count;
            client.traffic.last_interaction = core.now;
            client.traffic.net_input += count as u64;
            core.stats().input_bytes.add(count as u64);
            return true;
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => client.input.is_readable = false,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(_) => client.flags |= ClientFlags::CLOSE_NOW,
    }
    false
}

/// Parses up to `room` requests of a client into the batch.
pub(super) fn parse(core: &mut Core, client: &mut Client, room: usize, batch: &mut Batch) {
    if client.is_held() || client.is_stalled() {
        return;
    }
    let limits = core.settings.parser_limits(client.identity.is_authenticated);
    let mut start = client.input.query_start;
    for _ in 0..room {
        if !client.input.may_parse || TURN_REQUESTS_MAX <= client.input.turn_requests {
            return;
        }
        if start == client.input.query.len() {
            client.input.may_parse = client.input.query_start < start;
            return;
        }
        // An inline request is unquoted in place, so it cannot be parsed twice: it has to be run at once.
        let is_inline = client.input.query[start] != b'*';
        // And what a client may send changes when it authenticates.
        if (is_inline || !client.identity.is_authenticated) && client.input.query_start < start {
            return;
        }
        if is_inline && handshakes::begins_tls(&client.input.query[start..]) {
            return handshakes::refuse_tls(core, client);
        }
        let first_arg = batch.args.len();
        match client.input.parser.parse(&mut client.input.query[start..], &mut batch.args, &limits)
        {
            Ok(Parsed::Request { consumed, repeats, .. }) => {
                let span = start..start + consumed;
                let args = first_arg..batch.args.len();
                let key = (0, Place::default());
                let request = Request { span, args, entry: None, key };
                let apart = client.input.apart.whole();
                let view = request.args(&client.input.query, apart, &batch.args);
                if !repeats {
                    client.input.named = core.server.commands.find(view.at(0));
                }
                let entry = client.input.named.map(|it| it.asked_for(view));
                start = request.span.end;
                batch.requests.push(Request { entry, ..request });
                client.input.turn_requests += 1;
                // What lies apart belongs to the first request of the query alone.
                let has_apart = client.input.apart.has_any();
                if is_inline || !client.identity.is_authenticated || has_apart {
                    return;
                }
            }
            Ok(Parsed::Empty { consumed }) => {
                if client.input.query_start == start {
                    client.input.query_start += consumed;
                }
                start += consumed;
                if client.flags.contains(ClientFlags::REPLICA) {
                    hear_replica(core, client);
                }
            }
            Ok(Parsed::Incomplete { want }) => {
                if client.input.query_start == start {
                    client.input.may_parse = false;
                    client.input.read_want = want;
                    if take_out(core, client, start) {
                        continue;
                    }
                }
                return;
            }
            Err(error) => {
                if client.input.query_start == start {
                    core.protocol_error(client, error);
                }
                return;
            }
        }
    }
}

/// A replica that loads says nothing but that it lives.
#[cold]
fn hear_replica(core: &Core, client: &Client) {
    let now = monotonic_millis();
    core.server.replication.replicas.with(|it| it.hear(client.id, now));
}

/// Takes a long argument that has yet to arrive out of the query, in which its request begins at `start`, so that the rest
/// of it goes where it stays. Reads that at once where it may. Returns whether there is more to parse.
#[cold]
fn take_out(core: &Core, client: &mut Client, start: usize) -> bool {
    let input = &mut client.input;
    let Some(argument) = input.parser.unfinished().filter(|_| client.identity.is_authenticated)
    else {
        return false;
    };
    let first = start + argument.start;
    input.apart.begin(argument.len, &input.query[first..]);
    input.query.truncate(first);
    input.parser.take_out();
    input.read_want = 0;
    // Less of the next argument shall come with its beginning.
    input.read_bytes = 0;
    // Where clients' memory is bounded, they are looked at between two reads.
    let may_read = input.turn_bytes < TURN_INPUT_BYTES_MAX && core.settings.client_bytes_max == 0;
    if input.is_readable && may_read {
        read(core, client);
    }
    client.input.may_parse
}

/// Drops what was executed from the query buffer, and the buffer itself when nothing is left.
pub(super) fn compact(client: &mut Client, spare_buffers: &mut Vec<Vec<u8>>) {
    if client.input.query_start == client.input.query.len() {
        client.input.query.clear();
        client.input.query_start = 0;
        client.input.may_parse = false;
        if client.input.keeps_query && client.input.query.capacity() <= KEPT_QUERY_BYTES_MAX {
            return;
        }
        client.input.keeps_query = false;
        let buffer = std::mem::take(&mut client.input.query);
        let is_usual = 0 < buffer.capacity() && buffer.capacity() <= USUAL_QUERY_BYTES_MAX;
        if is_usual && spare_buffers.len() < SPARE_BUFFERS_MAX {
            spare_buffers.push(buffer);
        }
        return;
    }
    client.input.keeps_query = true;
    if 0 < client.input.query_start {
        client.input.query.drain(..client.input.query_start);
        client.input.query_start = 0;
    }
}
