//! Subcommands that show what is known.

use rubine_base::clock::Millis;
use rubine_base::number::parse_i64;
use rubine_resp::writer::Reply;

use super::{Outcome, Request, Unsaved, is, text};
use crate::flags::{Flags, Kind};
use crate::info::Role;
use crate::instance::{Master, Node, Peer, Replica};
use crate::machine::{Core, Sentinel};
use crate::scripts::State;

/// What a Sentinel is like at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub masters: Vec<MasterFacts>,
    pub is_in_tilt: bool,
    /// How often it has been.
    pub tilts: u64,
    pub running_scripts: usize,
    pub queued_scripts: usize,
}

/// A master that is monitored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterFacts {
    pub name: String,
    /// `ok`, `sdown` or `odown`.
    pub status: &'static str,
    /// Host and port.
    pub address: String,
    pub replicas: usize,
    /// With this one.
    pub sentinels: usize,
}

impl Sentinel {
    pub fn masters(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        let Self { core, masters } = self;
        request.reply.array(masters.len());
        for master in masters.values() {
            reply_master(core, master, &mut request.reply);
        }
        Ok(Outcome::Replied)
    }

    pub fn show_master(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        let master = self.master(request)?;
        reply_master(&self.core, master, &mut request.reply);
        Ok(Outcome::Replied)
    }

    pub fn replicas(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        let master = self.master(request)?;
        let is_shown = |it: &&Replica| it.is_announced;
        request.reply.array(master.replicas.values().filter(is_shown).count());
        for replica in master.replicas.values().filter(is_shown) {
            reply_replica(&self.core, replica, &mut request.reply);
        }
        Ok(Outcome::Replied)
    }

    pub fn sentinels(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        let master = self.master(request)?;
        request.reply.array(master.peers.len());
        for peer in master.peers.values() {
            reply_peer(&self.core, peer, &mut request.reply);
        }
        Ok(Outcome::Replied)
    }

    pub fn my_id(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        request.reply.bulk(self.core.my_id.as_bytes());
        Ok(Outcome::Replied)
    }

    pub fn master_address(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        let Ok(master) = self.master(request) else {
            request.reply.null_array();
            return Ok(Outcome::Replied);
        };
        let address = master.current_address();
        request.reply.array(2);
        request.reply.bulk(self.core.names.shown(address).as_bytes());
        request.reply.bulk_integer(i64::from(address.port));
        Ok(Outcome::Replied)
    }

    /// Whether we take a master for down, and our vote, if one is asked for.
    pub fn is_master_down(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        let [host, port, epoch, id] = request.args else { return Err(super::syntax()) };
        let not_integer = || "ERR value is not an integer or out of range".to_owned();
        let port = parse_i64(port).ok_or_else(not_integer)?;
        let epoch = parse_i64(epoch).ok_or_else(not_integer)?;
        let Self { core, masters } = self;
        let now = core.now;
        let address =
            u16::try_from(port).ok().and_then(|port| core.names.address(&text(host), port, now));
        let master = address
            .and_then(|address| masters.values_mut().find(|it| it.node.address.is_same(&address)));
        let is_sure = core.tilt_since.is_none();
        let is_down =
            is_sure && master.as_ref().is_some_and(|it| it.node.flags.contains(Flags::S_DOWN));
        // Epochs that are none bring nobody a vote.
        let epoch = u64::try_from(epoch).unwrap_or(0);
        let id = text(id);
        let asks = id != "*" && crate::address::is_host(&id);
        let vote = master.filter(|_| asks).and_then(|it| core.vote(it, epoch, &id));
        let Some(vote) = vote else {
            master_state(&mut request.reply, is_down, "*", 0);
            return Ok(Outcome::Replied);
        };
        master_state(&mut request.reply, is_down, &vote.leader, vote.epoch as i64);
        Ok(Outcome::IfSaved(Unsaved::NoVote { is_down }))
    }

    pub fn check_quorum(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        let master = self.master(request)?;
        let usable = 1 + master.peers.values().filter(|it| !it.node.is_down()).count();
        let voters = 1 + master.peers.len();
        let mut problems = Vec::new();
        if usable < master.quorum as usize {
            problems.push(
                "Not enough available Sentinels to reach the specified quorum for this master",
            );
        }
        if usable <= voters / 2 {
            problems.push(
                "Not enough available Sentinels to reach the majority and authorize a failover",
            );
        }
        if problems.is_empty() {
            let text = format!(
                "OK {usable} usable Sentinels. Quorum and failover authorization can be reached"
            );
            request.reply.simple(&text);
            return Ok(Outcome::Replied);
        }
        Err(format!("NOQUORUM {usable} usable Sentinels. {}", problems.join(". ")))
    }

