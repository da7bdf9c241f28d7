//! Proxies that the environment names, with a real one: tinyproxy.

use std::collections::BTreeMap;
use std::path::Path;

use tidewire_e2e::{Broker, Server, within};
use tidewire_middleboxes::ForwardProxy;
use tokio::process::Command;

use crate::tls::tls_front;

const TRANSPORTS: [&str; 3] = ["websocket", "sse", "long-poll"];

/// Nothing listens there.
const DEAD: &str = "http://127.0.0.1:9";

/// Runs a client whose environment has these names and no other ones of proxies.
async fn client(args: &[&str], environment: &[(&str, &str)]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxied-client"));
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command.args(args).envs(environment.iter().copied());
    let output = within("the client", command.kill_on_drop(true).output());
    let output = output.await.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_three_transports_go_through_the_proxy_of_the_environment() {
    let server = Server::start(&Broker::Memory).await;
    let proxy = ForwardProxy::start().await;
    let (url, through) = (server.url(), proxy.url());
    for (transport, name) in TRANSPORTS
        .into_iter()
        .zip(["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
    {
        let over = client(&[&url, transport], &[(name, &through)]).await;
        assert_eq!(over.as_deref(), Ok(transport), "{name}");
    }
    let mut methods = BTreeMap::new();
    for request in proxy.requests() {
        let method = request.split(' ').next().unwrap_or_default().to_owned();
        *methods.entry(method).or_insert(0) += 1;
    }
    // One tunnel for the WebSocket; plain requests are asked of the proxy.
    assert_eq!(methods["CONNECT"], 1, "{methods:?}");
    assert!(methods["POST"] >= 4, "{methods:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_the_proxy_sees_tunnels_alone() {
    let server = Server::start(&Broker::Memory).await;
    let proxy = ForwardProxy::start().await;
    let url = format!("https://localhost:{}", tls_front(&server).await);
    let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls/authority.der");
    let authority = authority.to_str().expect("a path in UTF-8");
    for transport in TRANSPORTS {
        let environment = [("HTTPS_PROXY", &*proxy.url()), ("HTTP_PROXY", DEAD)];
        let over = client(&[&url, transport, authority], &environment).await;
        assert_eq!(over.as_deref(), Ok(transport));
    }
    let requests = proxy.requests();
    assert!(requests.len() >= 3, "{requests:?}");
    let is_tunnel = |request: &String| request.starts_with("CONNECT localhost:");
    assert!(requests.iter().all(is_tunnel), "{requests:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_no_proxy_asks_none() {
    let server = Server::start(&Broker::Memory).await;
    let url = server.url();
    for transport in TRANSPORTS {
        let environment = [("ALL_PROXY", DEAD), ("no_proxy", "example.com,127.0.0.1")];
        let over = client(&[&url, transport], &environment).await;
        assert_eq!(over.as_deref(), Ok(transport));
    }
}
