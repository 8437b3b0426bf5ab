//! What HTTP sees of the server, and where it listens. Serves no request itself.

use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use rubine_base::clock::unix_millis;
use rubine_cluster::State;
use rubine_config::{Config, MaxmemoryPolicy};
use rubine_http::{
    AboutDirective, HealthFacts, Host, LinkFacts, LoadingFacts, Peer, Place, ServerConfig, Settings,
};
use rubine_metrics::Samples;
use rubine_net::listener;
use rubine_net::socket::Socket;
use rubine_replication::failover;
use rubine_replication::follower::Phase;
use rubine_storage::Trouble;
use rubine_system::{allocator, ticks};

use crate::client::ClientInfo;
use crate::figures::metrics;
use crate::mailbox::Message;
use crate::pause::Hold;
use crate::process::affinity;
use crate::server::Server;

/// Listens for HTTP where `config` says, and nowhere else. If that cannot be, all stays as it was.
pub(crate) fn listen(server: &'static Server, config: &Config) -> Result<(), String> {
    let is_tls = config.http_tls;
    let place = |(address, is_optional)| Place { address, is_tls, is_optional };
    let places = listener::addresses(&config.http_bind, config.http_port)?;
    server.operating.http.listen(server, &places.into_iter().map(place).collect::<Vec<_>>())
}

impl Host for Server {
    fn begin_thread(&self) {
        affinity::pin(self.config.load().bio_cpulist.as_deref());
    }

    fn settings(&self) -> Settings {
        let config = self.config.load();
        Settings {
            asks_for_login: config.http_auth,
            link_down_seconds_max: config.ready_max_link_down.into(),
            has_console: config.console,
            is_console_writable: config.console_writable,
            takes_anybody: self.access.users().default_user().takes_any_password(),
        }
    }

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.ports.tls.current().as_ref().map(|it| Arc::clone(&it.server))
    }

    fn metrics(&'static self) -> Samples {
        metrics::collect(self)
    }

    fn health(&self) -> HealthFacts {
        let config = self.config.load();
        let is_hard_limit = config.maxmemory_policy == MaxmemoryPolicy::Noeviction;
        let used = allocator::used_memory() as u64;
        let failover = self.replication.failover.lock().phase();
        HealthFacts {
            loading: self.persistence.is_loading().then(|| self.loading()),
            link: self.replication.following.is_replica().then(|| self.link()),
            is_read_only: config.replica_read_only,
            serves_stale_data: config.replica_serve_stale_data,
            refuses_writes: self.why_no_writes(&config),
            is_memory_full: is_hard_limit && config.maxmemory != 0 && config.maxmemory <= used,
            are_clients_full: config.maxclients as usize <= self.clients.len(),
            is_cluster_down: self.cluster.as_ref().is_some_and(|it| it.view().state != State::Ok),
            is_ending: self.shutdown.is_coming() || self.shutdown.is_under_way.load(Relaxed),
            fails_over: failover != failover::Phase::None
                || self.pause.held_for() == Some(Hold::Failover),
            turn_seconds_max: self.longest_turn_seconds(),
        }
    }

    fn directive(&self, name: &str) -> AboutDirective {
        let directive = rubine_config::find(name.as_bytes());
        directive.map_or_else(AboutDirective::default, |it| AboutDirective {
            origin: self.config.origin(it),
            is_secret: it.is_sensitive(),
        })
    }

    fn connect(&self, peer: Peer) -> Result<UnixStream, String> {
        let config = self.config.load();
        let is_local = is_local(peer.remote.ip());
        if config.maxclients as usize <= self.clients.len() {
            return Err("max number of clients reached".to_owned());
        }
        if self.keeps_out(&config, is_local) {
            return Err("the default user has no password, and protected-mode is on: \
                        only clients of the same machine are let in"
                .to_owned());
        }
        let pair = UnixStream::pair().and_then(|(ours, theirs)| {
            theirs.set_nonblocking(true)?;
            Ok((ours, theirs))
        });
        let (ours, theirs) = pair.map_err(|error| format!("Can't make a connection: {error}"))?;
        let socket = Socket::Unix(mio::net::UnixStream::from_std(theirs));
        let id = self.clients.new_id();
        let worker = id as usize % self.workers.len();
        let addresses = (peer.remote.to_string(), peer.local.to_string());
        let now = unix_millis();
        let info = ClientInfo::new(id, worker, addresses, socket.fd(), is_local, now);
        let info = Arc::new(ClientInfo { comes_by_http: true, ..info });
        self.clients.add(Arc::clone(&info));
        self.workers[worker].send(Message::Connection { socket, info });
        Ok(ours)
    }
}

impl Server {
    fn loading(&self) -> LoadingFacts {
        let progress = self.persistence.loading.progress(unix_millis());
        LoadingFacts { percent: progress.percent, seconds_left: progress.seconds_left }
    }

    fn link(&self) -> LinkFacts {
        let following = &self.replication.following;
        let phase = following.link.phase();
        let down_since = following.link.down_since.load(Relaxed);
        LinkFacts {
            is_up: phase == Phase::Connected,
            is_syncing: phase == Phase::Sync,
            down_seconds: (down_since != 0)
                .then(|| ((unix_millis() - down_since).max(0) / 1000) as u64),
            was_synced: following.link.was_up.load(Relaxed),
        }
    }

    /// Why writes are refused, as far as that is no matter of who writes.
    fn why_no_writes(&self, config: &Config) -> Option<&'static str> {
        let stops = self.settings.load().stops_writes_on_failed_save;
        if self.aof.has_error() {
            return Some("the append-only file can't be written");
        }
        if stops && self.persistence.troubles().contains(Trouble::SAVE_FAILED) {
            return Some("the last save failed, and stop-writes-on-bgsave-error is yes");
        }
        let good_min = config.min_replicas_to_write as usize;
        let is_short = good_min != 0
            && config.min_replicas_max_lag != 0
            && self.replication.replicas.good_count() < good_min;
        is_short.then_some("there are fewer good replicas than min-replicas-to-write")
    }

    fn longest_turn_seconds(&self) -> u64 {
        let now = ticks::now();
        let starts = self.worker_stats().iter().map(|it| it.turn_start.get());
        let longest = starts.filter(|it| *it != 0).map(|it| now.saturating_sub(it)).max();
        (longest.unwrap_or(0) as f64 / ticks::per_microsecond() / 1e6) as u64
    }
}

fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|it| it.is_loopback())
        }
    }
}
