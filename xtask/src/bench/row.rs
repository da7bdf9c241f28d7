//! One figure, as the benchmarks print it and as people read it.

use serde_json::{Value, json};

/// A figure beside its baseline.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// `bench/what`.
    pub(crate) name: String,
    /// Ours.
    pub(crate) value: f64,
    /// Of `value` and `baseline`.
    pub(crate) unit: String,
    /// The other program's.
    pub(crate) baseline: f64,
    /// `value / baseline`.
    pub(crate) ratio: f64,
    /// A comparison and a number: `<= 3` for the ratio, `<= 3 KiB` for a value of that unit.
    pub(crate) goal: String,
}

impl Row {
    /// Reads what a benchmark printed; `None` when a field is missing or of another type.
    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        Some(Self {
            name: value["name"].as_str()?.to_owned(),
            value: value["value"].as_f64()?,
            unit: value["unit"].as_str()?.to_owned(),
            baseline: value["baseline"].as_f64()?,
            ratio: value["ratio"].as_f64()?,
            goal: value["goal"].as_str()?.to_owned(),
        })
    }

    /// Whether the ratio, or the value, is where it should be; `None` for a goal that is no plain
    /// comparison.
    pub(crate) fn is_reached(&self) -> Option<bool> {
        let (comparison, bound) = self.goal.split_once(' ')?;
        let (bound, figure) = match bound.split_once(' ') {
            None => (bound, self.ratio),
            Some((bound, unit)) if unit == self.unit => (bound, self.value),
            Some(_) => return None,
        };
        let bound: f64 = bound.parse().ok()?;
        match comparison {
            "<=" => Some(figure <= bound),
            ">=" => Some(figure >= bound),
            _ => None,
        }
    }
}

/// The published array.
pub(crate) fn to_json(rows: &[Row]) -> Value {
    rows.iter()
        .map(|row| {
            json!({
                "name": row.name,
                "value": row.value,
                "unit": row.unit,
                "baseline": row.baseline,
                "ratio": row.ratio,
                "goal": row.goal,
            })
        })
        .collect()
}

/// For a terminal.
pub(crate) fn to_table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    rows.iter()
        .map(|row| {
            format!(
                "{:<width$}  {:>10} {:<14} baseline {:>10}  ratio {:>6}  goal {:<8} {}\n",
                row.name,
                row.value,
                row.unit,
                row.baseline,
                row.ratio,
                row.goal,
                verdict(row)
            )
        })
        .collect()
}

/// For docs/benchmarks.md.
pub(crate) fn to_markdown(row: &Row) -> String {
    format!(
        "| `{}` | {} {} | {} | **{}** | {} | {} |",
        row.name,
        row.value,
        row.unit,
        row.baseline,
        row.ratio,
        row.goal,
        verdict(row)
    )
}

fn verdict(row: &Row) -> &'static str {
    match row.is_reached() {
        Some(true) => "reached",
        Some(false) => "missed",
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ratio: f64, goal: &str) -> Row {
        Row {
            name: "a/b".into(),
            value: 2.0,
            unit: "ns".into(),
            baseline: 1.0,
            ratio,
            goal: goal.into(),
        }
    }

    #[test]
    fn goals_bound_the_ratio_from_either_side() {
        assert_eq!(row(2.0, "<= 3").is_reached(), Some(true));
        assert_eq!(row(2.0, "<= 1.5").is_reached(), Some(false));
        assert_eq!(row(0.9, ">= 0.8").is_reached(), Some(true));
        assert_eq!(row(0.9, "12 KiB").is_reached(), None);
    }

    #[test]
    fn a_goal_with_a_unit_bounds_the_value() {
        // The value is 2 ns.
        assert_eq!(row(9.0, "<= 3 ns").is_reached(), Some(true));
        assert_eq!(row(0.1, ">= 3 ns").is_reached(), Some(false));
        assert_eq!(row(0.1, "<= 3 KiB").is_reached(), None);
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let row = row(2.0, "<= 3");
        assert_eq!(
            Row::from_json(&to_json(std::slice::from_ref(&row))[0]),
            Some(row)
        );
        assert_eq!(Row::from_json(&json!({"name": "a"})), None);
    }
}
