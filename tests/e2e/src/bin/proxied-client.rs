//! A program whose environment names proxies: `proxied-client URL TRANSPORT [CA]` says over what its change was committed.
//! A process of its own, since the environment is the process's.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tidewire::{Client, TransportKind};
use tidewire_e2e::Card;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (url, transport) = args.next().zip(args.next()).context("URL TRANSPORT")?;
    let transport = match &*transport {
        "websocket" => TransportKind::WebSocket,
        "sse" => TransportKind::Sse,
        "long-poll" => TransportKind::LongPoll,
        other => bail!("no transport {other}"),
    };
    let mut client = Client::builder(url)
        .token("dev:ana")
        .transports([transport]);
    if let Some(authority) = args.next() {
        client = client.tls(trusting(std::fs::read(authority)?)?);
    }
    let client = client.build()?;
    let board = client.channel("board:main")?;
    let cards = board.collection::<Card>("cards");
    let put = cards.put("a", json!({"title": "through"}))?;
    tokio::time::timeout(Duration::from_secs(20), put.committed()).await??;
    let over = client.connection().borrow().transport;
    println!("{}", over.context("it is connected")?.name());
    client.close().await;
    Ok(())
}

fn trusting(authority: Vec<u8>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(Arc::new(
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    ))
}
