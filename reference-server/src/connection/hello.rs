//! `hello`: who is at the other end.

use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::wire::{ErrorCode, Hello, PROTOCOL_VERSION, ServerKind, Welcome};

use super::access::Bearer;
use super::{ChannelRef, Connection, ConnectionOutput, Fault, Question};
use crate::channel::Author;
use crate::principal::{AuthError, Principal};

/// The smallest `max_frame` of a hello; smaller ones could not even take a welcome.
const FRAME_BYTES_MIN: u32 = 1024;

/// `welcome.flags`: the server takes sessions over HTTP.
const FLAG_FALLBACK: u64 = 1;

/// Who is at the other end, once `hello` was accepted.
pub(super) struct Identity {
    pub(super) name: Arc<str>,
    pub(super) author: Author,
    /// As whom others see it.
    pub(super) peer: u64,
    /// What its newest token says.
    pub(super) bearer: Arc<Bearer>,
}

/// Whoever said `hello`, while its token is looked at.
pub(super) struct Newcomer {
    client: Bytes,
    /// Its first session; empty: this is the first.
    continues: Bytes,
    /// Whose the client's store is; empty: it does not say.
    expect_author: Bytes,
}

pub(super) fn check_token(token: &str, bytes_max: usize) -> Result<(), Fault> {
    let bytes = token.len();
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(Fault::new(
        ErrorCode::UnexpectedFrame,
        format!("a token of {bytes} bytes is over {bytes_max}"),
    ))
}

/// Refuses a client whose store belongs to somebody else, before anything of it is evaluated.
pub(super) fn check_author(expected: &[u8], author: Author) -> Result<(), Fault> {
    match expected.is_empty() || *expected == author.0 {
        true => Ok(()),
        false => Err(Fault::new(
            ErrorCode::WrongPrincipal,
            "hello.expect_author is not the author of this token and client",
        )),
    }
}

impl<C: ChannelRef> Connection<C> {
    pub(super) fn handle_hello(&mut self, hello: Hello) -> Result<(), Fault> {
        let wrong = |detail| Err(Fault::new(ErrorCode::UnexpectedFrame, detail));
        if hello.version != PROTOCOL_VERSION {
            return Err(Fault::new(
                ErrorCode::UnsupportedVersion,
                format!(
                    "version {} is not spoken here, {PROTOCOL_VERSION} is",
                    hello.version
                ),
            ));
        }
        check_token(&hello.token, self.parts.config.token_bytes_max)?;
        if hello.client.len() != 16 {
            return wrong(format!(
                "hello.client has {} bytes, not 16",
                hello.client.len()
            ));
        }
        if hello.max_frame != 0 {
            if hello.max_frame < FRAME_BYTES_MIN {
                return wrong(format!(
                    "hello.max_frame must be 0 or at least {FRAME_BYTES_MIN}"
                ));
            }
            let ours = self.parts.config.limits.frame_down_bytes;
            let bytes_max = hello.max_frame.min(ours) as usize;
            self.outputs
                .push_back(ConnectionOutput::MessageBytesMax(bytes_max));
        }
        if !matches!(hello.continues.len(), 0 | 16) {
            return wrong(format!(
                "hello.continues has {} bytes, not 16: it is the session of the first welcome",
                hello.continues.len()
            ));
        }
        self.question = Some(Box::new(Question::Hello(Newcomer {
            client: hello.client,
            continues: hello.continues,
            expect_author: hello.expect_author,
        })));
        let token = hello.token;
        self.outputs
            .push_back(ConnectionOutput::Authenticate { token });
        Ok(())
    }

    /// The application has looked at a token.
    pub(super) fn handle_authenticated(
        &mut self,
        answer: Result<Principal, AuthError>,
    ) -> Result<(), Fault> {
        match self.question.take().map(|question| *question) {
            Some(Question::Hello(newcomer)) => {
                let principal = answer.map_err(|e| Fault::new(e.code(), e.to_string()))?;
                self.welcome(&newcomer, principal)
            }
            Some(Question::Refresh) => self.handle_refreshed(answer),
            other => {
                // Nobody asked.
                self.question = other.map(Box::new);
                Ok(())
            }
        }
    }

    fn welcome(&mut self, newcomer: &Newcomer, principal: Principal) -> Result<(), Fault> {
        let config = &self.parts.config;
        let author = principal.author(&newcomer.client);
        check_author(&newcomer.expect_author, author)?;
        let fallback = config.fallback;
        // What it said while its token was looked at was not read.
        self.heard = self.now.mono;
        let welcome = Welcome {
            session: Bytes::copy_from_slice(&self.parts.session),
            principal: principal.name().into(),
            author: Bytes::copy_from_slice(&author.0),
            server_ms: self.now.unix.0,
            expires_ms: principal.expiry().map_or(0, |at| at.0),
            limits: Some(config.limits),
            heartbeat_ms: u32::try_from(config.heartbeat.as_millis()).unwrap_or(u32::MAX),
            flags: fallback.map_or(0, |_| FLAG_FALLBACK),
            home: fallback.map_or(0, |fallback| fallback.home),
            fallback_poll_ms: fallback.map_or(0, |fallback| {
                u32::try_from(fallback.poll.as_millis()).unwrap_or(u32::MAX)
            }),
            ..Welcome::default()
        };
        // First: whoever is welcome may ask for its session at once.
        self.outputs
            .push_back(ConnectionOutput::Welcomed(principal.clone()));
        self.send(ServerKind::Welcome(welcome));
        if let Some(goaway) = self.goaway.as_deref() {
            self.send(ServerKind::Goaway(goaway.clone()));
        }
        self.identity = Some(Identity {
            name: principal.shared_name(),
            author,
            peer: principal.peer(if newcomer.continues.is_empty() {
                &self.parts.session
            } else {
                &newcomer.continues
            }),
            bearer: Arc::new(Bearer::new(Arc::clone(&self.parts.access), principal)),
        });
        Ok(())
    }
}
