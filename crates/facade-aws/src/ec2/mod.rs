//! EC2: a file per family of actions. What several of them need of the project's objects is in `world`.

pub(crate) mod acl_entries;
pub(crate) mod acls;
pub(crate) mod addresses;
pub(crate) mod associations;
pub(crate) mod attachments;
pub(crate) mod attributes;
pub(crate) mod cards;
pub(crate) mod console;
pub(crate) mod dhcp_options;
pub(crate) mod egress_gateways;
pub(crate) mod endpoint_services;
pub(crate) mod endpoints;
pub(crate) mod flow_logs;
pub(crate) mod gateways;
pub(crate) mod groups;
pub(crate) mod image_keeping;
pub(crate) mod image_making;
pub(crate) mod images;
pub(crate) mod imports;
pub(crate) mod instances;
pub(crate) mod interfaces;
pub(crate) mod key_pairs;
pub(crate) mod launch_templates;
pub(crate) mod modifications;
pub(crate) mod peerings;
pub(crate) mod placement_groups;
pub(crate) mod places;
pub(crate) mod power;
pub(crate) mod prefix_lists;
pub(crate) mod profiles;
pub(crate) mod routes;
pub(crate) mod rules;
pub(crate) mod run;
pub(crate) mod snapshots;
pub(crate) mod subnets;
pub(crate) mod tagging;
mod unsuccessful;
pub(crate) mod volume_health;
pub(crate) mod volumes;
pub(crate) mod vpcs;

mod asked_rules;
mod block_devices;
mod candidates;
mod registered;
mod rule_notes;
mod shown;
mod template_data;
pub(crate) mod world;

use model::ObjectMeta;

use crate::xml::Xml;

/// What a change without an answer of its own answers.
fn done() -> Xml {
    let mut x = Xml::new();
    x.text("return", true);
    x
}

/// When an object came to be, as text; empty when that is not known.
pub(crate) fn created_at(meta: &ObjectMeta) -> String {
    meta.creation_timestamp.map(|at| at.to_string()).unwrap_or_default()
}

/// A flag as EC2 writes it in lists of facts.
fn word(flag: bool) -> String {
    flag.to_string()
}
