//! What the admin door says: a status and a line of text.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

pub(super) fn answer(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}
