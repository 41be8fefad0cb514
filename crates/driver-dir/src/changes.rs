//! What changed in a volume since a moment, of one that nobody has open: QEMU's storage daemon opens it and does what
//! the QEMU of a guest does otherwise. It reads what a guest's QEMU wrote: it runs in a jail and is told every file.

use std::future::Future;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use driver::{ChangesPlan, DriverError, Noted};
use model::Uid;
use serde_json::{Value, json};
use sys::jail::{Access, Jail, Limits};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::merge::{ADDRESS_SPACE_MAX, OPEN_FILES_MAX, TIME_MAX, USER};
use crate::pool::{Pool, QEMU_IMG, failed, qemu_img};

const DAEMON: &str = "/usr/bin/qemu-storage-daemon";
/// How long it may take for one answer, and to end.
const ANSWER_MAX: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Longest message, and most events before an answer.
const MESSAGE_MAX: u64 = 1 << 20;
const EVENTS_MAX: usize = 1000;
const DISK: &str = "disk";
const JOB: &str = "changes";

impl Pool {
    /// Writes what changed in `head` to the plan's target, unless `stopped` comes first. The note that was gone by.
    pub(crate) async fn write_changes(
        &self,
        head: &str,
        size: u64,
        plan: &ChangesPlan,
        stopped: impl Future<Output = ()>,
    ) -> Result<Option<Uid>, DriverError> {
        let head_path = self.data(head);
        let hand = |user: u32| {
            for path in [head_path.as_path(), plan.target.as_path()] {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
                chown(path, Some(user), Some(user))?;
            }
            Ok(())
        };
        hand(USER).map_err(failed("reading a volume"))?;
        let result = self.ask_daemon(head, size, plan, stopped).await;
        hand(0).map_err(failed("reading a volume"))?;
        result
    }

    async fn ask_daemon(
        &self,
        head: &str,
        size: u64,
        plan: &ChangesPlan,
        stopped: impl Future<Output = ()>,
    ) -> Result<Option<Uid>, DriverError> {
        let limits = Limits {
            address_space: ADDRESS_SPACE_MAX,
            // Everything, the tables of that, and some room.
            file_size: size.saturating_mul(2).saturating_add(size / 512).saturating_add(64 << 20),
            cpu_seconds: TIME_MAX.as_secs(),
            open_files: OPEN_FILES_MAX,
        };
        let mut jail = Jail::new(DAEMON, USER, limits).expose(&plan.target, "target", Access::Write);
        let mut disk = Value::Null;
        for (depth, name) in self.chain(head)?.iter().enumerate().rev() {
            let access = if depth == 0 { Access::Write } else { Access::Read };
            jail = jail.expose(self.data(name), &format!("file{depth}"), access);
            disk = json!({ "driver": "qcow2", "file": file(&format!("/file{depth}")), "backing": disk });
        }
        disk["node-name"] = json!(DISK);
        let target = json!({ "driver": "qcow2", "node-name": JOB, "file": file("/target"), "backing": null });
        let mut command = Command::from(jail.command().map_err(failed("reading a volume"))?);
        command.args(["--chardev", "stdio,id=words", "--monitor", "chardev=words"]);
        command.arg("--blockdev").arg(disk.to_string()).arg("--blockdev").arg(target.to_string());
        let mut daemon = Daemon::start(command)?;
        let done = tokio::select! {
            done = daemon.write_changes(plan) => done,
            () = stopped => {
                let why = "the volume is needed now; its backup is begun anew";
                Err(DriverError::WrongState(why.into()))
            }
        };
        // Notes are on the disk when it has ended by itself.
        let ended = daemon.end().await;
        done.and_then(|since| ended.map(|()| since))
    }

    /// Removes notes from a file that nobody has open: those that miss changes, or all of them. No tool changes the
    /// size of a file with a note that misses changes.
    pub(crate) async fn forget_notes(&self, name: &str, all: bool) -> Result<(), DriverError> {
        let path = self.data(name);
        let args = ["info", "-U", "--output=json", "-f", "qcow2"].map(std::ffi::OsString::from);
        // Without what it stands on, which nobody asks for.
        let known =
            sys::command::run(QEMU_IMG, args.into_iter().chain([path.clone().into()]), ANSWER_MAX).await;
        let known = known.map_err(|e| DriverError::failed("qemu-img", e))?;
        let info: Value = serde_json::from_slice(&known)
            .map_err(|e| DriverError::failed("reading what qemu-img says", e))?;
        let bitmaps = info["format-specific"]["data"]["bitmaps"].as_array().cloned().unwrap_or_default();
        for bitmap in bitmaps {
            let flags = bitmap["flags"].as_array().cloned().unwrap_or_default();
            let (Some(bitmap), true) =
                (bitmap["name"].as_str(), all || flags.iter().any(|flag| flag == "in-use"))
            else {
                continue;
            };
            let args = ["bitmap", "--remove", "-f", "qcow2"].map(std::ffi::OsString::from);
            qemu_img(args.into_iter().chain([path.clone().into(), bitmap.into()])).await?;
        }
        Ok(())
    }

