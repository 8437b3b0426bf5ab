//! The lines of the configuration that are Sentinel's: `sentinel monitor mymaster 127.0.0.1 6379 2`, and all that is kept
//! of what was found out. Reads and writes text, never a file. Real Sentinels read what is written here, and the other
//! way around.

use rubine_base::quote::quote_repr;

use crate::hello::number;
use crate::instance::{Master, Renamed};
use crate::machine::{CreateError, Sentinel};

/// Why a line is not taken; as the report at the start shows it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub(crate) String);

impl From<&str> for ConfigError {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<CreateError> for ConfigError {
    fn from(error: CreateError) -> Self {
        Self(error.to_string())
    }
}

pub(crate) const NO_SUCH_MASTER: &str = "No such master with specified name.";
const NOT_POSITIVE: &str = "negative or zero time parameter.";
const ID_LEN: usize = 40;

/// Lines that others build on, whatever the order in which they stand.
const FIRST: [&str; 9] = [
    "announce-ip",
    "announce-port",
    "deny-scripts-reconfig",
    "sentinel-user",
    "sentinel-pass",
    "current-epoch",
    "myid",
    "resolve-hostnames",
    "announce-hostnames",
];

impl Sentinel {
    /// In which order a line `sentinel WORD ..` is to be given to [`Self::configure`]: those of a lower number first.
    pub fn config_order(word: &[u8]) -> u8 {
        if FIRST.iter().any(|it| it.as_bytes().eq_ignore_ascii_case(word)) {
            0
        } else if word.eq_ignore_ascii_case(b"monitor") {
            1
        } else {
            2
        }
    }

