//! A Rust toolchain for `wasm32-unknown-unknown`, on a machine that may have none.
//!
//! The standard library is built along, so that the module is the same size wherever it is built: the
//! one that rustup ships prints panics, and adds 12 kB to a download. In this order: the default
//! toolchain, if it has the library's source; Debian's browser toolchain, which has; installing the
//! source for the first; installing the second; and where neither can be had, the prebuilt library.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use crate::process::{capture, command, run};
use crate::setup::Consent;

/// What the browser build is compiled for.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's toolchain, kept fresh for building browsers.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// The linker, for machines whose default toolchain brings none. It must not be older than the LLVM
/// of the compiler.
const DEBIAN_LINKER: &str = "lld-22";

/// The oldest compiler that may build the workspace.
const RUST_VERSION: (u32, u32) = (1, 95);

/// A toolchain that can build for [`TARGET`].
pub(crate) enum WasmToolchain {
    /// The toolchain that runs everything else, with the source of its standard library.
    Default,
    /// `/usr/bin/cargo` and `/usr/bin/rustc`, with the source of their standard library.
    Debian {
        /// A linker that knows wasm.
        linker: PathBuf,
    },
    /// The toolchain that runs everything else, with a standard library that was built elsewhere.
    Prebuilt,
}

impl WasmToolchain {
    /// Takes what is there; otherwise installs, and says so.
    pub(crate) fn find_or_install(consent: Consent) -> anyhow::Result<Self> {
        if let Some(found) = Self::find() {
            return Ok(found);
        }
        if capture(Command::new("rustup").arg("--version")).is_ok() {
            eprintln!("installing the source of Rust's standard library with rustup");
            // Fails at once where downloads are cut off; then Debian's packages are the way.
            let _ = run(Command::new("rustup").args(["component", "add", "rust-src"]));
            if let Some(found) = Self::find() {
                return Ok(found);
            }
        }
        let mut packages = DEBIAN_PACKAGES.to_vec();
        if wasm_linker().is_none() {
            packages.push(DEBIAN_LINKER);
        }
        let refused = match consent.apt_install(&packages, "to compile for browsers") {
            Ok(()) => None,
            Err(error) if has_prebuilt_std() => {
                eprintln!("{error:#}; until then the browser module is some 12 kB larger");
                return Ok(Self::Prebuilt);
            }
            Err(error) => Some(error),
        };
        match (Self::find(), refused) {
            (Some(found), _) => Ok(found),
            (None, Some(error)) => Err(error),
            (None, None) => bail!(
                "no Rust toolchain for {TARGET}: run `rustup component add rust-src`, or install {}",
                packages.join(" ")
            ),
        }
    }

    /// One for what only has to run, be it large: with the library that rustup ships, if that is there or can be
    /// had, since to build one takes a minute of both cores.
    pub(crate) fn find_or_install_for_tests(consent: Consent) -> anyhow::Result<Self> {
        if is_new_enough("rustc") {
            if !has_prebuilt_std() && capture(Command::new("rustup").arg("--version")).is_ok() {
                eprintln!("installing Rust's standard library for {TARGET} with rustup");
                // Fails at once where downloads are cut off; then it is built.
                let _ = run(Command::new("rustup").args(["target", "add", TARGET]));
            }
            if has_prebuilt_std() {
                return Ok(Self::Prebuilt);
            }
        }
        Self::find_or_install(consent)
    }

    fn find() -> Option<Self> {
        if builds_std("rustc") {
            return Some(Self::Default);
        }
        let linker = wasm_linker()?;
        let complete = builds_std("/usr/bin/rustc") && Path::new("/usr/bin/cargo").is_file();
        complete.then_some(Self::Debian { linker })
    }

