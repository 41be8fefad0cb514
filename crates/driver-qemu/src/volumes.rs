//! Volumes: disks that come and go while the machine runs. Which there are is asked of QEMU, never remembered.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::driver::{
    ChangesPlan, DiskKey, DiskLocation, DiskPlan, DriverError, Merging, Plan, PluggedDisk, VmPlan,
    VolumeAccess, file_node,
};
use async_trait::async_trait;
use model::compute::Machine;
use model::storage::{VolumeLimits, WhenFull};
use model::{Bytes, Uid};
use serde_json::{Value, json};
use sys::process::Process;
use tokio::time::{Instant, sleep};

use crate::QemuDriver;
use crate::devices::{HOTPLUG_SLOTS, virtio};
use crate::jobs;
use crate::launch::{self, hand_over};
use crate::qmp::{Qmp, QmpError};
use crate::state::{State, socket};

/// Where QEMU keeps what was given an id.
pub(crate) const PERIPHERALS: &str = "/machine/peripheral";
/// How long a guest may take to let go of a device.
const UNPLUG_MAX: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Layers of one volume in one QEMU; a chain that is longer waits for the machine's next start.
const NODES_MAX: usize = 64;
/// How long a guest that is still starting may take to notice.
const ASK_AGAIN: Duration = Duration::from_secs(5);
const PREFIX: &str = "v-";

/// The block node of a volume, as QEMU's options.
pub(crate) fn node(disk: &DiskPlan) -> Value {
    disk.location.node(&node_name(&disk.serial), &pool_key_name(&disk.serial), disk.read_only)
}

/// The keys without which a volume cannot be opened, and the ids of their objects.
pub(crate) fn keys(disk: &DiskPlan) -> Result<Vec<(String, &DiskKey)>, DriverError> {
    let pool = disk.location.key().map(|key| (pool_key_name(&disk.serial), key));
    let own = disk.required_key()?.map(|key| (key_name(&disk.serial), key));
    Ok(pool.into_iter().chain(own).collect())
}

/// What decrypts a volume that is encrypted, above its block node, with the key of this object.
pub(crate) fn key_node(disk: &DiskPlan) -> Option<Value> {
    let (name, below) = (key_name(&disk.serial), json!(node_name(&disk.serial)));
    disk.encrypted.then(|| DiskKey::node(&name, &name, &below))
}

/// The disk that the guest sees.
pub(crate) fn device(disk: &DiskPlan, driver: String, slot: Option<&str>) -> Value {
    let mut device = json!({
        "driver": driver,
        "id": device_id(&disk.serial),
        "drive": if disk.encrypted { key_name(&disk.serial) } else { node_name(&disk.serial) },
        "serial": disk.serial,
        "werror": match disk.when_full { WhenFull::Pause => "enospc", WhenFull::Error => "report" },
    });
    if let Some(slot) = slot {
        device["bus"] = json!(slot);
    }
    device
}

fn node_name(serial: &str) -> String {
    format!("{PREFIX}{serial}")
}

/// Of the node that decrypts a volume, and of its key.
pub(crate) fn key_name(serial: &str) -> String {
    format!("k-{serial}")
}

/// Of the key that whoever keeps the volume wants to see.
pub(crate) fn pool_key_name(serial: &str) -> String {
    format!("p-{serial}")
}

fn device_id(serial: &str) -> String {
    format!("volume-{serial}")
}

/// One volume in QEMU's own words.
pub(crate) struct Found {
    pub(crate) disk: PluggedDisk,
    /// The file that takes its writes, or QEMU's words for what else does.
    file: PathBuf,
    /// The block node whose file takes writes.
    pub(crate) node: String,
    /// The node that the guest's disk is of: that one, or what decrypts it.
    top: String,
    /// What its file stands on.
    pub(crate) backing: Option<PathBuf>,
}

/// The machine while it runs, and a conversation with it.
pub(crate) struct Machinery {
    pub(crate) plan: Plan,
    state: State,
    process: Process,
    pub(crate) qmp: Qmp,
}

