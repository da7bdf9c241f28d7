//! The fault panel: what its buttons do to the server, and what the server says that it did.
//!
//! The admin door is not for pages, so the page asks here, on its own origin, and only for what the
//! panel has buttons for. Every press becomes part of one fault plan, which is the replay file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tidewire_core::TransportKind;
use tidewire_server::ErrorCode;
use tidewire_server::faults::{
    Action, Effect, Faults, FrameKind, Plan, PlanError, Progress, Replay, Rule, Wall,
};
use tokio::sync::Notify;

/// Slow enough to be seen, quick enough to work with.
const DELAY_MS: u32 = 800;
const REORDER_MS: u32 = 800;

/// What stays on until it is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Knob {
    Delay,
    Duplicate,
    Reorder,
    DropPatches,
    DropAcks,
    /// These three stand between everybody and the server.
    BlockWebsocket,
    BlockSse,
    CollectSse,
}

/// What happens once.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", tag = "act", deny_unknown_fields)]
enum Act {
    Cut {
        who: Option<String>,
    },
    HalfOpen {
        who: Option<String>,
    },
    Reject {
        who: Option<String>,
    },
    GoAway {
        who: Option<String>,
    },
    NewEpoch {
        channel: String,
    },
    Restart,
    /// Every knob off, and a new plan.
    Calm,
}

/// A knob turned.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    knob: Knob,
    on: bool,
    /// Whose connections; everybody's without.
    who: Option<String>,
}

pub(crate) struct Panel {
    faults: Faults,
    restart: Notify,
    state: Mutex<Knobs>,
}

#[derive(Default)]
struct Knobs {
    /// Those that are on, with the rule that each of them became.
    on: BTreeMap<Knob, Rule>,
    /// Those that are on and are no rules.
    walls: BTreeSet<Knob>,
    /// Makes names of rules unique.
    rules: u64,
    /// When the server was restarted, in the plan's time.
    restarts: Vec<u64>,
}

/// What the page asks for again and again.
#[derive(Serialize)]
struct News {
    on: Vec<Knob>,
    #[serde(flatten)]
    progress: Progress,
}

/// The replay file of the server, and what only the demo can do.
#[derive(Serialize)]
struct File {
    #[serde(flatten)]
    replay: Replay,
    restarts_ms: Vec<u64>,
}

impl Panel {
    pub(crate) fn new(faults: Faults) -> Arc<Self> {
        let panel = Arc::new(Self {
            faults,
            restart: Notify::new(),
            state: Mutex::default(),
        });
        panel.calm();
        panel
    }

    /// Completes when somebody wants the server to be restarted.
    pub(crate) async fn restart(&self) {
        self.restart.notified().await;
    }

    pub(crate) fn routes(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/panel/news/{after}", get(news))
            .route("/panel/replay", get(replay))
            .route("/panel/knob", post(turn))
            .route("/panel/act", post(act))
            .layer(from_fn(from_the_own_page))
            .with_state(Arc::clone(self))
    }

