//! Samples of the network kinds: every field, with a value that is not its default.

use serde_json::{Value, json};

use crate::samples::condition;

/// Spec and status of a network kind.
pub(crate) fn sample(kind: &str) -> Option<Value> {
    let conditions = || json!([condition()]);
    Some(match kind {
        "Vpc" => json!({
            "spec": {
                "ipv4Ranges": ["10.0.0.0/16"], "ipv6Range": "fd00:1::/48",
                "dns": {"domain": "team.internal", "servers": ["10.0.0.2"], "disabled": true},
                "dhcpOptions": "office", "isDefault": true,
            },
            "status": {"vni": 4096, "conditions": conditions()},
        }),
        "Subnet" => json!({
            "spec": {
                "vpc": "main", "cidr": "10.0.1.0/24", "ipv6Cidr": "fd00:1:0:1::/64", "mode": "bridge",
                "link": "eth1", "vlan": 42, "zone": "east", "routeTable": "main", "networkAcl": "edge",
                "assignPublicAddress": true, "isDefault": true,
            },
            "status": {"conditions": conditions()},
        }),
        "Port" => json!({
            "spec": {
                "subnet": "web", "addresses": ["10.0.1.7", "fd00:1:0:1::7"], "mac": "02:00:5e:10:00:07",
                "securityGroups": ["web"], "sourceDestinationCheck": false, "rateBits": 1_000_000,
                "instance": "one", "loadBalancer": "front", "vpcEndpoint": "api", "interface": 1,
            },
            "status": {
                "host": "host-1", "state": "Up", "device": "p1", "observedGeneration": 1,
                "conditions": conditions(),
            },
        }),
        "FlowLog" => json!({
            "spec": {
                "vpc": "main", "subnet": "web", "port": "web-0", "traffic": "Reject", "bucket": "logs", "prefix": "net",
                "fields": ["srcaddr", "flow-direction"], "intervalSeconds": 60, "hourly": true,
            },
            "status": {
                "hosts": [{"host": "host-1", "until": 1_700_000_000, "done": true}], "last": "2026-01-01T00:00:00Z",
                "conditions": conditions(),
            },
        }),
        "SecurityGroup" => security_group(),
        "PrefixList" => json!({
            "spec": {"entries": [{"cidr": "192.0.2.0/24", "description": "the office"}]}, "status": {},
        }),
        "NetworkAcl" => network_acl(),
        "DhcpOptions" => json!({
            "spec": {
                "domain": "example.org", "vpcNameServer": true, "nameServers": ["10.0.0.2"],
                "ntpServers": ["10.0.0.3"], "netbiosNameServers": ["10.0.0.4"], "netbiosNodeType": 2,
            },
            "status": {},
        }),
        "RouteTable" => json!({
            "spec": {
                "vpc": "main",
                "routes": [
                    {"destination": "0.0.0.0/0", "target": {"gateway": "out"}},
                    {"prefixList": "office", "target": {"port": "vpn"}},
                    {"destination": "10.9.0.0/16", "target": {"peering": "other"}},
                    {"destination": "10.8.0.0/16", "target": {"instance": "router"}},
                    {"destination": "10.0.0.0/16", "target": {"local": true}},
                ],
                "isMain": true,
            },
            "status": {"conditions": conditions()},
        }),
        "Gateway" => json!({
            "spec": {"vpc": "main", "type": "nat", "subnet": "web", "floatingIp": "out"},
            "status": {"conditions": conditions()},
        }),
        "AddressPool" => json!({
            "spec": {
                "ranges": ["192.0.2.10-192.0.2.50"], "zone": "east", "description": "the provider's",
            },
            "status": {},
        }),
        "FloatingIp" => json!({
            "spec": {"pool": "public", "address": "192.0.2.10", "port": "one-0", "portAddress": "10.0.1.7"},
            "status": {"host": "host-1", "conditions": conditions()},
        }),
        "Peering" => json!({
            "spec": {"vpc": "main", "peerProject": "other", "peerVpc": "theirs"},
            "status": {"active": true, "conditions": conditions()},
        }),
        "VpcEndpoint" => vpc_endpoint(),
        "DnsZone" => json!({"spec": {"domain": "db.internal", "vpcs": ["main"]}, "status": {}}),
        "DnsRecord" => json!({
            "spec": {
                "zone": "db", "name": "www", "type": "AAAA", "values": ["fd00:1:0:1::7"], "ttlSeconds": 300,
            },
            "status": {},
        }),
        "LoadBalancer" => load_balancer(),
        "TargetGroup" => json!({"spec": with(target_group(), "vpc", json!("main")), "status": {}}),
        _ => return None,
    })
}

