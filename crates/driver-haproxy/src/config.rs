//! From a plan to HAProxy's configuration. Pure. Whatever a user chose is a name, a number or an address, or stands in
//! single quotes, in which HAProxy reads everything as it is.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use driver::{BalancerPlan, Certificate, DriverError, PoolPlan, ServerPlan};
use model::network::{Balancing, HealthCheck, Listener, ListenerProtocol, TargetProtocol};

use crate::folder::Folder;
use crate::requests;

/// Descriptors for listeners, checks and the program itself; each connection takes two more.
const OPEN_FILES_OWN: u64 = 2000;
/// A worker that was replaced ends its last connections within this time, in seconds.
const REPLACED_ENDS_WITHIN: u32 = 3600;
/// Answers of a target that does well, where nothing else is said.
const GOOD_STATUSES: &str = "200-399";
/// How long a connection may be silent, where nothing else is said.
const IDLE_SECONDS: u32 = 350;
/// So many reloads later it is ended in any case.
const REPLACED_MAX: u32 = 50;

/// How a connection is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Tcp,
    Http,
}

impl Mode {
    fn of(listener: ListenerProtocol) -> Self {
        match listener {
            ListenerProtocol::Http | ListenerProtocol::Https => Self::Http,
            ListenerProtocol::Tcp | ListenerProtocol::Tls | ListenerProtocol::Udp => Self::Tcp,
        }
    }

    /// That of a group that no listener uses.
    fn usual(target: TargetProtocol) -> Self {
        match target {
            TargetProtocol::Http | TargetProtocol::Https => Self::Http,
            TargetProtocol::Tcp | TargetProtocol::Udp => Self::Tcp,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
        }
    }
}

/// What this machine has for a balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) threads: usize,
    pub(crate) open_files: u64,
}

/// A file that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExtraFile {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// Of all the rest; what HAProxy tells as its description.
    pub(crate) digest: String,
    pub(crate) text: String,
    pub(crate) files: Vec<ExtraFile>,
}

/// The whole configuration of a balancer.
pub(crate) fn render(plan: &BalancerPlan, folder: &Folder, room: Room) -> Result<Rendered, DriverError> {
    let mut out = String::new();
    let mut files = certificates(plan);
    let modes = modes(plan);
    for listener in plan.listeners.iter().filter(|l| l.protocol != ListenerProtocol::Udp) {
        frontend(&mut out, plan, listener, folder, &mut files)?;
    }
    for (group, mode) in modes {
        if let Some(pool) = plan.groups.iter().find(|pool| pool.settings.name == group) {
            backend(&mut out, plan, pool, mode)?;
        }
    }
    let head = head(plan, folder, room);
    let digest = hex(&[head.as_bytes(), out.as_bytes()].concat());
    let text = format!("global\n    description {digest}\n{head}{out}");
    Ok(Rendered { digest, text, files })
}

/// The name of a backend, and what is known of it on the way back.
pub(crate) fn group_of_backend(backend: &str) -> Option<&str> {
    backend.strip_prefix("http-").or_else(|| backend.strip_prefix("tcp-"))
}

/// The name of a server: its address, so that it is the same one after a reload.
fn server_name(address: SocketAddr) -> String {
    format!("{}_{}", address.ip(), address.port())
}

