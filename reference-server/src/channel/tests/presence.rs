//! Presence: who is here.

use tidewire_core::wire::{ErrorCode, Peer, Presence, ServerKind};

use super::harness::*;
use crate::channel::{ChannelConfig, ChannelInput, PeerId};
use crate::log::NodeId;

fn show(harness: &mut Harness, client: &Client, data: Option<&str>) {
    harness.input(ChannelInput::SetPresence {
        conn: client.subscriber.conn,
        data: data.map(|data| bytes::Bytes::copy_from_slice(data.as_bytes())),
    });
    harness.run();
}

fn presence(client: &Client) -> Vec<Presence> {
    let frames = client.inbox.take().into_iter();
    frames
        .filter_map(|frame| match frame {
            ServerKind::Presence(presence) => Some(presence),
            _ => None,
        })
        .collect()
}

fn peer(conn: u64, author: u8, data: &str) -> Peer {
    Peer {
        peer: conn,
        principal: format!("p{author}"),
        data: Some(bytes::Bytes::copy_from_slice(data.as_bytes())),
    }
}

#[test]
fn changes_reach_the_others_and_not_oneself() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let ben = harness.join(2, 2);
    show(&mut harness, &ana, Some("{\"x\":1}"));
    assert!(presence(&ana).is_empty());
    let frames = presence(&ben);
    assert_eq!(frames.len(), 1);
    assert!(!frames[0].full);
    assert_eq!(frames[0].peers, [peer(1, 1, "{\"x\":1}")]);
}

#[test]
fn a_subscriber_gets_the_whole_list_of_the_others() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    show(&mut harness, &ana, Some("1"));
    let ben = Client::new(2, 2);
    harness.subscribe(&ben, None, 0);
    let frames = presence(&ben);
    assert!(frames.len() == 1 && frames[0].full);
    assert_eq!(frames[0].peers, [peer(1, 1, "1")]);
}

#[test]
fn a_peer_is_gone_when_it_says_so_or_leaves() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let ben = harness.join(2, 2);
    let cleo = harness.join(3, 3);
    show(&mut harness, &ana, Some("1"));
    show(&mut harness, &ben, Some("2"));
    presence(&cleo);
    harness.pass(50);
    presence(&cleo);
    show(&mut harness, &ana, None);
    let conn = ben.subscriber.conn;
    harness.input(ChannelInput::Unsubscribe {
        conn,
        cleanly: true,
    });
    harness.pass(50);
    let gone: Vec<(u64, bool)> = presence(&cleo)
        .iter()
        .flat_map(|frame| &frame.peers)
        .map(|peer| (peer.peer, peer.data.is_none()))
        .collect();
    assert_eq!(gone, [(1, true), (2, true)]);
}

fn gone(harness: &mut Harness, client: &Client, cleanly: bool) {
    let conn = client.subscriber.conn;
    harness.input(ChannelInput::Unsubscribe { conn, cleanly });
    harness.run();
}

/// Another link of the same session.
fn next_link(harness: &mut Harness, conn: u64, of: &Client) -> Client {
    let mut next = Client::new(conn, 1);
    next.subscriber.peer = of.subscriber.peer;
    harness.subscribe(&next, None, 0);
    next
}

#[test]
fn a_session_that_goes_on_on_another_link_is_one_peer_all_the_time() {
    let mut harness = Harness::new();
    let (ana, ben) = (harness.join(1, 1), harness.join(2, 2));
    show(&mut harness, &ana, Some("1"));
    assert_eq!(presence(&ben).len(), 1);
    let next = next_link(&mut harness, 3, &ana);
    let lists = presence(&next);
    assert!(lists.len() == 1 && lists[0].peers.is_empty(), "{lists:?}");
    show(&mut harness, &next, Some("1"));
    gone(&mut harness, &ana, false);
    harness.pass(60_000);
    assert!(presence(&ben).is_empty() && presence(&next).is_empty());
    // The last link breaks, and another one comes in time.
    gone(&mut harness, &next, false);
    harness.pass(4_999);
    let third = next_link(&mut harness, 4, &ana);
    show(&mut harness, &third, Some("1"));
    harness.pass(60_000);
    assert!(presence(&ben).is_empty());
    gone(&mut harness, &third, false);
    harness.pass(4_999);
    assert!(presence(&ben).is_empty());
    harness.pass(2);
    assert_eq!(presence(&ben)[0].peers[0].data, None);
}

