//! The verdict on networks: each host has programmed what the objects say, no address is had twice, and nothing is
//! left of what is gone. Reckoned anew from the objects, and not by the code that made the plans.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use client::{Client, ListParams};
use driver::{Hop, VpcPlan};
use model::compute::{Instance, leaving_ports, port_names};
use model::network::{FloatingIp, Gateway, Port, RouteTable, SecurityGroup, Subnet, Vpc};
use model::{ApiError, Resource, Uid};
use store::{ListOptions, Store};

use crate::cloud::Cloud;
use crate::host::SimHost;

/// Of what is had but once, in the store.
const CLAIMS: &str = "/claims/";

/// All there is to judge, read without faults.
struct Facts {
    vpcs: Vec<Vpc>,
    subnets: Vec<Subnet>,
    ports: Vec<Port>,
    groups: Vec<SecurityGroup>,
    floating: Vec<FloatingIp>,
    gateways: Vec<Gateway>,
    tables: Vec<RouteTable>,
    instances: Vec<Instance>,
    deleted: BTreeSet<Uid>,
}

async fn list<R: Resource>(client: &Client) -> Result<Vec<R>, ApiError> {
    Ok(client.all::<R>().list(&ListParams::default()).await?.items)
}

async fn gather(cloud: &Cloud, client: &Client) -> Result<Facts, ApiError> {
    Ok(Facts {
        vpcs: list(client).await?,
        subnets: list(client).await?,
        ports: list(client).await?,
        groups: list(client).await?,
        floating: list(client).await?,
        gateways: list(client).await?,
        tables: list(client).await?,
        instances: list(client).await?,
        deleted: cloud.deleted.lock().clone(),
    })
}

/// What is not as it should be, in sentences.
pub(crate) async fn complaints(cloud: &Cloud, client: &Client) -> Result<Vec<String>, ApiError> {
    if !cloud.networked {
        return Ok(Vec::new());
    }
    let facts = gather(cloud, client).await?;
    let mut complaints = Vec::new();
    facts.nothing_outlives(&mut complaints);
    for host in cloud.hosts() {
        facts.judge(&host, &cloud.hosts(), &mut complaints);
    }
    Ok(complaints)
}

/// What there still is of networks of users, after all of them have gone.
pub(crate) async fn left(cloud: &Cloud) -> Result<Vec<String>, ApiError> {
    let Some(client) = cloud.control.judge() else { return Ok(vec!["there is no control plane".into()]) };
    let facts = gather(cloud, &client).await?;
    let mut left = Vec::new();
    let mut tell = |kind: &str, project: &str, name: &str| {
        if project.starts_with("p-") {
            left.push(format!("{kind} {project}/{name} is left"));
        }
    };
    facts.vpcs.iter().for_each(|o| tell("vpc", &o.metadata.namespace, &o.metadata.name));
    facts.subnets.iter().for_each(|o| tell("subnet", &o.metadata.namespace, &o.metadata.name));
    facts.ports.iter().for_each(|o| tell("port", &o.metadata.namespace, &o.metadata.name));
    facts.floating.iter().for_each(|o| tell("floating ip", &o.metadata.namespace, &o.metadata.name));
    facts.gateways.iter().for_each(|o| tell("gateway", &o.metadata.namespace, &o.metadata.name));
    for host in cloud.hosts() {
        let plans = host.fabric.plans();
        left.extend(plans.iter().map(|plan| format!("host {} has network {}", host.name, plan.label)));
    }
    let claims = cloud.store.list(CLAIMS, ListOptions::default()).await;
    let claims = claims.map_err(|e| ApiError::internal(e.to_string()))?;
    let of_users = |key: &&str| key.contains("/p-") || key.starts_with("/claims/floating/");
    let claims = claims.entries.iter().map(|entry| &*entry.key).filter(of_users);
    left.extend(claims.map(|key| format!("claim {key} is left")));
    Ok(left)
}

