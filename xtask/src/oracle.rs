//! `cargo xtask oracle`: the transcripts against real servers, so that what they claim is what Redis clients really see.

use std::path::{Path, PathBuf};

use rubine_testing::server::ServerOptions;
use rubine_testing::target::{Target, TcpTarget};
use rubine_testing::transcript::{self, Scope, Summary};

use crate::Failure;
use crate::peer;
use crate::process::root;

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Only transcripts whose path contains this text
    filter: Option<String>,
    /// Writes the server's replies into the transcripts, as UPDATE=1 does
    #[arg(long)]
    update: bool,
    /// Plays them against this program instead of Valkey
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let filter = options.filter.as_deref().unwrap_or_default();
    let update = options.update || std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let server = options.server.clone().or_else(|| peer::valkey_program("valkey-server"));
    let Some(server) = server else {
        return Err(
            "no valkey-server: set VALKEY_BIN_DIR, or let `cargo xtask compat --prepare` build one"
                .into(),
        );
    };
    let mut failures = play(&server, filter, update, Scope::All)?;
    if options.server.is_none()
        && let Some(redis) = peer::redis_server()
    {
        failures += play(&redis, filter, update, Scope::OnlyNamed)?;
    }
    if failures == 0 { Ok(()) } else { Err(format!("{failures} replies differ").into()) }
}

fn play(program: &Path, filter: &str, update: bool, scope: Scope) -> Result<usize, Failure> {
    let server = ServerOptions::new(program).with("enable-debug-command", "yes").start()?;
    let mut target = TcpTarget::connect(server.address())?;
    let transcripts = root().join("tests/transcripts");
    let Summary { files, checked, failures, updated } =
        transcript::run_files(&transcripts, filter, update, scope, &mut target)?;
    if files == 0 && scope == Scope::All {
        return Err(format!("no transcript's path contains `{filter}`").into());
    }
    for failure in &failures {
        println!("{failure}");
    }
    for path in updated {
        println!("updated {}", path.display());
    }
    println!(
        "oracle {}: {checked} replies of {files} transcripts, {} differ",
        target.identity(),
        failures.len()
    );
    Ok(failures.len())
}