    /// The host names in a line, which are better known before it is taken in.
    pub fn hosts_in<'a>(words: &[&'a str]) -> Option<&'a str> {
        match words {
            [word, _, host, ..]
                if ["monitor", "known-replica", "known-slave", "known-sentinel"]
                    .iter()
                    .any(|it| it.eq_ignore_ascii_case(word)) =>
            {
                Some(host)
            }
            _ => None,
        }
    }

    /// Whether host names are taken: then the driver looks those up that a line has.
    pub fn resolves_names(&self) -> bool {
        self.core.names.resolves
    }

    /// Takes in a line: the words behind `sentinel`.
    pub fn configure(
        &mut self,
        words: &[&str],
        is_executable: &dyn Fn(&str) -> bool,
    ) -> Result<(), ConfigError> {
        let [word, arguments @ ..] = words else { return Err(UNRECOGNIZED.into()) };
        let word = word.to_ascii_lowercase();
        let core = &mut self.core;
        match (word.as_str(), arguments) {
            ("current-epoch", [epoch]) => core.epoch = core.epoch.max(number(epoch)),
            ("myid", [id]) => {
                if id.len() != ID_LEN || !id.bytes().all(|it| it.is_ascii_alphanumeric()) {
                    return Err("Malformed Sentinel id in myid option.".into());
                }
                (*id).clone_into(&mut core.my_id);
            }
            ("announce-ip", [ip]) => core.announce_ip = filled(ip),
            ("announce-port", [port]) => {
                core.announce_port = u16::try_from(number(port)).unwrap_or(0);
            }
            ("deny-scripts-reconfig", [value]) => {
                core.denies_scripts_reconfig = yes_no(value)
                    .ok_or("Please specify yes or no for the deny-scripts-reconfig options.")?;
            }
            ("sentinel-user", [user]) => core.sentinel_user = filled(user),
            ("sentinel-pass", [password]) => core.sentinel_pass = filled(password),
            ("resolve-hostnames", [value]) => {
                core.names.resolves = yes_no(value)
                    .ok_or("Please specify yes or no for the resolve-hostnames option.")?;
            }
            ("announce-hostnames", [value]) => {
                core.names.announces = yes_no(value)
                    .ok_or("Please specify yes or no for the announce-hostnames option.")?;
            }
            ("monitor", [name, host, port, quorum]) => {
                let quorum = u32::try_from(number(quorum)).unwrap_or(0);
                if quorum == 0 {
                    return Err("Quorum must be 1 or greater.".into());
                }
                self.add_master(name, (host, atoi(port)), quorum)?;
            }
            (_, [name, values @ ..]) => {
                self.configure_master(&word, name, values, is_executable)?;
            }
            _ => return Err(UNRECOGNIZED.into()),
        }
        Ok(())
    }

    fn configure_master(
        &mut self,
        word: &str,
        name: &str,
        values: &[&str],
        is_executable: &dyn Fn(&str) -> bool,
    ) -> Result<(), ConfigError> {
        let Self { core, masters } = self;
        let known = masters.get_mut(name);
        let master = known.ok_or_else(|| ConfigError::from(NO_SUCH_MASTER));
        let period = |text: &str| Some(atoi(text)).filter(|it| 0 < *it).ok_or(NOT_POSITIVE);
        match (word, values) {
            ("down-after-milliseconds", [value]) => master?.set_down_after(period(value)?),
            ("failover-timeout", [value]) => master?.failover.timeout = period(value)?,
            ("parallel-syncs", [value]) => master?.parallel_syncs = atoi(value),
            ("notification-script", [path]) => {
                let master = master?;
                if !is_executable(path) {
                    return Err("Notification script seems non existing or non executable.".into());
                }
                master.notification_script = Some((*path).to_owned());
            }
            ("client-reconfig-script", [path]) => {
                let master = master?;
                if !is_executable(path) {
                    return Err(
                        "Client reconfiguration script seems non existing or non executable."
                            .into(),
                    );
                }
                master.client_reconfig_script = Some((*path).to_owned());
            }
            ("auth-pass", [value]) => master?.access.password = Some((*value).to_owned()),
            ("auth-user", [value]) => master?.access.user = Some((*value).to_owned()),
            ("config-epoch", [epoch]) => {
                let master = master?;
                master.config_epoch = number(epoch);
                core.epoch = core.epoch.max(master.config_epoch);
            }
            ("leader-epoch", [epoch]) => master?.leader_epoch = number(epoch),
            ("known-replica" | "known-slave", [host, port]) => {
                let master = master?;
                let port = u16::try_from(atoi(port)).map_err(|_| CreateError::Port)?;
                let address = core.names.address(host, port, core.now);
                core.add_replica(master, address.ok_or(CreateError::Unresolved)?)?;
            }
            // The form without an id is of old, and tells nothing.
            ("known-sentinel", [_, _]) => {}
            ("known-sentinel", [host, port, id]) => {
                master?;
                self.add_peer(name, id, (host, atoi(port)))?;
            }
            ("rename-command", [from, to]) => {
                let renamed = Renamed { from: (*from).to_owned(), to: (*to).to_owned() };
                let old = master?.access.renamed.insert(from.to_ascii_uppercase(), renamed);
                if old.is_some() {
                    let text = "Same command renamed multiple times with rename-command.";
                    return Err(text.into());
                }
            }
            ("primary-reboot-down-after-period" | "master-reboot-down-after-period", [value]) => {
                let master = master?;
                let period = atoi(value);
                if period < 0 {
                    return Err("negative time parameter.".into());
                }
                master.reboot_down_after = period;
            }
            _ => return Err(UNRECOGNIZED.into()),
        }
        Ok(())
    }

    /// All that has to be kept, as lines of the configuration file.
    pub fn config_lines(&self) -> Vec<String> {
        let core = &self.core;
        let mut lines = vec![format!("sentinel myid {}", core.my_id)];
        if !core.denies_scripts_reconfig {
            lines.push("sentinel deny-scripts-reconfig no".to_owned());
        }
        if core.names.resolves {
            lines.push("sentinel resolve-hostnames yes".to_owned());
        }
        if core.names.announces {
            lines.push("sentinel announce-hostnames yes".to_owned());
        }
        for master in self.masters.values() {
            self.master_lines(master, &mut lines);
        }
        lines.push(format!("sentinel current-epoch {}", core.epoch));
        let quoted = |text: &String| quote_repr(text.as_bytes());
        if let Some(ip) = &core.announce_ip {
            lines.push(format!("sentinel announce-ip {}", quoted(ip)));
        }
        if core.announce_port != 0 {
            lines.push(format!("sentinel announce-port {}", core.announce_port));
        }
        if let Some(user) = &core.sentinel_user {
            lines.push(format!("sentinel sentinel-user {}", quoted(user)));
        }
        if let Some(password) = &core.sentinel_pass {
            lines.push(format!("sentinel sentinel-pass {}", quoted(password)));
        }
        lines
    }

    fn master_lines(&self, master: &Master, lines: &mut Vec<String>) {
        let core = &self.core;
        let names = &core.names;
        let name = as_word(master.node.name());
        let current = master.current_address();
        let mut put = |word: &str, value: String| {
            lines.push(format!("sentinel {word} {name} {value}"));
        };
        let place = format!("{} {}", names.kept(current), current.port);
        put("monitor", format!("{place} {}", master.quorum));
        let timings = &core.timings;
        if master.node.down_after != timings.default_down_after {
            put("down-after-milliseconds", master.node.down_after.to_string());
        }
        if master.failover.timeout != timings.default_failover_timeout {
            put("failover-timeout", master.failover.timeout.to_string());
        }
        if master.parallel_syncs != 1 {
            put("parallel-syncs", master.parallel_syncs.to_string());
        }
        let access = &master.access;
        let texts = [
            ("notification-script", &master.notification_script),
            ("client-reconfig-script", &master.client_reconfig_script),
            ("auth-pass", &access.password),
            ("auth-user", &access.user),
        ];
        for (word, text) in texts {
            if let Some(text) = text {
                put(word, quote_repr(text.as_bytes()));
            }
        }
        if master.reboot_down_after != 0 {
            // The name that Sentinels of both families know.
            put("master-reboot-down-after-period", master.reboot_down_after.to_string());
        }
        put("config-epoch", master.config_epoch.to_string());
        put("leader-epoch", master.leader_epoch.to_string());
        for replica in master.replicas.values() {
            // Where the promoted one is, that is the master; the old one follows it.
            let is_current = replica.node.address.is_same(current);
            let address = if is_current { &master.node.address } else { &replica.node.address };
            put("known-replica", format!("{} {}", names.kept(address), address.port));
        }
        for peer in master.peers.values() {
            let address = &peer.node.address;
            let place = format!("{} {}", names.kept(address), address.port);
            put("known-sentinel", format!("{place} {}", peer.node.name()));
        }
        for Renamed { from, to } in access.renamed.values() {
            let (from, to) = (quote_repr(from.as_bytes()), quote_repr(to.as_bytes()));
            put("rename-command", format!("{from} {to}"));
        }
    }
}

const UNRECOGNIZED: &str = "Unrecognized sentinel configuration statement.";

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

pub(crate) fn yes_no(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// A number as C reads one.
fn atoi(text: &str) -> i64 {
    let text = text.trim_start();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    sign * i64::from(i32::try_from(number(digits)).unwrap_or(i32::MAX))
}

/// A name such that it is one word when it is read again.
fn as_word(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'#\\".contains(&byte);
    let is_word = !name.is_empty() && name.bytes().all(is_plain);
    if is_word { name.to_owned() } else { quote_repr(name.as_bytes()) }
}