impl Facts {
    /// What was asked to go is gone, and what was made for another is not there without it.
    fn nothing_outlives(&self, complaints: &mut Vec<String>) {
        let is_gone = |uid: &Uid| self.deleted.contains(uid);
        let ports = self.ports.iter().filter(|port| is_gone(&port.metadata.uid));
        complaints.extend(ports.map(|port| format!("port {} was deleted and is there", port.metadata.key())));
        let all = self.floating.iter().filter(|floating| is_gone(&floating.metadata.uid));
        complaints.extend(all.map(|f| format!("floating ip {} was deleted and is there", f.metadata.key())));
        for port in self.ports.iter().filter(|port| !port.spec.instance.is_empty()) {
            let (project, owner) = (&port.metadata.namespace, &port.spec.instance);
            let is_owner = |i: &Instance| i.metadata.namespace == *project && i.metadata.name == *owner;
            if !self.instances.iter().any(is_owner) {
                complaints.push(format!("port {} outlived its instance", port.metadata.key()));
            }
        }
        let mut seen = BTreeMap::new();
        for port in &self.ports {
            let Some(vpc) = self.vpc_of(port) else { continue };
            for address in &port.spec.addresses {
                if let Some(other) = seen.insert((vpc.metadata.uid.clone(), *address), port.metadata.key()) {
                    complaints.push(format!("ports {other} and {} have {address}", port.metadata.key()));
                }
            }
        }
        let mut seen = BTreeMap::new();
        for floating in &self.floating {
            let name = floating.metadata.key();
            let other = floating.spec.address.and_then(|address| seen.insert(address, name.clone()));
            complaints.extend(other.map(|other| format!("floating ips {other} and {name} have one address")));
        }
    }

    fn vpc_of(&self, port: &Port) -> Option<&Vpc> {
        let project = &port.metadata.namespace;
        let in_project = |o: &model::ObjectMeta, name: &str| o.namespace == *project && o.name == name;
        let subnet = self.subnets.iter().find(|s| in_project(&s.metadata, &port.spec.subnet))?;
        self.vpcs.iter().find(|v| in_project(&v.metadata, &subnet.spec.vpc))
    }

    /// The host that has the guest of a port.
    fn host_of(&self, port: &Port, hosts: &[std::sync::Arc<SimHost>]) -> Option<String> {
        let holds = |instance: &&Instance| {
            let name = &port.metadata.name;
            instance.metadata.namespace == port.metadata.namespace
                && (port_names(instance).contains(name) || leaving_ports(instance).contains(name))
        };
        let instance = self.instances.iter().find(holds)?;
        let host = hosts.iter().find(|host| host.name == instance.status.host)?;
        host.homes().contains(&instance.metadata.uid).then(|| host.name.clone())
    }

    fn judge(&self, host: &SimHost, hosts: &[std::sync::Arc<SimHost>], complaints: &mut Vec<String>) {
        let plans = host.fabric.plans();
        for plan in &plans {
            if !self.vpcs.iter().any(|vpc| vpc.metadata.uid == plan.uid) {
                complaints.push(format!("host {} has network {}, which is gone", host.name, plan.label));
            }
        }
        for vpc in &self.vpcs {
            let plan = plans.iter().find(|plan| plan.uid == vpc.metadata.uid);
            let mut wrong = |what: String| {
                complaints.push(format!("host {}, network {}: {what}", host.name, vpc.metadata.key()));
            };
            let ports: Vec<&Port> = self
                .ports
                .iter()
                .filter(|port| self.vpc_of(port).is_some_and(|own| own.metadata.uid == vpc.metadata.uid))
                .collect();
            let at = |port: &Port| self.host_of(port, hosts);
            let here: BTreeSet<&Uid> = ports
                .iter()
                .filter(|port| at(port).as_deref() == Some(host.name.as_str()))
                .map(|port| &port.metadata.uid)
                .collect();
            let shares = self.gateways_here(vpc, host);
            let Some(plan) = plan else {
                if !here.is_empty() || !shares.is_empty() {
                    wrong(format!("it is not there, and has ports {here:?} and addresses {shares:?}"));
                }
                continue;
            };
            let programmed: BTreeSet<&Uid> = plan.ports.iter().map(|port| &port.uid).collect();
            if here.is_empty() && shares.is_empty() {
                wrong("it is there without a reason".into());
            } else if programmed != here {
                wrong(format!("has ports {programmed:?} in place of {here:?}"));
            }
            self.judge_plan(plan, &ports, host, &shares, &mut wrong);
        }
    }

