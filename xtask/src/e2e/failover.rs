//! Three Sentinels over a master and two replicas, all ours, for clients that ask Sentinels where to go.

use std::path::Path;
use std::process::Command;

use rubine_testing::server::{Server, ServerOptions};

use crate::Failure;
use crate::process::output_of_both;

/// The group, as long as a client uses it.
pub(super) struct Group {
    sentinels: Vec<Server>,
    _servers: Vec<Server>,
}

impl Group {
    pub(super) fn start(program: &Path) -> Result<Self, Failure> {
        // It is a Sentinel by its name.
        let named = program.with_file_name("rubine-sentinel");
        if !named.exists() {
            std::os::unix::fs::symlink(program, &named)?;
        }
        let master = ServerOptions::new(program).with_file("").start()?;
        let port = master.address().port();
        let mut servers = vec![master];
        for _ in 0..2 {
            let options = ServerOptions::new(program).with_file("");
            servers.push(options.with("replicaof", &format!("127.0.0.1 {port}")).start()?);
        }
        let file = format!(
            "sentinel monitor mymaster 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds mymaster 2000\n\
             sentinel failover-timeout mymaster 10000\n"
        );
        let start = |_| ServerOptions::new(&named).with_file(&file).start();
        let sentinels = (0..3).map(start).collect::<Result<_, _>>()?;
        Ok(Self { sentinels, _servers: servers })
    }

    /// Runs a script that finds the Sentinels in a variable.
    pub(super) fn play(&self, mut script: Command) -> Result<String, Failure> {
        let ports = self.sentinels.iter().map(|it| it.address().port().to_string());
        let ports: Vec<_> = ports.collect();
        let logs = || self.sentinels.iter().map(Server::log).collect::<String>();
        output_of_both(script.env("E2E_SENTINELS", ports.join(",")))
            .map_err(|failure| format!("{failure}\n{}", logs()).into())
    }
}
