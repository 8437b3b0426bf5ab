//! Places on earth as numbers that sort by nearness: longitude and latitude are halved by turns, one bit each, 52 bits
//! together, so that a score of a sorted set holds them exactly. Knows no sets and no commands.

mod shape;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use shape::{Outline, Shape};

pub const LONGITUDE_MAX: f64 = 180.0;
/// Mercator's map ends here: the poles have no place on it.
pub const LATITUDE_MAX: f64 = 85.051_128_78;

/// How often each coordinate is halved at most.
const STEPS_MAX: u32 = 26;
/// Bits of a place.
const HASH_BITS: u32 = STEPS_MAX * 2;
/// The earth as a ball of this radius, as Redis has it.
const EARTH_RADIUS_METERS: f64 = 6_372_797.560_856;
const RADIANS_PER_DEGREE: f64 = std::f64::consts::PI / 180.0;

/// A position, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub longitude: f64,
    pub latitude: f64,
}

impl Point {
    /// `None` where the map ends.
    pub fn new(longitude: f64, latitude: f64) -> Option<Self> {
        let is_on_map = longitude.abs() <= LONGITUDE_MAX && latitude.abs() <= LATITUDE_MAX;
        is_on_map.then_some(Self { longitude, latitude })
    }

    /// The middle of the cell that a score stands for. A score that is no place is one all the same, as in Redis.
    pub fn of_score(score: f64) -> Self {
        let (y, x) = deinterleave(hash_of(score));
        let area = Cell { x, y, steps: STEPS_MAX }.area();
        let longitude = f64::midpoint(area.west, area.east).clamp(-LONGITUDE_MAX, LONGITUDE_MAX);
        let latitude = f64::midpoint(area.south, area.north).clamp(-LATITUDE_MAX, LATITUDE_MAX);
        Self { longitude, latitude }
    }

    /// The score that stands for the cell around this point.
    pub fn score(self) -> f64 {
        Cell::around(self, STEPS_MAX).hash() as f64
    }

    /// The geohash that other programs know, of eleven letters, the last without meaning.
    pub fn text(self) -> [u8; 11] {
        const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        const LETTER_BITS: u32 = 5;
        // There the map goes up to the poles.
        let y = index_of(self.latitude, -90.0, 90.0, STEPS_MAX);
        let x = index_of(self.longitude, -LONGITUDE_MAX, LONGITUDE_MAX, STEPS_MAX);
        let hash = interleave(y, x);
        std::array::from_fn(|at| {
            let bits_left = HASH_BITS.checked_sub((at as u32 + 1) * LETTER_BITS);
            LETTERS[bits_left.map_or(0, |bits| hash >> bits & 0x1f) as usize]
        })
    }

    /// Meters over ground to another point.
    pub fn distance_to(self, other: Self) -> f64 {
        // Some nanometers on the ground: below this, longitudes count as equal.
        const SINE_MIN: f64 = 1e-15;
        let radians = |degrees: f64| degrees * RADIANS_PER_DEGREE;
        let v = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        if v.abs() <= SINE_MIN {
            return latitude_distance(self.latitude, other.latitude);
        }
        let (south, north) = (radians(self.latitude), radians(other.latitude));
        let u = ((north - south) / 2.0).sin();
        let haversine = u * u + south.cos() * north.cos() * v * v;
        // Of opposite points, rounding may make it more than one.
        2.0 * EARTH_RADIUS_METERS * haversine.min(1.0).sqrt().asin()
    }
}

/// Meters over ground along a meridian.
fn latitude_distance(from: f64, to: f64) -> f64 {
    EARTH_RADIUS_METERS * (to * RADIANS_PER_DEGREE - from * RADIANS_PER_DEGREE).abs()
}

/// One field of the map after some steps of halving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    /// From west to east. A point on the eastern edge of the map is in a column of its own, beyond the last.
    x: u32,
    /// From south to north, as `x`.
    y: u32,
    steps: u32,
}

/// Where a cell ends, in degrees.
#[derive(Clone, Copy, Debug)]
struct Area {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

impl Cell {
    fn around(point: Point, steps: u32) -> Self {
        Self {
            x: index_of(point.longitude, -LONGITUDE_MAX, LONGITUDE_MAX, steps),
            y: index_of(point.latitude, -LATITUDE_MAX, LATITUDE_MAX, steps),
            steps,
        }
    }

    /// The cell so many columns to the east and rows to the north. Behind the edge of the map, it begins anew.
    fn neighbour(self, east: i32, north: i32) -> Self {
        let mask = (1_u32 << self.steps) - 1;
        let moved = |index: u32, by: i32| match by {
            0 => index,
            by => index.wrapping_add_signed(by) & mask,
        };
        Self { x: moved(self.x, east), y: moved(self.y, north), ..self }
    }

    fn area(self) -> Area {
        let edge = |index: u32, low: f64, high: f64| {
            low + f64::from(index) / (1_u64 << self.steps) as f64 * (high - low)
        };
        Area {
            west: edge(self.x, -LONGITUDE_MAX, LONGITUDE_MAX),
            east: edge(self.x.wrapping_add(1), -LONGITUDE_MAX, LONGITUDE_MAX),
            south: edge(self.y, -LATITUDE_MAX, LATITUDE_MAX),
            north: edge(self.y.wrapping_add(1), -LATITUDE_MAX, LATITUDE_MAX),
        }
    }

    fn hash(self) -> u64 {
        interleave(self.y, self.x)
    }

    /// The scores of all places in the cell, from the first to the one behind the last.
    fn scores(self) -> Range<f64> {
        let shift = HASH_BITS - self.steps * 2;
        let hash = self.hash();
        (hash << shift) as f64..((hash + 1) << shift) as f64
    }
}

/// Which of the parts between `low` and `high` a value is in, after `steps` of halving.
fn index_of(value: f64, low: f64, high: f64, steps: u32) -> u32 {
    ((value - low) / (high - low) * (1_u64 << steps) as f64) as u32
}

/// A score as an integer, where it is none as C has it on most machines.
fn hash_of(score: f64) -> u64 {
    const HALF: f64 = (1_u64 << 63) as f64;
    if score < HALF {
        score as i64 as u64
    } else if score < HALF * 2.0 {
        score as u64
    } else {
        0
    }
}

/// The bits of both by turns, those of `even` in the even positions.
fn interleave(even: u32, odd: u32) -> u64 {
    spread(even) | spread(odd) << 1
}

/// The even and the odd bits.
fn deinterleave(bits: u64) -> (u32, u32) {
    (gather(bits), gather(bits >> 1))
}

/// Every other bit of the result is a bit of `bits`.
fn spread(bits: u32) -> u64 {
    SPREADINGS.iter().fold(u64::from(bits), |bits, (shift, mask)| (bits | bits << shift) & mask)
}

/// Undoes [`spread`]; the odd bits do not count.
fn gather(bits: u64) -> u32 {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let halved = SPREADINGS.iter().rev().zip(SPREADINGS.iter().rev().skip(1));
    let bits =
        halved.fold(bits & EVEN, |bits, ((shift, _), (_, mask))| (bits | bits >> shift) & mask);
    (bits | bits >> SPREADINGS[0].0) as u32
}

/// How far groups of bits are moved apart, and where they are then.
const SPREADINGS: [(u32, u64); 5] = [
    (16, 0x0000_ffff_0000_ffff),
    (8, 0x00ff_00ff_00ff_00ff),
    (4, 0x0f0f_0f0f_0f0f_0f0f),
    (2, 0x3333_3333_3333_3333),
    (1, 0x5555_5555_5555_5555),
];
