//! Subnets: inside of their Vpc, and apart from each other.

use model::network::{RouteTableSpec, Subnet, SubnetSpec, Vpc, VpcSpec};
use model::{ApiError, FieldErrors, Spec};

use crate::claims::Draft;
use crate::server::Server;

impl Server {
    pub(super) async fn complete_subnet(
        &self,
        subnet: &mut Subnet,
        old: Option<&Subnet>,
        draft: &mut Draft,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let (project, spec) = (&subnet.metadata.namespace, &subnet.spec);
        let table = &spec.route_table;
        self.require_same_vpc::<RouteTableSpec>(project, &spec.vpc, table, "spec.routeTable", errors).await?;
        if old.is_some_and(|old| old.spec.cidr == spec.cidr && old.spec.ipv6_cidr == spec.ipv6_cidr) {
            return Ok(());
        }
        let key = VpcSpec::KIND.key(project, &spec.vpc);
        // Subnets of one Vpc come one after the other: two that overlap cannot both find the place free.
        self.one_at_a_time(&key, draft).await?;
        let Some(vpc) = self.read::<Vpc>(project, &spec.vpc).await? else { return Ok(()) };
        inside(spec, &vpc, errors);
        for name in self.users_of_kind(&key, &SubnetSpec::KIND).await? {
            if name == subnet.metadata.name {
                continue;
            }
            let Some(sibling) = self.read::<Subnet>(project, &name).await? else { continue };
            apart(spec, &sibling, errors);
        }
        Ok(())
    }
}

fn inside(spec: &SubnetSpec, vpc: &Vpc, errors: &mut FieldErrors) {
    let name = &vpc.metadata.name;
    for cidr in spec.cidrs().filter(|cidr| !vpc.spec.ranges().any(|range| range.holds(cidr))) {
        let of_family = vpc.spec.ranges().filter(|range| range.is_v4() == cidr.is_v4());
        let ranges: Vec<String> = of_family.map(ToString::to_string).collect();
        let message = if ranges.is_empty() {
            format!("{cidr} has no place: vpc {name:?} has no range of that family; give it one")
        } else {
            format!("{cidr} is outside of vpc {name:?}, which has {}", ranges.join(" and "))
        };
        errors.push(field_of(cidr), message);
    }
}

fn apart(spec: &SubnetSpec, sibling: &Subnet, errors: &mut FieldErrors) {
    for cidr in spec.cidrs() {
        if let Some(other) = sibling.spec.cidrs().find(|other| other.overlaps(cidr)) {
            let message =
                format!("{cidr} overlaps {other} of subnet {:?}; choose another", sibling.metadata.name);
            errors.push(field_of(cidr), message);
        }
    }
}

fn field_of(cidr: &model::network::Cidr) -> &'static str {
    if cidr.is_v4() { "spec.cidr" } else { "spec.ipv6Cidr" }
}
