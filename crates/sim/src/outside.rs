//! Users of networks: ports, floating addresses, gateways and groups come and go, and meet in few addresses. As all
//! users they never look back.

use std::sync::Arc;

use client::{Api, DeleteOptions};
use model::compute::{Image, ImageFormat, ImageSource, ImageSpec, Instance, Visibility};
use model::network::{
    Address, AddressPool, AddressPoolSpec, AddressRange, FloatingIp, FloatingIpSpec, Gateway, GatewaySpec,
    GatewayType, Port, PortSpec, RouteTable, SecurityGroup, Subnet, SubnetSpec,
};
use model::{ApiError, Object, ObjectMeta, Resource};
use serde_json::json;

use crate::cloud::Cloud;
use crate::dice::Dice;
use crate::users::Users;

/// What guests are made of; nobody looks into it.
pub(crate) const IMAGE: &str = "guest";
/// The project whose public images everyone may use.
const LIBRARY: &str = "default";
/// Of the default network of a project.
const DEFAULT: &str = "default";
/// Few enough to run out.
const POOL: &str = "outside";
const POOL_RANGE: &str = "198.51.100.0/29";
/// As well.
const SMALL: &str = "small";
const SMALL_RANGE: &str = "10.0.200.0/28";
/// Beyond this many objects of a kind users delete rather than create.
const MAX: usize = 12;

/// A crowd of users of networks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outside {
    cloud: Arc<Cloud>,
    users: Users,
    /// `None` where there are no networks.
    dice: Option<Dice>,
}

impl Outside {
    pub(crate) fn new(cloud: Arc<Cloud>, users: &Users, dice: Option<Dice>) -> Self {
        Self { cloud, users: users.clone(), dice }
    }

    /// What the operator has made before anybody comes.
    pub(crate) async fn begin(&self) -> Result<(), ApiError> {
        if self.dice.is_none() {
            return Ok(());
        }
        let source = ImageSource { url: "https://images.example/guest".into(), ..ImageSource::default() };
        let image = ImageSpec {
            format: ImageFormat::Oci,
            source,
            visibility: Visibility::Public,
            ..ImageSpec::default()
        };
        let images = self.cloud.client.project::<Image>(LIBRARY);
        images.create(&Object::new(ObjectMeta::in_project(LIBRARY, IMAGE), image)).await?;
        let ranges = POOL_RANGE.parse::<AddressRange>().into_iter().collect();
        let pool = AddressPoolSpec { ranges, ..AddressPoolSpec::default() };
        let pools = self.cloud.client.all::<AddressPool>();
        pools.create(&Object::new(ObjectMeta::named(POOL), pool)).await.map(drop)
    }

    /// Whether the next thing that happens is theirs.
    pub(crate) fn wants_to_act(&self) -> bool {
        self.dice.as_ref().is_some_and(|dice| dice.per_mille(350))
    }

    /// One user does one thing.
    pub(crate) async fn act(self) {
        let Some(dice) = &self.dice else { return };
        let (what, done) = match dice.within(0..100) {
            0..20 => ("guests in small subnets created", self.create_guest(dice).await),
            20..35 => ("ports created", self.create_port(dice).await),
            35..45 => ("ports deleted", self.delete::<Port>(dice).await),
            45..60 => ("floating addresses created", self.create_floating(dice).await),
            60..75 => ("floating addresses moved", self.move_floating(dice).await),
            75..82 => ("floating addresses deleted", self.delete::<FloatingIp>(dice).await),
            82..88 => ("gateways created", self.create_gateway(dice).await),
            88..93 => ("gateways deleted", self.delete::<Gateway>(dice).await),
            93..98 => ("groups changed", self.change_group(dice).await),
            _ => ("subnets deleted", self.delete::<Subnet>(dice).await),
        };
        match done {
            Ok(()) => self.cloud.weather.count(what),
            Err(_refused) => self.cloud.weather.count("refusals of users of networks"),
        }
    }

    /// One with a card in the small subnet, with an address of choice, at a port that is there, or with one outside.
    async fn create_guest(&self, dice: &Dice) -> Result<(), ApiError> {
        let Some(project) = self.project(dice).await? else { return Ok(()) };
        self.make_subnet(&project).await?;
        let port = self.any::<Port>(dice, |port| port.metadata.namespace == project).await?;
        let card = match (dice.within(0..4), port) {
            (0, Some(port)) => json!({ "port": port.metadata.name }),
            (1, _) => json!({ "subnet": SMALL, "address": format!("10.0.200.{}", dice.within(0..16)) }),
            (2, _) => json!({ "subnet": DEFAULT, "publicAddress": true }),
            _ => json!({ "subnet": SMALL, "publicAddress": dice.per_mille(300) }),
        };
        let mut spec = self.users.instance();
        spec.networks = vec![serde_json::from_value(card).map_err(|e| ApiError::internal(e.to_string()))?];
        let meta = ObjectMeta::in_project(&project, self.users.name("n"));
        self.cloud.client.project::<Instance>(&project).create(&Object::new(meta, spec)).await.map(drop)
    }

