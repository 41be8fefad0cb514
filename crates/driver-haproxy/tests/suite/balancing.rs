//! What clients see.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::SocketAddr;

use driver::{BalancerDriver, Certificate, ServerPlan};
use model::network::{
    Balancing, FixedResponse, ListenerProtocol, ListenerRule, Redirect, RuleCondition, RuleField,
    TargetProtocol,
};

use crate::support::{Outside, World, listener, plan, pool};

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_round_and_by_rules() {
    let world = World::new().await;
    let servers = [world.server(9001, "one"), world.server(9002, "two"), world.server(9003, "api")];
    let mut site = listener(80, ListenerProtocol::Http, "app");
    site.rules = vec![
        ListenerRule { host: "*.api.test".into(), target_group: "api".into(), ..ListenerRule::default() },
        ListenerRule { path_prefix: "/v1".into(), target_group: "api".into(), ..ListenerRule::default() },
    ];
    let groups =
        vec![pool("app", TargetProtocol::Http, &[9001, 9002]), pool("api", TargetProtocol::Tcp, &[9003])];
    let plan = plan(&world, vec![site, listener(81, ListenerProtocol::Tcp, "api")], groups);
    world.becomes(&plan, |health| health.len() == 3 && health.iter().all(|server| server.healthy)).await;
    let name = |host: &str, path: &str| {
        let answer = world.get(80, host, path).unwrap();
        let body = answer.split("\r\n\r\n").nth(1).unwrap().to_owned();
        (body.lines().next().unwrap().to_owned(), answer)
    };
    let met: BTreeSet<String> = (0..4).map(|_| name("www.test", "/").0).collect();
    assert_eq!(met, BTreeSet::from(["one".into(), "two".into()]));
    assert_eq!(name("b.api.test:80", "/").0, "api");
    assert_eq!(name("www.test", "/v1/x").0, "api");
    let answer = name("www.test", "/").1.to_lowercase();
    assert!(answer.contains("x-forwarded-for: 127.0.0.1") && !answer.contains("6.6.6.6"), "{answer}");
    assert!(world.get(81, "any", "/").unwrap().contains("api"));
    for server in servers {
        world.stop(server);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_rule_decides_whatever_it_does() {
    let world = World::new().await;
    let server = world.server(9001, "one");
    let when = |field, name: &str, value: &str| RuleCondition {
        field,
        name: name.into(),
        values: vec![value.into()],
    };
    let mut site = listener(80, ListenerProtocol::Http, "");
    site.response = Some(FixedResponse {
        status: 404,
        content_type: "text/plain".into(),
        body: "it's \"gone\"\n".into(),
    });
    let rule = |priority, conditions| ListenerRule {
        priority: Some(priority),
        conditions,
        target_group: "app".into(),
        ..ListenerRule::default()
    };
    site.rules = vec![
        ListenerRule {
            target_group: String::new(),
            redirect: Some(Redirect {
                host: "new.test".into(),
                path: "/was/#{path}".into(),
                status: 301,
                ..Redirect::default()
            }),
            ..rule(2, vec![when(RuleField::Path, "", "/a*")])
        },
        // Looked at first, though it stands last: a redirect of a later rule does not come before it.
        rule(1, vec![when(RuleField::Path, "", "/a?c"), when(RuleField::Query, "", "k=v*")]),
        rule(
            3,
            vec![when(RuleField::Header, "X-Forwarded-Port", "8?"), when(RuleField::Host, "", "*.own.test")],
        ),
    ];
    let plan = plan(&world, vec![site], vec![pool("app", TargetProtocol::Http, &[9001])]);
    world.becomes(&plan, |health| health.len() == 1 && health[0].healthy).await;
    let get = |host: &str, path: &str| world.get(80, host, path).unwrap();
    assert!(get("www.test", "/abc?x=1&k=vw").contains("one\nGET /abc"));
    let elsewhere = get("www.test", "/abc?k=w");
    assert!(elsewhere.starts_with("HTTP/1.1 301"), "{elsewhere}");
    assert!(elsewhere.contains("location: http://new.test/was/abc?k=w\r\n"), "{elsewhere}");
    assert!(get("A.Own.test:80", "/").contains("one\n"));
    let gone = get("www.test", "/");
    assert!(gone.starts_with("HTTP/1.1 404") && gone.ends_with("it's \"gone\"\n"), "{gone}");
    world.stop(server);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_cuts_no_download_and_certificates_change() {
    let world = World::new().await;
    let server = world.server(9001, "one");
    let mut plan = plan(
        &world,
        vec![listener(80, ListenerProtocol::Http, "app"), {
            let mut tls = listener(443, ListenerProtocol::Https, "app");
            tls.tls = "site".into();
            tls
        }],
        vec![pool("app", TargetProtocol::Http, &[9001])],
    );
    plan.certificates.insert("site".into(), certificate());
    world.becomes(&plan, |health| health.iter().all(|server| server.healthy)).await;
    let first = certificate_seen(&world);
    let mut slow = world.connect(80).unwrap();
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut begun = [0; 64];
    assert!(slow.read(&mut begun).unwrap() > 0);
    plan.certificates.insert("site".into(), certificate());
    world.driver.ensure(&plan).await.unwrap();
    assert_ne!(certificate_seen(&world), first, "the new certificate is shown");
    let mut rest = String::new();
    slow.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("...."), "{rest:?}");
    let pems = std::fs::read_dir(world.folder.path().join("b").join(world.uid.as_str())).unwrap();
    let pems = pems.flatten().filter(|e| e.file_name().to_string_lossy().ends_with(".pem")).count();
    assert_eq!(pems, 1, "the old certificate is gone");
    world.stop(server);
    world.end().await;
}

/// On loopback nothing arrives by a device, so this is by the way that a VPC's packets take: from another namespace.
#[tokio::test(flavor = "multi_thread")]
async fn datagrams_are_spread_over_healthy_servers() {
    let world = World::new().await;
    let outside = Outside::beside(&world);
    let mut pool = pool("dns", TargetProtocol::Udp, &[]);
    pool.settings.health_check = None;
    for port in [5301, 5302] {
        let address = SocketAddr::new(Outside::SERVERS, port);
        pool.servers.push(ServerPlan { address, weight: 1 });
    }
    let mut plan = plan(&world, vec![listener(53, ListenerProtocol::Udp, "dns")], vec![pool]);
    plan.addresses = vec![Outside::BALANCER];
    world.driver.ensure(&plan).await.unwrap();
    let met: BTreeSet<u16> = (0..4).map(|_| outside.ask(53)).collect();
    assert_eq!(met, BTreeSet::from([5301, 5302]), "each in its turn");
    plan.groups[0].servers.pop();
    world.driver.ensure(&plan).await.unwrap();
    let met: BTreeSet<u16> = (0..4).map(|_| outside.ask(53)).collect();
    assert_eq!(met, BTreeSet::from([5301]), "only who is left");
    plan.groups[0].servers.push(ServerPlan { address: SocketAddr::new(Outside::SERVERS, 5302), weight: 1 });
    plan.groups[0].settings.balancing = Balancing::SourceAddress;
    world.driver.ensure(&plan).await.unwrap();
    let met: BTreeSet<u16> = (0..4).map(|_| outside.ask(53)).collect();
    assert_eq!(met.len(), 1, "the same client comes to the same server: {met:?}");
    plan.listeners.clear();
    world.driver.ensure(&plan).await.unwrap();
    outside.end();
    world.end().await;
}

fn certificate() -> Certificate {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["www.test".to_owned()]).unwrap();
    let chain = params.self_signed(&key).unwrap().pem().into_bytes();
    Certificate { chain, key: key.serialize_pem().into_bytes() }
}

/// What `openssl s_client` prints of the certificate.
fn certificate_seen(world: &World) -> String {
    world
        .inside(|| {
            let output = std::process::Command::new("openssl")
                .args(["s_client", "-connect", "127.0.0.1:443", "-servername", "www.test"])
                .stdin(std::process::Stdio::null())
                .output()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let from = text.find("-----BEGIN").expect("a certificate");
            let to = text.find("-----END").expect("its end");
            Ok(text[from..to].to_owned())
        })
        .unwrap()
}
