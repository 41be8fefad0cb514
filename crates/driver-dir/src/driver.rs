//! The contract of volumes, kept by files. One change at a time: each takes milliseconds.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use ::driver::{
    ChangesPlan, DiskLocation, DriverError, MergePlan, ObservedVolume, PoolUsage, StoragePool, VolumeDriver,
    VolumeOrigin, VolumePlace, VolumePlan,
};
use async_trait::async_trait;
use model::{Bytes, Uid};
use tokio::sync::Mutex;

use crate::NAME;
use crate::create::may_make;
use crate::merge::Merging;
use crate::pool::{Pool, failed};
use crate::record::{SnapshotRecord, VolumeRecord};
use crate::shared::{Shared, Turn};
use crate::survey::Survey;

/// Volumes below one folder of this host, and in folders that it has in common with others.
#[derive(Debug)]
pub struct DirDriver {
    pub(crate) root: PathBuf,
    /// Its name in pools that others have too.
    pub(crate) host: String,
    pub(crate) shared: parking_lot::Mutex<BTreeMap<String, Shared>>,
    turn: Arc<Mutex<()>>,
    merging: Merging,
    /// One merge, or one reading of changes, at a time.
    tidying: Mutex<()>,
    /// Files for changes that somebody writes or reads.
    pub(crate) copies: parking_lot::Mutex<HashSet<PathBuf>>,
}

impl DirDriver {
    /// `root` has a folder for each pool of this host alone; made when missing.
    pub fn new(root: impl Into<PathBuf>, host: impl Into<String>) -> Self {
        Self {
            root: root.into(),
            host: host.into(),
            shared: parking_lot::Mutex::default(),
            turn: Arc::default(),
            merging: Merging::default(),
            tidying: Mutex::new(()),
            copies: parking_lot::Mutex::default(),
        }
    }

    pub(crate) async fn pool(&self, name: &str) -> Result<(Pool, Turn), DriverError> {
        let shared = self.shared.lock().get(name).cloned();
        if let Some(shared) = shared {
            return shared.enter(&self.host).await;
        }
        let turn = Turn::of_host(&self.turn).await;
        Ok((Pool::open(self.root.join(name), "")?, turn))
    }

    /// No merge touches the volume's files from now on, until the turn ends.
    pub(crate) async fn interrupt(
        &self,
        pool: &Pool,
        uid: &Uid,
        volume: &VolumeRecord,
    ) -> Result<(), DriverError> {
        self.interrupt_chain(pool, &pool.chain(&Pool::head_name(uid, volume.head))?).await
    }

    async fn interrupt_chain(&self, pool: &Pool, chain: &[String]) -> Result<(), DriverError> {
        self.merging.interrupt(pool, chain).await;
        pool.interrupt_others(chain).await
    }

    /// Merges one layer with what stands on it; false when there is none.
    async fn merge_one(&self, name: &str) -> Result<bool, DriverError> {
        let (pool, merge, run, work) = {
            let (pool, _turn) = self.pool(name).await?;
            pool.settle_layers()?;
            pool.sweep()?;
            let Some(merge) = Survey::of(&pool)?.find_merge() else { return Ok(false) };
            pool.check_chain(&merge.top)?;
            let Some(work) = pool.begin_work(&merge.top)? else { return Ok(false) };
            let run = self.merging.begin(&pool, &merge.top);
            (pool, merge, run, work)
        };
        let written = pool.write_down(&merge, work.until_stopped(run.until_stopped())).await;
        // Whoever interrupts has the turn and waits for this word.
        run.end();
        drop(work);
        let (_, _turn) = self.pool(name).await?;
        if !pool.end_work(&merge.top)? || run.was_stopped() {
            return Ok(true);
        }
        written?;
        pool.put_in_place(&merge)?;
        Ok(true)
    }
}