pub(crate) fn address_of_server(name: &str) -> Option<SocketAddr> {
    let (ip, port) = name.rsplit_once('_')?;
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

/// Which groups are used in which way. One that is used in two has its servers checked twice.
fn modes(plan: &BalancerPlan) -> BTreeSet<(&str, Mode)> {
    let mut used = BTreeSet::new();
    for listener in &plan.listeners {
        let mode = Mode::of(listener.protocol);
        used.extend(listener.target_groups().map(|(group, _)| (group, mode)));
    }
    for pool in &plan.groups {
        let name = pool.settings.name.as_str();
        if !used.iter().any(|(group, _)| *group == name) {
            used.insert((name, Mode::usual(pool.settings.protocol)));
        }
    }
    used
}

fn certificates(plan: &BalancerPlan) -> Vec<ExtraFile> {
    let file = |(name, certificate): (&String, &Certificate)| ExtraFile {
        name: pem_name(name, certificate),
        content: whole(certificate),
    };
    plan.certificates.iter().map(file).collect()
}

/// The name follows from the content: another certificate is another configuration.
fn pem_name(name: &str, certificate: &Certificate) -> String {
    format!("{name}-{}.pem", hex(&whole(certificate)))
}

fn whole(certificate: &Certificate) -> Vec<u8> {
    [certificate.chain.as_slice(), b"\n", certificate.key.as_slice(), b"\n"].concat()
}

fn head(plan: &BalancerPlan, folder: &Folder, room: Room) -> String {
    let idle = plan.idle_timeout_seconds.unwrap_or(IDLE_SECONDS);
    let Room { threads, open_files } = room;
    let connections = open_files.saturating_sub(OPEN_FILES_OWN).max(2) / 2;
    let (stats, state) = (path(folder.stats_socket()), path(folder.server_state()));
    format!(
        "    stats socket {stats} mode 600 level admin expose-fd listeners
    server-state-file {state}
    maxconn {connections}
    nbthread {threads}
    hard-stop-after {REPLACED_ENDS_WITHIN}s
    mworker-max-reloads {REPLACED_MAX}
    ssl-default-bind-options ssl-min-ver TLSv1.2
    ssl-server-verify none

defaults
    mode tcp
    load-server-state-from-file global
    timeout connect 5s
    timeout client {idle}s
    timeout server {idle}s
    timeout tunnel 3600s
    timeout client-fin 30s
    timeout http-request 30s
    timeout http-keep-alive 60s
    timeout queue 30s
    option redispatch
    retries 3
"
    )
}

fn frontend(
    out: &mut String,
    plan: &BalancerPlan,
    listener: &Listener,
    folder: &Folder,
    files: &mut Vec<ExtraFile>,
) -> Result<(), DriverError> {
    let mode = Mode::of(listener.protocol);
    let port = listener.port;
    line(out, format_args!("\nfrontend listener-{port}\n    mode {}", mode.as_str()));
    let tls = tls(plan, listener, folder)?;
    if plan.addresses.iter().any(std::net::IpAddr::is_ipv4) {
        line(out, format_args!("    bind 0.0.0.0:{port}{tls}"));
    }
    if plan.addresses.iter().any(std::net::IpAddr::is_ipv6) {
        line(out, format_args!("    bind [::]:{port} v6only{tls}"));
    }
    if mode == Mode::Http {
        let scheme = if listener.protocol == ListenerProtocol::Https { "https" } else { "http" };
        // What a client says of itself is not passed on: whoever reads the first address would believe it.
        line(out, format_args!("    http-request set-header X-Forwarded-For %[src]"));
        line(out, format_args!("    http-request set-header X-Forwarded-Proto {scheme}"));
        line(out, format_args!("    http-request set-header X-Forwarded-Port {port}"));
        line(out, format_args!("    http-request del-header Forwarded"));
        line(out, format_args!("    http-request del-header X-Real-IP"));
    }
    let group = |name: &str| backend_name(name, mode);
    if mode == Mode::Http {
        return requests::decide(out, listener, files, &|name| folder.file(name), &group);
    }
    line(out, format_args!("    default_backend {}", group(&listener.target_group)));
    Ok(())
}

fn tls(plan: &BalancerPlan, listener: &Listener, folder: &Folder) -> Result<String, DriverError> {
    if listener.tls.is_empty() {
        return Ok(String::new());
    }
    // The first is shown to who asks for a name that none is for.
    let mut words = String::from(" ssl");
    for name in std::iter::once(&listener.tls).chain(&listener.more_tls) {
        let certificate = plan.certificates.get(name).ok_or_else(|| {
            DriverError::Invalid(format!(
                "the certificate in secret {name:?} of port {} is missing",
                listener.port
            ))
        })?;
        let _ = write!(words, " crt {}", path(folder.file(&pem_name(name, certificate))));
    }
    let versions = if listener.protocol == ListenerProtocol::Https { " alpn h2,http/1.1" } else { "" };
    Ok(format!("{words}{versions}"))
}

fn backend_name(group: &str, mode: Mode) -> String {
    format!("{}-{group}", mode.as_str())
}

fn backend(out: &mut String, plan: &BalancerPlan, pool: &PoolPlan, mode: Mode) -> Result<(), DriverError> {
    let settings = &pool.settings;
    line(out, format_args!("\nbackend {}\n    mode {}", backend_name(&settings.name, mode), mode.as_str()));
    match settings.balancing {
        Balancing::RoundRobin => line(out, format_args!("    balance roundrobin")),
        Balancing::LeastConnections => line(out, format_args!("    balance leastconn")),
        Balancing::SourceAddress => {
            line(out, format_args!("    balance source\n    hash-type consistent"));
        }
    }
    let check = settings.health_check.clone().unwrap_or_default();
    let asks =
        matches!(check.protocol.unwrap_or(settings.protocol), TargetProtocol::Http | TargetProtocol::Https);
    if asks && settings.health_check.is_some() {
        let host = plan.addresses.first().map(|address| SocketAddr::new(*address, settings.port));
        let host = host.map(|host| host.to_string()).unwrap_or_default();
        let uri = quoted(&check.path)?;
        line(out, format_args!("    option httpchk"));
        line(
            out,
            format_args!(
                "    http-check send meth GET uri {uri} ver HTTP/1.1 hdr Host {host} hdr Connection close"
            ),
        );
        let good = if check.statuses.is_empty() { GOOD_STATUSES } else { &check.statuses };
        line(out, format_args!("    http-check expect status {good}"));
    }
    line(out, format_args!("    timeout check {}s", check.timeout_seconds));
    let options = options(pool, mode, &check);
    for server in &pool.servers {
        let ServerPlan { address, weight } = server;
        line(out, format_args!("    server {} {address} weight {weight}{options}", server_name(*address)));
    }
    Ok(())
}

/// What all servers of a group have in common.
fn options(pool: &PoolPlan, mode: Mode, check: &HealthCheck) -> String {
    let settings = &pool.settings;
    let mut all = String::new();
    // Nobody asks a service of datagrams by TCP unless told where.
    if settings.protocol != TargetProtocol::Udp || settings.health_check.is_some() {
        let (rise, fall) = (check.healthy_after, check.unhealthy_after);
        let _ = write!(all, " check inter {}s rise {rise} fall {fall}", check.interval_seconds);
        if let Some(port) = check.port {
            let _ = write!(all, " port {port}");
        }
    }
    let speaks_tls = settings.protocol == TargetProtocol::Https;
    let checked_by_tls = check.protocol.map_or(speaks_tls, |protocol| protocol == TargetProtocol::Https);
    // Targets have certificates of their own making; the VPC is what keeps others out.
    all.push_str(match (speaks_tls && mode == Mode::Http, checked_by_tls) {
        (true, true) => " ssl verify none",
        (true, false) => " ssl verify none no-check-ssl",
        (false, true) => " check-ssl verify none",
        (false, false) => "",
    });
    if settings.proxy_protocol {
        all.push_str(" send-proxy-v2");
    }
    all
}

pub(crate) fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}

