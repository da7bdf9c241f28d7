//! `wss`: certificates are checked, and a private authority can be named.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tidewire::{Client, Reason, TransportKind};
use tidewire_e2e::{Board, Broker, Server, quick, within};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const AUTHORITY: &[u8] = include_bytes!("../../fixtures/tls/authority.der");
const CERTIFICATE: &[u8] = include_bytes!("../../fixtures/tls/server.der");
const KEY: &[u8] = include_bytes!("../../fixtures/tls/server.key.der");

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Ends TLS before a server; gives back the port.
pub(crate) async fn tls_front(server: &Server) -> u16 {
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

/// What a client is given that trusts the authority of these tests alone.
pub(crate) fn trusting_the_authority() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(AUTHORITY))
        .expect("the authority's certificate is one");
    let tls = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(tls)
}

#[tokio::test]
async fn a_private_authority_can_be_trusted() {
    let server = Server::start(&Broker::Memory).await;
    let port = tls_front(&server).await;
    let client = Client::builder(format!("https://localhost:{port}"))
        .token("dev:ana")
        .config(quick())
        .tls(trusting_the_authority())
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

const TRANSPORTS: [TransportKind; 3] = [
    TransportKind::WebSocket,
    TransportKind::Sse,
    TransportKind::LongPoll,
];

/// A client of `http://localhost:PORT` that has one transport.
fn over(transport: TransportKind, port: u16) -> Client {
    Client::builder(format!("http://localhost:{port}"))
        .token("dev:ana")
        .config(quick())
        .transports([transport])
        .tls(trusting_the_authority())
        .build()
        .expect("the url is good")
}

/// Sends everything to `to`, and counts.
async fn redirects(to: String) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            if stream.read_line(&mut line).await.is_err() {
                continue;
            }
            count.fetch_add(1, Ordering::Relaxed);
            let path = line.split(' ').nth(1).unwrap_or("/");
            let answer = format!(
                "HTTP/1.1 301 Moved Permanently\r\nLocation: {to}{path}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            // Whoever does not wait for the answer is not redirected.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_http_to_https_of_the_same_host_is_followed_once() {
    let server = Server::start(&Broker::Memory).await;
    let tls = tls_front(&server).await;
    for transport in TRANSPORTS {
        let (port, asked) = redirects(format!("https://localhost:{tls}")).await;
        let client = over(transport, port);
        let board = Board::open(client);
        let put = board.cards.put("a", serde_json::json!({"title": "x"}));
        within(transport.name(), put.expect("it is taken").committed())
            .await
            .expect("nothing refuses it");
        assert_eq!(asked.load(Ordering::Relaxed), 1, "{transport:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_to_another_host_is_told_and_not_followed() {
    let server = Server::start(&Broker::Memory).await;
    let tls = tls_front(&server).await;
    for transport in TRANSPORTS {
        let (port, _) = redirects(format!("https://127.0.0.1:{tls}")).await;
        let client = over(transport, port);
        client.connect();
        let mut connection = client.connection();
        let told = connection.wait_for(|state| state.reason.is_some());
        let state = within(transport.name(), told).await.expect("it lives");
        let Some(Reason::Network { detail }) = &state.reason else {
            panic!("{transport:?}: {:?}", state.reason);
        };
        let leads = format!("leads to https://127.0.0.1:{tls}/v1/");
        assert!(detail.contains(&leads), "{transport:?}: {detail}");
    }
}
