//! Subcommands that change what is monitored, or have something done.

use rubine_base::glob::{self, Case};
use rubine_base::number::parse_i64;

use super::{Outcome, Request, Unsaved, is, refuse_control_characters, text};
use crate::config::yes_no;
use crate::effect::{Action, Level};
use crate::flags::Flags;
use crate::instance::OwnFailover;
use crate::machine::{Asking, Peers, Sentinel};

/// Parameters of `SENTINEL CONFIG`, in the order in which they are shown.
const PARAMETERS: [&str; 7] = [
    "resolve-hostnames",
    "announce-hostnames",
    "announce-ip",
    "announce-port",
    "sentinel-user",
    "sentinel-pass",
    "loglevel",
];
const LOG_LEVELS: [&str; 5] = ["debug", "verbose", "notice", "warning", "nothing"];

impl Sentinel {
    /// The host that MONITOR names, which the driver had better look up before.
    pub fn host_to_monitor<'a>(&self, args: &[&'a [u8]]) -> Option<&'a str> {
        let host = args.get(1).filter(|_| self.resolves_names())?;
        std::str::from_utf8(host).ok()
    }

    pub fn monitor(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        refuse_control_characters(request.args, 2, "SENTINEL MONITOR")?;
        let [name, host, port, quorum] = request.args else { return Err(super::syntax()) };
        let quorum = parse_i64(quorum).ok_or("ERR Invalid quorum")?;
        let port = parse_i64(port).ok_or("ERR Invalid port")?;
        if quorum <= 0 {
            return Err("ERR Quorum must be 1 or greater.".to_owned());
        }
        let host = text(host);
        if self.core.names.ip_of(&host, request.now).is_none() {
            return Err("ERR Invalid IP address or hostname specified".to_owned());
        }
        let quorum = u32::try_from(quorum).unwrap_or(u32::MAX);
        let name = text(name);
        self.add_master(&name, (&host, port), quorum).map_err(|error| format!("ERR {error}"))?;
        self.core.tell_of_monitor(&self.masters[&*name]);
        self.saved(request)
    }

    pub fn remove(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        self.master(request)?;
        let name = text(request.args[0]);
        self.core.tell_master(Level::Warning, "-monitor", &self.masters[&*name], "");
        self.remove_master(&name);
        self.saved(request)
    }

    pub fn flush_config(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        self.saved(request)
    }

    /// OK, if that can be kept.
    pub(super) fn saved(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        self.core.save();
        request.reply.ok();
        Ok(Outcome::IfSaved(Unsaved::Refusal))
    }

    pub fn reset(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        let pattern = request.args.first().copied().unwrap_or_default();
        let mut count = 0;
        let Self { core, masters } = self;
        for master in masters.values_mut() {
            if glob::matches(pattern, master.node.name().as_bytes(), Case::Sensitive) {
                core.reset(master, Peers::Forgotten);
                core.tell_master(Level::Warning, "+reset-master", master, "");
                count += 1;
            }
        }
        request.reply.integer(count);
        Ok(Outcome::Replied)
    }

    pub fn failover(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        let own_failover = self.master(request)?.node.own_failover;
        let is_coordinated = match request.args.get(1) {
            None => false,
            Some(word) if is(word, "coordinated") => {
                if own_failover == OwnFailover::Unknown {
                    let text = "NOGOODPRIMARY Primary does not support FAILOVER command";
                    return Err(text.to_owned());
                }
                true
            }
            Some(_) => return Err("ERR Unknown failover option specified".to_owned()),
        };
        let Self { core, masters } = self;
        let name = text(request.args[0]);
        let master = masters.get_mut(&*name).expect("it was just found");
        if master.node.flags.contains(Flags::FAILOVER_IN_PROGRESS) {
            return Err("INPROG Failover already in progress".to_owned());
        }
        if core.best_replica(master).is_none() {
            return Err("NOGOODSLAVE No suitable replica to promote".to_owned());
        }
        core.log(Level::Notice, format!("Executing user requested FAILOVER of '{name}'"));
        master.node.s_down_since = core.now;
        master.node.flags.insert(Flags::S_DOWN);
        core.start_failover(master);
        if is_coordinated {
            // The others have to elect us.
            master.node.flags.insert(Flags::COORD_FAILOVER);
            core.ask_others(master, Asking::Forced);
        } else {
            master.node.flags.insert(Flags::FORCE_FAILOVER);
        }
        request.reply.ok();
        Ok(Outcome::Replied)
    }

    pub fn simulate_failure(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        let core = &mut self.core;
        core.crash.election = false;
        core.crash.promotion = false;
        for word in request.args {
            let when = if is(word, "crash-after-election") {
                core.crash.election = true;
                "being successfully elected as failover leader"
            } else if is(word, "crash-after-promotion") {
                core.crash.promotion = true;
                "promoting the selected replica to master"
            } else if is(word, "help") {
                request.reply.array(2);
                request.reply.bulk(b"crash-after-election");
                request.reply.bulk(b"crash-after-promotion");
                return Ok(Outcome::Replied);
            } else {
                return Err("ERR Unknown failure simulation specified".to_owned());
            };
            let text = format!("Failure simulation: this Sentinel will crash after {when}");
            core.log(Level::Warning, text);
        }
        request.reply.ok();
        Ok(Outcome::Replied)
    }

    pub fn config(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        match request.args {
            [word, _, _, ..] if is(word, "set") => self.config_set(request),
            [word, _, ..] if is(word, "get") => self.config_get(request),
            _ => Err("ERR Only SENTINEL CONFIG GET <param> [<param> <param> ...] / SET <param> \
                      <value> [<param> <value> ...] are supported."
                .to_owned()),
        }
    }

    fn config_get(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        let patterns = &request.args[1..];
        let mut found: Vec<&str> = Vec::new();
        // In the order in which they were asked for.
        for pattern in patterns {
            for name in PARAMETERS {
                let is_asked = glob::matches(pattern, name.as_bytes(), Case::Insensitive);
                if is_asked && !found.contains(&name) {
                    found.push(name);
                }
            }
        }
        request.reply.map(found.len());
        for name in found {
            request.reply.bulk(name.as_bytes());
            request.reply.bulk(self.parameter(name).as_bytes());
        }
        Ok(Outcome::Replied)
    }

    fn parameter(&self, name: &str) -> String {
        let core = &self.core;
        let yes_no = |it: bool| if it { "yes" } else { "no" }.to_owned();
        match name {
            "resolve-hostnames" => yes_no(core.names.resolves),
            "announce-hostnames" => yes_no(core.names.announces),
            "announce-ip" => core.announce_ip.clone().unwrap_or_default(),
            "announce-port" => core.announce_port.to_string(),
            "sentinel-user" => core.sentinel_user.clone().unwrap_or_default(),
            "sentinel-pass" => core.sentinel_pass.clone().unwrap_or_default(),
            _ => core.identity.log_level.clone(),
        }
    }

    fn config_set(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        refuse_control_characters(&request.args[1..], 3, "SENTINEL CONFIG SET")?;
        let mut settings: Vec<(&str, String)> = Vec::new();
        let mut args = request.args[1..].iter();
        while let Some(option) = args.next() {
            let shown = text(option);
            let name = PARAMETERS
                .into_iter()
                .find(|it| is(option, it))
                .ok_or_else(|| format!("ERR Invalid argument '{shown}' to SENTINEL CONFIG SET"))?;
            if settings.iter().any(|(it, _)| *it == name) {
                return Err(format!("ERR Duplicate argument '{shown}' to SENTINEL CONFIG SET"));
            }
            let value =
                args.next().ok_or_else(|| format!("ERR Missing argument '{shown}' value"))?;
            let value = text(value);
            let is_valid = match name {
                "resolve-hostnames" | "announce-hostnames" => yes_no(&value).is_some(),
                "announce-port" => {
                    parse_i64(value.as_bytes()).is_some_and(|it| u16::try_from(it).is_ok())
                }
                "loglevel" => LOG_LEVELS.iter().any(|it| it.eq_ignore_ascii_case(&value)),
                _ => true,
            };
            if !is_valid {
                return Err(format!(
                    "ERR Invalid value '{value}' to SENTINEL CONFIG SET '{shown}'"
                ));
            }
            settings.push((name, value));
        }
        for (name, value) in settings {
            self.set_parameter(name, value);
        }
        self.saved(request)
    }

    fn set_parameter(&mut self, name: &str, value: String) {
        let core = &mut self.core;
        let filled = |text: String| Some(text).filter(|it| !it.is_empty());
        match name {
            "resolve-hostnames" => core.names.resolves = yes_no(&value).unwrap_or_default(),
            "announce-hostnames" => core.names.announces = yes_no(&value).unwrap_or_default(),
            "announce-ip" => core.announce_ip = filled(value),
            "announce-port" => core.announce_port = value.parse().unwrap_or_default(),
            "sentinel-user" => {
                core.sentinel_user = filled(value);
                self.greet_peers_anew();
            }
            "sentinel-pass" => {
                core.sentinel_pass = filled(value);
                self.greet_peers_anew();
            }
            _ => {
                let level = value.to_ascii_lowercase();
                core.identity.log_level.clone_from(&level);
                core.effects.actions.push(Action::SetLogLevel(level));
            }
        }
    }

    /// Ends the connections to other Sentinels, which will be made with what is said there now.
    fn greet_peers_anew(&mut self) {
        let Self { core, masters } = self;
        for peer in masters.values().flat_map(|it| it.peers.values()) {
            core.close_all(&peer.node);
        }
    }
}
