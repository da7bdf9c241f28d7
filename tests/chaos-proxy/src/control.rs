//! The control door: what the program's proxy is like, told while it runs.
//!
//! Whoever reaches the door may use it, so it belongs on a loopback address. Requests of web pages are refused: by
//! `Origin` and `Sec-Fetch-Site`, which browsers send, and by `Host`, which a page whose name somebody points at this
//! machine cannot choose.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;

use crate::conditions::Conditions;
use crate::proxy::{ChaosProxy, Counts, Direction};

/// Conditions take some hundred bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The door of a proxy.
pub fn door(proxy: Arc<ChaosProxy>) -> Router {
    Router::new()
        .route("/", get(look))
        .route("/{what}", post(order).put(set))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(guard))
        .with_state(proxy)
}

/// Conditions as people write them.
///
/// # Errors
///
/// What is wrong with them.
pub fn read(text: &str) -> Result<Conditions, String> {
    let conditions: Conditions = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match conditions.check() {
        Ok(()) => Ok(conditions),
        Err(error) => Err(format!("{}: {error}", error.code())),
    }
}

#[derive(Serialize)]
struct Shown {
    seed: u64,
    listen: String,
    to: String,
    upstream: Conditions,
    downstream: Conditions,
    counts: Counts,
}

async fn look(State(proxy): State<Arc<ChaosProxy>>) -> Response {
    let (upstream, downstream) = proxy.conditions();
    let shown = Shown {
        seed: proxy.seed(),
        listen: proxy.address().to_string(),
        to: proxy.to().to_string(),
        upstream,
        downstream,
        counts: proxy.counts(),
    };
    let mut text = serde_json::to_string_pretty(&shown).unwrap_or_default();
    text.push('\n');
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn direction(name: &str) -> Option<Direction> {
    Some(match name {
        "upstream" => Direction::Upstream,
        "downstream" => Direction::Downstream,
        "both" => Direction::Both,
        _ => return None,
    })
}

async fn set(
    State(proxy): State<Arc<ChaosProxy>>,
    Path(what): Path<String>,
    body: Bytes,
) -> Response {
    let Some(direction) = direction(&what) else {
        let text =
            "PUT /upstream, /downstream or /both, with conditions as JSON; {} is a good network";
        return say(StatusCode::NOT_FOUND, text);
    };
    let text = String::from_utf8_lossy(&body);
    let conditions = match read(&text) {
        Ok(conditions) => conditions,
        Err(error) => return say(StatusCode::BAD_REQUEST, &error),
    };
    match proxy.set(direction, conditions) {
        Ok(()) => say(StatusCode::OK, &format!("{what} set")),
        Err(error) => say(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn order(State(proxy): State<Arc<ChaosProxy>>, Path(what): Path<String>) -> Response {
    let open = proxy.counts().open;
    match what.as_str() {
        "close" => proxy.close(),
        "reset" => proxy.reset(),
        "heal" => proxy.heal(),
        _ => match what.strip_prefix("half-close-").and_then(direction) {
            Some(direction) => proxy.half_close(direction),
            None => {
                let text =
                    "POST /close, /reset, /heal, /half-close-upstream or /half-close-downstream";
                return say(StatusCode::NOT_FOUND, text);
            }
        },
    }
    say(
        StatusCode::OK,
        &format!("{what}: {open} connections were open"),
    )
}

fn say(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}

async fn guard(request: Request, next: Next) -> Response {
    if let Some(why) = stranger(request.headers()) {
        return say(StatusCode::FORBIDDEN, why);
    }
    next.run(request).await
}

/// Why a request is not one of a program on this machine.
fn stranger(headers: &HeaderMap) -> Option<&'static str> {
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        return Some("not for web pages; use a program, as curl");
    }
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let is_local = ["localhost", "127.0.0.1", "[::1]"].contains(&name);
    (!is_local).then_some("Host must be localhost, 127.0.0.1 or [::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_on_this_machine_are_listened_to() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                let name = header::HeaderName::from_static(name);
                (name, header::HeaderValue::from_static(value))
            });
            pairs.collect::<HeaderMap>()
        };
        for (pairs, is_ours) in [
            (&[("host", "127.0.0.1:7501")][..], true),
            (&[("host", "localhost")], true),
            (&[("host", "[::1]:7501")], true),
            (&[("host", "evil.example:7501")], false),
            (&[("host", "127.0.0.1.evil.example")], false),
            (&[], false),
            (
                &[("host", "localhost"), ("origin", "http://localhost")],
                false,
            ),
            (&[("host", "localhost"), ("sec-fetch-site", "none")], false),
        ] {
            assert_eq!(stranger(&headers(pairs)).is_none(), is_ours, "{pairs:?}");
        }
    }

    #[test]
    fn conditions_are_judged_when_they_are_read() {
        assert!(read("{}").is_ok());
        assert!(
            read(r#"{"bandwidth_bytes_per_s":0}"#)
                .unwrap_err()
                .starts_with("bad_bandwidth: ")
        );
        assert!(
            read(r#"{"latency":1}"#)
                .unwrap_err()
                .contains("unknown field")
        );
    }
}
