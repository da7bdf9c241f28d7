//! A fault plan: which frames are struck, with what. Parsed and judged once, before it strikes anything.

use serde::{Deserialize, Serialize};

use super::effect::{Action, Effect};
use super::frame::{Direction, FrameKind, Seen};
use super::pattern::matches;

/// Rules of one plan, those that have ended included. At the limit a new one is refused.
pub const RULES_MAX: usize = 256;
/// Timed actions of one plan. At the limit no more are noted.
pub const ACTIONS_MAX: usize = 256;
/// The longest that a frame is kept back.
pub const DELAY_MS_MAX: u32 = 60_000;
const NAME_BYTES_MAX: usize = 64;
const PATTERN_BYTES_MAX: usize = 256;

/// What goes wrong on purpose. JSON: docs/faults.md.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// Decides every draw. The same plan and the same frames on a connection give the same faults.
    pub seed: u64,
    /// Asked in this order; the first one that strikes a frame decides.
    pub rules: Vec<Rule>,
    /// What happens at a time rather than to a frame.
    pub actions: Vec<TimedAction>,
}

/// Which frames are struck, how often, and with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct Rule {
    /// Names it in counts, in what is recorded, and to end it. Unique within a plan.
    pub name: String,
    /// Of which channels; `*` stands for any text. `None`: of all, and frames of none too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// On whose connections. `None`: everybody's, also before they said who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Which way. `None`: both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Of which kinds. Empty: of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<FrameKind>,
    /// How likely each one is struck, 0 to 1.
    #[serde(default = "certain")]
    pub chance: f64,
    /// It ends after so many. `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// It begins so long after the plan did.
    #[serde(default)]
    pub from_ms: u64,
    /// It ends so long after the plan began. `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// What happens to a frame that is struck.
    pub effect: Effect,
}

const fn certain() -> f64 {
    1.0
}

/// An action of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimedAction {
    /// So long after the plan began.
    pub at_ms: u64,
    /// What.
    pub action: Action,
}

/// Why a plan is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Not JSON of a plan.
    #[error("this is no fault plan: {0}")]
    Malformed(String),
    /// A rule that means nothing.
    #[error("rule {rule:?}: {problem}")]
    Rule {
        /// Its name.
        rule: String,
        /// What is wrong, and what to write instead.
        problem: String,
    },
    /// More than a plan holds.
    #[error("a plan has at most {max} {what}; set a new one")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many.
        max: usize,
    },
    /// There is no plan that could be changed.
    #[error("no fault plan is set; set one first")]
    NoPlan,
    /// Nothing has this name.
    #[error("no rule {0:?} strikes now")]
    NoRule(String),
}

impl Plan {
    /// An empty plan with a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// The same with one rule more.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// The same with one timed action more.
    #[must_use]
    pub fn action(mut self, at_ms: u64, action: Action) -> Self {
        self.actions.push(TimedAction { at_ms, action });
        self
    }

    /// Reads a plan, or the plan of a replay file.
    ///
    /// Errors: [`PlanError::Malformed`] names line and field; everything else names the rule.
    pub fn from_json(text: &[u8]) -> Result<Self, PlanError> {
        let malformed = |error: serde_json::Error| PlanError::Malformed(error.to_string());
        let value: serde_json::Value = serde_json::from_slice(text).map_err(malformed)?;
        if !value.is_object() {
            return Err(PlanError::Malformed("it must be an object".into()));
        }
        let plan: Self = match value.get("plan") {
            Some(plan) => serde_json::from_value(plan.clone()).map_err(malformed)?,
            // From the text itself, so that an error says where.
            None => serde_json::from_slice(text).map_err(malformed)?,
        };
        plan.check()?;
        Ok(plan)
    }

    /// Whether every rule can be meant.
    pub(super) fn check(&self) -> Result<(), PlanError> {
        for (what, len, max) in [
            ("rules", self.rules.len(), RULES_MAX),
            ("actions", self.actions.len(), ACTIONS_MAX),
        ] {
            if len > max {
                return Err(PlanError::Full { what, max });
            }
        }
        for (at, rule) in self.rules.iter().enumerate() {
            rule.check()?;
            if self.rules[..at].iter().any(|other| other.name == rule.name) {
                return Err(rule.problem("another rule has this name"));
            }
        }
        Ok(())
    }
}

impl Rule {
    /// A rule that strikes every frame; narrow it down.
    pub fn new(name: impl Into<String>, effect: Effect) -> Self {
        Self {
            name: name.into(),
            channel: None,
            principal: None,
            direction: None,
            frames: Vec::new(),
            chance: 1.0,
            next: None,
            from_ms: 0,
            until_ms: None,
            effect,
        }
    }

    /// Only frames of these kinds.
    pub fn frames(mut self, frames: impl IntoIterator<Item = FrameKind>) -> Self {
        self.frames = frames.into_iter().collect();
        self
    }

    /// Only frames of channels that match; `*` stands for any text.
    pub fn channel(mut self, pattern: impl Into<String>) -> Self {
        self.channel = Some(pattern.into());
        self
    }

