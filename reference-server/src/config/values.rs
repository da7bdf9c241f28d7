//! Raw values → values of a kind; an error says what to write instead.

use std::net::SocketAddr;

use toml::Value;

pub(super) fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "must be a text".into())
}

pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    value
        .as_bool()
        .ok_or_else(|| "must be true or false".into())
}

/// A list of texts that each mean something.
pub(super) fn list<T>(
    value: &Value,
    what: &str,
    item: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let list = value
        .as_array()
        .ok_or_else(|| format!("must be a list of {what}"))?;
    list.iter()
        .map(|one| match one.as_str() {
            Some(text) => item(text).map_err(|fix| format!("{one}: {fix}")),
            None => Err(format!("{one} is no text; must be a list of {what}")),
        })
        .collect()
}

pub(super) fn number(value: &Value, min: u64, max: u64) -> Result<u64, String> {
    value
        .as_integer()
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
}

pub(super) fn address(value: &Value) -> Result<SocketAddr, String> {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| "not an address; use IP:PORT, as in \"127.0.0.1:7400\"".into())
}
