//! The only file that knows the shapes of what crosses to JavaScript (`npm/src/core.ts` is its mirror).

use std::str::FromStr;

use bytes::Bytes;
use js_sys::{Array, JSON};
use tidewire_core::document::RecordKey;
use tidewire_core::document::value::write_json_string;
use tidewire_core::wire::{
    Change, ChangeKind, Cursor, Equals, Field, Inc, Peer, Precondition, PreconditionKind, Record,
    RecordRef, Unchanged, Unset,
};
use tidewire_core::{
    ChannelDelay, ChannelStatus, ConnectionState, Event, MutationStatus, Reason, Recovery,
};
use wasm_bindgen::JsValue;

use crate::error::CallError;

/// Reads a mutation: for each change and precondition `op, collection, id, count`, then what the op needs.
///
/// `set` and `put`: `count` times name and JSON text. `unset`: `count` names. `del`: nothing, count 0.
/// `inc`: one name and an integer, count 1. `exists` and `absent`: nothing. `eq`: name and JSON text.
/// `unchanged`: epoch, seq, tag.
pub(crate) fn mutation(flat: Vec<String>) -> Result<(Vec<Change>, Vec<Precondition>), CallError> {
    let mut words = flat.into_iter();
    let mut changes = Vec::new();
    let mut preconditions = Vec::new();
    while let Some(op) = words.next() {
        match part(&op, &mut words) {
            Some(Part::Change(kind)) => changes.push(Change { kind: Some(kind) }),
            Some(Part::Precondition(kind)) => {
                preconditions.push(Precondition { kind: Some(kind) });
            }
            None => return Err(CallError::convention("a mutation in an unknown shape")),
        }
    }
    Ok((changes, preconditions))
}

enum Part {
    Change(ChangeKind),
    Precondition(PreconditionKind),
}

fn part(op: &str, words: &mut impl Iterator<Item = String>) -> Option<Part> {
    let collection = words.next()?;
    let id = words.next()?;
    let count: usize = parse(words)?;
    Some(Part::Precondition(match op {
        "exists" => PreconditionKind::Exists(RecordRef { collection, id }),
        "absent" => PreconditionKind::Absent(RecordRef { collection, id }),
        "eq" => PreconditionKind::Eq(Equals {
            collection,
            id,
            field: words.next()?,
            value: Bytes::from(words.next()?),
        }),
        "unchanged" => PreconditionKind::Unchanged(Unchanged {
            collection,
            id,
            since: Some(Cursor::new(parse(words)?, parse(words)?, parse(words)?)),
        }),
        _ => return change(op, collection, id, count, words).map(Part::Change),
    }))
}

fn change(
    op: &str,
    collection: String,
    id: String,
    count: usize,
    words: &mut impl Iterator<Item = String>,
) -> Option<ChangeKind> {
    Some(match op {
        "set" => ChangeKind::Set(record(collection, id, count, words)?),
        "put" => ChangeKind::Put(record(collection, id, count, words)?),
        "unset" => ChangeKind::Unset(Unset {
            collection,
            id,
            fields: words.take(count).collect(),
        }),
        "del" => ChangeKind::Del(RecordRef { collection, id }),
        "inc" => ChangeKind::Inc(Inc {
            collection,
            id,
            field: words.next()?,
            by: parse(words)?,
        }),
        _ => return None,
    })
}

fn record(
    collection: String,
    id: String,
    count: usize,
    words: &mut impl Iterator<Item = String>,
) -> Option<Record> {
    let mut fields = Vec::new();
    for _ in 0..count {
        fields.push(Field {
            name: words.next()?,
            value: Bytes::from(words.next()?),
            ..Field::default()
        });
    }
    Some(Record {
        collection,
        id,
        fields,
        ..Record::default()
    })
}

fn parse<T: FromStr>(words: &mut impl Iterator<Item = String>) -> Option<T> {
    words.next()?.parse().ok()
}

