//! The sockets, with real clients: busybox's DHCP client, curl, and DNS queries from inside of a guest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use dhcproto::v6::{DhcpOption, Message as DhcpMessage, MessageType as DhcpType, OptionCode};
use dhcproto::{Decodable, Decoder};
use guest_services::{
    CredentialError, Credentials, Directory, Forwarder, Handle, Options, RoleCredentials, serve,
};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use model::Uid;
use tokio::sync::watch;

use crate::network::Network;
use crate::support::directory_at;

/// Longest wait for one answer; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(10);

struct Cloud {
    network: Arc<Network>,
    directory: watch::Sender<Arc<Directory>>,
    handle: Handle,
}

impl Cloud {
    fn start(name: &str) -> Self {
        let network = Arc::new(Network::new(name));
        let (directory, receiver) = watch::channel(Arc::new(directory_at(network.index, 9999)));
        let options =
            Options { forwarder: Arc::new(Echo), credentials: Arc::new(Keys), ..Options::default() };
        let handle = serve(&network.vpc_path(), receiver, options).unwrap();
        Self { network, directory, handle }
    }

    /// Runs a command in the guest while the services run.
    async fn guest(&self, command: &[&str]) -> String {
        let network = Arc::clone(&self.network);
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let run = move || network.guest_run(&command.iter().map(String::as_str).collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    async fn curl(&self, arguments: &[&str]) -> String {
        self.guest(&[&["curl", "-gsS", "--max-time", "10"], arguments].concat()).await
    }

    /// Runs a piece of code in the guest's namespace.
    async fn inside<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let path = self.network.guest_path();
        let run = move || sys::namespace::within_network(Some(&File::open(path)?), task);
        tokio::task::spawn_blocking(run).await.unwrap()
    }
}

/// A resolver that knows one address for every name.
#[derive(Debug)]
struct Echo;

#[async_trait]
impl Forwarder for Echo {
    async fn forward(&self, query: &[u8], _: &[SocketAddr]) -> io::Result<Vec<u8>> {
        let mut message = Message::from_vec(query).unwrap().into_response();
        let name = message.queries[0].name.clone();
        message.add_answer(Record::from_rdata(name, 30, RData::A(A([198, 51, 100, 7].into()))));
        message.to_vec().map_err(io::Error::other)
    }
}

#[derive(Debug)]
struct Keys;

#[async_trait]
impl Credentials for Keys {
    async fn of_role(&self, instance: &Uid, role: &str) -> Result<RoleCredentials, CredentialError> {
        Ok(RoleCredentials {
            access_key_id: format!("{instance}-{role}"),
            secret_access_key: "s".into(),
            session_token: "t".into(),
            last_updated: "2026-11-26T12:00:00Z".into(),
            expiration: "2026-11-26T13:00:00Z".into(),
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn busybox_gets_a_lease() {
    let cloud = Cloud::start("dhcp");
    let script = tempfile::NamedTempFile::new().unwrap();
    let text = "#!/bin/sh\n[ \"$1\" = bound ] && echo \"$ip/$mask via $router dns $dns name $hostname.$domain \
                mtu $mtu lease $lease from $serverid routes $staticroutes\"\nexit 0\n";
    std::fs::write(script.path(), text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(script.path(), mode).unwrap();
    let path = script.into_temp_path();
    let script = path.to_str().unwrap();
    let client = ["busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "5", "-T", "1", "-s", script];
    let wanted = ["-O", "mtu", "-O", "staticroutes"];
    let found = cloud.guest(&[client.as_slice(), &wanted].concat()).await;
    assert_eq!(
        found.trim(),
        "10.0.0.5/24 via 10.0.0.1 dns 10.0.0.1 name web.demo.internal mtu 1450 lease 3600 from 10.0.0.1 routes"
    );
    // A card with another address is nobody's.
    cloud.guest(&["ip", "link", "set", "eth0", "address", "02:00:5e:00:53:99"]).await;
    let client = "busybox udhcpc -i eth0 -f -q -n -t 2 -T 1 -s /bin/true >/dev/null 2>&1 && echo leased || echo refused";
    assert_eq!(cloud.guest(&["sh", "-c", client]).await.trim(), "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_comes_later_is_answered_and_one_that_went_is_not() {
    let cloud = Cloud::start("later");
    let whole = Arc::clone(&cloud.directory.borrow());
    let client = "busybox udhcpc -i eth0 -f -q -n -t 2 -T 1 -s /bin/true >/dev/null 2>&1 && echo leased || echo refused";
    cloud.directory.send_replace(Arc::new(Directory::default()));
    assert_eq!(cloud.guest(&["sh", "-c", client]).await.trim(), "refused");
    cloud.directory.send_replace(whole);
    assert_eq!(cloud.guest(&["sh", "-c", client]).await.trim(), "leased");
}

/// Asks for an address on the link of the interface `index` until there is an answer.
fn solicit(index: u32) -> io::Result<Vec<u8>> {
    /// A client identifier, an address wanted, and rapid commit.
    const SOLICIT: [u8; 32] =
        [1, 1, 2, 3, 0, 1, 0, 4, 0, 1, 2, 3, 0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 14, 0, 0];
    const PAUSE: Duration = Duration::from_millis(100);
    let socket = UdpSocket::bind("[::]:546")?;
    socket.set_read_timeout(Some(PAUSE))?;
    let to = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2), 547, 0, index);
    let mut buffer = [0; 1500];
    // The link's own address is not there or tentative at first: then nothing can be sent, or it is lost.
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match socket.send_to(&SOLICIT, to) {
            Ok(_) => {
                if let Ok((length, _)) = socket.recv_from(&mut buffer) {
                    return Ok(buffer[..length].to_vec());
                }
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn dhcp_v6_and_a_router_are_found_on_the_link() {
    let cloud = Cloud::start("six");
    let index = cloud.guest(&["cat", "/sys/class/net/eth0/ifindex"]).await.trim().parse().unwrap();
    let answer = cloud.inside(move || solicit(index)).await;
    let reply = DhcpMessage::decode(&mut Decoder::new(&answer.unwrap())).unwrap();
    assert_eq!(reply.msg_type(), DhcpType::Reply);
    let Some(DhcpOption::IANA(association)) = reply.opts().get(OptionCode::IANA) else { panic!("{reply:?}") };
    let Some(DhcpOption::IAAddr(address)) = association.opts.get(OptionCode::IAAddr) else {
        panic!("no address")
    };
    assert_eq!(address.addr.to_string(), "fd12:3456::5");
    // The kernel itself took the advertisement for a default route and the link's MTU.
    let routes = "for i in $(seq 50); do ip -6 route show default | grep 'proto ra' && \
                  cat /proc/sys/net/ipv6/conf/eth0/mtu && exit; sleep 0.1; done";
    let route = cloud.guest(&["sh", "-c", routes]).await;
    assert!(route.contains("via fe80::1 dev eth0") && route.trim().ends_with("1450"), "{route}");
}

fn dns_query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(5, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

fn ask_udp(server: &str, name: &str) -> io::Result<Message> {
    let server: SocketAddr = server.parse().map_err(io::Error::other)?;
    let socket = UdpSocket::bind(if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // Connected: an answer from another address than the one asked would not be received.
    socket.connect(server)?;
    socket.send(&dns_query(name, RecordType::A))?;
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer)?;
    Message::from_vec(&buffer[..length]).map_err(io::Error::other)
}

fn ask_tcp(server: &str, name: &str) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let query = dns_query(name, RecordType::A);
    stream.write_all(&[u16::try_from(query.len()).unwrap().to_be_bytes().as_slice(), &query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Message::from_vec(&answer).map_err(io::Error::other)
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_answered_over_udp_and_tcp_of_both_families() {
    let cloud = Cloud::start("dns");
    cloud.network.configure_guest();
    let answers = cloud
        .inside(|| {
            let mut answers = Vec::new();
            for server in ["10.0.0.1:53", "169.254.169.254:53", "[fd12:3456::1]:53"] {
                answers.push(ask_udp(server, "web.demo.internal.")?.answers[0].data.to_string());
                answers.push(ask_udp(server, "example.com.")?.answers[0].data.to_string());
                assert!(ask_udp(server, "many.demo.internal.")?.truncation);
                answers.push(ask_tcp(server, "many.demo.internal.")?.answers.len().to_string());
                answers.push(ask_tcp(server, "example.com.")?.answers[0].data.to_string());
            }
            Ok(answers)
        })
        .await
        .unwrap();
    let expected = ["10.0.0.5", "198.51.100.7", "100", "198.51.100.7"];
    assert_eq!(answers, expected.repeat(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_metadata_with_a_session() {
    let cloud = Cloud::start("imds");
    cloud.network.configure_guest();
    for server in ["http://169.254.169.254", "http://[fd00:ec2::254]"] {
        let at = |path: &str| format!("{server}{path}");
        let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60";
        if server.contains('[') {
            cloud.network.vpc_run(&["ip", "addr", "add", "fd00:ec2::254/128", "dev", "lo", "nodad"]);
        }
        let token = cloud.curl(&["-X", "PUT", "-H", ttl, &at("/latest/api/token")]).await;
        let header = format!("X-aws-ec2-metadata-token: {token}");
        let id = cloud.curl(&["-H", &header, &at("/latest/meta-data/instance-id")]).await;
        assert_eq!(id, "i-0000000000000000a");
        let keys =
            cloud.curl(&["-H", &header, &at("/latest/meta-data/iam/security-credentials/reader")]).await;
        assert!(keys.contains("\"AccessKeyId\": \"aaaa-reader\""), "{keys}");
        let status = ["-o", "/dev/null", "-w", "%{http_code}"];
        let code = cloud.curl(&[status.as_slice(), &[&at("/latest/meta-data/")]].concat()).await;
        assert_eq!(code, "401");
        let forwarded = ["-H", &header, "-H", "X-Forwarded-For: 10.0.0.5", &at("/latest/meta-data/")];
        assert_eq!(cloud.curl(&[status.as_slice(), &forwarded].concat()).await, "403");
        let long = format!("X-Long: {}", "x".repeat(40_000));
        let code = cloud.curl(&[status.as_slice(), &["-H", &header, "-H", &long, &at("/")]].concat()).await;
        assert_eq!(code, "431");
        let head = cloud.curl(&["-I", "-H", &header, &at("/latest/meta-data/instance-id")]).await;
        assert!(head.contains("content-length: 19"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_travels_one_hop() {
    let cloud = Cloud::start("hops");
    cloud.network.configure_guest();
    // What the guest would forward to a container has a hop less: with 1, nothing is left.
    cloud.network.guest_run(&[
        "nft",
        "table inet hops { chain in { type filter hook input priority 0; ip saddr 169.254.169.254 tcp sport 80 \
         ip ttl 1 counter; }; }",
    ]);
    let put = "X-aws-ec2-metadata-token-ttl-seconds: 60";
    cloud.curl(&["-X", "PUT", "-H", put, "http://169.254.169.254/latest/api/token"]).await;
    let rules = cloud.guest(&["nft", "list", "table", "inet", "hops"]).await;
    assert!(!rules.contains("packets 0 "), "{rules}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_behind_the_guests_nat_gets_no_token() {
    let cloud = Cloud::start("nat");
    cloud.network.configure_guest();
    let container = cloud.network.add_container();
    let inside = |arguments: &'static str| {
        let line = format!(
            "ip netns exec {container} curl -s --max-time 3 -o /dev/null -w %{{http_code}} {arguments}; true"
        );
        tokio::task::spawn_blocking(move || {
            let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        })
    };
    // It does reach the service, which tells it nothing without a token.
    assert_eq!(inside("http://169.254.169.254/latest/meta-data/").await.unwrap(), "401");
    let put = "-X PUT -H X-aws-ec2-metadata-token-ttl-seconds:60 http://169.254.169.254/latest/api/token";
    assert_eq!(inside(put).await.unwrap(), "000", "the token does not come through");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbours_address_and_card_make_no_neighbour() {
    let cloud = Cloud::start("spoof");
    cloud.network.configure_guest();
    // Where the data plane does not check sources: `db` has this address, and needs no token.
    cloud.network.vpc_run(&["ip", "route", "add", "10.0.1.6/32", "dev", "port"]);
    cloud.network.guest_run(&["ip", "addr", "add", "10.0.1.6/32", "dev", "eth0"]);
    cloud.network.guest_run(&["ip", "link", "set", "eth0", "address", "02:00:5e:00:53:02"]);
    let base = "http://169.254.169.254/latest";
    let spoofed = ["--interface", "10.0.1.6", "-H", "X-Forwarded-Host: 10.0.1.6"];
    let status = ["-o", "/dev/null", "-w", "%{http_code}", &format!("{base}/meta-data/instance-id")];
    assert_eq!(cloud.curl(&[spoofed.as_slice(), &status].concat()).await, "401");
    let put = ["-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60", &format!("{base}/api/token")];
    let token = cloud.curl(&[spoofed.as_slice(), &put].concat()).await;
    let header = format!("X-aws-ec2-metadata-token: {token}");
    let get = ["-H", &header, &format!("{base}/meta-data/instance-id")];
    assert_eq!(cloud.curl(&[spoofed.as_slice(), &get].concat()).await, "i-0000000000000000a");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_mark_nothing_is_answered() {
    let cloud = Cloud::start("mark");
    cloud.network.configure_guest();
    cloud.network.vpc_run(&["nft", "flush", "table", "inet", "marks"]);
    let curl = "curl -s --max-time 5 http://169.254.169.254/latest/; echo $?";
    // 52: an empty reply; 56: the connection was reset.
    let code = cloud.guest(&["sh", "-c", curl]).await;
    assert!(["52", "56"].contains(&code.trim()), "{code}");
    assert!(cloud.inside(|| ask_tcp("10.0.0.1:53", "web.demo.internal.")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_handle_ends_everything() {
    let cloud = Cloud::start("drop");
    let Cloud { network, directory, handle } = cloud;
    drop(handle);
    // The sockets go with their tasks, which end at once: the same ports can be had again.
    let options = Options { forwarder: Arc::new(Echo), ..Options::default() };
    let mut tries = 0;
    let again = loop {
        match serve(&network.vpc_path(), directory.subscribe(), options.clone()) {
            Err(_) if tries < 100 => tries += 1,
            outcome => break outcome,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    again.unwrap();
}
