//! A thin pool of this host, asked and changed by LVM's own program. What it says is read as JSON.

use std::io;
use std::time::Duration;

use driver::DriverError;
use model::Bytes;
use serde::{Deserialize, Deserializer};
use sys::command::{CommandError, run};

use crate::record::{Name, Record};

const LVM: &str = "lvm";
const DMSETUP: &str = "dmsetup";
/// Who changes a group waits until others have: for as long as a large volume takes to go.
const CALL_MAX: Duration = Duration::from_secs(120);
/// What is asked of every logical volume. Sizes are bytes.
const FIELDS: &str = "lv_name,lv_size,lv_tags,pool_lv,origin,data_percent,metadata_percent,lv_active,thin_id,\
                      zero,lv_when_full,lv_layout,vg_extent_size";

/// A thin pool of a volume group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ThinPool {
    pub(crate) group: String,
    pub(crate) pool: String,
}

/// A thin pool and what is in it, at one moment.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) pool: LogicalVolume,
    pub(crate) volumes: Vec<LogicalVolume>,
}

/// What `lvs` says of a logical volume.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct LogicalVolume {
    #[serde(rename = "lv_name")]
    pub(crate) name: String,
    #[serde(rename = "lv_size", deserialize_with = "bytes")]
    pub(crate) size: Bytes,
    #[serde(rename = "lv_tags", deserialize_with = "words")]
    pub(crate) tags: Vec<String>,
    pool_lv: String,
    /// The name of what it is a snapshot of, if that is there.
    pub(crate) origin: String,
    #[serde(deserialize_with = "percent")]
    data_percent: f64,
    #[serde(deserialize_with = "percent")]
    metadata_percent: f64,
    #[serde(rename = "lv_active")]
    active: String,
    /// Its number in the pool.
    pub(crate) thin_id: String,
    zero: String,
    lv_when_full: String,
    lv_layout: String,
    /// What sizes of logical volumes are multiples of.
    #[serde(rename = "vg_extent_size", deserialize_with = "bytes")]
    pub(crate) extent: Bytes,
}

impl LogicalVolume {
    pub(crate) fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// What it has in its pool. A pool that is not active says nothing.
    pub(crate) fn used(&self) -> Bytes {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let used = (self.size.0 as f64 * self.data_percent / 100.0) as u64;
        Bytes(used)
    }
}

impl Look {
    pub(crate) fn find(&self, name: &Name) -> Option<&LogicalVolume> {
        let name = name.to_string();
        self.volumes.iter().find(|volume| volume.name == name)
    }

    /// How large a logical volume of so many bytes is.
    pub(crate) fn whole(&self, size: Bytes) -> Bytes {
        Bytes(size.0.next_multiple_of(self.pool.extent.0.max(1)))
    }

    /// Refuses to make more when the pool could not remember it.
    pub(crate) fn require_metadata(&self) -> Result<(), DriverError> {
        const MOST: f64 = 90.0;
        if self.pool.metadata_percent < MOST {
            return Ok(());
        }
        Err(DriverError::WrongState(format!(
            "the thin pool's metadata is {:.0} % full: make it larger with `lvextend --poolmetadatasize`",
            self.pool.metadata_percent
        )))
    }
}

