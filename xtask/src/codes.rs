//! Whether docs/errors.md tells about every error code there is.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, bail};

use crate::place;

/// Compares the codes of the core and of the npm package with the guide.
pub(crate) fn check() -> anyhow::Result<()> {
    let read = |path: &str| {
        fs::read_to_string(place::root().join(path)).with_context(|| format!("cannot read {path}"))
    };
    let mut codes = rust_codes(&read("sdk-core/src/wire/code.rs")?);
    codes.append(&mut typescript_codes(&read("npm/src/errors.ts")?));
    if codes.len() < 40 {
        bail!(
            "only {} error codes found: the sources look different now",
            codes.len()
        );
    }
    let guide = read("docs/errors.md")?;
    let missing: Vec<_> = codes
        .iter()
        .filter(|code| !guide.contains(&format!("`{code}`")))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        bail!("docs/errors.md says nothing about {}", missing.join(", "));
    }
    println!("{} error codes stand in docs/errors.md", codes.len());
    Ok(())
}

/// Names in lines like `NotFound = 3002, "not_found", Caller, false;`.
fn rust_codes(source: &str) -> BTreeSet<String> {
    source
        .lines()
        .filter_map(|line| line.trim().split_once(" = "))
        .filter_map(|(_, rest)| rest.split_once(", \""))
        .filter(|(number, _)| number.parse::<u32>().is_ok())
        .filter_map(|(_, rest)| rest.split('"').next())
        .map(str::to_owned)
        .collect()
}

/// Members of the union type `ErrorCode`.
fn typescript_codes(source: &str) -> BTreeSet<String> {
    source
        .lines()
        .skip_while(|line| !line.starts_with("export type ErrorCode"))
        .take_while(|line| !line.ends_with(';'))
        .filter_map(|line| line.trim().strip_prefix("| \""))
        .filter_map(|rest| rest.strip_suffix('"'))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_in_both_sources() {
        let rust = "    /// Doc.\n    NotFound = 3002, \"not_found\", Caller, false;\n let x = 1;";
        assert_eq!(rust_codes(rust), BTreeSet::from(["not_found".to_owned()]));
        let typescript =
            "export type ErrorCode =\n  // x\n  | \"closed\"\n  | (string & {});\n| \"no\"";
        assert_eq!(
            typescript_codes(typescript),
            BTreeSet::from(["closed".to_owned()])
        );
    }
}
