//! Clients that speak JSON: the same channels, the same rules, the same texts.

use tidewire_core::wire::{ChangeKind, Codec, ErrorCode, Field, Item, Mid, Record, ServerKind};
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::support::{Client, Program, push, put};

const CHANNEL: &str = "board:main";

/// Values that a parser which makes numbers and objects of them would change.
const VALUES: [&str; 10] = [
    "9007199254740993",
    "1e400",
    "-0",
    "1.10",
    r#"{"b":1,"a":2,"b":3}"#,
    r#"{"__proto__":{"x":1}}"#,
    r#""\ud800\u0041\/""#,
    r#"[ 1,	2 ]"#,
    "null",
    "\"\u{2028}ü🌊\"",
];

/// Waits for the next decision that the log holds.
async fn decided(client: &mut Client) -> Mid {
    let next = |frame| match frame {
        ServerKind::Patch(patch) => patch.mids.into_iter().next(),
        _ => None,
    };
    client.find(next).await
}

async fn committed(client: &mut Client) {
    let mid = decided(client).await;
    assert_eq!(mid.code, 0, "{}", mid.detail);
}

/// A push in JSON, put together by hand.
fn push_text(epoch: u64, n: u64, fields: &str) -> Message {
    Message::text(format!(
        r#"[{{"fields":null,"channel":"{CHANNEL}","epoch":{epoch},"first_n":{n},"low":{n},"items":
            [{{"changes":[{{"put":{{"collection":"cards","id":"{n}","fields":[{fields}]}}}}],"pre":[]}}],
            "type":"push"}}]"#
    ))
}

