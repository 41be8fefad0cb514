//! All that is answered, in one table; the page of documentation is made from it.

use std::fmt::Write;

use futures::future::BoxFuture;

use crate::context::Context;
use crate::failure::Failure;
use crate::xml::Xml;
use crate::{ec2, elb, iam, monitoring, scaling, sts};

pub(crate) type Answer = Result<Xml, Failure>;
/// What load balancers are called in credentials.
pub(crate) const ELB: &str = "elasticloadbalancing";
/// Of the two protocols of that service the newer.
pub(crate) const ELB_VERSION: &str = "2015-12-01";

type Run = for<'a> fn(&'a Context) -> BoxFuture<'a, Answer>;

/// An action of a service.
pub(crate) struct Action {
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    /// Parameters that mean something here, by their first part. Any other is refused: to leave out what was asked for
    /// would be to pretend.
    pub(crate) takes: &'static [&'static str],
    pub(crate) run: Run,
    /// What differs from AWS, in a sentence.
    pub(crate) note: &'static str,
}

impl Action {
    pub(crate) const fn ec2(name: &'static str, takes: &'static [&'static str], run: Run) -> Self {
        Self { service: "ec2", name, takes, run, note: "" }
    }

    pub(crate) const fn iam(name: &'static str, takes: &'static [&'static str], run: Run) -> Self {
        Self { service: "iam", name, takes, run, note: "" }
    }

    pub(crate) const fn sts(name: &'static str, takes: &'static [&'static str], run: Run) -> Self {
        Self { service: "sts", name, takes, run, note: "" }
    }

    pub(crate) const fn elb(name: &'static str, takes: &'static [&'static str], run: Run) -> Self {
        Self { service: ELB, name, takes, run, note: "" }
    }

    pub(crate) const fn scaling(name: &'static str, takes: &'static [&'static str], run: Run) -> Self {
        Self { service: "autoscaling", name, takes, run, note: "" }
    }

    pub(crate) const fn monitoring(name: &'static str, takes: &'static [&'static str], run: Run) -> Self {
        Self { service: "monitoring", name, takes, run, note: "" }
    }

    #[must_use]
    pub(crate) const fn noting(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    /// The XML namespace of the service's answers.
    pub(crate) fn namespace(&self) -> &'static str {
        match self.service {
            "sts" => "https://sts.amazonaws.com/doc/2011-06-15/",
            ELB => "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
            "monitoring" => "http://monitoring.amazonaws.com/doc/2010-08-01/",
            "autoscaling" => "http://autoscaling.amazonaws.com/doc/2011-01-01/",
            "iam" => "https://iam.amazonaws.com/doc/2010-05-08/",
            _ => "",
        }
    }
}

/// What every Describe call takes.
macro_rules! describe {
    ($($more:literal),*) => {
        &["Filter", "MaxResults", "NextToken" $(, $more)*]
    };
}
pub(crate) use describe;

/// Every family, in the order of the documentation.
const FAMILIES: &[(&str, &[Action])] = &[
    ("Who calls (STS)", sts::ACTIONS),
    ("Who may do what (IAM)", iam::users::ACTIONS),
    ("", iam::groups::ACTIONS),
    ("", iam::roles::ACTIONS),
    ("", iam::policies::ACTIONS),
    ("", iam::grants::ACTIONS),
    ("", iam::keys::ACTIONS),
    ("", iam::profiles::ACTIONS),
    ("", iam::server_certificates::ACTIONS),
    ("", iam::simulate::ACTIONS),
    ("Regions and sizes", ec2::places::ACTIONS),
    ("Instances", ec2::run::ACTIONS),
    ("", ec2::instances::ACTIONS),
    ("", ec2::power::ACTIONS),
    ("", ec2::attributes::ACTIONS),
    ("", ec2::console::ACTIONS),
    ("", ec2::profiles::ACTIONS),
    ("Launch templates", ec2::launch_templates::ACTIONS),
    ("Placement groups", ec2::placement_groups::ACTIONS),
    ("Key pairs", ec2::key_pairs::ACTIONS),
    ("Tags", ec2::tagging::ACTIONS),
    ("Images", ec2::images::ACTIONS),
    ("", ec2::image_making::ACTIONS),
    ("", ec2::image_keeping::ACTIONS),
    ("", ec2::imports::ACTIONS),
    ("Volumes and snapshots", ec2::volumes::ACTIONS),
    ("", ec2::attachments::ACTIONS),
    ("", ec2::modifications::ACTIONS),
    ("", ec2::volume_health::ACTIONS),
    ("", ec2::snapshots::ACTIONS),
    ("VPCs and subnets", ec2::vpcs::ACTIONS),
    ("", ec2::subnets::ACTIONS),
    ("Gateways", ec2::gateways::ACTIONS),
    ("", ec2::egress_gateways::ACTIONS),
    ("VPC peering", ec2::peerings::ACTIONS),
    ("Route tables", ec2::routes::ACTIONS),
    ("", ec2::associations::ACTIONS),
    ("Security groups", ec2::groups::ACTIONS),
    ("", ec2::rules::ACTIONS),
    ("Network ACLs", ec2::acls::ACTIONS),
    ("", ec2::acl_entries::ACTIONS),
    ("DHCP options", ec2::dhcp_options::ACTIONS),
    ("Prefix lists", ec2::prefix_lists::ACTIONS),
    ("VPC endpoints", ec2::endpoints::ACTIONS),
    ("", ec2::endpoint_services::ACTIONS),
    ("Flow logs", ec2::flow_logs::ACTIONS),
    ("Elastic addresses", ec2::addresses::ACTIONS),
    ("Network interfaces", ec2::interfaces::ACTIONS),
    ("", ec2::cards::ACTIONS),
    ("Load balancers (ELBv2)", elb::balancers::ACTIONS),
    ("", elb::listeners::ACTIONS),
    ("", elb::certificates::ACTIONS),
    ("", elb::rules::ACTIONS),
    ("", elb::groups::ACTIONS),
    ("", elb::targets::ACTIONS),
    ("", elb::attributes::ACTIONS),
    ("", elb::tagging::ACTIONS),
    ("Groups of instances (Auto Scaling)", scaling::groups::ACTIONS),
    ("", scaling::members::ACTIONS),
    ("", scaling::target_groups::ACTIONS),
    ("", scaling::tagging::ACTIONS),
    ("What instances use (CloudWatch)", monitoring::ACTIONS),
];

/// What everyday tools also ask for, and is not here: it is answered with InvalidAction.
const REFUSED: &[(&str, &str)] = &[
    ("ExportImage, CreateStoreImageTask", "disks are brought in, not out"),
    (
        "CreateReplaceRootVolumeTask, DescribeReplaceRootVolumeTasks",
        "an instance keeps its root volume; run another one of the snapshot's image",
    ),
    (
        "CreateVpcEndpointServiceConfiguration and its like",
        "endpoints lead to the cloud's own services; to one's own leads a load balancer",
    ),
    (
        "Auto Scaling: launch configurations, policies, schedules, lifecycle hooks, refreshes, warm pools",
        "launch templates are what AWS has instead of the first; nothing measures for the others yet",
    ),
    ("CloudWatch: alarms, dashboards, metrics of one's own", "what hosts count is all that is kept"),
    ("Load balancers of the older protocol (ELB)", "those of ELBv2 do what they do"),
    ("RequestSpotInstances, Fleets, Reserved Instances, Dedicated Hosts", "there is no market here"),
    (
        "IAM: passwords, MFA, signing certificates, identity providers, service-linked roles",
        "who logs in is Corten's",
    ),
];

pub(crate) fn all() -> impl Iterator<Item = &'static Action> {
    FAMILIES.iter().flat_map(|(_, actions)| actions.iter())
}

pub(crate) fn find(service: &str, name: &str) -> Option<&'static Action> {
    all().find(|action| action.name == name && action.service == service)
}

/// The page that lists every action, in Markdown.
pub fn documentation() -> String {
    let mut out = String::from(HEAD);
    for (title, actions) in FAMILIES {
        if !title.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\n## {title}\n\n| action | parameters | differs |\n|---|---|---|\n");
        }
        for action in *actions {
            let _ = writeln!(out, "| {} | {} | {} |", action.name, action.takes.join(", "), action.note);
        }
    }
    out.push_str(
        "\n## Not here\n\nThese answer `InvalidAction`, as AWS does for an action that it does not know.\n\n",
    );
    out.push_str("| what | why |\n|---|---|\n");
    for (what, why) in REFUSED {
        let _ = writeln!(out, "| {what} | {why} |");
    }
    out
}

const HEAD: &str = "\
# The AWS protocol

A cloud answers AWS's own clients at its one address. `eval \"$(corten env aws)\"` sets what they read: endpoint,
certificate authority, key and region. The page is made from the table in `crates/facade-aws/src/actions.rs`; a test
compares the two.

- A key works in one project, and may there what its user may. The project is the account: its number follows from
  its name.
- An object made here is named by its id, so `aws`, `corten` and `kubectl` call it alike. Objects made otherwise have
  the first 17 digits of their uid as id.
- Load balancers, target groups, key pairs and IAM's own are named by their names, as AWS does.
- Tags that can be labels are labels; the rest is kept beside them, exactly.
- A parameter that is not in the table is refused (`UnknownParameter`), never left out in silence.
- A deleted instance is shown as terminated for up to two hours, by the event that its host leaves, with its id and
  state alone; one that never had a host is gone at once.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_there_once() {
        let mut names: Vec<_> = all().map(|action| (action.service, action.name)).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn the_page_of_documentation_is_of_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/aws.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        if std::env::var_os("UPDATE_CONTRACTS").is_some() {
            std::fs::write(path, documentation()).expect("docs/aws.md can be written");
        } else {
            assert_eq!(
                written,
                documentation(),
                "run the test with UPDATE_CONTRACTS=1 to write docs/aws.md anew"
            );
        }
    }
}
