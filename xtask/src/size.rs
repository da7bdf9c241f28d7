//! `cargo xtask size`: what an application downloads, against a budget.
//!
//! An entry's JavaScript is bundled and minified as an application's bundler does it for production,
//! with what it imports but for frameworks; the wasm is the module, if it loads it. Brotli counts the
//! two files, each on its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::measure;
use crate::node;
use crate::npm;
use crate::place;
use crate::process::{command, run};
use crate::setup::Consent;
use crate::wasm;

/// Bytes with brotli that each entry may have.
const BUDGETS: &str = "xtask/size-budgets.json";

struct Size {
    entry: String,
    wasm_bytes: u64,
    js_bytes: u64,
    brotli_bytes: u64,
    budget_bytes: u64,
}

/// Measures every entry that has a budget; an error when one is above it.
pub(crate) fn run_all(json: bool, consent: Consent) -> anyhow::Result<()> {
    npm::build(consent)?;
    node::install(&place::root().join("xtask/tools"), consent)?;
    let budgets = fs::read_to_string(place::root().join(BUDGETS))
        .with_context(|| format!("cannot read {BUDGETS}"))?;
    let sizes = parse_budgets(&budgets)?
        .into_iter()
        .map(|(entry, budget_bytes)| measure_entry(entry, budget_bytes))
        .collect::<anyhow::Result<Vec<Size>>>()?;
    if json {
        println!("{}", to_json(&sizes));
    } else {
        print!("{}", to_table(&sizes));
    }
    for size in &sizes {
        if size.brotli_bytes > size.budget_bytes {
            bail!(
                "entry `{}` has {} bytes, {} above its budget of {}: make it smaller, or raise it in {BUDGETS} with a reason in the commit",
                size.entry,
                size.brotli_bytes,
                size.brotli_bytes - size.budget_bytes,
                size.budget_bytes
            );
        }
    }
    Ok(())
}

fn measure_entry(entry: String, budget_bytes: u64) -> anyhow::Result<Size> {
    let source = source_of(&entry);
    let bundle = place::target_dir().join("xtask/size/bundle.js");
    bundle_entry(&source, &bundle)?;
    let script = measure::file(&bundle)?;
    let module = loads_module(&bundle)?
        .then(|| measure::file(&wasm::module()))
        .transpose()?;
    let (wasm_bytes, wasm_brotli_bytes) =
        module.map_or((0, 0), |module| (module.bytes, module.brotli_bytes));
    Ok(Size {
        entry,
        wasm_bytes,
        js_bytes: script.bytes,
        brotli_bytes: wasm_brotli_bytes + script.brotli_bytes,
        budget_bytes,
    })
}

/// Whether a bundle names the wasm. Hooks and stores leave that to the client that they are given.
fn loads_module(bundle: &Path) -> anyhow::Result<bool> {
    let script = fs::read_to_string(bundle)
        .with_context(|| format!("cannot read {}", place::short(bundle)))?;
    Ok(script.contains("/tidewire_bg.wasm"))
}

/// `.` is the package's own entry, `./react` that of a subpath.
fn source_of(entry: &str) -> PathBuf {
    let name = entry.strip_prefix("./").unwrap_or("index");
    npm::dir().join(format!("dist/{name}.js"))
}

fn bundle_entry(source: &Path, bundle: &Path) -> anyhow::Result<()> {
    run(command(
        place::root().join("xtask/tools/node_modules/.bin/esbuild"),
        &place::root(),
    )
    .arg(source)
    .args(["--bundle", "--minify", "--format=esm", "--platform=browser"])
    .args([
        "--external:react",
        // What an adapter makes a client of is counted by that entry.
        "--external:./index.js",
        "--external:zustand",
        "--loader:.wasm=file",
        // As every bundler does it: without, what is for development only would count.
        "--define:process.env.NODE_ENV=\"production\"",
        "--log-level=warning",
    ])
    .arg(format!("--outfile={}", bundle.display())))
}

fn parse_budgets(text: &str) -> anyhow::Result<Vec<(String, u64)>> {
    let value: Value =
        serde_json::from_str(text).with_context(|| format!("{BUDGETS} is no JSON"))?;
    let entries = value
        .as_object()
        .with_context(|| format!("{BUDGETS} must be an object of entry to bytes"))?;
    entries
        .iter()
        .map(|(entry, bytes)| {
            let bytes = bytes.as_u64().with_context(|| {
                format!("{BUDGETS}: the budget of `{entry}` is {bytes}, not a number of bytes")
            })?;
            Ok((entry.clone(), bytes))
        })
        .collect()
}

fn to_json(sizes: &[Size]) -> Value {
    sizes
        .iter()
        .map(|size| {
            json!({
                "entry": size.entry,
                "wasm_bytes": size.wasm_bytes,
                "js_bytes": size.js_bytes,
                "brotli_bytes": size.brotli_bytes,
                "budget_bytes": size.budget_bytes,
            })
        })
        .collect()
}

fn to_table(sizes: &[Size]) -> String {
    let mut text = String::from("entry          wasm        js    brotli    budget  (bytes)\n");
    for size in sizes {
        text.push_str(&format!(
            "{:<10} {:>8}  {:>8}  {:>8}  {:>8}\n",
            size.entry, size.wasm_bytes, size.js_bytes, size.brotli_bytes, size.budget_bytes
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_entries_with_bytes() {
        let budgets = parse_budgets(r#"{".": 60000}"#).expect("one budget");
        assert_eq!(budgets, [(".".to_owned(), 60000)]);
        for text in ["", "[]", r#"{".": "60 kB"}"#, r#"{".": -1}"#] {
            assert!(parse_budgets(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_entry_names_its_file() {
        assert!(source_of(".").ends_with("npm/dist/index.js"));
        assert!(source_of("./react").ends_with("npm/dist/react.js"));
    }

    #[test]
    fn the_json_has_the_published_fields() {
        let size = Size {
            entry: ".".to_owned(),
            wasm_bytes: 1,
            js_bytes: 2,
            brotli_bytes: 3,
            budget_bytes: 4,
        };
        assert_eq!(
            to_json(&[size]),
            json!([{"entry": ".", "wasm_bytes": 1, "js_bytes": 2, "brotli_bytes": 3, "budget_bytes": 4}])
        );
    }
}
