//! Sizes of built files, raw and with brotli, and what a wasm module imports.
//!
//! Node measures: it has brotli, and a module that it compiles is one that browsers take.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use crate::place;
use crate::process::{capture, command};

/// One built file.
pub(crate) struct Measure {
    /// Which file.
    pub(crate) path: PathBuf,
    /// Its size.
    pub(crate) bytes: u64,
    /// Its size after brotli at the highest level, as a server would keep it.
    pub(crate) brotli_bytes: u64,
    /// The modules that a wasm module imports from, each once.
    pub(crate) imports: Vec<String>,
}

/// Measures one file.
pub(crate) fn file(path: &Path) -> anyhow::Result<Measure> {
    let printed = capture(
        command("node", &place::root())
            .arg("xtask/tools/measure.mjs")
            .arg(path),
    )?;
    parse(path, &printed).with_context(|| format!("measure of {}: {printed}", path.display()))
}

/// Measures files.
pub(crate) fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<Measure>> {
    paths.iter().map(|path| file(path)).collect()
}

fn parse(path: &Path, printed: &str) -> anyhow::Result<Measure> {
    let value: Value = serde_json::from_str(printed)?;
    let number = |name: &str| value[name].as_u64().with_context(|| format!("no {name}"));
    let imports = value["imports"].as_array().context("no imports")?;
    Ok(Measure {
        path: path.to_path_buf(),
        bytes: number("bytes")?,
        brotli_bytes: number("brotli_bytes")?,
        imports: imports
            .iter()
            .filter_map(|import| import.as_str().map(str::to_owned))
            .collect(),
    })
}