    /// A cargo of this toolchain, in `dir`, with the environment it needs.
    pub(crate) fn cargo(&self, dir: &Path) -> Command {
        let mut cargo = match self {
            Self::Default | Self::Prebuilt => command("cargo", dir),
            Self::Debian { linker } => {
                let mut cargo = command("/usr/bin/cargo", dir);
                cargo
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("RUSTDOC", "/usr/bin/rustdoc")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
                cargo
            }
        };
        if self.has_source() {
            // `-Zbuild-std` on a release compiler.
            cargo.env("RUSTC_BOOTSTRAP", "1");
        }
        // Panic messages carry file names: no machine's paths in the module, and fewer bytes.
        let home = std::env::home_dir().unwrap_or_default();
        let registry = std::env::var_os("CARGO_HOME")
            .map_or_else(|| home.join(".cargo"), PathBuf::from)
            .join("registry/src");
        cargo
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env(
                "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
                format!(
                    "--remap-path-prefix={}=. --remap-path-prefix={}=crates",
                    dir.display(),
                    registry.display()
                ),
            );
        cargo
    }

    /// Arguments that make a panic of a `profile` build a bare trap. A browser shows no more of one with
    /// its message inside, which would go to a stderr that is not there. Needs the standard library's
    /// source; without it the module is larger and does the same.
    pub(crate) fn bare_panic_args(&self, profile: &str) -> Vec<String> {
        if !self.has_source() {
            return Vec::new();
        }
        vec![
            "-Zpanic-immediate-abort".to_owned(),
            "--config".to_owned(),
            format!("profile.{profile}.panic=\"immediate-abort\""),
        ]
    }

    /// Arguments that `cargo build` needs besides the target.
    pub(crate) fn cargo_args(&self) -> &'static [&'static str] {
        if !self.has_source() {
            return &[];
        }
        &[
            "-Zbuild-std=std,panic_abort",
            "-Zbuild-std-features=optimize_for_size",
        ]
    }

    fn has_source(&self) -> bool {
        !matches!(self, Self::Prebuilt)
    }
}

fn has_prebuilt_std() -> bool {
    capture(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))
        .is_ok_and(|dir| Path::new(dir.trim()).is_dir())
}

fn is_new_enough(rustc: &str) -> bool {
    capture(Command::new(rustc).arg("--version"))
        .ok()
        .and_then(|text| parse_version(&text))
        .is_some_and(|version| version >= RUST_VERSION)
}

/// Whether this compiler is new enough and can build its standard library.
fn builds_std(rustc: &str) -> bool {
    let has_source =
        capture(Command::new(rustc).args(["--print", "sysroot"])).is_ok_and(|sysroot| {
            Path::new(sysroot.trim())
                .join("lib/rustlib/src/rust/library/Cargo.lock")
                .is_file()
        });
    is_new_enough(rustc) && has_source
}

/// rustup's own linker, else Debian's `wasm-ld`, whose name may carry LLVM's version.
fn wasm_linker() -> Option<PathBuf> {
    let bundled = capture(Command::new("rustc").args(["--print", "target-libdir"]))
        .ok()
        .and_then(|libdir| Some(Path::new(libdir.trim()).parent()?.join("bin/rust-lld")));
    let versioned = (22..=40)
        .rev()
        .map(|version| PathBuf::from(format!("/usr/bin/wasm-ld-{version}")));
    bundled
        .into_iter()
        .chain(versioned)
        .chain([PathBuf::from("/usr/bin/wasm-ld")])
        .find(|linker| linker.is_file())
}

/// `rustc 1.96.0 (…)` → `(1, 96)`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().nth(1)?.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_says_its_version() {
        assert_eq!(
            parse_version("rustc 1.96.0 (a1b2c3d4e 2026-05-25) (built from a source tarball)"),
            Some((1, 96))
        );
        assert_eq!(parse_version("rustc 1.97.0-nightly (x)"), Some((1, 97)));
    }

    #[test]
    fn text_that_is_no_version_is_none() {
        for text in ["", "rustc", "rustc one.two", "rustc 1"] {
            assert_eq!(parse_version(text), None, "{text}");
        }
    }
}