    pub fn info_cache(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        let names: Vec<_> = request.args.iter().map(|it| text(it)).collect();
        let is_wanted =
            |it: &&Master| names.is_empty() || names.iter().any(|name| name == it.node.name());
        let now = self.core.now;
        let wanted: Vec<_> = self.masters.values().filter(is_wanted).collect();
        let reply = &mut request.reply;
        reply.array(wanted.len() * 2);
        for master in wanted {
            reply.bulk(master.node.name().as_bytes());
            reply.array(master.replicas.len() + 1);
            let replicas = master.replicas.values().map(|it| &it.node);
            for node in std::iter::once(&master.node).chain(replicas) {
                reply.array(2);
                reply.integer(node.info_at.map_or(0, |it| now - it));
                match &node.info {
                    Some(info) => reply.bulk(info),
                    None => reply.null(),
                }
            }
        }
        Ok(Outcome::Replied)
    }

    pub fn pending_scripts(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        let now = self.core.now;
        let reply = &mut request.reply;
        reply.array(self.core.scripts.queue.len());
        for job in &self.core.scripts.queue {
            let (flags, pid, time) = match job.state {
                State::Runs { since, pid } => ("running", pid, ("run-time", now - since)),
                State::Waits { until } => {
                    let delay = until.map_or(0, |it| (it - now).max(0));
                    ("scheduled", 0, ("run-delay", delay))
                }
            };
            reply.map(5);
            reply.bulk(b"argv");
            reply.array(job.command.len());
            job.command.iter().for_each(|it| reply.bulk(it.as_bytes()));
            reply.bulk(b"flags");
            reply.bulk(flags.as_bytes());
            let numbers = [("pid", i64::from(pid)), time, ("retry-num", i64::from(job.try_count))];
            for (name, number) in numbers {
                reply.bulk(name.as_bytes());
                reply.bulk_integer(number);
            }
        }
        Ok(Outcome::Replied)
    }

    /// The names of the masters, for ROLE.
    pub fn role(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        request.reply.array(2);
        request.reply.bulk(b"sentinel");
        request.reply.array(self.masters.len());
        self.masters.keys().for_each(|it| request.reply.bulk(it.as_bytes()));
        Ok(Outcome::Replied)
    }

    /// What the whole of it is like now, for INFO and metrics.
    pub fn facts(&self) -> Facts {
        let core = &self.core;
        let masters = self.masters.values().map(|master| {
            let flags = master.node.flags;
            let status = if flags.contains(Flags::O_DOWN) {
                "odown"
            } else if flags.contains(Flags::S_DOWN) {
                "sdown"
            } else {
                "ok"
            };
            let address = &master.node.address;
            MasterFacts {
                name: master.node.name().to_owned(),
                status,
                address: format!("{}:{}", core.names.shown(address), address.port),
                replicas: master.replicas.len(),
                sentinels: master.peers.len() + 1,
            }
        });
        Facts {
            masters: masters.collect(),
            is_in_tilt: core.tilt_since.is_some(),
            tilts: core.tilt_count,
            running_scripts: core.scripts.running_count(),
            queued_scripts: core.scripts.queue.len(),
        }
    }

    /// The lines of the section of INFO.
    pub fn info_section(&self, now: Millis) -> String {
        let (core, facts) = (&self.core, self.facts());
        let tilt_seconds = core.tilt_since.map_or(-1, |it| (now - it) / 1000);
        let failures = u8::from(core.crash.election) | u8::from(core.crash.promotion) << 1;
        let mut text = format!(
            "sentinel_masters:{}\r\nsentinel_tilt:{}\r\n\
             sentinel_tilt_since_seconds:{tilt_seconds}\r\nsentinel_total_tilt:{}\r\n\
             sentinel_running_scripts:{}\r\nsentinel_scripts_queue_length:{}\r\n\
             sentinel_simulate_failure_flags:{failures}\r\n",
            facts.masters.len(),
            u8::from(facts.is_in_tilt),
            facts.tilts,
            facts.running_scripts,
            facts.queued_scripts,
        );
        for (number, master) in facts.masters.iter().enumerate() {
            let MasterFacts { name, status, address, replicas, sentinels } = master;
            let line = format!(
                "master{number}:name={name},status={status},address={address},slaves={replicas},\
                 sentinels={sentinels}\r\n",
            );
            text.push_str(&line);
        }
        text
    }

    pub fn debug(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        if request.args.is_empty() {
            let all = self.core.timings.all();
            request.reply.map(all.len());
            for (name, value) in all {
                request.reply.bulk(name.as_bytes());
                request.reply.bulk_integer(*value);
            }
            return Ok(Outcome::Replied);
        }
        let mut args = request.args.iter();
        while let Some(option) = args.next() {
            let mut all = self.core.timings.all();
            let known = all.iter_mut().find(|(name, _)| is(option, name));
            let (Some((_, timing)), Some(value)) = (known, args.next()) else {
                return Err(format!(
                    "ERR Unknown option or number of arguments for SENTINEL DEBUG '{}'",
                    text(option)
                ));
            };
            **timing = super::positive(value).ok_or_else(|| {
                let (value, option) = (text(value), text(option));
                format!("ERR Invalid argument '{value}' for SENTINEL DEBUG '{option}'")
            })?;
        }
        request.reply.ok();
        Ok(Outcome::Replied)
    }
}

