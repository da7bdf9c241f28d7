//! The broker as a whole: which channels it has, how it is, its end.

use tidewire_core::ChannelName;
use tidewire_core::wire::Cursor;

use super::fixture::*;
use super::within;
use crate::broker::{BrokerReply, BrokerRequest, Listed, NodeId};

async fn list(on: &Subject, prefix: &str, after: Option<&str>, limit: usize) -> Listed {
    let after = after.map(name);
    let listed = on.broker.list(prefix, after.as_ref(), limit).await;
    listed.expect("it lists")
}

pub(super) async fn channels_are_listed_in_order_and_by_parts(on: &Subject) {
    let names = ["a:1", "board:a", "board:a:b", "board:b", "board:c", "c:1"];
    for text in names.iter().rev() {
        let opening = [on.opening(7, 1)];
        assert!(append_to(on, &name(text), Cursor::default(), &opening).await);
    }
    // Who is only asked about has no log.
    let asked = on.broker.request(&name("board:asked"), BrokerRequest::Load);
    asked.await;
    let all: Vec<ChannelName> = names.map(name).into();
    for (prefix, after, limit, expected, more) in [
        ("", None, 100, &all[..], false),
        ("board:", None, 100, &all[1..5], false),
        ("board:", None, 4, &all[1..5], false),
        ("board:", None, 2, &all[1..3], true),
        ("board:", Some("board:a:b"), 2, &all[3..5], false),
        ("board:", Some("board:aa"), 1, &all[3..4], true),
        ("board:", Some("c:0"), 9, &[], false),
        ("c:", Some("board:c"), 9, &all[5..], false),
        ("none:", None, 9, &[], false),
        ("a:", None, 0, &all[..1], false),
    ] {
        let listed = list(on, prefix, after, limit).await;
        let context = format!("{limit} of {prefix:?} after {after:?}");
        assert_eq!(listed.channels, expected, "{context}");
        assert_eq!(listed.more, more, "{context}");
    }
}

pub(super) async fn a_broker_that_works_says_so(on: &Subject) {
    assert_eq!(on.broker.health().await, Ok(()));
}

pub(super) async fn what_was_asked_before_the_end_is_answered_and_nothing_after_it(on: &Subject) {
    let mut inbox = on.broker.inbox(NodeId(1)).await.expect("an inbox opens");
    let request = BrokerRequest::Append {
        expected: Cursor::default(),
        entries: vec![on.opening(7, 1)],
    };
    let appended = on.broker.request(&channel(), request);
    within("it closes", on.broker.close()).await;
    let reply = within("what was asked is answered", appended).await;
    assert!(
        matches!(reply, BrokerReply::Appended | BrokerReply::ReadBack),
        "{reply:?}"
    );
    let requests = [
        BrokerRequest::Load,
        BrokerRequest::Read { after: 0 },
        BrokerRequest::Append {
            expected: on.opening(7, 1).cursor,
            entries: vec![on.mutation(7, 2)],
        },
    ];
    for request in requests {
        let reply = within("an answer comes", on.broker.request(&channel(), request)).await;
        assert!(matches!(reply, BrokerReply::Failed { .. }), "{reply:?}");
    }
    assert!(on.broker.health().await.is_err());
    assert!(on.broker.list("", None, 1).await.is_err());
    assert_eq!(within("readers are told", inbox.next()).await, None);
    // Once more is harmless.
    within("it is closed", on.broker.close()).await;
}
