//! Errors as JavaScript sees them: `[code, message, retryable]`, which the facade makes a `TidewireError`.

use js_sys::Array;
use tidewire_core::{ChannelNameError, MutateError, PresenceError, SubscribeError};
use wasm_bindgen::JsValue;

/// What a call into the core throws.
pub struct CallError {
    code: &'static str,
    message: String,
    retryable: bool,
}

impl CallError {
    /// The facade broke the calling convention.
    pub(crate) fn convention(message: &str) -> Self {
        Self {
            code: "internal",
            message: message.into(),
            retryable: false,
        }
    }
}

impl From<CallError> for JsValue {
    fn from(error: CallError) -> Self {
        Array::of3(
            &error.code.into(),
            &error.message.into(),
            &error.retryable.into(),
        )
        .into()
    }
}

impl From<MutateError> for CallError {
    fn from(error: MutateError) -> Self {
        Self {
            code: error.code(),
            retryable: matches!(error, MutateError::QueueFull { .. }),
            message: match error {
                // The code travels beside it.
                MutateError::Invalid(rejection) => rejection.detail,
                other => other.to_string(),
            },
        }
    }
}

impl From<SubscribeError> for CallError {
    fn from(error: SubscribeError) -> Self {
        Self {
            code: match error {
                SubscribeError::TooMany { .. } => "too_many_subscriptions",
                _ => "closed",
            },
            message: error.to_string(),
            retryable: false,
        }
    }
}

impl From<ChannelNameError> for CallError {
    fn from(error: ChannelNameError) -> Self {
        Self {
            code: "invalid_channel",
            message: error.to_string(),
            retryable: false,
        }
    }
}

impl From<PresenceError> for CallError {
    fn from(error: PresenceError) -> Self {
        Self {
            code: match error {
                PresenceError::NoSuchChannel => "no_such_channel",
                PresenceError::TooLarge { .. } => "too_large",
                _ => "invalid",
            },
            message: error.to_string(),
            retryable: false,
        }
    }
}
