//! Lines of a configuration, as errors and those who read them later know them. Reads none.

/// A line of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigLine {
    /// The file, or a description of what is not a file.
    pub origin: String,
    /// Counted from 1.
    pub number: usize,
    pub text: String,
}

/// A `user` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserLine {
    /// What stands behind `user`: a name, and rules.
    pub words: Vec<Vec<u8>>,
    /// Where it stands.
    pub line: Option<ConfigLine>,
}

/// A `sentinel` line, for Sentinel mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentinelLine {
    /// What stands behind `sentinel`.
    pub words: Vec<Vec<u8>>,
    /// Where it stands.
    pub line: Option<ConfigLine>,
}
