//! Who may use the admin door.
//!
//! Three checks, each against another stranger: `Host` against a page whose name somebody points at
//! this machine, `Origin` and `Sec-Fetch-Site` against pages as such, and the key against whoever else
//! reaches the address.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tidewire_core::ChannelName;

use super::answer::answer;
use crate::api_keys::ApiKeys;
use crate::app::App;
use crate::config::origin::split_port;
use crate::config::{ApiKey, ApiRight, Config};
use crate::origin::is_loopback_host;

/// Answered on the admin door without a key and by any name, as they are public anyway.
const PUBLIC: [&str; 2] = ["/health/live", "/health/ready"];

/// Who sent a request to the admin door.
#[derive(Clone, Debug)]
pub(super) struct Caller(Option<Arc<ApiKey>>);

impl Caller {
    /// Whether it may do something about a channel; else what to answer.
    pub(super) fn check(
        &self,
        right: ApiRight,
        channel: &ChannelName,
    ) -> Result<(), Box<Response>> {
        match &self.0 {
            Some(key) if !key.may(right) => Err(Box::new(lacks(key, right))),
            Some(key) if !key.covers(channel) => {
                let text = format!("the key {:?} is not for channel {channel}", key.name);
                Err(Box::new(answer(StatusCode::FORBIDDEN, &text)))
            }
            _ => Ok(()),
        }
    }
}

fn lacks(key: &ApiKey, right: ApiRight) -> Response {
    let text = format!("the key {:?} has no right to {}", key.name, right.name());
    answer(StatusCode::FORBIDDEN, &text)
}

/// Lets a request in, or says why not.
pub(super) async fn guard(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if PUBLIC.contains(&path) {
        return next.run(request).await;
    }
    if let Err(refusal) = from_a_program_of_ours(&app.config, &request) {
        return *refusal;
    }
    let is_open = path == "/metrics" && app.config.admin_open_metrics;
    let caller = match bearer(&app.api_keys, request.headers()) {
        Ok(caller) => caller,
        Err(_) if is_open => Caller(None),
        Err(refusal) => return *refusal,
    };
    if let Some(key) = caller.0.as_ref().filter(|_| !is_open) {
        let right = needed(request.method(), path);
        if !key.may(right) {
            return lacks(key, right);
        }
        // What is about one channel is checked where its name is read.
        if !path.starts_with("/channels/") && !is_count(path) && !key.covers_all() {
            let text = format!(
                "the key {:?} is for some channels only, and this is about all of them",
                key.name
            );
            return answer(StatusCode::FORBIDDEN, &text);
        }
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Whether a path tells counts alone, no name and no content of a channel.
fn is_count(path: &str) -> bool {
    path == "/metrics" || path == "/health/routing"
}

fn needed(method: &Method, path: &str) -> ApiRight {
    // A replay of faults holds what clients sent.
    match *method {
        Method::GET | Method::HEAD if !path.starts_with("/faults") => ApiRight::Read,
        _ => ApiRight::Admin,
    }
}

/// A page in the operator's browser can send requests to this door. Its own name does not help it, since
/// whoever owns a name can point it at this machine.
fn from_a_program_of_ours(config: &Config, request: &Request) -> Result<(), Box<Response>> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let named = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        // An absolute URI instead of the header.
        (None, _) => request
            .uri()
            .authority()
            .map(|authority| authority.as_str()),
        _ => None,
    };
    let Some((host, _)) = named.and_then(split_port) else {
        let text = "say in one Host header which name this door was reached by";
        return Err(Box::new(answer(StatusCode::BAD_REQUEST, text)));
    };
    let is_listed = |known: &String| known.eq_ignore_ascii_case(host);
    if !is_loopback_host(host) && !config.admin_hosts.iter().any(is_listed) {
        let text = format!(
            "the admin door does not answer to the name {host}; admin_hosts lists those that it does \
             beside loopback ones"
        );
        return Err(Box::new(answer(StatusCode::FORBIDDEN, &text)));
    }
    let site = headers.get("sec-fetch-site");
    // `none`: somebody typed the address.
    let from_page = site.is_some_and(|site| site.as_bytes() != b"none");
    if from_page || headers.contains_key(header::ORIGIN) {
        let text = "the admin door is not for web pages";
        return Err(Box::new(answer(StatusCode::FORBIDDEN, text)));
    }
    Ok(())
}

/// Who shows which key. Without keys everybody who reaches the door may do everything.
fn bearer(keys: &ApiKeys, headers: &HeaderMap) -> Result<Caller, Box<Response>> {
    if keys.is_empty() {
        return Ok(Caller(None));
    }
    let refuse = |text: &str| {
        let mut response = answer(StatusCode::UNAUTHORIZED, text);
        let scheme = header::HeaderValue::from_static("Bearer");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, scheme);
        Box::new(response)
    };
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (shown.next(), shown.next()) else {
        return Err(refuse("send an API key, as in Authorization: Bearer KEY"));
    };
    let secret = value.as_bytes().split_at_checked("Bearer ".len());
    let secret = secret.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
    match secret.and_then(|(_, secret)| keys.find(secret.trim_ascii())) {
        Some(key) => Ok(Caller(Some(Arc::clone(key)))),
        None => Err(refuse(
            "no key of this server; [[api.key]] lists those that are",
        )),
    }
}