/// A volume that this host may change.
pub(crate) fn there(pool: &Pool, uid: &Uid) -> Result<VolumeRecord, DriverError> {
    let volume = pool.volume(uid)?.ok_or_else(|| DriverError::NotFound(format!("{uid} (a volume)")))?;
    volume.possession().require_host(pool.host())?;
    Ok(volume)
}

/// Puts a snapshot that was begun to its end: whatever head is in use, both show the same.
fn settle(pool: &Pool, uid: &Uid, volume: &mut VolumeRecord) -> Result<(), DriverError> {
    let Some(snapshot) = volume.pending.clone() else { return Ok(()) };
    let layer = Pool::head_name(uid, volume.head);
    pool.settle_layer(&layer)?;
    pool.freeze(&layer)?;
    let (size, encrypted) = (volume.size, volume.encrypted);
    pool.keep_snapshot(&snapshot, &SnapshotRecord { size, layer, encrypted })?;
    volume.head += 1;
    volume.pending = None;
    pool.keep_volume(uid, volume)
}

/// Like [`settle`], when the head that is to be may not be there.
pub(crate) fn settle_offline(pool: &Pool, uid: &Uid, volume: &mut VolumeRecord) -> Result<(), DriverError> {
    if volume.pending.is_some() {
        let (old, new) = (Pool::head_name(uid, volume.head), Pool::head_name(uid, volume.head + 1));
        pool.make(&new, volume.in_files(volume.size), Some(&old))?;
    }
    settle(pool, uid, volume)
}

#[async_trait]
impl VolumeDriver for DirDriver {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn serve(&self, pool: &StoragePool) -> Result<(), DriverError> {
        self.serve_shared(pool).await
    }

    async fn keep(&self, place: &VolumePlace, moves: u64, lost: &[String]) -> Result<(), DriverError> {
        self.keep_here(place, moves, lost).await
    }

    async fn is_wanted_elsewhere(&self, place: &VolumePlace) -> Result<bool, DriverError> {
        let shared = self.shared.lock().get(&place.pool).cloned();
        match shared {
            None => Ok(false),
            Some(shared) => shared.is_wanted_elsewhere(&place.uid, &self.host).await,
        }
    }

    async fn create(&self, plan: &VolumePlan) -> Result<(), DriverError> {
        match (&plan.source, &plan.key) {
            (VolumeOrigin::Filled, _) => return self.create_filled(plan).await,
            (VolumeOrigin::Empty | VolumeOrigin::Image(_), Some(key)) => {
                return self.create_encrypted(plan, key).await;
            }
            _ => {}
        }
        let uid = &plan.place.uid;
        let brought = match &plan.source {
            VolumeOrigin::Image(image) => self.bring_image(&plan.place.pool, image).await?,
            _ => None,
        };
        let (pool, _turn) = self.pool(&plan.place.pool).await?;
        if !may_make(&pool, uid)? {
            return Ok(());
        }
        pool.keep_reserve()?;
        let mut encrypted = false;
        let (backing, least) = match &plan.source {
            VolumeOrigin::Empty | VolumeOrigin::Filled => (None, Bytes(0)),
            VolumeOrigin::Image(image) => {
                let name = Pool::image_name(image);
                let size = pool.adopt_image(&name, brought.as_ref().map_or(image, |b| &b.path))?;
                (Some(name), size)
            }
            VolumeOrigin::Snapshot(snapshot) => {
                let found = pool.snapshot(snapshot)?;
                let found = found.ok_or_else(|| DriverError::NotFound(format!("{snapshot} (a snapshot)")))?;
                encrypted = found.encrypted;
                (Some(found.layer), found.size)
            }
        };
        let size = plan.size_on(least)?;
        let volume = VolumeRecord::new(size, pool.host(), encrypted);
        pool.make(&Pool::head_name(uid, 0), volume.in_files(size), backing.as_deref())?;
        pool.keep_volume(uid, &volume)
    }

