//! Missing batteries: hashing, clock, random numbers, number text, glob, CRC. Knows no Redis concept.

#![forbid(unsafe_code)]

pub mod hash;
