//! Every benchmark still runs. A tiny run says nothing about speed.

use tidewire_bench::{BENCHES, Scale};

#[test]
fn every_native_benchmark_prints_sound_rows() {
    for bench in BENCHES {
        let rows = (bench.run)(Scale::Tiny).expect(bench.name);
        assert!(!rows.is_empty(), "{} prints nothing", bench.name);
        for row in rows {
            assert!(
                row.name.starts_with(&format!("{}/", bench.name)),
                "{}",
                row.name
            );
            // Of some things there must be none.
            let is_sound = row.value > 0.0 || row.goal == "<= 0" && row.value == 0.0;
            assert!(is_sound && row.baseline > 0.0, "{row:?}");
            assert!(row.goal.starts_with("<= ") || row.goal.starts_with(">= "));
        }
    }
}
