//! Clients share channels.

use tidewire_core::wire::{ClientKind, ErrorCode, PresenceSet, ServerKind, Unsubscribe};

use crate::support::{Program, card, push, put, subscribe};

const ROOM: &str = "board:main";

#[tokio::test]
async fn a_push_is_acked_and_reaches_everyone_in_a_patch() {
    let server = Program::start(&[]);
    let mut ana = server.client("ana").await;
    let mut bob = server.client("bob").await;
    let start = ana.subscribe(ROOM).await;
    assert!(start.records.is_empty());
    bob.subscribe(ROOM).await;
    ana.send([push(
        ROOM,
        start.cursor.epoch,
        1,
        vec![put(card("1", "hello"))],
    )])
    .await;
    let ack = ana
        .find(|frame| match frame {
            ServerKind::Ack(ack) => Some(ack),
            _ => None,
        })
        .await;
    assert_eq!(ack.through, 1);
    let patch = bob
        .find(|frame| match frame {
            ServerKind::Patch(patch) => Some(patch),
            _ => None,
        })
        .await;
    assert_eq!(
        (patch.from, patch.from_tag),
        (start.cursor.seq, start.cursor.tag)
    );
    assert_eq!(patch.to, ack.seq);
    assert_eq!(patch.mids.len(), 1);
    let mut late = server.client("late").await;
    let document = late.document(ROOM, ack.seq).await;
    let title = document
        .record("cards", "1")
        .and_then(|record| record.field("title"));
    assert_eq!(title.unwrap(), b"\"hello\"");
}

#[tokio::test]
async fn a_client_that_comes_back_gets_only_what_it_missed() {
    let server = Program::start(&[]);
    let mut ana = server.client("ana").await;
    let start = ana.subscribe(ROOM).await;
    let mut bob = server.client("bob").await;
    bob.subscribe(ROOM).await;
    bob.close().await;
    ana.send([push(
        ROOM,
        start.cursor.epoch,
        1,
        vec![put(card("1", "x")), put(card("2", "y"))],
    )])
    .await;
    ana.find(|frame| matches!(frame, ServerKind::Ack(_)).then_some(()))
        .await;
    let mut bob = server.client("bob").await;
    bob.send([subscribe(ROOM, Some(start.cursor))]).await;
    let resume = bob
        .find(|frame| match frame {
            ServerKind::Resume(resume) => Some(resume),
            other => panic!("{other:?}"),
        })
        .await;
    assert_eq!(resume.from, Some(start.cursor));
    let patch = bob
        .find(|frame| match frame {
            ServerKind::Patch(patch) => Some(patch),
            _ => None,
        })
        .await;
    assert_eq!(patch.from, start.cursor.seq);
    assert_eq!(patch.to, resume.head.unwrap().seq);
}

