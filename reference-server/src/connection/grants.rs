//! What the principal may do, and new tokens, which may say something else.

use tidewire_core::ChannelName;
use tidewire_core::planted;
use tidewire_core::wire::{ErrorCode, ErrorFrame, Refreshed, ServerKind, cut_detail};

use super::hello::check_token;
use super::refusal::{RETRY_MS, Refusal};
use super::{ChannelRef, Connection, ConnectionOutput, Fault, Hand, Question, To};
use crate::channel::ChannelInput;
use crate::principal::{Action, AuthError, Principal};

impl<C: ChannelRef> Connection<C> {
    pub(super) fn may(&self, name: &ChannelName, action: Action) -> bool {
        self.identity
            .as_ref()
            .is_some_and(|who| self.parts.access.may(&who.bearer.now(), name, action))
    }

    pub(super) fn authorise(&self, name: &ChannelName, action: Action) -> Result<(), Refusal> {
        match self.may(name, action) {
            true => Ok(()),
            false => Err(Refusal::forbidden(action)),
        }
    }

    pub(super) fn handle_refresh(&mut self, token: String) -> Result<(), Fault> {
        let config = &self.parts.config;
        check_token(&token, config.token_bytes_max)?;
        let ahead = config.refresh * config.refresh_burst.saturating_sub(1);
        let wait = self.refreshes_paid.since(self.now.mono + ahead);
        if !wait.is_zero() {
            let retry_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
            let detail = "tokens were renewed just before; renew this one later".into();
            self.refuse_token(ErrorCode::Overloaded, retry_ms, detail);
            return Ok(());
        }
        self.refreshes_paid = self.refreshes_paid.max(self.now.mono) + config.refresh;
        self.question = Some(Box::new(Question::Refresh));
        self.outputs
            .push_back(ConnectionOutput::Authenticate { token });
        Ok(())
    }

    pub(super) fn handle_refreshed(
        &mut self,
        answer: Result<Principal, AuthError>,
    ) -> Result<(), Fault> {
        match answer {
            Ok(principal) => {
                let Some(identity) = &self.identity else {
                    return Ok(());
                };
                if principal.name() != &*identity.name {
                    return Err(Fault::new(
                        ErrorCode::Unauthenticated,
                        "the new token names another principal; connect again with it",
                    ));
                }
                let expires_ms = principal.expiry().map_or(0, |at| at.0);
                identity.bearer.replace(principal);
                self.send(ServerKind::Refreshed(Refreshed { expires_ms }));
                self.recheck_grants();
                Ok(())
            }
            // The old token is still good: the client tries again before it expires.
            Err(error @ AuthError::Unavailable(_)) => {
                self.refuse_token(error.code(), RETRY_MS, error.to_string());
                Ok(())
            }
            Err(error) => Err(Fault::new(error.code(), error.to_string())),
        }
    }

    /// The present token stays.
    fn refuse_token(&mut self, code: ErrorCode, retry_ms: u32, detail: String) {
        self.send(ServerKind::Error(ErrorFrame {
            code: code as u32,
            retry_ms: Some(retry_ms),
            detail: cut_detail(detail),
            ..ErrorFrame::default()
        }));
    }

    /// A new token may say less than the old one: what it no longer grants ends now, not with the
    /// next frame. The right to write is asked for with every push.
    fn recheck_grants(&mut self) {
        if planted!(GrantsNotRechecked) {
            return;
        }
        let names: Vec<ChannelName> = self.subscriptions.names().cloned().collect();
        for name in names {
            if let Err(refusal) = self.authorise(&name, Action::Read) {
                self.refuse(name.as_str().into(), refusal);
            } else if !self.may(&name, Action::Presence)
                && let Some(task) = self.subscriptions.task(&name)
            {
                let conn = self.parts.peer;
                // A channel that has ended shows nobody.
                self.outputs.push_back(ConnectionOutput::Post {
                    to: To::Task(task.clone()),
                    hand: Hand::Always,
                    input: ChannelInput::SetPresence { conn, data: None },
                });
            }
        }
    }
}
