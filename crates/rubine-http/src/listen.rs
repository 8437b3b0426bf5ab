//! Connections: accepted, made secure, served one request after the other, each within bounds. Never looks into a request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::context::Context;
use crate::host::Peer;
use crate::route;

/// A handshake may take so long, and so may the head of a request, and the silence between two requests.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
const HEAD_TIME: Duration = Duration::from_secs(30);
/// A connection that lives longer is closed, so that nobody keeps a place by reading slowly.
const CONNECTION_TIME: Duration = Duration::from_secs(15 * 60);
/// Bytes and lines of the head of a request.
const HEAD_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 100;
/// How soon it is tried again to accept where the system has no room for more.
const RETRY_TIME: Duration = Duration::from_millis(100);
/// Serves whoever connects, until it is aborted.
pub(crate) async fn serve(context: Context, listener: TcpListener, is_tls: bool) {
    loop {
        let places = Arc::clone(&context.connections);
        let place = places.acquire_owned().await.expect("it is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("Can't accept a connection of HTTP: {error}");
                sleep(RETRY_TIME).await;
                continue;
            }
        };
        let context = context.clone();
        tokio::spawn(async move {
            // It takes its place with it.
            let _place = place;
            let _ = timeout(CONNECTION_TIME, serve_one(context, stream, is_tls)).await;
        });
    }
}

async fn serve_one(context: Context, stream: TcpStream, is_tls: bool) {
    let (Ok(remote), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
    let peer = Peer { remote, local };
    // It only delays, if it cannot be set.
    let _ = stream.set_nodelay(true);
    if !is_tls {
        return converse(context, stream, peer, false).await;
    }
    let Some(tls) = context.host.tls() else { return };
    match timeout(HANDSHAKE_TIME, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) => converse(context, stream, peer, true).await,
        Ok(Err(error)) => tracing::debug!("No TLS with {remote} on the port of HTTP: {error}"),
        Err(_) => {}
    }
}

async fn converse(
    context: Context,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: Peer,
    is_tls: bool,
) {
    let answer = service_fn(move |request| {
        let context = context.clone();
        async move { Ok::<_, Infallible>(route::answer(&context, peer, is_tls, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        tracing::debug!("A connection of HTTP ended: {error} (addr={})", peer.remote);
    }
}
