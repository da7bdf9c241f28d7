//! Proxies that the environment names, with a real one: tinyproxy.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::future::join_all;
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

/// Runs a client over each transport with each of these variables; all must get through.
async fn all_get_through(arguments: &[&str], environments: &[&[(&str, &str)]]) {
    join_all(environments.iter().flat_map(|environment| {
        TRANSPORTS.map(|transport| async move {
            let arguments: Vec<_> = [&arguments[..1], &[transport], &arguments[1..]].concat();
            let over = client(&arguments, environment).await;
            assert_eq!(over.as_deref(), Ok(transport), "{environment:?}");
        })
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_three_transports_go_through_the_proxy_of_the_environment() {
    let server = Server::start(&Broker::Memory).await;
    let proxy = ForwardProxy::start().await;
    let through = &*proxy.url();
    let names = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let environments = names.map(|name| [(name, through)]);
    all_get_through(&[&server.url()], &environments.each_ref().map(|it| &it[..])).await;
    let mut methods = BTreeMap::new();
    for request in proxy.requests() {
        let method = request.split(' ').next().unwrap_or_default().to_owned();
        *methods.entry(method).or_insert(0) += 1;
    }
    // One tunnel for each WebSocket; plain requests are asked of the proxy.
    assert_eq!(methods["CONNECT"], names.len(), "{methods:?}");
    assert!(methods["POST"] >= 4 * names.len(), "{methods:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_the_proxy_sees_tunnels_alone() {
    let server = Server::start(&Broker::Memory).await;
    let proxy = ForwardProxy::start().await;
    let url = format!("https://localhost:{}", tls_front(&server).await);
    let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls/authority.der");
    let authority = authority.to_str().expect("a path in UTF-8");
    let through = &*proxy.url();
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    // That of the scheme alone counts.
    let environments = names.map(|name| [(name, through), ("HTTP_PROXY", DEAD)]);
    all_get_through(
        &[&url, authority],
        &environments.each_ref().map(|it| &it[..]),
    )
    .await;
    let requests = proxy.requests();
    assert!(requests.len() >= 3 * names.len(), "{requests:?}");
    let is_tunnel = |request: &String| request.starts_with("CONNECT localhost:");
    assert!(requests.iter().all(is_tunnel), "{requests:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_no_proxy_asks_none() {
    let server = Server::start(&Broker::Memory).await;
    let environments =
        ["NO_PROXY", "no_proxy"].map(|name| [("ALL_PROXY", DEAD), (name, "example.com,127.0.0.1")]);
    all_get_through(&[&server.url()], &environments.each_ref().map(|it| &it[..])).await;
}
