//! The thread that speaks HTTP: started when there is a place to listen at, and told of others while it runs.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::context::Context;
use crate::host::Host;
use crate::listen;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;
/// Threads beside the one of the connections, for what may wait for a disk.
const HELPERS_MAX: usize = 2;

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub address: SocketAddr,
    /// TLS is spoken there.
    pub is_tls: bool,
    /// It is no failure if this machine does not have the address.
    pub is_optional: bool,
}

/// What is told to the thread.
pub(crate) enum Order {
    Open(TcpListener, Place),
    /// Listen there no more, and say when that is so.
    Close(Place, mpsc::Sender<()>),
}

/// The thread, once it is needed.
#[derive(Debug, Default)]
pub struct Service(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    thread: Option<UnboundedSender<Order>>,
    open: Vec<Place>,
}

impl Service {
    /// Listens at these places and no others. If that cannot be, it listens where it did before.
    pub fn listen(&self, host: &'static dyn Host, places: &[Place]) -> Result<(), String> {
        let mut state = self.0.lock();
        let before = state.open.clone();
        // The old ones go first, as a socket at every address excludes those at a single one.
        let gone: Vec<_> = before.iter().filter(|it| !places.contains(it)).copied().collect();
        gone.into_iter().for_each(|it| state.close(it));
        let opened = places.iter().try_for_each(|it| state.open(host, *it));
        if opened.is_err() {
            let new: Vec<_> =
                state.open.iter().filter(|it| !before.contains(it)).copied().collect();
            new.into_iter().for_each(|it| state.close(it));
            for place in before {
                // It was possible a moment ago.
                let _ = state.open(host, place);
            }
        }
        opened
    }

    /// Where it listens.
    pub fn places(&self) -> Vec<Place> {
        self.0.lock().open.clone()
    }
}

impl State {
    fn open(&mut self, host: &'static dyn Host, place: Place) -> Result<(), String> {
        if self.open.contains(&place) {
            return Ok(());
        }
        let cannot = |error: &dyn std::fmt::Display| {
            format!("Can't listen on {} for HTTP: {error}", place.address)
        };
        let listener = match open(place.address) {
            Ok(listener) => listener,
            Err(error) if place.is_optional && is_unavailable(&error) => return Ok(()),
            Err(error) => return Err(cannot(&error)),
        };
        if self.thread.is_none() {
            self.thread = Some(start(host).map_err(|error| cannot(&error))?);
        }
        let thread = self.thread.as_ref().expect("it was started just now, if not before");
        thread.send(Order::Open(listener, place)).map_err(|error| cannot(&error))?;
        self.open.push(place);
        Ok(())
    }

    fn close(&mut self, place: Place) {
        self.open.retain(|it| *it != place);
        let (sender, done) = mpsc::channel();
        let is_sent =
            self.thread.as_ref().is_some_and(|it| it.send(Order::Close(place, sender)).is_ok());
        if is_sent {
            // Fails where the thread is gone, and its sockets with it.
            let _ = done.recv();
        }
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn is_unavailable(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, Unsupported};
    const NO_SUCH_FAMILY: i32 = 97;
    matches!(error.kind(), AddrNotAvailable | Unsupported)
        || error.raw_os_error() == Some(NO_SUCH_FAMILY)
}

fn start(host: &'static dyn Host) -> io::Result<UnboundedSender<Order>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(HELPERS_MAX)
        .build()?;
    let (orders, received) = unbounded_channel();
    let run = move || {
        host.begin_thread();
        runtime.block_on(obey(host, received));
    };
    std::thread::Builder::new().name("http".to_owned()).spawn(run)?;
    Ok(orders)
}

async fn obey(host: &'static dyn Host, mut orders: UnboundedReceiver<Order>) {
    let context = Context::new(host);
    let mut listeners = Vec::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Open(listener, place) => match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    let serve = listen::serve(context.clone(), listener, place.is_tls);
                    listeners.push((place, tokio::spawn(serve)));
                }
                Err(error) => {
                    tracing::warn!("Can't serve HTTP at {}: {error}", place.address);
                }
            },
            Order::Close(place, done) => {
                if let Some(index) = listeners.iter().position(|(it, _)| *it == place) {
                    let (_, task) = listeners.swap_remove(index);
                    task.abort();
                    // The socket is closed when the task is gone, which it says by an error.
                    let _ = task.await;
                }
                // Whoever waited may have left.
                let _ = done.send(());
            }
        }
    }
}
