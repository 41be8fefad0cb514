//! What changes cost on a host that has much already.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use driver::{NetworkDriver, PortPlan, Protocol, RemotePlan, RulePlan, VpcPlan};
use driver_vpc::VpcDriver;
use driver_vpc::lab::{Lab, anything, everything, group, plans, sandbox, uid};

use super::{addresses, ensure, milliseconds, ms};
use crate::Result;
use crate::report::{Row, Verdict};

const CHANGES: usize = 21;
const MANY_MEMBERS: u16 = 10_000;
const FEW_MEMBERS: u16 = 100;
const PORTS: u16 = 1000;
/// Turns after which a driver has seen the effects of its own work.
const WARM: usize = 3;
const RESYNCS: usize = 5;

pub(super) async fn measure() -> Result<Vec<Row>> {
    let mut rows = vec![rules().await?];
    rows.extend(ports().await?);
    Ok(rows)
}

/// A rule of a group changes, with many members and with few, in turns.
async fn rules() -> Result<Row> {
    let lab = Lab::new(2);
    let mut many = grouped(&lab, 81, MANY_MEMBERS);
    let mut few = grouped(&lab, 82, FEW_MEMBERS);
    for _ in 0..WARM {
        ensure(&lab, 0, &many).await?;
        ensure(&lab, 0, &few).await?;
    }
    let (mut with_many, mut with_few) = (Vec::new(), Vec::new());
    for number in 0..CHANGES {
        let port = 1000 + u16::try_from(number)?;
        for (plan, all) in [(&mut many, &mut with_many), (&mut few, &mut with_few)] {
            plan.groups[0].ingress =
                vec![RulePlan { protocol: Protocol::Tcp(port, port), peer: everything() }];
            all.push(ensure(&lab, 0, plan).await?);
        }
    }
    for plan in [&many, &few] {
        settled(&lab.hosts[0].driver, plan).await?;
    }
    let (many, few) = (ms(with_many), ms(with_few));
    Ok(Row {
        what: format!("network: a rule of a group of {MANY_MEMBERS} changes, until it is programmed"),
        corten: milliseconds(many),
        peer: format!("of a group of {FEW_MEMBERS}: {}", milliseconds(few)),
        ratio: format!("{:.2}x", many.median / few.median),
        goal: "<= 50 ms".into(),
        verdict: Verdict::of(many.median <= 50.0),
        note: format!(
            "{CHANGES} changes, in turns, from the driver's call with the whole plan to the kernel's commit, connections \
             gone through. One member is here, the others are ports on another host, each with a route. Making the plan \
             out of the cloud's objects is not in it."
        ),
    })
}

/// One port here, in a group with so many members on another host.
fn grouped(lab: &Lab, vni: u32, members: u16) -> VpcPlan {
    let open = uid();
    let here = lab.port(&["10.0.0.2"], &[&open]);
    let mut members: Vec<IpAddr> = addresses(members).collect();
    let host = lab.hosts[1].underlay;
    let remotes = members.iter().map(|address| RemotePlan { address: *address, host }).collect();
    members.insert(0, here.addresses[0]);
    let mut group = group(&open, &[], anything());
    group.members = members;
    let mut plan = plans(lab, vni, &[vec![here], Vec::new()], &[group]).remove(0);
    plan.remotes = remotes;
    plan
}

/// A thousand ports on one host: a new driver looks at all of it, and one port more comes.
async fn ports() -> Result<Vec<Row>> {
    let lab = Lab::new(1);
    let open = uid();
    let port = |address: IpAddr| lab.port(&[&address.to_string()], &[&open]);
    let all: Vec<PortPlan> = addresses(PORTS + u16::try_from(CHANGES)?).map(port).collect();
    let of = |count: usize| -> Vec<&PortPlan> { all.iter().take(count).collect() };
    let first = usize::from(PORTS);
    let mut plan =
        plans(&lab, 83, &[all[..first].to_vec()], &[group(&open, &of(first), anything())]).remove(0);
    let made = ensure(&lab, 0, &plan).await?;
    let mut resyncs = Vec::new();
    let mut driver = VpcDriver::new(lab.hosts[0].options.clone());
    for _ in 0..RESYNCS {
        driver = VpcDriver::new(lab.hosts[0].options.clone());
        resyncs.push(timed(&driver, &plan).await?);
    }
    for _ in 0..WARM {
        driver.ensure(&plan).await?;
    }
    let same = timed(&driver, &plan).await?;
    let mut added = Vec::new();
    for number in 0..CHANGES {
        // Whoever starts the container has its sandbox by then.
        let port = &all[first + number];
        sys::namespace::hold_network(sandbox(port))?;
        plan.ports.push(port.clone());
        plan.groups = vec![group(&open, &of(first + number + 1), anything())];
        added.push(timed(&driver, &plan).await?);
    }
    settled(&driver, &plan).await?;
    let (resyncs, added) = (ms(resyncs), ms(added));
    let resync = Row {
        what: format!(
            "network: a new driver on a host with {PORTS} ports, until it knows that all is as planned"
        ),
        corten: milliseconds(resyncs),
        goal: "<= 1 s".into(),
        verdict: Verdict::of(resyncs.median <= 1000.0),
        note: format!(
            "{RESYNCS} times: every link, address, route, neighbour, rule and set of the VPC is read, and the network of \
             each of the {PORTS} containers. Nothing differs, and nothing is written. Making all of it took {:.1} s at first.",
            made.as_secs_f64()
        ),
        ..Row::default()
    };
    let add = Row {
        what: format!("network: one port more on a host with {PORTS}"),
        corten: milliseconds(added),
        goal: "<= 5 ms".into(),
        verdict: Verdict::of(added.median <= 5.0),
        note: format!(
            "{CHANGES} ports one after the other, each with its veth pair, addresses and routes on both sides, filter, and \
             its place as a member of their group. The container's empty namespace was there before. A call with a plan \
             that has not changed takes {:.1} ms.",
            same.as_secs_f64() * 1e3
        ),
        ..Row::default()
    };
    Ok(vec![resync, add])
}

async fn timed(driver: &VpcDriver, plan: &VpcPlan) -> Result<Duration> {
    let began = Instant::now();
    driver.ensure(plan).await?;
    Ok(began.elapsed())
}

/// What was measured has to have happened.
async fn settled(driver: &VpcDriver, plan: &VpcPlan) -> Result<()> {
    let drift = driver.check(plan).await?;
    if drift.is_empty() {
        Ok(())
    } else {
        Err(format!("the kernel has not what was planned: {drift:?}").into())
    }
}
