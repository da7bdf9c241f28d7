//! The server as a value: built from a configuration and the application's rules, then run.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use tidewire_core::ChannelName;
use tidewire_core::document::{Document, Rejection};
use tidewire_core::wire::Change;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admission::Admission;
use crate::api_keys::ApiKeys;
use crate::app::App;
use crate::auth::{Action, AuthError, AuthRequest, Authenticate, Authorise, Principal};
use crate::broker::{Broker, DiskBounds, DiskBroker, MemoryBroker, NodeId, OpenError, RunId};
use crate::budget::Budget;
use crate::channel::View;
use crate::channels::Channels;
use crate::clock::{self, Clock};
use crate::config::{BrokerKind, Config, ConfigError};
use crate::connections::Connections;
use crate::drain;
use crate::driver::DriverParts;
use crate::faults::{FaultedPolicy, Faults};
use crate::handle::ServerHandle;
use crate::http::{self, Door};
use crate::key_file::{self, KeyFileError};
use crate::limit::LogLimit;
use crate::origin::OriginRule;
use crate::policy::AppPolicy;
use crate::pressure::{self, Pressure};
use crate::schema::Schemas;
use crate::sessions::{PostRates, Sessions, TokenCache};
use crate::telemetry::Metrics;
use crate::token_checks::TokenChecks;