/// A word that HAProxy reads as it is. What could end the word or the line is refused.
pub(crate) fn quoted(text: &str) -> Result<String, DriverError> {
    if text.chars().any(|c| c.is_control() || c == '\'') {
        return Err(DriverError::Invalid(format!("{text:?} has characters that cannot be in a rule")));
    }
    Ok(format!("'{text}'"))
}

pub(crate) fn path(path: PathBuf) -> String {
    path.display().to_string()
}

/// FNV-1a of 128 bits in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use model::network::{ListenerRule, TargetGroupSpec};

    use super::*;

    const ROOM: Room = Room { threads: 2, open_files: 20_000 };

    fn plan() -> BalancerPlan {
        let group = |name: &str, protocol, health_check| PoolPlan {
            settings: TargetGroupSpec {
                name: name.into(),
                protocol,
                port: 8080,
                health_check,
                ..TargetGroupSpec::default()
            },
            servers: vec![ServerPlan { address: "10.0.0.7:8080".parse().unwrap(), weight: 2 }],
        };
        let listener = |port, protocol, tls: &str| Listener {
            port,
            protocol,
            target_group: "app".into(),
            tls: tls.into(),
            ..Listener::default()
        };
        let mut site = listener(443, ListenerProtocol::Https, "site");
        site.rules = vec![
            ListenerRule {
                host: "*.example.org".into(),
                path_prefix: "/api".into(),
                target_group: "api".into(),
                ..ListenerRule::default()
            },
            ListenerRule {
                host: "old.example.org".into(),
                target_group: "api".into(),
                ..ListenerRule::default()
            },
        ];
        let certificate = Certificate { chain: b"chain".to_vec(), key: b"key".to_vec() };
        BalancerPlan {
            addresses: vec!["10.0.0.4".parse().unwrap(), "fd00::4".parse().unwrap()],
            listeners: vec![site, listener(5432, ListenerProtocol::Tcp, "")],
            groups: vec![
                group(
                    "app",
                    TargetProtocol::Http,
                    Some(HealthCheck { port: Some(81), ..HealthCheck::default() }),
                ),
                group("api", TargetProtocol::Https, None),
            ],
            certificates: BTreeMap::from([("site".into(), certificate)]),
            ..BalancerPlan::default()
        }
    }

    fn text(plan: &BalancerPlan) -> String {
        render(plan, &Folder::at(Path::new("/run/x")), ROOM).unwrap().text
    }

    #[test]
    fn a_site_with_rules() {
        let text = text(&plan());
        let body = text.split("\nfrontend ").skip(1).collect::<Vec<_>>().join("\nfrontend ");
        let pem = pem_name("site", &plan().certificates["site"]);
        let expected = format!(
            "listener-443
    mode http
    bind 0.0.0.0:443 ssl crt /run/x/{pem} alpn h2,http/1.1
    bind [::]:443 v6only ssl crt /run/x/{pem} alpn h2,http/1.1
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Port 443
    http-request del-header Forwarded
    http-request del-header X-Real-IP
    acl rule-1-host req.hdr(host),host_only -i -m end '.example.org'
    acl rule-1-path path -m beg '/api'
    http-request set-var(txn.rule,ifnotexists) int(1) if rule-1-host rule-1-path
    acl rule-2-host req.hdr(host),host_only -i -m str 'old.example.org'
    http-request set-var(txn.rule,ifnotexists) int(2) if rule-2-host
    http-request set-var(txn.rule,ifnotexists) int(0)
    use_backend http-api if {{ var(txn.rule) -m int 1 }}
    use_backend http-api if {{ var(txn.rule) -m int 2 }}
    default_backend http-app

frontend listener-5432
    mode tcp
    bind 0.0.0.0:5432
    bind [::]:5432 v6only
    default_backend tcp-app

backend http-api
    mode http
    balance roundrobin
    timeout check 5s
    server 10.0.0.7_8080 10.0.0.7:8080 weight 2 check inter 10s rise 3 fall 3 ssl verify none

backend tcp-app
    mode tcp
    balance roundrobin
    option httpchk
    http-check send meth GET uri '/' ver HTTP/1.1 hdr Host 10.0.0.4:8080 hdr Connection close
    http-check expect status 200-399
    timeout check 5s
    server 10.0.0.7_8080 10.0.0.7:8080 weight 2 check inter 10s rise 3 fall 3 port 81

backend http-app
    mode http
"
        );
        assert!(body.starts_with(&expected), "{body}");
    }

    #[test]
    fn the_digest_is_of_everything() {
        let digest =
            |plan: &BalancerPlan| render(plan, &Folder::at(Path::new("/run/x")), ROOM).unwrap().digest;
        let before = digest(&plan());
        assert_eq!(digest(&plan()), before);
        let mut other = plan();
        other.certificates.get_mut("site").unwrap().key = b"another".to_vec();
        assert_ne!(digest(&other), before);
        let mut other = plan();
        other.groups[0].servers.clear();
        assert_ne!(digest(&other), before);
    }

    #[test]
    fn what_could_end_a_word_is_refused() {
        for bad in ["/'", "/\n    bind :1", "/\0"] {
            let mut plan = plan();
            plan.listeners[0].rules[0].path_prefix = bad.into();
            assert!(render(&plan, &Folder::at(Path::new("/run/x")), ROOM).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_lead_back() {
        for address in ["10.0.0.7:80", "[fd00::7]:80"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(address_of_server(&server_name(address)), Some(address));
        }
        assert_eq!(group_of_backend(&backend_name("tcp-app", Mode::Http)), Some("tcp-app"));
    }
}
