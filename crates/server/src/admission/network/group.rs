//! Security groups: peers and members are of one Vpc.

use model::network::{SecurityGroup, SecurityGroupSpec};
use model::{ApiError, FieldErrors};

use crate::server::Server;

impl Server {
    pub(super) async fn check_group(
        &self,
        group: &SecurityGroup,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let (project, vpc) = (&group.metadata.namespace, &group.spec.vpc);
        for (i, rule) in group.spec.rules.iter().enumerate() {
            let peer = &rule.peer.group;
            if *peer != group.metadata.name {
                let at = format!("spec.rules[{i}].peer.group");
                self.require_same_vpc::<SecurityGroupSpec>(project, vpc, peer, &at, errors).await?;
            }
        }
        Ok(())
    }

    /// Groups that an object of a Vpc is in.
    pub(super) async fn check_groups_of(
        &self,
        project: &str,
        vpc: &str,
        groups: &[String],
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        for (i, group) in groups.iter().enumerate() {
            let at = format!("spec.securityGroups[{i}]");
            self.require_same_vpc::<SecurityGroupSpec>(project, vpc, group, &at, errors).await?;
        }
        Ok(())
    }
}
