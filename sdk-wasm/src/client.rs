//! The exported client. Every method takes `&self`, so a call from inside a callback never meets a lock.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use js_sys::{Array, Function};
use tidewire_core::{
    ChannelId, ChannelName, ClientId, Config, ConnId, Follow, HttpResponse, Input, LinkClosed,
    LinkStage, MemoryOutbox, MutateOptions, MutationHandle, NetworkHint, Probed, RequestId,
    Session, TokenError, TransportKind,
};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::driver::Driver;
use crate::error::CallError;
use crate::transport::Http;
use crate::{clock, convert};

/// One session with a server. Dropping it (`free`) closes the socket and the timer.
#[wasm_bindgen(js_name = Client)]
pub struct JsClient {
    driver: Rc<Driver>,
}

#[wasm_bindgen(js_class = Client)]
impl JsClient {
    /// `entropy`: 24 random bytes, 16 for the id of its store and 8 for jitter. `flush` is called with
    /// an array of events, at most once per turn. `retries_max`: negative for no limit. `transports`: what the
    /// platform has and the application wants, by name, the best first; `websocket` only with a constructor.
    #[wasm_bindgen(constructor)]
    #[expect(
        clippy::too_many_arguments,
        reason = "each costs an object in JavaScript otherwise"
    )]
    pub fn new(
        url: String,
        websocket: Option<Function>,
        http: Http,
        transports: Vec<String>,
        flush: Function,
        entropy: &[u8],
        retry_delay_base_ms: u32,
        retry_delay_max_ms: u32,
        retries_max: i32,
    ) -> Result<Self, CallError> {
        let (id, seed) = entropy
            .split_first_chunk::<16>()
            .and_then(|(id, rest)| Some((*id, *rest.first_chunk::<8>()?)))
            .ok_or_else(|| CallError::convention("entropy must be 24 bytes"))?;
        let mut config = Config::default();
        config.retry_delay_base = Duration::from_millis(retry_delay_base_ms.into());
        config.retry_delay_max = Duration::from_millis(retry_delay_max_ms.into());
        config.retries_max = u32::try_from(retries_max).ok();
        config.follows_everything = false;
        let kinds = [
            TransportKind::WebSocket,
            TransportKind::Sse,
            TransportKind::LongPoll,
        ];
        let kind = |name: &String| kinds.into_iter().find(|kind| kind.name() == name);
        config.transports = transports.iter().filter_map(kind).collect();
        let session = Session::new(config, u64::from_le_bytes(seed), clock::now());
        let store = Box::new(RefCell::new(MemoryOutbox::new(ClientId(id))));
        Ok(Self {
            driver: Driver::new(session, store, url, websocket, http, flush),
        })
    }

    /// Starts connecting, or retries at once.
    pub fn connect(&self) {
        self.driver.run(Session::connect);
    }

    /// Closes for good, after what commands before it left to be sent.
    pub fn close(&self) {
        self.driver.run(|_, _| ());
        self.driver.run(Session::close);
    }

    /// Opens a channel and names it for the other calls.
    pub fn subscribe(&self, name: &str) -> Result<u32, CallError> {
        let name: ChannelName = name.parse()?;
        let channel = self
            .driver
            .command(|session, now| session.subscribe(now, name))?;
        Ok(channel.0)
    }

    /// A channel's state: name, and if it failed code, text and retryability.
    pub fn status(&self, channel: u32) -> Option<Array> {
        self.driver.read(|session| {
            let channel = ChannelId(channel);
            let delay = session.delay(channel);
            let status = session.status(channel)?;
            Some(convert::channel_status(status, delay))
        })
    }

    /// Gives up what a channel has seen of a server that does not know it any more.
    pub fn start_over(&self, channel: u32) {
        self.driver
            .command(|session, now| session.start_over(now, ChannelId(channel)));
    }

    /// Lets a channel go.
    pub fn unsubscribe(&self, channel: u32) {
        self.driver
            .command(|session, now| session.unsubscribe(now, ChannelId(channel)));
    }

    /// Wants nothing from a channel for a while.
    pub fn pause(&self, channel: u32) {
        self.driver
            .command(|session, now| session.pause(now, ChannelId(channel)));
    }

    /// Ends a pause.
    pub fn resume(&self, channel: u32) {
        self.driver
            .command(|session, now| session.resume(now, ChannelId(channel)));
    }

    /// Applies a mutation, given as one flat array of strings (`convert.rs`), and names it.
    pub fn mutate(
        &self,
        channel: u32,
        words: Vec<String>,
        ttl_ms: Option<f64>,
        after: Option<f64>,
        coalesce_key: Option<String>,
    ) -> Result<f64, CallError> {
        let (changes, preconditions) = convert::mutation(words)?;
        let options = MutateOptions {
            preconditions,
            ttl: ttl_ms.map(|ms| Duration::from_millis(ms as u64)),
            after: after.map(|handle| MutationHandle(handle as u64)),
            coalesce_key: coalesce_key.map(Into::into),
            require_durable: false,
        };
        let handle = self
            .driver
            .command(|session, now| session.mutate(now, ChannelId(channel), changes, options))?;
        Ok(handle.0 as f64)
    }

    /// Takes a mutation back; `false`: it is too late.
    pub fn cancel(&self, handle: f64) -> bool {
        self.driver
            .command(|session, now| session.cancel(now, MutationHandle(handle as u64)))
            .is_ok()
    }

    /// What this client is called, once its store is open; with channel and number it names a mutation.
    pub fn client_id(&self) -> Option<String> {
        self.driver
            .read(|session| Some(session.store()?.client.to_string()))
    }

    /// A record as JSON text. Its next change is told: whoever keeps the text knows when it is old.
    pub fn record(&self, channel: u32, collection: &str, id: &str) -> Option<String> {
        let channel = ChannelId(channel);
        self.driver.with(|session| {
            let text = session.record(channel, collection, id)?.to_json();
            session.follow(channel, Follow::Record(collection, id));
            Some(text)
        })
    }

    /// Asks to be told of changes: the next one of a record, or all of a collection, or, without either,
    /// of the channel.
    pub fn follow(&self, channel: u32, collection: Option<String>, id: Option<String>) {
        let what = match (&collection, &id) {
            (Some(collection), Some(id)) => Follow::Record(collection, id),
            (Some(collection), None) => Follow::Collection(collection),
            (None, _) => Follow::Everything,
        };
        self.driver
            .with(|session| session.follow(ChannelId(channel), what));
    }

    /// Whether a record exists.
    pub fn has(&self, channel: u32, collection: &str, id: &str) -> bool {
        self.driver
            .read(|session| session.record(ChannelId(channel), collection, id).is_some())
    }

    /// The ids of a collection, sorted by code point.
    pub fn ids(&self, channel: u32, collection: &str) -> Array {
        self.driver.read(|session| {
            session
                .ids(ChannelId(channel), collection)
                .iter()
                .map(|id| wasm_bindgen::JsValue::from_str(id))
                .collect()
        })
    }

    /// Whether a mutation of this record waits for the server.
    pub fn is_pending(&self, channel: u32, collection: &str, id: &str) -> bool {
        self.driver
            .read(|session| session.is_pending(ChannelId(channel), collection, id))
    }

    /// Says who one is, as JSON text; `undefined`: no longer present.
    pub fn set_presence(&self, channel: u32, data: Option<String>) -> Result<(), CallError> {
        Ok(self.driver.command(|session, now| {
            session.set_presence(now, ChannelId(channel), data.map(Bytes::from))
        })?)
    }

    /// Who is present, flat: number, principal, JSON text.
    pub fn peers(&self, channel: u32) -> Array {
        self.driver
            .read(|session| convert::peers(&session.peers(ChannelId(channel))))
    }

    /// How far a channel has come: `[epoch, seq, tag]`.
    pub fn cursor(&self, channel: u32) -> Option<Array> {
        self.driver.read(|session| {
            session
                .cursor(ChannelId(channel))
                .as_ref()
                .map(convert::cursor)
        })
    }

    /// Who the server says we are.
    pub fn principal(&self) -> Option<String> {
        self.driver
            .read(|session| session.principal().map(str::to_owned))
    }

    /// Answers the event `token`.
    pub fn token(&self, token: String) {
        self.driver
            .run(|session, now| session.handle_input(now, Input::Token(Ok(token))));
    }

    /// Answers the event `token` when there is none to be had.
    pub fn token_failed(&self, retryable: bool, detail: String) {
        self.driver.run(|session, now| {
            session.handle_input(now, Input::Token(Err(TokenError { retryable, detail })));
        });
    }

    /// A stream brought bytes.
    pub fn chunk(&self, conn: f64, bytes: &[u8]) {
        self.driver.chunk(ConnId(conn as u64), bytes);
    }

    /// A stream ended.
    pub fn stream_closed(&self, conn: f64, detail: String) {
        let reason = LinkClosed {
            stage: LinkStage::Opened,
            detail,
            ..LinkClosed::default()
        };
        self.driver.closed(ConnId(conn as u64), reason);
    }

    /// A request was answered. `status` 0: it was not. `retry_after_ms`: negative for none.
    #[expect(
        clippy::too_many_arguments,
        reason = "each costs an object in JavaScript otherwise"
    )]
    pub fn response(
        &self,
        conn: f64,
        request: f64,
        status: u16,
        retry_after_ms: f64,
        unheld: bool,
        body: Vec<u8>,
        detail: String,
    ) {
        let response = HttpResponse {
            status,
            retry_after: (retry_after_ms >= 0.0)
                .then(|| Duration::from_millis(retry_after_ms as u64)),
            unheld,
            body: body.into(),
            detail,
        };
        let request = RequestId(request as u64);
        self.driver
            .responded(ConnId(conn as u64), request, response);
    }

    /// What a probe has found: `live`, `stranger` or `nobody`.
    pub fn probed(&self, probe: f64, found: &str) {
        let found = match found {
            "live" => Probed::Live,
            "stranger" => Probed::Stranger,
            _ => Probed::Nobody,
        };
        self.driver.probed(probe as u64, found);
    }

    /// What the platform says: `online`, `offline`, `resumed` or `frozen`.
    pub fn network(&self, hint: &str) {
        let hint = match hint {
            "online" => NetworkHint::Online,
            "offline" => NetworkHint::Offline,
            "frozen" => NetworkHint::Frozen,
            _ => NetworkHint::Resumed,
        };
        self.driver
            .run(|session, now| session.handle_input(now, Input::Network(hint)));
    }
}
