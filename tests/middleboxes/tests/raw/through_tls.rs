//! The client's side of TLS, so that everything else here can speak plainly.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tidewire_middleboxes::{Middlebox, repository};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

/// A box without TLS: itself, or what opens TLS to it.
pub(crate) struct Plain {
    address: SocketAddr,
    forwarding: Option<AbortHandle>,
}

impl Plain {
    pub(crate) async fn before(middlebox: &Middlebox) -> Self {
        let to = middlebox.address();
        if !middlebox.is_tls() {
            return Self {
                address: to,
                forwarding: None,
            };
        }
        let connector = connector();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let forwarding = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let connector = connector.clone();
                tokio::spawn(async move {
                    let server = TcpStream::connect(to).await?;
                    let name = ServerName::try_from("localhost").expect("a name");
                    let mut server = connector.connect(name, server).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Self {
            address,
            forwarding: Some(forwarding.abort_handle()),
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        if let Some(forwarding) = &self.forwarding {
            forwarding.abort();
        }
    }
}

fn connector() -> TlsConnector {
    let authority = std::fs::read(repository("tests/e2e/fixtures/tls/authority.der"));
    let mut roots = RootCertStore::empty();
    roots
        .add(authority.expect("the fixture is there").into())
        .expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}
