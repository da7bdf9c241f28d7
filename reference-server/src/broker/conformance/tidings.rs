//! What nodes tell each other beside the logs: wake-ups, published messages, letters.

use bytes::Bytes;
use tidewire_core::ChannelName;
use tidewire_core::time::UnixTime;
use tidewire_core::wire::Cursor;

use super::fixture::*;
use super::within;
use crate::broker::{Heard, Inbox, Letter, LetterId, NodeId, Sent, Watch};
use crate::channel_pattern::ChannelPattern;

const NEVER: UnixTime = UnixTime(u64::MAX >> 1);

fn this_channel() -> ChannelPattern {
    ChannelPattern::Name(channel())
}

/// Waits until the log has grown to `seq`, as far as this watch says.
async fn grown(watch: &mut Watch, channel: &ChannelName, seq: u64) {
    loop {
        match within("a watch hears of an append", watch.next()).await {
            Heard::Grown {
                channel: which,
                after,
                seq: to,
            } => {
                assert_eq!(&which, channel);
                assert!(after < to, "from {after} to {to}");
                if to >= seq {
                    return;
                }
            }
            Heard::Missed => return,
            Heard::Published { .. } => panic!("nothing was published"),
        }
    }
}

pub(super) async fn a_watch_tells_of_what_others_append(on: &Subject) {
    let mut watch = on.broker.watch(&this_channel());
    let entries = three(on).await;
    grown(&mut watch, &channel(), 3).await;
    assert!(append(on, entries[2].cursor, &[on.mutation(7, 4)]).await);
    watch.seen(4);
    let fourth = on.mutation(7, 4);
    assert!(append(on, fourth.cursor, &[on.mutation(7, 5)]).await);
    match within("a watch hears of an append", watch.next()).await {
        Heard::Grown { seq: 5, .. } | Heard::Missed => {}
        other => panic!("entries up to 4 are known, and it hears {other:?}"),
    }
}

pub(super) async fn everybody_who_watches_hears_of_an_append(on: &Subject) {
    let mut watches = [(); 3].map(|()| on.broker.watch(&this_channel()));
    three(on).await;
    for watch in &mut watches {
        grown(watch, &channel(), 3).await;
    }
}

pub(super) async fn a_pattern_hears_of_the_channels_that_it_matches(on: &Subject) {
    let pattern = "updates:acme:*".parse().expect("a pattern");
    let mut watch = on.broker.watch(&pattern);
    for text in [
        "updates:acme",
        "updates:other:x",
        "board:main",
        "updates:acme:x:y",
    ] {
        let opening = [on.opening(7, 1)];
        assert!(append_to(on, &name(text), Cursor::default(), &opening).await);
    }
    grown(&mut watch, &name("updates:acme:x:y"), 1).await;
    let message = Bytes::from_static(b"hello");
    let published = on.broker.publish(&name("updates:acme:z"), message.clone());
    published.await.expect("it is published");
    let heard = within("a pattern hears what is published", watch.next()).await;
    let channel = name("updates:acme:z");
    assert_eq!(heard, Heard::Published { channel, message });
}

pub(super) async fn what_is_published_comes_once_to_everybody_in_order(on: &Subject) {
    let mut watches = [(); 2].map(|()| on.broker.watch(&this_channel()));
    let messages = [&b"one"[..], b"two", b"three"].map(Bytes::from_static);
    for message in &messages {
        let published = on.broker.publish(&channel(), message.clone());
        published.await.expect("it is published");
    }
    for watch in &mut watches {
        for message in &messages {
            let heard = within("what is published is heard", watch.next()).await;
            let (channel, message) = (channel(), message.clone());
            assert_eq!(heard, Heard::Published { channel, message });
        }
    }
}

pub(super) async fn what_was_published_before_a_watch_is_not_kept(on: &Subject) {
    for text in ["early", "late"] {
        let mut watch = (text == "late").then(|| on.broker.watch(&this_channel()));
        let message = Bytes::from_static(text.as_bytes());
        let published = on.broker.publish(&channel(), message.clone());
        published.await.expect("it is published");
        if let Some(watch) = &mut watch {
            let heard = within("what is published is heard", watch.next()).await;
            let channel = channel();
            assert_eq!(heard, Heard::Published { channel, message });
        }
    }
}

fn letter(n: u8, expires: UnixTime) -> Letter {
    Letter {
        id: LetterId([n; 16]),
        expires,
        body: Bytes::from(vec![n; 3]),
    }
}

async fn open(on: &Subject, node: NodeId) -> Box<dyn Inbox> {
    on.broker.inbox(node).await.expect("an inbox opens")
}

async fn send(on: &Subject, node: NodeId, letter: Letter) -> Sent {
    on.broker.send(node, letter).await.expect("it is sent")
}

async fn next(inbox: &mut Box<dyn Inbox>) -> Letter {
    let letter = within("a letter arrives", inbox.next()).await;
    letter.expect("the inbox is open")
}

pub(super) async fn letters_come_in_order_to_the_node_that_they_are_for(on: &Subject) {
    let (ana, ben) = (NodeId(1), NodeId(2));
    let (mut of_ana, mut of_ben) = (open(on, ana).await, open(on, ben).await);
    for n in 1..=3 {
        assert_eq!(send(on, ana, letter(n, NEVER)).await, Sent::Kept);
    }
    assert_eq!(send(on, ben, letter(9, NEVER)).await, Sent::Kept);
    for n in 1..=3 {
        assert_eq!(next(&mut of_ana).await, letter(n, NEVER));
        of_ana.done(letter(n, NEVER).id);
    }
    assert_eq!(next(&mut of_ben).await, letter(9, NEVER));
}

pub(super) async fn a_letter_to_a_node_that_never_was_is_not_kept(on: &Subject) {
    assert_eq!(
        send(on, NodeId(77), letter(1, NEVER)).await,
        Sent::NobodyThere
    );
}

pub(super) async fn what_was_not_handled_comes_again_once_the_inbox_is_opened_anew(on: &Subject) {
    let node = NodeId(1);
    let mut first = open(on, node).await;
    for n in 1..=4 {
        assert_eq!(send(on, node, letter(n, NEVER)).await, Sent::Kept);
    }
    for n in 1..=3 {
        assert_eq!(next(&mut first).await, letter(n, NEVER));
    }
    first.done(letter(2, NEVER).id);
    let mut second = open(on, node).await;
    assert_eq!(within("who read before is told", first.next()).await, None);
    for n in [1, 3, 4] {
        assert_eq!(next(&mut second).await, letter(n, NEVER));
    }
    drop(second);
    // Nobody reads just now; what comes then is read later.
    assert_eq!(send(on, node, letter(5, NEVER)).await, Sent::Kept);
    let mut third = open(on, node).await;
    for n in [1, 3, 4, 5] {
        assert_eq!(next(&mut third).await, letter(n, NEVER));
    }
}

pub(super) async fn what_has_expired_is_not_delivered(on: &Subject) {
    let node = NodeId(1);
    let mut inbox = open(on, node).await;
    // Whether it is kept at all is the broker's choice.
    send(on, node, letter(1, UnixTime(1))).await;
    assert_eq!(send(on, node, letter(2, NEVER)).await, Sent::Kept);
    assert_eq!(next(&mut inbox).await, letter(2, NEVER));
}
