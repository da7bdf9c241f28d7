//! A server for other people's tests.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::broker::{Broker, MemoryBroker, RunId};
use crate::clock;
use crate::config::Config;
use crate::faults::Faults;
use crate::server::{Server, ServerBuilder};

type Build = dyn Fn(ServerBuilder) -> ServerBuilder + Send + Sync;

/// A server on a free loopback port with the memory broker and `dev_auth`; stops when dropped.
pub struct TestServer {
    address: SocketAddr,
    broker: Arc<dyn Broker>,
    build: Arc<Build>,
    faults: Faults,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl TestServer {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// When it cannot start, which fails the test that needs it.
    pub async fn start() -> Self {
        Self::start_with(|builder| builder).await
    }

    /// Starts one with rules of the application.
    ///
    /// # Panics
    ///
    /// When it cannot start.
    pub async fn start_with<F>(build: F) -> Self
    where
        F: Fn(ServerBuilder) -> ServerBuilder + Send + Sync + 'static,
    {
        let mut server = Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            broker: new_broker(),
            build: Arc::new(build),
            faults: Faults::new(),
            running: None,
        };
        server.resume().await;
        server
    }

    /// Where it listens, as `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What goes wrong on purpose; nothing until a plan is set. It stays over a restart.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Stops it: clients see their links break. What it kept stays for [`TestServer::resume`].
    pub async fn stop(&mut self) {
        if let Some(Running { stop, task }) = self.running.take() {
            drop(stop);
            // A panic of the server shows in its own output.
            let _ = task.await;
        }
    }

    /// Starts it again on the same port with what it kept.
    ///
    /// # Panics
    ///
    /// When it cannot start.
    pub async fn resume(&mut self) {
        self.stop().await;
        let config = Config {
            dev_auth: true,
            drain_grace: Duration::ZERO,
            ..Config::default()
        };
        let builder = Server::builder(config)
            .broker(Arc::clone(&self.broker))
            .faults(self.faults.clone());
        let server = (self.build)(builder)
            .build()
            .expect("a test server is built from good values");
        let listener = TcpListener::bind(self.address)
            .await
            .expect("a loopback port is free");
        self.address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let shutdown = async {
                // Dropping the sender is the signal.
                let _ = stopped.await;
            };
            server
                .run(listener, shutdown)
                .await
                .expect("a loopback listener is usable");
        });
        self.running = Some(Running { stop, task });
    }

    /// Stops it and starts it again on the same port with what it kept.
    ///
    /// # Panics
    ///
    /// When it cannot start.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.resume().await;
    }

    /// Stops it, forgets every log, and starts it again on the same port: clients hear that history
    /// was lost. Not for one with a broker of its own, which keeps what it has.
    ///
    /// # Panics
    ///
    /// When it cannot start.
    pub async fn lose_history(&mut self) {
        self.stop().await;
        self.broker = new_broker();
        self.resume().await;
    }
}

fn new_broker() -> Arc<dyn Broker> {
    Arc::new(MemoryBroker::new(RunId(clock::random_u64())))
}