    /// Makes a qcow2 file of a raw one; how large the disk in it is. Both are ours, and what is in them is not looked at.
    pub(crate) async fn convert(raw: &Path, to: &Path) -> Result<model::Bytes, DriverError> {
        let size = std::fs::metadata(raw).map_err(failed("making a volume's file"))?.len();
        let args =
            ["convert", "-q", "-f", "raw", "-O", "qcow2", "-o", "compat=1.1"].map(std::ffi::OsString::from);
        let done =
            sys::command::run(QEMU_IMG, args.into_iter().chain([raw.into(), to.into()]), TIME_MAX).await;
        done.map_err(|e| DriverError::failed("qemu-img convert", e))?;
        Ok(model::Bytes(size))
    }

    /// Makes a file that is ready a head.
    pub(crate) fn take_in(&self, from: &Path, name: &str) -> Result<(), DriverError> {
        self.keep_layer(name, &crate::record::LayerRecord::on(None))?;
        let take = || {
            std::fs::set_permissions(from, std::fs::Permissions::from_mode(0o600))?;
            std::fs::File::open(from)?.sync_all()?;
            crate::record::step()?;
            std::fs::rename(from, self.data(name))?;
            crate::record::sync_folder(&self.data(name))
        };
        take().map_err(failed("making a volume's file"))
    }

    /// The file that gets what changed; empty.
    pub(crate) fn make_target(path: &Path, size: u64) -> Result<(), DriverError> {
        let make = || {
            crate::record::remove(path)?;
            let file = crate::empty::create(path, size, None)?;
            file.set_permissions(std::fs::Permissions::from_mode(0o600))
        };
        make().map_err(failed("making a file for changes"))
    }
}

fn file(path: &str) -> Value {
    json!({ "driver": "file", "filename": path, "discard": "unmap" })
}

/// A storage daemon and a conversation with it.
struct Daemon {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Daemon {
    fn start(mut command: Command) -> Result<Self, DriverError> {
        let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = streams
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| DriverError::failed("starting qemu-storage-daemon (package qemu-utils)", e))?;
        let missing = || DriverError::failed("starting qemu-storage-daemon", "it has no standard streams");
        let to = child.stdin.take().ok_or_else(missing)?;
        let from = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        Ok(Self { child, to, from })
    }

    async fn write_changes(&mut self, plan: &ChangesPlan) -> Result<Option<Uid>, DriverError> {
        self.run("qmp_capabilities", json!({})).await?;
        let (since, spare) = plan.choose(&self.notes().await?);
        for name in spare {
            self.run("block-dirty-bitmap-remove", json!({ "node": DISK, "name": name })).await?;
        }
        self.run("transaction", plan.transaction(DISK, JOB, since.as_ref())).await?;
        let give_up = Instant::now() + TIME_MAX;
        while Instant::now() < give_up {
            let jobs = self.run("query-jobs", json!({})).await?;
            let job = jobs.as_array().and_then(|jobs| jobs.first()).cloned().unwrap_or_default();
            if job["status"] != "concluded" {
                sleep(LOOK_AGAIN).await;
                continue;
            }
            if let Some(why) = job["error"].as_str() {
                return Err(DriverError::failed("reading a volume", why));
            }
            self.run("job-dismiss", json!({ "id": JOB })).await?;
            return Ok(since);
        }
        Err(DriverError::TimedOut { what: "reading a volume".into(), seconds: TIME_MAX.as_secs() })
    }

    async fn notes(&mut self) -> Result<Vec<Noted>, DriverError> {
        let nodes = self.run("query-named-block-nodes", json!({ "flat": true })).await?;
        Ok(Noted::all(&nodes, DISK))
    }

    async fn run(&mut self, command: &str, arguments: Value) -> Result<Value, DriverError> {
        let failed =
            |why: String| DriverError::failed(format!("telling qemu-storage-daemon to {command}"), why);
        let text = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        let exchange = async {
            self.to.write_all(text.as_bytes()).await.map_err(|e| e.to_string())?;
            for _ in 0..EVENTS_MAX {
                let mut line = Vec::new();
                let read = (&mut self.from).take(MESSAGE_MAX).read_until(b'\n', &mut line).await;
                if read.map_err(|e| e.to_string())? == 0 {
                    return Err("it has ended".into());
                }
                let message: Value = serde_json::from_slice(&line).map_err(|e| e.to_string())?;
                if let Some(why) = message["error"]["desc"].as_str() {
                    return Err(why.to_owned());
                }
                if let Some(value) = message.get("return") {
                    return Ok(value.clone());
                }
            }
            Err("events without end and no answer".into())
        };
        timeout(ANSWER_MAX, exchange)
            .await
            .unwrap_or_else(|_| Err("it does not answer".into()))
            .map_err(failed)
    }

    /// Has it close its files; nothing of it is left when this returns.
    async fn end(mut self) -> Result<(), DriverError> {
        let asked = self.to.write_all(b"{\"execute\":\"quit\"}\n").await;
        drop(self.to);
        let drain = async {
            // A pipe that is full would keep it.
            let _ = tokio::io::copy(&mut self.from, &mut tokio::io::sink()).await;
            self.child.wait().await
        };
        match (asked, timeout(ANSWER_MAX, drain).await) {
            (Ok(()), Ok(Ok(status))) if status.success() => Ok(()),
            (_, Ok(ended)) => {
                let why = ended.map_or_else(|e| e.to_string(), |status| status.to_string());
                Err(DriverError::failed("qemu-storage-daemon did not end well", why))
            }
            (_, Err(_)) => {
                self.child.kill().await.map_err(|e| DriverError::failed("killing qemu-storage-daemon", e))?;
                Err(DriverError::failed("qemu-storage-daemon", "it did not end and was killed"))
            }
        }
    }
}
