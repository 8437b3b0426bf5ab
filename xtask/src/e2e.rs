//! `cargo xtask e2e`: redis-py, ioredis and node-redis, as programs use them, and programs that live on scripts, against our server;
//! and dump files between real servers and ours. Installs libraries beside the build; where Python, Node or a server are not at hand it says so and goes on.

mod cluster;
mod dumps;
mod failover;

use std::path::{Path, PathBuf};
use std::process::Command;

use rubine_testing::papers::Papers;
use rubine_testing::server::{Server, ServerOptions};

use crate::Failure;
use crate::build;
use crate::process::{find_program, output_of_both, root, target_directory};

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// The server, instead of one built for it
    #[arg(long)]
    server: Option<PathBuf>,
    /// Only clients whose names contain this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let program = build::server_or(options.server.as_deref(), "dev")?;
    let folder = target_directory().join("e2e");
    std::fs::create_dir_all(&folder)?;
    let mut failures = Vec::new();
    let is_wanted = |name: &str| options.only.as_ref().is_none_or(|it| name.contains(it.as_str()));
    if is_wanted("dump files")
        && let Err(failure) = dumps::run(&program)
    {
        failures.push(format!("e2e: dump files: {failure}"));
    }
    for (name, prepare) in CLIENTS.into_iter().filter(|it| is_wanted(it.0)) {
        let script = match prepare(&folder) {
            Ok(script) => script,
            Err(reason) => {
                println!("e2e: without {name}: {reason}");
                continue;
            }
        };
        let papers = Papers::new();
        let options = ServerOptions::new(&program).with("workers", "3");
        let (options, tls_port) = papers.give_to(options);
        let server = options.start()?;
        let mut script = script;
        script.env("E2E_PROGRAM", &program);
        script.env("E2E_TLS_PORT", tls_port.to_string());
        for name in ["ca.crt", "client.crt", "client.key"] {
            let variable = format!("E2E_{}", name.to_uppercase().replace('.', "_"));
            script.env(variable, papers.path(name));
        }
        match play(script, &server) {
            Ok(printed) => println!("e2e: {name}: {}", printed.trim()),
            Err(failure) => failures.push(format!("e2e: {name}: {failure}\n{}", server.log())),
        }
    }
    for (name, prepare, play) in CLIENTS_OF_GROUPS.into_iter().filter(|it| is_wanted(it.0)) {
        let played = match prepare(&folder) {
            Ok(script) => play(&program, script),
            Err(reason) => {
                println!("e2e: without {name}: {reason}");
                continue;
            }
        };
        match played {
            Ok(printed) => println!("e2e: {name}: {}", printed.trim()),
            Err(failure) => failures.push(format!("e2e: {name}: {failure}")),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// Starts servers that belong together, and has a client use them.
type Play = fn(&Path, Command) -> Result<String, Failure>;

const WITH_SENTINELS: Play = |program, script| failover::Group::start(program)?.play(script);
const IN_A_CLUSTER: Play = |program, script| cluster::Group::start(program)?.play(script);

/// Clients that ask Sentinels where the master is, or nodes of a cluster where a slot is.
const CLIENTS_OF_GROUPS: [(&str, Prepare, Play); 5] = [
    ("redis-py with Sentinels", |folder| prepare_python(folder, "sentinel.py"), WITH_SENTINELS),
    ("ioredis with Sentinels", |folder| prepare_node(folder, "sentinel.mjs"), WITH_SENTINELS),
    ("redis-py in a cluster", |folder| prepare_python(folder, "cluster.py"), IN_A_CLUSTER),
    ("ioredis in a cluster", |folder| prepare_node(folder, "ioredis_cluster.mjs"), IN_A_CLUSTER),
    (
        "node-redis in a cluster",
        |folder| prepare_node(folder, "node_redis_cluster.mjs"),
        IN_A_CLUSTER,
    ),
];

/// Installs a client library; gives the command that runs its script, or why there is none.
type Prepare = fn(&Path) -> Result<Command, String>;

const CLIENTS: [(&str, Prepare); 7] = [
    ("backups in S3", |folder| {
        prepare_python_with(folder, "backups.py", "requirements-backups.txt", "python-backups")
    }),
    ("redis-py", |folder| prepare_python(folder, "redis_py.py")),
    ("rq, huey, Celery", |folder| prepare_python(folder, "scripts.py")),
    ("bullmq", |folder| prepare_node(folder, "bullmq.mjs")),
    ("ioredis", |folder| prepare_node(folder, "ioredis.mjs")),
    ("node-redis", |folder| prepare_node(folder, "node_redis.mjs")),
    ("console", prepare_browser),
];

fn play(mut script: Command, server: &Server) -> Result<String, Failure> {
    let port = server.address().port().to_string();
    output_of_both(script.env("E2E_PORT", port))
}

fn prepare_python(folder: &Path, script: &str) -> Result<Command, String> {
    prepare_python_with(folder, script, "requirements.txt", "python")
}

/// With libraries of its own, in an environment of its own.
fn prepare_python_with(
    folder: &Path,
    script: &str,
    requirements: &str,
    environment: &str,
) -> Result<Command, String> {
    let python = find_program("python3").ok_or("there is no python3")?;
    let requirements = root().join("tests/e2e").join(requirements);
    let environment = folder.join(environment);
    let own_python = environment.join("bin/python");
    if !own_python.is_file() {
        install(Command::new(python).args(["-m", "venv"]).arg(&environment))?;
    }
    install(
        Command::new(&own_python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .arg("--requirement")
            .arg(requirements),
    )?;
    let mut command = Command::new(own_python);
    command.arg(root().join("tests/e2e").join(script));
    Ok(command)
}

fn prepare_node(folder: &Path, script: &str) -> Result<Command, String> {
    let node = find_program("node").ok_or("there is no node")?;
    let npm = find_program("npm").ok_or("there is no npm")?;
    let copy = |name: &str| {
        let from = root().join("tests/e2e").join(name);
        std::fs::copy(from, folder.join(name)).map_err(|error| format!("{name}: {error}"))
    };
    copy("package.json")?;
    copy("trouble.mjs")?;
    copy(script)?;
    let mut npm = Command::new(npm);
    install(npm.current_dir(folder).args(["install", "--silent", "--no-audit", "--no-fund"]))?;
    let mut command = Command::new(node);
    command.current_dir(folder).arg(script);
    Ok(command)
}

/// The console is clicked through in Debian's Chromium; pictures are kept in `target/e2e/screenshots`.
fn prepare_browser(folder: &Path) -> Result<Command, String> {
    let browser = find_program("chromium").ok_or("there is no chromium")?;
    let mut command = prepare_node(folder, "console.mjs")?;
    command.env("CHROMIUM", browser);
    Ok(command)
}

/// Without network this fails, which is no fault of ours.
fn install(command: &mut Command) -> Result<(), String> {
    output_of_both(command).map(drop).map_err(|failure| {
        let text = failure.to_string();
        text.lines().next_back().unwrap_or("it cannot be installed").to_owned()
    })
}
