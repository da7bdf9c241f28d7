//! A front door: one address that stays while servers come and go behind it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Forwards connections to the server of the moment; without one it hangs up.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    inner: Arc<watch::Sender<Behind>>,
    accepting: AbortHandle,
}

#[derive(Clone, Copy, Debug, Default)]
struct Behind {
    server: Option<SocketAddr>,
    /// Raised to cut every connection that is open.
    cuts: u64,
}

impl Front {
    /// Opens a front door with nothing behind it.
    ///
    /// # Panics
    /// When there is no free port on the loopback interface.
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let inner = Arc::new(watch::Sender::new(Behind::default()));
        let accepting = tokio::spawn(accept(listener, inner.clone())).abort_handle();
        Self {
            address,
            inner,
            accepting,
        }
    }

    /// Opens a front door before a server.
    pub async fn before(server: SocketAddr) -> Self {
        let front = Self::open().await;
        front.lead_to(Some(server));
        front
    }

    /// New connections go to this server from now on, or nowhere.
    pub fn lead_to(&self, server: Option<SocketAddr>) {
        self.inner.send_modify(|behind| behind.server = server);
    }

    /// Cuts every open connection without a goodbye.
    pub fn cut(&self) {
        self.inner.send_modify(|behind| behind.cuts += 1);
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, inner: Arc<watch::Sender<Behind>>) {
    let mut forwards = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while forwards.try_join_next().is_some() {}
        let behind = inner.subscribe();
        forwards.spawn(forward(client, behind));
    }
}

async fn forward(mut client: TcpStream, mut behind: watch::Receiver<Behind>) {
    let Behind { server, cuts } = *behind.borrow();
    let Some(server) = server else { return };
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    // Nagle would hold back the small messages that tests time.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = behind.wait_for(|behind| behind.cuts != cuts) => {}
    }
}