    async fn grow(&self, place: &VolumePlace, size: Bytes) -> Result<(), DriverError> {
        let (pool, _turn) = self.pool(&place.pool).await?;
        let mut volume = there(&pool, &place.uid)?;
        if size <= volume.size {
            return Ok(());
        }
        self.interrupt(&pool, &place.uid, &volume).await?;
        settle_offline(&pool, &place.uid, &mut volume)?;
        pool.resize(&Pool::head_name(&place.uid, volume.head), volume.in_files(size)).await?;
        volume.size = size;
        pool.keep_volume(&place.uid, &volume)
    }

    async fn grown(&self, place: &VolumePlace, size: Bytes) -> Result<(), DriverError> {
        let (pool, _turn) = self.pool(&place.pool).await?;
        let mut volume = there(&pool, &place.uid)?;
        if size <= volume.size {
            return Ok(());
        }
        volume.size = size;
        pool.keep_volume(&place.uid, &volume)
    }

    async fn delete(&self, place: &VolumePlace) -> Result<(), DriverError> {
        let (pool, _turn) = self.pool(&place.pool).await?;
        if let Some(mut volume) = pool.volume(&place.uid)? {
            volume.possession().require_host(pool.host())?;
            volume.possession().require_unheld("deleted")?;
            self.interrupt(&pool, &place.uid, &volume).await?;
            settle_offline(&pool, &place.uid, &mut volume)?;
            pool.note_gone(&place.uid)?;
            pool.forget_wish(&place.uid)?;
            pool.forget_volume(&place.uid)?;
        }
        pool.remove_fills(&place.uid)?;
        pool.sweep()
    }

    async fn open(&self, place: &VolumePlace, holder: &Uid, epoch: u64) -> Result<DiskLocation, DriverError> {
        let (pool, _turn) = self.pool(&place.pool).await?;
        let mut volume = there(&pool, &place.uid)?;
        let again = volume.possession().is_open_to(holder, epoch)?;
        if !again {
            self.interrupt(&pool, &place.uid, &volume).await?;
            settle_offline(&pool, &place.uid, &mut volume)?;
            volume.epoch = epoch;
            volume.holder = Some(holder.clone());
            pool.keep_volume(&place.uid, &volume)?;
        }
        let name = Pool::head_name(&place.uid, volume.head);
        pool.check_chain(&name)?;
        Ok(DiskLocation::qcow2(pool.data(&name)))
    }

    async fn close(&self, place: &VolumePlace, holder: &Uid) -> Result<(), DriverError> {
        let (pool, _turn) = self.pool(&place.pool).await?;
        let Some(mut volume) = pool.volume(&place.uid)? else { return Ok(()) };
        if volume.holder.as_ref() != Some(holder) || volume.host != pool.host() {
            return Ok(());
        }
        settle_offline(&pool, &place.uid, &mut volume)?;
        pool.take_back(&Pool::head_name(&place.uid, volume.head))?;
        volume.holder = None;
        pool.keep_volume(&place.uid, &volume)
    }

    async fn begin_snapshot(
        &self,
        place: &VolumePlace,
        snapshot: &Uid,
    ) -> Result<Option<PathBuf>, DriverError> {
        let (pool, _turn) = self.pool(&place.pool).await?;
        if pool.snapshot(snapshot)?.is_some() {
            return Ok(None);
        }
        let mut volume = there(&pool, &place.uid)?;
        if let Some(other) = volume.pending.as_ref().filter(|other| *other != snapshot) {
            return Err(DriverError::WrongState(format!("snapshot {other} of the volume is being taken")));
        }
        let (old, new) = (volume.head, volume.head + 1);
        if volume.pending.is_none() {
            // What a return to a snapshot that was cut off has left.
            pool.discard(&Pool::head_name(&place.uid, new))?;
            volume.pending = Some(snapshot.clone());
            pool.keep_volume(&place.uid, &volume)?;
        }
        let new = Pool::head_name(&place.uid, new);
        let size = volume.in_files(volume.size);
        pool.make(&new, size, Some(&Pool::head_name(&place.uid, old)))?;
        Ok(Some(pool.data(&new)))
    }

