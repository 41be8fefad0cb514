//! What stands on what in a pool: found out by reading all of its records, never remembered.

use std::collections::{BTreeMap, BTreeSet};

use driver::DriverError;

use crate::pool::Pool;
use crate::record::LayerRecord;

/// Files of images, which other volumes may come to stand on at any time.
pub(crate) const IMAGE_PREFIX: &str = "image-";

/// A layer and the only file that stands on it: one file would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Merge {
    /// Stays, with what both show.
    pub(crate) top: String,
    /// Goes.
    pub(crate) layer: String,
    /// What the layer stands on, nearest first.
    pub(crate) below: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Survey {
    layers: BTreeMap<String, LayerRecord>,
    /// Files that take or took writes of a volume.
    heads: BTreeSet<String>,
    /// Heads that somebody may have open.
    open: Vec<String>,
    /// Layers that snapshots name.
    kept: BTreeSet<String>,
}

impl Survey {
    pub(crate) fn of(pool: &Pool) -> Result<Self, DriverError> {
        let mut survey = Self::default();
        for file in pool.files()?.iter().filter_map(|file| file.strip_suffix(".json")) {
            survey.layers.insert(file.to_owned(), pool.layer(file)?);
        }
        for uid in pool.volumes()? {
            let Some(volume) = pool.volume(&uid)? else { continue };
            let mut own = vec![Pool::head_name(&uid, volume.head)];
            if volume.pending.is_some() {
                own.push(Pool::head_name(&uid, volume.head + 1));
            }
            if volume.pending.is_some() || volume.holder.is_some() {
                survey.open.extend(own.iter().cloned());
            }
            survey.heads.extend(own);
        }
        for uid in pool.snapshots()? {
            survey.kept.extend(pool.snapshot(&uid)?.map(|snapshot| snapshot.layer));
        }
        Ok(survey)
    }

    /// Every file that a volume or a snapshot needs.
    pub(crate) fn needed(&self) -> BTreeSet<String> {
        self.reach(self.heads.iter().chain(&self.kept).cloned().collect())
    }

    /// Files whose change of what they stand on may not have come to its end, and that nobody has open.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let open = self.reach(self.open.clone());
        let unsettled =
            self.layers.iter().filter(|(name, layer)| layer.was.is_some() && !open.contains(*name));
        unsettled.map(|(name, _)| name.clone()).collect()
    }

    /// A pair that can be merged now: nobody has it open, and nobody else stands on the layer.
    pub(crate) fn find_merge(&self) -> Option<Merge> {
        let open = self.reach(self.open.clone());
        let needed = self.needed();
        needed.iter().filter(|top| !open.contains(*top)).find_map(|top| {
            let layer = self.layers.get(top)?.backing.clone()?;
            self.is_spare(&layer, &needed).then(|| {
                let below = self.chain(&layer).skip(1).map(ToOwned::to_owned).collect();
                Merge { top: top.clone(), layer, below }
            })
        })
    }

    /// What `head` could stand on directly, without the layers between that only it needs, on its way there; nothing
    /// when there are none.
    pub(crate) fn shortcut(&self, head: &str) -> Option<LayerRecord> {
        let was = self.layers.get(head)?.backing.clone();
        let needed = self.needed();
        let mut spare = 0;
        let mut at = self.layers.get(head)?.backing.as_deref();
        while let Some(layer) = at.filter(|layer| self.is_spare(layer, &needed)) {
            spare += 1;
            at = self.layers.get(layer).and_then(|layer| layer.backing.as_deref());
        }
        (spare > 0).then(|| LayerRecord { backing: at.map(ToOwned::to_owned), was })
    }

    /// Whether exactly one file stands on the layer, and no snapshot names it.
    fn is_spare(&self, layer: &str, needed: &BTreeSet<String>) -> bool {
        let stands = |name: &&String| self.layers.get(*name).is_some_and(|l| l.stands_on(layer));
        !layer.starts_with(IMAGE_PREFIX)
            && !self.kept.contains(layer)
            && !self.heads.contains(layer)
            && needed.iter().filter(stands).count() == 1
    }

    /// A file and all below it.
    fn chain<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        std::iter::successors(Some(name), |name| self.layers.get(*name)?.backing.as_deref())
    }

    fn reach(&self, mut roots: Vec<String>) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        while let Some(name) = roots.pop() {
            if let Some(layer) = self.layers.get(&name) {
                roots.extend(
                    layer.backing.iter().chain(&layer.was).filter(|n| !reached.contains(*n)).cloned(),
                );
            }
            reached.insert(name);
        }
        reached
    }
}
