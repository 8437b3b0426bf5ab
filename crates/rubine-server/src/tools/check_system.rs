//! `--check-system`: whether anything about this machine costs the server speed or makes it fail. Changes nothing.

use std::fmt::Write;
use std::fs;
use std::process::ExitCode;

use rubine_base::clock::monotonic_nanos;

use rubine_config::Config;
use rubine_system::process::{self, Whose};

const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

enum Finding {
    Fine,
    Warning(String),
    /// It could not be found out.
    Skipped,
}

type Check = fn(&Config) -> Finding;

const CHECKS: [(&str, Check); 5] = [
    ("slow-clocksource", slow_clock),
    ("xen-clocksource", xen_clock),
    ("overcommit", overcommit),
    ("open-files", open_files),
    ("tcp-backlog", tcp_backlog),
];

/// What was found, as text, and whether all is well.
pub(crate) fn report() -> (String, ExitCode) {
    let config = Config::default();
    let (mut text, mut code) = (String::new(), ExitCode::SUCCESS);
    for (name, check) in CHECKS {
        let found = match check(&config) {
            Finding::Fine => "OK".to_owned(),
            Finding::Skipped => "skipped".to_owned(),
            Finding::Warning(warning) => {
                code = ExitCode::FAILURE;
                format!("WARNING:\n{warning}")
            }
        };
        writeln!(text, "[{name}]...{found}").expect("writing to a string cannot fail");
    }
    (text, code)
}

/// Without the help of the kernel's memory every look at the clock is a call of the kernel.
fn slow_clock(_: &Config) -> Finding {
    const SPAN_NANOS: u64 = 50_000_000;
    let before = process::cpu_time(Whose::Thread);
    let start = monotonic_nanos();
    while monotonic_nanos() - start < SPAN_NANOS {}
    let after = process::cpu_time(Whose::Thread);
    let system = after.system_us - before.system_us;
    if system * 10 <= system + after.user_us - before.user_us {
        return Finding::Fine;
    }
    let current = fs::read_to_string(CLOCK).unwrap_or_default();
    Finding::Warning(format!(
        "The system's clock source is slow ('{}'). See available_clocksource beside {CLOCK} for \
         others, such as tsc.",
        current.trim()
    ))
}

fn xen_clock(_: &Config) -> Finding {
    match fs::read_to_string(CLOCK) {
        Err(_) => Finding::Skipped,
        Ok(current) if current.trim() == "xen" => Finding::Warning(
            "The clock source 'xen' is slow on most machines; 'tsc' is not.".to_owned(),
        ),
        Ok(_) => Finding::Fine,
    }
}

/// Nothing is forked, so the common settings are all right.
fn overcommit(_: &Config) -> Finding {
    match fs::read_to_string("/proc/sys/vm/overcommit_memory") {
        Err(_) => Finding::Skipped,
        Ok(mode) if mode.trim() == "2" => Finding::Warning(
            "vm.overcommit_memory is 2: the allocator asks for more addresses than it uses memory, \
             and may be refused long before memory is full. 'sysctl vm.overcommit_memory=1' is best."
                .to_owned(),
        ),
        Ok(_) => Finding::Fine,
    }
}

fn open_files(config: &Config) -> Finding {
    let wanted = u64::from(config.maxclients) + process::RESERVED_FILES;
    let allowed = process::raise_open_files(wanted);
    if wanted <= allowed {
        return Finding::Fine;
    }
    Finding::Warning(format!(
        "At most {allowed} files may be open, which is not enough for {} clients. 'ulimit -n', \
         or LimitNOFILE of a systemd unit, raises it.",
        config.maxclients
    ))
}

fn tcp_backlog(config: &Config) -> Finding {
    match process::backlog_max() {
        None => Finding::Skipped,
        Some(max) if max < config.tcp_backlog => Finding::Warning(format!(
            "net.core.somaxconn is {max}: when many clients connect at once, some wait for a \
             second or more. 'sysctl net.core.somaxconn={}' raises it.",
            config.tcp_backlog
        )),
        Some(_) => Finding::Fine,
    }
}
