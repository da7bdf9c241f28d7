//! `cargo xtask pack`: what is published, as the files that a stranger would install.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::freshness;
use crate::npm;
use crate::place;
use crate::process::{capture, command, run as run_command};
use crate::setup::Consent;

/// Packs everything and prints what to paste, in a project of one's own, to use it.
pub(crate) fn run(consent: Consent) -> anyhow::Result<()> {
    let tarball = npm_tarball(consent)?;
    print!("{}", paste(&tarball, &crates()?));
    Ok(())
}

/// What a terminal in a project takes: a comment and its commands for each way to use a package.
///
/// Nothing of ours is on crates.io, so the crate that the others depend on by its version is patched.
pub(crate) fn paste(tarball: &Path, crates: &Path) -> String {
    let quoted = |path: PathBuf| format!("'{}'", path.display());
    let patch = quoted(crates.join(PATCH));
    let unpacked = |name: &str| quoted(crates.join(folder(name)));
    format!(
        "# A JavaScript project:\n\
         npm install {}\n\
         # A Rust project, which finds tidewire-core by the first line:\n\
         mkdir -p .cargo && cat {patch} >> .cargo/config.toml\n\
         cargo add tidewire --path {}\n\
         cargo add tidewire-server --path {}\n\
         # The program tidewire-server:\n\
         cargo install --path {} --config {patch}\n",
        quoted(tarball.to_path_buf()),
        unpacked("tidewire"),
        unpacked("tidewire-server"),
        unpacked("tidewire-server"),
    )
}

/// Beside the unpacked crates: the table that puts `tidewire-core` in the place of the registry's.
const PATCH: &str = "patch.toml";

/// Where a crate is unpacked.
fn folder(name: &str) -> String {
    format!("{name}-{}", env!("CARGO_PKG_VERSION"))
}

/// The npm package as `npm pack` makes it, unless it is newer than what goes into it.
pub(crate) fn npm_tarball(consent: Consent) -> anyhow::Result<PathBuf> {
    npm::build(consent)?;
    let package = npm::dir();
    let out = place::target_dir().join("xtask/pack");
    let tarball = out.join("tidewire.tgz");
    let inputs = [
        npm::built_mark(),
        package.join("package.json"),
        package.join("README.md"),
        package.join("LICENSE-APACHE"),
        package.join("LICENSE-MIT"),
    ];
    if freshness::is_fresh(&tarball, &inputs)? {
        return Ok(tarball);
    }
    fs::create_dir_all(&out)?;
    let printed = capture(
        command("npm", &package)
            .args(["pack", "--silent", "--pack-destination"])
            .arg(&out),
    )?;
    // Its own name has the version in it.
    let packed = out.join(printed.trim());
    fs::rename(&packed, &tarball)
        .with_context(|| format!("npm pack left no {}", packed.display()))?;
    Ok(tarball)
}

/// The crates that are published.
const CRATES: [&str; 4] = [
    "tidewire-core",
    "tidewire",
    "tidewire-server",
    "tidewire-chaos-proxy",
];

/// Where the crates lie as `cargo package` makes them, each unpacked in a folder `NAME-VERSION`.
///
/// Nothing is built: whoever depends on them does that. A crate that is the same as before stays as it
/// is, so that its dependants stay built.
pub(crate) fn crates() -> anyhow::Result<PathBuf> {
    let out = place::target_dir().join("xtask/pack/crates");
    fs::create_dir_all(&out)?;
    let mut package = command("cargo", &place::root());
    package.args([
        "package",
        "--locked",
        "--offline",
        "--allow-dirty",
        "--no-verify",
    ]);
    for name in CRATES {
        package.args(["--package", name]);
    }
    run_command(&mut package)?;
    for name in CRATES {
        let file = format!("{name}-{}.crate", env!("CARGO_PKG_VERSION"));
        let packed = place::target_dir().join("package").join(&file);
        let bytes =
            fs::read(&packed).with_context(|| format!("cargo left no {}", packed.display()))?;
        let unpacked_from = out.join(&file);
        if fs::read(&unpacked_from).is_ok_and(|before| before == bytes) {
            continue;
        }
        let unpacked = out.join(folder(name));
        if unpacked.exists() {
            fs::remove_dir_all(&unpacked)?;
        }
        // All files of a crate have one age, which never changes: cargo must see that these are new.
        run_command(command("tar", &out).arg("-xzmf").arg(&packed))?;
        fs::write(&unpacked_from, bytes)?;
    }
    let core = out.join(folder("tidewire-core"));
    let core = toml_string(&core.display().to_string());
    fs::write(
        out.join(PATCH),
        format!("[patch.crates-io]\ntidewire-core = {{ path = {core} }}\n"),
    )?;
    Ok(out)
}

fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
