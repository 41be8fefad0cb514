//! What to do next for one instance: a pure function of what is wanted and what is.

use driver::{Observed, SandboxState};
use model::compute::{Instance, InstancePhase, Power, RestartPolicy};

/// The next step towards the wanted state. After each the facts are looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// End the payload, remove every trace, let go of the object.
    Remove,
    /// Make it run. `again`: it ran before and ended by itself.
    Start {
        again: bool,
    },
    /// Ask the guest to stop, and kill it when it does not.
    Stop,
    /// Stop it, in order to start it anew.
    Reboot,
    Pause,
    Resume,
    /// It is as wanted, or nothing can be done: report this phase.
    Report(InstancePhase),
}

/// `observed` is `None` when there is no sandbox.
pub(crate) fn decide(instance: &Instance, observed: Option<&Observed>) -> Step {
    use SandboxState::{Created, Exited, Paused, Running, Unknown};
    if instance.metadata.is_deleting() {
        return Step::Remove;
    }
    let state = observed.map(|o| o.state);
    let reboot = instance.spec.reboots > instance.status.reboots_done;
    match (instance.spec.power, state) {
        (_, Some(Unknown)) => Step::Report(InstancePhase::Unknown),
        (Power::Stopped, Some(Running | Paused | Created)) => Step::Stop,
        (Power::Stopped, Some(Exited(_)) | None) => Step::Report(InstancePhase::Stopped),
        (Power::Running | Power::Paused, Some(Exited(code))) if !reboot => ended(instance, code),
        (Power::Running | Power::Paused, None | Some(Created | Exited(_))) => Step::Start { again: false },
        (Power::Running | Power::Paused, Some(Running | Paused)) if reboot => Step::Reboot,
        (Power::Running, Some(Running)) => Step::Report(InstancePhase::Running),
        (Power::Running, Some(Paused)) => Step::Resume,
        (Power::Paused, Some(Running)) => Step::Pause,
        (Power::Paused, Some(Paused)) => Step::Report(InstancePhase::Paused),
    }
}

/// The payload should run but has ended with this code (`None`: killed or crashed).
fn ended(instance: &Instance, code: Option<i32>) -> Step {
    let well = code == Some(0);
    match (instance.status.phase, instance.spec.restart_policy) {
        // It was stopped on purpose and is wanted again.
        (InstancePhase::Stopped | InstancePhase::Stopping, _) => Step::Start { again: false },
        (_, RestartPolicy::Always) => Step::Start { again: true },
        (_, RestartPolicy::OnFailure) if !well => Step::Start { again: true },
        (_, RestartPolicy::OnFailure | RestartPolicy::Never) if well => {
            Step::Report(InstancePhase::Succeeded)
        }
        (_, RestartPolicy::OnFailure | RestartPolicy::Never) => Step::Report(InstancePhase::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::compute::InstanceSpec;
    use model::{Object, ObjectMeta, Timestamp, Uid};

    fn instance(power: Power, policy: RestartPolicy, phase: InstancePhase) -> Instance {
        let spec = InstanceSpec { power, restart_policy: policy, ..InstanceSpec::default() };
        let mut instance = Object::new(ObjectMeta::in_project("p", "i"), spec);
        instance.status.phase = phase;
        instance
    }

    // The cases also have "no sandbox", so what they hold is an option.
    #[allow(clippy::unnecessary_wraps)]
    fn observed(state: SandboxState) -> Option<Observed> {
        let uid = Uid::parse("ab").expect("a uid");
        Some(Observed {
            uid,
            state,
            pid: None,
            started_at: None,
            message: String::new(),
            containers: Vec::new(),
        })
    }

    #[test]
    fn every_combination_has_its_step() {
        use InstancePhase as P;
        use RestartPolicy::{Always, Never, OnFailure};
        use SandboxState::{Exited, Paused, Running, Unknown};
        let report = Step::Report;
        let cases = [
            (Power::Running, OnFailure, P::Pending, None, Step::Start { again: false }),
            (Power::Running, OnFailure, P::Running, observed(Running), report(P::Running)),
            (Power::Running, OnFailure, P::Paused, observed(Paused), Step::Resume),
            (Power::Running, OnFailure, P::Running, observed(Exited(Some(1))), Step::Start { again: true }),
            (Power::Running, OnFailure, P::Running, observed(Exited(None)), Step::Start { again: true }),
            (Power::Running, OnFailure, P::Running, observed(Exited(Some(0))), report(P::Succeeded)),
            (Power::Running, Always, P::Running, observed(Exited(Some(0))), Step::Start { again: true }),
            (Power::Running, Never, P::Running, observed(Exited(Some(3))), report(P::Failed)),
            (Power::Running, Never, P::Stopped, observed(Exited(Some(0))), Step::Start { again: false }),
            (Power::Running, OnFailure, P::Running, observed(Unknown), report(P::Unknown)),
            (Power::Paused, OnFailure, P::Running, observed(Running), Step::Pause),
            (Power::Paused, OnFailure, P::Paused, observed(Paused), report(P::Paused)),
            (Power::Stopped, OnFailure, P::Running, observed(Running), Step::Stop),
            (Power::Stopped, OnFailure, P::Stopping, observed(Exited(None)), report(P::Stopped)),
            (Power::Stopped, OnFailure, P::Pending, None, report(P::Stopped)),
        ];
        for (power, policy, phase, observed, expected) in cases {
            let step = decide(&instance(power, policy, phase), observed.as_ref());
            assert_eq!(step, expected, "{power:?} {policy:?} {phase:?} {observed:?}");
        }
    }

    #[test]
    fn a_reboot_is_carried_out_once() {
        let mut i = instance(Power::Running, RestartPolicy::Never, InstancePhase::Running);
        i.spec.reboots = 1;
        assert_eq!(decide(&i, observed(SandboxState::Running).as_ref()), Step::Reboot);
        assert_eq!(
            decide(&i, observed(SandboxState::Exited(Some(0))).as_ref()),
            Step::Start { again: false }
        );
        i.status.reboots_done = 1;
        assert_eq!(
            decide(&i, observed(SandboxState::Running).as_ref()),
            Step::Report(InstancePhase::Running)
        );
    }

    #[test]
    fn a_deleted_instance_is_removed_whatever_its_state() {
        let mut i = instance(Power::Running, RestartPolicy::Always, InstancePhase::Running);
        i.metadata.deletion_timestamp = Some(Timestamp(1));
        for observed in [None, observed(SandboxState::Running), observed(SandboxState::Unknown)] {
            assert_eq!(decide(&i, observed.as_ref()), Step::Remove);
        }
    }
}
