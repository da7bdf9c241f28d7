//! How the fields of an object are written and read, one module per form.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::{Error as _, MapAccess};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A text of the input, copied only if it holds escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Numbers, texts, flags, lists and messages, as serde has them.
pub(super) mod plain {
    use super::*;

    pub(in crate::wire::json) fn write<O: SerializeMap>(
        object: &mut O,
        name: &'static str,
        field: &impl Serialize,
    ) -> Result<(), O::Error> {
        object.serialize_entry(name, field)
    }

    pub(in crate::wire::json) fn read<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
        object: &mut A,
    ) -> Result<T, A::Error> {
        object.next_value()
    }
}

/// What may be absent; `null` does not say so.
pub(super) mod optional {
    use super::*;

    pub(in crate::wire::json) fn write<O: SerializeMap>(
        object: &mut O,
        name: &'static str,
        field: &Option<impl Serialize>,
    ) -> Result<(), O::Error> {
        match field {
            Some(field) => object.serialize_entry(name, field),
            None => Ok(()),
        }
    }

    pub(in crate::wire::json) fn read<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
        object: &mut A,
    ) -> Result<Option<T>, A::Error> {
        object.next_value().map(Some)
    }
}

/// Fields that are younger than the first release: left out while they have their zero value.
pub(super) mod later {
    use super::*;

    pub(in crate::wire::json) fn write<O: SerializeMap, T: Serialize + Default + PartialEq>(
        object: &mut O,
        name: &'static str,
        field: &T,
    ) -> Result<(), O::Error> {
        match *field == T::default() {
            true => Ok(()),
            false => object.serialize_entry(name, field),
        }
    }

    pub(in crate::wire::json) use super::plain::read;
}

/// Ids, proofs and the like that are younger than the first release.
pub(super) mod later_hex {
    use super::*;

    pub(in crate::wire::json) fn write<O: SerializeMap>(
        object: &mut O,
        name: &'static str,
        field: &Bytes,
    ) -> Result<(), O::Error> {
        match field.is_empty() {
            true => Ok(()),
            false => hex::write(object, name, field),
        }
    }

    pub(in crate::wire::json) use super::hex::read;
}

/// Ids: two hexadecimal digits per byte, written in lower case.
pub(super) mod hex {
    use super::*;

    pub(in crate::wire::json) fn write<O: SerializeMap>(
        object: &mut O,
        name: &'static str,
        field: &Bytes,
    ) -> Result<(), O::Error> {
        let mut text = String::with_capacity(2 * field.len());
        for byte in field {
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(digit.into(), 16));
            }
        }
        object.serialize_entry(name, &text)
    }

    pub(in crate::wire::json) fn read<'de, A: MapAccess<'de>>(
        object: &mut A,
    ) -> Result<Bytes, A::Error> {
        let Text(text) = object.next_value()?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let byte = |pair: &[u8]| match *pair {
            [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
        bytes
            .map(Bytes::from)
            .ok_or_else(|| A::Error::custom("an id is not pairs of hexadecimal digits"))
    }
}

/// A hash of 64 bits, which no JavaScript number holds: 16 hexadecimal digits.
pub(super) mod hash {
    use super::*;

    pub(in crate::wire::json) fn write<O: SerializeMap>(
        object: &mut O,
        name: &'static str,
        field: &u64,
    ) -> Result<(), O::Error> {
        object.serialize_entry(name, &format_args!("{field:016x}"))
    }

    pub(in crate::wire::json) fn read<'de, A: MapAccess<'de>>(
        object: &mut A,
    ) -> Result<u64, A::Error> {
        let bytes = hex::read(object)?;
        let bytes = <[u8; 8]>::try_from(&bytes[..])
            .map_err(|_| A::Error::custom("a hash is not 16 hexadecimal digits"))?;
        Ok(u64::from_be_bytes(bytes))
    }
}

/// Values: JSON text, embedded as it is. What is no JSON cannot be embedded and is left out: an
/// absent value gets the receiver's refusal, as the same bytes in Protobuf do.
pub(super) mod raw {
    use super::*;
    use crate::document::value::is_json;

    pub(in crate::wire::json) fn write<O: SerializeMap>(
        object: &mut O,
        name: &'static str,
        field: &Bytes,
    ) -> Result<(), O::Error> {
        if !is_json(field) {
            return Ok(());
        }
        match serde_json::from_slice::<&RawValue>(field) {
            Ok(text) => object.serialize_entry(name, text),
            Err(_) => Ok(()),
        }
    }

    pub(in crate::wire::json) fn read<'de, A: MapAccess<'de>>(
        object: &mut A,
    ) -> Result<Bytes, A::Error> {
        let text: &RawValue = object.next_value()?;
        Ok(Bytes::copy_from_slice(text.get().as_bytes()))
    }
}

/// A value that may be absent; the value `null` is present.
pub(super) mod optional_raw {
    use super::*;

    pub(in crate::wire::json) fn write<O: SerializeMap>(
        object: &mut O,
        name: &'static str,
        field: &Option<Bytes>,
    ) -> Result<(), O::Error> {
        match field {
            Some(field) => raw::write(object, name, field),
            None => Ok(()),
        }
    }

    pub(in crate::wire::json) fn read<'de, A: MapAccess<'de>>(
        object: &mut A,
    ) -> Result<Option<Bytes>, A::Error> {
        raw::read(object).map(Some)
    }
}

/// Keeps a field that was read; each comes once.
pub(super) fn keep<T, E: serde::de::Error>(
    place: &mut Option<T>,
    field: T,
    name: &str,
) -> Result<(), E> {
    match place.replace(field) {
        None => Ok(()),
        Some(_) => Err(E::custom(format_args!("{name} comes twice"))),
    }
}