    fn state(&self) -> MutexGuard<'_, Knobs> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calm(&self) {
        *self.state() = Knobs::default();
        self.build_walls(&BTreeSet::new());
        // The draws of a new plan should differ from those of the last one.
        let seed = u64::from(std::process::id()) << 16 | u64::from(fresh_bits());
        // Without rules there is nothing to refuse.
        let _ = self.faults.set(Plan::new(seed));
    }

    /// Adds a rule; when the plan is full of rules that have ended, a new one goes on with the others.
    fn add(&self, knobs: &mut Knobs, rule: Rule) -> Result<Rule, PlanError> {
        knobs.rules += 1;
        let mut rule = rule;
        rule.name = format!("{} {}", rule.name, knobs.rules);
        match self.faults.add(rule.clone()) {
            Err(PlanError::Full { .. }) => {
                let on = knobs.on.values().cloned();
                let plan = on.fold(Plan::new(knobs.rules), Plan::rule);
                knobs.restarts.clear();
                self.faults.set(plan)?;
                self.faults.add(rule.clone())?;
            }
            added => added?,
        }
        Ok(rule)
    }

    /// Links that are open would not notice a wall: whoever puts one up cuts them.
    fn turn(&self, Turn { knob, on, who }: Turn) -> Result<bool, PlanError> {
        let mut knobs = self.state();
        let Some(rule) = knob.rule(who) else {
            match on {
                true => knobs.walls.insert(knob),
                false => knobs.walls.remove(&knob),
            };
            self.build_walls(&knobs.walls);
            return Ok(on);
        };
        if let Some(rule) = knobs.on.remove(&knob) {
            self.faults.end(&rule.name)?;
        }
        if on {
            let rule = self.add(&mut knobs, rule)?;
            knobs.on.insert(knob, rule);
        }
        Ok(false)
    }

    fn build_walls(&self, on: &BTreeSet<Knob>) {
        let wall = |knob, wall| on.contains(&knob).then_some(wall);
        let websocket = wall(Knob::BlockWebsocket, Wall::Refuses);
        self.faults.wall(TransportKind::WebSocket, websocket);
        let sse = wall(Knob::BlockSse, Wall::Refuses);
        let sse = sse.or(wall(Knob::CollectSse, Wall::Collects));
        self.faults.wall(TransportKind::Sse, sse);
    }
}

impl Knob {
    /// What it does to frames; `None`: it is a wall.
    fn rule(self, who: Option<String>) -> Option<Rule> {
        let patches = [FrameKind::Patch];
        let rule = match self {
            Self::Delay => Rule::new("delay", Effect::Delay { ms: DELAY_MS })
                .frames([FrameKind::Patch, FrameKind::Ack]),
            Self::Duplicate => Rule::new("duplicate", Effect::Duplicate).frames(patches),
            Self::Reorder => {
                let within_ms = REORDER_MS;
                Rule::new("reorder", Effect::Reorder { within_ms }).frames(patches)
            }
            Self::DropPatches => Rule::new("drop patches", Effect::Drop)
                .frames(patches)
                .chance(0.5),
            Self::DropAcks => Rule::new("drop acks", Effect::Drop).frames([FrameKind::Ack]),
            Self::BlockWebsocket | Self::BlockSse | Self::CollectSse => return None,
        };
        Some(match who {
            Some(who) => rule.principal(who),
            None => rule,
        })
    }
}

/// A few bits that change from one plan to the next.
fn fresh_bits() -> u16 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or(Duration::ZERO).subsec_micros() as u16
}

async fn news(State(panel): State<Arc<Panel>>, Path(after): Path<usize>) -> Response {
    let on = {
        let knobs = panel.state();
        knobs.on.keys().chain(&knobs.walls).copied().collect()
    };
    match panel.faults.progress(after) {
        Some(progress) => json(&News { on, progress }),
        None => refuse("there is no plan"),
    }
}

async fn replay(State(panel): State<Arc<Panel>>) -> Response {
    let restarts_ms = panel.state().restarts.clone();
    let Some(replay) = panel.faults.replay() else {
        return refuse("there is no plan");
    };
    let attachment = (
        header::CONTENT_DISPOSITION,
        "attachment; filename=\"tidewire-replay.json\"",
    );
    let file = File {
        replay,
        restarts_ms,
    };
    ([attachment], json(&file)).into_response()
}

async fn turn(State(panel): State<Arc<Panel>>, body: Bytes) -> Response {
    let turned = read(&body).and_then(|turn| panel.turn(turn).map_err(|error| error.to_string()));
    if turned == Ok(true) {
        let cut = panel.faults.act(Action::Cut { principal: None }).await;
        return done(cut.map(drop).map_err(|error| error.to_string()));
    }
    done(turned.map(drop))
}