/// Why a server cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The configuration is not usable.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The data directory cannot be used, for instance because another server has it.
    #[error(transparent)]
    Broker(#[from] OpenError),
    /// The epoch key beside the data cannot be used.
    #[error(transparent)]
    EpochKey(#[from] KeyFileError),
}

/// Why a running server ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The listener has no address.
    #[error("the listener cannot be used: {0}")]
    Listener(#[from] std::io::Error),
    /// `dev_auth` lets everyone in.
    #[error("dev_auth is only for loopback addresses, and this listener is on {0}")]
    DevAuthExposed(SocketAddr),
    /// Whoever reaches an admin door without keys rules.
    #[error("the admin door is on {0}, which is not a loopback address; give it an API key")]
    AdminExposed(SocketAddr),
}

/// A server, ready to run.
///
/// It can run by itself ([`Server::run`]), also with further routes of the application on the same
/// port ([`ServerBuilder::routes`]), or as a router inside another axum program ([`Server::router`]).
pub struct Server {
    app: Arc<App>,
    routes: axum::Router,
    /// Nobody else has it, so nobody else can close it.
    owns_broker: bool,
}

/// Collects what a server is made of.
#[must_use]
pub struct ServerBuilder {
    config: Config,
    authenticate: Option<Arc<Authenticate>>,
    authorise: Option<Arc<Authorise>>,
    policy: AppPolicy,
    routes: axum::Router,
    broker: Option<Arc<dyn Broker>>,
    faults: Option<Faults>,
}

impl ServerBuilder {
    /// Decides who the bearer of a token is. Called for `hello` and `refresh`, with a time limit.
    ///
    /// It sees every token, also those of the form `dev:NAME`, whatever `dev_auth` says.
    pub fn authenticate<F, R>(mut self, authenticate: F) -> Self
    where
        F: Fn(String, Arc<AuthRequest>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Principal, AuthError>> + Send + 'static,
    {
        self.authenticate = Some(Arc::new(move |token, request| {
            Box::pin(authenticate(token, request))
        }));
        self
    }

    /// Decides what a principal may do on a channel. Called for every frame that needs a grant, on
    /// the connection's task: it must not block. Without it everybody who is authenticated may do all.
    pub fn authorise<F>(mut self, authorise: F) -> Self
    where
        F: Fn(&Principal, &ChannelName, Action) -> bool + Send + Sync + 'static,
    {
        self.authorise = Some(Arc::new(authorise));
        self
    }

    /// Judges every change in the channels of a namespace (`"*"`: of those without their own) before
    /// it is applied; an error rejects the whole mutation. It must be quick and depend on its
    /// arguments alone. [`ServerBuilder::build`] refuses a namespace that is not configured.
    pub fn validate<F>(mut self, namespace: &str, validate: F) -> Self
    where
        F: Fn(&View<'_>, &Principal, &Change) -> Result<(), Rejection> + Send + Sync + 'static,
    {
        self.policy
            .validate
            .insert(namespace.into(), Arc::new(validate));
        self
    }

    /// Says which records a new channel of a namespace starts with.
    pub fn initial<F>(mut self, namespace: &str, initial: F) -> Self
    where
        F: Fn(&ChannelName) -> Document + Send + Sync + 'static,
    {
        self.policy
            .initial
            .insert(namespace.into(), Arc::new(initial));
        self
    }

    /// Serves further routes on the same port, for instance the application's page.
    pub fn routes(mut self, routes: axum::Router) -> Self {
        self.routes = self.routes.merge(routes);
        self
    }

    /// Keeps logs in a broker of one's own instead of the configured one. Whoever gives it closes it, once no
    /// server uses it any more.
    pub fn broker(mut self, broker: Arc<dyn Broker>) -> Self {
        self.broker = Some(broker);
        self
    }

    /// Lets a fault plan work on this server, for tests. Without it only the admin door can set one.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Checks everything, compiles schemas and opens the broker.
    ///
    /// Errors: [`BuildError::Config`] also when there is no way to authenticate.
    pub fn build(mut self) -> Result<Server, BuildError> {
        self.config.check()?;
        if self.authenticate.is_none() {
            check_dev_auth(&self.config)?;
        }
        check_namespaces(&self.config, &self.policy)?;
        let api_keys = ApiKeys::load(&self.config)?;
        self.policy.schemas = Schemas::load(&self.config)?;
        self.policy.limits = self.config.limits;
        let mut config = self.config;
        let owns_broker = self.broker.is_none();
        let budget = pressure::budget(&config);
        let broker = match self.broker {
            Some(broker) => broker,
            None => open_broker(&config, &budget)?,
        };
        if config.epoch_keys.is_empty() {
            let mut key = key_file::random()?;
            if owns_broker && config.broker == BrokerKind::Disk {
                key = key_file::read_or_make(&config.data_dir, key)?;
            }
            config.epoch_keys = vec![key];
        }
        let config = Arc::new(config);
        let is_faulted = self.faults.is_some() || config.faults || config.dev_auth;
        let faults = self.faults.unwrap_or_default();
        let metrics = Metrics::with_faults(faults.counts());
        let clock = Clock::new();
        let connections = Connections::new(&config, Arc::clone(&metrics));
        // Zero is none.
        let home = (clock::random_u64() as u32).max(1);
        let connection_config = Arc::new(config.connection(home));
        let sessions = Sessions::new(
            home,
            config.bounds.requests,
            TokenCache::default(),
            PostRates::new(config.rates.connection),
        );
        let pressure = Pressure::new(budget, Arc::clone(&connections), clock);
        let serving = broker.join();
        let parts = DriverParts {
            config: Arc::clone(&config),
            policy: match is_faulted {
                true => Arc::new(FaultedPolicy {
                    inner: Arc::new(self.policy),
                    faults: faults.clone(),
                }),
                false => Arc::new(self.policy),
            },
            broker: Arc::clone(&broker),
            node: serving.as_ref().map(|_| NodeId(clock::random_u64())),
            connections: Arc::clone(&connections),
            metrics: Arc::clone(&metrics),
            clock,
            log_limit: Arc::default(),
            pressure: Arc::clone(&pressure),
            is_log_in_memory: owns_broker && config.broker == BrokerKind::Memory,
        };
        let channels = Arc::new(Channels::new(parts));
        let admission = Admission::new(&config);
        let routing_table = http::routing_table(&config, clock::random_u64());
        let origins = OriginRule {
            allowed: config.allow_origin.clone(),
            loopback: config.dev_auth,
        };
        let token_checks =
            TokenChecks::new(config.bounds.token_checks, config.timeouts.authenticate);
        let app = Arc::new(App {
            token_checks,
            config,
            authenticate: self.authenticate,
            authorise: self.authorise,
            origins,
            channels,
            connection_config,
            serving,
            broker,
            connections,
            metrics,
            clock,
            drain: tokio::sync::Notify::new(),
            faults: faults.clone(),
            is_faulted,
            admission,
            pressure,
            api_keys,
            routing_table,
            sessions,
            refusals: LogLimit::default(),
        });
        faults.attach(ServerHandle::new(&app));
        Ok(Server {
            app,
            routes: self.routes,
            owns_broker,
        })
    }
}

/// Without `authenticate` only development tokens are left.
fn check_dev_auth(config: &Config) -> Result<(), ConfigError> {
    match config.dev_auth {
        true => Ok(()),
        false => Err(ConfigError::one(
            "dev_auth",
            "false",
            "nobody could connect: nothing says who clients are. Start with --dev-auth on a \
             loopback address for development, or embed the library and give it `authenticate`",
        )),
    }
}

/// A rule for a namespace that no channel is in would never be asked: a typo, most likely.
fn check_namespaces(config: &Config, policy: &AppPolicy) -> Result<(), ConfigError> {
    let validate = policy.validate.keys().map(|name| ("validate", name));
    let initial = policy.initial.keys().map(|name| ("initial", name));
    let known: Vec<&str> = config.namespaces.keys().map(String::as_str).collect();
    let is_unknown = |name: &str| !known.contains(&name) && !known.contains(&"*");
    // Those that have no rules of their own have those of "*", also where it is not configured.
    let unknown = validate
        .chain(initial)
        .filter(|(_, name)| is_unknown(name) && *name != "*");
    let problems: Vec<_> = unknown
        .flat_map(|(rule, name)| {
            let fix = format!(
                "no such namespace is configured, so this rule would never be asked; known ones are {}",
                known.join(", ")
            );
            ConfigError::one(rule, format_args!("{name:?}"), &fix).problems
        })
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(ConfigError { problems })
    }
}

fn open_broker(config: &Config, budget: &Budget) -> Result<Arc<dyn Broker>, BuildError> {
    let new_run = RunId(clock::random_u64());
    Ok(match config.broker {
        BrokerKind::Memory => {
            let broker = MemoryBroker::new(new_run).with_channels_max(config.channels_max);
            Arc::new(broker.with_budget(budget.clone()))
        }
        BrokerKind::Disk => {
            let bounds = DiskBounds {
                writes: config.bounds.disk_writes,
                cache_bytes: config.bounds.disk_cache_bytes,
            };
            let broker = DiskBroker::open_with(&config.data_dir, new_run, bounds)?;
            let broker = broker.with_channels_max(config.disk_channels_max);
            Arc::new(broker.with_bytes_max(config.disk_bytes_max))
        }
    })
}

impl Server {
    /// Starts to build a server.
    pub fn builder(config: Config) -> ServerBuilder {
        ServerBuilder {
            config,
            authenticate: None,
            authorise: None,
            policy: AppPolicy::default(),
            routes: axum::Router::new(),
            broker: None,
            faults: None,
        }
    }

    /// Judges what [`ServerBuilder::build`] would refuse without `authenticate`, and opens nothing.
    ///
    /// Errors: all problems of the first step that has any.
    pub fn check(config: &Config) -> Result<(), ConfigError> {
        config.check()?;
        check_dev_auth(config)?;
        ApiKeys::load(config)?;
        Schemas::load(config).map(|_| ())
    }

    /// `/v1/…` and `/health/…`, and the routes given to the builder, for a program with its own
    /// listener. Such a program bounds headers and sockets itself, and drains with [`Server::drain`].
    ///
    /// Serve it with `into_make_service_with_connect_info::<SocketAddr>()`: without the peer's address there
    /// are no limits per address, `trusted_proxies` means nothing, and development tokens are refused.
    pub fn router(&self) -> axum::Router {
        http::public(Arc::clone(&self.app)).merge(self.routes.clone())
    }

    /// Accepts clients until `shutdown` completes, then drains.
    ///
    /// Errors: only before the first client is accepted.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), RunError> {
        self.run_with_admin(listener, None, shutdown).await
    }

    /// The same with the admin door on a listener of its own, which stays open while it drains.
    ///
    /// Errors: only before the first client is accepted.
    pub async fn run_with_admin(
        self,
        listener: TcpListener,
        admin: Option<TcpListener>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), RunError> {
        let address = listener.local_addr()?;
        if let Some(admin) = &admin {
            let address = admin.local_addr()?;
            if !address.ip().is_loopback() && self.app.api_keys.is_empty() {
                return Err(RunError::AdminExposed(address));
            }
        }
        if self.app.config.dev_auth && !address.ip().is_loopback() {
            return Err(RunError::DevAuthExposed(address));
        }
        let stop = watch::Sender::new(false);
        let app = &self.app;
        let doors = [
            Some(Door {
                listener,
                router: self.router(),
                admission: Some(Arc::clone(&app.admission)),
            }),
            admin.map(|listener| Door {
                listener,
                router: http::admin(Arc::clone(app)),
                admission: None,
            }),
        ];
        let open: Vec<_> = doors
            .into_iter()
            .flatten()
            .map(|door| {
                tokio::spawn(http::accept(
                    door,
                    Arc::clone(&app.config),
                    stop.subscribe(),
                ))
            })
            .collect();
        tracing::info!(%address, "accepting clients");
        tokio::select! {
            () = shutdown => {}
            () = self.app.drain.notified() => {}
        }
        // Whoever still comes is told so, with a time to come back, until the last one has left.
        self.drain("the server stops").await;
        self.app.channels.stop().await;
        self.app.sessions.stop();
        stop.send_replace(true);
        for door in open {
            // Whoever listens here next finds the port free. A panic shows in its own output.
            let _ = door.await;
        }
        if self.owns_broker {
            self.app.broker.close().await;
        }
        Ok(())
    }

    /// Asks every client to leave, and closes those that have not when the grace is over.
    ///
    /// For a program that serves [`Server::router`] itself; [`Server::run`] does it by itself.
    pub async fn drain(&self, reason: &str) {
        drain::drain(&self.app, reason).await;
    }
}