    async fn make_subnet(&self, project: &str) -> Result<(), ApiError> {
        let spec =
            SubnetSpec { vpc: DEFAULT.into(), cidr: SMALL_RANGE.parse().ok(), ..SubnetSpec::default() };
        let subnets = self.cloud.client.project::<Subnet>(project);
        match subnets.create(&Object::new(ObjectMeta::in_project(project, SMALL), spec)).await {
            Err(e) if e.reason != model::Reason::AlreadyExists => Err(e),
            _ => Ok(()),
        }
    }

    async fn create_port(&self, dice: &Dice) -> Result<(), ApiError> {
        if self.users.all::<Port>().await?.len() >= 4 * MAX {
            return self.delete::<Port>(dice).await;
        }
        let Some(project) = self.project(dice).await? else { return Ok(()) };
        self.make_subnet(&project).await?;
        let address = format!("10.0.200.{}", dice.within(0..16));
        let addresses = dice.per_mille(300).then(|| address.parse::<Address>().ok()).flatten();
        let spec = PortSpec {
            subnet: SMALL.into(),
            addresses: addresses.into_iter().collect(),
            ..PortSpec::default()
        };
        let meta = ObjectMeta::in_project(&project, self.users.name("port"));
        self.cloud.client.project::<Port>(&project).create(&Object::new(meta, spec)).await.map(drop)
    }

    async fn create_floating(&self, dice: &Dice) -> Result<(), ApiError> {
        if self.users.all::<FloatingIp>().await?.len() >= MAX {
            return self.delete::<FloatingIp>(dice).await;
        }
        let Some(project) = self.project(dice).await? else { return Ok(()) };
        let port = self.any::<Port>(dice, |port| port.metadata.namespace == project).await?;
        let port = port.map(|port| port.metadata.name).unwrap_or_default();
        let spec = FloatingIpSpec { pool: POOL.into(), port, ..FloatingIpSpec::default() };
        let meta = ObjectMeta::in_project(&project, self.users.name("fip"));
        self.cloud.client.project::<FloatingIp>(&project).create(&Object::new(meta, spec)).await.map(drop)
    }

    async fn move_floating(&self, dice: &Dice) -> Result<(), ApiError> {
        let Some(floating) = self.any::<FloatingIp>(dice, |_| true).await? else { return Ok(()) };
        let project = &floating.metadata.namespace;
        let port = self.any::<Port>(dice, |port| port.metadata.namespace == *project).await?;
        let port = port.filter(|_| dice.per_mille(700)).map(|port| port.metadata.name).unwrap_or_default();
        let change = json!({ "spec": { "port": port } });
        let api = self.cloud.client.project::<FloatingIp>(project);
        api.merge(&floating.metadata.name, &change).await.map(drop)
    }

    /// One that sends from an address of its own, and the way to it.
    async fn create_gateway(&self, dice: &Dice) -> Result<(), ApiError> {
        let free = |floating: &FloatingIp| floating.spec.port.is_empty();
        let Some(floating) = self.any::<FloatingIp>(dice, free).await? else { return Ok(()) };
        let project = &floating.metadata.namespace;
        let spec = GatewaySpec {
            vpc: DEFAULT.into(),
            gateway_type: GatewayType::Nat,
            floating_ip: floating.metadata.name.clone(),
            ..GatewaySpec::default()
        };
        let name = self.users.name("nat");
        let meta = ObjectMeta::in_project(project, &name);
        self.cloud.client.project::<Gateway>(project).create(&Object::new(meta, spec)).await?;
        let routes =
            json!({ "spec": { "routes": [{ "destination": "0.0.0.0/0", "target": { "gateway": name } }] } });
        self.cloud.client.project::<RouteTable>(project).merge(DEFAULT, &routes).await.map(drop)
    }

    async fn change_group(&self, dice: &Dice) -> Result<(), ApiError> {
        let Some(group) = self.any::<SecurityGroup>(dice, |_| true).await? else { return Ok(()) };
        let ports = dice.within(1..1000).to_string();
        let everyone = json!({ "cidr": "0.0.0.0/0" });
        let rule = json!({ "direction": "ingress", "protocol": "tcp", "ports": ports, "peer": everyone });
        let rules = json!({ "spec": { "rules": [rule] } });
        let api = self.cloud.client.project::<SecurityGroup>(&group.metadata.namespace);
        api.merge(&group.metadata.name, &rules).await.map(drop)
    }

    /// What others need is refused.
    async fn delete<R: Resource>(&self, dice: &Dice) -> Result<(), ApiError> {
        let Some(object) = self.any::<R>(dice, |_| true).await? else { return Ok(()) };
        let meta = object.metadata();
        let api: Api<R> = self.cloud.client.project::<R>(&meta.namespace);
        api.delete(&meta.name, &DeleteOptions::default()).await?;
        self.cloud.deleted.lock().insert(meta.uid.clone());
        Ok(())
    }

    async fn project(&self, dice: &Dice) -> Result<Option<String>, ApiError> {
        let projects =
            self.users.any_by::<model::identity::Project>(dice, |p| p.metadata.name.starts_with("p-"));
        Ok(projects.await?.map(|project| project.metadata.name))
    }

    async fn any<R: Resource>(
        &self,
        dice: &Dice,
        wanted: impl Fn(&R) -> bool,
    ) -> Result<Option<R>, ApiError> {
        let own = |object: &R| object.metadata().namespace.starts_with("p-") && wanted(object);
        self.users.any_by(dice, own).await
    }
}
