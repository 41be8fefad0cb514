//! QEMU's own work on disks while the guest goes on: merging layers, and copies of one moment.

use std::path::Path;
use std::time::Duration;

use ::driver::{ChangesPlan, DriverError, Merging, Noted, file_node};
use model::Uid;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::QemuDriver;
use crate::launch::hand_over;
use crate::qmp::QmpError;
use crate::volumes::{Found, Machinery, text};

const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a job may take to end when it is told to.
const CANCEL_MAX: Duration = Duration::from_secs(20);
/// Longest copy of a disk.
const COPY_MAX: Duration = Duration::from_hours(1);

/// A job of QEMU as it is.
enum Job {
    Missing,
    Running,
    /// With why it failed, if it did.
    Ended(Option<String>),
}

fn merge_job(serial: &str) -> String {
    format!("merge-{serial}")
}

fn changes_job(serial: &str) -> String {
    format!("changes-{serial}")
}

impl Machinery {
    async fn job(&mut self, id: &str) -> Result<Job, DriverError> {
        let jobs = self.run("query-jobs", json!({})).await?;
        let job = jobs.as_array().into_iter().flatten().find(|job| job["id"] == id);
        Ok(match job {
            None => Job::Missing,
            Some(job) if job["status"] == "concluded" => {
                Job::Ended(job["error"].as_str().map(ToOwned::to_owned))
            }
            Some(_) => Job::Running,
        })
    }

    /// Takes note of a job that has ended; why it failed, if it did.
    async fn dismiss(&mut self, id: &str, why: Option<String>) -> Result<(), DriverError> {
        self.run("job-dismiss", json!({ "id": id })).await?;
        match why {
            Some(why) => Err(DriverError::failed("working on a disk", why)),
            None => Ok(()),
        }
    }

    /// Ends whatever QEMU does with a volume by itself: it does nothing else to a disk meanwhile.
    pub(crate) async fn stop_jobs(&mut self, serial: &str) -> Result<(), DriverError> {
        self.stop_job(&merge_job(serial)).await?;
        self.stop_job(&changes_job(serial)).await
    }

    async fn stop_job(&mut self, id: &str) -> Result<(), DriverError> {
        let give_up = Instant::now() + CANCEL_MAX;
        loop {
            match self.job(id).await? {
                Job::Missing => return Ok(()),
                Job::Ended(_) => {
                    // Cut off or not: the file is whole either way.
                    self.run("job-dismiss", json!({ "id": id })).await?;
                    return Ok(());
                }
                Job::Running if Instant::now() >= give_up => {
                    let what = "the end of work on a disk".into();
                    return Err(DriverError::TimedOut { what, seconds: CANCEL_MAX.as_secs() });
                }
                Job::Running => {
                    // It may be ending by itself at this moment.
                    match self.qmp.execute("job-cancel", json!({ "id": id })).await {
                        Ok(_) | Err(QmpError::Refused(_)) => {}
                        Err(e) => return Err(DriverError::failed("ending work on a disk", e)),
                    }
                    sleep(LOOK_AGAIN).await;
                }
            }
        }
    }

    pub(crate) async fn merge(&mut self, serial: &str, base: Option<&Path>) -> Result<Merging, DriverError> {
        let id = merge_job(serial);
        match self.job(&id).await? {
            Job::Running => return Ok(Merging::Running),
            Job::Ended(why) => self.dismiss(&id, why).await?,
            Job::Missing => {}
        }
        if let Job::Running = self.job(&changes_job(serial)).await? {
            return Ok(Merging::Running);
        }
        let Found { node, backing, .. } =
            self.find(serial).await?.ok_or_else(|| DriverError::NotFound(format!("{serial} (a disk)")))?;
        if backing.as_deref() == base {
            return Ok(Merging::Done);
        }
        let mut stream = json!({ "job-id": id, "device": node, "auto-dismiss": false });
        if let Some(base) = base.and_then(Path::to_str) {
            stream["base"] = json!(base);
            stream["backing-file"] = json!(base);
        }
        self.run("block-stream", stream).await?;
        Ok(Merging::Running)
    }

    /// The node of a disk of the plan.
    async fn node_of(&mut self, serial: &str) -> Result<String, DriverError> {
        if let Some(found) = self.find(serial).await? {
            return Ok(found.node);
        }
        let disks = self.plan.vm.iter().flat_map(|vm| &vm.disks);
        let number = disks.into_iter().position(|disk| disk.serial == serial);
        number
            .map(|number| format!("disk{number}"))
            .ok_or_else(|| DriverError::NotFound(format!("{serial} (a disk)")))
    }

