//! Security groups: members are of one Vpc, and so are the groups that a rule names, or of one peered with it.

use model::network::{Peering, PeeringSpec, SecurityGroup, SecurityGroupSpec, VpcSpec};
use model::{ApiError, FieldErrors, Object, ObjectMeta, Spec};

use crate::claims::key_of;

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
            if *peer != group.metadata.name && !self.is_of_a_peer(project, vpc, peer).await? {
                let at = format!("spec.rules[{i}].peer.group");
                self.require_same_vpc::<SecurityGroupSpec>(project, vpc, peer, &at, errors).await?;
            }
        }
        Ok(())
    }

    /// Whether a group is of another Vpc of the project that this one has a Peering with.
    async fn is_of_a_peer(&self, project: &str, vpc: &str, group: &str) -> Result<bool, ApiError> {
        let Some(group) = self.read::<SecurityGroup>(project, group).await? else { return Ok(false) };
        if group.spec.vpc == vpc {
            return Ok(false);
        }
        let key = key_of(&Object::<VpcSpec>::new(ObjectMeta::in_project(project, vpc), VpcSpec::default()));
        for name in self.users_of_kind(&key, &PeeringSpec::KIND).await? {
            let Some(peering) = self.read::<Peering>(project, &name).await? else { continue };
            if peering.spec.peer_project(project) == project && peering.spec.peer_vpc == group.spec.vpc {
                return Ok(true);
            }
        }
        Ok(false)
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