fn security_group() -> Value {
    json!({
        "spec": {
            "vpc": "main", "description": "web servers",
            "rules": [
                {
                    "direction": "egress", "protocol": "tcp", "ports": {"from": 80, "to": 443},
                    "peer": {"cidr": "0.0.0.0/0"}, "description": "updates",
                },
                {
                    "direction": "ingress", "protocol": "icmp", "icmpType": 8, "icmpCode": 0,
                    "peer": {"group": "web"},
                },
                {"direction": "ingress", "protocol": "47", "peer": {"prefixList": "office"}},
            ],
            "isDefault": true,
        },
        "status": {},
    })
}

fn vpc_endpoint() -> Value {
    json!({
        "spec": {
            "vpc": "main", "service": "ec2", "type": "interface", "subnets": ["web"],
            "securityGroups": ["front"], "privateDns": true, "policy": "{}", "routeTables": ["private"],
        },
        "status": {"conditions": [condition()]},
    })
}

fn target_group() -> Value {
    json!({
        "name": "app", "protocol": "http", "port": 8080, "balancing": "least-connections",
        "proxyProtocol": true,
        "targets": [
            {"instance": "one", "port": 8081, "weight": 2},
            {"address": "10.0.1.9"},
        ],
        "instanceLabels": {"app": "web"},
        "healthCheck": {
            "protocol": "http", "path": "/health", "statuses": "200-299,404", "port": 8082,
            "intervalSeconds": 5, "timeoutSeconds": 2, "healthyAfter": 2, "unhealthyAfter": 4,
        },
    })
}

fn with(mut value: Value, field: &str, more: Value) -> Value {
    value[field] = more;
    value
}

fn load_balancer() -> Value {
    json!({
        "spec": {
            "subnets": ["web"], "scheme": "public", "floatingIp": "front", "securityGroups": ["front"],
            "listeners": [
                {
                    "name": "site", "port": 443, "protocol": "https", "targetGroup": "app", "tls": "certificate",
                    "moreTls": ["other"],
                    "rules": [
                        {"host": "*.example.org", "pathPrefix": "/api", "targetGroup": "app"},
                        {
                            "name": "old", "priority": 7,
                            "conditions": [{"field": "header", "name": "X-Team", "values": ["a*"]}],
                            "redirect": {
                                "protocol": "https", "host": "new.example.org", "port": 8443,
                                "path": "/old/#{path}", "query": "from=old", "status": 301,
                            },
                        },
                        {"response": {"status": 404, "contentType": "text/plain", "body": "not here"}},
                    ],
                },
                {"port": 80, "protocol": "http", "redirect": {"protocol": "https", "status": 301}},
                {"port": 81, "protocol": "http", "response": {"status": 503}},
            ],
            "targetGroups": [target_group()],
            "idleTimeoutSeconds": 60, "protected": true,
        },
        "status": {
            "host": "host-1", "addresses": ["10.0.1.4"],
            "targets": [{
                "group": "app", "target": "one", "address": "10.0.1.7:8081", "healthy": true,
                "reason": "connection refused",
            }],
            "certificates": [{"secret": "certificate", "version": "41"}],
            "observedGeneration": 3, "conditions": [condition()],
        },
    })
}

fn network_acl() -> Value {
    json!({
        "spec": {
            "vpc": "main",
            "rules": [
                {
                    "number": 100, "direction": "egress", "action": "deny", "protocol": "tcp",
                    "ports": {"from": 80, "to": 90}, "cidr": "10.0.0.0/8",
                },
                {
                    "number": 200, "direction": "ingress", "action": "allow", "protocol": "icmp", "icmpType": 8,
                    "icmpCode": 0, "cidr": "::/0",
                },
            ],
            "isDefault": true,
        },
        "status": {},
    })
}
