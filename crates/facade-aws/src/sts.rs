//! STS: who calls.

use futures::future::ready;

use crate::actions::Action;
use crate::context::Context;
use crate::ids;
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[Action {
    service: "sts",
    name: "GetCallerIdentity",
    takes: &[],
    run: |c| Box::pin(ready(Ok(caller_identity(c)))),
    note: "",
}];

fn caller_identity(c: &Context) -> Xml {
    let user = &c.signer.principal.user;
    let mut x = Xml::new();
    x.text("Arn", format!("arn:aws:iam::{}:user/{user}", c.account()))
        .text("UserId", user_id(user))
        .text("Account", c.account());
    x
}

/// In the form of AWS's ids of users; it follows from the name.
fn user_id(user: &str) -> String {
    let id = ids::hashed("AIDA", user).to_ascii_uppercase();
    id.replace('-', "")
}
