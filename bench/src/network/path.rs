//! What a packet between two hosts costs, beside the same way without a filter.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use driver::PortPlan;
use driver_vpc::lab::{Lab, anything, group, namespace_of, pings, plans, run, sandbox, uid};
use sys::namespace::within_network;

use super::ensure;
use crate::Result;
use crate::report::{Row, Verdict, number, times};
use crate::store::spread;

/// A B A B, so often.
const PAIRS: usize = 9;
const STREAM: Duration = Duration::from_millis(1500);
const FLOOD: Duration = Duration::from_millis(1000);
const ROUND_TRIPS: usize = 10_000;
const BLOCK: usize = 128 << 10;
const DATAGRAM: usize = 64;
const VNI: u32 = 91;

pub(super) async fn measure() -> Result<Vec<Row>> {
    let ours = Way::make(VNI).await?;
    let bare = Way::make(VNI).await?;
    bare.take_filters_away();
    let mut rounds = Vec::new();
    // The first round warms both and does not count.
    for number in 0..=PAIRS {
        let (a, b) = if number % 2 == 0 {
            let a = ours.look()?;
            (a, bare.look()?)
        } else {
            let b = bare.look()?;
            (ours.look()?, b)
        };
        if number > 0 {
            rounds.push((a, b));
        }
    }
    Ok(rows(&rounds))
}

/// Two hosts with a port each.
struct Way {
    lab: Lab,
    vpc: model::Uid,
    from: PortPlan,
    to: PortPlan,
}

/// What was seen in one round.
#[derive(Clone, Copy)]
struct Seen {
    bits: f64,
    packets: f64,
    /// Microseconds, the median.
    round_trip: f64,
}

impl Way {
    async fn make(vni: u32) -> Result<Self> {
        let lab = Lab::new(2);
        let open = uid();
        let (from, to) = (lab.port(&["10.0.0.2"], &[&open]), lab.port(&["10.0.0.3"], &[&open]));
        let members = group(&open, &[&from, &to], anything());
        let all = plans(&lab, vni, &[vec![from.clone()], vec![to.clone()]], &[members]);
        for (host, plan) in all.iter().enumerate() {
            ensure(&lab, host, plan).await?;
        }
        let way = Self { lab, vpc: all[0].uid.clone(), from, to };
        way.answers()?;
        Ok(way)
    }

    fn answers(&self) -> Result<()> {
        let answered = pings(sandbox(&self.from), &self.to.addresses[0].to_string());
        answered.then_some(()).ok_or_else(|| "the ports do not reach each other".into())
    }

    /// Leaves links, addresses and routes, and nothing that looks at packets on their way.
    fn take_filters_away(&self) {
        for host in &self.lab.hosts {
            run(&host.namespace, "nft flush ruleset");
            run(&namespace_of(host, &self.vpc), "nft flush ruleset");
        }
    }

    fn look(&self) -> Result<Seen> {
        self.answers()?;
        Ok(Seen { bits: self.stream()?, packets: self.flood()?, round_trip: self.round_trips()? })
    }

    fn to(&self) -> IpAddr {
        self.to.addresses[0]
    }

    fn connection(&self) -> Result<(TcpStream, TcpStream)> {
        let listener = within(sandbox(&self.to), || TcpListener::bind((self.to(), 0)))?;
        let to = SocketAddr::new(self.to(), listener.local_addr()?.port());
        let client = within(sandbox(&self.from), || TcpStream::connect(to))?;
        Ok((client, listener.accept()?.0))
    }

    /// Bits that arrived per second.
    fn stream(&self) -> Result<f64> {
        let (mut client, mut server) = self.connection()?;
        std::thread::scope(|scope| {
            let receiver = scope.spawn(move || {
                let (mut buffer, mut bytes) = (vec![0; BLOCK], 0_u64);
                let began = Instant::now();
                loop {
                    match server.read(&mut buffer)? {
                        0 => return std::io::Result::Ok((bytes, began.elapsed())),
                        some => bytes += some as u64,
                    }
                }
            });
            let (block, began) = (vec![7; BLOCK], Instant::now());
            while began.elapsed() < STREAM {
                client.write_all(&block)?;
            }
            drop(client);
            let (bytes, took) = receiver.join().map_err(|_| "the receiver panicked")??;
            Ok(bytes as f64 * 8.0 / took.as_secs_f64())
        })
    }

