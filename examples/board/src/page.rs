//! The page: static files, as `npm run build` in `page/` leaves them.

use std::path::Path;

use anyhow::ensure;
use axum::Router;
use axum::http::{HeaderValue, Response, header};
use axum::middleware::map_response;
use tower_http::services::ServeDir;

/// Where `npm run build` puts it.
pub(crate) const DEFAULT_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/page/dist");

/// Nothing comes from elsewhere, and nothing of a visitor's text is ever code.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; \
    style-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'self'";

/// Serves the files of `dir` at `/`.
pub(crate) fn routes(dir: &Path) -> anyhow::Result<Router> {
    ensure!(
        dir.join("index.html").is_file(),
        "there is no page in {}: run `cargo xtask demo`, or `npm ci && npm run build` in examples/board/page",
        dir.display()
    );
    Ok(Router::new()
        .fallback_service(ServeDir::new(dir))
        .layer(map_response(with_headers)))
}

/// A browser asks whether a file is still the same, so that a rebuilt page is seen at once.
async fn with_headers<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
