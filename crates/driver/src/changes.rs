//! What changed in a disk since a moment: noted by whoever writes to the disk, under names, in the disk itself.

use std::path::PathBuf;

use async_trait::async_trait;
use model::{Bytes, Uid};
use serde_json::{Value, json};

/// Names of notes that are ours begin so.
const PREFIX: &str = "corten-";
/// What changes are told apart by, in bytes.
pub const GRANULARITY: u32 = 64 << 10;

/// What changed in a disk is to be written into a file of its own, as it is at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangesPlan {
    /// An empty qcow2 of the disk's size. What is in it afterwards changed; what is not there did not.
    pub target: PathBuf,
    /// What changes from this moment on is noted under this name.
    pub begins: Uid,
    /// Names under which changes may have been noted, the newest first. Those since the first that is there and whole
    /// are meant; the whole disk when there is none.
    pub since: Vec<Uid>,
}

/// What changed in a disk, piece by piece.
pub struct ChangeStream {
    /// How large the disk is.
    pub size: Bytes,
    /// The moment that the changes are counted from; none when it is the whole disk.
    pub since: Option<Uid>,
    pub changes: Box<dyn ReadChanges>,
}

impl std::fmt::Debug for ChangeStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChangeStream")
            .field("size", &self.size)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

/// A piece of a disk, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Data { offset: u64, bytes: Vec<u8> },
    Zeros { offset: u64, length: u64 },
}

#[async_trait]
pub trait ReadChanges: Send {
    /// The next piece, which lies behind the one before; none at the end. Pieces are whole chunks of the size that
    /// changes are told apart by, but for one at the end of the disk.
    async fn next(&mut self) -> std::io::Result<Option<Change>>;
}

/// A note that a disk has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    pub name: String,
    /// Every change since it began is in it.
    pub is_whole: bool,
}

impl Noted {
    /// The notes of a node, in QEMU's answer to `query-named-block-nodes`.
    pub fn all(nodes: &Value, node: &str) -> Vec<Self> {
        let own = nodes.as_array().into_iter().flatten().find(|found| found["node-name"] == node);
        let bitmaps = own.and_then(|node| node["dirty-bitmaps"].as_array()).into_iter().flatten();
        let note = |bitmap: &Value| {
            let is_whole = bitmap["recording"] == true && bitmap["persistent"] == true;
            let name = bitmap["name"].as_str().unwrap_or_default().to_owned();
            Self { name, is_whole: is_whole && bitmap["inconsistent"] != true }
        };
        bitmaps.map(note).collect()
    }
}

impl ChangesPlan {
    pub fn name_of(uid: &Uid) -> String {
        format!("{PREFIX}{uid}")
    }

    /// The note whose changes are meant, and those that nobody will ask for any more.
    pub fn choose(&self, found: &[Noted]) -> (Option<Uid>, Vec<String>) {
        let whole = |uid: &&Uid| found.iter().any(|note| note.is_whole && note.name == Self::name_of(uid));
        let since = self.since.iter().filter(|uid| **uid != self.begins).find(whole).cloned();
        let kept = since.as_ref().map(Self::name_of);
        let ours = found.iter().filter(|note| note.name.starts_with(PREFIX));
        let spare = ours.filter(|note| Some(&note.name) != kept.as_ref()).map(|note| note.name.clone());
        (since, spare.collect())
    }

    /// The arguments of QEMU's `transaction`: the new note begins, and a job copies what was noted since, or everything,
    /// from a node to the one that is named as the job. Both of one moment.
    pub fn transaction(&self, node: &str, job: &str, since: Option<&Uid>) -> Value {
        let begins = json!({
            "node": node, "name": Self::name_of(&self.begins), "persistent": true, "granularity": GRANULARITY,
        });
        let mut copy =
            json!({ "job-id": job, "device": node, "target": job, "sync": "full", "auto-dismiss": false });
        if let Some(since) = since {
            copy["sync"] = json!("bitmap");
            copy["bitmap"] = json!(Self::name_of(since));
            // It stays what it is until the copy has arrived where it goes.
            copy["bitmap-mode"] = json!("never");
        }
        json!({ "actions": [
            { "type": "block-dirty-bitmap-add", "data": begins },
            { "type": "blockdev-backup", "data": copy },
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(name: &str) -> Uid {
        Uid::parse(name).unwrap_or_default()
    }

    #[test]
    fn the_newest_note_that_is_whole_counts() {
        let plan = |since: &[&str]| ChangesPlan {
            target: PathBuf::new(),
            begins: uid("cc"),
            since: since.iter().map(|name| uid(name)).collect(),
        };
        let note = |name: &str, is_whole| Noted { name: name.into(), is_whole };
        let found = [
            note("corten-aa", true),
            note("corten-bb", false),
            note("corten-cc", true),
            note("another", true),
        ];
        let spare = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let all = spare(&["corten-bb", "corten-cc"]);
        assert_eq!(plan(&["bb", "aa"]).choose(&found), (Some(uid("aa")), all.clone()));
        assert_eq!(
            plan(&["cc", "aa"]).choose(&found),
            (Some(uid("aa")), all),
            "its own is of an earlier try"
        );
        let nothing = spare(&["corten-aa", "corten-bb", "corten-cc"]);
        assert_eq!(plan(&["bb"]).choose(&found), (None, nothing));
        assert_eq!(plan(&["aa"]).choose(&[]), (None, Vec::new()));
    }
}
