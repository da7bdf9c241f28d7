//! What every request and connection shares.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidewire_core::ChannelName;
use tidewire_core::time::UnixTime;

use crate::auth::{self, Action, AuthError, Authenticate, Authorise, KeptRequest, Principal};
use crate::broker::{Broker, BrokerReply, BrokerRequest, EntryBody};
use crate::clock::{self, Clock};
use crate::config::{Config, Create};
use crate::connections::Connections;
use crate::faults::Faults;
use crate::origin::OriginRule;
use crate::principal::is_principal_name;
use crate::routing::Router;
use crate::telemetry::Metrics;

pub(crate) struct App {
    pub(crate) config: Arc<Config>,
    pub(crate) authenticate: Option<Arc<Authenticate>>,
    pub(crate) authorise: Option<Arc<Authorise>>,
    pub(crate) origins: OriginRule,
    pub(crate) router: Arc<Router>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    /// Starts a drain from the admin door.
    pub(crate) drain: tokio::sync::Notify,
    pub(crate) faults: Faults,
}

impl App {
    /// Who the bearer of a token is. An application that takes too long counts as unavailable.
    pub(crate) async fn authenticate(
        &self,
        token: String,
        request: &KeptRequest,
    ) -> Result<Principal, AuthError> {
        if self.config.dev_auth
            && let Ok(principal) = auth::dev_principal(&token)
        {
            return Ok(principal);
        }
        let Some(authenticate) = &self.authenticate else {
            return auth::dev_principal(&token);
        };
        let answer = authenticate(token, Arc::new(request.unpack()));
        let principal = tokio::time::timeout(self.config.timeouts.authenticate, answer)
            .await
            .unwrap_or_else(|_| Err(AuthError::retryable("the token check took too long")))?;
        if !is_principal_name(principal.name()) {
            tracing::error!(
                "authenticate returned a name that is empty, too long or has control characters"
            );
            return Err(AuthError::retryable(
                "the server named this principal badly",
            ));
        }
        match principal.expiry() {
            Some(UnixTime(at)) if at <= clock::unix().0 => {
                Err(AuthError::Expired("the token has expired".into()))
            }
            _ => Ok(principal),
        }
    }

    /// Without `authorise` whoever is authenticated may do everything.
    pub(crate) fn may(&self, who: &Principal, channel: &ChannelName, action: Action) -> bool {
        match &self.authorise {
            Some(authorise) => authorise(who, channel, action),
            None => true,
        }
    }

    /// Whether a channel may be used now: in a namespace with `create = "admin"` it must exist.
    pub(crate) async fn is_open(&self, channel: &ChannelName) -> Result<bool, BrokerDown> {
        let namespace = self.config.namespace(channel.namespace());
        match namespace.map(|namespace| namespace.create) {
            None => Ok(false),
            Some(Create::OnUse) => Ok(true),
            Some(Create::Admin) => self.exists(channel).await,
        }
    }

    /// Whether the last fact about a channel is that it was opened.
    pub(crate) async fn exists(&self, channel: &ChannelName) -> Result<bool, BrokerDown> {
        if let Some(handle) = self.router.find(channel)
            && handle.head().seq > 0
        {
            return Ok(handle.exists.load(Ordering::Acquire));
        }
        let mut reply = self.broker.request(channel, BrokerRequest::Load).await;
        let (mut exists, mut through) = match &reply {
            BrokerReply::Loaded { snapshot, .. } => snapshot
                .as_ref()
                .map_or((false, 0), |s| (!s.deleted, s.cursor.seq)),
            _ => return Err(BrokerDown),
        };
        // The log comes in parts; each of them moves on.
        loop {
            let (BrokerReply::Loaded { entries, more, .. }
            | BrokerReply::Entries { entries, more, .. }) = &reply
            else {
                return Err(BrokerDown);
            };
            for entry in entries.iter().filter(|entry| entry.cursor.seq > through) {
                match entry.body {
                    EntryBody::Opening { .. } => exists = true,
                    EntryBody::Deletion => exists = false,
                    EntryBody::Mutation { .. } => {}
                }
            }
            let Some(last) = entries.last().filter(|_| *more) else {
                return Ok(exists);
            };
            let after = last.cursor.seq;
            through = through.max(after);
            let read = BrokerRequest::Read { after };
            reply = self.broker.request(channel, read).await;
        }
    }
}

/// The broker could not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BrokerDown;
