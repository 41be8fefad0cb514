//! Merging a layer with the only file that stands on it, so that a deleted snapshot's room comes back while its
//! volume lives on.
//!
//! The file's own clusters are written down into the layer, and then the layer takes the file's name. Until that
//! moment the file covers whatever the layer got, so that it shows the same throughout, and whoever needs the file
//! just stops the work. The tool reads what a guest's QEMU wrote: it runs in a jail and is told every file.

use std::future::Future;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use driver::DriverError;
use parking_lot::Mutex;
use sys::command::CommandError;
use sys::jail::{Access, Jail, Limits};
use tokio::sync::{Notify, watch};

use crate::header;
use crate::pool::{FROZEN, Pool, QEMU_IMG, failed};
use crate::record::{self, LayerRecord};
use crate::survey::{Merge, Survey};

/// Longest merge.
pub(crate) const TIME_MAX: Duration = Duration::from_hours(1);
pub(crate) const ADDRESS_SPACE_MAX: u64 = 2 << 30;
pub(crate) const OPEN_FILES_MAX: u64 = 1024;
/// The user of the jail: one long work at a time, and nobody else has it.
pub(crate) const USER: u32 = 2_000_101_000;

/// The work on a volume's file that runs, if one does: a merge, or a reading of what changed.
#[derive(Debug, Default)]
pub(crate) struct Merging(Mutex<Option<Arc<Running>>>);

#[derive(Debug)]
struct Running {
    pool: PathBuf,
    top: String,
    stop: Notify,
    stopped: AtomicBool,
    ended: watch::Sender<bool>,
}

/// A merge in its own hands. Dropped, it does not run any more.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    merging: &'a Merging,
    running: Arc<Running>,
}

impl Merging {
    pub(crate) fn begin(&self, pool: &Pool, top: &str) -> Run<'_> {
        let running = Arc::new(Running {
            pool: pool.folder().to_owned(),
            top: top.to_owned(),
            stop: Notify::new(),
            stopped: AtomicBool::new(false),
            ended: watch::Sender::new(false),
        });
        *self.0.lock() = Some(Arc::clone(&running));
        Run { merging: self, running }
    }

    /// Stops the work on a file in this chain; when it returns no tool has any of them open.
    pub(crate) async fn interrupt(&self, pool: &Pool, chain: &[String]) {
        let running = self.0.lock().clone();
        let Some(running) = running.filter(|r| r.pool == pool.folder() && chain.contains(&r.top)) else {
            return;
        };
        running.stopped.store(true, Ordering::SeqCst);
        running.stop.notify_one();
        // The sender lives as long as we hold it, so this ends with the word only.
        let _ = running.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

impl Run<'_> {
    pub(crate) async fn until_stopped(&self) {
        self.running.stop.notified().await;
    }

    /// No tool runs any more. Asked again while nobody can interrupt, it tells whether what came of it counts.
    pub(crate) fn end(&self) {
        self.running.ended.send_replace(true);
    }

    pub(crate) fn was_stopped(&self) -> bool {
        self.running.stopped.load(Ordering::SeqCst)
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.end();
        *self.merging.0.lock() = None;
    }
}

impl Pool {
    /// Writes what the top has down into its layer. Nothing is lost when it is cut off.
    pub(crate) async fn write_down(
        &self,
        merge: &Merge,
        stopped: impl Future<Output = ()>,
    ) -> Result<(), DriverError> {
        let result = self.commit(merge, stopped).await;
        // Guests read the layer as long as it is one.
        self.freeze(&merge.layer)?;
        result
    }

