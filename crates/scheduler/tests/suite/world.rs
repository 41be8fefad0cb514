//! Random hosts, requests and histories. Few distinct values, so that things collide and rules conflict.

use std::collections::BTreeMap;

use model::compute::{
    Affinity, Cell, Isolation, PayloadKind, PlacementSpec, SpreadConstraint, Strategy as Load, Toleration,
    TopologyKey,
};
use model::topology::Taint;
use model::{Bytes, CpuMillis, Resources};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use scheduler::{HostView, Request};

pub(crate) const VM: Cell = Cell::new(Isolation::Vm, PayloadKind::Disk);
pub(crate) const POD: Cell = Cell::new(Isolation::Namespace, PayloadKind::Containers);

/// One thing that happens to a cloud.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Report(HostView),
    Lose(String),
    /// Place, and bind where it was placed.
    Start(Request),
    /// An instance that is already on some host, room or not.
    Find(Request, String),
    /// The n-th of those bound.
    Stop(usize),
    /// Bind the n-th again, of this size: where it is, or to this host.
    Rebind(usize, Resources, Option<String>),
}

pub(crate) fn gib(cores: u64, memory_gib: u64) -> Resources {
    Resources { cpu: CpuMillis::cores(cores), memory: Bytes::gib(memory_gib), disk: Bytes(0) }
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
}

/// A ready host that serves virtual machines.
pub(crate) fn host(name: &str, resources: Resources) -> HostView {
    HostView {
        name: name.into(),
        ready: true,
        allocatable: resources,
        cells: vec![VM],
        ..HostView::default()
    }
}

/// A virtual machine of project `p`.
pub(crate) fn request(name: &str, resources: Resources) -> Request {
    Request {
        project: "p".into(),
        name: name.into(),
        labels: BTreeMap::new(),
        cell: VM,
        resources,
        placement: PlacementSpec::default(),
        images: Vec::new(),
        pools: Vec::new(),
    }
}

pub(crate) fn host_name() -> impl Strategy<Value = String> {
    (0..12_u8).prop_map(|n| format!("host-{n}"))
}

pub(crate) fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any_host().prop_map(Step::Report),
        3 => host_name().prop_map(Step::Lose),
        12 => any_request().prop_map(Step::Start),
        2 => (any_request(), host_name()).prop_map(|(r, h)| Step::Find(r, h)),
        3 => any::<usize>().prop_map(Step::Stop),
        2 => (any::<usize>(), any_size(), option::of(host_name())).prop_map(|(n, r, h)| Step::Rebind(n, r, h)),
    ]
}

pub(crate) fn any_host() -> impl Strategy<Value = HostView> {
    let place = (select(vec!["", "east", "west"]), select(vec!["", "r1", "r2"]));
    let capacity = (0..5_u64, 0..9_u64, select(vec![0, 100, 1000_u64]));
    let taint = select(vec![("gpu", "yes"), ("gpu", "no"), ("old", "")]);
    let taints = prop_oneof![3 => Just(Vec::new()), 1 => vec(taint, 1..3)];
    let states = (prop::bool::weighted(0.9), prop::bool::weighted(0.1));
    let cells = prop_oneof![4 => Just(vec![VM, POD]), 1 => Just(vec![POD]), 1 => Just(vec![VM])];
    let ssd = option::of(select(vec!["ssd", "hdd"]));
    let images = subsequence(vec!["a", "b", "c"], 0..=3);
    let pools = prop_oneof![2 => Just(None), 1 => Just(Some("")), 1 => Just(Some("is not mounted"))];
    let has = (images, pools);
    (host_name(), place, capacity, taints, states, cells, ssd, has).prop_map(
        |(name, (zone, rack), (cores, gibs, disk), taints, (ready, cordoned), cells, disk_label, has)| {
            let (images, pool) = has;
            HostView {
                name,
                zone: zone.into(),
                rack: rack.into(),
                labels: disk_label.map(|v| ("disk".into(), v.into())).into_iter().collect(),
                taints: taints.into_iter().map(|(k, v)| Taint { key: k.into(), value: v.into() }).collect(),
                cordoned,
                ready,
                allocatable: Resources { disk: Bytes(disk), ..gib(cores, gibs) },
                cells,
                images: images.into_iter().map(String::from).collect(),
                pools: pool.map(|why| ("files".into(), why.into())).into_iter().collect(),
            }
        },
    )
}

