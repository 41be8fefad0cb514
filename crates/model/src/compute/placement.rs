//! Where an instance may run: the scheduler's input.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::FieldErrors;

/// Wishes and rules for the scheduler. Everything given must hold, except where a field says "prefer".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlacementSpec {
    /// Only this host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Only hosts of this zone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Only hosts with these labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub host_labels: BTreeMap<String, String>,
    /// Fill hosts one after another, or keep them evenly loaded.
    pub strategy: Strategy,
    /// Instances to be near to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub affinity: Vec<Affinity>,
    /// Instances to keep away from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anti_affinity: Vec<Affinity>,
    /// Keep instances with these labels evenly spread over a topology.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<SpreadConstraint>,
    /// Taints of hosts that do not keep this instance away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// An instance of higher priority may take the place of one of lower priority.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// What becomes of it when its host is lost.
    #[serde(skip_serializing_if = "is_wait")]
    pub on_host_loss: OnHostLoss,
}

// serde's skip_serializing_if hands out a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_wait(loss: &OnHostLoss) -> bool {
    *loss == OnHostLoss::Wait
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum OnHostLoss {
    /// It waits for its host, on which it may be running.
    #[default]
    Wait,
    /// It is started on another host, with the volumes that it has in pools that hosts share, as soon as it can no
    /// longer write to them where it was. What its first host had of it alone, as a disk made of an image, is made
    /// anew. For that its host ends it when the cloud is out of reach for too long.
    Restart,
}

// serde's skip_serializing_if hands out a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &i32) -> bool {
    *n == 0
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Strategy {
    /// The least loaded host first.
    #[default]
    Spread,
    /// The fullest host that still fits first.
    Pack,
}

/// A level of the topology over which things are spread or kept together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum TopologyKey {
    #[default]
    Host,
    Rack,
    Zone,
}

/// Instances of the same project with these labels, on the same host, rack or zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    pub labels: BTreeMap<String, String>,
    pub topology: TopologyKey,
    /// Only a preference.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub prefer: bool,
}

/// At most `max_skew` more matching instances in one domain than in the emptiest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SpreadConstraint {
    pub labels: BTreeMap<String, String>,
    pub topology: TopologyKey,
    /// At least 1.
    pub max_skew: u32,
    /// Only a preference.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub prefer: bool,
}

/// Tolerates taints with this key (and value, when given).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl PlacementSpec {
    pub(crate) fn validate(&self, field: &str, errors: &mut FieldErrors) {
        errors.require(
            self.on_host_loss == OnHostLoss::Wait || self.host.is_empty(),
            &format!("{field}.onHostLoss"),
            &format!("restart needs another host to start it on: leave {field}.host out"),
        );
        for (list, items) in [("affinity", &self.affinity), ("antiAffinity", &self.anti_affinity)] {
            for (i, a) in items.iter().enumerate() {
                errors.require(
                    !a.labels.is_empty(),
                    &format!("{field}.{list}[{i}].labels"),
                    "must not be empty",
                );
            }
        }
        for (i, s) in self.spread.iter().enumerate() {
            let at = format!("{field}.spread[{i}]");
            errors.require(!s.labels.is_empty(), &format!("{at}.labels"), "must not be empty");
            errors.require(s.max_skew >= 1, &format!("{at}.maxSkew"), "must be at least 1");
        }
        for (i, t) in self.tolerations.iter().enumerate() {
            errors.require(!t.key.is_empty(), &format!("{field}.tolerations[{i}].key"), "must be set");
        }
    }
}
