//! A plan at work: what each rule has struck, the dice, and the record.
//!
//! Invariant: whether the k-th frame that a rule matches on a connection is struck depends on the
//! seed, the rule, the principal, which of its connections this is, and k; never on the clock or on
//! what other connections do. `next` and times narrow that down, in the order of the real world.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::effect::{Action, Effect, EffectKind};
use super::frame::{Direction, FrameKind, Seen};
use super::plan::{ACTIONS_MAX, Plan, PlanError, RULES_MAX, Rule, TimedAction};

/// Strikes that a record holds. Policy: the first ones are kept, the rest only counted.
pub const RECORD_MAX: usize = 10_000;

/// Principals whose connections are numbered apart. Policy: those beyond all count as the first.
const PRINCIPALS_MAX: usize = 4096;

/// One fault that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    /// So long after the plan began.
    pub at_ms: u64,
    /// Which connection of this server; `None` for what concerns a channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conn: Option<u64>,
    /// Whose, once that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Arc<str>>,
    /// Which way the frame went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<FrameKind>,
    /// Its channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Its place in the channel's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Its author's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// What happened to it.
    pub effect: EffectKind,
    /// The rule that did it; `None`: an action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// What a rule has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Frames that it matched while it was on.
    pub matched: u64,
    /// Those that it struck.
    pub struck: u64,
}

/// A plan and what came of it: a file that does the same again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// `1`.
    pub version: u32,
    /// The plan as it was in the end: with the times of rules that were added or ended on the way,
    /// and with the actions that were done by hand.
    pub plan: Plan,
    /// How long it ran.
    pub elapsed_ms: u64,
    /// By rule, in the plan's order.
    pub tallies: Vec<Tally>,
    /// What was done, in order.
    pub struck: Vec<Strike>,
    /// Strikes beyond what a record holds.
    pub unrecorded: u64,
}

/// What is new since somebody last asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How long the plan has run.
    pub elapsed_ms: u64,
    /// Strikes in the record: what to ask with next time.
    pub count: usize,
    /// Those that are new.
    pub struck: Vec<Strike>,
}

/// Who asks the dice.
pub(super) struct Asking<'a> {
    pub(super) conn: u64,
    pub(super) who: Option<&'a Arc<str>>,
    /// Which of this principal's connections under this plan.
    pub(super) nth: u32,
    pub(super) direction: Direction,
}

pub(super) struct Running {
    pub(super) plan: Plan,
    began: Instant,
    tallies: Vec<Tally>,
    struck: Vec<Strike>,
    unrecorded: u64,
    connections: HashMap<Arc<str>, u32>,
    /// Mutations of one author on one channel that a rule was asked about.
    mutations: HashMap<u64, u64>,
}

impl Running {
    pub(super) fn new(plan: Plan, now: Instant) -> Self {
        Self {
            tallies: vec![Tally::default(); plan.rules.len()],
            plan,
            began: now,
            struck: Vec::new(),
            unrecorded: 0,
            connections: HashMap::new(),
            mutations: HashMap::new(),
        }
    }

    fn elapsed_ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn instant(&self, at_ms: u64) -> Instant {
        self.began + Duration::from_millis(at_ms)
    }

    /// The number of a principal's next connection.
    pub(super) fn number(&mut self, who: &Arc<str>) -> u32 {
        if self.connections.len() >= PRINCIPALS_MAX && !self.connections.contains_key(who) {
            return 0;
        }
        let count = self.connections.entry(Arc::clone(who)).or_default();
        *count += 1;
        *count
    }

    /// What happens to a frame. `counts` are the frames that each rule matched on this connection.
    pub(super) fn strike(
        &mut self,
        now: Instant,
        asking: &Asking<'_>,
        seen: &Seen<'_>,
        counts: &mut Vec<u64>,
    ) -> Option<Effect> {
        let at_ms = self.elapsed_ms(now);
        counts.resize(self.plan.rules.len(), 0);
        let who = asking.who.map(|who| &**who);
        let stream = mix(hash(who.unwrap_or_default()), u64::from(asking.nth));
        for (at, count) in counts.iter_mut().enumerate() {
            let rule = &self.plan.rules[at];
            if !self.is_on(at, at_ms) || !rule.matches(asking.direction, seen, who) {
                continue;
            }
            let draw = self.draw(at, stream, count);
            if !draw {
                continue;
            }
            let rule = &self.plan.rules[at];
            let (effect, name) = (rule.effect.clone(), rule.name.clone());
            self.record(Strike {
                at_ms,
                conn: Some(asking.conn),
                principal: asking.who.cloned(),
                direction: Some(asking.direction),
                frame: Some(seen.kind),
                channel: seen.channel.map(Into::into),
                seq: seen.seq,
                n: seen.n,
                effect: effect.kind(),
                rule: Some(name),
            });
            return Some(effect);
        }
        None
    }

