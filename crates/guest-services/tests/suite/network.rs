//! A VPC's namespace and a guest's, joined by a veth pair as the data plane would: gateway addresses on the host's
//! side, 169.254.169.254 on `lo`, packets marked with their interface, and everything gone when it is dropped.

use std::path::PathBuf;
use std::process::Command;

pub(crate) struct Network {
    name: String,
    /// The index of the guest's link in the VPC's namespace.
    pub(crate) index: u32,
}

impl Network {
    /// `name` is unique to the test; addresses are those of `web` (see `support`).
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("gs-{}-{name}", std::process::id());
        let mut network = Self { name, index: 0 };
        let (vpc, guest) = (network.vpc(), network.guest());
        run("ip", &["netns", "add", &vpc]);
        run("ip", &["netns", "add", &guest]);
        let link = "link add port type veth peer name eth0 netns";
        network.ip_vpc(&format!("{link} {guest}"));
        for line in [
            "link set lo up",
            "addr add 169.254.169.254/32 dev lo",
            "addr add 10.0.0.1/32 dev lo",
            "addr add fd12:3456::1/128 dev lo nodad",
            "addr add fe80::1/64 dev port nodad",
            "link set port up",
            "route add 10.0.0.5/32 dev port",
            "route add fd12:3456::5/128 dev port",
        ] {
            network.ip_vpc(line);
        }
        // What the data plane does: answer for every address on the link, and mark each packet with its port.
        network.vpc_run(&["sysctl", "-qw", "net.ipv4.conf.port.proxy_arp=1", "net.ipv4.tcp_fwmark_accept=1"]);
        network.vpc_run(&["sysctl", "-qw", "net.ipv4.neigh.port.proxy_delay=0"]);
        let index = network.vpc_run(&["cat", "/sys/class/net/port/ifindex"]);
        network.index = index.trim().parse().unwrap();
        let rule = format!("iifname \"port\" meta mark set {}", network.index);
        let chain = format!("chain in {{ type filter hook prerouting priority -150; {rule}; }}");
        network.vpc_run(&["nft", &format!("table inet marks {{ {chain}; }}")]);
        network.guest_run(&["ip", "link", "set", "lo", "up"]);
        network.guest_run(&["ip", "link", "set", "eth0", "address", "02:00:5e:00:53:01", "up"]);
        network
    }

    /// A namespace behind the guest's own NAT, as a container's is; gives its name.
    pub(crate) fn add_container(&self) -> String {
        let container = self.container();
        run("ip", &["netns", "add", &container]);
        let link = format!("link add inner type veth peer name eth0 netns {container}");
        self.guest_run(&[&["ip"], link.split(' ').collect::<Vec<_>>().as_slice()].concat());
        self.guest_run(&["ip", "addr", "add", "172.17.0.1/24", "dev", "inner"]);
        self.guest_run(&["ip", "link", "set", "inner", "up"]);
        self.guest_run(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
        let chain = "chain out { type nat hook postrouting priority 100; oifname \"eth0\" masquerade; }";
        self.guest_run(&["nft", &format!("table ip nat {{ {chain}; }}")]);
        for line in
            ["addr add 172.17.0.2/24 dev eth0", "link set eth0 up", "route add default via 172.17.0.1"]
        {
            run("ip", &[&["-n", &container], line.split(' ').collect::<Vec<_>>().as_slice()].concat());
        }
        container
    }

    fn container(&self) -> String {
        format!("{}-c", self.name)
    }

    fn vpc(&self) -> String {
        format!("{}-v", self.name)
    }

    fn guest(&self) -> String {
        format!("{}-g", self.name)
    }

    pub(crate) fn vpc_path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(self.vpc())
    }

    pub(crate) fn guest_path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(self.guest())
    }

    fn ip_vpc(&self, line: &str) {
        let vpc = self.vpc();
        let arguments: Vec<&str> = ["-n", &vpc].into_iter().chain(line.split(' ')).collect();
        run("ip", &arguments);
    }

    pub(crate) fn vpc_run(&self, command: &[&str]) -> String {
        let vpc = self.vpc();
        run("ip", &[&["netns", "exec", &vpc], command].concat())
    }

    pub(crate) fn guest_run(&self, command: &[&str]) -> String {
        let guest = self.guest();
        run("ip", &[&["netns", "exec", &guest], command].concat())
    }

    /// The guest's address by hand, for tests that are not about DHCP.
    pub(crate) fn configure_guest(&self) {
        self.guest_run(&["ip", "addr", "add", "10.0.0.5/24", "dev", "eth0"]);
        self.guest_run(&["ip", "route", "add", "default", "via", "10.0.0.1"]);
        self.guest_run(&["ip", "addr", "add", "fd12:3456::5/128", "dev", "eth0", "nodad"]);
        // An advertisement may have set this route before us.
        self.guest_run(&["ip", "route", "replace", "default", "via", "fe80::1", "dev", "eth0"]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in [self.container(), self.guest(), self.vpc()] {
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}