    async fn copy(&mut self, serial: &str, target: &Path) -> Result<(), DriverError> {
        let node = self.node_of(serial).await?;
        let id = format!("copy-{serial}");
        match self.job(&id).await? {
            Job::Missing => {}
            // Whoever wanted it is gone.
            Job::Ended(_) => drop(self.run("job-dismiss", json!({ "id": id })).await?),
            Job::Running => {
                return Err(DriverError::WrongState(format!("disk {serial} is being copied already")));
            }
        }
        hand_over(target, self.plan.user_id)?;
        let name = format!("{id}-target");
        // Left by a copy that was cut off.
        let _ = self.qmp.execute("blockdev-del", json!({ "node-name": name })).await;
        let to = json!({ "node-name": name, "driver": "qcow2", "file": file_node(target) });
        self.run("blockdev-add", to).await?;
        let backup = json!({
            "job-id": id, "device": node, "target": name, "sync": "full", "auto-dismiss": false,
        });
        let done = match self.run("blockdev-backup", backup).await {
            Ok(_) => self.copied(&id).await,
            Err(e) => Err(e),
        };
        let closed = self.run("blockdev-del", json!({ "node-name": name })).await;
        done.and(closed.map(drop))
    }

    /// Waits for a copy to end.
    async fn copied(&mut self, id: &str) -> Result<(), DriverError> {
        let give_up = Instant::now() + COPY_MAX;
        loop {
            match self.job(id).await? {
                Job::Ended(why) => return self.dismiss(id, why).await,
                Job::Missing => {
                    return Err(DriverError::WrongState(
                        "the copy of the disk was ended by another change of it".into(),
                    ));
                }
                Job::Running if Instant::now() >= give_up => {
                    self.run("job-cancel", json!({ "id": id })).await?;
                    let what = "a copy of a disk".into();
                    return Err(DriverError::TimedOut { what, seconds: COPY_MAX.as_secs() });
                }
                Job::Running => sleep(LOOK_AGAIN).await,
            }
        }
    }
}

impl Machinery {
    /// Begins to write down what changed; the note that is gone by.
    async fn begin_changes(&mut self, serial: &str, plan: &ChangesPlan) -> Result<Option<Uid>, DriverError> {
        let id = changes_job(serial);
        self.stop_jobs(serial).await?;
        let found = self.find(serial).await?;
        let node = found.ok_or_else(|| DriverError::NotFound(format!("{serial} (a disk)")))?.node;
        hand_over(&plan.target, self.plan.user_id)?;
        // Left by one that was cut off.
        let _ = self.qmp.execute("blockdev-del", json!({ "node-name": id })).await;
        let (since, spare) = plan.choose(&self.notes(&node).await?);
        for name in spare {
            self.run("block-dirty-bitmap-remove", json!({ "node": node, "name": name })).await?;
        }
        let to = json!({ "node-name": id, "driver": "qcow2", "file": file_node(&plan.target) });
        self.run("blockdev-add", to).await?;
        self.run("transaction", plan.transaction(&node, &id, since.as_ref())).await?;
        Ok(since)
    }

    /// Notes that miss changes keep a disk from growing.
    pub(crate) async fn forget_broken_notes(&mut self, node: &str) -> Result<(), DriverError> {
        for note in self.notes(node).await?.into_iter().filter(|note| !note.is_whole) {
            self.run("block-dirty-bitmap-remove", json!({ "node": node, "name": note.name })).await?;
        }
        Ok(())
    }

    async fn notes(&mut self, node: &str) -> Result<Vec<Noted>, DriverError> {
        let nodes = self.run("query-named-block-nodes", json!({ "flat": true })).await?;
        Ok(Noted::all(&nodes, node))
    }
}

impl QemuDriver {
    pub(crate) async fn changes_of(
        &self,
        uid: &Uid,
        serial: &str,
        plan: &ChangesPlan,
    ) -> Result<Option<Uid>, DriverError> {
        let mut machine = {
            let lock = self.lock(uid);
            let _changing = lock.lock().await;
            let mut machine = self.must_run(uid).await?;
            let since = machine.begin_changes(serial, plan).await?;
            (machine, since)
        };
        // From here on not under the sandbox's lock: a long copy must not hold up a stop.
        let id = changes_job(serial);
        let done = machine.0.copied(&id).await;
        let closed = machine.0.run("blockdev-del", json!({ "node-name": id })).await;
        done.and(closed)?;
        Ok(machine.1)
    }

    pub(crate) async fn copy_disk(&self, uid: &Uid, serial: &str, target: &Path) -> Result<(), DriverError> {
        // Not under the sandbox's lock: a long copy must not hold up a stop.
        self.must_run(uid).await?.copy(serial, target).await
    }
}

/// What a disk's file stands on.
pub(crate) fn backing(image: &Value) -> Option<std::path::PathBuf> {
    let name = text(&image["backing-filename"]);
    (!name.is_empty()).then(|| name.into())
}
