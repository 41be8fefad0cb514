//! Volumes that are changed: larger, and with other limits. What they were before is noted beside them.

use model::Bytes;
use model::storage::{Volume, VolumeLimits, VolumeSpec};
use serde_json::{Value, json};

use super::volumes::{IDS, VOLUME_TYPE, gibibytes, limits, sort, too_large};
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::xml::Xml;

/// On volumes: what they were before the last change, and when that was, as a JSON object.
const MODIFICATION: &str = "aws.corten.dev/modification";

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2(
        "ModifyVolume",
        &["VolumeId", "Size", "VolumeType", "Iops", "Throughput", "MultiAttachEnabled"],
        |c| Box::pin(modify(c)),
    )
    .noting("A volume grows while it is used, as often as one likes; it stays in its pool."),
    Action::ec2("DescribeVolumesModifications", describe!["VolumeId"], |c| Box::pin(describe(c)))
        .noting("Of each volume the last one."),
];

/// The last change of a volume.
struct Modification {
    id: String,
    done: bool,
    started_at: String,
    /// Size, limits and type before, and as they are wanted.
    before: Facts,
    wanted: Facts,
}

struct Facts {
    size: u64,
    limits: VolumeLimits,
    sort: String,
}

impl Facts {
    fn of(volume: &Volume) -> Self {
        Self {
            size: gibibytes(volume.spec.size.max(volume.status.size)),
            limits: volume.spec.limits,
            sort: sort(volume).to_owned(),
        }
    }

    fn read(value: &Value) -> Self {
        let number = |name: &str| value[name].as_u64().unwrap_or_default();
        Self {
            size: number("size"),
            limits: VolumeLimits { iops: number("iops"), bytes_per_second: number("bytesPerSecond") },
            sort: value["type"].as_str().unwrap_or_default().to_owned(),
        }
    }

    fn noted(&self, at: &str) -> String {
        let VolumeLimits { iops, bytes_per_second } = self.limits;
        json!({ "size": self.size, "iops": iops, "bytesPerSecond": bytes_per_second, "type": self.sort, "at": at })
            .to_string()
    }

    fn write(&self, x: &mut Xml, which: &str) {
        x.text(&format!("{which}Size"), self.size).given(&format!("{which}VolumeType"), &self.sort);
        super::volumes::write_limits(x, self.limits, &format!("{which}Iops"), &format!("{which}Throughput"));
        x.text(&format!("{which}MultiAttachEnabled"), false);
    }
}

impl Modification {
    fn of(volume: &Volume) -> Option<Self> {
        let noted: Value = serde_json::from_str(volume.metadata.annotations.get(MODIFICATION)?).ok()?;
        // One that is not made yet is made as it is wanted now.
        let made = !volume.status.host.is_empty();
        Some(Self {
            id: ids::id(volume),
            done: !made || volume.status.size >= volume.spec.size,
            started_at: noted["at"].as_str().unwrap_or_default().to_owned(),
            before: Facts::read(&noted),
            wanted: Facts::of(volume),
        })
    }

    fn state(&self) -> &'static str {
        if self.done { "completed" } else { "modifying" }
    }
}

impl Item for Modification {
    const FILTERS: &'static [&'static str] = &[
        "volume-id",
        "modification-state",
        "original-size",
        "original-iops",
        "original-volume-type",
        "target-size",
        "target-iops",
        "target-volume-type",
        "start-time",
    ];

    fn id(&self) -> &str {
        &self.id
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "volume-id" => self.id.clone(),
            "modification-state" => self.state().into(),
            "original-size" => self.before.size.to_string(),
            "original-iops" => self.before.limits.iops.to_string(),
            "original-volume-type" => self.before.sort.clone(),
            "target-size" => self.wanted.size.to_string(),
            "target-iops" => self.wanted.limits.iops.to_string(),
            "target-volume-type" => self.wanted.sort.clone(),
            _ => self.started_at.clone(),
        }]
    }
    fn write(&self, x: &mut Xml) {
        x.text("volumeId", &self.id).text("modificationState", self.state());
        self.wanted.write(x, "target");
        self.before.write(x, "original");
        x.text("progress", if self.done { 100 } else { 0 }).given("startTime", &self.started_at);
    }
}

async fn describe(c: &Context) -> Answer {
    let volumes = c.list::<VolumeSpec>().await?;
    for id in c.params.list(IDS.parameter) {
        ids::by_id(&volumes, &id)?;
    }
    let none = |id: &str| {
        let message = format!("Modification for volume '{id}' does not exist.");
        Failure::new("InvalidVolumeModification.NotFound", message)
    };
    let found = volumes.iter().filter_map(Modification::of).collect();
    Ok(answer("volumeModificationSet", &select(&c.params, &Ids { parameter: IDS.parameter, none }, found)?))
}

async fn modify(c: &Context) -> Answer {
    let volume = c.named::<VolumeSpec>("VolumeId").await?;
    let params = &c.params;
    if params.flag("MultiAttachEnabled")? == Some(true) {
        return Err(Failure::unsupported("A volume is attached to one instance at a time in this cloud"));
    }
    let before = Facts::of(&volume);
    let size = params.number("Size")?;
    if size.is_some_and(|size| u64::try_from(size).is_ok_and(|size| size < before.size) || size < 0) {
        let message = format!("New size cannot be smaller than existing size, which is {} GiB", before.size);
        return Err(Failure::value(message));
    }
    let wanted_type = params.get("VolumeType").unwrap_or(&before.sort).to_owned();
    // A type that is a pool's name is where the volume is kept.
    let moves = wanted_type != before.sort;
    let kept = |sort: &str| sort == volume.spec.pool;
    if moves && (kept(&before.sort) || !super::volumes::TYPES.contains(&wanted_type.as_str())) {
        let message = format!("A volume of type {} cannot become one of {wanted_type}", before.sort);
        return Err(Failure::unsupported(message));
    }
    // Limits that are not said stay, where the new type can have them.
    let mut said = params.without("VolumeType");
    said.put("VolumeType", &wanted_type);
    let of_type = |types: &[&str]| {
        types.contains(&wanted_type.as_str()) || !super::volumes::TYPES.contains(&wanted_type.as_str())
    };
    if said.get("Iops").is_none() && before.limits.iops > 0 && of_type(&["gp3", "io1", "io2"]) {
        said.put("Iops", &before.limits.iops.to_string());
    }
    let mut limits = limits(&said)?;
    if said.get("Throughput").is_none() && of_type(&["gp3"]) {
        limits.bytes_per_second = before.limits.bytes_per_second;
    }
    let grown = size.and_then(|size| u64::try_from(size).ok()).map(Bytes::gib);
    let changed = c
        .change::<VolumeSpec>(&volume.metadata.name, |volume| {
            let note = Facts::of(volume).noted(&c.now().to_string());
            volume.metadata.annotations.insert(MODIFICATION.into(), note);
            if moves {
                volume.metadata.annotations.insert(VOLUME_TYPE.into(), wanted_type.clone());
            }
            if let Some(size) = grown {
                volume.spec.size = size.max(volume.spec.size);
            }
            volume.spec.limits = limits;
            Ok(())
        })
        .await
        .map_err(too_large)?;
    let mut x = Xml::new();
    if let Some(modification) = Modification::of(&changed) {
        x.node("volumeModification", |x| modification.write(x));
    }
    Ok(x)
}