#[test]
fn who_says_goodbye_is_gone_at_once_unless_another_link_is_up() {
    let mut harness = Harness::new();
    let (ana, ben) = (harness.join(1, 1), harness.join(2, 2));
    show(&mut harness, &ana, Some("1"));
    let next = next_link(&mut harness, 3, &ana);
    show(&mut harness, &next, Some("1"));
    presence(&ben);
    gone(&mut harness, &ana, true);
    harness.pass(50);
    assert!(presence(&ben).is_empty());
    gone(&mut harness, &next, true);
    harness.pass(50);
    assert_eq!(presence(&ben)[0].peers[0].data, None);
}

fn node(id: u64) -> Harness {
    Harness::with(ChannelConfig {
        node: Some(NodeId(id)),
        ..ChannelConfig::default()
    })
}

/// Both nodes hear what each has published since.
fn gossip(nodes: [&mut Harness; 2]) {
    let [a, b] = nodes;
    for _ in 0..3 {
        let mut said = std::mem::take(&mut a.published);
        said.append(&mut b.published);
        for message in said {
            for node in [&mut *a, &mut *b] {
                node.input(ChannelInput::Published(message.clone()));
                node.run();
                node.pass(50);
            }
        }
    }
}

#[test]
fn nodes_list_each_others_peers_by_the_same_number() {
    let (mut a, mut b) = (node(1), node(2));
    let ana = a.join(1, 1);
    show(&mut a, &ana, Some("1"));
    // Nobody was there to hear it; whoever reads first on a node asks, and is told.
    a.published.clear();
    let ben = b.join(2, 2);
    gossip([&mut a, &mut b]);
    assert_eq!(presence(&ben).last().unwrap().peers, [peer(1, 1, "1")]);
    // The session moves to the other node: nobody is told anything.
    let next = next_link(&mut b, 9, &ana);
    show(&mut b, &next, Some("1"));
    gone(&mut a, &ana, false);
    a.pass(5_000);
    gossip([&mut a, &mut b]);
    let told: Vec<Peer> = presence(&ben).into_iter().flat_map(|p| p.peers).collect();
    assert!(told.iter().all(|told| *told == peer(1, 1, "1")), "{told:?}");
    assert!(presence(&next).iter().all(|list| list.peers.is_empty()));
    gone(&mut b, &next, true);
    b.pass(50);
    assert_eq!(presence(&ben)[0].peers[0].data, None);
}

#[test]
fn what_gets_lost_is_said_again_and_a_silent_node_has_nobody() {
    let (mut a, mut b) = (node(1), node(2));
    let (ana, ben) = (a.join(1, 1), b.join(2, 2));
    show(&mut a, &ana, Some("1"));
    a.published.clear();
    a.pass(10_000);
    gossip([&mut a, &mut b]);
    assert_eq!(presence(&ben).last().unwrap().peers, [peer(1, 1, "1")]);
    b.pass(24_000);
    assert!(presence(&ben).is_empty());
    b.pass(1_100);
    assert_eq!(presence(&ben)[0].peers[0].data, None);
}

#[test]
fn what_a_later_version_or_nobody_knows_publishes_is_ignored() {
    let mut b = node(2);
    let ben = b.join(2, 2);
    for junk in [&b""[..], b"\xff\xff", b"\x09aaaaaaaa", b"\x1a\x02hi"] {
        b.input(ChannelInput::Published(bytes::Bytes::from_static(junk)));
        b.run();
    }
    assert!(presence(&ben).is_empty());
}

