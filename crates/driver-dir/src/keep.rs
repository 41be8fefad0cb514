//! Which host a volume in a shared pool belongs to, and how it is taken from one that is lost.
//!
//! The record's host and its count of moves refuse whoever comes late. What a record cannot refuse is a process that
//! has the disk open, or a path to it: QEMU locks what it has open, on whichever host, and so the disk is taken only
//! with all of those locks in hand; and it gets another name, so that an old path leads nowhere.

use std::fs::{self, File};
use std::ops::Range;

use driver::{DriverError, VolumePlace};
use model::Uid;
use serde::{Deserialize, Serialize};

use crate::driver::{DirDriver, settle_offline};
use crate::pool::{Pool, failed};
use crate::record::{self, VolumeRecord};
use crate::shared::Shared;

/// The bytes of a file on which QEMU's locks lie (`RAW_LOCK_PERM_BASE` and `RAW_LOCK_SHARED_BASE` in its
/// block/file-posix.c).
const QEMU_LOCKS: Range<i64> = 100..300;

/// A host waits for a disk, which it is to have with this count of moves.
#[derive(Debug, Serialize, Deserialize)]
struct Wish {
    moves: u64,
}

impl DirDriver {
    pub(crate) async fn keep_here(
        &self,
        place: &VolumePlace,
        moves: u64,
        lost: &[String],
    ) -> Result<(), DriverError> {
        let (pool, _turn) = self.pool(&place.pool).await?;
        if !pool.is_shared() {
            return Ok(());
        }
        let uid = &place.uid;
        let Some(mut volume) = pool.volume(uid)? else { return Ok(()) };
        let is_ours = volume.host == pool.host();
        volume.possession().require_latest(pool.host(), moves)?;
        if is_ours && moves == volume.moves {
            return pool.forget_former_name(uid, &mut volume);
        }
        if !is_ours {
            volume.possession().require_let_go(lost)?;
            self.interrupt(&pool, uid, &volume).await?;
        }
        let taken = if is_ours { None } else { pool.take_disk(uid, &mut volume, moves)? };
        pool.host().clone_into(&mut volume.host);
        volume.moves = moves;
        pool.keep_volume(uid, &volume)?;
        pool.forget_wish(uid)?;
        let forgotten = pool.forget_former_name(uid, &mut volume);
        drop(taken);
        forgotten
    }
}

impl Shared {
    /// Asked by a host that hears of nobody but the pool: without a turn, which it may not get.
    pub(crate) async fn is_wanted_elsewhere(&self, uid: &Uid, host: &str) -> Result<bool, DriverError> {
        let (uid, own) = (uid.clone(), host.to_owned());
        let wanted = move |pool: &Pool| {
            let Some(volume) = pool.volume(&uid)? else { return Ok(false) };
            let wish: Option<Wish> = record::read(&pool.wanted().join(uid.as_str()))
                .map_err(failed("looking who wants a volume"))?;
            Ok(volume.host != own || wish.is_some_and(|wish| wish.moves > volume.moves))
        };
        self.look(host, wanted).await
    }
}

impl Pool {
    pub(crate) fn forget_wish(&self, uid: &Uid) -> Result<(), DriverError> {
        if !self.is_shared() {
            return Ok(());
        }
        record::remove(&self.wanted().join(uid.as_str())).map_err(failed("forgetting who wanted a volume"))
    }

    /// The name that the disk had under a holder that was lost leads nowhere from now on.
    fn forget_former_name(&self, uid: &Uid, volume: &mut VolumeRecord) -> Result<(), DriverError> {
        if !volume.renamed {
            return Ok(());
        }
        self.discard(&Pool::head_name(uid, volume.head - 1))?;
        volume.renamed = false;
        self.keep_volume(uid, volume)
    }

    /// Takes the disk of a volume from a holder that is lost. The locks have to be kept until the record says so.
    fn take_disk(
        &self,
        uid: &Uid,
        volume: &mut VolumeRecord,
        moves: u64,
    ) -> Result<Option<Vec<File>>, DriverError> {
        if volume.holder.is_none() {
            return Ok(None);
        }
        let mut locks = Vec::new();
        for number in [volume.head, volume.head + 1] {
            let path = self.data(&Pool::head_name(uid, number));
            if number > volume.head && (volume.pending.is_none() || !path.exists()) {
                continue;
            }
            let file =
                File::options().read(true).write(true).open(&path).map_err(failed("locking a disk"))?;
            if !sys::lock::try_exclusive(&file, QEMU_LOCKS).map_err(failed("locking a disk"))? {
                record::write(&self.wanted().join(uid.as_str()), &Wish { moves })
                    .map_err(failed("asking for a disk"))?;
                return Err(DriverError::WrongState(format!(
                    "a process, on host {:?} most likely, still has the disk open: end it there, or cut that host off \
                     from the pool",
                    volume.host
                )));
            }
            locks.push(file);
        }
        settle_offline(self, uid, volume)?;
        let (old, new) = (Pool::head_name(uid, volume.head), Pool::head_name(uid, volume.head + 1));
        self.take_back(&old)?;
        self.discard(&new)?;
        self.keep_layer(&new, &self.layer(&old)?)?;
        let link = || {
            record::step()?;
            fs::hard_link(self.data(&old), self.data(&new))?;
            record::sync_folder(&self.data(&new))
        };
        link().map_err(failed("giving a disk another name"))?;
        volume.head += 1;
        volume.renamed = true;
        volume.holder = None;
        volume.epoch += 1;
        Ok(Some(locks))
    }
}
