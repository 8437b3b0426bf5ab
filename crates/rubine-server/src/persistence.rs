//! What of the data on disk has to do with workers and commands. The files are the concern of `rubine-storage`.

pub(crate) mod backup;
mod host;
mod known;
pub(crate) mod load;
mod replay;

pub(crate) use self::known::Finder;
#[cfg(test)]
pub(crate) use self::replay::Replayer;
