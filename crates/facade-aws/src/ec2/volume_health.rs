//! Whether volumes are well, and their single attributes.

use model::storage::{Volume, VolumePhase, VolumeSpec};
use model::{Condition, ConditionStatus};

use super::volumes::{IDS, Storage};
use super::world::zone_name;
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("DescribeVolumeStatus", describe!["VolumeId"], |c| Box::pin(status(c))),
    Action::ec2("DescribeVolumeAttribute", &["VolumeId", "Attribute"], |c| Box::pin(attribute(c)))
        .noting("Reading and writing is never held back: autoEnableIO is true."),
    Action::ec2("ModifyVolumeAttribute", &["VolumeId", "AutoEnableIO"], |c| Box::pin(modify(c))),
];

struct Health {
    id: String,
    zone: String,
    word: &'static str,
    /// What its host says is wrong.
    trouble: String,
    since: String,
}

impl Health {
    fn of(storage: &Storage, volume: &Volume) -> Self {
        let is_trouble = |c: &&Condition| c.status == ConditionStatus::False && !c.message.is_empty();
        let trouble = volume.status.conditions.iter().find(is_trouble);
        Self {
            id: ids::id(volume),
            zone: zone_name(&storage.zone(volume)),
            word: match volume.status.phase {
                VolumePhase::Failed => "impaired",
                _ if trouble.is_some_and(|c| c.reason == "HostError") => "impaired",
                VolumePhase::Pending => "insufficient-data",
                VolumePhase::Available | VolumePhase::InUse => "ok",
            },
            trouble: trouble.map(|c| c.message.clone()).unwrap_or_default(),
            since: trouble.and_then(|c| c.last_transition_time).map(|at| at.to_string()).unwrap_or_default(),
        }
    }
}

impl Item for Health {
    const FILTERS: &'static [&'static str] = &[
        "availability-zone",
        "volume-status.status",
        "volume-status.details-name",
        "volume-status.details-status",
        "event.description",
        "event.event-type",
    ];

    fn id(&self) -> &str {
        &self.id
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        let of_event = |text: &str| {
            if self.trouble.is_empty() { Vec::new() } else { vec![text.to_owned()] }
        };
        match filter {
            "availability-zone" => vec![self.zone.clone()],
            "volume-status.status" => vec![self.word.into()],
            "volume-status.details-name" => vec!["io-enabled".into()],
            "volume-status.details-status" => vec![self.detail().into()],
            "event.description" => of_event(&self.trouble),
            _ => of_event("io-enabled"),
        }
    }
    fn write(&self, x: &mut Xml) {
        x.text("volumeId", &self.id)
            .text("availabilityZone", &self.zone)
            .node("volumeStatus", |x| {
                x.text("status", self.word).list("details", [self.detail()], |x, detail| {
                    x.text("name", "io-enabled").text("status", detail);
                });
            })
            .list("actionsSet", std::iter::empty::<()>(), |_, ()| {})
            .list("eventsSet", (!self.trouble.is_empty()).then_some(&self.trouble), |x, trouble| {
                x.text("eventType", "io-enabled")
                    .text("description", trouble)
                    .given("notBefore", &self.since);
            });
    }
}

impl Health {
    fn detail(&self) -> &'static str {
        match self.word {
            "ok" => "passed",
            "impaired" => "failed",
            _ => "insufficient-data",
        }
    }
}

async fn status(c: &Context) -> Answer {
    let storage = Storage::load(c).await?;
    let all = storage.volumes.iter().map(|volume| Health::of(&storage, volume)).collect();
    Ok(answer("volumeStatusSet", &select(&c.params, &IDS, all)?))
}

async fn attribute(c: &Context) -> Answer {
    let volume = c.named::<VolumeSpec>("VolumeId").await?;
    let mut x = Xml::new();
    x.text("volumeId", ids::id(&volume));
    match c.params.require("Attribute")? {
        "autoEnableIO" => {
            x.node("autoEnableIO", |x| {
                x.text("value", true);
            });
        }
        "productCodes" => {
            x.list("productCodes", std::iter::empty::<()>(), |_, ()| {});
        }
        other => return Err(c.params.invalid("Attribute", other, "is no attribute of a volume")),
    }
    Ok(x)
}

async fn modify(c: &Context) -> Answer {
    c.named::<VolumeSpec>("VolumeId").await?;
    match c.params.flag("AutoEnableIO.Value")? {
        None => Err(Failure::missing("AutoEnableIO")),
        Some(true) => Ok(super::done()),
        Some(false) => Err(Failure::unsupported("Reading and writing is never held back in this cloud")),
    }
}