#[test]
fn presence_is_bounded_in_size_shape_and_peers() {
    let mut harness = Harness::with(ChannelConfig {
        peers_max: 1,
        ..ChannelConfig::default()
    });
    let ana = harness.join(1, 1);
    let ben = harness.join(2, 2);
    show(&mut harness, &ana, Some("1"));
    let code = |client: &Client| match &client.take()[..] {
        [ServerKind::Error(error)] if !error.fatal => error.code,
        other => panic!("{other:?}"),
    };
    show(&mut harness, &ben, Some("2"));
    assert_eq!(code(&ben), ErrorCode::PresenceFull as u32);
    show(&mut harness, &ana, Some("{"));
    assert_eq!(code(&ana), ErrorCode::Invalid as u32);
    show(
        &mut harness,
        &ana,
        Some(&format!("\"{}\"", "x".repeat(4096))),
    );
    assert_eq!(code(&ana), ErrorCode::TooLarge as u32);
    // Whoever is here may go on changing.
    show(&mut harness, &ana, Some("3"));
    harness.pass(50);
    assert_eq!(presence(&ben).len(), 1);
}

#[test]
fn what_all_peers_show_together_fits_one_frame() {
    let mut harness = Harness::new();
    let onlooker = harness.join(1, 1);
    let data = format!("\"{}\"", "x".repeat(4000));
    let mut refused = 0;
    for n in 2..100 {
        let client = harness.join(n, 2);
        show(&mut harness, &client, Some(&data));
        refused += client.take().len();
    }
    assert!((30..40).contains(&refused), "{refused}");
    let conn = PeerId(2);
    harness.input(ChannelInput::Unsubscribe {
        conn,
        cleanly: true,
    });
    harness.run();
    let late = harness.join(200, 3);
    show(&mut harness, &late, Some(&data));
    assert!(late.take().is_empty());
    onlooker.inbox.take();
    harness.subscribe(&onlooker, None, 0);
    let messages = onlooker.inbox.take_messages();
    assert!(messages.iter().all(|message| message.len() < 300 * 1024));
}

#[test]
fn a_reader_without_room_gets_the_whole_list_later() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let slow = harness.join(2, 2);
    slow.inbox.set_room(0);
    for n in 0..5 {
        show(&mut harness, &ana, Some(&n.to_string()));
    }
    slow.inbox.set_room(usize::MAX);
    harness.input(ChannelInput::Drained {
        conn: slow.subscriber.conn,
    });
    harness.run();
    let frames = presence(&slow);
    assert!(frames.len() == 1 && frames[0].full);
    assert_eq!(frames[0].peers, [peer(1, 1, "4")]);
}

#[test]
fn changes_are_told_at_most_twenty_times_a_second_and_the_latest_counts() {
    let mut harness = Harness::new();
    let (ana, ben) = (harness.join(1, 1), harness.join(2, 2));
    let cleo = harness.join(3, 3);
    let mut told = Vec::new();
    for ms in 0..1000 {
        show(&mut harness, &ana, Some(&ms.to_string()));
        show(&mut harness, &ben, Some(&ms.to_string()));
        told.extend(presence(&cleo));
        harness.pass(1);
    }
    harness.pass(50);
    told.extend(presence(&cleo));
    assert!((20..=21).contains(&told.len()), "{}", told.len());
    let last = &told.last().unwrap().peers;
    assert_eq!(last[..], [peer(1, 1, "999"), peer(2, 2, "999")]);
    // Nobody moves: nothing to wake up for.
    assert_eq!(harness.wait, None);
}

#[test]
fn presence_without_a_subscription_is_ignored() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let stranger = Client::new(9, 9);
    show(&mut harness, &stranger, Some("1"));
    assert!(presence(&ana).is_empty() && harness.closed.is_empty());
}
