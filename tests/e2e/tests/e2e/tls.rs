//! `wss`: certificates are checked, and a private authority can be named.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tidewire::{Client, Reason};
use tidewire_e2e::{Board, Broker, Server, quick, within};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const AUTHORITY: &[u8] = include_bytes!("../../fixtures/tls/authority.der");
const CERTIFICATE: &[u8] = include_bytes!("../../fixtures/tls/server.der");
const KEY: &[u8] = include_bytes!("../../fixtures/tls/server.key.der");

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Ends TLS before a server; gives back the port.
async fn tls_front(server: &Server) -> u16 {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(CERTIFICATE)],
            PrivatePkcs8KeyDer::from(KEY).into(),
        )
        .expect("certificate and key belong together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let inner = server.address();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outer) = acceptor.accept(stream).await else {
                    return;
                };
                if let Ok(mut inner) = TcpStream::connect(inner).await {
                    let _ = copy_bidirectional(&mut outer, &mut inner).await;
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_private_authority_can_be_trusted() {
    let server = Server::start(&Broker::Memory).await;
    let port = tls_front(&server).await;
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(AUTHORITY))
        .expect("the authority's certificate is one");
    let tls = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Client::builder(format!("https://localhost:{port}"))
        .token("dev:ana")
        .config(quick())
        .tls(Arc::new(tls))
        .build()
        .expect("the url is good");
    let board = Board::open(client);
    within("the first view", board.channel.ready())
        .await
        .expect("the certificate is trusted");
    let put = board
        .cards
        .put("a", serde_json::json!({"title": "over TLS"}))
        .expect("the put is taken");
    within("the put is logged", put.committed())
        .await
        .expect("nothing refuses it");
}

#[tokio::test]
async fn an_unknown_authority_is_refused_with_the_reason() {
    let server = Server::start(&Broker::Memory).await;
    let port = tls_front(&server).await;
    let board = Board::open(tidewire_e2e::client(
        &format!("wss://localhost:{port}"),
        "ana",
    ));
    let mut connection = board.client.connection();
    let state = within(
        "the client says why it left",
        connection.wait_for(|state| state.reason.is_some()),
    )
    .await
    .expect("the client lives")
    .clone();
    assert!(
        matches!(&state.reason, Some(Reason::Network { detail }) if detail.contains("certificate")),
        "{state:?}"
    );
}
