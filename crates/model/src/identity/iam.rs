//! IAM as AWS's clients know it: users, groups, roles, policies and instance profiles of one project, which is the
//! account. What a document means is `identity`'s; here it is text.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use crate::{Claim, Column, FieldErrors, KindInfo, Object, ObjectMeta, Scope, Spec, Timestamp};

pub type IamUser = Object<IamUserSpec>;
pub type IamGroup = Object<IamGroupSpec>;
pub type IamRole = Object<IamRoleSpec>;
pub type IamPolicy = Object<IamPolicySpec>;
pub type IamInstanceProfile = Object<IamInstanceProfileSpec>;

/// Most keys of one user, as with AWS.
pub const IAM_KEYS_MAX: usize = 2;
/// Most versions of one policy, as with AWS.
pub const IAM_VERSIONS_MAX: usize = 5;
const ATTACHED_MAX: usize = 20;
const INLINE_MAX: usize = 50;
const DOCUMENT_MAX_BYTES: usize = 10_240;

/// A user of the project: it has what its policies give it, in this project alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IamUserSpec {
    /// Up to 64 letters, digits and `+=,.@_-`; unique whatever the case.
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Names of groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    pub grants: Grants,
    /// ARN of the policy that bounds what all others allow.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub boundary: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_keys: Vec<IamKey>,
}

/// What a user, group or role is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Grants {
    /// Policies of its own, by name: JSON documents.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<String, String>,
    /// ARNs of policies that several may have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<String>,
}

/// A key with which a user signs requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IamKey {
    pub id: String,
    /// Only written: the server seals it and never shows it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub secret: String,
    /// The secret as the server keeps it. Only the server makes and opens it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sealed_secret: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inactive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
}

/// Users of the project that are given the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IamGroupSpec {
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    pub grants: Grants,
}

/// What users and instances of the project may become for a while.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IamRoleSpec {
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who may take it: a JSON document with principals.
    pub trust: String,
    /// Longest session in seconds; 3600 when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_session_seconds: Option<u32>,
    pub grants: Grants,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub boundary: String,
}

/// A policy that several may have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IamPolicySpec {
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub versions: Vec<PolicyVersion>,
    /// The version that counts, such as `v2`.
    pub default_version: String,
    /// Number of the next version: none is used twice.
    pub next_version: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyVersion {
    pub id: String,
    pub document: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
}

/// By which an instance gets a role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IamInstanceProfileSpec {
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Name of the role.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IamStatus {}

impl IamKey {
    /// Whom a sealed secret is for: it opens for no other key, user or project.
    pub fn seal_owner(&self, project: &str, user: &str) -> String {
        format!("iamkey/{project}/{user}/{}", self.id)
    }
}

impl IamPolicySpec {
    /// The document that counts.
    pub fn document(&self) -> Option<&str> {
        self.version(&self.default_version).map(|version| version.document.as_str())
    }

    pub fn version(&self, id: &str) -> Option<&PolicyVersion> {
        self.versions.iter().find(|version| version.id == id)
    }
}

const fn kind(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    summary: &'static str,
) -> KindInfo {
    KindInfo {
        group: GROUP,
        version: "v1",
        kind,
        plural,
        singular,
        short_names: &[],
        scope: Scope::Project,
        summary,
    }
}

fn check_name(name: &str, path: &str, max: usize, errors: &mut FieldErrors) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
    errors.require(
        (1..=max).contains(&name.len()) && name.bytes().all(plain),
        "spec.name",
        &format!("must be 1 to {max} letters, digits and +=,.@_-"),
    );
    let fine = path.is_empty()
        || path.starts_with('/')
            && path.ends_with('/')
            && path.len() <= 512
            && path.bytes().all(|b| b.is_ascii_graphic());
    errors.require(fine, "spec.path", "must begin and end with /");
}

fn check_grants(grants: &Grants, boundary: &str, errors: &mut FieldErrors) {
    errors.require(grants.policies.len() <= INLINE_MAX, "spec.policies", "are too many");
    errors.require(grants.attached.len() <= ATTACHED_MAX, "spec.attached", "are too many: at most 20");
    for (name, document) in &grants.policies {
        check_document(document, &format!("spec.policies[{name}]"), errors);
    }
    for arn in grants.attached.iter().map(String::as_str).chain([boundary]).filter(|arn| !arn.is_empty()) {
        errors.require(arn.starts_with("arn:aws:iam::"), "spec.attached", "must be ARNs of policies");
    }
}

fn check_document(document: &str, field: &str, errors: &mut FieldErrors) {
    errors.require(document.len() <= DOCUMENT_MAX_BYTES, field, "is longer than 10240 bytes");
}

