//! What a client has sent: from its socket into its query buffer, and from there into requests of a batch. Runs none.

use std::io;

use rubine_commands::Args;
use rubine_keyspace::Place;
use rubine_resp::parser::Parsed;

use super::batch::{Batch, Request};
use crate::client::{Client, ClientFlags};
use crate::core::Core;

/// Room for one read.
const READ_BYTES: usize = 16 * 1024;
/// A query buffer of up to this size is like all others.
pub(super) const USUAL_QUERY_BYTES_MAX: usize = 2 * READ_BYTES;
/// Query buffers that are kept for reuse: enough for two groups of clients.
const SPARE_BUFFERS_MAX: usize = 32;
/// An empty query buffer up to this size is kept by a client whose requests arrive in parts.
const KEPT_QUERY_BYTES_MAX: usize = 1024 * 1024;
/// Requests of one client in one turn; the rest has to wait for the others.
const TURN_REQUESTS_MAX: usize = 1024;

/// Reads once. Notes the end of the stream as a wish to be closed.
pub(super) fn read(core: &Core, client: &mut Client) {
    let room = client.input.query.capacity() - client.input.query.len();
    if room < client.input.read_want.max(READ_BYTES / 4) {
        // Not twice the size, which would count against the client's memory; enough, still, that copying is rare.
        let grown = client.input.query.len() / 4;
        client.input.query.reserve_exact(client.input.read_want.max(READ_BYTES).max(grown));
    }
    let room = client.input.query.capacity() - client.input.query.len();
    core.stats().reads_processed.add(1);
    match client.socket.read_into(&mut client.input.query) {
        Ok(0) => client.flags |= ClientFlags::CLOSE_NOW,
        Ok(count) => {
            // A full buffer may have left something behind; a short read has not, but for the end of the stream.
            client.input.is_readable = count == room || client.input.is_read_closed;
            client.input.may_parse = true;
            client.input.query_peak = client.input.query_peak.max(client.input.query.len());
            client.traffic.last_interaction = core.now;
            client.traffic.net_input += count as u64;
            core.stats().input_bytes.add(count as u64);
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => client.input.is_readable = false,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(_) => client.flags |= ClientFlags::CLOSE_NOW,
    }
}

/// Parses up to `room` requests of a client into the batch.
pub(super) fn parse(core: &mut Core, client: &mut Client, room: usize, batch: &mut Batch) {
    if client.is_held() || client.is_stalled() {
        return;
    }
    let limits = core.settings.parser_limits(client.is_authenticated);
    let mut start = client.input.query_start;
    for parsed_count in 0..room {
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
        if (is_inline || !client.is_authenticated) && 0 < parsed_count {
            return;
        }
        let first_arg = batch.args.len();
        match client.input.parser.parse(&mut client.input.query[start..], &mut batch.args, &limits)
        {
            Ok(Parsed::Request { consumed, repeats, .. }) => {
                let span = start..start + consumed;
                let args = first_arg..batch.args.len();
                let view = Args::new(&client.input.query[span.clone()], &batch.args[args.clone()]);
                if !repeats {
                    client.input.named = core.server.commands.find(view.at(0));
                }
                let entry = client.input.named.map(|it| it.asked_for(view));
                start = span.end;
                batch.requests.push(Request { span, args, entry, key: (0, Place::default()) });
                client.input.turn_requests += 1;
                if is_inline || !client.is_authenticated {
                    return;
                }
            }
            Ok(Parsed::Empty { consumed }) => {
                start += consumed;
                if parsed_count == 0 {
                    client.input.query_start = start;
                }
            }
            Ok(Parsed::Incomplete { want }) => {
                if parsed_count == 0 {
                    client.input.may_parse = false;
                    client.input.read_want = want;
                }
                return;
            }
            Err(error) => {
                if parsed_count == 0 {
                    core.protocol_error(client, error);
                }
                return;
            }
        }
    }
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
