//! What an application hands over, as fields: one JSON text per field, never re-printed.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidewire_core::MutateError;
use tidewire_core::document::Rejection;
use tidewire_core::wire::{ErrorCode, Field};

/// Turns a map or struct into fields.
///
/// The whole is written once as JSON and cut at its top level; a number keeps the digits that its
/// `Serialize` wrote. Doubled names are kept, so that the core can refuse them.
///
/// Errors: `invalid` when it is not a JSON object.
pub(crate) fn to_fields<F: Serialize + ?Sized>(fields: &F) -> Result<Vec<Field>, MutateError> {
    let invalid = |e: serde_json::Error| {
        Rejection::new(
            ErrorCode::Invalid,
            format!("fields must be a map with text keys: {e}"),
        )
    };
    let text = serde_json::to_string(fields).map_err(invalid)?;
    let Fields(fields) = serde_json::from_str(&text).map_err(invalid)?;
    Ok(fields)
}

struct Fields(Vec<Field>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByName;

        impl<'de> Visitor<'de> for ByName {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of named fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    fields.push(Field {
                        name,
                        value: value.get().to_owned().into(),
                        ..Field::default()
                    });
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(ByName)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(fields: &impl Serialize) -> Vec<(String, String)> {
        to_fields(fields)
            .unwrap()
            .into_iter()
            .map(|f| (f.name, String::from_utf8(f.value.to_vec()).unwrap()))
            .collect()
    }

    #[test]
    fn digits_survive_as_they_were_written() {
        #[derive(Serialize)]
        struct Wide {
            id: u64,
            raw: Box<RawValue>,
        }
        let wide = Wide {
            id: u64::MAX,
            raw: RawValue::from_string("1.000000000000000000001e2".into()).unwrap(),
        };
        assert_eq!(
            texts(&wide),
            [
                ("id".into(), "18446744073709551615".into()),
                ("raw".into(), "1.000000000000000000001e2".into())
            ]
        );
    }

    #[test]
    fn nested_values_stay_whole() {
        assert_eq!(
            texts(&json!({"a": {"b": [1, null]}, "c\"": "ü"})),
            [
                ("a".into(), r#"{"b":[1,null]}"#.into()),
                ("c\"".into(), r#""ü""#.into())
            ]
        );
    }

    #[test]
    fn what_is_not_a_map_is_refused() {
        for bad in [json!(1), json!([1]), json!("x"), json!(null)] {
            let refused = to_fields(&bad).unwrap_err();
            assert_eq!(refused.code(), "invalid", "{bad}");
        }
    }
}