#[tokio::test]
async fn both_codecs_show_one_document_byte_for_byte() {
    let server = Program::start(&[]);
    let mut json = Client::welcomed(&server.public(), Codec::Json, "ana").await;
    let mut proto = Client::welcomed(&server.public(), Codec::Protobuf, "bo").await;
    let start = json.subscribe(CHANNEL).await;
    proto.subscribe(CHANNEL).await;

    let fields: Vec<_> = VALUES
        .iter()
        .enumerate()
        .map(|(i, value)| format!(r#"{{"name":"f{i}","value":{value}}}"#))
        .collect();
    json.send_raw(push_text(start.cursor.epoch, 1, &fields.join(",")))
        .await;
    for client in [&mut json, &mut proto] {
        committed(client).await;
    }
    let fields = VALUES.iter().enumerate().map(|(i, value)| Field {
        name: format!("f{i}"),
        value: (*value).into(),
        ..Field::default()
    });
    let item = put(Record {
        collection: "cards".into(),
        id: "2".into(),
        fields: fields.collect(),
        ..Record::default()
    });
    proto
        .send([push(CHANNEL, start.cursor.epoch, 1, vec![item])])
        .await;
    committed(&mut proto).await;

    let mut of = Vec::new();
    for codec in [Codec::Json, Codec::Protobuf] {
        let mut reader = Client::welcomed(&server.public(), codec, "reader").await;
        of.push(reader.document(CHANNEL, start.cursor.seq + 2).await);
    }
    assert_eq!(of[0].digest(), of[1].digest());
    for id in ["1", "2"] {
        for (i, value) in VALUES.iter().enumerate() {
            let record = of[0].record("cards", id).expect("it was put");
            let stored = record.field(&format!("f{i}")).expect("with all its fields");
            assert_eq!(stored, value.as_bytes(), "{id}: {value}");
        }
    }
}

#[tokio::test]
async fn what_is_no_frame_ends_the_link_with_the_same_codes_as_in_protobuf() {
    let server = Program::start(&[]);
    let bomb = format!(r#"[{{"type":"ping","t":{}1}}]"#, "[".repeat(100_000));
    let ignored = format!(
        r#"[{{"type":"ping","later":{}1{},"t":"x"}}]"#,
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    let large = format!(r#"[{{"type":"ping","x":"{}"}}]"#, "x".repeat(128 * 1024));
    let cases = [
        ("", ErrorCode::Malformed),
        ("{}", ErrorCode::Malformed),
        ("[{}]", ErrorCode::Malformed),
        ("[1]", ErrorCode::Malformed),
        (r#"[["ping",1]]"#, ErrorCode::Malformed),
        (r#"[{"type":"ping","t":1}"#, ErrorCode::Malformed),
        (r#"[{"type":"ping","t":1}] []"#, ErrorCode::Malformed),
        (r#"[{"type":"ping","t":1,"t":1}]"#, ErrorCode::Malformed),
        (r#"[{"type":"ping","type":"ping"}]"#, ErrorCode::Malformed),
        (r#"[{"type":"ping","t":-1}]"#, ErrorCode::Malformed),
        (r#"[{"type":"ping","t":1.0}]"#, ErrorCode::Malformed),
        (r#"[{"type":"ping","t":"1"}]"#, ErrorCode::Malformed),
        (r#"[{"type":"ping","t":null}]"#, ErrorCode::Malformed),
        (
            r#"[{"type":"subscribe","channel":"\ud800"}]"#,
            ErrorCode::Malformed,
        ),
        (
            r#"[{"type":"subscribe","have":[1,2,3]}]"#,
            ErrorCode::Malformed,
        ),
        (bomb.as_str(), ErrorCode::Malformed),
        (ignored.as_str(), ErrorCode::Malformed),
        (r#"[{"type":"later"}]"#, ErrorCode::UnknownFrame),
        (r#"[{"type":"__proto__"}]"#, ErrorCode::UnknownFrame),
        (
            r#"[{"type":"lagged","channel":"a:b"}]"#,
            ErrorCode::UnknownFrame,
        ),
        (
            r#"[{"type":"hello","client":"00"}]"#,
            ErrorCode::UnexpectedFrame,
        ),
        (
            r#"[{"type":"push","channel":"board:main"}]"#,
            ErrorCode::UnexpectedFrame,
        ),
        (large.as_str(), ErrorCode::FrameTooLarge),
    ];
    for (text, code) in cases {
        let mut client = Client::welcomed(&server.public(), Codec::Json, "ana").await;
        client.send_raw(Message::text(text)).await;
        let (fatal, _) = client.end().await;
        let shown: String = text.chars().take(80).collect();
        let fatal = fatal.unwrap_or_else(|| panic!("{shown}: no error frame"));
        assert_eq!(fatal.code, code as u32, "{shown}: {}", fatal.detail);
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test]
async fn unknown_fields_are_ignored_and_unknown_changes_are_rejected_in_the_log() {
    let server = Program::start(&[]);
    let mut client = Client::welcomed(&server.public(), Codec::Json, "ana").await;
    let start = client.subscribe(CHANNEL).await;
    let epoch = start.cursor.epoch;
    for (n, changes, code) in [
        (
            1,
            r#"{"put":{"collection":"cards","id":"1","later":{"a":[]}},"later":1}"#,
            0,
        ),
        (
            2,
            r#"{"later":{"collection":"cards","id":"1"}}"#,
            ErrorCode::Unsupported as u32,
        ),
        (
            3,
            r#"{"put":{"collection":"cards","id":"3","fields":[{"name":"a"}]}}"#,
            ErrorCode::Invalid as u32,
        ),
    ] {
        client
            .send_raw(Message::text(format!(
                r#"[{{"type":"push","channel":"{CHANNEL}","epoch":{epoch},"first_n":{n},"low":{n},
                    "items":[{{"changes":[{changes}]}}]}}, {{"type":"ping","t":7,"later":"\ud800"}}]"#
            )))
            .await;
        let mid = decided(&mut client).await;
        assert_eq!(mid.code, code, "{changes}: {}", mid.detail);
    }
}

#[test]
fn a_mutation_is_written_as_the_documentation_shows_it() {
    let item: Item = put(Record {
        collection: "cards".into(),
        id: "c1".into(),
        fields: vec![Field {
            name: "title".into(),
            value: "\"Hello\"".into(),
            ..Field::default()
        }],
        ..Record::default()
    });
    assert!(matches!(item.changes[0].kind, Some(ChangeKind::Put(_))));
    let mut message = bytes::BytesMut::new();
    Codec::Json.encode_client(push(CHANNEL, 7, 1, vec![item]), &mut message);
    assert_eq!(
        std::str::from_utf8(&message).unwrap(),
        r#"[{"type":"push","channel":"board:main","epoch":7,"first_n":1,"low":1,"items":[{"changes":[{"put":{"collection":"cards","id":"c1","fields":[{"name":"title","value":"Hello"}]}}],"noop":false,"pre":[],"deadline_ms":0,"after":0}]}]"#
    );
}
