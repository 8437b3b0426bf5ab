//! The two families of servers whose suites are run, and what their source trees differ in. Runs nothing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::peer::{cache_directory, run_directory};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Family {
    Valkey,
    Redis,
}

impl Family {
    /// Of the source package; names of programs begin with it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Valkey => "valkey",
            Self::Redis => "redis",
        }
    }

    /// As it is written in text.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Valkey => "Valkey",
            Self::Redis => "Redis",
        }
    }

    /// The variable that names a folder of built programs.
    pub(super) fn variable(self) -> &'static str {
        match self {
            Self::Valkey => "VALKEY_BIN_DIR",
            Self::Redis => "REDIS_BIN_DIR",
        }
    }

    pub(super) fn server(self) -> String {
        self.program("server")
    }

    /// The programs that the suite calls besides the server.
    pub(super) fn tools(self) -> impl Iterator<Item = String> {
        ["cli", "benchmark", "check-rdb", "sentinel"].into_iter().map(move |it| self.program(it))
    }

    /// Programs that ours is under another name.
    pub(super) fn own_tools(self) -> impl Iterator<Item = String> {
        ["check-aof"].into_iter().map(move |it| self.program(it))
    }

    fn program(self, suffix: &str) -> String {
        format!("{}-{suffix}", self.name())
    }

    /// What of the suite is not expected to pass, below the top folder.
    pub(super) fn skip_list(self) -> &'static str {
        match self {
            Self::Valkey => "tests/compat/skip.txt",
            Self::Redis => "tests/compat/skip-redis.txt",
        }
    }

    /// Where the source tree is kept.
    pub(super) fn source(self) -> PathBuf {
        cache_directory().join(self.name())
    }

    /// Whether all programs of a source tree are built.
    pub(super) fn is_built(self, source: &Path) -> bool {
        let mut programs = self.tools().chain(self.own_tools()).chain([self.server()]);
        programs.all(|program| source.join("src").join(program).is_file())
    }

    /// A folder for a run's own files.
    pub(super) fn run_folder(self, name: &str) -> PathBuf {
        match self {
            Self::Valkey => run_directory().join(name),
            Self::Redis => run_directory().join(format!("redis-{name}")),
        }
    }

    /// Interpreters in the order of preference. Redis's suite asks for an encoding that newer ones do not know.
    pub(super) fn interpreters(self) -> &'static [&'static str] {
        match self {
            Self::Valkey => &["tclsh9.0", "tclsh8.6", "tclsh8.5", "tclsh"],
            Self::Redis => &["tclsh8.6", "tclsh8.5", "tclsh"],
        }
    }

    /// Takes out of a copy of the suite what every cluster of it would wait for in vain: that all nodes have the secret of
    /// Redis 8, which nodes of Valkey and of ours do not know.
    pub(super) fn adapt(self, tree: &Path) -> Result<(), Failure> {
        const SECRET: &str = "[R $j debug internal_secret]";
        if self == Self::Redis {
            let file = tree.join("tests/support/cluster_util.tcl");
            let text = fs::read_to_string(&file)?;
            if !text.contains(SECRET) {
                return Err(format!("{} does not ask for {SECRET}", file.display()).into());
            }
            fs::write(&file, text.replace(SECRET, "{}"))?;
        }
        Ok(())
    }

    /// Arguments of the suite that the other family's does not know.
    pub(super) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Valkey => &["--skip-leaks"],
            Self::Redis => &[],
        }
    }
}
