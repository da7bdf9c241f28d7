//! What a member hears over a stream of server-sent events.

use std::net::SocketAddr;

use anyhow::Context;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tidewire_core::event_stream::EventStream;
use tidewire_core::wire::{Codec, Limits};

use super::link::Introduction;
use super::requests::Requests;

/// A stream of the server.
#[derive(Debug)]
pub struct Events {
    codec: Codec,
    body: Incoming,
    /// What was read of the body and not looked at.
    piece: Bytes,
    events: EventStream,
}

impl Events {
    pub(super) async fn open(
        address: SocketAddr,
        codec: Codec,
        it: &Introduction<'_>,
    ) -> anyhow::Result<Self> {
        let mut requests = Requests::open(address, codec).await?;
        let body = requests
            .post("/v1/sse", it.message(codec, 0))
            .await?
            .await?;
        let bytes_max = Limits::DEFAULT.frame_down_bytes as usize;
        Ok(Self {
            codec,
            body,
            piece: Bytes::new(),
            events: EventStream::for_messages(bytes_max),
        })
    }

    pub(super) const fn codec(&self) -> Codec {
        self.codec
    }

    pub(super) async fn next(&mut self) -> anyhow::Result<Bytes> {
        loop {
            let mut rest = &self.piece[..];
            let event = self.events.next(&mut rest)?;
            let looked_at = self.piece.len() - rest.len();
            self.piece.advance(looked_at);
            match event {
                Some(event) => {
                    if let Some(message) = event.into_message(self.codec)? {
                        return Ok(message);
                    }
                }
                None => {
                    let frame = self.body.frame().await.context("the stream has ended")??;
                    self.piece = frame.into_data().unwrap_or_default();
                }
            }
        }
    }
}
