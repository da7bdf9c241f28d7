//! The table of hostile values and names, `tests/fixtures/hostile.json`: the core accepts what it says,
//! refuses the rest with the code that it says, and keeps every text byte for byte in both codecs.
//! The same table is held against the server, the native client and the browser's build.

#[path = "../../tests/fixtures/hostile.rs"]
mod table;

use bytes::BytesMut;
use table::{Vector, at, vectors};
use tidewire_core::document::{Document, put_op};
use tidewire_core::time::Now;
use tidewire_core::wire::{
    Change, ChangeKind, ClientKind, Codec, Field, Item, Push, Record, ServerKind, SnapshotPart,
};
use tidewire_core::{
    ChannelId, Config, MutateOptions, Output, PresenceError, Session, SubscribeError,
};

/// A record that has the hostile text in its place.
fn record(vector: &Vector) -> Record {
    Record {
        collection: at(vector, "collection", "cards"),
        id: at(vector, "id", "c1"),
        fields: vec![Field {
            name: at(vector, "field", "f"),
            value: at(vector, "value", "1").into(),
            ..Field::default()
        }],
        ..Record::default()
    }
}

fn session() -> (Session, ChannelId) {
    let now = Now::default();
    let mut session = Session::new(Config::default(), 1, now);
    let name = "board:main".parse().expect("a good name");
    let channel = session.subscribe(now, name).expect("there is room");
    (session, channel)
}

#[test]
fn the_client_accepts_refuses_and_shows_what_the_table_says() {
    let (mut session, channel) = session();
    for vector in vectors(&["value", "field", "id", "collection"]) {
        let record = record(&vector);
        let Vector { what, code, .. } = vector;
        let put = Change {
            kind: Some(ChangeKind::Put(record.clone())),
        };
        let options = MutateOptions::default();
        let made = session.mutate(Now::default(), channel, vec![put], options);
        let refused = made.err().map_or("", |error| error.code());
        assert_eq!(refused, code, "{what}");
        if code.is_empty() {
            let shown = session.record(channel, &record.collection, &record.id);
            let shown = shown.unwrap_or_else(|| panic!("{what} is not shown"));
            let field = &record.fields[0];
            assert_eq!(shown.field(&field.name), Some(&*field.value), "{what}");
            let value = std::str::from_utf8(&field.value).expect("accepted values are text");
            assert!(shown.to_json().ends_with(&format!(":{value}}}")), "{what}");
        }
    }
}

#[test]
fn presence_is_accepted_and_refused_as_the_table_says() {
    let (mut session, channel) = session();
    for Vector {
        what, text, code, ..
    } in vectors(&["presence"])
    {
        let said = session.set_presence(Now::default(), channel, Some(text.into()));
        let refused = match said {
            Ok(()) => "",
            Err(PresenceError::TooLarge { .. }) => "too_large",
            Err(PresenceError::NotJson) => "invalid",
            Err(other) => panic!("{what}: {other}"),
        };
        assert_eq!(refused, code, "{what}");
    }
}

#[test]
fn channel_names_are_accepted_and_refused_as_the_table_says() {
    for Vector {
        what, text, code, ..
    } in vectors(&["channel"])
    {
        let parsed: Result<tidewire_core::ChannelName, _> = text.parse();
        assert_eq!(parsed.is_ok(), code.is_empty(), "{what}");
    }
}

#[test]
fn accepted_texts_pass_both_codecs_unchanged_both_ways() {
    for vector in vectors(&["value", "field", "id", "collection"]) {
        let record = record(&vector);
        let Vector { what, code, .. } = vector;
        if !code.is_empty() {
            continue;
        }
        let up = ClientKind::Push(Push {
            channel: "board:main".into(),
            items: vec![Item {
                changes: vec![Change {
                    kind: Some(ChangeKind::Put(record.clone())),
                }],
                ..Item::default()
            }],
            ..Push::default()
        });
        let down = ServerKind::SnapshotPart(SnapshotPart {
            channel: "board:main".into(),
            records: vec![record.clone()],
        });
        for &codec in Codec::ALL {
            let mut message = BytesMut::new();
            codec.encode_client(up.clone(), &mut message);
            let frames = codec.decode_client(message.freeze(), usize::MAX);
            assert_eq!(frames, Ok(vec![up.clone()]), "{what} in {codec:?}");
            let mut message = BytesMut::new();
            codec.encode_server(down.clone(), &mut message);
            let frames = codec.decode_server(message.freeze(), usize::MAX);
            assert_eq!(frames, Ok(vec![down.clone()]), "{what} in {codec:?}");
        }
        let mut document = Document::default();
        document.apply(&put_op(record.clone()));
        let kept = document.record(&record.collection, &record.id);
        let kept = kept
            .expect("it was put")
            .to_wire(&record.collection, &record.id);
        assert_eq!(kept, record, "{what}");
    }
}

#[test]
fn in_json_a_text_that_is_no_json_makes_no_frame_and_one_too_deep_makes_one() {
    for Vector {
        what, text, code, ..
    } in vectors(&["value"])
    {
        let message = format!(
            r#"[{{"type":"push","items":[{{"changes":[{{"put":{{"fields":[{{"name":"f","value":{text}}}]}}}}]}}]}}]"#
        );
        let decoded = Codec::Json.decode_client(message.into(), usize::MAX);
        let same = decoded.ok().and_then(|frames| match &frames[..] {
            [ClientKind::Push(push)] => match &push.items.first()?.changes.first()?.kind {
                Some(ChangeKind::Put(record)) => Some(record.fields.first()?.value.clone()),
                _ => None,
            },
            _ => None,
        });
        match code.as_str() {
            "" | "too_large" => assert_eq!(same.as_deref(), Some(text.as_bytes()), "{what}"),
            // Whatever comes of it (white space around goes unnoticed), it is another text.
            _ if same.as_deref() == Some(text.as_bytes()) => {
                assert!(
                    what.contains("deep") || what.contains("empty one"),
                    "{what}"
                );
            }
            _ => {}
        }
    }
}

/// All that a session holds, as text: what it keeps of a name would be in there.
fn size(session: &Session) -> usize {
    format!("{session:?}").len()
}

#[test]
fn a_million_channel_names_meet_a_bound_and_leave_nothing_behind() {
    const NAMES: usize = 1_000_000;
    let now = Now::default();
    let name = |n: usize| format!("board:{n:07}").parse().expect("a good name");

    let max = Config::default().channels_max;
    let mut full = Session::new(Config::default(), 1, now);
    for n in 0..NAMES {
        match full.subscribe(now, name(n)) {
            Ok(_) => assert!(n < max, "{n} is one too many"),
            Err(SubscribeError::TooMany { max: stated }) => assert_eq!(stated, max),
            Err(other) => panic!("{other}"),
        }
    }

    let (mut session, _) = session();
    let visit = |session: &mut Session, n| {
        let channel = session.subscribe(now, name(n)).expect("others were let go");
        session.unsubscribe(now, channel);
        while !matches!(session.poll_output(), Output::Wait(_)) {}
    };
    visit(&mut session, 0);
    let before = size(&session);
    for n in 1..NAMES {
        visit(&mut session, n);
    }
    // Counters have more digits now.
    assert!(
        size(&session) < before + 100,
        "{} after {before}",
        size(&session)
    );
}
