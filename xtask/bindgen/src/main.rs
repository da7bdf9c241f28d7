//! Writes the JavaScript bindings of a wasm module: `xtask-bindgen IN.wasm OUT_DIR NAME`.
//!
//! A crate of its own, so that `cargo xtask` starts without compiling the generator. It is the
//! generator's library rather than its command-line tool because Cargo.lock then pins it to the
//! same version as the `wasm-bindgen` that the module was compiled with.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> anyhow::Result<()> {
    let args: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [input, out_dir, name] = args.as_slice() else {
        bail!("usage: xtask-bindgen IN.wasm OUT_DIR NAME");
    };
    let name = name.to_str().context("NAME must be UTF-8")?;
    Bindgen::new()
        .input_path(input)
        .out_name(name)
        // The caller says where the module is: each of the package's entries knows it in its own way.
        .web(true)?
        .omit_default_module_path(true)
        .typescript(true)
        .generate(out_dir)
        .with_context(|| format!("bindings of {}", input.display()))
}
