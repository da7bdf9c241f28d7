//! The table of hostile values and names (tests/fixtures/hostile.json) through the native client's front
//! door, in both codecs, to the real server and on to another client.

#[path = "../../../fixtures/hostile.rs"]
mod table;

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use table::{Vector, at, vectors};
use tidewire::Collection;
use tidewire_e2e::{Board, Broker, Server, json_client, until, within};

#[tokio::test]
async fn every_text_arrives_as_it_was_written_or_is_refused_in_the_call() {
    let server = Server::start(&Broker::Memory).await;
    let proto = Board::join(&server.url(), "ana").await;
    let json = Board::join_as(json_client(&server.url(), "ben")).await;
    for (writer, reader) in [(&proto, &json), (&json, &proto)] {
        for vector in vectors(&["value", "field", "id", "collection"]) {
            let id = at(&vector, "id", "c1");
            let field = at(&vector, "field", "f");
            let place = at(&vector, "collection", "cards");
            // What is no JSON at all cannot even be said. White space around it is no part of it.
            let value = at(&vector, "value", "1");
            let Ok(raw) = RawValue::from_string(value.clone()) else {
                assert_eq!(vector.code, "invalid", "{}", vector.what);
                continue;
            };
            let Vector { what, code, .. } = vector;
            let mine: Collection<()> = writer.channel.collection(&place);
            let theirs: Collection<()> = reader.channel.collection(&place);
            let put = match mine.put(&id, BTreeMap::from([(field, raw)])) {
                Ok(put) => put,
                Err(refused) => {
                    assert_eq!(refused.code(), code, "{what}");
                    continue;
                }
            };
            assert!(code.is_empty() || value != value.trim(), "{what} is taken");
            within(&what, put.committed())
                .await
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let shown = mine.json(&id).unwrap_or_else(|| panic!("{what} is shown"));
            assert!(shown.ends_with(&format!(":{}}}", value.trim())), "{what}");
            until(&what, || theirs.json(&id).as_ref() == Some(&shown)).await;
        }
        writer.converges_with(reader).await;
    }
}
