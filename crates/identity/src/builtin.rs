//! What holds without any binding (administrators, hosts, everyone who is known), and the roles every cloud
//! starts with.

use model::identity::{Effect, Role, RoleSpec, Rule};
use model::{KindEntry, ObjectMeta};

use crate::{Attributes, Principal, Verb};

/// May do everything that no binding denies. Given by client certificates only: a `User` object cannot name it.
pub const ADMINS: &str = "corten:admins";
/// Agents; their user is `host:NAME`.
pub const HOSTS: &str = "corten:hosts";

const COMPUTE: &str = "compute.corten.dev";
const IDENTITY: &str = "identity.corten.dev";
const NETWORK: &str = "network.corten.dev";
const STORAGE: &str = "storage.corten.dev";
const TOPOLOGY: &str = "topology.corten.dev";
/// Readable only to those who may write them.
const SECRETS: &str = "secrets";

const READ: [&str; 3] = ["get", "list", "watch"];

/// The roles `admin`, `editor` and `viewer`, to be created at the first start.
///
/// - `admin`: everything.
/// - `viewer`: reads every kind but secrets and those that say who may do what (keys, users, roles, bindings), and
///   logs.
/// - `editor`: what a viewer may, and everything with what lives in projects, but not quotas; subresources too
///   (console, exec, upload), but not those of the cloud's own parts (status, binding, release).
pub fn builtin_roles() -> Vec<Role> {
    let role = |name: &str, rules| Role::new(ObjectMeta::named(name), RoleSpec { rules });
    let allow = |verbs: &[&str], resources: Vec<String>| Rule {
        effect: Effect::Allow,
        verbs: verbs.iter().map(ToString::to_string).collect(),
        resources,
        ..Rule::default()
    };
    let view = || allow(&READ, viewable());
    vec![
        role("admin", vec![allow(&["*"], vec!["*".into()])]),
        role("editor", vec![view(), allow(&["*"], editable())]),
        role("viewer", vec![view()]),
    ]
}

fn viewable() -> Vec<String> {
    let open = |kind: &&KindEntry| {
        let told = kind.info.group != IDENTITY && kind.info.plural != SECRETS;
        told || matches!(kind.info.plural, "quotas" | "projects" | "domains")
    };
    let kinds = model::kinds().iter().filter(open);
    let parts = |kind: &KindEntry| [kind.info.plural.to_string(), format!("{}/status", kind.info.plural)];
    kinds.flat_map(parts).chain(["instances/logs".to_string()]).collect()
}

fn editable() -> Vec<String> {
    let own = model::kinds().iter().filter(|k| {
        k.info.is_project_scoped() && !matches!(k.info.group, IDENTITY | "") || k.info.plural == SECRETS
    });
    own.flat_map(|kind| [kind.info.plural.to_string(), format!("{}/*", kind.info.plural)]).collect()
}

/// Why the request is allowed without any binding, if it is. `sees_project` says whether the caller holds any
/// right in a project.
pub(crate) fn allows(
    principal: &Principal,
    request: &Attributes<'_>,
    sees_project: impl Fn(&str) -> bool,
) -> Option<&'static str> {
    if principal.is_admin() {
        return Some(ADMINS);
    }
    // The callers of IAM: what each of them may is decided by policies before he comes here.
    let own = principal.account().is_some_and(|account| request.project == Some(account));
    if own
        && request.scope() == model::Scope::Project
        && matches!(request.subresource, "" | "logs" | "objects")
    {
        return Some("account");
    }
    if principal.host().is_some_and(|host| host_may(host, request)) {
        return Some(HOSTS);
    }
    everyone_may(request, sees_project).then_some("everyone")
}

/// What any authenticated caller may: read sizes and zones, and the `Project` objects of projects in which he
/// holds any right.
fn everyone_may(request: &Attributes<'_>, sees_project: impl Fn(&str) -> bool) -> bool {
    if !request.verb.is_read() || !request.subresource.is_empty() {
        return false;
    }
    match (request.group, request.resource) {
        (COMPUTE, "instancetypes") | (TOPOLOGY, "zones") => true,
        (IDENTITY, "projects") => request.name.is_some_and(sees_project),
        _ => false,
    }
}

/// What an agent needs. Where the object's name is the host's own, only that object: its `Host`, and the `Lease`
/// of the same name.
fn host_may(host: &str, request: &Attributes<'_>) -> bool {
    let own = request.name == Some(host);
    let writes = matches!(request.verb, Verb::Update | Verb::Patch);
    match (request.group, request.resource, request.subresource) {
        // Networks are made on hosts out of all that is said of them.
        (COMPUTE, "instances" | "images" | "keypairs" | "instancetypes", "") | (NETWORK, _, "") => {
            request.verb.is_read()
        }
        (COMPUTE, "images", subresource) => request.verb == Verb::Get && subresource != "status",
        // Whether they are the host's own, or of its own, the server checks.
        (COMPUTE, "instances", "status")
        | (NETWORK, "ports" | "floatingips" | "gateways" | "loadbalancers", "status") => {
            writes || request.verb == Verb::Get
        }
        (STORAGE, _, "") => request.verb.is_read(),
        (STORAGE, "volumes" | "volumesnapshots" | "pools", "status") => writes || request.verb == Verb::Get,
        // One at a time and by name; that the host needs it, the server checks.
        ("", SECRETS, "") | (STORAGE, "volumebackups", "content") => request.verb == Verb::Get,
        // The host's word that nothing of a deleted thing is left, credentials of an instance's role, and a volume's key;
        // the server checks that it is the host's.
        // So it is with a guest's connection that it carries.
        (NETWORK, "vpcendpoints", "connect")
        | (COMPUTE, "instances", "release" | "credentials")
        | (STORAGE, "volumes" | "volumesnapshots", "release")
        | (STORAGE, "volumes", "key") => request.verb == Verb::Create,
        // Which role it is.
        (IDENTITY, "iaminstanceprofiles", "") => request.verb.is_read(),
        (TOPOLOGY, "hosts", "") => own && (request.verb.is_read() || request.verb == Verb::Create),
        (TOPOLOGY, "hosts", "status") => own && (writes || request.verb == Verb::Get),
        (TOPOLOGY, "leases", "") => own && (request.verb.is_read() || request.verb == Verb::Create || writes),
        ("", "events", "") => request.verb == Verb::Create || writes,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtin_roles_are_valid_objects() {
        for role in builtin_roles() {
            let errors = model::AnyObject::validate(&role);
            assert!(errors.is_empty(), "{}: {errors}", role.metadata.name);
        }
    }
}
