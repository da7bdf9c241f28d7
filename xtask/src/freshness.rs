//! Whether an output is newer than everything it is made from. Cargo answers that for Rust; this is
//! for the steps after it (bindings, wasm-opt, npm, pages).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;

/// Never inputs: what installing and building leave behind.
const LEFT_BEHIND: [&str; 3] = ["node_modules", "dist", "target"];

/// Whether `output` exists and no file of `inputs` (files or directories) is newer.
pub(crate) fn is_fresh(output: &Path, inputs: &[PathBuf]) -> anyhow::Result<bool> {
    let Ok(made) = fs::metadata(output).and_then(|meta| meta.modified()) else {
        return Ok(false);
    };
    for input in inputs {
        if newest(input)?.is_none_or(|changed| changed > made) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Marks a step as done now; the mark is the `output` of the next [`is_fresh`].
pub(crate) fn mark(path: &Path) -> anyhow::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    fs::write(path, "").with_context(|| format!("cannot write {}", path.display()))
}

/// When the newest file at or below `path` changed; `None` when there is no file.
///
/// Directories count too: a deleted file changes the one it was in.
fn newest(path: &Path) -> anyhow::Result<Option<SystemTime>> {
    let Ok(meta) = fs::metadata(path) else {
        return Ok(None);
    };
    let mut newest_at = meta.modified()?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if LEFT_BEHIND.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if let Some(at) = newest(&entry.path())? {
                newest_at = newest_at.max(at);
            }
        }
    }
    Ok(Some(newest_at))
}