    async fn commit(&self, merge: &Merge, stopped: impl Future<Output = ()>) -> Result<(), DriverError> {
        // Of a volume that there was once.
        self.forget_notes(&merge.layer, true).await?;
        let hand_over = |name: &str| {
            let path = self.data(name);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            chown(&path, Some(USER), Some(USER))
        };
        let kept = std::fs::metadata(self.data(&merge.top)).map_err(failed("merging layers"))?;
        let size = header::virtual_size(&self.data(&merge.top)).map_err(failed("merging layers"))?;
        let length = std::fs::metadata(self.data(&merge.layer)).map_err(failed("merging layers"))?.len();
        hand_over(&merge.top).and_then(|()| hand_over(&merge.layer)).map_err(failed("merging layers"))?;
        let limits = Limits {
            address_space: ADDRESS_SPACE_MAX,
            // Everything that is in it, everything that can come to it, their tables, and some room.
            file_size: size.saturating_add(size / 1024).saturating_add(length).saturating_add(64 << 20),
            cpu_seconds: TIME_MAX.as_secs(),
            open_files: OPEN_FILES_MAX,
        };
        let mut jail = Jail::new(QEMU_IMG, USER, limits);
        let mut options = Vec::new();
        for (depth, name) in [&merge.top, &merge.layer].into_iter().chain(&merge.below).enumerate() {
            let access = if depth < 2 { Access::Write } else { Access::Read };
            jail = jail.expose(self.data(name), &format!("file{depth}"), access);
            let at = "backing.".repeat(depth);
            options.push(format!("{at}driver=qcow2,{at}file.driver=file,{at}file.filename=/file{depth}"));
        }
        let mut command = jail.command().map_err(failed("merging layers"))?;
        command.args(["commit", "-q", "-d", "--image-opts", &options.join(",")]);
        let done = sys::command::until(command, "qemu-img commit", TIME_MAX, stopped).await;
        // Back to whose it was, whatever came of it.
        let back = || {
            let path = self.data(&merge.top);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(kept.mode() & 0o777))?;
            chown(&path, Some(kept.uid()), Some(kept.gid()))
        };
        back().map_err(failed("merging layers"))?;
        match done {
            Ok(_) => Ok(()),
            Err(CommandError::Stopped { .. }) => {
                Err(DriverError::WrongState("the layers are needed now; they are merged later".into()))
            }
            Err(e) => Err(DriverError::failed("merging layers", e)),
        }
    }

    /// The layer, which has everything now, takes the top's name.
    pub(crate) fn put_in_place(&self, merge: &Merge) -> Result<(), DriverError> {
        let (top, layer) = (self.data(&merge.top), self.data(&merge.layer));
        let backing = merge.below.first().cloned();
        self.keep_layer(
            &merge.top,
            &LayerRecord { backing: backing.clone(), was: Some(merge.layer.clone()) },
        )?;
        let replace = || {
            let kept = std::fs::metadata(&top)?;
            let mode = if kept.mode() & 0o200 == 0 { FROZEN } else { 0o600 };
            std::fs::set_permissions(&layer, std::fs::Permissions::from_mode(mode))?;
            std::fs::File::open(&layer)?.sync_all()?;
            record::step()?;
            std::fs::rename(&layer, &top)?;
            record::step()?;
            record::sync_folder(&top)
        };
        replace().map_err(failed("merging layers"))?;
        self.keep_layer(&merge.top, &LayerRecord { backing, was: None })?;
        self.sweep()
    }

    /// Settles all that nobody has open.
    pub(crate) fn settle_layers(&self) -> Result<(), DriverError> {
        for name in Survey::of(self)?.unsettled() {
            self.settle_layer(&name)?;
        }
        Ok(())
    }

    /// Finds out from the file what it stands on, where a change of that was cut off. Nobody may have it open for
    /// writing. Whether it stands on what was wanted.
    pub(crate) fn settle_layer(&self, name: &str) -> Result<bool, DriverError> {
        let layer = self.layer(name)?;
        let Some(was) = layer.was.clone() else { return Ok(true) };
        let path = |name: &String| self.data(name);
        let wanted = layer.backing.as_ref().map(path);
        let is = |backing: Option<&Path>| header::check(&self.data(name), &[backing]);
        if is(wanted.as_deref()).is_ok() {
            self.keep_layer(name, &LayerRecord { backing: layer.backing, was: None })?;
            return Ok(true);
        }
        is(Some(&path(&was))).map_err(failed("checking a volume's file"))?;
        self.keep_layer(name, &LayerRecord { backing: Some(was), was: None })?;
        Ok(false)
    }
}
