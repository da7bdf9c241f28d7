//! A broken promise: which one, and what was seen.

/// What a checker found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant of docs/protocol.md §10, or a short name.
    pub rule: &'static str,
    /// What was seen.
    pub detail: String,
}

/// What every step of a simulation returns.
pub type Checked<T = ()> = Result<T, Violation>;

impl Violation {
    /// Builds a violation.
    #[must_use]
    pub fn new(rule: &'static str, detail: impl Into<String>) -> Self {
        Self {
            rule,
            detail: detail.into(),
        }
    }
}

/// `Err` with a detail that is only built when `holds` is false.
pub fn ensure(holds: bool, rule: &'static str, detail: impl FnOnce() -> String) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(Violation::new(rule, detail()))
    }
}
