//! Programs of this workspace, built on demand.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);

/// Where the binary of a package is, which has the package's name.
///
/// With `TEST_BIN_DIR` it is taken from there: `cargo xtask test` builds everything once. Otherwise it
/// is built now: a test of a stale program would prove nothing.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn program(package: &str) -> PathBuf {
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built
        .get_or_insert_default()
        .entry(package.to_owned())
        .or_insert_with(|| build(package))
        .clone()
}

fn build(package: &str) -> PathBuf {
    if let Some(directory) = std::env::var_os("TEST_BIN_DIR") {
        let program = PathBuf::from(directory).join(package);
        assert!(program.is_file(), "{} is missing", program.display());
        return program;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(env!("CARGO"))
        .current_dir(root)
        // With this package selected too, its dependencies are built with the same features as for the tests.
        .args(["build", "--quiet", "--package", env!("CARGO_PKG_NAME")])
        .args(["--package", package, "--bin", package])
        .args(["--message-format", "json-render-diagnostics"])
        .output()
        .expect("cargo, which built this test, can be started");
    assert!(
        output.status.success(),
        "{package} does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|message| message["target"]["name"] == package && message["executable"].is_string())
        .and_then(|message| Some(PathBuf::from(message["executable"].as_str()?)))
        .expect("cargo names the executable that it built")
}
