//! Shorthand for principals, roles, bindings and requests.

use identity::{Attributes, Authentication, Policy, Principal, Verb};
use model::ObjectMeta;
use model::identity::{Effect, Role, RoleBinding, RoleBindingSpec, RoleSpec, Rule, Subject, SubjectKind};

pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(Into::into).collect()
}

/// A user with groups, as a token authenticates him: `ann staff ops`.
pub(crate) fn user(text: &str) -> Principal {
    let mut words = words(text);
    let user = words.remove(0);
    Principal { user, groups: words, how: Authentication::Token { key: "k".into() } }
}

/// `allow get,list instances,images` or `deny * * names=a,b groups=compute.corten.dev`.
pub(crate) fn rule(text: &str) -> Rule {
    let list = |text: &str| text.split(',').map(Into::into).collect();
    let mut parts = text.split_whitespace();
    let mut rule = Rule {
        effect: if parts.next() == Some("deny") { Effect::Deny } else { Effect::Allow },
        verbs: list(parts.next().expect("verbs")),
        resources: list(parts.next().expect("resources")),
        ..Rule::default()
    };
    for part in parts {
        match part.split_once('=').expect("names= or groups=") {
            ("names", names) => rule.names = list(names),
            ("groups", groups) => rule.groups = list(groups),
            (other, _) => panic!("unknown part {other}"),
        }
    }
    rule
}

pub(crate) fn role(name: &str, rules: &[&str]) -> Role {
    Role::new(ObjectMeta::named(name), RoleSpec { rules: rules.iter().map(|text| rule(text)).collect() })
}

/// Binds a role to `ann` or `@group` in projects.
pub(crate) fn binding(name: &str, role: &str, subject: &str, projects: &str) -> RoleBinding {
    let subject = match subject.strip_prefix('@') {
        Some(group) => Subject { kind: SubjectKind::Group, name: group.into() },
        None => Subject { kind: SubjectKind::User, name: subject.into() },
    };
    let spec = RoleBindingSpec { role: role.into(), subjects: vec![subject], projects: words(projects) };
    RoleBinding::new(ObjectMeta::named(name), spec)
}

pub(crate) fn policy(roles: &[Role], bindings: &[RoleBinding]) -> Policy {
    let mut policy = Policy::default();
    for role in roles {
        policy.upsert_role(role);
    }
    for binding in bindings {
        policy.upsert_binding(binding);
    }
    policy
}

/// `get instances/console web in p`, `list hosts`, `list instances in p`, `list instances` (all projects).
pub(crate) fn request(text: &str) -> Attributes<'_> {
    let (what, project) = match text.split_once(" in ") {
        Some((what, project)) => (what, Some(project)),
        None => (text, None),
    };
    let mut parts = what.split_whitespace();
    let verb = match parts.next().expect("verb") {
        "get" => Verb::Get,
        "list" => Verb::List,
        "watch" => Verb::Watch,
        "create" => Verb::Create,
        "update" => Verb::Update,
        "patch" => Verb::Patch,
        "delete" => Verb::Delete,
        "exec" => Verb::Custom("exec"),
        other => panic!("unknown verb {other}"),
    };
    let target = parts.next().expect("resource");
    let (resource, subresource) = target.split_once('/').unwrap_or((target, ""));
    let info = model::kinds().iter().find(|k| k.info.plural == resource).expect("kind").info;
    Attributes::new(verb, &info, project, parts.next()).on(subresource)
}

pub(crate) fn allowed(policy: &Policy, principal: &Principal, text: &str) -> bool {
    policy.decide(principal, &request(text)).is_allowed()
}