/// Whether a master is down, and a vote.
pub(super) fn master_state(reply: &mut Reply<'_>, is_down: bool, leader: &str, epoch: i64) {
    reply.array(3);
    reply.integer(i64::from(is_down));
    reply.bulk(leader.as_bytes());
    reply.integer(epoch);
}

/// Fields of an instance, in the order in which they are shown.
#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl Fields {
    fn put(&mut self, name: &'static str, value: impl std::fmt::Display) {
        self.0.push((name, value.to_string()));
    }

    fn reply(self, reply: &mut Reply<'_>) {
        reply.map(self.0.len());
        for (name, value) in self.0 {
            reply.bulk(name.as_bytes());
            reply.bulk(value.as_bytes());
        }
    }
}

fn reply_master(core: &Core, master: &Master, reply: &mut Reply<'_>) {
    let mut fields = common_fields(core, &master.node, Some(master));
    fields.put("config-epoch", master.config_epoch);
    fields.put("num-slaves", master.replicas.len());
    fields.put("num-other-sentinels", master.peers.len());
    fields.put("quorum", master.quorum);
    fields.put("failover-timeout", master.failover.timeout);
    fields.put("parallel-syncs", master.parallel_syncs);
    if let Some(script) = &master.notification_script {
        fields.put("notification-script", script);
    }
    if let Some(script) = &master.client_reconfig_script {
        fields.put("client-reconfig-script", script);
    }
    fields.reply(reply);
}

fn reply_replica(core: &Core, replica: &Replica, reply: &mut Reply<'_>) {
    let mut fields = common_fields(core, &replica.node, None);
    fields.put("master-link-down-time", replica.master_link_down_ms);
    fields.put("master-link-status", if replica.master_link_is_up { "ok" } else { "err" });
    fields.put("master-host", replica.master_host.as_deref().unwrap_or("?"));
    fields.put("master-port", replica.master_port);
    fields.put("slave-priority", replica.priority);
    fields.put("slave-repl-offset", replica.offset);
    fields.put("replica-announced", u8::from(replica.is_announced));
    fields.reply(reply);
}

fn reply_peer(core: &Core, peer: &Peer, reply: &mut Reply<'_>) {
    let mut fields = common_fields(core, &peer.node, None);
    fields.put("last-hello-message", core.now - peer.hello_at);
    fields.put("voted-leader", peer.leader.as_deref().unwrap_or("?"));
    fields.put("voted-leader-epoch", peer.leader_epoch);
    fields.reply(reply);
}

fn common_fields(core: &Core, node: &Node, master: Option<&Master>) -> Fields {
    let now = core.now;
    let kind = node.place.kind;
    let link = core.links.get(&node.link).expect("a node has a link as long as it lives");
    let mut fields = Fields::default();
    fields.put("name", node.name());
    fields.put("ip", core.names.shown(&node.address));
    fields.put("port", node.address.port);
    fields.put("runid", node.run_id.as_deref().unwrap_or_default());
    let flags = |all: &[(Flags, &'static str)]| {
        let set = all.iter().filter(|(flag, _)| node.flags.contains(*flag));
        set.map(|(_, name)| *name).collect::<Vec<_>>()
    };
    let mut words = flags(&Flags::BEFORE_KIND);
    words.push(kind.name());
    if !link.is_connected(kind) {
        words.push("disconnected");
    }
    words.extend(flags(&Flags::BEHIND_KIND));
    fields.put("flags", words.join(","));
    fields.put("link-pending-commands", link.pending_count());
    fields.put("link-refcount", link.ref_count);
    if let Some(master) = master
        && node.flags.contains(Flags::FAILOVER_IN_PROGRESS)
    {
        fields.put("failover-state", master.failover.state.name());
    }
    fields.put("last-ping-sent", link.unanswered_since.map_or(0, |it| now - it));
    fields.put("last-ok-ping-reply", now - link.available_at);
    fields.put("last-ping-reply", now - link.ponged_at);
    if node.flags.contains(Flags::S_DOWN) {
        fields.put("s-down-time", now - node.s_down_since);
    }
    if node.flags.contains(Flags::O_DOWN) {
        fields.put("o-down-time", now - node.o_down_since);
    }
    fields.put("down-after-milliseconds", node.down_after);
    if kind != Kind::Sentinel {
        fields.put("info-refresh", node.info_at.map_or(0, |it| now - it));
        let role = if node.role == Some(Role::Master) { "master" } else { "slave" };
        fields.put("role-reported", role);
        fields.put("role-reported-time", now - node.role_since);
    }
    fields
}
