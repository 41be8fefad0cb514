//! A balancer without a VPC: clients and servers are in its own namespace, on its loopback.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use driver::{BalancerDriver, BalancerPlan, PoolPlan, ServerHealth, ServerPlan};
use driver_haproxy::{HaproxyDriver, HaproxyOptions};
use model::Uid;
use model::network::{HealthCheck, Listener, ListenerProtocol, TargetGroupSpec, TargetProtocol};
use sys::namespace::within_network;

pub(crate) struct World {
    pub(crate) driver: HaproxyDriver,
    pub(crate) uid: Uid,
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
        let driver = HaproxyDriver::new(HaproxyOptions::new(folder.path().join("b")));
        let uid = Uid::from_random(rand());
        driver.prepare(&uid).await.unwrap();
        Self { driver, uid, folder }
    }

    /// Another process with the same folders.
    pub(crate) fn again(&self) -> HaproxyDriver {
        HaproxyDriver::new(HaproxyOptions::new(self.folder.path().join("b")))
    }

    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let path = self.driver.network_namespace(&self.uid).expect("prepared");
        within_network(Some(&File::open(path)?), work)
    }

    /// Answers every request with its name and what it was asked.
    pub(crate) fn server(&self, port: u16, name: &'static str) -> Server {
        let listener = self.inside(|| TcpListener::bind(("127.0.0.1", port))).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                std::thread::spawn(move || answer(stream, name));
            }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let wake = self.inside(|| Ok(())).map(|()| address).unwrap();
        Server { address: wake, ends, thread: Some(thread) }
    }

    pub(crate) fn stop(&self, mut server: Server) {
        server.ends.store(true, Ordering::SeqCst);
        let _ = self.inside(|| TcpStream::connect(server.address));
        server.thread.take().unwrap().join().unwrap();
    }

    pub(crate) fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let stream = self.inside(|| TcpStream::connect(("127.0.0.1", port)))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(stream)
    }

    /// The answer to a request, with its headers.
    pub(crate) fn get(&self, port: u16, host: &str, path: &str) -> io::Result<String> {
        let mut stream = self.connect(port)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    pub(crate) async fn becomes(&self, plan: &BalancerPlan, what: impl Fn(&[ServerHealth]) -> bool) {
        let give_up = Instant::now() + Duration::from_secs(20);
        loop {
            let health = self.driver.ensure(plan).await.unwrap();
            if what(&health) {
                return;
            }
            assert!(Instant::now() < give_up, "{health:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends it and checks that nothing is left.
    pub(crate) async fn end(self) {
        self.driver.delete(&self.uid).await.unwrap();
        assert_eq!(self.driver.list().await.unwrap(), []);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.uid.as_str()), "a mount is left");
        assert_eq!(self.cgroup().processes().unwrap(), Vec::<u32>::new());
        self.driver.delete(&self.uid).await.unwrap();
    }

    pub(crate) fn cgroup(&self) -> sys::cgroup::Cgroup {
        let groups = sys::cgroup::Cgroups::detect(sys::cgroup::ROOT).unwrap();
        groups.group(&format!("haproxy-{}", self.uid)).unwrap()
    }
}

/// A namespace beside the balancer's, on a wire to it, with a client and two servers of datagrams.
pub(crate) struct Outside {
    folder: tempfile::TempDir,
    servers: Vec<(Arc<AtomicBool>, std::thread::JoinHandle<()>)>,
}

impl Outside {
    pub(crate) const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 4));
    pub(crate) const SERVERS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));

    pub(crate) fn beside(world: &World) -> Self {
        let folder = tempfile::tempdir().unwrap();
        sys::namespace::hold_network(&folder.path().join("net")).unwrap();
        let mut outside = Self { folder, servers: Vec::new() };
        let balancer = world.driver.network_namespace(&world.uid).unwrap();
        let own = outside.path();
        let place = |path: &std::path::Path, words: &str| {
            let words = format!("--net={} ip {words}", path.display());
            let done = std::process::Command::new("nsenter").args(words.split(' ')).status().unwrap();
            assert!(done.success(), "{words}");
        };
        // The other end goes by the number of a process that is in that namespace.
        let mut sleeper = std::process::Command::new("nsenter")
            .arg(format!("--net={}", balancer.display()))
            .args(["sleep", "60"])
            .spawn()
            .unwrap();
        let pid = sleeper.id();
        let there = |link: &str| std::fs::read_link(format!("/proc/{link}/ns/net")).unwrap();
        let give_up = Instant::now() + Duration::from_secs(5);
        while there(&pid.to_string()) == there("self") {
            assert!(Instant::now() < give_up, "nsenter does not enter");
            std::thread::sleep(Duration::from_millis(5));
        }
        place(&own, &format!("link add wire type veth peer name eth0 netns {pid}"));
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        place(&own, "addr add 10.0.0.7/24 dev wire");
        place(&own, "link set wire up");
        place(&balancer, "addr add 10.0.0.4/24 dev eth0");
        place(&balancer, "link set eth0 up");
        for port in [5301, 5302] {
            outside.serve(port);
        }
        outside
    }

    /// Answers every datagram with the port it came to.
    fn serve(&mut self, port: u16) {
        let socket = self.inside(|| UdpSocket::bind((Self::SERVERS, port))).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 16];
            while !end.load(Ordering::SeqCst) {
                if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&port.to_be_bytes(), from);
                }
            }
        });
        self.servers.push((ends, thread));
    }

    /// Which server answers a new client.
    pub(crate) fn ask(&self, port: u16) -> u16 {
        let socket = self.inside(|| UdpSocket::bind((Self::SERVERS, 0))).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.connect((Self::BALANCER, port)).unwrap();
        socket.send(b"?").unwrap();
        let mut answer = [0; 2];
        socket.recv(&mut answer).unwrap();
        u16::from_be_bytes(answer)
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        within_network(Some(&File::open(self.path())?), work)
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("net")
    }

    pub(crate) fn end(mut self) {
        for (ends, thread) in self.servers.drain(..) {
            ends.store(true, Ordering::SeqCst);
            thread.join().unwrap();
        }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = sys::mount::detach(&self.path());
    }
}

