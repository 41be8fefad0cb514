//! Fixed seeds: the cloud lives through them, and the same seed is the same history.

use std::time::Duration;

use sim::{Options, Report, run};

fn live(seed: u64, minutes: u64) -> Report {
    run(Options { seed, rough: Duration::from_secs(minutes * 60), traced: false }).unwrap_or_else(
        |violation| panic!("{violation}\nreplay with: cargo xtask sim --seed {seed} --minutes {minutes}"),
    )
}

#[test]
fn one_seed_is_one_history() {
    let (once, again) = (live(7, 5), live(7, 5));
    assert_eq!(once, again);
    assert_ne!(once.hash, live(8, 5).hash, "another seed is another history");
}

/// While the control plane was down an agent rebooted a guest again and again, without any pause.
#[test]
fn a_reboot_that_cannot_be_reported_happens_once() {
    live(1018, 10);
}

/// What a set had too much of took the room in the quota that its missing members needed, and neither moved.
#[test]
fn a_full_set_can_change_its_members() {
    live(1072, 10);
}

#[test]
fn the_cloud_lives_through_rough_weather() {
    for seed in 1..=5 {
        let report = live(seed, 10);
        assert!(report.commits > 1000, "seed {seed} hardly did anything: {report:?}");
    }
}