impl ThinPool {
    /// The pool, and all that is in it.
    pub(crate) async fn look(&self) -> Result<Look, DriverError> {
        #[derive(Deserialize)]
        struct Told {
            report: Vec<Report>,
        }
        #[derive(Deserialize)]
        struct Report {
            lv: Vec<LogicalVolume>,
        }
        let args =
            ["lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "--options", FIELDS, &self.group];
        let told = self.lvm(&args).await?;
        let told: Told =
            serde_json::from_slice(&told).map_err(|e| DriverError::failed("reading what lvs says", e))?;
        let all = told.report.into_iter().flat_map(|report| report.lv);
        let (mut pools, mut volumes) = (Vec::new(), Vec::new());
        for volume in all {
            if volume.name == self.pool {
                pools.push(volume);
            } else if volume.pool_lv == self.pool {
                volumes.push(volume);
            }
        }
        match pools.pop() {
            Some(pool) if pool.lv_layout.split(',').any(|word| word == "pool") => Ok(Look { pool, volumes }),
            Some(_) => Err(DriverError::Invalid(format!(
                "{}/{} is a logical volume and no thin pool: name one, or make one with `lvcreate --type thin-pool`",
                self.group, self.pool
            ))),
            None => Err(DriverError::WrongState(format!(
                "volume group {:?} has no {:?}: make it with `lvcreate --type thin-pool`",
                self.group, self.pool
            ))),
        }
    }

    /// Makes the pool one in which nobody reads what others have deleted, and in which a write for which there is no room
    /// fails at once, as it does on any disk.
    pub(crate) async fn set_up(&self, pool: &LogicalVolume) -> Result<(), DriverError> {
        if pool.zero != "zero" {
            self.change(&self.pool, &["--zero", "y"]).await?;
        }
        if pool.lv_when_full != "error" {
            self.change(&self.pool, &["--errorwhenfull", "y"]).await?;
        }
        Ok(())
    }

    /// A new one that has nothing in it; nobody can open it yet.
    pub(crate) async fn create(&self, name: &Name, size: Bytes, tags: &[String]) -> Result<(), DriverError> {
        let (size, name) = (format!("{}b", size.0), name.to_string());
        let mut args =
            vec!["lvcreate", "--yes", "--activate", "n", "--setactivationskip", "y", "--name", &name];
        args.extend(["--virtualsize", &size, "--thinpool", &self.pool]);
        args.extend(tags.iter().flat_map(|tag| ["--addtag", tag]));
        args.push(&self.group);
        self.lvm(&args).await.map(drop)
    }

    /// A new one that is what another is at this moment.
    pub(crate) async fn snapshot(&self, of: &Name, name: &Name, record: &Record) -> Result<(), DriverError> {
        let (of, name) = (self.path(&of.to_string()), name.to_string());
        let mut args =
            vec!["lvcreate", "--snapshot", "--activate", "n", "--setactivationskip", "y", "--name", &name];
        let tags = record.tags();
        args.extend(tags.iter().flat_map(|tag| ["--addtag", tag]));
        args.push(&of);
        self.lvm(&args).await.map(drop)
    }

    pub(crate) async fn extend(&self, name: &Name, size: Bytes) -> Result<(), DriverError> {
        let size = format!("{}b", size.0);
        self.lvm(&["lvextend", "--size", &size, &self.path(&name.to_string())]).await.map(drop)
    }

    /// Its record is another, from one moment to the next.
    pub(crate) async fn keep(&self, name: &Name, old: &Record, new: &Record) -> Result<(), DriverError> {
        let (old, new) = (old.tags(), new.tags());
        let gone = old.iter().filter(|tag| !new.contains(tag)).flat_map(|tag| ["--deltag", tag]);
        let come = new.iter().filter(|tag| !old.contains(tag)).flat_map(|tag| ["--addtag", tag]);
        let args: Vec<&str> = gone.chain(come).collect();
        if args.is_empty() {
            return Ok(());
        }
        self.change(&name.to_string(), &args).await
    }

    pub(crate) async fn rename(&self, from: &Name, to: &Name) -> Result<(), DriverError> {
        self.lvm(&["lvrename", &self.group, &from.to_string(), &to.to_string()]).await.map(drop)
    }

    pub(crate) async fn activate(&self, name: &Name) -> Result<(), DriverError> {
        self.change(&name.to_string(), &["--activate", "y", "--ignoreactivationskip"]).await
    }

    /// Refused while somebody has it open.
    pub(crate) async fn deactivate(&self, name: &Name) -> Result<(), DriverError> {
        let done = self.change(&name.to_string(), &["--activate", "n"]).await;
        done.map_err(|e| {
            let text = e.to_string();
            if text.contains("in use") {
                return DriverError::WrongState(format!("a process of this host still has it open: {text}"));
            }
            e
        })
    }

    /// Its blocks are the pool's again.
    pub(crate) async fn remove(&self, name: &Name) -> Result<(), DriverError> {
        self.lvm(&["lvremove", "--yes", &self.path(&name.to_string())]).await.map(drop)
    }

    /// Where the kernel shows it while it is active.
    pub(crate) fn device_path(&self, name: &Name) -> std::path::PathBuf {
        ["/dev", &self.group, &name.to_string()].iter().collect()
    }

    /// Has the kernel hold its metadata as it is at this moment, for [`Self::metadata_path`].
    pub(crate) async fn hold_metadata(&self) -> Result<(), DriverError> {
        // One may be left by whoever was cut off.
        let _ = self.release_metadata().await;
        self.message("reserve_metadata_snap").await
    }

    pub(crate) async fn release_metadata(&self) -> Result<(), DriverError> {
        self.message("release_metadata_snap").await
    }

    pub(crate) fn metadata_path(&self) -> String {
        format!("/dev/mapper/{}_tmeta", self.mapped())
    }

    async fn message(&self, message: &str) -> Result<(), DriverError> {
        let target = format!("{}-tpool", self.mapped());
        let done = run(DMSETUP, ["message", &target, "0", message], CALL_MAX).await;
        done.map(drop).map_err(|e| DriverError::failed(format!("dmsetup message {message}"), e))
    }

    /// As the device mapper writes it: hyphens are doubled.
    fn mapped(&self) -> String {
        format!("{}-{}", self.group.replace('-', "--"), self.pool.replace('-', "--"))
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.group)
    }

    async fn change(&self, name: &str, args: &[&str]) -> Result<(), DriverError> {
        let path = self.path(name);
        self.lvm(&[&["lvchange", "--yes"], args, &[path.as_str()]].concat()).await.map(drop)
    }

    async fn lvm(&self, args: &[&str]) -> Result<Vec<u8>, DriverError> {
        let told = run(LVM, args, CALL_MAX).await;
        told.map_err(|e| match e {
            CommandError::Missing { .. } => DriverError::failed(
                "asking LVM",
                io::Error::new(io::ErrorKind::NotFound, "there is no program lvm: install the package lvm2"),
            ),
            e => DriverError::failed(args[0], e),
        })
    }
}

fn bytes<'de, D: Deserializer<'de>>(text: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(text)?;
    text.parse().map(Bytes).map_err(serde::de::Error::custom)
}

fn words<'de, D: Deserializer<'de>>(text: D) -> Result<Vec<String>, D::Error> {
    let text = String::deserialize(text)?;
    Ok(text.split(',').filter(|word| !word.is_empty()).map(ToOwned::to_owned).collect())
}

/// Empty where it says nothing of the kind.
fn percent<'de, D: Deserializer<'de>>(text: D) -> Result<f64, D::Error> {
    let text = String::deserialize(text)?;
    if text.is_empty() { Ok(0.0) } else { text.parse().map_err(serde::de::Error::custom) }
}