pub(crate) fn any_request() -> impl Strategy<Value = Request> {
    let who = (select(vec!["p", "q"]), 0..40_u8, any_labels());
    let images = subsequence(vec!["a", "b", "c"], 0..=3);
    let pools = prop_oneof![4 => Just(Vec::new()), 1 => Just(vec!["files".to_owned()])];
    (who, select(vec![VM, POD]), any_size(), any_placement(), images, pools).prop_map(
        |((project, n, labels), cell, resources, placement, images, pools)| Request {
            project: project.into(),
            name: format!("i{n}"),
            labels,
            cell,
            resources,
            placement,
            images: images.into_iter().map(String::from).collect(),
            pools,
        },
    )
}

fn any_size() -> impl Strategy<Value = Resources> {
    (0..4_u64, 0..4_u64, select(vec![0, 0, 0, 60_u64]))
        .prop_map(|(cores, gibs, disk)| Resources { disk: Bytes(disk), ..gib(cores, gibs) })
}

fn any_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let (app, tier) = (option::of(select(vec!["web", "db"])), option::of(select(vec!["front", "back"])));
    (app, tier).prop_map(|(app, tier)| {
        let pairs = [("app", app), ("tier", tier)];
        pairs.into_iter().filter_map(|(k, v)| Some((k.into(), v?.into()))).collect()
    })
}

fn any_selector() -> impl Strategy<Value = BTreeMap<String, String>> {
    any_labels().prop_filter("a selector has labels", |labels| !labels.is_empty())
}

fn any_topology() -> impl Strategy<Value = TopologyKey> {
    select(vec![TopologyKey::Host, TopologyKey::Rack, TopologyKey::Zone])
}

fn any_affinity() -> impl Strategy<Value = Vec<Affinity>> {
    let one = (any_selector(), any_topology(), any::<bool>());
    let one = one.prop_map(|(labels, topology, prefer)| Affinity { labels, topology, prefer });
    prop_oneof![2 => Just(Vec::new()), 1 => vec(one, 1..3)]
}

fn any_spread() -> impl Strategy<Value = Vec<SpreadConstraint>> {
    let one = (any_selector(), any_topology(), 1..3_u32, any::<bool>()).prop_map(
        |(labels, topology, max_skew, prefer)| SpreadConstraint { labels, topology, max_skew, prefer },
    );
    prop_oneof![2 => Just(Vec::new()), 1 => vec(one, 1..3)]
}

fn any_placement() -> impl Strategy<Value = PlacementSpec> {
    let pin = prop_oneof![12 => Just(String::new()), 1 => host_name()];
    let zone = prop_oneof![4 => Just(""), 1 => select(vec!["east", "west", "nowhere"])];
    let disk = prop_oneof![4 => Just(None), 1 => select(vec![Some("ssd"), Some("hdd")])];
    let toleration = (select(vec!["gpu", "old"]), option::of(select(vec!["yes", "no", ""])))
        .prop_map(|(k, v)| Toleration { key: k.into(), value: v.map(String::from) });
    let fixed = (pin, zone, disk, vec(toleration, 0..3));
    let load = select(vec![Load::Spread, Load::Pack]);
    (fixed, load, any_affinity(), any_affinity(), any_spread(), -1..3_i32).prop_map(
        |((host, zone, disk, tolerations), strategy, affinity, anti_affinity, spread, priority)| {
            PlacementSpec {
                host,
                zone: zone.into(),
                host_labels: disk.map(|v| ("disk".into(), v.into())).into_iter().collect(),
                strategy,
                affinity,
                anti_affinity,
                spread,
                tolerations,
                priority,
                ..PlacementSpec::default()
            }
        },
    )
}
