//! What is true about sandboxes, read each time from the kernel and from what the monitors wrote down.
//!
//! ```text
//! nothing ──make──▶ Created ──start──▶ Running ──ends──▶ Exited ──ensure──▶ Created ...
//! ```
//! A pid is a container's only while its process is in the container's control group; an exit code is what
//! the monitor wrote. Paused is the sandbox's, not a container's: its whole control group is frozen.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use driver::{DriverError, Observed, ObservedContainer, Plan, SandboxState};
use model::{Timestamp, Uid};

use crate::paths::container_id;
use crate::sandbox::Host;

/// How one container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContainerState {
    /// Never started since the sandbox was made.
    Absent,
    /// Made by the runtime, waiting at the gate.
    Created {
        pid: u32,
    },
    Running {
        pid: u32,
    },
    /// Its process is gone, its monitor is still writing down how.
    Ending,
    /// `None` when the monitor was killed before it could write.
    Exited(Option<i32>),
}

impl ContainerState {
    /// Whether starting it again would be a second copy.
    pub(crate) fn is_alive(self) -> bool {
        matches!(self, Self::Running { .. } | Self::Ending)
    }

    pub(crate) fn pid(self) -> Option<u32> {
        match self {
            Self::Created { pid } | Self::Running { pid } => Some(pid),
            _ => None,
        }
    }
}

/// One container as it is.
#[derive(Debug, Clone)]
pub(crate) struct ContainerFacts {
    pub(crate) name: String,
    pub(crate) state: ContainerState,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) out_of_memory: bool,
}

impl Host {
    pub(crate) fn observe(&self, uid: &Uid) -> Result<Observed, DriverError> {
        let plan = match self.plan(uid) {
            Ok(plan) => plan,
            // Its making was cut short before the plan was written: it exists, and can be deleted.
            Err(DriverError::NotFound(_)) if self.run.sandbox(uid).exists() => return Ok(half_made(uid)),
            Err(e) => return Err(e),
        };
        Ok(self.summarise(&plan))
    }

    pub(crate) fn list(&self) -> Result<Vec<Observed>, DriverError> {
        let observed = self.uids()?.into_iter().map(|uid| (self.observe(&uid), uid));
        Ok(observed
            .filter_map(|(observed, uid)| match observed {
                Ok(observed) => Some(observed),
                Err(DriverError::NotFound(_)) => None,
                Err(e) => {
                    Some(Observed { state: SandboxState::Unknown, message: e.to_string(), ..half_made(&uid) })
                }
            })
            .collect())
    }

    pub(crate) fn container(&self, uid: &Uid, name: &str) -> ContainerFacts {
        let pid_file = self.run.pid(uid, name);
        let state = self.state(uid, name, &pid_file);
        ContainerFacts {
            name: name.to_owned(),
            state,
            started_at: modified(&pid_file),
            out_of_memory: matches!(state, ContainerState::Exited(_))
                && self.cgroups.ran_out_of_memory(uid, name),
        }
    }

    fn state(&self, uid: &Uid, name: &str, pid_file: &Path) -> ContainerState {
        let Some(pid) = read_number(pid_file) else { return ContainerState::Absent };
        if self.cgroups.contains(uid, name, pid) && !is_zombie(pid) {
            return if self.run.start_gate(uid, name).exists() {
                ContainerState::Created { pid }
            } else {
                ContainerState::Running { pid }
            };
        }
        let code = || read_number(&self.run.exit(uid, name));
        match code() {
            Some(code) => ContainerState::Exited(Some(code)),
            None if self.has_monitor(uid, name) => ContainerState::Ending,
            // It may have written and gone between the two looks.
            None => ContainerState::Exited(code()),
        }
    }

