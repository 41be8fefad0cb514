//! Which host a volume belongs to, and how it is taken from one that is lost.

use driver::{DriverError, VolumePlace};
use model::Uid;

use crate::cluster::{Cluster, or_missing};
use crate::driver::RbdDriver;
use crate::fence::cut_off;
use crate::record::{Name, Record, State};

impl RbdDriver {
    pub(crate) async fn keep_here(
        &self,
        place: &VolumePlace,
        moves: u64,
        lost: &[String],
    ) -> Result<(), DriverError> {
        let cluster = self.cluster(&place.pool)?;
        let Some(record) = Record::find(&cluster.names().await?, &place.uid) else { return Ok(()) };
        record.possession().require_latest(&self.host, moves)?;
        let is_ours = record.host == self.host;
        if is_ours && moves == record.moves {
            return match record.state {
                State::Fencing => self.fence(&place.pool, &cluster, record).await,
                State::Whole | State::Reverting(_) => Ok(()),
            };
        }
        if is_ours {
            self.change(&place.pool, &cluster, &record, Record { moves, ..record.clone() }).await?;
            return Ok(());
        }
        if let Err(held) = record.possession().require_let_go(lost) {
            cluster.keep_object(&wish(&place.uid), moves.to_string().as_bytes()).await?;
            return Err(held);
        }
        let state = if record.holder.is_some() { State::Fencing } else { record.state };
        let epoch = record.epoch + u64::from(record.holder.is_some());
        let taken = Record { moves, epoch, host: self.host.clone(), holder: None, state, ..record.clone() };
        self.change(&place.pool, &cluster, &record, taken.clone()).await?;
        cluster.forget_name(&record.to_string()).await?;
        or_missing(cluster.remove_object(&wish(&place.uid)).await)?;
        match state {
            State::Fencing => self.fence(&place.pool, &cluster, taken).await,
            State::Whole | State::Reverting(_) => Ok(()),
        }
    }

    /// Ends what its holder on another host has left open; the volume can be used from then on.
    async fn fence(&self, pool: &str, cluster: &Cluster, record: Record) -> Result<(), DriverError> {
        cut_off(cluster, &record.to_string()).await?;
        let whole = Record { state: State::Whole, ..record.clone() };
        self.change(pool, cluster, &record, whole).await.map(drop)
    }

    pub(crate) async fn is_wanted(&self, place: &VolumePlace) -> Result<bool, DriverError> {
        let cluster = self.cluster(&place.pool)?;
        let Some(record) = Record::find(&cluster.names().await?, &place.uid) else { return Ok(false) };
        if record.host != self.host {
            return Ok(true);
        }
        let wish = cluster.object(&wish(&place.uid)).await?;
        let wish = wish.and_then(|text| String::from_utf8(text).ok()?.parse::<u64>().ok());
        Ok(wish.is_some_and(|moves| moves > record.moves))
    }

    /// Gives the record's image the name that says what is so now.
    pub(crate) async fn change(
        &self,
        pool: &str,
        cluster: &Cluster,
        old: &Record,
        new: Record,
    ) -> Result<Record, DriverError> {
        if *old == new {
            return Ok(new);
        }
        cluster.rename(&Name::Volume(old.clone()), &Name::Volume(new.clone())).await?;
        self.remember(pool, &new.uid, new.holder.as_ref().filter(|_| new.host == self.host));
        Ok(new)
    }
}

/// The object that says with which count of moves another host waits for a volume.
pub(crate) fn wish(uid: &Uid) -> String {
    format!("corten.wish.{uid}")
}
