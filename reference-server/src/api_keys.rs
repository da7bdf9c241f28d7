//! The keys of the admin door: those of the configuration, by the hash of their secrets.

use std::collections::HashSet;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::config::{ApiKey, ApiSecret, Config, ConfigError};

/// The longest key in a file: a line that is longer is no key.
const KEY_BYTES_MAX: usize = 1024;

/// A key that can be guessed in a day is said to be one.
const KEY_BYTES_GOOD: usize = 16;

/// Every `[[api.key]]` by the hash of its secret.
#[derive(Clone, Debug, Default)]
pub(crate) struct ApiKeys {
    keys: Vec<(Digest32, Arc<ApiKey>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Digest32([u8; 32]);

impl std::fmt::Debug for Digest32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest32(..)")
    }
}

impl ApiKeys {
    /// Reads every key that the configuration names.
    ///
    /// Errors: all keys that cannot be used.
    pub(crate) fn load(config: &Config) -> Result<Self, ConfigError> {
        let (mut keys, mut seen) = (Vec::new(), HashSet::new());
        let mut problems = Vec::new();
        for (at, key) in config.api_keys.iter().enumerate() {
            let (field, shown, secret) = match &key.secret {
                ApiSecret::Sha256(digest) => ("sha256", "…".into(), Ok(*digest)),
                ApiSecret::File(path) => ("key_file", format!("{path:?}"), read(path)),
            };
            let found = secret.and_then(|digest| match seen.insert(digest) {
                true => Ok(digest),
                false => Err("another key is the same; give each its own".into()),
            });
            match found {
                Ok(digest) => keys.push((Digest32(digest), Arc::new(key.clone()))),
                Err(fix) => {
                    let key = format!("api.key[{at}].{field}");
                    problems.extend(ConfigError::one(key, shown, &fix).problems);
                }
            }
        }
        if problems.is_empty() {
            Ok(Self { keys })
        } else {
            Err(ConfigError { problems })
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that a bearer shows. Takes the same time whichever it is, and if it is none.
    pub(crate) fn find(&self, secret: &[u8]) -> Option<&Arc<ApiKey>> {
        let shown = Sha256::digest(secret);
        let mut found = None;
        for (digest, key) in &self.keys {
            let pairs = digest.0.iter().zip(shown.iter());
            let differs = pairs.fold(0, |differs, (a, b)| black_box(differs | (a ^ b)));
            if differs == 0 {
                found = Some(key);
            }
        }
        found
    }
}

/// The hash of the key in a file.
fn read(path: &Path) -> Result<[u8; 32], String> {
    let text = std::fs::read(path)
        .map_err(|error| format!("{error}; name a file that this user can read"))?;
    let key = text.trim_ascii_end();
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.iter().all(u8::is_ascii_graphic) {
        return Err(format!(
            "must hold one key of 1 to {KEY_BYTES_MAX} visible ASCII characters; make one with \
             `openssl rand -hex 32`"
        ));
    }
    if key.len() < KEY_BYTES_GOOD {
        tracing::warn!(?path, "this API key is short enough to be guessed");
    }
    Ok(Sha256::digest(key).into())
}
