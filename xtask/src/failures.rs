//! Why tests failed, picked out of what their runner printed, to be said again at the end of a run: a
//! long log is often shown without its middle.

/// At most so many lines are kept; the first failure is the one to look at.
const LINES_MAX: usize = 60;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Elsewhere,
    /// Between `failures:` and the next summary of `cargo test`.
    Failures,
    /// Between a `not ok` and the end of its details, in TAP.
    NotOk,
}

/// Reads a runner's output line by line: of `cargo test` and of Node's (TAP).
pub(crate) struct Failures {
    place: Place,
    lines: Vec<String>,
}

impl Failures {
    pub(crate) fn new() -> Self {
        Self {
            place: Place::Elsewhere,
            lines: Vec::new(),
        }
    }

    pub(crate) fn read(&mut self, line: &str) {
        let word = line.trim();
        self.place = match self.place {
            _ if word == "failures:" => Place::Failures,
            _ if word.starts_with("not ok ") => Place::NotOk,
            Place::Failures if word.starts_with("test result:") => Place::Elsewhere,
            Place::NotOk if word == "..." => Place::Elsewhere,
            place => place,
        };
        let said = self.place != Place::Elsewhere && !word.is_empty() && word != "failures:";
        if said && self.lines.len() < LINES_MAX {
            self.lines.push(line.to_owned());
        }
    }

    /// What was found, each line after a line break; empty if nothing was.
    pub(crate) fn text(&self) -> String {
        self.lines
            .iter()
            .map(|line| format!("\n    {line}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found_in(output: &str) -> String {
        let mut failures = Failures::new();
        output.lines().for_each(|line| failures.read(line));
        failures.text()
    }

    #[test]
    fn a_failed_rust_test_is_quoted_with_its_panic() {
        let text = found_in(
            "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\nthread 'a' panicked at x.rs:1:1:\n\
             left is not right\n\nfailures:\n    a\n\ntest result: FAILED. 0 passed; 1 failed\nmore\n",
        );
        assert!(
            text.contains("panicked at x.rs:1:1:\n    left is not right"),
            "{text}"
        );
        assert!(!text.contains("more"), "{text}");
    }

    #[test]
    fn a_failed_node_test_is_quoted_with_its_details() {
        let text = found_in("ok 1 - a\nnot ok 2 - b\n  ---\n  error: 'no'\n  ...\nok 3 - c\n");
        assert!(
            text.contains("not ok 2 - b") && text.contains("error: 'no'"),
            "{text}"
        );
        assert!(!text.contains("ok 3"), "{text}");
    }

    #[test]
    fn what_passed_is_not_quoted_and_a_flood_is_cut() {
        assert_eq!(
            found_in("test a ... ok\ntest result: ok. 1 passed\nok 1 - x\n"),
            ""
        );
        let flood = format!("failures:\n{}", "line\n".repeat(1000));
        assert_eq!(found_in(&flood).lines().count(), LINES_MAX + 1);
    }
}
