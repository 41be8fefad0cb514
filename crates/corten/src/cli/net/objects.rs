//! The objects that a trace looks things up in, as the caller may see them.

use std::collections::BTreeSet;

use client::ListParams;
use model::Resource;
use model::network::Peering;
use trace::Objects;

use crate::cli::api::Cloud;
use crate::failure::{Exit, Failure};

/// Of the command's project, and of those whose VPCs its own are peered with as far as the caller may read them.
pub(super) async fn load(cloud: &Cloud) -> Result<Objects, Failure> {
    let mut objects = of_project(cloud, cloud.project()).await?;
    let peer = |peering: &Peering| peering.spec.peer_project(&peering.metadata.namespace).to_owned();
    let peers: BTreeSet<String> = objects.peerings.iter().map(peer).collect();
    for project in peers.iter().filter(|project| *project != cloud.project()) {
        match of_project(cloud, project).await {
            Ok(theirs) => add(&mut objects, theirs),
            Err(e) if matches!(e.exit, Exit::Refused | Exit::NotFound) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(objects)
}

async fn of_project(cloud: &Cloud, project: &str) -> Result<Objects, Failure> {
    Ok(Objects {
        vpcs: list(cloud, project).await?,
        subnets: list(cloud, project).await?,
        ports: list(cloud, project).await?,
        groups: list(cloud, project).await?,
        lists: list(cloud, project).await?,
        acls: list(cloud, project).await?,
        gateways: list(cloud, project).await?,
        tables: list(cloud, project).await?,
        floating: list(cloud, project).await?,
        peerings: list(cloud, project).await?,
        endpoints: list(cloud, project).await?,
        instances: list(cloud, project).await?,
    })
}

pub(super) async fn list<R: Resource>(cloud: &Cloud, project: &str) -> Result<Vec<R>, Failure> {
    Ok(cloud.client.project::<R>(project).list(&ListParams::default()).await?.items)
}

fn add(objects: &mut Objects, theirs: Objects) {
    objects.vpcs.extend(theirs.vpcs);
    objects.subnets.extend(theirs.subnets);
    objects.ports.extend(theirs.ports);
    objects.groups.extend(theirs.groups);
    objects.lists.extend(theirs.lists);
    objects.gateways.extend(theirs.gateways);
    objects.tables.extend(theirs.tables);
    objects.floating.extend(theirs.floating);
    objects.peerings.extend(theirs.peerings);
    objects.endpoints.extend(theirs.endpoints);
    objects.instances.extend(theirs.instances);
}
