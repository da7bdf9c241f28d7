//! The board's page.

use std::path::PathBuf;

use crate::freshness;
use crate::node;
use crate::npm;
use crate::place;
use crate::setup::Consent;

/// Where the page lies.
pub(crate) fn page_dir() -> PathBuf {
    place::root().join("examples/board/page")
}

/// Builds `examples/board/page/dist` and the npm package below it, unless they are fresh.
pub(crate) fn build_page(consent: Consent) -> anyhow::Result<()> {
    npm::build(consent)?;
    let dir = page_dir();
    node::install(&dir, consent)?;
    let inputs = [dir.clone(), npm::built_mark()];
    freshness::unless_fresh(
        &node::mark_of(&dir),
        &dir.join("dist/index.html"),
        &inputs,
        || node::script(&dir, "build"),
    )
}
