//! Which instance has which profile of IAM. An association has no object of its own: its id follows from the instance's.

use model::compute::{Instance, InstanceSpec};
use model::identity::{IamInstanceProfile, IamInstanceProfileSpec};
use serde_json::json;

use super::shown::state;
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::iam;
use crate::ids;
use crate::xml::Xml;

const PREFIX: &str = "iip-assoc";

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("AssociateIamInstanceProfile", &["InstanceId", "IamInstanceProfile"], |c| {
        Box::pin(associate(c))
    }),
    Action::ec2("DescribeIamInstanceProfileAssociations", describe!["AssociationId"], |c| {
        Box::pin(describe(c))
    }),
    Action::ec2("ReplaceIamInstanceProfileAssociation", &["AssociationId", "IamInstanceProfile"], |c| {
        Box::pin(replace(c))
    }),
    Action::ec2("DisassociateIamInstanceProfile", &["AssociationId"], |c| Box::pin(disassociate(c))),
];

pub(crate) fn association(instance: &Instance) -> String {
    ids::derived(PREFIX, &instance.metadata, "i")
}

/// The profile's ARN and id, as EC2 shows them.
pub(crate) fn shown(c: &Context, profile: &IamInstanceProfile) -> (String, String) {
    (iam::arn(c, &profile.spec), iam::id(profile))
}

struct Association {
    id: String,
    instance: String,
    profile: (String, String),
    state: &'static str,
}

impl Item for Association {
    const FILTERS: &'static [&'static str] = &["instance-id", "state"];

    fn id(&self) -> &str {
        &self.id
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![if filter == "state" { self.state.into() } else { self.instance.clone() }]
    }
    fn write(&self, x: &mut Xml) {
        x.text("associationId", &self.id)
            .text("instanceId", &self.instance)
            .node("iamInstanceProfile", |x| {
                x.text("arn", &self.profile.0).text("id", &self.profile.1);
            })
            .text("state", self.state);
    }
}

fn of(c: &Context, instance: &Instance, profile: &IamInstanceProfile, state: &'static str) -> Association {
    Association { id: association(instance), instance: ids::id(instance), profile: shown(c, profile), state }
}

fn answered(association: &Association) -> Xml {
    let mut x = Xml::new();
    x.node("iamInstanceProfileAssociation", |x| association.write(x));
    x
}

fn none(id: &str) -> Failure {
    let id: String = id.chars().take(80).collect();
    Failure::new("NoSuchAssociation", format!("An invalid association-id of '{id}' was given"))
}

async fn set(c: &Context, instance: &Instance, profile: &str) -> Result<(), Failure> {
    let patch = json!({ "spec": { "instanceProfile": profile } });
    c.merge::<InstanceSpec>(&instance.metadata.name, &patch).await.map(drop)
}

async fn associate(c: &Context) -> Answer {
    let instance = c.named::<InstanceSpec>("InstanceId").await?;
    let profile = iam::profiles::given(c, &c.params.below("IamInstanceProfile")).await?;
    if !instance.spec.instance_profile.is_empty() {
        let message = format!("There is an existing association for instance {}", ids::id(&instance));
        return Err(Failure::new("IncorrectState", message));
    }
    if instance.metadata.is_deleting() {
        let message = format!("The instance is {}", state(&instance).0);
        return Err(Failure::new("IncorrectInstanceState", message));
    }
    set(c, &instance, &profile.metadata.name).await?;
    Ok(answered(&of(c, &instance, &profile, "associated")))
}

async fn all(c: &Context) -> Result<Vec<(Instance, IamInstanceProfile)>, Failure> {
    let profiles = c.list::<IamInstanceProfileSpec>().await?;
    let pair = |instance: Instance| {
        let profile = ids::find(&profiles, &instance.spec.instance_profile)?.clone();
        Some((instance, profile))
    };
    Ok(c.list::<InstanceSpec>().await?.into_iter().filter_map(pair).collect())
}

async fn find(c: &Context) -> Result<(Instance, IamInstanceProfile), Failure> {
    let wanted = c.params.require("AssociationId")?;
    let found = all(c).await?.into_iter().find(|(instance, _)| association(instance) == wanted);
    found.ok_or_else(|| none(wanted))
}

async fn describe(c: &Context) -> Answer {
    let found = all(c).await?;
    let items = found.iter().map(|(instance, profile)| of(c, instance, profile, "associated")).collect();
    let ids = Ids { parameter: "AssociationId", none };
    Ok(answer("iamInstanceProfileAssociationSet", &select(&c.params, &ids, items)?))
}

async fn replace(c: &Context) -> Answer {
    let (instance, _) = find(c).await?;
    let profile = iam::profiles::given(c, &c.params.below("IamInstanceProfile")).await?;
    set(c, &instance, &profile.metadata.name).await?;
    Ok(answered(&of(c, &instance, &profile, "associated")))
}

async fn disassociate(c: &Context) -> Answer {
    let (instance, profile) = find(c).await?;
    set(c, &instance, "").await?;
    Ok(answered(&of(c, &instance, &profile, "disassociating")))
}
