//! What logical volumes of the pool are, as their names say it, and what their tags say of them.

use std::fmt;

use driver::{Possession, in_guest};
use model::{Bytes, Uid};

use crate::lvm::LogicalVolume;

const PREFIX: &str = "corten-";
const EPOCH: &str = "corten.epoch=";
const HOLDER: &str = "corten.holder=";
const VOLUME: &str = "corten.volume=";
const ENCRYPTED: &str = "corten.encrypted";

/// Tags of [`Name::Owner`].
const POOL: &str = "corten.pool=";
const HOST: &str = "corten.host=";

/// What a logical volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    /// Says whose the thin pool is. There is one of the name, so that two who come at once do not both get it.
    Owner,
    Volume(Uid),
    Snapshot(Uid),
    /// What an image of the cloud shows, by the name of its file.
    Image(String),
    /// The moment of a backup, from which the next one counts.
    Backup(Uid),
    /// On its way to be a volume or an image.
    Making(String),
    /// What a volume is to be when it has gone back to a snapshot.
    Back(Uid),
    /// What a volume was before.
    Old(Uid),
}

impl Name {
    /// None for what is not ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let own = text.strip_prefix(PREFIX)?;
        if own == "owner" {
            return Some(Self::Owner);
        }
        let (kind, what) = own.split_once('-')?;
        let uid = || Uid::parse(what);
        match kind {
            "volume" => uid().map(Self::Volume),
            "snapshot" => uid().map(Self::Snapshot),
            "image" => Some(Self::Image(what.to_owned())),
            "backup" => uid().map(Self::Backup),
            "making" => Some(Self::Making(what.to_owned())),
            "back" => uid().map(Self::Back),
            "old" => uid().map(Self::Old),
            _ => None,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => write!(f, "{PREFIX}owner"),
            Self::Volume(uid) => write!(f, "{PREFIX}volume-{uid}"),
            Self::Snapshot(uid) => write!(f, "{PREFIX}snapshot-{uid}"),
            Self::Image(file) => write!(f, "{PREFIX}image-{file}"),
            Self::Backup(uid) => write!(f, "{PREFIX}backup-{uid}"),
            Self::Making(what) => write!(f, "{PREFIX}making-{what}"),
            Self::Back(uid) => write!(f, "{PREFIX}back-{uid}"),
            Self::Old(uid) => write!(f, "{PREFIX}old-{uid}"),
        }
    }
}

/// The tags that say which pool of a cloud it is, and on which host.
pub(crate) fn owner_tags(pool: &Uid, host: &str) -> Vec<String> {
    vec![format!("{HOST}{host}"), format!("{POOL}{pool}")]
}

/// What the tags of a volume, a snapshot or the moment of a backup say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Of the last attachment.
    pub(crate) epoch: u64,
    /// The instance that may open it.
    pub(crate) holder: Option<Uid>,
    /// The volume that it is of, where it is none itself.
    pub(crate) volume: Option<Uid>,
    pub(crate) encrypted: bool,
}

impl Record {
    pub(crate) fn of(found: &LogicalVolume) -> Self {
        let value = |prefix: &str| found.tags.iter().find_map(|tag| tag.strip_prefix(prefix));
        Self {
            epoch: value(EPOCH).and_then(|epoch| epoch.parse().ok()).unwrap_or_default(),
            holder: value(HOLDER).and_then(Uid::parse),
            volume: value(VOLUME).and_then(Uid::parse),
            encrypted: found.tags.iter().any(|tag| tag == ENCRYPTED),
        }
    }

    pub(crate) fn tags(&self) -> Vec<String> {
        let epoch = (self.epoch > 0).then(|| format!("{EPOCH}{}", self.epoch));
        let holder = self.holder.as_ref().map(|holder| format!("{HOLDER}{holder}"));
        let volume = self.volume.as_ref().map(|volume| format!("{VOLUME}{volume}"));
        let encrypted = self.encrypted.then(|| ENCRYPTED.to_owned());
        [epoch, holder, volume, encrypted].into_iter().flatten().collect()
    }

    /// What is of this volume, as it is now.
    pub(crate) fn part_of(&self, volume: &Uid) -> Self {
        Self { volume: Some(volume.clone()), encrypted: self.encrypted, ..Self::default() }
    }

    /// How large it is for who has the key.
    pub(crate) fn size(&self, found: &LogicalVolume) -> Bytes {
        in_guest(found.size, self.encrypted)
    }

    pub(crate) fn possession(&self) -> Possession<'_> {
        Possession { host: "", moves: 0, epoch: self.epoch, holder: self.holder.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(text: &str) -> Uid {
        Uid::parse(text).unwrap_or_default()
    }

    #[test]
    fn a_name_says_what_it_is() {
        let all = [
            Name::Owner,
            Name::Volume(uid("aa01")),
            Name::Snapshot(uid("bb-02-feed")),
            Name::Image("sha256-abc".into()),
            Name::Backup(uid("cc")),
            Name::Making("aa01".into()),
            Name::Back(uid("aa01")),
            Name::Old(uid("aa01")),
        ];
        for name in all {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        for other in ["root", "corten-", "corten-volume", "corten-volume-", "corten-else-aa01", "pool_tmeta"]
        {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }

    #[test]
    fn tags_are_the_record() {
        let records = [
            Record::default(),
            Record { epoch: 7, holder: Some(uid("bb01")), volume: None, encrypted: true },
            Record { volume: Some(uid("aa01")), ..Record::default() },
        ];
        for record in records {
            let mut tags = record.tags();
            tags.push("somebody's own".into());
            let mut found = LogicalVolume::default();
            found.tags = tags;
            assert_eq!(Record::of(&found), record);
        }
    }
}
