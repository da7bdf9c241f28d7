//! The npm package: the browser module, and TypeScript over it.

use std::path::PathBuf;

use crate::freshness;
use crate::node;
use crate::place;
use crate::setup::Consent;
use crate::wasm;

/// Where the package lies.
pub(crate) fn dir() -> PathBuf {
    place::root().join("npm")
}

/// As old as the present `npm/dist`.
pub(crate) fn built_mark() -> PathBuf {
    node::mark_of(&dir())
}

/// Builds `npm/dist`, unless it is newer than what it is made from.
pub(crate) fn build(consent: Consent) -> anyhow::Result<()> {
    wasm::build(consent)?;
    let dir = dir();
    node::install(&dir, consent)?;
    let inputs = [
        dir.clone(),
        wasm::module(),
        place::root().join("sdk-core/proto"),
    ];
    freshness::unless_fresh(&built_mark(), &dir.join("dist/index.js"), &inputs, || {
        node::script(&dir, "build")
    })
}