/// A test that fails leaves nothing either.
impl Drop for World {
    fn drop(&mut self) {
        for pid in self.cgroup().processes().unwrap_or_default() {
            if let Ok(Some(process)) = sys::pidfd::PidFd::open(pid) {
                let _ = process.signal(nix::sys::signal::Signal::SIGKILL);
            }
        }
        let _ = sys::mount::detach(&self.folder.path().join("b").join(self.uid.as_str()).join("net"));
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn answer(mut stream: TcpStream, name: &str) {
    let mut request = Vec::new();
    let mut byte = [0; 1];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => return,
        }
    }
    let request = String::from_utf8_lossy(&request);
    if request.starts_with("GET /slow") {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n");
        for _ in 0..40 {
            std::thread::sleep(Duration::from_millis(100));
            if stream.write_all(b".").is_err() {
                return;
            }
        }
        return;
    }
    let body = format!("{name}\n{request}");
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
}

fn rand() -> [u8; 16] {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

pub(crate) fn listener(port: u16, protocol: ListenerProtocol, group: &str) -> Listener {
    Listener { port, protocol, target_group: group.into(), ..Listener::default() }
}

/// A group that is checked often.
pub(crate) fn pool(name: &str, protocol: TargetProtocol, servers: &[u16]) -> PoolPlan {
    let check = HealthCheck {
        interval_seconds: 1,
        timeout_seconds: 1,
        healthy_after: 1,
        unhealthy_after: 1,
        ..HealthCheck::default()
    };
    PoolPlan {
        settings: TargetGroupSpec {
            name: name.into(),
            protocol,
            port: 80,
            health_check: Some(check),
            ..TargetGroupSpec::default()
        },
        servers: servers
            .iter()
            .map(|port| ServerPlan { address: SocketAddr::from(([127, 0, 0, 1], *port)), weight: 1 })
            .collect(),
    }
}

pub(crate) fn plan(world: &World, listeners: Vec<Listener>, groups: Vec<PoolPlan>) -> BalancerPlan {
    BalancerPlan {
        uid: world.uid.clone(),
        label: "p/front".into(),
        addresses: vec!["127.0.0.1".parse().unwrap()],
        listeners,
        groups,
        ..BalancerPlan::default()
    }
}
