//! The table of hostile values and names (tests/fixtures/hostile.json) against the server, pushed by
//! hand in both codecs, past everything that a client would refuse by itself.

#[path = "../../../tests/fixtures/hostile.rs"]
mod table;

use bytes::Bytes;
use table::{Vector, at, vectors};
use tidewire_core::wire::{
    ClientKind, Codec, ErrorCode, Field, PresenceSet, Record, ServerKind, Unsubscribe,
};

use crate::support::{Client, Program, http, push, put, subscribe};

const CHANNEL: &str = "board:main";

fn record(n: usize, vector: &Vector) -> Record {
    Record {
        collection: at(vector, "collection", "cards"),
        id: at(vector, "id", &format!("card {n}")),
        fields: vec![Field {
            name: at(vector, "field", "f"),
            value: at(vector, "value", "1").into(),
            ..Field::default()
        }],
        ..Record::default()
    }
}

/// The number of the code that refuses it; 0: accepted.
fn number(vector: &Vector) -> u32 {
    let code = ErrorCode::ALL
        .iter()
        .find(|code| code.name() == vector.code);
    code.map_or(0, |code| *code as u32)
}

#[tokio::test]
async fn values_and_names_are_kept_or_rejected_as_the_table_says_in_both_codecs() {
    let server = Program::start(&[]);
    for (channel, codec) in [
        ("board:proto", Codec::Protobuf),
        ("board:json", Codec::Json),
    ] {
        let mut client = Client::welcomed(&server.public(), codec, "ana").await;
        let start = client.subscribe(channel).await;
        let epoch = start.cursor.epoch;
        let vectors = vectors(&["value", "field", "id", "collection"]);
        let mut seq = 0;
        for (at, vector) in vectors.iter().enumerate() {
            let n = at as u64 + 1;
            let item = put(record(at, vector));
            client.send([push(channel, epoch, n, vec![item])]).await;
            let (mid, to) = client
                .find(|frame| match frame {
                    ServerKind::Patch(patch) => Some((patch.mids[0].clone(), patch.to)),
                    ServerKind::Error(error) => panic!("{}: {error:?}", vector.what),
                    _ => None,
                })
                .await;
            assert_eq!(mid.n, n);
            assert_eq!(mid.code, number(vector), "{}: {}", vector.what, mid.detail);
            seq = to;
        }
        for reader in [Codec::Protobuf, Codec::Json] {
            let mut reader = Client::welcomed(&server.public(), reader, "reader").await;
            let document = reader.document(channel, seq).await;
            for (at, vector) in vectors.iter().enumerate() {
                let record = record(at, vector);
                let kept = document.record(&record.collection, &record.id);
                if vector.code.is_empty() {
                    let kept = kept.unwrap_or_else(|| panic!("{} is missing", vector.what));
                    let field = &record.fields[0];
                    assert_eq!(
                        kept.field(&field.name),
                        Some(&*field.value),
                        "{}",
                        vector.what
                    );
                }
            }
        }
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test]
async fn channel_names_are_opened_or_refused_as_the_table_says() {
    let server = Program::start(&[]);
    for codec in [Codec::Protobuf, Codec::Json] {
        let mut client = Client::welcomed(&server.public(), codec, "ana").await;
        for vector in vectors(&["channel"]) {
            client.send([subscribe(&vector.text, None)]).await;
            let refused = client
                .find(|frame| match frame {
                    ServerKind::SnapshotEnd(end) if end.channel == vector.text => Some(0),
                    ServerKind::Error(error) => Some(error.code),
                    _ => None,
                })
                .await;
            assert_eq!(refused, number(&vector), "{}", vector.what);
        }
    }
}

#[tokio::test]
async fn presence_is_passed_on_or_refused_as_the_table_says() {
    let server = Program::start(&[]);
    for (said, heard) in [
        (Codec::Protobuf, Codec::Json),
        (Codec::Json, Codec::Protobuf),
    ] {
        let mut speaker = Client::welcomed(&server.public(), said, "__proto__").await;
        let mut listener = Client::welcomed(&server.public(), heard, "constructor").await;
        speaker.subscribe(CHANNEL).await;
        listener.subscribe(CHANNEL).await;
        for vector in vectors(&["presence"]) {
            // In JSON what is no value cannot be written: see the codec's own tests.
            if said == Codec::Json && vector.code == "invalid" {
                continue;
            }
            let data = Bytes::from(vector.text.clone());
            let set = PresenceSet {
                channel: CHANNEL.into(),
                data: Some(data.clone()),
            };
            speaker.send([ClientKind::PresenceSet(set)]).await;
            match number(&vector) {
                code if code > 0 => {
                    let refused = |frame| match frame {
                        ServerKind::Error(error) => Some(error.code),
                        _ => None,
                    };
                    assert_eq!(speaker.find(refused).await, code, "{}", vector.what);
                }
                _ => {
                    let peer = |frame| match frame {
                        ServerKind::Presence(frame) => frame
                            .peers
                            .into_iter()
                            .find(|peer| peer.data.as_ref() == Some(&data)),
                        _ => None,
                    };
                    assert_eq!(listener.find(peer).await.principal, "__proto__");
                }
            }
        }
    }
}

#[tokio::test]
async fn channels_that_are_opened_without_end_meet_a_bound_and_those_that_were_there_go_on() {
    const BOUND: usize = 300;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.toml");
    std::fs::write(&file, format!("channels_max = {BOUND}\n")).unwrap();
    let server = Program::start(&["--config", file.to_str().unwrap()]);
    let mut client = server.client("ana").await;
    let start = client.subscribe(CHANNEL).await;
    let metrics = || async {
        http(&server.admin(), "GET", "/metrics", "")
            .await
            .1
            .lines()
            .count()
    };
    let before = metrics().await;
    let mut opened = 1;
    for n in 0..3 * BOUND {
        let channel = format!("flood:{n}");
        client.send([subscribe(&channel, None)]).await;
        let refused = client
            .find(|frame| match frame {
                ServerKind::SnapshotEnd(end) if end.channel == channel => Some(None),
                ServerKind::Error(error) => Some(Some(error.code)),
                _ => None,
            })
            .await;
        match refused {
            None => opened += 1,
            Some(code) => assert_eq!(code, ErrorCode::Overloaded as u32),
        }
        let channel = Unsubscribe { channel };
        client.send([ClientKind::Unsubscribe(channel)]).await;
    }
    assert_eq!(opened, BOUND);
    assert_eq!(metrics().await, before, "names are no labels");
    let item = put(crate::support::card("1", "still here"));
    client
        .send([push(CHANNEL, start.cursor.epoch, 1, vec![item])])
        .await;
    client
        .find(|frame| matches!(frame, ServerKind::Ack(_)).then_some(()))
        .await;
}
