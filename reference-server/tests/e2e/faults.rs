//! The fault plan, seen from a raw connection: what each effect does to frames, and that none of it
//! touches the log.

use tidewire_core::wire::{ClientKind, ErrorCode, Patch, Ping, ServerKind};
use tidewire_server::TestServer;
use tidewire_server::faults::{
    Action, Direction, Effect, EffectKind, FrameKind, Plan, PlanError, Rule,
};

use crate::support::{Client, Program, card, hello, http, push, put};

const ROOM: &str = "board:main";

async fn client(server: &TestServer, name: &str) -> Client {
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    let mut client = Client::connect(&address, None).await.unwrap();
    client.send([hello(name)]).await;
    let welcome = client.next().await;
    assert!(matches!(welcome, ServerKind::Welcome(_)), "{welcome:?}");
    client
}

/// Somebody who writes and somebody who listens, both at the start of the log.
struct Pair {
    server: TestServer,
    ana: Client,
    bo: Client,
    epoch: u64,
    written: u64,
}

impl Pair {
    async fn meet() -> Self {
        let server = TestServer::start().await;
        let mut ana = client(&server, "ana").await;
        let mut bo = client(&server, "bo").await;
        let epoch = ana.subscribe(ROOM).await.cursor.epoch;
        bo.subscribe(ROOM).await;
        Self {
            server,
            ana,
            bo,
            epoch,
            written: 0,
        }
    }

    fn set(&self, rule: Rule) {
        self.server.faults().set(Plan::new(1).rule(rule)).unwrap();
    }

    /// Ana writes one card more, and waits until it is logged.
    async fn write(&mut self) {
        self.push().await;
        self.ana
            .find(|frame| matches!(frame, ServerKind::Ack(_)).then_some(()))
            .await;
    }

    async fn push(&mut self) {
        self.written += 1;
        let item = put(card(&self.written.to_string(), "x"));
        let push = push(ROOM, self.epoch, self.written, vec![item]);
        self.ana.send([push]).await;
    }

    async fn patch(&mut self) -> Patch {
        let patch = |frame| match frame {
            ServerKind::Patch(patch) => Some(patch),
            _ => None,
        };
        self.bo.find(patch).await
    }

    /// Where the next patches for Bo end.
    async fn seqs<const N: usize>(&mut self) -> [u64; N] {
        let mut seqs = [0; N];
        for seq in &mut seqs {
            *seq = self.patch().await.to;
        }
        seqs
    }
}

fn patches(name: &str, effect: Effect) -> Rule {
    Rule::new(name, effect)
        .frames([FrameKind::Patch])
        .principal("bo")
        .channel("board:*")
}

#[tokio::test]
async fn patches_are_dropped_doubled_and_overtaken_as_the_rule_says() {
    let mut pair = Pair::meet().await;
    pair.set(patches("lose", Effect::Drop).next(1));
    pair.write().await;
    pair.write().await;
    assert_eq!(pair.seqs().await, [3], "the first write, seq 2, is lost");

    pair.set(patches("twice", Effect::Duplicate).next(1));
    pair.write().await;
    pair.write().await;
    assert_eq!(pair.seqs().await, [4, 4, 5]);

    pair.set(patches("swap", Effect::Reorder { within_ms: 20_000 }).next(1));
    pair.write().await;
    pair.write().await;
    assert_eq!(pair.seqs().await, [7, 6]);

    let replay = pair.server.faults().replay().unwrap();
    assert_eq!(replay.struck.len(), 1);
    let strike = &replay.struck[0];
    assert_eq!(strike.principal.as_deref(), Some("bo"));
    assert_eq!(strike.direction, Some(Direction::Down));
    assert_eq!(strike.frame, Some(FrameKind::Patch));
    assert_eq!(
        (strike.channel.as_deref(), strike.seq),
        (Some(ROOM), Some(6))
    );
    assert_eq!(strike.effect, EffectKind::Reorder);
    assert_eq!(strike.rule.as_deref(), Some("swap"));
    for effect in [EffectKind::Drop, EffectKind::Duplicate, EffectKind::Reorder] {
        assert_eq!(pair.server.faults().count_of(effect), 1);
    }
}

#[tokio::test]
async fn a_delay_holds_up_what_is_behind_it_until_the_plan_ends() {
    let mut pair = Pair::meet().await;
    pair.set(patches("slow", Effect::Delay { ms: 60_000 }).next(1));
    pair.write().await;
    pair.write().await;
    let pong = ClientKind::Ping(Ping { t: 7 });
    pair.bo.send([pong]).await;
    // Nothing came so far, and everything comes in order now.
    pair.server.faults().clear();
    assert_eq!(pair.seqs().await, [2, 3]);
    assert!(matches!(pair.bo.next().await, ServerKind::Pong(_)));

    pair.set(patches("slow", Effect::Delay { ms: 50 }));
    pair.write().await;
    pair.write().await;
    assert_eq!(pair.seqs().await, [4, 5]);
}

