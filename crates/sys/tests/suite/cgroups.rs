//! Control groups.

use std::fs;
use std::time::{Duration, Instant};

use sys::cgroup::QuickMoves;

/// The hierarchies that the kernel has, whoever mounted them.
fn hierarchies() -> String {
    fs::read_to_string("/proc/self/cgroup").unwrap()
}

#[test]
fn the_wish_for_quick_moves_shows_nowhere_and_ends_with_who_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = dir.path().join("moves");
    let wish = QuickMoves::ask(&scratch).unwrap();
    assert!(hierarchies().contains("name=corten-moves"), "{}", hierarchies());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("corten-moves") && !scratch.exists(), "{mounts}");
    let second = QuickMoves::ask(&scratch).unwrap();
    drop((wish, second));
    let deadline = Instant::now() + Duration::from_secs(10);
    // The kernel takes it apart in its own time.
    while hierarchies().contains("name=corten-moves") {
        assert!(Instant::now() < deadline, "{}", hierarchies());
        std::thread::sleep(Duration::from_millis(20));
    }
}
