//! What is said of network objects that break their kind's rules, what they claim, and what they name.

use model::{AnyObject, Hold, kind_of};
use serde_json::{Value, json};

fn read(kind: &str, spec: &Value) -> Box<dyn AnyObject> {
    let document = json!({"metadata": {"name": "one", "namespace": "team"}, "spec": spec});
    let mut object = (kind_of(kind).unwrap().decode)(document.to_string().as_bytes(), true).unwrap();
    object.set_defaults();
    object
}

/// The fields that are wrong, or what cannot even be read.
fn wrong(kind: &str, spec: &Value) -> Vec<String> {
    read(kind, spec).validate().iter().map(|e| e.field.clone()).collect()
}

#[test]
fn good_objects_have_no_faults() {
    for (kind, spec) in [
        ("vpc", json!({"ipv4Ranges": ["10.0.0.0/16", "192.168.0.0/24"]})),
        ("vpc", json!({"ipv6Range": "fd00:1::/48"})),
        ("subnet", json!({"vpc": "main", "cidr": "10.0.0.0/24"})),
        ("subnet", json!({"vpc": "main", "cidr": "10.0.0.0/24", "mode": "bridge", "link": "eth1.7"})),
        ("port", json!({"subnet": "web"})),
        ("securitygroup", json!({"vpc": "main"})),
        ("prefixlist", json!({})),
        ("routetable", json!({"vpc": "main"})),
        ("gateway", json!({"vpc": "main"})),
        ("addresspool", json!({"ranges": ["192.0.2.0/24"]})),
        ("floatingip", json!({"pool": "public"})),
        ("peering", json!({"vpc": "main", "peerVpc": "other"})),
        ("peering", json!({"vpc": "main", "peerProject": "b", "peerVpc": "main"})),
        ("dnszone", json!({"domain": "a.internal", "vpcs": ["main"]})),
        ("dnsrecord", json!({"zone": "a", "name": "*.apps", "type": "A", "values": ["10.0.0.1"]})),
        ("loadbalancer", json!({"subnets": ["web"]})),
    ] {
        assert_eq!(wrong(kind, &spec), [""; 0], "{kind} {spec}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let rule = |rule: Value| json!({"vpc": "main", "rules": [rule]});
    let everyone = json!({"cidr": "0.0.0.0/0"});
    for (kind, spec, field) in [
        ("vpc", json!({}), "spec.ipv4Ranges"),
        ("vpc", json!({"ipv4Ranges": ["fd00::/48"]}), "spec.ipv4Ranges[0]"),
        ("vpc", json!({"ipv4Ranges": ["10.0.0.0/7"]}), "spec.ipv4Ranges[0]"),
        ("vpc", json!({"ipv4Ranges": ["10.0.0.0/29"]}), "spec.ipv4Ranges[0]"),
        ("vpc", json!({"ipv4Ranges": ["127.0.0.0/16"]}), "spec.ipv4Ranges[0]"),
        ("vpc", json!({"ipv4Ranges": ["169.254.0.0/16"]}), "spec.ipv4Ranges[0]"),
        ("vpc", json!({"ipv4Ranges": ["224.0.0.0/16"]}), "spec.ipv4Ranges[0]"),
        ("vpc", json!({"ipv4Ranges": ["10.0.0.0/16", "10.0.1.0/24"]}), "spec.ipv4Ranges[1]"),
        ("vpc", json!({"ipv6Range": "10.0.0.0/16"}), "spec.ipv6Range"),
        ("vpc", json!({"ipv6Range": "fe80::/48"}), "spec.ipv6Range"),
        ("vpc", json!({"ipv6Range": "fd00::/64"}), "spec.ipv6Range"),
        ("vpc", json!({"ipv4Ranges": ["10.0.0.0/16"], "dns": {"domain": "A"}}), "spec.dns.domain"),
        ("subnet", json!({"cidr": "10.0.0.0/24"}), "spec.vpc"),
        ("subnet", json!({"vpc": "main"}), "spec.cidr"),
        ("subnet", json!({"vpc": "main", "cidr": "10.0.0.0/30"}), "spec.cidr"),
        ("subnet", json!({"vpc": "main", "cidr": "fd00::/64"}), "spec.cidr"),
        ("subnet", json!({"vpc": "main", "ipv6Cidr": "fd00::/80"}), "spec.ipv6Cidr"),
        ("subnet", json!({"vpc": "main", "cidr": "10.0.0.0/24", "link": "eth1"}), "spec.link"),
        ("subnet", json!({"vpc": "main", "cidr": "10.0.0.0/24", "vlan": 7}), "spec.vlan"),
        ("subnet", json!({"vpc": "main", "cidr": "10.0.0.0/24", "mode": "bridge"}), "spec.link"),
        (
            "subnet",
            json!({"vpc": "main", "cidr": "10.0.0.0/24", "mode": "bridge", "link": "../x"}),
            "spec.link",
        ),
        (
            "subnet",
            json!({"vpc": "main", "cidr": "10.0.0.0/24", "mode": "bridge", "link": "e", "vlan": 4095}),
            "spec.vlan",
        ),
        ("port", json!({}), "spec.subnet"),
        ("port", json!({"subnet": "web", "addresses": ["127.0.0.1"]}), "spec.addresses[0]"),
        ("port", json!({"subnet": "web", "addresses": ["10.0.0.9", "10.0.0.9"]}), "spec.addresses[1]"),
        ("port", json!({"subnet": "web", "securityGroups": ["a", "a"]}), "spec.securityGroups[1]"),
        ("port", json!({"subnet": "web", "rateBits": 7}), "spec.rateBits"),
        ("securitygroup", json!({}), "spec.vpc"),
        ("securitygroup", rule(json!({"protocol": "tcp"})), "spec.rules[0].peer"),
        ("securitygroup", rule(json!({"peer": {"cidr": "0.0.0.0/0", "group": "a"}})), "spec.rules[0].peer"),
        (
            "securitygroup",
            rule(json!({"protocol": "any", "ports": {"from": 1, "to": 2}, "peer": everyone})),
            "spec.rules[0].ports",
        ),
        (
            "securitygroup",
            rule(json!({"protocol": "tcp", "ports": {"from": 2, "to": 1}, "peer": everyone})),
            "spec.rules[0].ports",
        ),
        (
            "securitygroup",
            rule(json!({"protocol": "tcp", "icmpType": 8, "peer": everyone})),
            "spec.rules[0].icmpType",
        ),
        (
            "securitygroup",
            rule(json!({"protocol": "icmp", "icmpCode": 0, "peer": everyone})),
            "spec.rules[0].icmpCode",
        ),
        (
            "securitygroup",
            json!({"vpc": "main", "rules": [{"peer": everyone}, {"peer": everyone, "description": "x"}]}),
            "spec.rules[1]",
        ),
        (
            "securitygroup",
            json!({"vpc": "main", "rules": vec![json!({"peer": everyone}); 201]}),
            "spec.rules",
        ),
    ] {
        expect(kind, &spec, field);
    }
}

#[test]
fn what_is_wrong_with_ways_and_names_is_named() {
    let route = |route: Value| json!({"vpc": "main", "routes": [route]});
    for (kind, spec, field) in [
        ("prefixlist", json!({"entries": [{}]}), "spec.entries[0].cidr"),
        (
            "prefixlist",
            json!({"entries": [{"cidr": "10.0.0.0/8"}, {"cidr": "10.0.0.0/8"}]}),
            "spec.entries[1].cidr",
        ),
        ("routetable", route(json!({"target": {"local": true}})), "spec.routes[0].destination"),
        ("routetable", route(json!({"destination": "0.0.0.0/0"})), "spec.routes[0].target"),
        (
            "routetable",
            route(json!({"destination": "0.0.0.0/0", "target": {"gateway": "a", "port": "b"}})),
            "spec.routes[0].target",
        ),
        ("gateway", json!({"vpc": "main", "subnet": "web"}), "spec.subnet"),
        ("gateway", json!({"vpc": "main", "type": "egress", "floatingIp": "f"}), "spec.floatingIp"),
        ("addresspool", json!({}), "spec.ranges"),
        ("addresspool", json!({"ranges": ["127.0.0.1"]}), "spec.ranges[0]"),
        ("addresspool", json!({"ranges": ["192.0.2.0/24", "192.0.2.7"]}), "spec.ranges[1]"),
        ("floatingip", json!({}), "spec.pool"),
        ("floatingip", json!({"pool": "p", "portAddress": "10.0.0.7"}), "spec.portAddress"),
        ("peering", json!({"vpc": "main", "peerVpc": "main"}), "spec.peerVpc"),
        ("dnszone", json!({"domain": "a."}), "spec.domain"),
        ("dnsrecord", json!({"zone": "z", "name": "a..b", "values": ["10.0.0.1"]}), "spec.name"),
        ("dnsrecord", json!({"zone": "z", "name": "a", "values": []}), "spec.values"),
        ("dnsrecord", json!({"zone": "z", "name": "a", "values": ["fd00::1"]}), "spec.values[0]"),
        ("dnsrecord", json!({"zone": "z", "name": "@", "type": "CNAME", "values": ["a"]}), "spec.values"),
        ("loadbalancer", json!({}), "spec.subnets"),
        (
            "loadbalancer",
            json!({"subnets": ["a"], "listeners": [{"port": 80}]}),
            "spec.listeners[0].targetGroup",
        ),
        (
            "loadbalancer",
            json!({"subnets": ["a"], "listeners": [{"port": 443, "protocol": "https"}]}),
            "spec.listeners[0].tls",
        ),
        (
            "loadbalancer",
            json!({"subnets": ["a"], "targetGroups": [{"name": "x", "port": 80, "targets": [{}]}]}),
            "spec.targetGroups[0].targets[0]",
        ),
        ("loadbalancer", balancer("udp", "http", "/", "/"), "spec.listeners[0].targetGroup"),
        ("loadbalancer", balancer("tcp", "udp", "/", "/"), "spec.listeners[0].targetGroup"),
        (
            "loadbalancer",
            balancer("http", "http", "/\n  server x", "/"),
            "spec.listeners[0].rules[0].pathPrefix",
        ),
        ("loadbalancer", balancer("http", "http", "/'", "/"), "spec.listeners[0].rules[0].pathPrefix"),
        ("loadbalancer", balancer("http", "http", "/", "/a b"), "spec.targetGroups[0].healthCheck.path"),
        ("loadbalancer", json!({"subnets": ["a"], "idleTimeoutSeconds": 0}), "spec.idleTimeoutSeconds"),
        ("targetgroup", json!({"port": 80}), "spec.vpc"),
        ("targetgroup", json!({"vpc": "main"}), "spec.port"),
        (
            "targetgroup",
            json!({"vpc": "main", "port": 80, "healthCheck": {"statuses": "299-200"}}),
            "spec.healthCheck.statuses",
        ),
    ] {
        expect(kind, &spec, field);
    }
}

#[test]
fn what_a_rule_says_ends_no_word() {
    let rule = |rule: Value| {
        let listener = json!({"port": 80, "protocol": "http", "targetGroup": "x", "rules": [rule]});
        json!({"subnets": ["a"], "listeners": [listener]})
    };
    let to = |mut more: Value, group: Value| {
        more["targetGroup"] = group;
        rule(more)
    };
    let when = |field: &str, value: &str| {
        let name = if field == "header" { "X-Team" } else { "" };
        to(json!({"conditions": [{"field": field, "name": name, "values": [value]}]}), json!("y"))
    };
    for (field, good, bad) in [
        ("host", "*.example.org", "a b"),
        ("path", "/v?/*", "/'"),
        ("method", "GET", "GET /"),
        ("header", "a b", "a\nb"),
        ("query", "a=*", "a"),
        ("source", "192.0.2.0/24", "192.0.2"),
    ] {
        assert_eq!(wrong("loadbalancer", &when(field, good)), [""; 0], "{field}");
        expect("loadbalancer", &when(field, bad), "spec.listeners[0].rules[0].conditions[0].values[0]");
    }
    for (spec, at) in [
        (json!({}), "targetGroup"),
        (json!({"targetGroup": "x", "response": {"status": 404}}), "targetGroup"),
        (json!({"redirect": {}}), "redirect"),
        (json!({"redirect": {"path": "/%[x]"}}), "redirect.path"),
        (json!({"redirect": {"protocol": "https", "status": 307}}), "redirect.status"),
        (json!({"response": {"status": 302}}), "response.status"),
        (json!({"response": {"status": 404, "body": "gone"}}), "response.contentType"),
        (json!({"targetGroup": "x", "priority": 0}), "priority"),
        (json!({"targetGroup": "x", "name": "a b"}), "name"),
    ] {
        expect("loadbalancer", &rule(spec), &format!("spec.listeners[0].rules[0].{at}"));
    }
    let twice = json!({"subnets": ["a"], "listeners": [{"port": 80, "protocol": "http", "targetGroup": "x", "rules": [
        {"priority": 3, "targetGroup": "x"}, {"priority": 3, "targetGroup": "x"}]}]});
    expect("loadbalancer", &twice, "spec.listeners[0].rules[1].priority");
}

fn balancer(listener: &str, group: &str, prefix: &str, health: &str) -> Value {
    json!({
        "subnets": ["a"],
        "listeners": [{
            "port": 80, "protocol": listener, "targetGroup": "x",
            "rules": if listener == "http" { json!([{"pathPrefix": prefix, "targetGroup": "x"}]) } else { json!([]) },
        }],
        "targetGroups": [
            {"name": "x", "port": 80, "protocol": group, "healthCheck": {"path": health}},
        ],
    })
}

fn expect(kind: &str, spec: &Value, field: &str) {
    let found = wrong(kind, spec);
    assert!(found.iter().any(|f| f == field), "{kind} {spec}: expected {field}, got {found:?}");
}

#[test]
fn instances_name_their_networks() {
    let instance = |isolation: &str, networks: Value| {
        json!({
            "isolation": isolation, "payload": {"disk": {"image": "debian"}},
            "resources": {"cpu": 1, "memory": "1Gi"}, "networks": networks,
        })
    };
    for (networks, expected) in [
        (json!([{"subnet": "a"}, {"port": "b", "primary": true}]), None),
        (json!([{}]), Some("spec.networks[0]")),
        (json!([{"subnet": "a", "port": "b"}]), Some("spec.networks[0]")),
        (json!([{"port": "b", "address": "10.0.0.7"}]), Some("spec.networks[0].address")),
        (json!([{"port": "b", "securityGroups": ["g"]}]), Some("spec.networks[0].securityGroups")),
        (json!([{"port": "b"}, {"port": "b"}]), Some("spec.networks[1].port")),
        (json!([{"subnet": "A"}]), Some("spec.networks[0].subnet")),
        (json!([{"subnet": "a", "primary": true}, {"subnet": "b", "primary": true}]), Some("spec.networks")),
        (json!(vec![json!({"subnet": "a"}); 16]), Some("spec.networks")),
    ] {
        let found = wrong("instance", &instance("vm", networks.clone()));
        assert_eq!(found.first().map(String::as_str), expected, "{networks}: {found:?}");
    }
    let process = json!({
        "isolation": "process", "payload": {"command": {"argv": ["a"]}}, "networks": [{"subnet": "a"}],
    });
    assert_eq!(wrong("instance", &process), ["spec.networks"]);
    let set = |network: Value| json!({"replicas": 2, "template": {"spec": instance("vm", json!([network]))}});
    assert_eq!(wrong("instanceset", &set(json!({"subnet": "a"}))), [""; 0]);
    for network in [json!({"port": "a"}), json!({"subnet": "a", "address": "10.0.0.7"})] {
        assert_eq!(wrong("instanceset", &set(network)), ["spec.template.spec.networks[0]"]);
    }
}

#[test]
fn what_is_claimed_and_named() {
    let claims = |object: &dyn AnyObject| object.claims().into_iter().map(|c| c.key).collect::<Vec<_>>();
    let names = |object: &dyn AnyObject| {
        object.references().into_iter().map(|r| (r.key(), r.hold == Hold::Kept)).collect::<Vec<_>>()
    };
    let port = read(
        "port",
        &json!({
            "subnet": "web", "addresses": ["10.0.1.7"], "mac": "02:00:00:00:00:01", "securityGroups": ["g"],
        }),
    );
    assert_eq!(claims(&*port), ["address/team/web/10.0.1.7", "mac/team/web/02:00:00:00:00:01"]);
    assert_eq!(
        names(&*port),
        [
            ("/subnets.network.corten.dev/team/web".to_owned(), true),
            ("/securitygroups.network.corten.dev/team/g".to_owned(), true),
        ]
    );
    let floating = read("floatingip", &json!({"pool": "public", "address": "192.0.2.7", "port": "p"}));
    assert_eq!(
        claims(&*floating),
        ["floating/192.0.2.7", "floating-use/team/one", "floating-port/team/p/primary"]
    );
    assert_eq!(
        names(&*floating),
        [
            ("/addresspools.network.corten.dev/public".to_owned(), true),
            ("/ports.network.corten.dev/team/p".to_owned(), false),
        ]
    );
    let group = json!({"vpc": "main", "rules": [{"peer": {"group": "one"}}, {"protocol": "tcp", "peer": {"group": "b"}}]});
    assert_eq!(names(&*read("securitygroup", &group)).len(), 2, "a group does not keep itself");
    let instance = json!({
        "isolation": "vm", "payload": {"disk": {"image": "debian"}}, "networks": [{"subnet": "web"}, {"port": "p"}],
    });
    let instance = read("instance", &instance);
    assert_eq!(claims(&*instance), ["attached/team/p"]);
    let ports = names(&*instance).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(ports, ["/ports.network.corten.dev/team/one-0", "/ports.network.corten.dev/team/p"]);
}

#[test]
fn the_name_of_a_made_port_is_never_too_long() {
    for name in ["web".to_owned(), "w".repeat(63), format!("{}.{}", "a".repeat(63), "b".repeat(63))] {
        let mut instance = read("instance", &json!({"networks": [{"subnet": "a"}, {"subnet": "b"}]}));
        instance.metadata_mut().name = name;
        instance.metadata_mut().uid = model::Uid::parse("0123456789abcdef").unwrap();
        let instance = instance.as_any().downcast_ref::<model::compute::Instance>().unwrap();
        let names = model::compute::port_names(instance);
        assert!(names.iter().all(|name| model::Name::new(name).is_ok()), "{names:?}");
        assert_ne!(names[0], names[1]);
    }
}

fn with_cards(isolation: &str, power: &str, networks: &serde_json::Value) -> Box<dyn model::AnyObject> {
    let payload = if isolation == "namespace" {
        json!({"containers": {"containers": [{"name": "a", "image": "i"}]}})
    } else {
        json!({"kernel": {"image": "i"}})
    };
    let resources = json!({"cpu": "1", "memory": "64Mi"});
    let spec = json!({
        "isolation": isolation, "power": power, "payload": payload, "resources": resources, "networks": networks,
    });
    read("instance", &spec)
}

#[test]
fn cards_come_and_go_but_for_those_that_the_instance_stands_on() {
    let old = json!([{"subnet": "a"}, {"subnet": "b"}, {"port": "p"}]);
    let check = |isolation: &str, power: &str, new: serde_json::Value, expected: &[(&str, &str)]| {
        let before = with_cards(isolation, power, &old);
        let errors = with_cards(isolation, power, &new).validate_update(&*before);
        let found: Vec<(String, String)> =
            errors.iter().map(|e| (e.field.clone(), e.message.clone())).collect();
        assert_eq!(found.len(), expected.len(), "{new}: {found:?}");
        for ((field, message), (at, words)) in found.iter().zip(expected) {
            assert!(field == at && message.contains(words), "{new}: {found:?}");
        }
    };
    let vm = |new, expected: &[(&str, &str)]| check("vm", "running", new, expected);
    vm(json!([{"subnet": "a"}, {"subnet": "b"}, {"port": "p"}, {"port": "q"}]), &[]);
    vm(json!([{"subnet": "a"}, {"port": "p", "interface": 2}]), &[]);
    vm(json!([{"subnet": "a"}]), &[]);
    vm(json!([{"subnet": "a"}, {"port": "q"}, {"port": "p"}]), &[]);
    vm(json!([{"subnet": "b"}]), &[("spec.networks[0]", "stays"), ("spec.networks[0]", "name a port")]);
    vm(json!([{"subnet": "a"}, {"subnet": "c"}]), &[("spec.networks[1]", "make one")]);
    vm(
        json!([{"subnet": "a"}, {"port": "q", "primary": true}]),
        &[("spec.networks[1].primary", "when the instance is made")],
    );
    check("namespace", "running", json!([{"subnet": "a"}]), &[]);
    check("microvm", "running", json!([{"subnet": "a"}]), &[("spec.networks", "stop the instance first")]);
    check("microvm", "stopped", json!([{"subnet": "a"}]), &[]);
}

#[test]
fn a_card_keeps_its_number_when_another_goes() {
    use model::compute::{InstanceNetwork, keep_numbers};
    let cards = |json: serde_json::Value| serde_json::from_value::<Vec<InstanceNetwork>>(json).unwrap();
    let old = cards(json!([{"subnet": "a"}, {"subnet": "b"}, {"port": "p"}, {"port": "q", "interface": 7}]));
    let check = |new: serde_json::Value, expected: &[u32]| {
        let mut new = cards(new);
        keep_numbers(&mut new, &old);
        let numbers: Vec<u32> = new.iter().enumerate().map(|(i, card)| card.number(i)).collect();
        assert_eq!(numbers, expected, "{new:?}");
    };
    check(json!([{"subnet": "a"}, {"port": "p"}, {"port": "q"}]), &[0, 2, 7]);
    check(json!([{"subnet": "a"}, {"port": "r"}, {"port": "p"}]), &[0, 1, 2]);
    check(
        json!([{"subnet": "a"}, {"subnet": "b"}, {"port": "p"}, {"port": "r"}, {"port": "q"}]),
        &[0, 1, 2, 3, 7],
    );
    check(json!([{"subnet": "a"}, {"port": "r", "interface": 5}, {"port": "p"}]), &[0, 5, 2]);
    check(json!([{"subnet": "a"}, {"subnet": "a"}, {"subnet": "a"}]), &[0, 1, 2]);
}

#[test]
fn a_port_is_the_instances_until_its_host_has_taken_it_out() {
    let mut instance = with_cards("vm", "running", &json!([{"subnet": "a"}, {"port": "p"}]));
    let instance = instance.as_any_mut().downcast_mut::<model::compute::Instance>().unwrap();
    instance.status.ports = vec!["one-0".into(), "q".into(), "p".into()];
    let claims: Vec<String> = model::AnyObject::claims(instance).into_iter().map(|claim| claim.key).collect();
    assert_eq!(claims, ["attached/team/p", "attached/team/q"]);
    let ports: Vec<String> =
        model::AnyObject::references(instance).iter().map(model::Reference::key).collect();
    assert_eq!(ports, ["one-0", "p", "q"].map(|name| format!("/ports.network.corten.dev/team/{name}")));
}

#[test]
fn what_an_instance_let_go_of_is_remembered_until_it_has_it_again() {
    let mut status = model::compute::InstanceStatus::default();
    let mut set = |ports: &[&str], at: i64| {
        status.set_ports(ports.iter().map(ToString::to_string).collect(), model::Timestamp(at));
        let released = status.released_ports.iter();
        released.map(|released| (released.port.clone(), released.at.0)).collect::<Vec<_>>()
    };
    assert_eq!(set(&["a", "b"], 1), []);
    assert_eq!(set(&["a"], 2), [("b".to_owned(), 2)]);
    assert_eq!(set(&["a"], 3), [("b".to_owned(), 2)], "nothing new");
    assert_eq!(set(&["b"], 4), [("a".to_owned(), 4)]);
    let many: Vec<String> = (0..40).map(|n| format!("p{n}")).collect();
    set(&many.iter().map(String::as_str).collect::<Vec<_>>(), 5);
    let kept = set(&[], 6);
    assert_eq!((kept.len(), kept.last()), (model::compute::NETWORKS_MAX, Some(&("p39".to_owned(), 6))));
}