    async fn finish_snapshot(&self, place: &VolumePlace, snapshot: &Uid) -> Result<Bytes, DriverError> {
        let (pool, _turn) = self.pool(&place.pool).await?;
        let mut volume = there(&pool, &place.uid)?;
        if volume.pending.as_ref() == Some(snapshot) {
            settle(&pool, &place.uid, &mut volume)?;
        }
        let found = pool.snapshot(snapshot)?;
        found.map(|s| s.size).ok_or_else(|| DriverError::NotFound(format!("{snapshot} (a snapshot)")))
    }

    async fn delete_snapshot(&self, snapshot: &VolumePlace) -> Result<(), DriverError> {
        let (pool, _turn) = self.pool(&snapshot.pool).await?;
        pool.forget_snapshot(&snapshot.uid)?;
        pool.sweep()
    }

    async fn revert(&self, place: &VolumePlace, snapshot: &Uid) -> Result<(), DriverError> {
        let (pool, _turn) = self.pool(&place.pool).await?;
        let mut volume = there(&pool, &place.uid)?;
        volume.possession().require_unheld("taken back to a snapshot")?;
        self.interrupt(&pool, &place.uid, &volume).await?;
        settle_offline(&pool, &place.uid, &mut volume)?;
        let found = pool.snapshot(snapshot)?;
        let found = found.ok_or_else(|| DriverError::NotFound(format!("{snapshot} (a snapshot)")))?;
        if found.size > volume.size {
            // What lies beyond the volume's end would come to light when it grows.
            let why = format!(
                "the snapshot has {} bytes, the volume {}: grow it first",
                found.size.0, volume.size.0
            );
            return Err(DriverError::Invalid(why));
        }
        // As large as it is: a disk never shrinks under whoever knows its size.
        let next = Pool::head_name(&place.uid, volume.head + 1);
        pool.discard(&next)?;
        pool.make(&next, volume.in_files(volume.size), Some(&found.layer))?;
        volume.head += 1;
        pool.keep_volume(&place.uid, &volume)?;
        pool.sweep()
    }

    async fn tidy(&self, pool: &str) -> Result<(), DriverError> {
        let _alone = self.tidying.lock().await;
        {
            let (pool, _turn) = self.pool(pool).await?;
            let busy = self.copies.lock().clone();
            pool.sweep_copies(|path| busy.contains(path))?;
        }
        while self.merge_one(pool).await? {}
        Ok(())
    }

    async fn begin_merge(&self, place: &VolumePlace) -> Result<Option<MergePlan>, DriverError> {
        let (pool, _turn) = self.pool(&place.pool).await?;
        let volume = there(&pool, &place.uid)?;
        if volume.holder.is_none() || volume.pending.is_some() {
            return Ok(None);
        }
        let head = Pool::head_name(&place.uid, volume.head);
        let mut layer = pool.layer(&head)?;
        if layer.was.is_none() {
            pool.sweep()?;
            let Some(shortcut) = Survey::of(&pool)?.shortcut(&head) else { return Ok(None) };
            // From now on the head may stand on either.
            pool.keep_layer(&head, &shortcut)?;
            layer = shortcut;
        }
        Ok(Some(MergePlan { base: layer.backing.map(|base| pool.data(&base)) }))
    }

    async fn finish_merge(&self, place: &VolumePlace) -> Result<(), DriverError> {
        let (pool, _turn) = self.pool(&place.pool).await?;
        let volume = there(&pool, &place.uid)?;
        pool.settle_layer(&Pool::head_name(&place.uid, volume.head))?;
        pool.sweep()
    }

    async fn layers(&self, snapshot: &VolumePlace) -> Result<Vec<DiskLocation>, DriverError> {
        let (pool, _turn) = self.pool(&snapshot.pool).await?;
        let found = pool.snapshot(&snapshot.uid)?;
        let found = found.ok_or_else(|| DriverError::NotFound(format!("{} (a snapshot)", snapshot.uid)))?;
        pool.check_chain(&found.layer)?;
        pool.freeze(&found.layer)?;
        let chain = pool.chain(&found.layer)?;
        self.interrupt_chain(&pool, &chain).await?;
        Ok(chain.iter().map(|name| DiskLocation::qcow2(pool.data(name))).collect())
    }

