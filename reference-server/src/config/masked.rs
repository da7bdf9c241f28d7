//! Secrets as they may be printed.

use toml::Value;

/// What a secret shows of itself: enough to tell which one it is, too little to use it.
pub(super) fn masked(value: &Value) -> Value {
    match value {
        Value::Array(list) => Value::Array(list.iter().map(masked).collect()),
        Value::String(text) => {
            let shown: String = text.chars().take(4).collect();
            let length = text.chars().count();
            Value::String(format!(
                "{shown}… ({length} characters, the rest is not shown)"
            ))
        }
        other => other.clone(),
    }
}
