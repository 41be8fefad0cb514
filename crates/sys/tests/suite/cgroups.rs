//! Control groups.

use std::fs;
use std::time::{Duration, Instant};

use sys::cgroup::{Hidden, QuickMoves};

/// The hierarchies that the kernel has, whoever mounted them.
fn hierarchies() -> String {
    fs::read_to_string("/proc/self/cgroup").unwrap()
}

#[test]
fn the_wish_for_quick_moves_is_heard() {
    let dir = tempfile::tempdir().unwrap();
    let _wish = QuickMoves::ask(&dir.path().join("moves")).unwrap();
    assert!(hierarchies().contains("name=corten-moves"), "{}", hierarchies());
}

#[test]
fn a_hidden_hierarchy_shows_in_no_folder_and_ends_with_who_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = dir.path().join("hidden");
    let name = format!("name=corten-test-{}", std::process::id());
    let hold = || Hidden::hold(&scratch, &format!("none,{name}")).unwrap();
    let (first, second) = (hold(), hold());
    assert!(hierarchies().contains(&name), "{}", hierarchies());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&name) && !scratch.exists(), "{mounts}");
    drop((first, second));
    let deadline = Instant::now() + Duration::from_secs(10);
    // The kernel takes it apart in its own time.
    while hierarchies().contains(&name) {
        assert!(Instant::now() < deadline, "{}", hierarchies());
        std::thread::sleep(Duration::from_millis(20));
    }
}
