//! The client: settings, the handle, and what ends with its last handle.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use tidewire_core::time::Now;
use tidewire_core::wire::Codec;
use tidewire_core::{
    ChannelNameError, ClientId, Config, ConnectionPhase, ConnectionState, Input, MemoryOutbox,
    NetworkHint, Session, SubscribeError, TransportKind,
};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::channel::Channel;
use crate::clock::Clock;
use crate::driver::Driver;
use crate::endpoint::{Endpoint, Target, UrlError};
use crate::state::Shared;
use crate::token::TokenProvider;
use crate::transport::{Dialer, Http, HttpError, TlsError, web_roots};

/// What this client has, the best first.
const TRANSPORTS: [TransportKind; 3] = [
    TransportKind::WebSocket,
    TransportKind::Sse,
    TransportKind::LongPoll,
];

/// One client of one server: one connection, any number of channels.
///
/// Cheap to clone. It connects when the first channel is opened, reconnects by itself, and closes
/// when [`Client::close`] is called or its last handle, channels and collections included, is dropped.
#[derive(Clone, Debug)]
pub struct Client {
    owner: Arc<Owner>,
}

/// Held by every handle; when the last one goes, the client closes.
pub(crate) struct Owner {
    shared: Arc<Shared>,
}

/// Settings of a [`Client`].
#[must_use = "call `build` to get a client"]
pub struct ClientBuilder {
    url: String,
    provider: Option<Arc<dyn TokenProvider>>,
    config: Config,
    codec: Option<Codec>,
    transports: Vec<TransportKind>,
    tls: Option<Arc<ClientConfig>>,
    runtime: Option<Handle>,
}

/// Why a client was not built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The server's URL cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// No token provider was given.
    #[error("no token provider: call `token` before `build`")]
    NoToken,
    /// Not inside a tokio runtime, and none was given.
    #[error("no tokio runtime: build inside one, or hand its handle to `runtime`")]
    NoRuntime,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Requests over HTTP cannot be set up; the text says why.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// `transports` was given none.
    #[error("no transport: give `transports` at least one, or leave it out for all")]
    NoTransport,
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system: {0}")]
    Random(getrandom::Error),
}

/// Why a channel was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The name breaks the rules.
    #[error(transparent)]
    Name(#[from] ChannelNameError),
    /// The client is closed, or too many channels are open.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
}

impl Client {
    /// Starts with the server's URL: `http(s)://` or `ws(s)://`, with or without a path prefix.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            url: url.into(),
            provider: None,
            config: Config::default(),
            codec: None,
            transports: TRANSPORTS.into(),
            tls: None,
            runtime: None,
        }
    }

    /// Opens a channel, `namespace:segment…`; the same name gives another handle of the same channel.
    ///
    /// The first one connects. Errors: a name that breaks the rules; a closed client; over
    /// [`Config::channels_max`].
    pub fn channel(&self, name: &str) -> Result<Channel, ChannelError> {
        let name = name.parse()?;
        Ok(Channel::open(&self.owner, name)?)
    }

    /// The connection's state, now and as it changes.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<ConnectionState> {
        self.owner.shared.connection.subscribe()
    }

    /// Connects now: before the first channel, instead of waiting for the next attempt, or again after
    /// a refusal that a retry could not mend (say, after signing in).
    pub fn connect(&self) {
        self.owner
            .shared
            .command(|state, now| state.session_mut().connect(now));
    }

    /// Passes on what the platform says about the network; it only hurries things up.
    pub fn network(&self, hint: NetworkHint) {
        self.owner.shared.command(|state, now| {
            state.session_mut().handle_input(now, Input::Network(hint));
        });
    }

    /// Who the server says we are, once connected.
    #[must_use]
    pub fn principal(&self) -> Option<String> {
        let state = self.owner.shared.lock();
        state.session().principal().map(str::to_owned)
    }

    /// Closes for good and waits, about a second at most, until the server was told.
    ///
    /// What was not sent ends as [`crate::MutationStatus::Cancelled`], what was sent and not decided as
    /// [`crate::MutationStatus::Indeterminate`]: await [`crate::Mutation::committed`] first where that matters.
    pub async fn close(&self) {
        let shared = &self.owner.shared;
        shared.command(|state, now| state.stop(now));
        // An error would mean that the driver is gone: just as well.
        let _ = shared.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

impl Owner {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = self.shared.connection.borrow();
        f.write_str(connection.phase.name())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.command_on_drop(|state, now| state.stop(now));
    }
}

impl ClientBuilder {
    /// Where tokens come from: a text, or an async closure that is called before each connect.
    pub fn token(mut self, provider: impl TokenProvider) -> Self {
        self.provider = Some(Arc::new(provider));
        self
    }

    /// Settings of the session: back-off, time-outs, bounds. [`Self::transports`] and
    /// [`Self::codec`] are methods of their own: its `transports` count for nothing, its `codec` only without the method.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// How frames travel. [`Codec::Protobuf`] unless told otherwise; [`Codec::Json`] is larger, and
    /// readable for people and proxies that look at it.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = Some(codec);
        self
    }

    /// How to reach the server, the best first: a WebSocket, a stream of server-sent events, polls. All three in this order
    /// unless told otherwise; one that is of no use here gives way to the next, and is tried again later.
    ///
    /// ```
    /// # use tidewire::{Client, TransportKind};
    /// Client::builder("https://app.example.com").transports([TransportKind::WebSocket]);
    /// ```
    pub fn transports(mut self, transports: impl IntoIterator<Item = TransportKind>) -> Self {
        self.transports = transports.into_iter().collect();
        self
    }

    /// TLS settings in place of the web's roots: for a private authority or client certificates.
    pub fn tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// The runtime to live on, in place of the one that `build` is called in. It needs I/O and time.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Builds the client and starts its task. Nothing is sent before the first channel or `connect`.
    pub fn build(self) -> Result<Client, BuildError> {
        let endpoint: Endpoint = self.url.parse()?;
        let provider = self.provider.ok_or(BuildError::NoToken)?;
        let runtime = match self.runtime {
            Some(runtime) => runtime,
            None => Handle::try_current().map_err(|_| BuildError::NoRuntime)?,
        };
        let mut config = self.config;
        config.codec = self.codec.unwrap_or(config.codec);
        if self.transports.is_empty() {
            return Err(BuildError::NoTransport);
        }
        config.transports = self.transports;
        let tls = match self.tls {
            Some(tls) => tls,
            None => Arc::new(web_roots()?),
        };
        let target = Target::new(endpoint);
        let dialer = Dialer::new(target.clone(), config.codec, tls.clone());
        let http = Http::new(target, config.codec, tls)?;
        let mut client = [0; 16];
        getrandom::fill(&mut client).map_err(BuildError::Random)?;
        let seed = getrandom::u64().map_err(BuildError::Random)?;

        // The alarm and the clock are tokio's: both must be made on the runtime.
        let _entered = runtime.enter();
        let clock = Clock::start();
        let session = Session::new(config, seed, clock.now());
        let store = RefCell::new(MemoryOutbox::new(ClientId(client)));
        let shared = Arc::new(Shared::new(session, Box::new(store), clock));
        runtime.spawn(Driver::new(shared.clone(), dialer, http, provider).run());
        Ok(Client {
            owner: Arc::new(Owner { shared }),
        })
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The provider may hold a token: it is not shown.
        f.debug_struct("ClientBuilder")
            .field("url", &self.url)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Connects if nobody has yet.
pub(crate) fn connect_once(session: &mut Session, now: Now) {
    if session.connection().phase == ConnectionPhase::Idle {
        session.connect(now);
    }
}
