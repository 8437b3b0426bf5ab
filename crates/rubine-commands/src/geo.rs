//! Geo commands: places as scores of a sorted set. What they share is here; the handlers are in the files by topic.
//! Never knows how a place becomes a number.

mod place;
mod query;
mod search;

use rubine_base::number::{write_human_f64, write_rounded};
use rubine_resp::writer::Reply;
use rubine_structures::geohash::Point;

use crate::args::Args;
use crate::command::Command;
use crate::error::CommandError;

pub(crate) const COMMANDS: &[Command] = &[
    place::GEOADD,
    place::GEODIST,
    place::GEOHASH,
    place::GEOPOS,
    search::GEORADIUS,
    search::GEORADIUSBYMEMBER,
    search::GEORADIUSBYMEMBER_RO,
    search::GEORADIUS_RO,
    search::GEOSEARCH,
    search::GEOSEARCHSTORE,
];

/// Reads longitude and latitude, the first of which is argument number `at`.
fn point(args: Args<'_>, at: usize) -> Result<Point, CommandError> {
    let (longitude, latitude) = (args.float(at)?, args.float(at + 1)?);
    Point::new(longitude, latitude).ok_or_else(|| {
        let pair = format!("{longitude:.6},{latitude:.6}");
        CommandError::Other(format!("ERR invalid longitude,latitude pair {pair}").into())
    })
}

/// Reads a unit: how many meters it has.
fn unit(name: &[u8]) -> Result<f64, CommandError> {
    const UNITS: [(&str, f64); 4] = [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)];
    let unit = UNITS.into_iter().find(|(unit, _)| unit.as_bytes().eq_ignore_ascii_case(name));
    unit.map(|(_, meters)| meters)
        .ok_or(CommandError::text("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

fn write_point(reply: &mut Reply<'_>, point: Point) {
    reply.array(2);
    let mut text = Vec::new();
    for coordinate in [point.longitude, point.latitude] {
        text.clear();
        write_human_f64(&mut text, coordinate);
        reply.double_text(&text);
    }
}

/// Writes a distance as text, whatever the protocol.
fn write_distance(reply: &mut Reply<'_>, distance: f64) {
    const FRACTION_DIGITS: u32 = 4;
    let mut text = Vec::new();
    write_rounded(&mut text, distance, FRACTION_DIGITS);
    reply.bulk(&text);
}
