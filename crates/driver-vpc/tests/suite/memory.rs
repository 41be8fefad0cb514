//! What a driver remembers never hides what others do.

use std::path::Path;

use driver::{Link, NetworkDriver, PortPlan};

use crate::life::full_plan;
use crate::support::{Lab, Machine, namespace_of, pings, run, sandbox};

/// Somebody changes something in the VPC's namespace, and something else is planned in the same turn or not.
async fn wound(host: &Machine, plan: &mut driver::VpcPlan, line: &str) {
    let namespace = namespace_of(host, &plan.uid);
    for changes in [false, true] {
        host.driver.ensure(plan).await.expect("ensure again");
        run(&namespace, line);
        if changes {
            let group = &mut plan.groups[0];
            group.ingress.push(group.ingress[0].clone());
        }
        host.driver.ensure(plan).await.unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(host.driver.check(plan).await.unwrap(), [], "{line}, with changes: {changes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_others_are_found_and_put_right() {
    let lab = Lab::new(2);
    let host = &lab.hosts[0];
    let mut plan = full_plan(&lab);
    let links = host.driver.ensure(&plan).await.expect("ensure");
    let port = &links[1].device;
    for line in [
        "ip route del 10.0.0.9",
        "ip route replace blackhole 10.0.0.9/32 proto 67",
        "ip route replace blackhole 10.0.0.9/32 proto static",
        "ip -6 route del fd00:1::9",
        "ip route add 10.0.3.3/32 dev lo proto 67",
        &format!("ip link set {port} down"),
        &format!("ip link set {port} mtu 1300"),
        &format!("ip neigh replace 10.0.0.3 lladdr 02:00:00:00:00:77 nud permanent dev {port}"),
        &format!("ip neigh replace 10.0.0.3 lladdr 02:00:00:00:00:77 nud stale dev {port}"),
        "ip neigh add proxy 10.0.3.3 dev lo protocol 67",
        "bridge fdb replace 02:c1:c0:00:02:02 dev overlay dst 192.0.2.9",
        "ip addr add 10.0.3.3/32 dev lo",
        "ip rule del from 10.0.7.0/24",
        "nft insert rule inet corten forward accept",
        "nft add chain inet corten another",
        "nft flush chain arp corten input",
    ] {
        wound(host, &mut plan, line).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_a_sandbox_are_put_right() {
    let lab = Lab::new(2);
    let host = &lab.hosts[0];
    let plan = full_plan(&lab);
    host.driver.ensure(&plan).await.expect("ensure");
    host.driver.ensure(&plan).await.expect("ensure again");
    let inside = |port: &PortPlan, line: &str| run(sandbox(port), line);
    for line in [
        "ip addr del 10.0.0.2/32 dev eth0",
        "ip link set eth0 down",
        "ip link set eth0 mtu 900",
        "ip route flush default",
    ] {
        inside(&plan.ports[0], line);
        host.driver.ensure(&plan).await.unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(host.driver.check(&plan).await.unwrap(), [], "{line}");
        assert!(pings(sandbox(&plan.ports[0]), "10.0.0.3"), "{line}");
        host.driver.ensure(&plan).await.expect("ensure again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_can_be_heard_is_read_anew() {
    let lab = Lab::new(2);
    let host = &lab.hosts[0];
    let plan = full_plan(&lab);
    host.driver.ensure(&plan).await.expect("ensure");
    host.driver.ensure(&plan).await.expect("ensure again");
    let namespace = namespace_of(host, &plan.uid);
    run(&namespace, "ip route del 10.0.0.9");
    // Each is told, and the socket keeps some 8 MiB.
    let noise: String =
        (0..20_000).map(|_| "route add 10.77.0.0/24 dev lo\nroute del 10.77.0.0/24\n").collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), noise).unwrap();
    run(&namespace, &format!("ip -batch {}", file.path().display()));
    host.driver.ensure(&plan).await.expect("ensure");
    assert_eq!(host.driver.check(&plan).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_remembered_of_a_turn_that_failed() {
    let lab = Lab::new(2);
    let host = &lab.hosts[0];
    let plan = full_plan(&lab);
    host.driver.ensure(&plan).await.expect("ensure");
    let mut bad = plan.clone();
    let path = sandbox(&bad.ports[1]).to_owned();
    bad.ports[1].link =
        Link::Veth { namespace: path.with_extension("other"), name: "a-name-much-too-long".into() };
    let namespace = namespace_of(host, &plan.uid);
    let sockets = || listeners(&namespace);
    let remembered = sockets();
    assert!(remembered > 0, "who remembers listens");
    host.driver.ensure(&bad).await.expect_err("a bad name");
    assert_eq!(sockets(), 0);
    host.driver.ensure(&plan).await.expect("ensure");
    assert_eq!(host.driver.check(&plan).await.unwrap(), []);
    assert_eq!(sockets(), remembered);
    host.driver.delete(&plan.uid).await.expect("delete");
    let _ = sys::mount::detach(&path.with_extension("other"));
}

/// Netlink sockets in a namespace that belong to groups.
fn listeners(namespace: &Path) -> usize {
    let table = run(namespace, "cat /proc/net/netlink");
    let groups = |line: &str| line.split_whitespace().nth(3).is_some_and(|groups| groups != "00000000");
    // Of rtnetlink, which is 0; the kernel's own has no process.
    let route = |line: &&str| line.split_whitespace().nth(1) == Some("0");
    table.lines().skip(1).filter(route).filter(|line| groups(line)).count()
}
