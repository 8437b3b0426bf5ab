//! Programs that look at files of data and repair them while no server runs, and what is done with them before one
//! starts. They serve nobody.

pub mod check_aof;
pub mod check_rdb;
pub mod restore;
