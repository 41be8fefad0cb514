//! Conditions: since when something is so.

use model::{Condition, ConditionStatus, Timestamp, set_condition};

fn ready(status: ConditionStatus, reason: &str) -> Condition {
    Condition::new("Ready", status, reason, "")
}

#[test]
fn the_transition_time_moves_only_with_the_status() {
    let mut all = Vec::new();
    let mut set = |condition, at| {
        let changed = set_condition(&mut all, condition, Timestamp(at));
        (changed, all[0].last_transition_time, all.len())
    };
    assert_eq!(set(ready(ConditionStatus::False, "Starting"), 1), (true, Some(Timestamp(1)), 1));
    assert_eq!(set(ready(ConditionStatus::False, "Starting"), 2), (false, Some(Timestamp(1)), 1));
    assert_eq!(set(ready(ConditionStatus::False, "Pulling"), 3), (true, Some(Timestamp(1)), 1));
    assert_eq!(set(ready(ConditionStatus::True, "Running"), 4), (true, Some(Timestamp(4)), 1));
    assert_eq!(set(ready(ConditionStatus::Unknown, "Silent"), 5), (true, Some(Timestamp(5)), 1));
}

#[test]
fn conditions_of_other_types_are_left_alone() {
    let scheduled = Condition::new("Scheduled", ConditionStatus::True, "Bound", "on host-1");
    let mut all = vec![scheduled.clone()];
    assert!(set_condition(&mut all, ready(ConditionStatus::True, "Running"), Timestamp(1)));
    assert_eq!((all.len(), &all[0]), (2, &scheduled));
}