    /// Whether a change is rejected, and with what.
    pub(super) fn reject(&mut self, now: Instant, channel: &str, who: &str) -> Option<Effect> {
        let at_ms = self.elapsed_ms(now);
        let stream = mix(hash(who), hash(channel));
        for at in 0..self.plan.rules.len() {
            if !self.is_on(at, at_ms) || !self.plan.rules[at].matches_mutation(channel, who) {
                continue;
            }
            let key = mix(stream, at as u64);
            // Beyond the bound all count as one author, which only changes the draws.
            let key = match self.mutations.len() < PRINCIPALS_MAX {
                true => key,
                false if self.mutations.contains_key(&key) => key,
                false => 0,
            };
            let mut count = self.mutations.get(&key).copied().unwrap_or_default();
            let draw = self.draw(at, stream, &mut count);
            self.mutations.insert(key, count);
            if !draw {
                continue;
            }
            let rule = &self.plan.rules[at];
            let (effect, name) = (rule.effect.clone(), rule.name.clone());
            self.record(Strike {
                at_ms,
                conn: None,
                principal: Some(who.into()),
                direction: Some(Direction::Up),
                frame: Some(FrameKind::Push),
                channel: Some(channel.into()),
                seq: None,
                n: None,
                effect: effect.kind(),
                rule: Some(name),
            });
            return Some(effect);
        }
        None
    }

    fn is_on(&self, at: usize, at_ms: u64) -> bool {
        let rule = &self.plan.rules[at];
        rule.from_ms <= at_ms
            && rule.until_ms.is_none_or(|until| at_ms < until)
            && rule.next.is_none_or(|next| self.tallies[at].struck < next)
    }

    fn draw(&mut self, at: usize, stream: u64, count: &mut u64) -> bool {
        *count += 1;
        self.tallies[at].matched += 1;
        let seed = mix(mix(mix(self.plan.seed, at as u64), stream), *count);
        // The upper 53 bits are a number in 0..1 without rounding.
        let drawn = (seed >> 11) as f64 / (1u64 << 53) as f64;
        let struck = drawn < self.plan.rules[at].chance;
        self.tallies[at].struck += u64::from(struck);
        struck
    }

    pub(super) fn record(&mut self, strike: Strike) {
        match self.struck.len() < RECORD_MAX {
            true => self.struck.push(strike),
            false => self.unrecorded += 1,
        }
    }

    /// A rule more, from now on.
    pub(super) fn add(&mut self, now: Instant, mut rule: Rule) -> Result<(), PlanError> {
        rule.check()?;
        if self.plan.rules.len() >= RULES_MAX {
            return Err(PlanError::Full {
                what: "rules",
                max: RULES_MAX,
            });
        }
        if self.plan.rules.iter().any(|known| known.name == rule.name) {
            return Err(rule.problem("another rule has this name"));
        }
        let elapsed = self.elapsed_ms(now);
        rule.from_ms = rule.from_ms.saturating_add(elapsed);
        rule.until_ms = rule.until_ms.map(|until| until.saturating_add(elapsed));
        self.plan.rules.push(rule);
        self.tallies.push(Tally::default());
        Ok(())
    }

    /// A rule strikes no more.
    pub(super) fn end(&mut self, now: Instant, name: &str) -> Result<(), PlanError> {
        let at_ms = self.elapsed_ms(now);
        let at = self.plan.rules.iter().position(|rule| rule.name == name);
        match at.filter(|at| self.is_on(*at, at_ms)) {
            Some(at) => {
                self.plan.rules[at].until_ms = Some(at_ms);
                Ok(())
            }
            None => Err(PlanError::NoRule(name.into())),
        }
    }

    /// Notes an action; one done by hand becomes part of the plan.
    pub(super) fn note(&mut self, now: Instant, action: &Action, planned: bool) {
        let at_ms = self.elapsed_ms(now);
        if !planned && self.plan.actions.len() < ACTIONS_MAX {
            let action = action.clone();
            self.plan.actions.push(TimedAction { at_ms, action });
        }
        let (principal, channel) = match action {
            Action::Cut { principal }
            | Action::HalfOpen { principal }
            | Action::GoAway { principal, .. } => (principal.as_deref().map(Into::into), None),
            Action::NewEpoch { channel } => (None, Some(channel.clone())),
        };
        self.record(Strike {
            at_ms,
            conn: None,
            principal,
            direction: None,
            frame: None,
            channel,
            seq: None,
            n: None,
            effect: action.kind(),
            rule: None,
        });
    }

