//! What the application decides about contents: `validate`, `initial`, and schemas.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tidewire_core::ChannelName;
use tidewire_core::document::{Document, Rejection};
use tidewire_core::wire::{Change, ErrorCode, Limits};

use crate::auth::Principal;
use crate::channel::{Policy, View};
use crate::schema::Schemas;

pub(crate) type Validate =
    dyn Fn(&View<'_>, &Principal, &Change) -> Result<(), Rejection> + Send + Sync;
pub(crate) type Initial = dyn Fn(&ChannelName) -> Document + Send + Sync;

/// The application's rules by namespace; those of `"*"` are for namespaces without their own.
#[derive(Clone)]
pub(crate) struct AppPolicy {
    pub(crate) validate: HashMap<String, Arc<Validate>>,
    pub(crate) initial: HashMap<String, Arc<Initial>>,
    pub(crate) schemas: Schemas,
    pub(crate) limits: Limits,
}

impl Default for AppPolicy {
    fn default() -> Self {
        Self {
            validate: HashMap::new(),
            initial: HashMap::new(),
            schemas: Schemas::default(),
            limits: Limits::DEFAULT,
        }
    }
}

fn of<'a, T>(rules: &'a HashMap<String, T>, channel: &ChannelName) -> Option<&'a T> {
    rules.get(channel.namespace()).or_else(|| rules.get("*"))
}

impl Policy for AppPolicy {
    fn initial(&self, channel: &ChannelName) -> Document {
        let Some(initial) = of(&self.initial, channel) else {
            return Document::default();
        };
        // A panic in the application's code must not take the channel along.
        catch_unwind(AssertUnwindSafe(|| initial(channel))).unwrap_or_else(|_| {
            tracing::error!(%channel, "initial panicked; the channel starts empty");
            Document::default()
        })
    }

    fn validate(
        &self,
        channel: &ChannelName,
        view: &View<'_>,
        principal: &str,
        change: &Change,
    ) -> Result<(), Rejection> {
        if let Some(kind) = &change.kind {
            let lookup = |collection: &str, id: &str| view.record(collection, id);
            self.schemas
                .check(channel.namespace(), lookup, kind, &self.limits)?;
        }
        let Some(validate) = of(&self.validate, channel) else {
            return Ok(());
        };
        let principal = Principal::new(principal);
        catch_unwind(AssertUnwindSafe(|| validate(view, &principal, change))).unwrap_or_else(|_| {
            tracing::error!(%channel, "validate panicked; the mutation is refused");
            Err(Rejection::new(
                ErrorCode::Refused,
                "the application failed to judge this change",
            ))
        })
    }
}
