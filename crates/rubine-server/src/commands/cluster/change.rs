//! Orders about nodes: who is known, who follows whom, and which epoch counts.

use rubine_base::number::parse_i64;
use rubine_cluster::{Asker, Failover, Reset};
use rubine_commands::{CommandError, CommandResult};

use super::{cluster_of, order_that, order_to};
use crate::cluster::Answer;
use crate::core::Session;

/// What the port of the bus is above that of clients, if nobody says otherwise.
const BUS_PORT_INCREMENT: i64 = 10_000;

pub(super) fn meet(session: &mut Session<'_>) -> CommandResult {
    if 5 < session.args.len() {
        return Err(CommandError::Arity("cluster|meet".into()));
    }
    cluster_of(session)?;
    let invalid = |what: &str, given: &[u8]| {
        CommandError::quoting(&[format!("ERR Invalid {what} port specified: ").as_bytes(), given])
    };
    let args = session.args;
    let port = parse_i64(args.at(3)).ok_or_else(|| invalid("base", args.at(3)))?;
    let number = u16::try_from(port).ok().filter(|it| *it != 0);
    let number = number.ok_or(CommandError::text("ERR Port number is out of range"))?;
    let bus_port = match args.get(4) {
        Some(given) => parse_i64(given).ok_or_else(|| invalid("bus", given))?,
        None => port + BUS_PORT_INCREMENT,
    };
    let bus_port = u16::try_from(bus_port).ok().filter(|it| *it != 0);
    let out_of_range = CommandError::text("ERR Cluster bus port number is out of range");
    let bus_port = bus_port.ok_or(out_of_range)?;
    let ip = String::from_utf8_lossy(args.at(2)).into_owned();
    order_that(session, move |machine, asker, now| {
        machine.meet_at(&ip, number, bus_port, asker, now)
    })
}

pub(super) fn forget(session: &mut Session<'_>) -> CommandResult {
    let name = session.args.at(2).to_vec();
    order_that(session, move |machine, asker, now| machine.forget(&name, asker, now))
}

pub(super) fn replicate(session: &mut Session<'_>) -> CommandResult {
    let args = session.args;
    match args.len() {
        3 => {
            let name = args.at(2).to_vec();
            order_that(session, move |machine, _, now| machine.replicate(&name, now))
        }
        4 if args.at(2).eq_ignore_ascii_case(b"no") && args.at(3).eq_ignore_ascii_case(b"one") => {
            order_that(session, |machine, asker, now| {
                machine.replicate_no_one(asker, now);
                Ok(())
            })
        }
        _ => Err(CommandError::text(
            "ERR unknown subcommand or wrong number of arguments for 'REPLICATE'. Try CLUSTER HELP.",
        )),
    }
}

pub(super) fn count_failure_reports(session: &mut Session<'_>) -> CommandResult {
    let cluster = cluster_of(session)?;
    let count = cluster.ask(|machine, now| machine.count_failure_reports(session.args.at(2), now));
    let count = count.map_err(|error| CommandError::Other(error.to_string().into()))?;
    session.reply.integer(count as i64);
    Ok(())
}

pub(super) fn failover(session: &mut Session<'_>) -> CommandResult {
    let mut how = Failover::Coordinated;
    let mut only = None;
    let mut words = session.args.from(2);
    while let Some(word) = words.next() {
        if session.client.identity.is_trusted() && word.eq_ignore_ascii_case(b"replicaid") {
            // A primary that ends says so which of its replicas it means.
            only = words.next().map(<[u8]>::to_vec);
            continue;
        }
        how = if word.eq_ignore_ascii_case(b"takeover") {
            Failover::Takeover
        } else if !word.eq_ignore_ascii_case(b"force") {
            return Err(CommandError::Syntax);
        } else if how == Failover::Takeover {
            how
        } else {
            Failover::Force
        };
    }
    let is_from_primary = session.client.identity.is_trusted();
    order_that(session, move |machine, asker, now| {
        let asker = match asker {
            Asker::Client(name) if is_from_primary => Asker::Primary(name),
            asker => asker,
        };
        machine.failover(how, only.as_deref(), asker, now)
    })
}

pub(super) fn reset(session: &mut Session<'_>) -> CommandResult {
    let how = match session.args.get(2) {
        _ if 3 < session.args.len() => return Err(CommandError::Arity("cluster|reset".into())),
        None => Reset::Soft,
        Some(word) if word.eq_ignore_ascii_case(b"soft") => Reset::Soft,
        Some(word) if word.eq_ignore_ascii_case(b"hard") => Reset::Hard,
        Some(_) => return Err(CommandError::Syntax),
    };
    order_that(session, move |machine, asker, now| machine.reset(how, asker, now))
}

pub(super) fn bump_epoch(session: &mut Session<'_>) -> CommandResult {
    order_to(session, |machine, _, now| {
        let (is_new, epoch) = machine.bump_own_epoch(now);
        let word = if is_new { "BUMPED" } else { "STILL" };
        Ok(Answer::Status(format!("{word} {epoch}")))
    })
}

pub(super) fn set_config_epoch(session: &mut Session<'_>) -> CommandResult {
    let epoch = session.args.integer(2)?;
    order_that(session, move |machine, _, now| machine.set_config_epoch(epoch, now))
}

pub(super) fn save_config(session: &mut Session<'_>) -> CommandResult {
    order_to(session, |machine, _, _| {
        machine.save_config();
        Ok(Answer::IfSaved)
    })
}
