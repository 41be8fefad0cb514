//! `identity.corten.dev`: who may do what, where, and how much of it.

mod access_key;
mod iam;
mod quota;
mod role;
mod tenant;
mod user;

pub use access_key::{AccessKey, AccessKeySpec, AccessKeyStatus};
pub use iam::{
    Grants, IAM_KEYS_MAX, IAM_VERSIONS_MAX, IamGroup, IamGroupSpec, IamInstanceProfile,
    IamInstanceProfileSpec, IamKey, IamPolicy, IamPolicySpec, IamRole, IamRoleSpec, IamStatus, IamUser,
    IamUserSpec, PolicyVersion,
};
pub use quota::{Quota, QuotaSpec, QuotaStatus};
pub use role::{
    Effect, Role, RoleBinding, RoleBindingSpec, RoleSpec, RoleStatus, Rule, Subject, SubjectKind,
};
pub use tenant::{Domain, DomainSpec, Project, ProjectSpec, ProjectStatus, TenantStatus};
pub use user::{User, UserSpec, UserStatus};

pub(crate) const GROUP: &str = "identity.corten.dev";
