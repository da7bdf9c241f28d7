//! The platform's two clocks.

use tidewire_core::time::{MonoTime, Now, UnixTime};
use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;

    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn date_now() -> f64;
}

/// Reads both clocks.
pub(crate) fn now() -> Now {
    Now {
        // `as` saturates: a clock before its zero reads as zero.
        mono: MonoTime(performance_now() as u64),
        unix: UnixTime(date_now() as u64),
    }
}
