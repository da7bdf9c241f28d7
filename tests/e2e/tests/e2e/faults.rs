//! Real clients under a fault plan: whatever it does, every change counts once and in its order.

use serde_json::json;
use tidewire::MutationStatus;
use tidewire_e2e::{Board, json_client, until, within};
use tidewire_server::faults::{Action, Effect, EffectKind, FrameKind, Plan, Rule};
use tidewire_server::{ErrorCode, TestServer};

const EDITS: i64 = 60;

/// Two people who edit one board while a plan is at work, one in each codec, and one look at it when
/// it is over.
struct Table {
    server: TestServer,
    ana: Board,
    ben: Board,
}

impl Table {
    async fn set() -> Self {
        let server = TestServer::start().await;
        let ana = Board::join(&server.url(), "ana").await;
        let ben = Board::open(json_client(&server.url(), "ben"));
        within("the first view", ben.channel.ready())
            .await
            .expect("the board can be read");
        let put = ana.cards.put("shared", json!({"title": "0", "count": 0}));
        within("the put is logged", put.expect("taken").committed())
            .await
            .expect("nothing refuses it");
        Self { server, ana, ben }
    }

    /// Both count the same card up, and each writes an own one whose last value must win.
    async fn edit(&self) -> Vec<tidewire::Mutation> {
        let mut mutations = Vec::new();
        for at in 1..=EDITS {
            for (name, board) in [("ana", &self.ana), ("ben", &self.ben)] {
                let taken = "every edit is taken";
                mutations.push(board.cards.increment("shared", "count", 1).expect(taken));
                let own = json!({"title": at.to_string(), "count": at});
                mutations.push(board.cards.put(name, own).expect(taken));
            }
            // Several messages rather than one, so that the plan has something to strike.
            if at % 4 == 0 {
                let mutation = mutations.last().expect("there is one");
                until("the edits are on their way", || {
                    mutation.status() != MutationStatus::Queued
                })
                .await;
            }
        }
        mutations
    }

    /// Plays under a plan; afterwards each change was counted once, and the last one of each won.
    async fn survives(plan: Plan, effect: EffectKind) {
        let table = Self::set().await;
        table.server.faults().set(plan).expect("a good plan");
        let mutations = table.edit().await;
        for mutation in &mutations {
            within("every edit is logged", mutation.committed())
                .await
                .expect("nothing refuses these edits");
        }
        assert!(
            table.server.faults().count_of(effect) > 0,
            "nothing was struck"
        );
        table.ana.converges_with(&table.ben).await;
        table.server.faults().clear();
        let late = Board::join(&table.server.url(), "late").await;
        late.converges_with(&table.ana).await;
        assert_eq!(
            late.card("shared").count,
            2 * EDITS,
            "each change counts once"
        );
        for name in ["ana", "ben"] {
            assert_eq!(late.card(name).count, EDITS, "the last one of {name} wins");
        }
    }
}

/// Strikes about every third of these frames, until it struck so often: what repairs the last of a
/// loss comes once a heartbeat, and is lost as easily.
const STRIKES: u64 = 8;

fn some(effect: Effect, frames: impl IntoIterator<Item = FrameKind>) -> Plan {
    let rule = Rule::new("some", effect).channel("board:*").frames(frames);
    Plan::new(4).rule(rule.chance(0.3).next(STRIKES))
}

macro_rules! survives {
    ($($name:ident: $effect:expr, $kind:ident, $frames:expr;)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            Table::survives(some($effect, $frames), EffectKind::$kind).await;
        }
    )* };
}

survives! {
    order_and_exactly_once_hold_while_patches_are_lost: Effect::Drop, Drop, [FrameKind::Patch];
    order_and_exactly_once_hold_while_acks_are_lost: Effect::Drop, Drop, [FrameKind::Ack];
    order_and_exactly_once_hold_while_patches_come_twice:
        Effect::Duplicate, Duplicate, [FrameKind::Patch];
    order_and_exactly_once_hold_while_pushes_come_twice:
        Effect::Duplicate, Duplicate, [FrameKind::Push];
    order_and_exactly_once_hold_while_patches_are_overtaken:
        Effect::Reorder { within_ms: 200 }, Reorder, [FrameKind::Patch];
    order_and_exactly_once_hold_while_everything_is_late:
        Effect::Delay { ms: 30 }, Delay, [FrameKind::Patch, FrameKind::Ack, FrameKind::Push];
    order_and_exactly_once_hold_while_pushes_are_held:
        Effect::Hold { retry_ms: 20 }, Hold, [FrameKind::Push];
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_and_exactly_once_hold_while_connections_are_cut() {
    let rule = Rule::new("cut", Effect::Cut).frames([FrameKind::Push, FrameKind::Patch]);
    Table::survives(
        Plan::new(5).rule(rule.chance(0.3).next(12)),
        EffectKind::Cut,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_and_exactly_once_hold_when_a_connection_goes_silent() {
    let rule = Rule::new("silent", Effect::HalfOpen).frames([FrameKind::Push]);
    Table::survives(Plan::new(6).rule(rule.next(1)), EffectKind::HalfOpen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_and_exactly_once_hold_over_a_new_epoch_and_a_wish_to_leave() {
    let plan = Plan::new(7)
        .action(
            0,
            Action::NewEpoch {
                channel: "board:main".into(),
            },
        )
        .action(
            0,
            Action::GoAway {
                principal: None,
                window_ms: 5,
            },
        );
    Table::survives(plan, EffectKind::GoAway).await;
}

#[tokio::test]
async fn what_the_plan_rejects_is_rolled_back_with_its_reason() {
    let Table { server, ana, ben } = Table::set().await;
    let effect = Effect::Reject {
        code: ErrorCode::Refused,
        detail: "not today".into(),
    };
    let rule = Rule::new("no", effect).principal("ana").next(1);
    server
        .faults()
        .set(Plan::new(1).rule(rule))
        .expect("a good plan");
    let refused = ana
        .cards
        .set("shared", json!({"title": "refused"}))
        .expect("taken");
    let error = within("it is decided", refused.committed())
        .await
        .expect_err("it is refused");
    assert!(error.to_string().contains("not today"), "{error}");
    let accepted = ana
        .cards
        .set("shared", json!({"title": "accepted"}))
        .expect("taken");
    within("it is decided", accepted.committed())
        .await
        .expect("only the first one was");
    ana.converges_with(&ben).await;
    assert_eq!(ben.card("shared").title, "accepted");
}
