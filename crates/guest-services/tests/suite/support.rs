//! A VPC of two ports for every test: `web` at interface 7 with all there is, `db` at 8 with a /32 and IMDSv1.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use guest_services::{
    Directory, Instance, MetadataOptions, Nic, NicFacts, Port, RecordData, Role, Route, Zone,
};
use model::Uid;

pub(crate) const WEB: u32 = 7;
pub(crate) const DB: u32 = 8;
pub(crate) const WEB_MAC: [u8; 6] = [0x02, 0, 0x5e, 0, 0x53, 1];
pub(crate) const DB_MAC: [u8; 6] = [0x02, 0, 0x5e, 0, 0x53, 2];

pub(crate) fn uid(text: &str) -> Uid {
    Uid::parse(text).unwrap()
}

pub(crate) fn directory() -> Directory {
    directory_at(WEB, DB)
}

pub(crate) fn directory_at(web: u32, db: u32) -> Directory {
    let (web_nic, db_nic) = (Arc::new(web_nic()), Arc::new(db_nic()));
    let ports = HashMap::from([
        (web, port("aa", &web_nic, web_instance(&web_nic))),
        (db, port("bb", &db_nic, db_instance(&db_nic))),
    ]);
    Directory {
        vpc: uid("0a1b2c3d-0000-4000-8000-000000000001"),
        ports,
        zones: vec![zone()],
        networks: vec!["10.0.0.0/16".parse().unwrap(), "fd12:3456::/48".parse().unwrap()],
        reverse: HashMap::from([
            ("10.0.0.5".parse().unwrap(), "web.demo.internal".to_owned()),
            ("fd12:3456::5".parse().unwrap(), "web.demo.internal".to_owned()),
        ]),
        upstreams: vec!["192.0.2.53:53".parse().unwrap()],
        doors: Vec::new(),
    }
}

fn port(id: &str, nic: &Arc<Nic>, instance: Instance) -> Port {
    Port { uid: uid(id), nic: Arc::clone(nic), instance: Some(Arc::new(instance)) }
}

pub(crate) fn web_nic() -> Nic {
    Nic {
        mac: WEB_MAC,
        hostname: "web".into(),
        domain: "demo.internal".into(),
        addresses: vec!["10.0.0.5/24".parse().unwrap(), "fd12:3456::5/128".parse().unwrap()],
        gateway4: Some("10.0.0.1".parse().unwrap()),
        gateway6: Some("fe80::1".parse().unwrap()),
        mtu: 1450,
        dns: vec!["10.0.0.1".parse().unwrap(), "fd12:3456::1".parse().unwrap()],
        lease_seconds: 3600,
        ..Nic::default()
    }
}

pub(crate) fn db_nic() -> Nic {
    Nic {
        mac: DB_MAC,
        hostname: "db".into(),
        domain: "demo.internal".into(),
        addresses: vec!["10.0.1.6/32".parse().unwrap()],
        gateway4: Some("10.0.1.1".parse().unwrap()),
        mtu: 1450,
        dns: vec!["10.0.1.1".parse().unwrap()],
        routes: vec![Route { to: "192.168.0.0/16".parse().unwrap(), via: Some("10.0.1.9".parse().unwrap()) }],
        lease_seconds: 3600,
        ..Nic::default()
    }
}

fn web_instance(nic: &Arc<Nic>) -> Instance {
    Instance {
        uid: uid("aaaa"),
        id: "i-0000000000000000a".into(),
        name: "web".into(),
        image_id: "ami-debian".into(),
        instance_type: "t3.small".into(),
        architecture: "x86_64".into(),
        account_id: "000000000001".into(),
        reservation_id: "r-1".into(),
        region: "home".into(),
        zone: "home-a".into(),
        launched_at: "2026-11-26T12:00:00Z".into(),
        services_domain: "corten.dev".into(),
        public_keys: vec![("mine".into(), "ssh-ed25519 AAAA me@home\n".into())],
        security_groups: vec!["default".into(), "web".into()],
        tags: BTreeMap::from([("Name".into(), "web".into())]),
        block_devices: BTreeMap::from([("ami".into(), "vda".into()), ("root".into(), "/dev/vda".into())]),
        role: Some(Role { name: "reader".into(), profile_arn: "arn:x".into(), profile_id: "AIPA1".into() }),
        user_data: Some("#!/bin/sh\necho hello\n".into()),
        nics: vec![NicFacts {
            nic: Arc::clone(nic),
            id: "eni-1".into(),
            vpc_id: "vpc-1".into(),
            subnet_id: "subnet-1".into(),
            security_groups: vec!["default".into(), "web".into()],
            security_group_ids: vec!["sg-1".into(), "sg-2".into()],
            floating: vec![("203.0.113.9".parse().unwrap(), "10.0.0.5".parse().unwrap())],
            subnet_ipv4: Some("10.0.0.0/24".parse().unwrap()),
            vpc_ipv4: vec!["10.0.0.0/16".parse().unwrap()],
            ..NicFacts::default()
        }],
        ..Instance::default()
    }
}

fn db_instance(nic: &Arc<Nic>) -> Instance {
    Instance {
        uid: uid("bbbb"),
        id: "i-0000000000000000b".into(),
        name: "db".into(),
        nics: vec![NicFacts { nic: Arc::clone(nic), ..NicFacts::default() }],
        options: MetadataOptions {
            requires_token: false,
            token_hops: 2,
            shows_tags: true,
            ..MetadataOptions::default()
        },
        ..Instance::default()
    }
}

fn zone() -> Zone {
    let mut zone = Zone::new("demo.internal").unwrap();
    let mut add = |name: &str, data| zone.insert(name, 60, data).unwrap();
    add("web.demo.internal", RecordData::A("10.0.0.5".parse().unwrap()));
    add("web.demo.internal", RecordData::Aaaa("fd12:3456::5".parse().unwrap()));
    add("www.demo.internal", RecordData::Cname("web.demo.internal".into()));
    add("out.demo.internal", RecordData::Cname("example.com".into()));
    add("loop.demo.internal", RecordData::Cname("pool.demo.internal".into()));
    add("pool.demo.internal", RecordData::Cname("loop.demo.internal".into()));
    add("*.apps.demo.internal", RecordData::A("10.0.0.7".parse().unwrap()));
    add("a.deep.demo.internal", RecordData::Txt(vec!["one".into(), "two".into()]));
    add("demo.internal", RecordData::Mx { preference: 10, exchange: "web.demo.internal".into() });
    add(
        "_http._tcp.demo.internal",
        RecordData::Srv { priority: 0, weight: 5, port: 80, target: "web.demo.internal".into() },
    );
    for i in 0..100 {
        add("many.demo.internal", RecordData::A([10, 0, 9, i].into()));
    }
    zone
}
