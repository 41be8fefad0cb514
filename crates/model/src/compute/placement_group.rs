//! PlacementGroup: a name under which instances are kept apart or together, as AWS's clients ask for it. What it means
//! for an instance stands in the instance's own placement; the group is where the name and the wish are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{GROUP, TopologyKey};
use crate::{Claim, Column, FieldErrors, KindInfo, Object, Scope, Spec};

pub type PlacementGroup = Object<PlacementGroupSpec>;

const NAME_MAX: usize = 255;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlacementGroupSpec {
    /// 1 to 255 characters; one of its name in a project.
    pub name: String,
    pub strategy: GroupStrategy,
    /// No two on one host, or in one rack or zone, for strategy `spread`; near means within one, for `cluster`.
    pub level: TopologyKey,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum GroupStrategy {
    /// Near each other, where there is room.
    #[default]
    Cluster,
    /// Apart from each other, or not at all.
    Spread,
}

impl GroupStrategy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Spread => "spread",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlacementGroupStatus {}

impl Spec for PlacementGroupSpec {
    type Status = PlacementGroupStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "PlacementGroup",
        plural: "placementgroups",
        singular: "placementgroup",
        short_names: &["pg"],
        scope: Scope::Project,
        summary: "A name under which instances are kept apart or together, as AWS's clients ask for it.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        errors.require(
            (1..=NAME_MAX).contains(&self.name.chars().count()),
            "spec.name",
            "must be 1 to 255 characters",
        );
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        // Instances were placed by what it said.
        errors.require(self == old, "spec", "cannot be changed; make a new placement group");
    }

    fn columns() -> &'static [Column<PlacementGroup>] {
        const COLUMNS: &[Column<PlacementGroup>] = &[
            Column::text("Called", |g, _| json!(g.spec.name)),
            Column::text("Strategy", |g, _| json!(g.spec.strategy)),
            Column::text("Level", |g, _| json!(g.spec.level)),
        ];
        COLUMNS
    }

    fn claims(group: &PlacementGroup) -> Vec<Claim> {
        let name = &group.spec.name;
        vec![Claim::new(
            format!("placement-group/{}/{name}", group.metadata.namespace),
            "spec.name",
            format!("the name {name} of a placement group"),
        )]
    }
}