    /// Only on this principal's connections.
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = Some(principal.into());
        self
    }

    /// Only one way.
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = Some(direction);
        self
    }

    /// Not every frame: each one by this chance, 0 to 1.
    pub fn chance(mut self, chance: f64) -> Self {
        self.chance = chance;
        self
    }

    /// Only so many, then no more.
    pub fn next(mut self, count: u64) -> Self {
        self.next = Some(count);
        self
    }

    pub(super) fn problem(&self, problem: impl Into<String>) -> PlanError {
        PlanError::Rule {
            rule: self.name.clone(),
            problem: problem.into(),
        }
    }

    pub(super) fn check(&self) -> Result<(), PlanError> {
        let fail = |problem: String| Err(self.problem(problem));
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX {
            return fail(format!("its name must have 1 to {NAME_BYTES_MAX} bytes"));
        }
        if !(0.0..=1.0).contains(&self.chance) {
            return fail(format!("chance {} is not between 0 and 1", self.chance));
        }
        let patterns = [&self.channel, &self.principal];
        if patterns
            .into_iter()
            .flatten()
            .any(|pattern| pattern.len() > PATTERN_BYTES_MAX)
        {
            return fail(format!(
                "channel and principal have at most {PATTERN_BYTES_MAX} bytes"
            ));
        }
        match &self.effect {
            Effect::Delay { ms }
            | Effect::Reorder { within_ms: ms }
            | Effect::Hold { retry_ms: ms }
                if *ms > DELAY_MS_MAX =>
            {
                fail(format!("{ms} ms is over {DELAY_MS_MAX}"))
            }
            Effect::Hold { .. } | Effect::Reject { .. } if self.strikes_other_than_pushes() => {
                fail(
                    "it strikes pushes alone: leave out direction and frames, or write up and push"
                        .into(),
                )
            }
            _ => Ok(()),
        }
    }

    fn strikes_other_than_pushes(&self) -> bool {
        self.direction == Some(Direction::Down)
            || self.frames.iter().any(|kind| *kind != FrameKind::Push)
    }

    /// Whether it is meant for this frame, whatever the dice say.
    pub(super) fn matches(&self, direction: Direction, seen: &Seen<'_>, who: Option<&str>) -> bool {
        let of_kind = match &self.effect {
            Effect::Hold { .. } => seen.kind == FrameKind::Push,
            // Judged per mutation, see `matches_mutation`.
            Effect::Reject { .. } => false,
            _ => self.frames.is_empty() || self.frames.contains(&seen.kind),
        };
        of_kind
            && self.direction.is_none_or(|wanted| wanted == direction)
            && self.is_for(seen.channel, who)
    }

    /// Whether it rejects mutations of this author on this channel.
    pub(super) fn matches_mutation(&self, channel: &str, who: &str) -> bool {
        matches!(self.effect, Effect::Reject { .. }) && self.is_for(Some(channel), Some(who))
    }

    fn is_for(&self, channel: Option<&str>, who: Option<&str>) -> bool {
        let on = |pattern: &Option<String>, text: Option<&str>| match (pattern, text) {
            (None, _) => true,
            (Some(pattern), Some(text)) => matches(pattern, text),
            (Some(_), None) => false,
        };
        on(&self.channel, channel) && on(&self.principal, who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_from_json_and_from_a_replay_file() {
        let plan = br#"{
            "seed": 7,
            "rules": [
                {"name": "slow", "channel": "board:*", "direction": "down", "frames": ["patch"],
                 "chance": 0.5, "effect": {"delay": {"ms": 300}}},
                {"name": "no", "next": 1, "effect": {"reject": {"code": "refused", "detail": "no"}}},
                {"name": "gone", "frames": ["ack"], "effect": "drop"}
            ],
            "actions": [{"at_ms": 100, "action": {"cut": {"principal": "ana"}}}]
        }"#;
        let read = Plan::from_json(plan).unwrap();
        assert_eq!(read.rules.len(), 3);
        assert_eq!(read.rules[0].effect, Effect::Delay { ms: 300 });
        let replay = serde_json::json!({ "plan": read, "struck": [] }).to_string();
        assert_eq!(Plan::from_json(replay.as_bytes()), Ok(read));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_reason() {
        for (json, says) in [
            ("[]", "no fault plan"),
            (r#"{"rule": []}"#, "unknown field `rule`"),
            (
                r#"{"rules": [{"name": "x", "effect": "explode"}]}"#,
                "unknown variant",
            ),
            (
                r#"{"rules": [{"name": "x", "effect": "drop", "chance": 2}]}"#,
                "between 0 and 1",
            ),
            (r#"{"rules": [{"name": "", "effect": "drop"}]}"#, "its name"),
            (
                r#"{"rules": [{"name": "x", "effect": "drop"}, {"name": "x", "effect": "cut"}]}"#,
                "another rule",
            ),
            (
                r#"{"rules": [{"name": "x", "effect": {"delay": {"ms": 60001}}}]}"#,
                "over 60000",
            ),
            (
                r#"{"rules": [{"name": "x", "effect": {"reject": {"code": "overloaded"}}}]}"#,
                "ends no mutation",
            ),
            (
                r#"{"rules": [{"name": "x", "frames": ["ack"], "effect": {"hold": {"retry_ms": 1}}}]}"#,
                "pushes alone",
            ),
        ] {
            let error = Plan::from_json(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(says), "{json}: {error}");
        }
        let many = (0..=RULES_MAX).map(|at| Rule::new(at.to_string(), Effect::Drop));
        let plan = Plan {
            rules: many.collect(),
            ..Plan::default()
        };
        assert!(matches!(plan.check(), Err(PlanError::Full { .. })));
    }
}
