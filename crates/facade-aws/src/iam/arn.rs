//! How IAM calls things: ARNs and ids.

pub(crate) use identity::iam::unique_id as id;

use crate::context::Context;

/// The path of a user or role; of what is not there, the plain one.
pub(crate) fn path_of(c: &Context, kind: &str, name: &str) -> String {
    let found = match kind {
        "user" => c.cloud.iam_user(c.project(), name),
        "role" => c.cloud.iam_role(c.project(), name, ""),
        _ => None,
    };
    found.map(|actor| actor.path).filter(|path| !path.is_empty()).unwrap_or_else(|| "/".into())
}
