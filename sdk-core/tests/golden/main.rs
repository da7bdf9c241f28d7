//! Golden frames: bytes that every later version must still read and write (tests/fixtures/golden).

mod samples;
mod second_reader;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tidewire_core::wire::{Codec, DecodeError};

/// The files of all releases, the oldest first; the last one is that of the next release.
const FILES: [&str; 1] = [include_str!("../../../tests/fixtures/golden/0.1.0.jsonl")];

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Golden {
    name: String,
    from: String,
    proto: String,
    json: String,
    frames: Value,
}

fn golden() -> Vec<Golden> {
    let lines = FILES.iter().flat_map(|file| file.lines());
    let parse = |line| serde_json::from_str(line).expect("a line is a golden message");
    lines.map(parse).collect()
}

fn from_hex(hex: &str) -> Bytes {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

type Decode<F> = fn(Codec, Bytes, usize) -> Result<Vec<F>, DecodeError>;
type Encode<F> = fn(Codec, F, &mut BytesMut);

fn encode<F: Clone>(codec: Codec, frames: &[F], encode: Encode<F>) -> Bytes {
    let mut message = BytesMut::new();
    for frame in frames {
        encode(codec, frame.clone(), &mut message);
    }
    message.freeze()
}

fn check<F: Clone + Debug + PartialEq>(golden: &Golden, decode: Decode<F>, encode_one: Encode<F>) {
    let name = &golden.name;
    let (proto, json) = (from_hex(&golden.proto), Bytes::from(golden.json.clone()));
    let frames = decode(Codec::Protobuf, proto.clone(), usize::MAX)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let same = decode(Codec::Json, json.clone(), usize::MAX)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(frames, same, "{name}: the codecs differ");
    assert_eq!(
        encode(Codec::Protobuf, &frames, encode_one),
        proto,
        "{name}"
    );
    assert_eq!(encode(Codec::Json, &frames, encode_one), json, "{name}");
    assert_eq!(neutral(&golden.json), golden.frames, "{name}");
}

/// Frames with each value as its text: what `frames` holds.
fn neutral(json: &str) -> Value {
    type Object<'a> = std::collections::BTreeMap<String, &'a RawValue>;
    if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(json) {
        return list.into_iter().map(|item| neutral(item.get())).collect();
    }
    let Ok(object) = serde_json::from_str::<Object<'_>>(json) else {
        return serde_json::from_str(json).expect("a text, a number or a flag");
    };
    let entries = object.into_iter().map(|(key, part)| {
        let value = match key.as_str() {
            "value" | "data" | "args" => json!(part.get()),
            _ => neutral(part.get()),
        };
        (key, value)
    });
    Value::Object(entries.collect())
}

fn line<F: Clone>(name: &str, from: &str, frames: &[F], encode_one: Encode<F>) -> Golden {
    let json = encode(Codec::Json, frames, encode_one);
    let json = String::from_utf8(json.to_vec()).expect("JSON is text");
    Golden {
        name: name.into(),
        from: from.into(),
        proto: to_hex(&encode(Codec::Protobuf, frames, encode_one)),
        frames: neutral(&json),
        json,
    }
}

#[test]
fn golden_messages_decode_to_equal_frames_and_encode_to_the_same_bytes() {
    for golden in golden() {
        match golden.from.as_str() {
            "client" => check(&golden, Codec::decode_client, Codec::encode_client),
            "server" => check(&golden, Codec::decode_server, Codec::encode_server),
            other => panic!("nobody is called {other}"),
        }
    }
}

#[test]
fn every_sample_is_golden() {
    let client = samples::client();
    let server = samples::server();
    let client = client
        .iter()
        .map(|(name, frames)| line(name, "client", frames, Codec::encode_client));
    let server = server
        .iter()
        .map(|(name, frames)| line(name, "server", frames, Codec::encode_server));
    let golden = golden();
    let missing: Vec<_> = client
        .chain(server)
        .filter(|sample| !golden.contains(sample))
        .map(|Golden { name, from, proto, json, frames }| {
            let (name, json) = (json!(name), json!(json));
            format!(r#"{{"name":{name},"from":"{from}","proto":"{proto}","json":{json},"frames":{frames}}}"#)
        })
        .collect();
    assert!(
        missing.is_empty(),
        "golden frames that are in no file. A frame that is new belongs into the file of the next release, \
         as these lines; one that was there and has changed breaks older peers:\n{}\n",
        missing.join("\n")
    );
}

/// The names in the `oneof` of a message of the published schema.
fn kinds(message: &str) -> BTreeSet<String> {
    let schema = include_str!("../../proto/tidewire.proto");
    let start = schema
        .find(&format!("message {message} {{\n  oneof kind {{\n"))
        .expect("the schema has it");
    let body = schema[start..].lines().skip(2);
    let names = body
        .take_while(|line| !line.trim().starts_with('}'))
        .filter_map(|line| line.split_whitespace().nth(1))
        .map(str::to_owned);
    names.collect()
}

fn collect(value: &Value, types: &mut BTreeSet<String>, keys: &mut BTreeSet<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|item| collect(item, types, keys)),
        Value::Object(object) => {
            for (key, part) in object {
                keys.insert(key.clone());
                if key == "type" {
                    types.extend(part.as_str().map(str::to_owned));
                }
                collect(part, types, keys);
            }
        }
        _ => {}
    }
}

#[test]
fn every_kind_of_the_published_schema_is_there() {
    let (mut types, mut keys) = (BTreeSet::new(), BTreeSet::new());
    for golden in golden() {
        collect(&golden.frames, &mut types, &mut keys);
    }
    assert_eq!(types, kinds("Frame"));
    for part in ["Change", "Op", "Precondition"] {
        for kind in kinds(part) {
            assert!(keys.contains(&kind), "no {part} {kind}");
        }
    }
}

#[test]
fn a_frame_of_the_other_direction_is_unknown_in_both_codecs() {
    for golden in golden() {
        let messages = [
            (Codec::Protobuf, from_hex(&golden.proto)),
            (Codec::Json, Bytes::from(golden.json.clone())),
        ];
        for (codec, message) in messages {
            let wrong = match golden.from.as_str() {
                "client" => codec.decode_server(message, usize::MAX).map(drop),
                _ => codec.decode_client(message, usize::MAX).map(drop),
            };
            assert_eq!(wrong, Err(DecodeError::UnknownFrame), "{}", golden.name);
        }
    }
}

#[test]
fn a_message_that_is_cut_anywhere_is_no_message_or_a_shorter_one_and_never_a_panic() {
    for golden in golden() {
        let (proto, json) = (from_hex(&golden.proto), Bytes::from(golden.json));
        for end in 0..json.len() {
            let cut = json.slice(..end);
            assert!(Codec::Json.decode_client(cut.clone(), usize::MAX).is_err());
            assert!(Codec::Json.decode_server(cut, usize::MAX).is_err());
        }
        for end in 0..proto.len() {
            let _ = Codec::Protobuf.decode_client(proto.slice(..end), usize::MAX);
            let _ = Codec::Protobuf.decode_server(proto.slice(..end), usize::MAX);
        }
    }
}
