//! No one gives away what he does not hold: rights of a child are at most those of its parent, checked when a
//! role, a binding, a membership or a key is written.

use model::identity::{Role, SubjectKind};

use crate::policy::Reach;
use crate::rule::{Atom, CompiledRule, Rules};
use crate::{Policy, Principal};

/// Why a right cannot be passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("user {user:?} does not hold `{right}` {place} and so cannot {act}; ask an administrator")]
pub struct Escalation {
    user: String,
    right: String,
    place: String,
    act: &'static str,
}

const RULE: &str = "decide over IAM there";
const GRANT: &str = "grant it";
const REVOKE: &str = "lift a rule that denies it";
const ACT_AS: &str = "give or use credentials that do";

impl Policy {
    /// Whether the caller may bind `role` in `projects`, or write it as it is bound there. A role can be bound
    /// by anyone who may write bindings, so the writer of a role itself is checked with `["*"]`.
    pub fn may_grant(
        &self,
        principal: &Principal,
        role: &Role,
        projects: &[String],
    ) -> Result<(), Escalation> {
        self.holds(principal, &Rules::compile(&role.spec).allows, projects, GRANT)
    }

    /// Whether the caller may take `role` away again: to lift a deny is to grant what it denied. For an update
    /// check the old role or binding with this and the new one with [`Policy::may_grant`].
    pub fn may_revoke(
        &self,
        principal: &Principal,
        role: &Role,
        projects: &[String],
    ) -> Result<(), Escalation> {
        self.holds(principal, &Rules::compile(&role.spec).denies, projects, REVOKE)
    }

    /// Whether the caller may make a credential of `user`, or make `user` a member of `groups`: he must hold
    /// all that is bound to them. Everyone may make credentials of himself.
    pub fn may_act_as(&self, principal: &Principal, user: &str, groups: &[String]) -> Result<(), Escalation> {
        let own_groups = |group: &&String| !principal.groups.contains(group);
        let groups = groups.iter().filter(own_groups).map(|group| (SubjectKind::Group, group.as_str()));
        let user = (principal.user != user).then_some((SubjectKind::User, user));
        for (kind, name) in user.into_iter().chain(groups) {
            for (rules, projects) in self.bound_to(kind, name) {
                self.holds(principal, &rules.allows, &projects, ACT_AS)?;
            }
        }
        Ok(())
    }

    /// Whether the caller may do everything in a project: only then may he write who may do what in it as AWS's
    /// IAM has it.
    pub fn may_rule(&self, principal: &Principal, project: &str) -> Result<(), Escalation> {
        let rule = model::identity::Rule {
            verbs: vec!["*".into()],
            resources: vec!["*".into()],
            ..model::identity::Rule::default()
        };
        let spec = model::identity::RoleSpec { rules: vec![rule] };
        self.holds(principal, &Rules::compile(&spec).allows, &[project.to_owned()], RULE)
    }

    fn holds(
        &self,
        principal: &Principal,
        rules: &[CompiledRule],
        projects: &[String],
        act: &'static str,
    ) -> Result<(), Escalation> {
        if principal.is_component() {
            return Ok(());
        }
        let everywhere = projects.iter().any(|project| project == "*");
        let places = projects.iter().map(|project| (!everywhere).then_some(project.as_str()));
        for place in places {
            let missing = rules.iter().flat_map(CompiledRule::atoms).find(|a| !self.has(principal, a, place));
            if let Some(atom) = missing {
                return Err(Escalation {
                    user: principal.user.clone(),
                    right: atom.to_string(),
                    place: place.map_or_else(|| "everywhere".into(), |p| format!("in project {p:?}")),
                    act,
                });
            }
        }
        Ok(())
    }

    /// Whether the caller holds all of `atom` in a project, or everywhere (None).
    fn has(&self, principal: &Principal, atom: &Atom<'_>, place: Option<&str>) -> bool {
        let denies = place.map_or(Reach::AllProjects, |project| Reach::In(Some(project)));
        let denied =
            self.rules_of(principal, denies).any(|rules| rules.denies.iter().any(|rule| rule.overlaps(atom)));
        let allowed = || {
            principal.is_admin()
                || place.is_some() && principal.account() == place
                || self
                    .rules_of(principal, Reach::In(place))
                    .any(|rules| rules.allows.iter().any(|rule| rule.covers(atom)))
        };
        !denied && allowed()
    }
}
