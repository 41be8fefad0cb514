//! What users read.

use model::compute::{Affinity, Instance, InstanceSpec, SpreadConstraint, TopologyKey};
use model::topology::{DriverStatus, Host, HostSpec, Taint};
use model::{Condition, ConditionStatus, ObjectMeta};
use scheduler::{HostView, Index, Request};

use crate::world::{POD, VM, gib, host, labels, request};

#[test]
fn a_refusal_counts_the_reasons_and_offers_what_fits() {
    let mut index = Index::new();
    for n in 0..12 {
        let mut view = host(&format!("host-{n}"), gib(4, 2));
        view.zone = if n < 8 { "east" } else { "west" }.into();
        view.cordoned = n == 7;
        index.upsert_host(view);
    }
    index.bind(&request("small", gib(1, 1)), "host-0").unwrap();
    let mut wanted = request("big", gib(2, 4));
    wanted.placement.zone = "east".into();
    let refusal = index.place(&wanted).unwrap_err();
    let offered = &refusal.nearest.as_ref().unwrap().host;
    assert_eq!(
        refusal.to_string(),
        format!(
            "0 of 12 hosts: 7 short of memory, 4 in another zone, 1 cordoned; \
             the largest that fits now: 2 cpu, 2Gi memory on {offered}"
        )
    );
    assert!(!["host-0", "host-7"].contains(&&**offered));
}

#[test]
fn an_empty_cloud_says_so() {
    let refusal = Index::new().place(&request("vm", gib(1, 1))).unwrap_err();
    assert_eq!(refusal.to_string(), "0 of 0 hosts: no host has joined yet");
}

#[test]
fn a_placement_says_why_this_host() {
    let mut index = Index::new();
    let mut first = host("host-1", gib(4, 8));
    first.images = vec!["abc".into()];
    index.upsert_host(first);
    index.upsert_host(host("host-2", gib(4, 8)));
    index.upsert_host(HostView { cordoned: true, ..host("host-3", gib(4, 8)) });
    let mut vm = request("vm", gib(1, 1));
    vm.images = vec!["abc".into()];
    let placement = index.place(&vm).unwrap();
    assert_eq!(&*placement.host, "host-1");
    assert_eq!(
        placement.explanation.to_string(),
        "best of 2 eligible among 3 hosts with a score of 115 (load 100, images 15); \
         next host-2 with 100 (load 100)"
    );
}

#[test]
fn every_host_has_its_say() {
    let mut index = Index::new();
    let tainted = vec![Taint { key: "gpu".into(), value: "yes".into() }];
    for (name, change) in [
        ("a-fits", (|_| {}) as fn(&mut HostView)),
        ("b-zone", |h| h.zone = "west".into()),
        ("c-cell", |h| h.cells = vec![POD]),
        ("d-labels", |h| h.labels.clear()),
        ("f-ready", |h| h.ready = false),
        ("g-cordon", |h| h.cordoned = true),
        ("h-memory", |h| h.allocatable = gib(4, 1)),
        ("i-cpu", |h| h.allocatable = gib(1, 8)),
    ] {
        let mut view = host(name, gib(4, 8));
        view.zone = "east".into();
        view.labels = labels(&[("disk", "ssd")]);
        change(&mut view);
        index.upsert_host(view);
    }
    let mut view = host("e-taint", gib(4, 8));
    (view.zone, view.labels, view.taints) = ("east".into(), labels(&[("disk", "ssd")]), tainted);
    index.upsert_host(view);
    let mut vm = request("vm", gib(2, 2));
    vm.placement.zone = "east".into();
    vm.placement.host_labels = labels(&[("disk", "ssd")]);
    let said: Vec<String> =
        index.verdicts(&vm).iter().map(|(name, verdict)| format!("{name} {verdict}")).collect();
    assert_eq!(
        said,
        [
            "a-fits fits with a score of 100 (load 100)",
            "b-zone is in zone \"west\", not \"east\"",
            "c-cell has no usable driver for vm/disk",
            "d-labels has no label disk=ssd",
            "e-taint has the taint gpu=yes, which is not tolerated",
            "f-ready is not ready: its agent has not been heard of lately",
            "g-cordon is cordoned",
            "h-memory has 1Gi memory free of 2Gi asked for",
            "i-cpu has 1 cpu free of 2 asked for",
        ]
    );
}