    fn judge_plan(
        &self,
        plan: &VpcPlan,
        ports: &[&Port],
        host: &SimHost,
        shares: &BTreeSet<IpAddr>,
        wrong: &mut dyn FnMut(String),
    ) {
        let addresses = |port: &&&Port| port.spec.addresses.iter().map(|a| a.0).collect::<Vec<_>>();
        let elsewhere = |port: &&&Port| {
            let status = &port.status;
            status.host != host.name && status.host_address.is_some_and(|a| Some(a.0) != host.underlay)
        };
        let is_local = |port: &&&Port| plan.ports.iter().any(|local| local.uid == port.metadata.uid);
        let expected: BTreeSet<IpAddr> = ports
            .iter()
            .filter(|port| elsewhere(port) && !is_local(port))
            .flat_map(|port| addresses(&port))
            .collect();
        let found: BTreeSet<IpAddr> = plan.remotes.iter().map(|remote| remote.address).collect();
        if found != expected {
            wrong(format!("knows {found:?} elsewhere in place of {expected:?}"));
        }
        for group in &plan.groups {
            let object = self.groups.iter().find(|object| object.metadata.uid == group.uid);
            let Some(object) = object else {
                wrong(format!("has group {}, which is gone", group.uid));
                continue;
            };
            let has_it = |port: &&&Port| port.spec.security_groups.contains(&object.metadata.name);
            let expected: BTreeSet<IpAddr> =
                ports.iter().filter(has_it).flat_map(|port| addresses(&port)).collect();
            let found: BTreeSet<IpAddr> = group.members.iter().copied().collect();
            if found != expected {
                wrong(format!("group {} has {found:?} in place of {expected:?}", object.metadata.name));
            }
        }
        let uplink = plan.uplink.as_ref();
        let found: BTreeSet<IpAddr> =
            uplink.into_iter().flat_map(|uplink| &uplink.shared).map(|shared| shared.address).collect();
        if found != *shares {
            wrong(format!("translates to {found:?} in place of {shares:?}"));
        }
        let owned = |outside: &IpAddr| {
            let has_it = |f: &&FloatingIp| f.spec.address.is_some_and(|address| address.0 == *outside);
            let floating = self.floating.iter().find(has_it);
            floating.is_some_and(|f| ports.iter().any(|p| is_local(&p) && p.metadata.name == f.spec.port))
        };
        for (outside, _) in uplink.into_iter().flat_map(|uplink| &uplink.floating) {
            if !owned(outside) {
                wrong(format!("answers for {outside}, which stands for no port here"));
            }
        }
        self.judge_ways(plan, host, wrong);
    }

    /// Who is led to another host is led to one that translates.
    fn judge_ways(&self, plan: &VpcPlan, host: &SimHost, wrong: &mut dyn FnMut(String)) {
        for table in &plan.tables {
            if !self.tables.iter().any(|object| object.metadata.uid == table.uid) {
                wrong(format!("follows route table {}, which is gone", table.uid));
            }
        }
        let hops = plan.tables.iter().flat_map(|table| &table.routes).map(|route| &route.target);
        for hop in hops {
            let Hop::Host(address) = hop else { continue };
            let is_there = |g: &Gateway| g.status.host_address.is_some_and(|own| own.0 == *address);
            if Some(*address) == host.underlay || !self.gateways.iter().any(is_there) {
                wrong(format!("leads to {address}, where no gateway is"));
            }
        }
    }

    /// Addresses that a host translates to for all.
    fn gateways_here(&self, vpc: &Vpc, host: &SimHost) -> BTreeSet<IpAddr> {
        let here = self.gateways.iter().filter(|gateway| {
            gateway.metadata.namespace == vpc.metadata.namespace
                && gateway.spec.vpc == vpc.metadata.name
                && gateway.status.host == host.name
        });
        let address = |gateway: &Gateway| {
            let named = |f: &&FloatingIp| {
                f.metadata.namespace == gateway.metadata.namespace
                    && f.metadata.name == gateway.spec.floating_ip
            };
            self.floating.iter().find(named).and_then(|floating| floating.spec.address)
        };
        here.filter_map(address).map(|address| address.0).collect()
    }
}
