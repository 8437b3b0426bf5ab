//! What of the data on disk has to do with clients, workers and commands. The files are the concern of `rubine-storage`.

mod durability;
mod host;
pub(crate) mod load;
mod replay;

pub(crate) use self::durability::NO_LOG;
#[cfg(test)]
pub(crate) use self::replay::Replayer;