#[tokio::test]
async fn frames_of_a_client_are_struck_before_the_server_looks_at_them() {
    let mut pair = Pair::meet().await;
    let pushes = |name: &str, effect| Rule::new(name, effect).frames([FrameKind::Push]).next(1);
    pair.set(pushes("lost", Effect::Drop));
    pair.push().await;
    pair.written -= 1;
    pair.write().await;
    assert_eq!(pair.seqs().await, [2], "written once");

    pair.set(pushes("twice", Effect::Duplicate));
    pair.write().await;
    pair.write().await;
    assert_eq!(pair.seqs().await, [3, 4], "a duplicate is no second entry");

    pair.set(pushes("slow", Effect::Delay { ms: 60_000 }));
    pair.push().await;
    pair.push().await;
    pair.server.faults().clear();
    let to = pair.patch().await.to;
    let end = if to == 5 { pair.patch().await.to } else { to };
    assert_eq!(end, 6, "both, in order");

    pair.set(pushes("wait", Effect::Hold { retry_ms: 123 }));
    pair.push().await;
    let hold = pair
        .ana
        .find(|frame| match frame {
            ServerKind::Hold(hold) => Some(hold),
            _ => None,
        })
        .await;
    assert_eq!((hold.channel.as_str(), hold.retry_ms), (ROOM, 123));
    pair.written -= 1;
    pair.write().await;
    assert_eq!(pair.patch().await.to, 7);
}

#[tokio::test]
async fn a_cut_connection_breaks_without_a_word_and_the_others_stay() {
    let mut pair = Pair::meet().await;
    pair.set(patches("cut", Effect::Cut).next(1));
    pair.write().await;
    assert_eq!(pair.bo.end().await, (None, None));
    pair.write().await;

    let cut = Action::Cut {
        principal: Some("ana".into()),
    };
    assert_eq!(pair.server.faults().act(cut).await.unwrap(), 1);
    assert_eq!(pair.ana.end().await, (None, None));
    let document = client(&pair.server, "ana").await.document(ROOM, 3).await;
    assert_eq!(document.ids("cards").count(), 2);
}

#[tokio::test]
async fn a_half_open_connection_says_and_hears_nothing_more() {
    let mut pair = Pair::meet().await;
    let silent = Action::HalfOpen {
        principal: Some("bo".into()),
    };
    assert_eq!(pair.server.faults().act(silent).await.unwrap(), 1);
    pair.bo.send([ClientKind::Ping(Ping { t: 1 })]).await;
    pair.write().await;
    // Everybody else goes on; what the silent one is sent goes nowhere.
    let mut cy = client(&pair.server, "cy").await;
    let document = cy.document(ROOM, 2).await;
    assert_eq!(document.ids("cards").count(), 1);
    let heard = tokio::time::timeout(std::time::Duration::from_millis(200), pair.patch());
    assert!(heard.await.is_err());
}

#[tokio::test]
async fn mutations_are_rejected_as_if_the_application_had() {
    let mut pair = Pair::meet().await;
    let effect = Effect::Reject {
        code: ErrorCode::Conflict,
        detail: "somebody was faster".into(),
    };
    pair.set(Rule::new("no", effect).principal("ana").next(1));
    pair.write().await;
    let rejected = pair.patch().await;
    assert_eq!(rejected.ops, []);
    assert_eq!(rejected.mids[0].code, ErrorCode::Conflict as u32);
    assert_eq!(rejected.mids[0].detail, "somebody was faster");
    pair.write().await;
    let committed = pair.patch().await;
    assert_eq!((committed.mids[0].n, committed.mids[0].code), (2, 0));
}

#[tokio::test]
async fn a_new_epoch_and_a_wish_to_leave_reach_everybody() {
    let mut pair = Pair::meet().await;
    pair.server.faults().set(Plan::new(1)).unwrap();
    let new_epoch = Action::NewEpoch {
        channel: ROOM.into(),
    };
    assert_eq!(pair.server.faults().act(new_epoch).await.unwrap(), 1);
    let patch = pair.patch().await;
    assert!(patch.epoch > pair.epoch, "the log goes on in another epoch");
    assert_eq!((patch.from, patch.to), (1, 2));

    let leave = Action::GoAway {
        principal: None,
        window_ms: 10,
    };
    assert_eq!(pair.server.faults().act(leave).await.unwrap(), 2);
    let goaway = |frame| match frame {
        ServerKind::Goaway(goaway) => Some(goaway.window_ms),
        _ => None,
    };
    assert_eq!(pair.ana.find(goaway).await, 10);
    assert_eq!(pair.bo.find(goaway).await, 10);

    // What was done by hand is part of the plan now.
    let replay = pair.server.faults().replay().unwrap();
    assert_eq!(replay.plan.actions.len(), 2);
    let bad = Action::NewEpoch {
        channel: "nonsense".into(),
    };
    assert!(pair.server.faults().act(bad).await.is_err());
}

