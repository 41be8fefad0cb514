//! STS: who calls.

use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::ids;
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[Action {
    service: "sts",
    name: "GetCallerIdentity",
    takes: &[],
    run: |c| Box::pin(caller_identity(c)),
    note: "",
}];

async fn caller_identity(c: &Context) -> Answer {
    let user = &c.signer.principal.user;
    let mut x = Xml::new();
    x.text("Arn", format!("arn:aws:iam::{}:user/{user}", c.account()))
        .text("UserId", user_id(user))
        .text("Account", c.account());
    Ok(x)
}

/// In the form of AWS's ids of users; it follows from the name.
fn user_id(user: &str) -> String {
    let id = ids::hashed("AIDA", user).to_ascii_uppercase();
    id.replace('-', "")
}
