//! What host names stand for, which a thread of its own finds out: it may take long.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;
use rubine_cluster::{Event, LinkId};

use crate::cluster::{Answer, Cluster, Job};

/// What is to be found out.
struct Wanted {
    host: Arc<str>,
    /// The connection that it is for, and its port; without one, the machine wants to know.
    link: Option<(LinkId, u16)>,
}

type Found = Mutex<Vec<(LinkId, Result<SocketAddr, String>)>>;

pub(super) struct Names {
    wanted: Sender<Wanted>,
    /// Where connections that wait lead to.
    found: Arc<Found>,
}

impl Names {
    pub(super) fn start(cluster: &'static Cluster) -> io::Result<Self> {
        let (wanted, receiver) = channel();
        let found = Arc::<Found>::default();
        let telling = Arc::clone(&found);
        let look_up = move || look_up(cluster, &receiver, &telling);
        std::thread::Builder::new().name("names".to_owned()).spawn(look_up)?;
        Ok(Self { wanted, found })
    }

    /// Has the machine know what a name stands for.
    pub(super) fn find(&self, host: Arc<str>) {
        // At the end of the process nobody listens any more.
        let _ = self.wanted.send(Wanted { host, link: None });
    }

    /// Finds out where a connection is to lead to.
    pub(super) fn find_for(&self, link: LinkId, host: &str, port: u16) {
        let _ = self.wanted.send(Wanted { host: host.into(), link: Some((link, port)) });
    }

    pub(super) fn take_found(&self) -> Vec<(LinkId, Result<SocketAddr, String>)> {
        std::mem::take(&mut self.found.lock())
    }
}

fn look_up(cluster: &'static Cluster, wanted: &Receiver<Wanted>, found: &Found) {
    for Wanted { host, link } in wanted {
        let ip = address_of(&host);
        if let Some((link, port)) = link {
            let address = ip.map(|it| SocketAddr::new(it, port));
            let address = address.ok_or_else(|| format!("'{host}' stands for no address"));
            found.lock().push((link, address));
        }
        cluster.submit(Job::unasked(move |machine, now| {
            if link.is_none() {
                machine.handle(Event::Resolved { host, ip }, now);
            }
            Ok(Answer::Ok)
        }));
    }
}

/// What a name stands for; IPv4 is preferred, as the others do.
fn address_of(host: &str) -> Option<IpAddr> {
    let all: Vec<_> = (host, 0).to_socket_addrs().ok()?.map(|it| it.ip()).collect();
    all.iter().find(|it| it.is_ipv4()).or(all.first()).copied()
}
