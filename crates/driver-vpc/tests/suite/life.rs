//! Made, made again, cut short, taken away.

use std::collections::BTreeSet;
use std::path::Path;

use driver::{Hop, Link, NetworkDriver, VpcPlan};
use driver_vpc::{VpcDriver, VpcOptions};

use crate::support::{
    Lab, address, anything, group, listener, namespace_of, net, pings, plans, run, sandbox, table, uid,
    uplink,
};

pub(crate) fn full_plan(lab: &Lab) -> VpcPlan {
    let open = uid();
    let a = lab.port(&["10.0.0.2", "fd00:1::2"], &[&open]);
    let mut b = lab.port(&["10.0.0.3"], &[&open]);
    b.rate_bits = Some(100_000_000);
    let mut tap = lab.port(&["10.0.0.4"], &[&open]);
    tap.link = Link::Tap { user_id: 1234 };
    let far = lab.port(&["10.0.0.9", "fd00:1::9"], &[&open]);
    let members = group(&open, &[&a, &b, &tap, &far], anything());
    let mut plan = plans(lab, 61, &[vec![a, b, tap], vec![far]], &[members]).remove(0);
    plan.tables.push(table(&[net("10.0.7.0/24")], &[("192.0.2.0/24", Hop::Port(address("10.0.0.9")))]));
    plan.uplink = Some(uplink());
    plan.uplink.as_mut().unwrap().floating = vec![(address("192.0.2.77"), address("10.0.0.2"))];
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_time_changes_nothing() {
    let lab = Lab::new(2);
    let plan = full_plan(&lab);
    let host = &lab.hosts[0];
    let first = host.driver.ensure(&plan).await.expect("ensure");
    assert_eq!(host.driver.check(&plan).await.unwrap(), []);
    let namespace = namespace_of(host, &plan.uid);
    let filter = |namespace: &Path| run(namespace, "nft -a list ruleset");
    let before = (filter(&namespace), filter(&host.namespace));
    let mut inside = listener(&namespace);
    let mut outside = listener(&host.namespace);
    let second = host.driver.ensure(&plan).await.expect("ensure again");
    assert_eq!(first, second);
    assert_eq!(inside.news().unwrap(), [], "nothing was said inside");
    assert_eq!(outside.news().unwrap(), [], "nor on the host");
    let strip = |(a, b): (String, String)| (without_counts(&a), without_counts(&b));
    assert_eq!(strip((filter(&namespace), filter(&host.namespace))), strip(before));
    // Another driver over the same directory finds all of it again.
    let successor = VpcDriver::new(host.options.clone());
    assert_eq!(successor.list().await.unwrap(), std::slice::from_ref(&plan.uid));
    assert_eq!(successor.ensure(&plan).await.expect("ensure by another"), first);
    assert_eq!(inside.news().unwrap(), []);
}

fn without_counts(text: &str) -> String {
    text.lines().filter(|line| !line.contains("counter")).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_belongs_to_its_user() {
    let lab = Lab::new(2);
    let plan = full_plan(&lab);
    let links = lab.hosts[0].driver.ensure(&plan).await.expect("ensure");
    let tap = links.iter().find(|link| link.uid == plan.ports[2].uid).unwrap();
    let told = run(&tap.namespace, &format!("ip -d link show {}", tap.device));
    assert!(told.contains("user 1234") && told.contains("persist on"), "{told}");
    assert!(told.starts_with(&format!("{}: ", tap.index)), "{told}");
    let opened = sys::tap::open(&tap.device, Some(&tap.namespace), 4).expect("a hypervisor opens it");
    assert_eq!(opened.len(), 4, "a queue per core");
    drop(opened);
    lab.hosts[0].driver.ensure(&plan).await.expect("ensure");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_torn_down_is_put_back() {
    let lab = Lab::new(2);
    let plan = full_plan(&lab);
    let host = &lab.hosts[0];
    let links = host.driver.ensure(&plan).await.expect("ensure");
    let namespace = namespace_of(host, &plan.uid);
    let port = &links[0].device;
    // Each is a state that a crash, or a hand, may leave behind.
    let wounds = [
        format!("ip link del {port}"),
        format!("ip link set {port} alias none"),
        "ip link del overlay".into(),
        "ip link del uplink".into(),
        "ip route del 10.0.0.9".into(),
        "ip route flush proto 67".into(),
        "ip route flush table all proto 67".into(),
        "ip -6 route flush table all proto 67".into(),
        "ip rule del from 10.0.7.0/24".into(),
        "ip rule flush protocol 67".into(),
        "ip route replace blackhole 10.0.0.9/32 proto 67".into(),
        "ip addr del 10.0.0.1/32 dev lo".into(),
        format!("ip neigh del 10.0.0.3 dev {}", links[1].device),
        "bridge fdb del 02:c1:c0:00:02:02 dev overlay dst 192.0.2.2".into(),
        "nft flush ruleset".into(),
        "nft flush chain inet corten forward".into(),
        "nft delete table arp corten".into(),
    ];
    for wound in wounds {
        run(&namespace, &wound);
        let drift = host.driver.check(&plan).await.unwrap();
        assert!(!drift.is_empty(), "{wound}: not seen");
        host.driver.ensure(&plan).await.unwrap_or_else(|e| panic!("{wound}: {e}"));
        assert_eq!(host.driver.check(&plan).await.unwrap(), [], "{wound}");
        assert!(pings(sandbox(&plan.ports[0]), "10.0.0.3"), "{wound}");
    }
    // The sandbox was taken away and is made anew, before the kernel has cleared the old one.
    sys::mount::detach(sandbox(&plan.ports[0])).unwrap();
    host.driver.ensure(&plan).await.expect("ensure with a new sandbox");
    assert!(pings(sandbox(&plan.ports[0]), "10.0.0.3"), "from a new sandbox");
    let mut smaller = plan.clone();
    smaller.ports.remove(0);
    host.driver.ensure(&smaller).await.expect("ensure with a port less");
    assert_eq!(host.driver.check(&smaller).await.unwrap(), []);
    assert_eq!(host.driver.counters(&plan.uid).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_leaves_nothing() {
    let lab = Lab::new(2);
    let host = &lab.hosts[0];
    let before = traces(&host.namespace);
    let plan = full_plan(&lab);
    host.driver.ensure(&plan).await.expect("ensure");
    assert_ne!(traces(&host.namespace), before);
    host.driver.delete(&plan.uid).await.expect("delete");
    assert_eq!(traces(&host.namespace), before);
    assert_eq!(host.driver.list().await.unwrap(), []);
    assert!(std::fs::read_dir(host.options.run_dir.join("vpcs")).unwrap().next().is_none());
    host.driver.delete(&plan.uid).await.expect("delete again");
    // Its number is free again at once.
    host.driver.ensure(&VpcPlan { uid: uid(), ..plan.clone() }).await.expect("ensure another");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_that_cannot_be_made_stops_no_other() {
    let lab = Lab::new(1);
    let open = uid();
    let a = lab.port(&["10.0.0.2"], &[&open]);
    let b = lab.port(&["10.0.0.3"], &[&open]);
    let mut bad = lab.port(&["10.0.0.4"], &[&open]);
    bad.link = Link::Veth { namespace: sandbox(&bad).to_owned(), name: "a-name-much-too-long".into() };
    let members = group(&open, &[&a, &b, &bad], anything());
    let ports = vec![bad.clone(), a.clone(), b.clone()];
    let plan = plans(&lab, 72, &[ports], &[members]).remove(0);
    let refused = lab.hosts[0].driver.ensure(&plan).await.expect_err("a bad name");
    assert!(refused.to_string().contains(bad.uid.as_str()), "{refused}");
    assert!(pings(sandbox(&a), "10.0.0.3"), "the others have their network");
}

/// Links, routes, proxies and tables of a namespace.
pub(crate) fn traces(namespace: &Path) -> BTreeSet<String> {
    let commands = ["ip -br link", "ip route", "ip -6 route", "ip neigh show proxy", "nft list tables"];
    let text: Vec<String> = commands.iter().map(|command| run(namespace, command)).collect();
    text.iter().flat_map(|text| text.lines()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_namespace_is_taken() {
    let lab = Lab::new(1);
    let open = uid();
    let port = lab.port(&["10.0.0.2"], &[&open]);
    let plan = plans(&lab, 71, &[vec![port]], &[]).remove(0);
    let driver = VpcDriver::new(VpcOptions { pool_size: 2, ..lab.hosts[0].options.clone() });
    driver.probe().await.expect("this host can do it");
    driver.fill_pool().await.expect("fill");
    let pool = lab.hosts[0].options.run_dir.join("pool");
    let ready = |pool: &Path| std::fs::read_dir(pool).unwrap().count();
    assert_eq!(ready(&pool), 2);
    driver.ensure(&plan).await.expect("ensure");
    assert_eq!(driver.check(&plan).await.unwrap(), []);
    driver.delete(&plan.uid).await.expect("delete");
    driver.fill_pool().await.expect("fill");
    assert_eq!(ready(&pool), 2);
    driver.drain_pool().await.expect("drain");
    assert_eq!(ready(&pool), 0);
}