    /// Datagrams that arrived per second, sent as fast as one thread can.
    fn flood(&self) -> Result<f64> {
        let server = within(sandbox(&self.to), || UdpSocket::bind((self.to(), 0)))?;
        let to = SocketAddr::new(self.to(), server.local_addr()?.port());
        let client = within(sandbox(&self.from), || {
            let socket = UdpSocket::bind((self.from.addresses[0], 0))?;
            socket.connect(to)?;
            Ok(socket)
        })?;
        server.set_read_timeout(Some(Duration::from_millis(100)))?;
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let (mut buffer, mut arrived) = ([0; 2 * DATAGRAM], 0_u64);
                loop {
                    match server.recv(&mut buffer) {
                        Ok(_) => arrived += 1,
                        Err(_) if over.load(Ordering::Relaxed) => return arrived,
                        Err(_) => {}
                    }
                }
            });
            let (datagram, began) = ([7; DATAGRAM], Instant::now());
            while began.elapsed() < FLOOD {
                for _ in 0..64 {
                    // Refused where a queue is full: that one does not arrive.
                    let _ = client.send(&datagram);
                }
            }
            let took = began.elapsed();
            over.store(true, Ordering::Relaxed);
            let arrived = receiver.join().map_err(|_| "the receiver panicked")?;
            Ok(arrived as f64 / took.as_secs_f64())
        })
    }

    /// The median, in microseconds, of one byte there and back.
    fn round_trips(&self) -> Result<f64> {
        let (mut client, mut server) = self.connection()?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        std::thread::scope(|scope| {
            let echo = scope.spawn(move || {
                let mut byte = [0];
                while server.read(&mut byte)? > 0 {
                    server.write_all(&byte)?;
                }
                std::io::Result::Ok(())
            });
            let mut all = Vec::with_capacity(ROUND_TRIPS);
            let mut byte = [7];
            for _ in 0..ROUND_TRIPS {
                let began = Instant::now();
                client.write_all(&byte)?;
                client.read_exact(&mut byte)?;
                all.push(began.elapsed().as_secs_f64() * 1e6);
            }
            drop(client);
            echo.join().map_err(|_| "the other side panicked")??;
            Ok(spread(all).median)
        })
    }
}

/// Opens a socket in a namespace; it stays there.
fn within<T: Send>(namespace: &Path, open: impl FnOnce() -> std::io::Result<T> + Send) -> std::io::Result<T> {
    within_network(Some(&File::open(namespace)?), open)
}

fn rows(rounds: &[(Seen, Seen)]) -> Vec<Row> {
    let line = |what: &str, unit: &str, scale: f64, most: Option<f64>, of: fn(&Seen) -> f64| {
        let told = |numbers: Vec<f64>| format!("{} {unit}", number(spread(numbers).median / scale));
        let ratio = spread(rounds.iter().map(|(ours, bare)| of(ours) / of(bare)));
        let (goal, met) = match most {
            Some(most) => (format!("<= {most:.2}x"), ratio.median <= most),
            None => (">= 0.95x".into(), ratio.median >= 0.95),
        };
        Row {
            what: what.into(),
            corten: told(rounds.iter().map(|(ours, _)| of(ours)).collect()),
            peer: format!(
                "the same way without a filter: {}",
                told(rounds.iter().map(|(_, bare)| of(bare)).collect())
            ),
            ratio: times(ratio),
            goal,
            verdict: Verdict::of(met),
            ..Row::default()
        }
    };
    let mut stream = line("network: TCP between ports on two hosts", "Gbit/s", 1e9, None, |seen| seen.bits);
    stream.note = format!(
        "{PAIRS} pairs in turns of {} ms each, one stream. Hosts are network namespaces joined by a bridge, so sender, \
         receiver and both hosts share the cores, and the wire costs nothing. The other way has the same namespaces, \
         veth pairs, VXLAN, addresses and routes, with every rule of nf_tables taken away, and with it connection \
         tracking. Docker's overlay, which needs a swarm, was not measured.",
        STREAM.as_millis()
    );
    let mut trips =
        line("network: TCP, one byte there and back", "us", 1.0, Some(1.05), |seen| seen.round_trip);
    trips.note = format!("the median of {ROUND_TRIPS} per turn, as above.");
    let mut flood = line("network: 64-byte UDP datagrams that arrive", "k/s", 1e3, None, |seen| seen.packets);
    flood.note =
        format!("one sender, one datagram per call, for {} ms per turn, as above.", FLOOD.as_millis());
    vec![stream, trips, flood]
}
