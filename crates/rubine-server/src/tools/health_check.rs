//! `--healthcheck`: asks a server whether it is healthy, for images that have no program to ask with. Starts nothing.

use std::io::Write;
use std::process::ExitCode;

/// Where the port stands, if it is not said.
const PORT_VARIABLE: &str = "RUBINE_HTTP_PORT";
/// The port if it stands nowhere: the one at which monitoring expects it.
const PORT: &str = "9121";

/// Asks the address that is given, or this machine's `/healthz`. Succeeds where the answer is 200.
pub(crate) fn main(args: &[Vec<u8>]) -> ExitCode {
    let url = match args {
        [] => {
            let port = std::env::var(PORT_VARIABLE).unwrap_or_else(|_| PORT.to_owned());
            format!("http://127.0.0.1:{port}/healthz")
        }
        [url] => String::from_utf8_lossy(url).into_owned(),
        _ => return fail("--healthcheck takes one address, of the form http://host:port/path"),
    };
    match rubine_http::probe(&url) {
        Ok((is_good, text)) => {
            // Nobody may be listening.
            let _ = std::io::stdout().write_all(text.as_bytes());
            if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(reason) => fail(&reason),
    }
}

fn fail(reason: &str) -> ExitCode {
    // Nothing is left to be done about a closed standard error.
    let _ = writeln!(std::io::stderr(), "{reason}");
    ExitCode::FAILURE
}
