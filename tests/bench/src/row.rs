//! One figure, as it is printed.

use serde::Serialize;

/// A figure beside its baseline: one JSON object a line.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `bench/what`.
    pub name: String,
    /// Ours.
    pub value: f64,
    /// Of `value` and of `baseline`.
    pub unit: &'static str,
    /// The other program's, measured in the same run.
    pub baseline: f64,
    /// `value / baseline`.
    pub ratio: f64,
    /// What the ratio should be, or, with a unit behind the number, the value.
    pub goal: &'static str,
}

impl Row {
    /// A figure beside its baseline.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        unit: &'static str,
        value: f64,
        baseline: f64,
        goal: &'static str,
    ) -> Self {
        Self {
            name: name.into(),
            value: rounded(value),
            unit,
            baseline: rounded(baseline),
            ratio: rounded(value / baseline),
            goal,
        }
    }
}

/// Three digits that mean something; more would be noise.
fn rounded(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return number;
    }
    let digits = 10_f64.powi(2 - number.abs().log10().floor() as i32);
    (number * digits).round() / digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_printed_with_the_published_fields() {
        let row = Row::new("a/b", "ns", 1234.56, 1000.0, "<= 3");
        assert_eq!(
            serde_json::to_string(&row).expect("plain data"),
            r#"{"name":"a/b","value":1230.0,"unit":"ns","baseline":1000.0,"ratio":1.23,"goal":"<= 3"}"#
        );
    }

    #[test]
    fn three_digits_are_kept_at_any_size() {
        assert_eq!(rounded(0.000_123_45), 0.000_123);
        assert_eq!(rounded(98_765.4), 98_800.0);
        assert_eq!(rounded(0.0), 0.0);
    }
}
