//! IAM as AWS has it: only who may do everything in a project decides over it there; documents are read before they are
//! kept, and secrets of keys are sealed as they come in.

use ::identity::Principal;
use ::identity::iam::Document;
use model::compute::{Instance, InstanceSet};
use model::identity::{Grants, IamGroup, IamInstanceProfile, IamKey, IamPolicy, IamRole, IamUser};
use model::{AnyObject, ApiError, FieldErrors, Reason};

use crate::server::Server;

impl Server {
    pub(super) fn admit_iam(
        &self,
        caller: &Principal,
        object: &mut dyn AnyObject,
        old: Option<&dyn AnyObject>,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        if !is_iam(object) {
            return Ok(());
        }
        self.may_rule(caller, &object.metadata().namespace)?;
        let any = object.as_any_mut();
        if let Some(user) = any.downcast_mut::<IamUser>() {
            let old = old.and_then(|old| old.as_any().downcast_ref::<IamUser>());
            self.seal_keys(user, old)?;
            grants(&user.spec.grants, errors);
        } else if let Some(group) = any.downcast_ref::<IamGroup>() {
            grants(&group.spec.grants, errors);
        } else if let Some(role) = any.downcast_ref::<IamRole>() {
            grants(&role.spec.grants, errors);
            if let Err(e) = Document::trust(&role.spec.trust) {
                errors.push("spec.trust", e.to_string());
            }
        } else if let Some(policy) = any.downcast_ref::<IamPolicy>() {
            for version in &policy.spec.versions {
                if let Err(e) = Document::policy(&version.document) {
                    errors.push(format!("spec.versions[{}]", version.id), e.to_string());
                }
            }
        }
        Ok(())
    }

    /// Taking away what denies is granting, so the same holds for it.
    pub(crate) fn check_iam_removal(
        &self,
        caller: &Principal,
        object: &dyn AnyObject,
    ) -> Result<(), ApiError> {
        if is_iam(object) { self.may_rule(caller, &object.metadata().namespace) } else { Ok(()) }
    }

    /// Who is on an instance has what its profile's role has: giving it one is for who decides over IAM.
    pub(super) fn admit_profile(
        &self,
        caller: &Principal,
        object: &dyn AnyObject,
        old: Option<&dyn AnyObject>,
    ) -> Result<(), ApiError> {
        let Some(wanted) = profile_of(object).filter(|name| !name.is_empty()) else { return Ok(()) };
        if old.and_then(profile_of) == Some(wanted) {
            return Ok(());
        }
        self.may_rule(caller, &object.metadata().namespace)
    }

    fn may_rule(&self, caller: &Principal, project: &str) -> Result<(), ApiError> {
        let may = self.inner.access.with_policy(|policy| policy.may_rule(caller, project));
        may.map_err(|e| ApiError::new(Reason::Forbidden, e.to_string()))
    }

    fn seal_keys(&self, user: &mut IamUser, old: Option<&IamUser>) -> Result<(), ApiError> {
        let (project, name) = (user.metadata.namespace.clone(), user.spec.name.clone());
        let environment = &self.inner.environment;
        user.metadata.annotations.remove(super::access_key::LAST_APPLIED);
        for key in &mut user.spec.access_keys {
            let secret = std::mem::take(&mut key.secret);
            let known = old.and_then(|old| old.spec.access_keys.iter().find(|known| known.id == key.id));
            key.sealed_secret = known.map(|known| known.sealed_secret.clone()).unwrap_or_default();
            if known.is_some() || secret.is_empty() {
                continue;
            }
            key.sealed_secret = self.sealed(key, &project, &name, &secret)?;
            key.created = Some(environment.now());
        }
        Ok(())
    }

    fn sealed(&self, key: &IamKey, project: &str, user: &str, secret: &str) -> Result<String, ApiError> {
        let environment = &self.inner.environment;
        let master = environment.master_key().ok_or_else(|| {
            ApiError::new(Reason::NotImplemented, "this cloud has no key to seal secrets with: it keeps none")
        })?;
        let sealed = master.seal(&key.seal_owner(project, user), secret, &environment.random());
        sealed.ok_or_else(|| ApiError::internal("the secret could not be sealed"))
    }
}

fn is_iam(object: &dyn AnyObject) -> bool {
    let any = object.as_any();
    any.is::<IamUser>()
        || any.is::<IamGroup>()
        || any.is::<IamRole>()
        || any.is::<IamPolicy>()
        || any.is::<IamInstanceProfile>()
}

fn profile_of(object: &dyn AnyObject) -> Option<&str> {
    let any = object.as_any();
    any.downcast_ref::<Instance>().map(|instance| instance.spec.instance_profile.as_str()).or_else(|| {
        any.downcast_ref::<InstanceSet>().map(|set| set.spec.template.spec.instance_profile.as_str())
    })
}

fn grants(grants: &Grants, errors: &mut FieldErrors) {
    for (name, document) in &grants.policies {
        if let Err(e) = Document::policy(document) {
            errors.push(format!("spec.grants.policies[{name}]"), e.to_string());
        }
    }
}
