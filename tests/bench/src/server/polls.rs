//! What a member hears as answers to long polls. The next poll is out before the answer to the last one is handed on, as
//! our clients do it.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tidewire_core::wire::{
    ClientKind, Codec, Hello, ServerKind, Welcome, client_message, decode_server,
};

use super::link::Introduction;
use super::requests::Requests;

type Answer = Pin<Box<dyn Future<Output = anyhow::Result<Incoming>>>>;

/// A session that is polled.
pub struct Polls {
    requests: Requests,
    /// The first frame of each poll, with its number.
    hello: Hello,
    answer: Answer,
}

impl fmt::Debug for Polls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polls")
            .field("hello", &self.hello)
            .finish_non_exhaustive()
    }
}

impl Polls {
    pub(super) async fn open(address: SocketAddr, it: &Introduction<'_>) -> anyhow::Result<Self> {
        let mut requests = Requests::open(address, Codec::Protobuf).await?;
        let first = it.message(Codec::Protobuf, 1);
        let answer = Box::pin(requests.post("/v1/poll", first).await?);
        let hello = Hello {
            poll: 1,
            ..it.hello()
        };
        Ok(Self {
            requests,
            hello,
            answer,
        })
    }

    pub(super) async fn next(&mut self) -> anyhow::Result<Bytes> {
        loop {
            let message = self.answer.as_mut().await?.collect().await?.to_bytes();
            if self.hello.session.is_empty() {
                let welcome = welcome(message.clone())?;
                let home = &welcome.home.to_be_bytes()[..];
                self.hello.session = [home, &welcome.session].concat().into();
            }
            self.hello.poll += 1;
            let poll = client_message(ClientKind::Hello(self.hello.clone()));
            self.answer = Box::pin(self.requests.post("/v1/poll", poll).await?);
            // Without frames it was held for as long as the server holds one.
            if !message.is_empty() {
                return Ok(message);
            }
        }
    }
}

fn welcome(message: Bytes) -> anyhow::Result<Welcome> {
    let frames = decode_server(message, usize::MAX)?;
    let mut welcomes = frames.into_iter().filter_map(|frame| match frame {
        ServerKind::Welcome(welcome) => Some(welcome),
        _ => None,
    });
    welcomes.next().context("the server does not welcome us")
}
