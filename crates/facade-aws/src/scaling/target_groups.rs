//! Target groups whose targets are the instances of a group: a target group chooses them by the label that they have.

use std::collections::BTreeMap;

use model::compute::InstanceSet;
use model::network::{TargetGroup, TargetGroupSpec};

use super::{MEMBER_OF, listed, named};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::elb;
use crate::failure::Failure;
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::scaling("AttachLoadBalancerTargetGroups", &["AutoScalingGroupName", "TargetGroupARNs"], |c| {
        Box::pin(attach_named(c))
    })
    .noting("A target group has instances of one group."),
    Action::scaling("DetachLoadBalancerTargetGroups", &["AutoScalingGroupName", "TargetGroupARNs"], |c| {
        Box::pin(detach(c))
    }),
    Action::scaling(
        "DescribeLoadBalancerTargetGroups",
        &["AutoScalingGroupName", "MaxRecords", "NextToken"],
        |c| Box::pin(describe(c)),
    ),
];

fn labels_of(set: &InstanceSet) -> BTreeMap<String, String> {
    BTreeMap::from([(MEMBER_OF.to_owned(), set.metadata.name.clone())])
}

/// The target groups that a set's instances are in.
pub(super) fn of<'a>(set: &InstanceSet, groups: &'a [TargetGroup]) -> Vec<&'a TargetGroup> {
    let labels = labels_of(set);
    groups.iter().filter(|group| group.spec.instance_labels == labels).collect()
}

/// The target groups that a request names.
pub(super) async fn given(c: &Context) -> Result<Vec<TargetGroup>, Failure> {
    let mut found = Vec::new();
    for arn in c.params.list("TargetGroupARNs.member") {
        let group = elb::find_group(c, &arn).await.map_err(|e| match e.code.as_ref() {
            "TargetGroupNotFound" => Failure::value(
                "Provided Target Groups may not be valid. Please ensure they exist and try again.",
            ),
            _ => e,
        })?;
        found.push(group);
    }
    Ok(found)
}

pub(super) async fn attach(c: &Context, set: &InstanceSet, groups: &[TargetGroup]) -> Result<(), Failure> {
    let labels = labels_of(set);
    for group in groups {
        c.change::<TargetGroupSpec>(&group.metadata.name, |group| {
            let own = &mut group.spec.instance_labels;
            if !own.is_empty() && *own != labels {
                let message = "The target group has the instances of another group, or of labels of its own";
                return Err(Failure::value(message));
            }
            own.clone_from(&labels);
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn release(c: &Context, set: &InstanceSet, groups: &[TargetGroup]) -> Result<(), Failure> {
    let labels = labels_of(set);
    for group in groups {
        c.change::<TargetGroupSpec>(&group.metadata.name, |group| {
            if group.spec.instance_labels == labels {
                group.spec.instance_labels.clear();
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Takes a set that goes out of all target groups.
pub(super) async fn forget(c: &Context, set: &InstanceSet) -> Result<(), Failure> {
    let groups = c.list_if_allowed::<TargetGroupSpec>().await?;
    let own: Vec<TargetGroup> = of(set, &groups).into_iter().cloned().collect();
    release(c, set, &own).await
}

async fn attach_named(c: &Context) -> Answer {
    let (set, groups) = (named(c).await?, given(c).await?);
    if groups.is_empty() {
        return Err(Failure::missing("TargetGroupARNs"));
    }
    attach(c, &set, &groups).await?;
    Ok(Xml::new())
}

async fn detach(c: &Context) -> Answer {
    let (set, groups) = (named(c).await?, given(c).await?);
    if groups.is_empty() {
        return Err(Failure::missing("TargetGroupARNs"));
    }
    release(c, &set, &groups).await?;
    Ok(Xml::new())
}

async fn describe(c: &Context) -> Answer {
    let set = named(c).await?;
    let groups = c.list_if_allowed::<TargetGroupSpec>().await?;
    let items = of(&set, &groups).into_iter().map(|group| (elb::group_arn(c, group), group)).collect();
    listed(c, "LoadBalancerTargetGroups", items, |x, group| {
        x.text("LoadBalancerTargetGroupARN", elb::group_arn(c, group)).text("State", "InService");
    })
}
