//! The default network of a project: what makes an instance reachable whose user said nothing of networks. Made
//! once, when the project is; who deletes it has it so.

use client::Client;
use identity::Principal;
use model::compute::Instance;
use model::identity::Project;
use model::network::{
    Cidr, Direction, GatewaySpec, GatewayType, Protocol, Route, RouteTableSpec, RouteTarget, RulePeer,
    SecurityGroupSpec, SecurityRule, SubnetSpec, Vpc, VpcSpec,
};
use model::{AnyObject, ApiError, Object, ObjectMeta, Reason, Spec};
use serde_json::json;

use crate::server::Server;

/// On projects whose default network was made.
const MADE: &str = "network.corten.dev/default-vpc";
/// The name of all its objects.
const NAME: &str = "default";
/// The default subnet has a quarter of the range: the rest is left for others.
const SUBNET_SHARE_BITS: u8 = 2;

impl Server {
    /// A project's first instance finds the default network there, whatever interrupted the making of it.
    pub(crate) async fn before_create(
        &self,
        request: &client::Request,
        object: &dyn AnyObject,
    ) -> Result<(), ApiError> {
        let names_none =
            object.as_any().downcast_ref::<Instance>().is_some_and(|i| i.spec.networks.is_empty());
        if !names_none || request.write.dry_run {
            return Ok(());
        }
        self.make_default_network(&object.metadata().namespace).await
    }

    /// The project is there; what goes wrong here is made good before its first instance.
    pub(crate) async fn after_create(&self, object: &dyn AnyObject) {
        if object.as_any().downcast_ref::<Project>().is_none() {
            return;
        }
        let project = &object.metadata().name;
        if let Err(e) = self.make_default_network(project).await {
            tracing::warn!(project, error = %e, "the default network is not made yet");
        }
    }

    async fn make_default_network(&self, project: &str) -> Result<(), ApiError> {
        let Some(plane) = self.inner.environment.network_plane() else { return Ok(()) };
        let Some(found) = self.read::<Project>("", project).await? else { return Ok(()) };
        if found.metadata.is_deleting() || found.metadata.annotations.contains_key(MADE) {
            return Ok(());
        }
        let client = self.client(Principal::component("default-network"));
        make(&client, project, plane.default_range).await?;
        let done = json!({ "metadata": { "annotations": { MADE: "made" } } });
        client.all::<Project>().merge(project, &done).await.map(drop)
    }
}

/// Each object is left alone where it is there already. A Vpc of the name that is none of ours ends it: the user
/// has made networks before the cloud did.
async fn make(client: &Client, project: &str, range: Cidr) -> Result<(), ApiError> {
    let spec = VpcSpec { ipv4_ranges: vec![range], is_default: true, ..VpcSpec::default() };
    let Some(vpc) = ensure(client, project, spec).await? else { return Ok(()) };
    if !vpc.spec.is_default {
        return Ok(());
    }
    ensure(client, project, subnet(&vpc)).await?;
    ensure(client, project, group()).await?;
    let gateway = GatewaySpec { vpc: NAME.into(), gateway_type: GatewayType::Nat, ..GatewaySpec::default() };
    ensure(client, project, gateway).await?;
    ensure(client, project, table()).await.map(drop)
}

/// The object as it is then; `None` when another than the one of this name has its place.
async fn ensure<S: Spec>(client: &Client, project: &str, spec: S) -> Result<Option<Object<S>>, ApiError> {
    let objects = client.project::<Object<S>>(project);
    match objects.create(&Object::new(ObjectMeta::in_project(project, NAME), spec)).await {
        Ok(made) => Ok(Some(made)),
        Err(e) if e.reason == Reason::AlreadyExists => objects.get(NAME).await.map(Some),
        // The user has another default, or a subnet in its place.
        Err(e) if e.reason == Reason::Invalid => Ok(None),
        Err(e) => Err(e),
    }
}

fn subnet(vpc: &Vpc) -> SubnetSpec {
    let cut = |range: &Cidr, length: u8| Cidr::around(range.range().first(), length);
    let ipv4 = vpc.spec.ipv4_ranges.first();
    SubnetSpec {
        vpc: NAME.into(),
        cidr: ipv4.and_then(|range| cut(range, range.prefix_len() + SUBNET_SHARE_BITS)),
        ipv6_cidr: vpc.spec.ipv6_range.and_then(|range| cut(&range, 64)),
        is_default: true,
        ..SubnetSpec::default()
    }
}

/// As EC2's default group: in from its own members, out to everyone.
fn group() -> SecurityGroupSpec {
    let rule = |direction, peer| SecurityRule {
        direction,
        protocol: Protocol::Any,
        peer,
        ..SecurityRule::default()
    };
    let members = RulePeer { group: NAME.into(), ..RulePeer::default() };
    let mut rules = vec![rule(Direction::Ingress, members)];
    rules.extend(
        everywhere()
            .map(|cidr| rule(Direction::Egress, RulePeer { cidr: Some(cidr), ..RulePeer::default() })),
    );
    SecurityGroupSpec {
        vpc: NAME.into(),
        description: "in from its own members, out to everyone".into(),
        rules,
        is_default: true,
    }
}

fn table() -> RouteTableSpec {
    let route = |cidr| Route {
        destination: Some(cidr),
        target: RouteTarget { gateway: NAME.into(), ..RouteTarget::default() },
        ..Route::default()
    };
    RouteTableSpec { vpc: NAME.into(), routes: everywhere().map(route).collect(), is_main: true }
}

/// All addresses, of both families.
fn everywhere() -> impl Iterator<Item = Cidr> {
    ["0.0.0.0/0", "::/0"].into_iter().filter_map(|cidr| cidr.parse().ok())
}
