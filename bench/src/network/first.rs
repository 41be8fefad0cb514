//! From nothing to the first answer: a new network with its first ports, beside Docker's.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use driver::NetworkDriver;
use driver_vpc::lab::{Lab, anything, group, plans, sandbox, uid};
use driver_vpc::{VpcDriver, VpcOptions};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use sys::namespace::within_network;

use super::{busybox, milliseconds, ms};
use crate::Result;
use crate::container::SPEAK;
use crate::docker::Docker;
use crate::report::{Row, Verdict, times};
use crate::store::spread;

const PAIRS: usize = 7;
/// An echo request is sent again after this.
const AGAIN: Duration = Duration::from_micros(500);
const PATIENCE: Duration = Duration::from_secs(10);
/// The kernel takes the namespaces of the last round apart for a while; who comes next would wait for it.
const SETTLE: Duration = Duration::from_millis(500);

pub(super) async fn measure() -> Result<Vec<Row>> {
    let lab = Lab::new(1);
    let options = VpcOptions { pool_size: 2, ..lab.hosts[0].options.clone() };
    let driver = VpcDriver::new(options);
    driver.fill_pool().await?;
    let outside = lab.outside();
    let mut docker = match Docker::start_with_networks(&outside).await {
        Ok(docker) => docker.import(&busybox()?).await.map(|()| docker),
        Err(e) => Err(e),
    };
    let mut rounds = Vec::new();
    // The first round warms both and does not count.
    for number in 0..=PAIRS {
        tokio::time::sleep(SETTLE).await;
        let ours = new_vpc(&lab, &driver, u32::try_from(number)? + 100).await?;
        tokio::time::sleep(SETTLE).await;
        let theirs = match &mut docker {
            Ok(docker) => Some(new_docker_network(docker, number).await?),
            Err(_) => None,
        };
        if number > 0 {
            rounds.push((ours, theirs));
        }
    }
    driver.drain_pool().await?;
    Ok(vec![row(&rounds, docker.err().map(|e| e.to_string()))])
}

fn row(rounds: &[(Duration, Option<Docked>)], no_docker: Option<String>) -> Row {
    let ours = ms(rounds.iter().map(|(ours, _)| *ours));
    let mut row = Row {
        what: "network: a new VPC with its first two ports, until one is answered by the other".into(),
        corten: milliseconds(ours),
        goal: "<= 10 ms".into(),
        verdict: Verdict::of(ours.median <= 10.0),
        ..Row::default()
    };
    let about = "from the driver's call; two sandboxes, their veth pairs, routes, filter and overlay are made, the VPC's \
                 empty namespace comes out of the pool";
    let both = || rounds.iter().filter_map(|(ours, theirs)| Some((*ours, (*theirs)?)));
    if let Some(why) = no_docker.filter(|_| true) {
        row.note = format!("{about}. Docker was not measured: {}", why.replace('\n', " "));
        return row;
    }
    let all = ms(both().map(|(_, docked)| docked.answered));
    let ratio = spread(both().map(|(ours, docked)| docked.answered.as_secs_f64() / ours.as_secs_f64()));
    let network = ms(both().map(|(_, docked)| docked.network));
    let alone = ms(both().map(|(_, docked)| docked.without));
    row.peer = format!("Docker, network create and run: {:.0} ms", all.median);
    row.ratio = times(ratio);
    row.goal = "<= 10 ms, >= 20x".into();
    row.verdict = Verdict::of(ours.median <= 10.0 && ratio.median >= 20.0);
    row.note = format!(
        "{about}. Docker's time is that of its API calls and holds starting a container, which ours does not: making the \
         network alone takes it {:.0} ms, and a container without a network {:.0} ms. It pings its gateway. Docker runs \
         in a network namespace of its own.",
        network.median, alone.median
    );
    row
}

/// Makes a VPC and waits until one of its ports is answered by the other; takes it away again.
async fn new_vpc(lab: &Lab, driver: &VpcDriver, vni: u32) -> Result<Duration> {
    let open = uid();
    let (a, b) = (lab.port(&["10.0.0.2"], &[&open]), lab.port(&["10.0.0.3"], &[&open]));
    let members = group(&open, &[&a, &b], anything());
    let plan = plans(lab, vni, &[vec![a.clone(), b.clone()]], &[members]).remove(0);
    let began = Instant::now();
    driver.ensure(&plan).await?;
    answered(sandbox(&a), Ipv4Addr::new(10, 0, 0, 3))?;
    let took = began.elapsed();
    driver.delete(&plan.uid).await?;
    driver.fill_pool().await?;
    Ok(took)
}

/// What Docker took.
#[derive(Clone, Copy)]
struct Docked {
    network: Duration,
    /// From the first call to the first answer.
    answered: Duration,
    /// A container without a network.
    without: Duration,
}

async fn new_docker_network(docker: &mut Docker, number: usize) -> Result<Docked> {
    let name = format!("measured{number}");
    let began = Instant::now();
    docker.create_network(&name).await?;
    let network = began.elapsed();
    let started = docker.run_in(&name, &SPEAK).await?;
    let (namespace, gateway) = docker.place(&started).await?;
    let IpAddr::V4(gateway) = gateway else { return Err("Docker's gateway is not of IPv4".into()) };
    answered(&namespace, gateway)?;
    let answered = began.elapsed();
    docker.remove(started).await?;
    docker.remove_network(&name).await?;
    let alone = docker.run(&SPEAK).await?;
    let without = alone.answered;
    docker.remove(alone).await?;
    Ok(Docked { network, answered, without })
}

/// Sends echo requests (RFC 792) until one is answered.
fn answered(from: &Path, to: Ipv4Addr) -> Result<()> {
    /// Type, code, checksum, number and sequence; without data.
    const REQUEST: [u8; 8] = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];
    let place = File::open(from)?;
    let socket: UdpSocket = within_network(Some(&place), || {
        socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)
            .map_err(io::Error::from)
    })?
    .into();
    socket.set_nonblocking(true)?;
    let began = Instant::now();
    let mut buffer = [0; 256];
    while began.elapsed() < PATIENCE {
        // Refused where there is no route yet.
        let _ = socket.send_to(&REQUEST, SocketAddrV4::new(to, 0));
        let sent = Instant::now();
        while sent.elapsed() < AGAIN {
            if let Ok(length) = socket.recv(&mut buffer)
                && length >= 28
                && buffer[20] == 0
            {
                return Ok(());
            }
        }
    }
    Err(format!("{to} does not answer").into())
}