#[tokio::test]
async fn a_replay_does_the_same_to_the_same_frames() {
    let play = async |plan: Plan| {
        let mut pair = Pair::meet().await;
        pair.server.faults().set(plan).unwrap();
        for _ in 0..40 {
            pair.write().await;
        }
        let replay = pair.server.faults().replay().unwrap();
        let struck: Vec<_> = replay.struck.iter().map(|strike| strike.seq).collect();
        (struck, serde_json::to_vec(&replay).unwrap())
    };
    let rule = patches("some", Effect::Drop).chance(0.3);
    let (first, file) = play(Plan::new(99).rule(rule)).await;
    assert!((4..30).contains(&first.len()), "{first:?}");
    let (second, _) = play(Plan::from_json(&file).unwrap()).await;
    assert_eq!(first, second);
}

#[tokio::test]
async fn timed_actions_happen_while_their_plan_is_the_plan() {
    let mut pair = Pair::meet().await;
    let cut = |principal: &str| Action::Cut {
        principal: Some(principal.into()),
    };
    let faults = pair.server.faults().clone();
    faults.set(Plan::new(1).action(200, cut("ana"))).unwrap();
    faults.set(Plan::new(1).action(20, cut("bo"))).unwrap();
    assert_eq!(pair.bo.end().await, (None, None));
    pair.write().await;
    assert_eq!(faults.replay().unwrap().struck.len(), 1);
    assert_eq!(faults.end("none"), Err(PlanError::NoRule("none".into())));
}

async fn send(server: &Program, method: &str, path: &str, body: &str) -> (u16, String) {
    let headers = format!("Content-Length: {}\r\n", body.len());
    crate::support::http_with_body(&server.admin(), method, path, &headers, body).await
}

#[tokio::test]
async fn the_admin_door_sets_reads_changes_and_ends_a_plan() {
    let server = Program::start(&[]);
    assert_eq!(send(&server, "GET", "/faults", "").await.0, 404);
    let bad = send(&server, "PUT", "/faults", r#"{"rules": [{"name": "x"}]}"#).await;
    assert_eq!(bad.0, 400);
    assert!(bad.1.contains("missing field `effect`"), "{}", bad.1);
    let plan = r#"{"seed": 1, "rules": [{"name": "no", "frames": ["pong"], "effect": "drop"}]}"#;
    assert_eq!(send(&server, "PUT", "/faults", plan).await.0, 200);

    let mut ana = server.client("ana").await;
    ana.send([ClientKind::Ping(Ping { t: 1 })]).await;
    ana.subscribe(ROOM).await;
    let (status, replay) = send(&server, "GET", "/faults", "").await;
    assert_eq!(status, 200);
    let replay: serde_json::Value = serde_json::from_str(&replay).unwrap();
    assert_eq!(replay["struck"][0]["frame"], "pong");
    assert_eq!(replay["tallies"][0]["struck"], 1);
    let metrics = http(&server.admin(), "GET", "/metrics", "").await.1;
    assert!(
        metrics.contains("tidewire_faults_total{effect=\"drop\"} 1"),
        "{metrics}"
    );

    assert_eq!(send(&server, "DELETE", "/faults/rules/no", "").await.0, 200);
    assert_eq!(send(&server, "DELETE", "/faults/rules/no", "").await.0, 404);
    let rule = r#"{"name": "more", "effect": {"delay": {"ms": 1}}}"#;
    assert_eq!(send(&server, "POST", "/faults/rules", rule).await.0, 201);
    assert_eq!(
        send(&server, "POST", "/faults/act", r#"{"cut": {}}"#).await,
        (200, "done: 1\n".into())
    );
    assert_eq!(ana.end().await, (None, None));
    // A replay file is a plan.
    let replay = send(&server, "GET", "/faults", "").await.1;
    assert_eq!(send(&server, "PUT", "/faults", &replay).await.0, 200);
    assert_eq!(send(&server, "DELETE", "/faults", "").await.0, 200);
    assert_eq!(send(&server, "POST", "/faults/rules", rule).await.0, 404);
    // Never on the public door.
    assert_eq!(http(&server.public(), "GET", "/faults", "").await.0, 404);
}
