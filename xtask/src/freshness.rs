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

/// Runs `make` unless `output` exists and `mark`, which is set afterwards, is newer than `inputs`.
///
/// For makers whose outputs keep their age when nothing changed in them.
pub(crate) fn unless_fresh(
    mark: &Path,
    output: &Path,
    inputs: &[PathBuf],
    make: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if output.exists() && is_fresh(mark, inputs)? {
        return Ok(());
    }
    make()?;
    fs::write(mark, "").with_context(|| format!("cannot write {}", mark.display()))
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    fn touch(path: &Path, seconds: u64) {
        fs::create_dir_all(path.parent().expect("a file in a directory")).expect("a directory");
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let file = File::create(path).expect("a file");
        file.set_modified(at).expect("a file's age");
    }

    fn age_dir(path: &Path, seconds: u64) {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        File::open(path)
            .and_then(|dir| dir.set_modified(at))
            .expect("a directory's age");
    }

    #[test]
    fn an_output_is_fresh_while_no_input_is_newer() {
        let dir = tempfile::tempdir().expect("a directory");
        let (output, input) = (dir.path().join("out"), dir.path().join("src/a/in"));
        touch(&input, 100);
        for sub in ["src/a", "src"] {
            age_dir(&dir.path().join(sub), 100);
        }
        let inputs = [dir.path().join("src")];
        assert!(
            !is_fresh(&output, &inputs).expect("readable"),
            "there is no output"
        );
        touch(&output, 200);
        assert!(is_fresh(&output, &inputs).expect("readable"));
        touch(&input, 300);
        assert!(
            !is_fresh(&output, &inputs).expect("readable"),
            "the input is newer"
        );
    }

    #[test]
    fn what_building_leaves_behind_is_no_input() {
        let dir = tempfile::tempdir().expect("a directory");
        let output = dir.path().join("out");
        let inputs = [dir.path().join("src")];
        touch(&dir.path().join("src/node_modules/x"), 900);
        touch(&dir.path().join("src/dist/x"), 900);
        age_dir(&dir.path().join("src"), 100);
        touch(&output, 200);
        assert!(is_fresh(&output, &inputs).expect("readable"));
    }

    #[test]
    fn a_missing_input_is_never_fresh() {
        let dir = tempfile::tempdir().expect("a directory");
        let output = dir.path().join("out");
        touch(&output, 200);
        assert!(!is_fresh(&output, &[dir.path().join("gone")]).expect("readable"));
    }
}
