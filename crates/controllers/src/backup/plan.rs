//! What a backup plan asks for at a moment: a pure function of what there is.

use model::Timestamp;
use model::storage::{BackupPhase, BackupPlan, Volume, VolumeBackup};

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// Names of backups that are due, with their volumes.
    pub(super) make: Vec<(String, String)>,
    /// Names of backups that are not kept.
    pub(super) delete: Vec<String>,
    pub(super) last: Option<Timestamp>,
    /// When to look again.
    pub(super) next: Option<Timestamp>,
}

/// `volumes` are those of the plan that there are, `backups` those that the plan has made.
pub(super) fn decide(
    plan: &BackupPlan,
    volumes: &[&Volume],
    backups: &[&VolumeBackup],
    now: Timestamp,
) -> Decision {
    let mut decision = Decision { last: backups.iter().filter_map(|b| made(b)).max(), ..Decision::default() };
    if plan.spec.suspended {
        return decision;
    }
    let first = plan.metadata.creation_timestamp.unwrap_or(now);
    for volume in volumes {
        let own = of(backups, &volume.metadata.name);
        let due = own
            .iter()
            .filter_map(|b| made(b))
            .max()
            .map_or(first, |last| after(last, plan.spec.every_seconds));
        let busy = own.iter().any(|b| matches!(b.status.phase, BackupPhase::Pending | BackupPhase::Running));
        let next = if due > now {
            due
        } else if busy {
            // Its end is told; the next one is due at once then.
            continue;
        } else {
            decision.make.push((plan.backup_name(&volume.metadata, due), volume.metadata.name.clone()));
            after(now, plan.spec.every_seconds)
        };
        decision.next = Some(decision.next.map_or(next, |known| known.min(next)));
    }
    // Also of volumes that are gone: their backups age all the same.
    let mut names: Vec<&str> = backups.iter().map(|b| b.spec.volume.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        decision.delete.extend(spare(plan, &of(backups, name), now));
    }
    decision
}

/// Which of one volume's backups are not kept.
fn spare(plan: &BackupPlan, own: &[&VolumeBackup], now: Timestamp) -> Vec<String> {
    let keep = &plan.spec.keep;
    let mut ready: Vec<_> = own.iter().filter(|b| b.status.phase == BackupPhase::Ready).collect();
    ready.sort_by_key(|b| std::cmp::Reverse((made(b), &b.metadata.name)));
    let newest = ready.first().and_then(|b| made(b));
    let is_old = |b: &VolumeBackup| {
        keep.max_age_seconds > 0 && made(b).is_some_and(|at| at.age_seconds(now) > keep.max_age_seconds)
    };
    let beyond = |n: usize| keep.count > 0 && n >= keep.count as usize;
    let spare = ready.iter().enumerate().skip(1).filter(|(n, b)| beyond(*n) || is_old(b)).map(|(_, b)| **b);
    // Of one that failed nothing is left to keep once a newer one is there.
    let failed = own.iter().filter(|b| b.status.phase == BackupPhase::Failed && made(b) < newest);
    spare.chain(failed.copied()).map(|b| b.metadata.name.clone()).collect()
}

fn of<'a>(backups: &[&'a VolumeBackup], volume: &str) -> Vec<&'a VolumeBackup> {
    backups.iter().filter(|b| b.spec.volume == volume).copied().collect()
}

fn made(backup: &VolumeBackup) -> Option<Timestamp> {
    backup.metadata.creation_timestamp
}

fn after(moment: Timestamp, seconds: u64) -> Timestamp {
    Timestamp(moment.0.saturating_add(i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use model::storage::{BackupPlanSpec, BackupRetention, VolumeBackupSpec, VolumeSpec};
    use model::{Object, ObjectMeta};

    use super::*;

    fn meta(name: &str, seconds: i64) -> ObjectMeta {
        let created = Some(Timestamp(seconds * 1000));
        ObjectMeta { creation_timestamp: created, ..ObjectMeta::in_project("p", name) }
    }

    fn plan(count: u32, max_age_seconds: u64) -> BackupPlan {
        let keep = BackupRetention { count, max_age_seconds };
        let volumes = vec!["data".into()];
        Object::new(
            meta("daily", 0),
            BackupPlanSpec { volumes, every_seconds: 100, keep, ..Default::default() },
        )
    }

    fn volume() -> Volume {
        Object::new(meta("data", 0), VolumeSpec::default())
    }

    fn backup(name: &str, seconds: i64, phase: BackupPhase) -> VolumeBackup {
        let spec = VolumeBackupSpec { volume: "data".into(), ..Default::default() };
        let mut backup: VolumeBackup = Object::new(meta(name, seconds), spec);
        backup.status.phase = phase;
        backup
    }

    fn at(plan: &BackupPlan, backups: &[VolumeBackup], seconds: i64) -> Decision {
        let volume = volume();
        decide(plan, &[&volume], &backups.iter().collect::<Vec<_>>(), Timestamp(seconds * 1000))
    }

    #[test]
    fn a_backup_is_due_when_the_last_is_old_enough_and_asked_for_once() {
        let plan = plan(0, 0);
        let first = at(&plan, &[], 5);
        assert_eq!(first.make, [("daily-data-0".to_owned(), "data".to_owned())]);
        assert_eq!(first.make, at(&plan, &[], 50).make, "the same name, however late it is asked for again");
        let made = [backup("daily-data-0", 5, BackupPhase::Running)];
        assert_eq!(at(&plan, &made, 60).make, []);
        assert_eq!(at(&plan, &made, 60).next, Some(Timestamp(105_000)));
        assert_eq!(at(&plan, &made, 200).make, [], "one at a time");
        let made = [backup("daily-data-0", 5, BackupPhase::Ready)];
        assert_eq!(at(&plan, &made, 105).make, [("daily-data-105".to_owned(), "data".to_owned())]);
        assert_eq!(at(&plan, &made, 9000).make.len(), 1, "what was missed is made up for once");
        let mut suspended = plan;
        suspended.spec.suspended = true;
        assert_eq!(
            at(&suspended, &made, 9000),
            Decision { last: Some(Timestamp(5000)), ..Decision::default() }
        );
    }

    #[test]
    fn backups_go_by_number_and_age_but_never_the_last_good_one() {
        use BackupPhase::{Failed, Ready, Running};
        let all = [
            backup("a", 100, Ready),
            backup("b", 200, Failed),
            backup("c", 300, Ready),
            backup("d", 400, Ready),
            backup("e", 500, Failed),
            backup("f", 600, Running),
        ];
        assert_eq!(at(&plan(0, 0), &all, 700).delete, ["b"]);
        assert_eq!(at(&plan(2, 0), &all, 700).delete, ["a", "b"]);
        assert_eq!(at(&plan(1, 0), &all, 700).delete, ["c", "a", "b"]);
        assert_eq!(at(&plan(0, 450), &all, 700).delete, ["a", "b"]);
        assert_eq!(at(&plan(0, 10), &all, 9000).delete, ["c", "a", "b"], "the newest that is ready stays");
    }

    #[test]
    fn a_volume_that_is_gone_gets_no_backups_and_its_old_ones_age() {
        let all = [backup("a", 100, BackupPhase::Ready), backup("b", 200, BackupPhase::Ready)];
        let decision = decide(&plan(1, 0), &[], &all.iter().collect::<Vec<_>>(), Timestamp(9_000_000));
        assert_eq!((decision.make, decision.delete), (vec![], vec!["a".to_owned()]));
    }
}