async fn act(State(panel): State<Arc<Panel>>, body: Bytes) -> Response {
    let act = match read(&body) {
        Ok(act) => act,
        Err(problem) => return refuse(&problem),
    };
    let action = match act {
        Act::Calm => {
            panel.calm();
            return done(Ok(()));
        }
        Act::Restart => {
            let at_ms = panel.faults.progress(usize::MAX).map(|p| p.elapsed_ms);
            panel.state().restarts.extend(at_ms);
            panel.restart.notify_one();
            return done(Ok(()));
        }
        Act::Reject { who } => {
            let effect = Effect::Reject {
                code: ErrorCode::Refused,
                detail: "the fault panel said no".into(),
            };
            let rule = Rule::new("reject", effect).next(1);
            let rule = match who {
                Some(who) => rule.principal(who),
                None => rule,
            };
            let added = panel.add(&mut panel.state(), rule);
            return done(added.map(drop).map_err(|error| error.to_string()));
        }
        Act::Cut { who } => Action::Cut { principal: who },
        Act::HalfOpen { who } => Action::HalfOpen { principal: who },
        Act::GoAway { who } => Action::GoAway {
            principal: who,
            window_ms: 200,
        },
        Act::NewEpoch { channel } => Action::NewEpoch { channel },
    };
    let acted = panel.faults.act(action).await;
    done(acted.map(drop).map_err(|error| error.to_string()))
}

/// Other pages could press the buttons too: a browser says where a request comes from.
async fn from_the_own_page(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let foreign = text(header::ORIGIN).is_some_and(|origin| {
        let origin: Option<Uri> = origin.parse().ok();
        let authority = origin.as_ref().and_then(Uri::authority);
        authority.map(|authority| authority.as_str()) != text(header::HOST)
    });
    match foreign {
        true => refuse("only the board's own page may do this"),
        false => next.run(request).await,
    }
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn done(done: Result<(), String>) -> Response {
    match done {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => refuse(&problem),
    }
}

fn refuse(problem: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("{problem}\n")).into_response()
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(body) => {
            let headers = [
                (header::CONTENT_TYPE, "application/json"),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (headers, body).into_response()
        }
        Err(error) => refuse(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(panel: &Panel, knob: Knob, on: bool) {
        let who = Some("ana".into());
        panel.turn(Turn { knob, on, who }).unwrap();
    }

    #[test]
    fn a_knob_is_one_rule_while_it_is_on_and_the_file_knows_when() {
        let panel = Panel::new(Faults::new());
        turned(&panel, Knob::Delay, true);
        turned(&panel, Knob::Delay, true);
        turned(&panel, Knob::DropAcks, true);
        turned(&panel, Knob::Delay, false);
        let replay = panel.faults.replay().unwrap();
        let ended: Vec<_> = replay
            .plan
            .rules
            .iter()
            .map(|r| r.until_ms.is_some())
            .collect();
        assert_eq!(ended, [true, true, false]);
        assert_eq!(replay.plan.rules[2].principal.as_deref(), Some("ana"));
        assert_eq!(panel.state().on.len(), 1);
    }

    #[test]
    fn walls_stand_until_they_are_taken_away_or_all_is_off() {
        let panel = Panel::new(Faults::new());
        let sse = || panel.faults.wall_before(TransportKind::Sse);
        turned(&panel, Knob::CollectSse, true);
        turned(&panel, Knob::BlockSse, true);
        assert_eq!(sse(), Some(Wall::Refuses));
        turned(&panel, Knob::BlockSse, false);
        assert_eq!(sse(), Some(Wall::Collects));
        turned(&panel, Knob::BlockWebsocket, true);
        assert!(panel.faults.replay().unwrap().plan.rules.is_empty());
        panel.calm();
        assert_eq!(sse(), None);
        assert_eq!(panel.faults.wall_before(TransportKind::WebSocket), None);
    }

    #[test]
    fn after_many_turns_a_new_plan_goes_on_with_what_is_on() {
        let panel = Panel::new(Faults::new());
        turned(&panel, Knob::Reorder, true);
        for _ in 0..400 {
            turned(&panel, Knob::Delay, true);
        }
        let rules = panel.faults.replay().unwrap().plan.rules;
        assert!(rules.len() <= tidewire_server::faults::RULES_MAX);
        assert!(
            rules
                .iter()
                .any(|rule| rule.name.starts_with("reorder") && rule.until_ms.is_none())
        );
    }
}