/// One of its name in a project, whatever the case.
fn own_name(what: &str, meta: &ObjectMeta, name: &str) -> Claim {
    let lower = name.to_ascii_lowercase();
    Claim::new(
        format!("iam-{what}/{}/{lower}", meta.namespace),
        "spec.name",
        format!("the name {name} of an IAM {what}"),
    )
}

impl Spec for IamUserSpec {
    type Status = IamStatus;
    const KIND: KindInfo =
        kind("IamUser", "iamusers", "iamuser", "A user of AWS's IAM: has what its policies give it.");

    fn validate(&self, errors: &mut FieldErrors) {
        check_name(&self.name, &self.path, 64, errors);
        check_grants(&self.grants, &self.boundary, errors);
        errors.require(self.access_keys.len() <= IAM_KEYS_MAX, "spec.accessKeys", "must be two at most");
        for (i, key) in self.access_keys.iter().enumerate() {
            let plain = key.id.bytes().all(|b| b.is_ascii_alphanumeric());
            errors.require(
                plain && (16..=128).contains(&key.id.len()),
                &format!("spec.accessKeys[{i}].id"),
                "must be 16 to 128 letters and digits",
            );
            errors.require(
                !key.sealed_secret.is_empty(),
                &format!("spec.accessKeys[{i}].secret"),
                "must be given when the key is made",
            );
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(self.name == old.name, "spec.name", "cannot be changed");
    }

    fn columns() -> &'static [Column<IamUser>] {
        const COLUMNS: &[Column<IamUser>] = &[
            Column::text("User", |u, _| json!(u.spec.name)),
            Column::text("Groups", |u, _| json!(u.spec.groups.join(","))),
        ];
        COLUMNS
    }

    fn claims(user: &IamUser) -> Vec<Claim> {
        let key = |key: &IamKey| {
            Claim::new(
                format!("access-key/{}", key.id),
                "spec.accessKeys",
                format!("access key id {}", key.id),
            )
        };
        let mut claims = vec![own_name("user", &user.metadata, &user.spec.name)];
        claims.extend(user.spec.access_keys.iter().map(key));
        claims
    }
}

macro_rules! named_kind {
    ($spec:ty, $object:ty, $max:literal, $what:literal, $kind:expr, |$s:ident, $errors:ident| $more:expr) => {
        impl Spec for $spec {
            type Status = IamStatus;
            const KIND: KindInfo = $kind;

            fn validate(&self, $errors: &mut FieldErrors) {
                check_name(&self.name, &self.path, $max, $errors);
                let $s = self;
                $more
            }

            fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
                errors.require(self.name == old.name, "spec.name", "cannot be changed");
            }

            fn columns() -> &'static [Column<$object>] {
                const COLUMNS: &[Column<$object>] = &[Column::text("Called", |o, _| json!(o.spec.name))];
                COLUMNS
            }

            fn claims(object: &$object) -> Vec<Claim> {
                vec![own_name($what, &object.metadata, &object.spec.name)]
            }
        }
    };
}

named_kind!(
    IamGroupSpec,
    IamGroup,
    128,
    "group",
    kind("IamGroup", "iamgroups", "iamgroup", "Users of AWS's IAM that are given the same."),
    |group, errors| check_grants(&group.grants, "", errors)
);

named_kind!(
    IamRoleSpec,
    IamRole,
    64,
    "role",
    kind("IamRole", "iamroles", "iamrole", "What users and instances may become for a while."),
    |role, errors| {
        check_grants(&role.grants, &role.boundary, errors);
        check_document(&role.trust, "spec.trust", errors);
        let seconds = role.max_session_seconds.unwrap_or(3600);
        errors.require((3600..=43_200).contains(&seconds), "spec.maxSessionSeconds", "must be 3600 to 43200");
    }
);

named_kind!(
    IamPolicySpec,
    IamPolicy,
    128,
    "policy",
    kind("IamPolicy", "iampolicies", "iampolicy", "A policy of AWS's IAM that several may have."),
    |policy, errors| {
        errors.require(policy.versions.len() <= IAM_VERSIONS_MAX, "spec.versions", "must be five at most");
        errors.require(
            policy.document().is_some(),
            "spec.defaultVersion",
            "must be the id of one of the versions",
        );
        for version in &policy.versions {
            check_document(&version.document, "spec.versions", errors);
        }
    }
);

named_kind!(
    IamInstanceProfileSpec,
    IamInstanceProfile,
    128,
    "profile",
    kind(
        "IamInstanceProfile",
        "iaminstanceprofiles",
        "iaminstanceprofile",
        "By which an instance gets a role."
    ),
    |_profile, _errors| {}
);