#[test]
fn neighbours_are_named() {
    let mut index = Index::new();
    for (name, rack) in [("host-1", "r1"), ("host-2", "r2")] {
        index.upsert_host(HostView { rack: rack.into(), ..host(name, gib(4, 8)) });
    }
    let web = labels(&[("app", "web")]);
    let mut member = request("web-0", gib(1, 1));
    member.labels = web.clone();
    index.bind(&member, "host-1").unwrap();
    let mut check = |change: fn(&mut Request), expected: [&str; 2]| {
        let mut vm = request("vm", gib(1, 1));
        vm.labels = web.clone();
        change(&mut vm);
        let said: Vec<String> = index.verdicts(&vm).iter().map(|(_, verdict)| verdict.to_string()).collect();
        assert_eq!(said, expected);
    };
    check(
        |vm| vm.placement.affinity = vec![Affinity { labels: vm.labels.clone(), ..Affinity::default() }],
        ["fits with a score of 75 (load 75)", "has no instance with app=web"],
    );
    check(
        |vm| {
            let (labels, topology) = (vm.labels.clone(), TopologyKey::Rack);
            vm.placement.anti_affinity = vec![Affinity { labels, topology, prefer: false }];
        },
        ["its rack has 1 of app=web, to keep away from", "fits with a score of 100 (load 100)"],
    );
    check(
        |vm| {
            let (labels, topology) = (vm.labels.clone(), TopologyKey::Host);
            vm.placement.spread = vec![SpreadConstraint { labels, topology, max_skew: 1, prefer: false }];
        },
        ["has 1 of app=web, and the spread allows 0 before this one", "fits with a score of 100 (load 100)"],
    );
}

#[test]
fn a_pinned_request_hears_of_its_host_alone() {
    let mut index = Index::new();
    index.upsert_host(host("host-1", gib(4, 8)));
    index.upsert_host(HostView { ready: false, ..host("host-2", gib(4, 8)) });
    let mut vm = request("vm", gib(1, 1));
    vm.placement.host = "host-2".into();
    let refusal = index.place(&vm).unwrap_err();
    assert_eq!(refusal.to_string(), "0 of 2 hosts: 1 not the asked-for host, 1 not ready");
    vm.placement.host = "host-9".into();
    let refusal = index.place(&vm).unwrap_err();
    assert_eq!(refusal.to_string(), "0 of 2 hosts: 2 not the asked-for host");
}

#[test]
fn a_host_object_is_seen_as_it_is() {
    let mut object = Host::new(
        ObjectMeta::named("host-1"),
        HostSpec { zone: "east".into(), cpu_overcommit: 2.0, ..HostSpec::default() },
    );
    object.status.capacity = gib(4, 8);
    object.status.drivers = vec![
        DriverStatus { name: "qemu".into(), cells: vec![VM], ..DriverStatus::default() },
        DriverStatus {
            name: "oci".into(),
            cells: vec![POD],
            unavailable: "no runc".into(),
            ..DriverStatus::default()
        },
    ];
    let view = HostView::from(&object);
    assert_eq!((view.ready, view.cells.as_slice(), view.allocatable), (false, &[VM][..], gib(8, 8)));
    object.status.conditions.push(Condition::new("Ready", ConditionStatus::True, "Reporting", ""));
    object.metadata.deletion_timestamp = Some(model::Timestamp(1));
    let view = HostView::from(&object);
    assert!(view.ready && view.cordoned, "a host that is being deleted takes nothing new");
}

#[test]
fn an_instance_object_is_asked_for_as_it_is() {
    let mut spec = InstanceSpec { resources: gib(1, 2), ..InstanceSpec::default() };
    spec.placement.zone = "east".into();
    let mut instance = Instance::new(ObjectMeta::in_project("p", "vm"), spec);
    instance.metadata.labels = labels(&[("app", "web")]);
    let request = Request::new(&instance, vec!["abc".into()]);
    assert_eq!(request.key(), "p/vm");
    assert_eq!((request.cell, request.resources), (VM, gib(1, 2)));
    assert_eq!((request.placement.zone.as_str(), &request.labels), ("east", &instance.metadata.labels));
}