impl QemuDriver {
    pub(crate) async fn machinery(&self, uid: &Uid) -> Result<Option<Machinery>, DriverError> {
        let (state, process) = match self.running(uid) {
            Ok(running) => running,
            Err(DriverError::WrongState(_) | DriverError::NotFound(_)) => return Ok(None),
            Err(e) => return Err(e),
        };
        let plan = state.plan().map_err(|e| DriverError::failed("reading the plan", e))?;
        let plan = plan.ok_or_else(|| DriverError::WrongState(format!("the plan of {uid} is lost")))?;
        let qmp = Qmp::connect(state.folder(), socket::MONITOR).await;
        match qmp {
            Ok(qmp) => Ok(Some(Machinery { plan, state, process, qmp })),
            Err(_) if !process.is_alive().unwrap_or(true) => Ok(None),
            Err(e) => Err(DriverError::failed("asking qemu for its disks", e)),
        }
    }

    pub(crate) async fn must_run(&self, uid: &Uid) -> Result<Machinery, DriverError> {
        let running = self.machinery(uid).await?;
        running.ok_or_else(|| DriverError::WrongState(format!("{uid} does not run")))
    }
}

impl Machinery {
    pub(crate) async fn run(&mut self, command: &str, arguments: Value) -> Result<Value, DriverError> {
        self.qmp
            .execute(command, arguments)
            .await
            .map_err(|e| DriverError::failed(format!("telling qemu to {command}"), e))
    }

    async fn found(&mut self) -> Result<Vec<Found>, DriverError> {
        let blocks = self.run("query-block", json!({})).await?;
        let mut found: Vec<Found> = blocks.as_array().into_iter().flatten().filter_map(read).collect();
        if found.iter().any(Found::is_encrypted) {
            let nodes = self.run("query-named-block-nodes", json!({ "flat": true })).await?;
            let nodes = nodes.as_array().map(Vec::as_slice).unwrap_or_default();
            found.iter_mut().filter(|found| found.is_encrypted()).for_each(|found| found.go_below(nodes));
        }
        Ok(found)
    }

    pub(crate) async fn find(&mut self, serial: &str) -> Result<Option<Found>, DriverError> {
        Ok(self.found().await?.into_iter().find(|found| found.disk.serial == serial))
    }

    /// Whether there is a device of this id.
    async fn has_device(&mut self, id: &str) -> Result<bool, DriverError> {
        let devices = self.run("qom-list", json!({ "path": PERIPHERALS })).await?;
        Ok(devices.as_array().into_iter().flatten().any(|device| text(&device["name"]) == id))
    }

