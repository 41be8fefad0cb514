//! Fixed seeds: the cloud lives through them, and the same seed is the same history.

use std::time::Duration;

use sim::{Options, Report, run};

fn live(seed: u64, minutes: u64) -> Report {
    live_with(seed, minutes, false)
}

fn live_with(seed: u64, minutes: u64, networked: bool) -> Report {
    let rough = Duration::from_secs(minutes * 60);
    run(Options { seed, rough, networked, traced: false }).unwrap_or_else(|violation| {
        let more = if networked { " --networks" } else { "" };
        panic!("{violation}\nreplay with: cargo xtask sim --seed {seed} --minutes {minutes}{more}")
    })
}

#[test]
fn one_seed_is_one_history() {
    let once = live(7, 5);
    // Where chance comes in from elsewhere, it is seldom seen by a second run alone.
    for _ in 0..3 {
        assert_eq!(once, live(7, 5));
    }
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

/// With network cards, floating addresses and gateways; at last everything is deleted, and nothing is left.
#[test]
fn networks_live_through_rough_weather() {
    for seed in 1..=3 {
        let report = live_with(seed, 6, true);
        for what in ["ports created", "floating addresses created", "gateways created", "agent restarts"] {
            assert!(report.counts.contains_key(what), "seed {seed}: no {what}: {report:?}");
        }
    }
    assert_eq!(live_with(4, 2, true), live_with(4, 2, true), "one seed is one history");
}
