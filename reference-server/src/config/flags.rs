//! What the command line says about settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Parser};
use toml::Value;

use super::Overrides;

/// Each flag but `--config` is also TIDEWIRE_NAME in the environment and `name` in the file; flags
/// win over the environment, the environment over the file.
#[derive(Args)]
pub(crate) struct Flags {
    /// TOML file with settings and namespaces
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where clients come in; port 0 picks a free one [default: 127.0.0.1:7400]
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Where metrics and the admin door are [default: off]
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    admin: Option<String>,
    /// What keeps the logs: memory or disk [default: memory]
    #[arg(long, global = true)]
    broker: Option<String>,
    /// Where the disk broker keeps them [default: ./tidewire-data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Accept the token dev:NAME; only on a loopback address
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    dev_auth: Option<bool>,
    /// Origin of a page that may connect; may be given several times
    #[arg(long, global = true, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Serve clients over HTTP that cannot have a WebSocket [default: true]
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    enable_http_fallback: Option<bool>,
    /// Milliseconds between two polls of a client that cannot hold one [default: 3000]
    #[arg(long, global = true, value_name = "MS")]
    fallback_poll_interval_ms: Option<String>,
    /// How long a drain waits for clients to leave, in ms [default: 45000]
    #[arg(long, global = true, value_name = "MS")]
    drain_grace_ms: Option<String>,
    /// Most connections at a time [default: 15000]
    #[arg(long, global = true, value_name = "N")]
    connections_max: Option<String>,
    /// Most connections at a time from one address [default: 1000]
    #[arg(long, global = true, value_name = "N")]
    connections_per_address: Option<String>,
    /// Milliseconds that a peer stays after its connection broke
    #[arg(long, value_name = "MS")]
    presence_grace_ms: Option<String>,
    /// Most connections at a time that have not authenticated yet [default: 4000]
    #[arg(long, global = true, value_name = "N")]
    connections_unauthenticated_max: Option<String>,
    /// Range of addresses of proxies whose X-Forwarded-For counts; may be given several times
    #[arg(long, global = true, value_name = "CIDR")]
    trusted_proxies: Vec<String>,
    /// Most channels that the disk broker keeps [default: 100000]
    #[arg(long, global = true, value_name = "N")]
    disk_channels_max: Option<String>,
    /// Most bytes of entries and snapshots that the disk broker keeps [default: 10737418240]
    #[arg(long, global = true, value_name = "BYTES")]
    disk_bytes_max: Option<String>,
    /// Most memory for logs, documents, queues and pushes; 0: half of what there is [default: 0]
    #[arg(long, global = true, value_name = "BYTES")]
    memory_bytes_max: Option<String>,
    /// Part of that from which on newcomers are told to come later [default: 0.85]
    #[arg(long, global = true, value_name = "PART")]
    backpressure_threshold: Option<String>,
    /// Name of a host by which the admin door may be reached; may be given several times
    #[arg(long, global = true, value_name = "HOST")]
    admin_hosts: Vec<String>,
    /// Let /metrics on the admin door be read without a key
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    admin_open_metrics: Option<bool>,
    /// Take fault plans on the admin door; --dev-auth does it too
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    faults: Option<bool>,
    /// Most channels in memory at a time [default: 100000]
    #[arg(long, global = true, value_name = "N")]
    channels_max: Option<String>,
    /// Largest message of a client, in bytes [default: 131072]
    #[arg(long, global = true, value_name = "BYTES")]
    frame_up_bytes: Option<String>,
    /// Key that proves claims of epochs, 64 hex digits; may be given several times, the first signs.
    /// TIDEWIRE_EPOCH_KEYS keeps it out of the list of processes [default: a random one]
    #[arg(long, global = true, value_name = "HEX")]
    epoch_keys: Vec<String>,
    /// Which log lines go to standard error, as in RUST_LOG [default: info]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
}

impl Flags {
    pub(crate) fn overrides(self) -> Overrides {
        let mut values = BTreeMap::new();
        let texts = [
            ("listen", self.listen),
            ("admin", self.admin),
            ("broker", self.broker),
            ("data_dir", self.data_dir),
            ("log", self.log),
        ];
        for (key, value) in texts {
            values.extend(value.map(|text| (key, Value::String(text))));
        }
        let numbers = [
            ("drain_grace_ms", self.drain_grace_ms),
            ("fallback_poll_interval_ms", self.fallback_poll_interval_ms),
            ("connections_max", self.connections_max),
            ("connections_per_address", self.connections_per_address),
            ("presence_grace_ms", self.presence_grace_ms),
            (
                "connections_unauthenticated_max",
                self.connections_unauthenticated_max,
            ),
            ("channels_max", self.channels_max),
            ("disk_channels_max", self.disk_channels_max),
            ("disk_bytes_max", self.disk_bytes_max),
            ("memory_bytes_max", self.memory_bytes_max),
            ("frame_up_bytes", self.frame_up_bytes),
        ];
        for (key, value) in numbers {
            // Text that is no number stays text: it is printed as it is, and judged like all values.
            values.extend(value.map(|text| {
                let number = text.parse().map(Value::Integer);
                (key, number.unwrap_or(Value::String(text)))
            }));
        }
        if let Some(text) = self.backpressure_threshold {
            let number = text.parse().map(Value::Float);
            let value = number.unwrap_or(Value::String(text));
            values.insert("backpressure_threshold", value);
        }
        let switches = [
            ("dev_auth", self.dev_auth),
            ("faults", self.faults),
            ("enable_http_fallback", self.enable_http_fallback),
            ("admin_open_metrics", self.admin_open_metrics),
        ];
        for (key, on) in switches {
            values.extend(on.map(|on| (key, Value::Boolean(on))));
        }
        let lists = [
            ("allow_origin", self.allow_origin),
            ("epoch_keys", self.epoch_keys),
            ("trusted_proxies", self.trusted_proxies),
            ("admin_hosts", self.admin_hosts),
        ];
        for (key, list) in lists {
            if !list.is_empty() {
                let items = list.into_iter().map(Value::String);
                values.insert(key, Value::Array(items.collect()));
            }
        }
        Overrides {
            config: self.config,
            values,
        }
    }
}

/// Flags alone, for [`Overrides::from_args`].
#[derive(Parser)]
#[command(no_binary_name = true)]
struct FlagsOnly {
    #[command(flatten)]
    flags: Flags,
}

impl Overrides {
    /// Reads flags as the program takes them, without the program's name and subcommands.
    ///
    /// Errors: what [`clap`] would print.
    pub fn from_args<I, T>(args: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<std::ffi::OsString> + Clone,
    {
        Ok(FlagsOnly::try_parse_from(args)?.flags.overrides())
    }
}
