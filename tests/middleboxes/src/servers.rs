//! Servers of this process, of which several may share a broker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidewire_server::broker::{Broker, MemoryBroker, RunId};
use tidewire_server::{Config, Principal};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running server. Whoever has a token is who it says.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

/// What keeps the logs of one or more servers.
#[must_use]
pub fn broker() -> Arc<dyn Broker> {
    Arc::new(MemoryBroker::new(RunId(7)))
}

impl Server {
    /// Starts one on a free loopback port.
    ///
    /// # Panics
    ///
    /// When it cannot start.
    pub async fn start(broker: &Arc<dyn Broker>, heartbeat: Duration) -> Self {
        Self::start_for(broker, heartbeat, &[]).await
    }

    /// The same, for pages of these origins too.
    ///
    /// # Panics
    ///
    /// When it cannot start.
    pub async fn start_for(
        broker: &Arc<dyn Broker>,
        heartbeat: Duration,
        origins: &[&str],
    ) -> Self {
        let mut config = Config::default();
        config.allow_origin = origins.iter().map(|origin| (*origin).to_owned()).collect();
        config.drain_grace = Duration::ZERO;
        config.timeouts.goaway_window = Duration::ZERO;
        // How soon a silent client is let go is not what is looked at here.
        config.timeouts.heartbeat = heartbeat;
        let server = tidewire_server::Server::builder(config)
            .broker(Arc::clone(broker))
            .authenticate(|token, _| async move { Ok(Principal::new(token)) })
            .build()
            .expect("good values");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            server.run(listener, stopped).await.expect("it serves");
        });
        Self {
            address,
            stop: Some(stop),
            running,
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.running.abort();
    }
}