    /// Whether this container's own monitor still runs: its command line names the container.
    fn has_monitor(&self, uid: &Uid, name: &str) -> bool {
        let Some(pid) = read_number::<u32>(&self.run.monitor_pid(uid, name)) else { return false };
        let id = container_id(uid, name);
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split(|b| *b == 0).any(|word| word == id.as_bytes()))
    }

    fn summarise(&self, plan: &Plan) -> Observed {
        let containers: Vec<_> = plan.containers.iter().map(|c| self.container(&plan.uid, &c.name)).collect();
        let frozen = self.cgroups.is_frozen(&plan.uid);
        Observed {
            uid: plan.uid.clone(),
            state: sandbox_state(containers.iter().map(|c| c.state), frozen),
            pid: containers.iter().find_map(|c| c.state.pid()),
            started_at: containers.iter().filter_map(|c| c.started_at).min(),
            // An end that was asked for is no failure, however it came about.
            message: if self.run.stop_request(&plan.uid).exists() {
                String::new()
            } else {
                containers.iter().find_map(why_failed).unwrap_or_default()
            },
            containers: containers
                .into_iter()
                .map(|c| ObservedContainer {
                    name: c.name,
                    running: c.state.is_alive(),
                    exit_code: match c.state {
                        ContainerState::Exited(code) => code,
                        _ => None,
                    },
                })
                .collect(),
        }
    }
}

/// A sandbox runs while one of its containers does, and has ended when all have.
fn sandbox_state(containers: impl Iterator<Item = ContainerState> + Clone, frozen: bool) -> SandboxState {
    if containers.clone().any(ContainerState::is_alive) {
        return if frozen { SandboxState::Paused } else { SandboxState::Running };
    }
    let codes: Option<Vec<Option<i32>>> = containers
        .map(|state| match state {
            ContainerState::Exited(code) => Some(code),
            _ => None,
        })
        .collect();
    let Some(codes) = codes else { return SandboxState::Created };
    let failed = codes.iter().copied().find(|code| *code != Some(0));
    SandboxState::Exited(failed.unwrap_or(Some(0)))
}

fn why_failed(container: &ContainerFacts) -> Option<String> {
    let name = &container.name;
    match container.state {
        ContainerState::Exited(_) if container.out_of_memory => {
            Some(format!("container {name}: killed because the sandbox ran out of memory; give it more"))
        }
        ContainerState::Exited(None) => {
            Some(format!("container {name}: ended while nobody watched, its exit code is lost"))
        }
        ContainerState::Exited(Some(code @ 129..=192)) => {
            Some(format!("container {name}: ended by signal {}", code - 128))
        }
        ContainerState::Exited(Some(code)) if code != 0 => {
            Some(format!("container {name}: exit code {code}"))
        }
        _ => None,
    }
}

fn half_made(uid: &Uid) -> Observed {
    Observed {
        uid: uid.clone(),
        state: SandboxState::Created,
        pid: None,
        started_at: None,
        message: String::new(),
        containers: Vec::new(),
    }
}

fn is_zombie(pid: u32) -> bool {
    // The state follows the command's name, which is in parentheses and may hold some itself.
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X'])))
}

pub(crate) fn read_number<N: std::str::FromStr>(path: &Path) -> Option<N> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn modified(path: &Path) -> Option<Timestamp> {
    let since = fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ContainerState::{Absent, Created, Ending, Exited, Running};

    fn check(containers: &[ContainerState], frozen: bool, expected: SandboxState) {
        assert_eq!(sandbox_state(containers.iter().copied(), frozen), expected, "{containers:?}");
    }

    #[test]
    fn a_sandbox_is_what_its_containers_are() {
        check(&[Running { pid: 1 }, Exited(Some(1))], false, SandboxState::Running);
        check(&[Running { pid: 1 }], true, SandboxState::Paused);
        check(&[Ending, Exited(Some(0))], false, SandboxState::Running);
        check(&[Absent, Exited(Some(0))], false, SandboxState::Created);
        check(&[Created { pid: 1 }], false, SandboxState::Created);
        check(&[Exited(Some(0)), Exited(Some(0))], false, SandboxState::Exited(Some(0)));
        check(&[Exited(Some(0)), Exited(Some(3))], false, SandboxState::Exited(Some(3)));
        check(&[Exited(None), Exited(Some(0))], false, SandboxState::Exited(None));
        check(&[Exited(Some(137))], true, SandboxState::Exited(Some(137)));
    }
}