/// An event as `[name, …]`; `None` for one that this version does not tell.
pub(crate) fn event(event: Event) -> Option<Array> {
    let out = Array::new();
    let mut push = |value: JsValue| {
        out.push(&value);
    };
    match event {
        Event::Connection(state) => {
            push("connection".into());
            connection(&state, &mut push);
        }
        Event::Channel {
            channel,
            status: now,
            delay,
        } => {
            push("channel".into());
            push(channel.0.into());
            status(&now, delay.as_ref(), &mut push);
        }
        Event::Changed { channel, records } => {
            push("changed".into());
            push(channel.0.into());
            push(record_keys(&records));
        }
        Event::Recovered { channel, recovery } => {
            let (way, entries) = match recovery {
                Recovery::Resumed => ("resumed", 0),
                Recovery::Replayed { entries } => ("replayed", entries),
                Recovery::Snapshot => ("snapshot", 0),
            };
            push("recovered".into());
            push(channel.0.into());
            push(way.into());
            push(number(entries));
        }
        Event::HistoryLost { channel, from, to } => {
            push("history_lost".into());
            push(channel.0.into());
            push(cursor(&from).into());
            push(cursor(&to).into());
        }
        Event::Mutation {
            channel,
            handle,
            status,
            n,
        } => {
            push("mutation".into());
            push(channel.0.into());
            push(number(handle.0));
            push(status.name().into());
            push(n.map_or(JsValue::UNDEFINED, number));
            if let MutationStatus::Rejected {
                code,
                detail,
                current,
            } = status
            {
                push(code.name().into());
                push(detail.into());
                push(code.is_retryable().into());
                push(current.map_or(JsValue::UNDEFINED, |record| record.to_json().into()));
            }
        }
        Event::Presence { channel } => {
            push("presence".into());
            push(channel.0.into());
        }
        Event::Warning {
            channel,
            code,
            detail,
        } => {
            push("warning".into());
            push(channel.map_or(JsValue::UNDEFINED, |channel| channel.0.into()));
            push(code.name().into());
            push(detail.into());
            push(code.is_retryable().into());
        }
        _ => return None,
    }
    Some(out)
}

/// Collection and id of each, flat. As one text that JavaScript parses: to make a string of its own of
/// each name was the dearest part of a message.
fn record_keys(keys: &[RecordKey]) -> JsValue {
    let mut text = Vec::from(*b"[");
    for key in keys {
        if text.len() > 1 {
            text.push(b',');
        }
        write_json_string(&key.collection, &mut text);
        text.push(b',');
        write_json_string(&key.id, &mut text);
    }
    text.push(b']');
    let text = String::from_utf8(text).expect("names are UTF-8");
    JSON::parse(&text).expect("an array of strings that were escaped")
}

/// The core wants a token; answered by `token` or `token_failed`.
pub(crate) fn token_wanted() -> Array {
    Array::of1(&"token".into())
}

/// A channel's state: its name, and why if it failed or the server gives no answer for now.
pub(crate) fn channel_status(now: &ChannelStatus, delay: Option<&ChannelDelay>) -> Array {
    let out = Array::new();
    status(now, delay, &mut |value| {
        out.push(&value);
    });
    out
}

fn status(status: &ChannelStatus, delay: Option<&ChannelDelay>, push: &mut impl FnMut(JsValue)) {
    push(status.name().into());
    let why = match status {
        ChannelStatus::Failed { code, detail } => Some((code, detail)),
        _ => delay.map(|delay| (&delay.code, &delay.detail)),
    };
    if let Some((code, detail)) = why {
        push(code.name().into());
        push(detail.into());
        push(code.is_retryable().into());
    }
}

fn connection(state: &ConnectionState, push: &mut impl FnMut(JsValue)) {
    push(state.phase.name().into());
    push(
        state
            .transport
            .map_or(JsValue::UNDEFINED, |kind| kind.name().into()),
    );
    push(number(state.since.0));
    let mut reason = state.reason.as_ref();
    while let Some(told) = reason {
        push(told.code().into());
        push(told.detail().into());
        push(told.is_retryable().into());
        reason = match told {
            Reason::GaveUp { cause } => Some(cause),
            _ => None,
        };
    }
}

/// `[epoch, seq, tag]`; all are below 2^53.
pub(crate) fn cursor(cursor: &Cursor) -> Array {
    Array::of3(
        &number(cursor.epoch),
        &number(cursor.seq),
        &number(cursor.tag),
    )
}

/// For each peer: number, principal, JSON text.
pub(crate) fn peers(peers: &[&Peer]) -> Array {
    let out = Array::new();
    for peer in peers {
        out.push(&number(peer.peer));
        out.push(&JsValue::from_str(&peer.principal));
        out.push(&peer.data.as_ref().map_or(JsValue::UNDEFINED, |data| {
            JsValue::from_str(&String::from_utf8_lossy(data))
        }));
    }
    out
}

/// Numbers of the protocol stay below 2^53, which a JavaScript number holds exactly.
fn number(number: u64) -> JsValue {
    JsValue::from_f64(number as f64)
}
