//! The fault plan over the admin door. What may stand in a plan: docs/faults.md.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::answer::answer;
use crate::app::App;
use crate::faults::{Action, Plan, PlanError, Rule};

/// Sets a plan; a replay file does too.
pub(super) async fn set(State(app): State<Arc<App>>, body: Bytes) -> Response {
    match Plan::from_json(&body).and_then(|plan| app.faults.set(plan)) {
        Ok(()) => answer(StatusCode::OK, "the fault plan is set"),
        Err(error) => refuse(&error),
    }
}

/// The replay file: the plan, what each rule did, and every strike.
pub(super) async fn replay(State(app): State<Arc<App>>) -> Response {
    let Some(replay) = app.faults.replay() else {
        return refuse(&PlanError::NoPlan);
    };
    match serde_json::to_string(&replay) {
        Ok(body) => {
            let headers = [
                (header::CONTENT_TYPE, "application/json"),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (headers, body).into_response()
        }
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

pub(super) async fn clear(State(app): State<Arc<App>>) -> Response {
    app.faults.clear();
    answer(StatusCode::OK, "no fault plan is set")
}

pub(super) async fn add(State(app): State<Arc<App>>, body: Bytes) -> Response {
    match read::<Rule>(&body).and_then(|rule| app.faults.add(rule)) {
        Ok(()) => answer(StatusCode::CREATED, "the rule is on"),
        Err(error) => refuse(&error),
    }
}

pub(super) async fn end(State(app): State<Arc<App>>, Path(rule): Path<String>) -> Response {
    match app.faults.end(&rule) {
        Ok(()) => answer(StatusCode::OK, "the rule has ended"),
        Err(error) => refuse(&error),
    }
}

pub(super) async fn act(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let action: Action = match read(&body) {
        Ok(action) => action,
        Err(error) => return refuse(&error),
    };
    match app.faults.act(action).await {
        Ok(concerned) => answer(StatusCode::OK, &format!("done: {concerned}")),
        Err(error) => answer(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, PlanError> {
    serde_json::from_slice(body).map_err(|error| PlanError::Malformed(error.to_string()))
}

fn refuse(error: &PlanError) -> Response {
    let status = match error {
        PlanError::NoPlan | PlanError::NoRule(_) => StatusCode::NOT_FOUND,
        PlanError::Full { .. } => StatusCode::CONFLICT,
        _ => StatusCode::BAD_REQUEST,
    };
    answer(status, &error.to_string())
}