    async fn begin_changes(&self, place: &VolumePlace, backup: &Uid) -> Result<PathBuf, DriverError> {
        let (pool, _turn) = self.pool(&place.pool).await?;
        let volume = there(&pool, &place.uid)?;
        let path = pool.copy_path(backup);
        Pool::make_target(&path, volume.in_files(volume.size).0)?;
        self.copies.lock().insert(path.clone());
        Ok(path)
    }

    async fn changes(&self, place: &VolumePlace, plan: &ChangesPlan) -> Result<Option<Uid>, DriverError> {
        let _alone = self.tidying.lock().await;
        let (pool, head, size, run, work) = {
            let (pool, _turn) = self.pool(&place.pool).await?;
            let mut volume = there(&pool, &place.uid)?;
            volume.possession().require_unheld("read")?;
            self.interrupt(&pool, &place.uid, &volume).await?;
            settle_offline(&pool, &place.uid, &mut volume)?;
            let head = Pool::head_name(&place.uid, volume.head);
            pool.settle_layer(&head)?;
            pool.check_chain(&head)?;
            let Some(work) = pool.begin_work(&head)? else {
                return Err(DriverError::WrongState(
                    "another host reads or merges files of the pool; try again".into(),
                ));
            };
            let run = self.merging.begin(&pool, &head);
            (pool, head, volume.in_files(volume.size).0, run, work)
        };
        let stop = work.until_stopped(run.until_stopped());
        let written = pool.write_changes(&head, size, plan, stop).await;
        // Whoever interrupts waits for this word.
        run.end();
        drop(work);
        let was_ours = {
            let (_, _turn) = self.pool(&place.pool).await?;
            pool.end_work(&head)?
        };
        if !was_ours || run.was_stopped() {
            return Err(DriverError::WrongState("the volume is needed now; its backup is begun anew".into()));
        }
        written
    }

    async fn finish_changes(&self, place: &VolumePlace, backup: &Uid) -> Result<(), DriverError> {
        let (pool, _turn) = self.pool(&place.pool).await?;
        let path = pool.copy_path(backup);
        self.copies.lock().remove(&path);
        crate::record::remove(&path).map_err(failed("removing a file for changes"))
    }

    async fn begin_fill(&self, place: &VolumePlace, size: Bytes) -> Result<PathBuf, DriverError> {
        let (pool, _turn) = self.pool(&place.pool).await?;
        let path = pool.fill_path(&place.uid);
        let make = || std::fs::File::create(&path)?.set_len(size.0);
        make().map_err(failed("making a volume's file"))?;
        Ok(path)
    }

    async fn usage(&self, pool: &str) -> Result<PoolUsage, DriverError> {
        let (pool, _turn) = self.pool(pool).await?;
        pool.usage()
    }

    async fn observe(&self, place: &VolumePlace) -> Result<ObservedVolume, DriverError> {
        let (pool, _turn) = self.pool(&place.pool).await?;
        let volume = there(&pool, &place.uid)?;
        let used = pool.used(&place.uid)?;
        Ok(ObservedVolume { size: volume.size, used, epoch: volume.epoch, holder: volume.holder })
    }

    async fn held_by(&self, holder: &Uid) -> Result<Vec<VolumePlace>, DriverError> {
        let mut held = Vec::new();
        for name in self.pools_with_holders() {
            let (pool, _turn) = self.pool(&name).await?;
            for uid in pool.volumes()? {
                let is_held = |volume: &VolumeRecord| {
                    volume.holder.as_ref() == Some(holder) && volume.host == pool.host()
                };
                if pool.volume(&uid)?.as_ref().is_some_and(is_held) {
                    held.push(VolumePlace { pool: name.clone(), uid });
                }
            }
        }
        Ok(held)
    }
}
