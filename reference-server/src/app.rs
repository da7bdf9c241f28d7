//! What every request and connection shares.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};

use tidewire_core::ChannelName;
use tidewire_core::time::UnixTime;

use crate::admission::Admission;
use crate::api_keys::ApiKeys;
use crate::auth::{self, Action, AuthError, Authenticate, Authorise, KeptRequest, Principal};
use crate::broker::{Broker, BrokerReply, BrokerRequest, EntryBody, Serving};
use crate::channels::Channels;
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::connection::{Access, ConnectionConfig, Create};
use crate::connections::Connections;
use crate::faults::Faults;
use crate::limit::LogLimit;
use crate::origin::OriginRule;
use crate::pressure::Pressure;
use crate::principal::is_principal_name;
use crate::sessions::Sessions;
use crate::telemetry::Metrics;
use crate::token_checks::TokenChecks;

pub(crate) struct App {
    pub(crate) config: Arc<Config>,
    pub(crate) connection_config: Arc<ConnectionConfig>,
    pub(crate) authenticate: Option<Arc<Authenticate>>,
    pub(crate) authorise: Option<Arc<Authorise>>,
    pub(crate) token_checks: TokenChecks,
    pub(crate) origins: OriginRule,
    pub(crate) channels: Arc<Channels>,
    pub(crate) broker: Arc<dyn Broker>,
    /// This node's place among those that serve from the broker, if there can be others.
    pub(crate) serving: Option<Serving>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    /// Starts a drain from the admin door.
    pub(crate) drain: tokio::sync::Notify,
    pub(crate) faults: Faults,
    /// Whether links pass them. Without anybody who could set a plan, nothing is paid for one.
    pub(crate) is_faulted: bool,
    pub(crate) admission: Arc<Admission>,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) api_keys: ApiKeys,
    /// What `/health/routing` says of the nodes and what they were told.
    pub(crate) routing_table: String,
    /// Sessions over HTTP.
    pub(crate) sessions: Arc<Sessions>,
    /// For lines about clients that are not let in.
    pub(crate) refusals: LogLimit,
}

impl App {
    /// Who the bearer of a token is. An application that takes too long counts as unavailable.
    pub(crate) async fn authenticate(
        &self,
        token: String,
        request: &KeptRequest,
    ) -> Result<Principal, AuthError> {
        let principal = match &self.authenticate {
            Some(authenticate) => {
                let check = async || authenticate(token, Arc::new(request.unpack())).await;
                self.token_checks.run(check).await?
            }
            None => auth::dev_principal(&token, request)?,
        };
        if !is_principal_name(principal.name()) {
            tracing::error!(
                "authenticate returned a name that is empty, too long or has control characters"
            );
            return Err(AuthError::retryable(
                "authenticate returned an invalid principal name",
            ));
        }
        match principal.expiry() {
            Some(UnixTime(at)) if at <= clock::unix().0 => {
                Err(AuthError::Expired("the token has expired".into()))
            }
            _ => {
                request.authenticated();
                Ok(principal)
            }
        }
    }

    /// The same for a token that may have been looked at a short while ago, with another request.
    pub(crate) async fn authenticate_kept(
        &self,
        token: &str,
        address: Option<IpAddr>,
        request: &KeptRequest,
    ) -> Result<Principal, AuthError> {
        // Development tokens cost nothing, and are for some requests only.
        if self.authenticate.is_none() {
            return self.authenticate(token.into(), request).await;
        }
        let tokens = &self.sessions.tokens;
        if let Some(known) = tokens.get(token, address, self.clock.mono(), clock::unix()) {
            return Ok(known);
        }
        let principal = self.authenticate(token.into(), request).await?;
        tokens.put(token, address, &principal, self.clock.mono());
        Ok(principal)
    }

    /// How long a poll may be held: it is a sign of life, so a heartbeat at most.
    pub(crate) fn poll_hold(&self) -> Duration {
        let timeouts = &self.config.timeouts;
        timeouts.poll_hold.min(timeouts.heartbeat)
    }

    /// A page of another origin wants in. Whoever has to find out why needs both names.
    pub(crate) fn note_foreign(&self, headers: &HeaderMap) {
        if let Some(unsaid) = self.refusals.take(self.clock.mono()) {
            let text = |name| headers.get(name).map(cut);
            let (origin, host) = (text(header::ORIGIN), text(header::HOST));
            tracing::warn!(
                origin,
                host,
                unsaid,
                "a page may not connect: its origin is not the server's own by Host, and allow_origin does not list it"
            );
        }
    }

    /// Whether the last fact about a channel is that it was opened.
    pub(crate) async fn exists(&self, channel: &ChannelName) -> Result<bool, BrokerDown> {
        if let Some(handle) = self.channels.find(channel)
            && handle.head().seq > 0
        {
            return Ok(handle.exists.load(Ordering::Acquire));
        }
        let mut reply = self.broker.request(channel, BrokerRequest::Load).await;
        let (mut exists, mut through) = match &reply {
            BrokerReply::Loaded { snapshot: None, .. } => (false, 0),
            BrokerReply::Loaded {
                snapshot: Some(stored),
                ..
            } => {
                let deleted = stored.is_deleted().map_err(|_| BrokerDown)?;
                (!deleted, stored.name.cursor.seq)
            }
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
                    _ => {}
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

impl Access for App {
    /// Without `authorise` whoever is authenticated may do everything.
    fn may(&self, who: &Principal, channel: &ChannelName, action: Action) -> bool {
        match &self.authorise {
            Some(authorise) => authorise(who, channel, action),
            None => true,
        }
    }

    fn create(&self, namespace: &str) -> Option<Create> {
        self.config.namespace(namespace).map(|rules| rules.create)
    }

    fn has_room(&self, channel: &ChannelName) -> bool {
        let here = self.channels.find(channel).is_some() || !self.pressure.is_high();
        here && self.broker.has_room(channel)
    }
}

/// The broker could not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BrokerDown;

/// No name is longer than this in the log: a stranger writes it.
const NAME_BYTES_MAX: usize = 200;

/// A header's text as the log has it.
fn cut(value: &HeaderValue) -> &str {
    let text = value.to_str().unwrap_or("?");
    // Visible ASCII: every byte is a boundary.
    &text[..text.len().min(NAME_BYTES_MAX)]
}
