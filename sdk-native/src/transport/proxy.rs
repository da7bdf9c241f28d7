//! The proxies that the environment names, for WebSockets. Requests go through them by themselves, by the same rules:
//! `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case.

use std::io;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::http::Uri;
use tower_service::Service;

/// Which proxy leads where.
#[derive(Clone, Debug)]
pub(crate) struct Proxies(std::sync::Arc<Matcher>);

impl Proxies {
    /// As the environment is now.
    pub(crate) fn from_env() -> Self {
        Self(std::sync::Arc::new(Matcher::from_env()))
    }

    /// The one that leads to `destination`, an `http` or `https` URL, if it is not reached directly.
    pub(crate) fn to(&self, destination: &Uri) -> Option<Intercept> {
        self.0.intercept(destination)
    }
}

/// A connection to `destination` through a proxy, by CONNECT.
pub(crate) async fn tunnel(proxy: &Intercept, destination: Uri) -> io::Result<TcpStream> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let mut tunnel = Tunnel::new(proxy.uri().clone(), connector);
    if let Some(auth) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(auth.clone());
    }
    std::future::poll_fn(|cx| tunnel.poll_ready(cx))
        .await
        .map_err(io::Error::other)?;
    let stream = tunnel.call(destination).await.map_err(io::Error::other)?;
    Ok(stream.into_inner())
}