    /// Takes a device out; returns when the guest has let go of it.
    pub(crate) async fn take_out(&mut self, id: &str, what: &str, remedy: &str) -> Result<(), DriverError> {
        let give_up = Instant::now() + UNPLUG_MAX;
        let mut asked: Option<Instant> = None;
        let mut refusal = None;
        while self.has_device(id).await? {
            if Instant::now() >= give_up {
                let why = refusal.map(|why| format!(" ({why})")).unwrap_or_default();
                let message = format!("the guest does not let go of the {what}: {remedy}{why}");
                return Err(DriverError::WrongState(message));
            }
            // A guest that is still starting does not notice the first time.
            if asked.is_none_or(|at| at.elapsed() > ASK_AGAIN) {
                asked = Some(Instant::now());
                match self.qmp.execute("device_del", json!({ "id": id })).await {
                    Ok(_) => {}
                    Err(QmpError::Refused(why)) => refusal = Some(why),
                    Err(e) => return Err(DriverError::failed(format!("unplugging a {what}"), e)),
                }
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    async fn limit(&mut self, serial: &str, limits: VolumeLimits) -> Result<(), DriverError> {
        let limits = json!({
            // The block device is a part of the virtio device.
            "id": format!("/machine/peripheral/{}/virtio-backend", device_id(serial)),
            "bps": limits.bytes_per_second, "bps_rd": 0, "bps_wr": 0,
            "iops": limits.iops, "iops_rd": 0, "iops_wr": 0,
        });
        self.run("block_set_io_throttle", limits).await.map(drop)
    }

    async fn open_nodes(&mut self, disk: &DiskPlan) -> Result<(), DriverError> {
        for (id, key) in keys(disk)? {
            self.run("object-add", key.object(&id)).await?;
        }
        self.run("blockdev-add", node(disk)).await?;
        match key_node(disk) {
            Some(decrypting) => self.run("blockdev-add", decrypting).await.map(drop),
            None => Ok(()),
        }
    }

    /// Closes every node of a volume, whichever stands on which, and forgets its keys.
    async fn close_nodes(&mut self, serial: &str) -> Result<(), DriverError> {
        for _ in 0..NODES_MAX {
            let nodes = self.run("query-named-block-nodes", json!({ "flat": true })).await?;
            let (prefix, key) = (node_name(serial), key_name(serial));
            let names = nodes.as_array().into_iter().flatten().map(|node| text(&node["node-name"]));
            let own: Vec<String> = names.filter(|name| name.starts_with(&prefix) || *name == key).collect();
            if own.is_empty() {
                for key in [key, pool_key_name(serial)] {
                    // Refused where there is none.
                    let _ = self.qmp.execute("object-del", json!({ "id": key })).await;
                }
                return Ok(());
            }
            let mut refusal = None;
            let mut closed = 0;
            for name in own {
                match self.qmp.execute("blockdev-del", json!({ "node-name": name })).await {
                    Ok(_) => closed += 1,
                    Err(e @ QmpError::Refused(_)) => refusal = Some(e),
                    Err(e) => return Err(DriverError::failed("closing a volume", e)),
                }
            }
            if let (0, Some(refusal)) = (closed, refusal) {
                return Err(DriverError::failed("closing a volume", refusal));
            }
        }
        Err(DriverError::failed("closing a volume", "it has too many layers"))
    }

    pub(crate) fn keep_plan(&self, edit: impl FnOnce(&mut VmPlan)) -> Result<(), DriverError> {
        let mut plan = self.plan.clone();
        if let Some(vm) = &mut plan.vm {
            edit(vm);
        }
        self.state.keep_plan(&plan).map_err(|e| DriverError::failed("keeping the plan", e))
    }
}

#[async_trait]
impl VolumeAccess for QemuDriver {
    async fn plugged(&self, uid: &Uid) -> Result<Vec<PluggedDisk>, DriverError> {
        let Some(mut machine) = self.machinery(uid).await? else { return Ok(Vec::new()) };
        match machine.found().await {
            Ok(found) => Ok(found.into_iter().map(|found| found.disk).collect()),
            // It ended while it was asked.
            Err(_) if !machine.process.is_alive().unwrap_or(true) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    async fn plug(&self, uid: &Uid, disk: &DiskPlan) -> Result<(), DriverError> {
        let lock = self.lock(uid);
        let _changing = lock.lock().await;
        let mut machine = self.must_run(uid).await?;
        if machine.find(&disk.serial).await?.is_some() {
            return machine.limit(&disk.serial, disk.limits).await;
        }
        if machine.plan.vm.as_ref().is_none_or(|vm| vm.machine != Machine::Q35) {
            return Err(DriverError::Unsupported {
                driver: crate::NAME,
                what: "plug a volume into a microvm that runs; stop and start it".into(),
            });
        }
        disk.required_key()?;
        if let Some(file) = disk.location.path() {
            hand_over(file, machine.plan.user_id)?;
        }
        let mut plan = machine.plan.clone();
        plan.vm.iter_mut().for_each(|vm| vm.volumes.push(disk.clone()));
        launch::limit(&self.options, &plan)?;
        // A node that an attempt before this one left.
        machine.close_nodes(&disk.serial).await?;
        machine.open_nodes(disk).await?;
        let mut refusal = None;
        for slot in 1..=HOTPLUG_SLOTS {
            let slot = format!("slot{slot}");
            let device = device(disk, virtio(Machine::Q35, "blk"), Some(&slot));
            match machine.qmp.execute("device_add", device).await {
                Ok(_) => {
                    machine.limit(&disk.serial, disk.limits).await?;
                    return machine.keep_plan(|vm| vm.volumes.push(disk.clone()));
                }
                // The slot is taken, or still being emptied.
                Err(QmpError::Refused(why)) => refusal = Some(why),
                Err(e) => return Err(DriverError::failed("plugging a volume", e)),
            }
        }
        machine.close_nodes(&disk.serial).await?;
        Err(DriverError::failed("plugging a volume: no slot is free", refusal.unwrap_or_default()))
    }

    async fn unplug(&self, uid: &Uid, serial: &str) -> Result<(), DriverError> {
        let lock = self.lock(uid);
        let _changing = lock.lock().await;
        let Some(mut machine) = self.machinery(uid).await? else { return Ok(()) };
        machine.stop_jobs(serial).await?;
        let remedy = "unmount it there, or stop the instance";
        machine.take_out(&device_id(serial), "disk", remedy).await?;
        machine.close_nodes(serial).await?;
        machine.keep_plan(|vm| vm.volumes.retain(|disk| disk.serial != serial))
    }

    async fn resize(&self, uid: &Uid, serial: &str, size: Bytes) -> Result<(), DriverError> {
        let mut machine = self.must_run(uid).await?;
        let found = machine.find(serial).await?;
        if found.is_some_and(|found| found.disk.size >= size) {
            return Ok(());
        }
        machine.stop_jobs(serial).await?;
        let found = machine.find(serial).await?;
        let found = found.ok_or_else(|| DriverError::NotFound(format!("{serial} (a disk)")))?;
        machine.forget_broken_notes(&found.node).await?;
        machine.run("block_resize", json!({ "node-name": found.top, "size": size.0 })).await.map(drop)
    }

    async fn switch(&self, uid: &Uid, serial: &str, overlay: &Path) -> Result<(), DriverError> {
        let lock = self.lock(uid);
        let _changing = lock.lock().await;
        let mut machine = self.must_run(uid).await?;
        machine.stop_jobs(serial).await?;
        let found = machine.find(serial).await?;
        let found = found.ok_or_else(|| DriverError::NotFound(format!("{serial} (a disk)")))?;
        if found.file == overlay {
            return Ok(());
        }
        hand_over(overlay, machine.plan.user_id)?;
        let number = overlay.file_stem().and_then(|stem| stem.to_str()?.rsplit('.').next());
        let name = format!("{}-{}", node_name(serial), number.unwrap_or("x"));
        // Left by an attempt that was cut off: nothing stands on it yet.
        let _ = machine.qmp.execute("blockdev-del", json!({ "node-name": name })).await;
        let node = json!({
            "node-name": name, "driver": "qcow2", "discard": "unmap", "backing": null, "file": file_node(overlay),
        });
        machine.run("blockdev-add", node).await?;
        machine.run("blockdev-snapshot", json!({ "node": found.node, "overlay": name })).await?;
        machine.keep_plan(|vm| {
            for disk in vm.volumes.iter_mut().filter(|disk| disk.serial == serial) {
                disk.location = DiskLocation::qcow2(overlay);
            }
        })
    }

    async fn merge(&self, uid: &Uid, serial: &str, base: Option<&Path>) -> Result<Merging, DriverError> {
        let lock = self.lock(uid);
        let _changing = lock.lock().await;
        self.must_run(uid).await?.merge(serial, base).await
    }

    async fn copy(&self, uid: &Uid, serial: &str, target: &Path) -> Result<(), DriverError> {
        self.copy_disk(uid, serial, target).await
    }

    async fn changes(&self, uid: &Uid, serial: &str, plan: &ChangesPlan) -> Result<Option<Uid>, DriverError> {
        self.changes_of(uid, serial, plan).await
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn read(block: &Value) -> Option<Found> {
    let path = block["qdev"].as_str()?;
    let serial = path.split('/').find_map(|part| part.strip_prefix("volume-"))?;
    let inserted = &block["inserted"];
    let disk =
        PluggedDisk { serial: serial.to_owned(), size: Bytes(inserted["image"]["virtual-size"].as_u64()?) };
    let file = inserted["image"]["filename"].as_str()?.into();
    let backing = jobs::backing(&inserted["image"]);
    let top = inserted["node-name"].as_str()?;
    Some(Found { disk, file, backing, node: top.to_owned(), top: top.to_owned() })
}

impl Found {
    fn is_encrypted(&self) -> bool {
        self.top == key_name(&self.disk.serial)
    }

    /// From what decrypts to the node below it, which QEMU names by its file alone.
    fn go_below(&mut self, nodes: &[Value]) {
        let (prefix, head) = (node_name(&self.disk.serial), below(&self.file));
        let is_head = |node: &&Value| {
            text(&node["node-name"]).starts_with(&prefix)
                && head.is_some()
                && node["file"].as_str() == head.as_deref()
        };
        if let Some(head) = nodes.iter().find(is_head) {
            self.node = text(&head["node-name"]);
            self.file = text(&head["file"]).into();
            self.backing = jobs::backing(&head["image"]);
        }
    }
}

/// The file below a node that decrypts, out of the name that QEMU gives such a node: `json:` and its options.
fn below(name: &Path) -> Option<String> {
    let options: Value = serde_json::from_str(name.to_str()?.strip_prefix("json:")?).ok()?;
    options["file"]["file"]["filename"].as_str().map(ToOwned::to_owned)
}