    pub(super) fn progress(&self, now: Instant, after: usize) -> Progress {
        Progress {
            elapsed_ms: self.elapsed_ms(now),
            count: self.struck.len(),
            struck: self.struck.get(after..).unwrap_or_default().to_vec(),
        }
    }

    pub(super) fn replay(&self, now: Instant) -> Replay {
        Replay {
            version: 1,
            plan: self.plan.clone(),
            elapsed_ms: self.elapsed_ms(now),
            tallies: self.tallies.clone(),
            struck: self.struck.clone(),
            unrecorded: self.unrecorded,
        }
    }
}

/// FNV-1a, 64 bits: the same on every machine.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// SplitMix64's finaliser over both: no draw tells anything about the next one.
pub(super) const fn mix(a: u64, b: u64) -> u64 {
    let mut z = a
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(b)
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(seq: u64) -> Seen<'static> {
        Seen {
            kind: FrameKind::Patch,
            channel: Some("board:main"),
            seq: Some(seq),
            n: None,
        }
    }

    /// Which of a thousand patches are struck on the first connection of somebody.
    fn struck(running: &mut Running, who: &str) -> Vec<u64> {
        let who: Arc<str> = who.into();
        let asking = Asking {
            conn: 1,
            nth: running.number(&who),
            who: Some(&who),
            direction: Direction::Down,
        };
        let mut counts = Vec::new();
        let now = Instant::now();
        (0..1000)
            .filter(|seq| {
                running
                    .strike(now, &asking, &patch(*seq), &mut counts)
                    .is_some()
            })
            .collect()
    }

    fn plan(seed: u64) -> Plan {
        Plan::new(seed).rule(
            Rule::new("some", Effect::Drop)
                .frames([FrameKind::Patch])
                .chance(0.3),
        )
    }

    #[test]
    fn the_same_seed_strikes_the_same_frames_of_the_same_connection() {
        let run = |seed| Running::new(plan(seed), Instant::now());
        let mut first = run(7);
        let ana = struck(&mut first, "ana");
        assert!((200..400).contains(&ana.len()), "{}", ana.len());
        // Whoever comes first, and whatever happens on other connections.
        let mut second = run(7);
        let bo = struck(&mut second, "bo");
        assert_eq!(struck(&mut second, "ana"), ana);
        assert_ne!(bo, ana);
        assert_ne!(struck(&mut second, "ana"), ana, "a second connection");
        assert_ne!(struck(&mut run(8), "ana"), ana);
    }

    #[test]
    fn next_ends_a_rule_and_so_does_its_name() {
        let now = Instant::now();
        let rule = |name: &str| Rule::new(name, Effect::Drop).frames([FrameKind::Patch]);
        let mut running = Running::new(Plan::new(1).rule(rule("three").next(3)), now);
        assert_eq!(struck(&mut running, "ana"), [0, 1, 2]);
        assert_eq!(
            running.end(now, "three"),
            Err(PlanError::NoRule("three".into()))
        );
        running.add(now, rule("all")).unwrap();
        assert_eq!(struck(&mut running, "ana").len(), 1000);
        running.end(now, "all").unwrap();
        assert!(struck(&mut running, "ana").is_empty());
        let replay = running.replay(now);
        assert_eq!(replay.struck.len(), 1003);
        assert_eq!(replay.tallies[1].struck, 1000);
        assert_eq!(replay.plan.rules[1].until_ms, Some(0));
    }

    #[test]
    fn the_record_is_bounded_and_counts_the_rest() {
        let plan = Plan::new(1).rule(Rule::new("all", Effect::Drop));
        let mut running = Running::new(plan, Instant::now());
        for _ in 0..11 {
            struck(&mut running, "ana");
        }
        let replay = running.replay(Instant::now());
        assert_eq!(replay.struck.len(), RECORD_MAX);
        assert_eq!(replay.unrecorded, 1000);
        assert_eq!(replay.tallies[0].struck, 11_000);
    }

    #[test]
    fn mutations_are_rejected_for_whom_and_where_the_rule_says() {
        let effect = Effect::Reject {
            code: tidewire_core::wire::ErrorCode::Refused,
            detail: "not today".into(),
        };
        let rule = Rule::new("no", effect.clone())
            .channel("board:*")
            .principal("ana")
            .next(1);
        let now = Instant::now();
        let mut running = Running::new(Plan::new(1).rule(rule), now);
        assert_eq!(running.reject(now, "board:main", "bo"), None);
        assert_eq!(running.reject(now, "notes:main", "ana"), None);
        assert_eq!(running.reject(now, "board:main", "ana"), Some(effect));
        assert_eq!(running.reject(now, "board:main", "ana"), None);
    }
}
