//! One program for all targets; `TIDEWIRE_FUZZ_TARGET` names the one to run.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tidewire_fuzz::Target;

static TARGET: OnceLock<&Target> = OnceLock::new();

fn target() -> &'static Target {
    TARGET.get_or_init(|| {
        let name = std::env::var("TIDEWIRE_FUZZ_TARGET").unwrap_or_default();
        tidewire_fuzz::target(&name).unwrap_or_else(|| {
            let known: Vec<&str> = tidewire_fuzz::TARGETS.iter().map(|t| t.name).collect();
            panic!("TIDEWIRE_FUZZ_TARGET={name:?}: set it to one of {known:?}")
        })
    })
}

fuzz_target!(|data: &[u8]| {
    (target().run)(data);
});