#[tokio::test]
async fn presence_is_seen_by_others_and_ends_with_the_link() {
    let server = Program::start(&[]);
    let mut ana = server.client("ana").await;
    let mut bob = server.client("bob").await;
    ana.subscribe(ROOM).await;
    bob.subscribe(ROOM).await;
    let here = |data: &'static str| {
        ClientKind::PresenceSet(PresenceSet {
            channel: ROOM.into(),
            data: Some(data.into()),
        })
    };
    bob.send([here("{\"x\":1}")]).await;
    let peer = ana
        .find(|frame| match frame {
            ServerKind::Presence(presence) => {
                presence.peers.into_iter().find(|peer| peer.data.is_some())
            }
            _ => None,
        })
        .await;
    assert_eq!(peer.principal, "bob");
    assert_eq!(peer.data.unwrap(), "{\"x\":1}");
    bob.close().await;
    ana.find(|frame| match frame {
        ServerKind::Presence(presence) => presence
            .peers
            .iter()
            .any(|gone| gone.peer == peer.peer && gone.data.is_none())
            .then_some(()),
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn a_range_of_the_log_is_fetched_again_or_said_to_be_gone() {
    let server = Program::start(&[]);
    let mut ana = server.client("ana").await;
    let start = ana.subscribe(ROOM).await;
    let items = vec![put(card("1", "hello")), put(card("2", "world"))];
    ana.send([push(ROOM, start.cursor.epoch, 1, items)]).await;
    let patch = |frame| match frame {
        ServerKind::Patch(patch) => Some(patch),
        _ => None,
    };
    let first = ana.find(patch).await;
    let fetch = |epoch, after| {
        ClientKind::Fetch(tidewire_core::wire::Fetch {
            channel: ROOM.into(),
            epoch,
            after,
            through: first.to,
        })
    };
    let epoch = start.cursor.epoch;
    ana.send([fetch(epoch, start.cursor.seq)]).await;
    assert_eq!(ana.find(patch).await, first);
    // Beyond the head nothing is missing, and the stream goes on.
    ana.send([fetch(epoch, first.to), fetch(epoch, first.to + 1)])
        .await;
    ana.send([push(ROOM, epoch, 3, vec![put(card("3", "!"))])])
        .await;
    let lagged_or_patched = |frame| match frame {
        ServerKind::Patch(patch) => Some(Some(patch.from)),
        ServerKind::Lagged(_) => Some(None),
        _ => None,
    };
    assert_eq!(ana.find(lagged_or_patched).await, Some(first.to));
    ana.send([fetch(epoch - 1, start.cursor.seq)]).await;
    assert_eq!(ana.find(lagged_or_patched).await, None);
}

#[tokio::test]
async fn what_a_channel_refuses_leaves_the_connection_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.toml");
    std::fs::write(
        &file,
        "[namespace.board]\n[namespace.locked]\ncreate = \"admin\"\n",
    )
    .unwrap();
    let server = Program::start(&["--config", file.to_str().unwrap()]);
    let mut ana = server.client("ana").await;
    let set = |channel: &str, data: &[u8]| {
        ClientKind::PresenceSet(PresenceSet {
            channel: channel.into(),
            data: Some(data.to_vec().into()),
        })
    };
    let publish = ClientKind::Publish(tidewire_core::wire::Publish {
        channel: ROOM.into(),
        data: "1".into(),
        ..tidewire_core::wire::Publish::default()
    });
    let fetch = ClientKind::Fetch(tidewire_core::wire::Fetch {
        channel: ROOM.into(),
        ..Default::default()
    });
    for (frame, code) in [
        (subscribe("nonsense", None), ErrorCode::InvalidChannel),
        (subscribe("other:main", None), ErrorCode::InvalidChannel),
        (subscribe("locked:main", None), ErrorCode::UnknownChannel),
        (
            push("locked:main", 1, 1, vec![put(card("1", "x"))]),
            ErrorCode::UnknownChannel,
        ),
        (
            push("nonsense", 1, 1, vec![put(card("1", "x"))]),
            ErrorCode::InvalidChannel,
        ),
        (set(ROOM, b"1"), ErrorCode::UnexpectedFrame),
        (set(ROOM, b"nonsense"), ErrorCode::Invalid),
        (set(ROOM, &[b'1'; 5000]), ErrorCode::TooLarge),
        (publish, ErrorCode::WrongKind),
        (fetch, ErrorCode::UnexpectedFrame),
    ] {
        ana.send([frame.clone()]).await;
        let error = ana
            .find(|answer| match answer {
                ServerKind::Error(error) => Some(error),
                _ => None,
            })
            .await;
        assert_eq!(error.code, code as u32, "{frame:?}: {}", error.detail);
        // What is not about the subscription must not look as if it ended it.
        let about_channel = code != ErrorCode::WrongKind;
        assert!(!error.fatal, "{error:?}");
        assert_eq!(error.channel.is_some(), about_channel, "{error:?}");
    }
    ana.send([ClientKind::Call(tidewire_core::wire::Call {
        id: 7,
        route: "a".into(),
        ..Default::default()
    })])
    .await;
    let reply = ana
        .find(|frame| match frame {
            ServerKind::Reply(reply) => Some(reply),
            _ => None,
        })
        .await;
    assert_eq!((reply.id, reply.code), (7, ErrorCode::InvalidRoute as u32));
    ana.send([ClientKind::History(tidewire_core::wire::History {
        id: 8,
        channel: ROOM.into(),
        ..Default::default()
    })])
    .await;
    let error = ana
        .find(|frame| match frame {
            ServerKind::Error(error) => Some(error),
            _ => None,
        })
        .await;
    let told = (error.id, error.code, error.channel, error.fatal);
    assert_eq!(told, (Some(8), ErrorCode::Unsupported as u32, None, false));
    ana.subscribe(ROOM).await;
}

#[tokio::test]
async fn after_unsubscribe_nothing_more_comes_of_a_channel() {
    let server = Program::start(&[]);
    let mut ana = server.client("ana").await;
    let mut bob = server.client("bob").await;
    let start = ana.subscribe(ROOM).await;
    bob.subscribe(ROOM).await;
    bob.subscribe("board:other").await;
    bob.send([ClientKind::Unsubscribe(Unsubscribe {
        channel: ROOM.into(),
    })])
    .await;
    // Answered behind the unsubscribe, so it was handled.
    bob.send([ClientKind::Ping(tidewire_core::wire::Ping { t: 1 })])
        .await;
    bob.find(|frame| matches!(frame, ServerKind::Pong(_)).then_some(()))
        .await;
    ana.send([push(ROOM, start.cursor.epoch, 1, vec![put(card("1", "x"))])])
        .await;
    ana.find(|frame| matches!(frame, ServerKind::Ack(_)).then_some(()))
        .await;
    let other = bob.subscribe("board:other").await;
    let item = vec![put(card("1", "y"))];
    bob.send([push("board:other", other.cursor.epoch, 1, item)])
        .await;
    let patch = bob
        .find(|frame| match frame {
            ServerKind::Patch(patch) => Some(patch),
            _ => None,
        })
        .await;
    assert_eq!(patch.channel, "board:other");
}

#[tokio::test]
async fn kill_and_restart_keep_state_epoch_and_what_was_acked() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let args = ["--broker", "disk", "--data-dir", data.to_str().unwrap()];
    let mut server = Program::start(&args);
    let mut ana = server.client("ana").await;
    let start = ana.subscribe(ROOM).await;
    let items = (0..20).map(|i| put(card(&i.to_string(), "x"))).collect();
    ana.send([push(ROOM, start.cursor.epoch, 1, items)]).await;
    let ack = ana
        .find(|frame| match frame {
            ServerKind::Ack(ack) if ack.through == 20 => Some(ack),
            _ => None,
        })
        .await;
    server.kill();
    let server = Program::start(&args);
    let mut ana = server.client("ana").await;
    let again = ana.subscribe(ROOM).await;
    assert_eq!(again.cursor.epoch, start.cursor.epoch);
    assert_eq!(again.cursor.seq, ack.seq);
    assert_eq!(again.last, 20);
    assert_eq!(again.records.len(), 20);
    // A push that is sent again is answered and not applied again.
    ana.send([push(
        ROOM,
        start.cursor.epoch,
        20,
        vec![put(card("20", "again"))],
    )])
    .await;
    ana.find(|frame| matches!(frame, ServerKind::Ack(ack) if ack.through == 20).then_some(()))
        .await;
    let mut bob = server.client("bob").await;
    assert_eq!(bob.subscribe(ROOM).await.cursor, again.cursor);
}
