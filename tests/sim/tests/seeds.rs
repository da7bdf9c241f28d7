//! Runs of whole seeds are repeatable. Those that once failed are run by the step `sim`, in a build that is twenty times as fast
//! and checks as much.

use tidewire_sim::report::run_all;
use tidewire_sim::run;

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..6 {
        let (one, two) = (run(seed, false), run(seed, true));
        assert_eq!(one.trace_hash, two.trace_hash, "seed {seed}");
        assert_eq!(one.mutations, two.mutations);
        assert_eq!(one.faults, two.faults);
        assert!(!two.text.is_empty());
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (one, three) = (run_all(0..6, 1, |_| ()), run_all(0..6, 3, |_| ()));
    assert_eq!(one.to_json(), three.to_json());
}

#[test]
fn a_seed_makes_at_least_fifty_mutations() {
    for seed in 0..6 {
        let report = run(seed, false);
        assert!(report.mutations >= 50, "seed {seed}: {}", report.mutations);
    }
}
