//! Nobody gives away rights he does not have: roles, bindings, memberships and keys.

use ::identity::{Escalation, Policy, Principal};
use model::identity::{AccessKey, Role, RoleBinding, User};
use model::{AnyObject, ApiError, Reason};

use crate::server::Server;

impl Server {
    pub(super) async fn check_escalation(
        &self,
        caller: &Principal,
        object: &dyn AnyObject,
        old: Option<&dyn AnyObject>,
    ) -> Result<(), ApiError> {
        let everywhere = ["*".to_owned()];
        let result = if let Some(role) = object.as_any().downcast_ref::<Role>() {
            let old = old.and_then(|old| old.as_any().downcast_ref::<Role>());
            self.inner.access.with_policy(|policy| {
                if let Some(old) = old {
                    policy.may_revoke(caller, old, &everywhere)?;
                }
                policy.may_grant(caller, role, &everywhere)
            })
        } else if let Some(binding) = object.as_any().downcast_ref::<RoleBinding>() {
            let Some(role) = self.read::<Role>("", &binding.spec.role).await? else {
                return Err(ApiError::new(
                    Reason::Invalid,
                    format!(
                        "spec.role: there is no role {:?}; `corten get roles` lists them",
                        binding.spec.role
                    ),
                ));
            };
            let old = old.and_then(|old| old.as_any().downcast_ref::<RoleBinding>());
            let revoked = self.revoked_by(caller, old).await?;
            self.inner
                .access
                .with_policy(|policy| policy.may_grant(caller, &role, &binding.spec.projects))
                .and(revoked)
        } else if let Some(user) = object.as_any().downcast_ref::<User>() {
            self.act_as(caller, &user.metadata.name, &user.spec.groups)
        } else if let Some(key) = object.as_any().downcast_ref::<AccessKey>() {
            let Some(user) = self.read::<User>("", &key.spec.user).await? else {
                return Err(ApiError::new(
                    Reason::Invalid,
                    format!("spec.user: there is no user {:?}; `corten get users` lists them", key.spec.user),
                ));
            };
            self.act_as(caller, &key.spec.user, &user.spec.groups)
        } else {
            Ok(())
        };
        result.map_err(|e| ApiError::new(Reason::Forbidden, e.to_string()))
    }

    /// Whether the caller may take away what a role or binding denies: to lift a deny is to grant.
    pub(crate) async fn check_removal(
        &self,
        caller: &Principal,
        object: &dyn AnyObject,
    ) -> Result<(), ApiError> {
        self.check_iam_removal(caller, object)?;
        let result = if let Some(role) = object.as_any().downcast_ref::<Role>() {
            self.inner.access.with_policy(|policy| policy.may_revoke(caller, role, &["*".to_owned()]))
        } else {
            self.revoked_by(caller, object.as_any().downcast_ref::<RoleBinding>()).await?
        };
        result.map_err(|e| ApiError::new(Reason::Forbidden, e.to_string()))
    }

    async fn revoked_by(
        &self,
        caller: &Principal,
        binding: Option<&RoleBinding>,
    ) -> Result<Result<(), Escalation>, ApiError> {
        let Some(binding) = binding else { return Ok(Ok(())) };
        let Some(role) = self.read::<Role>("", &binding.spec.role).await? else { return Ok(Ok(())) };
        Ok(self.inner.access.with_policy(|policy| policy.may_revoke(caller, &role, &binding.spec.projects)))
    }

    fn act_as(&self, caller: &Principal, user: &str, groups: &[String]) -> Result<(), Escalation> {
        self.inner.access.with_policy(|policy: &Policy| policy.may_act_as(caller, user, groups))
    }
}
