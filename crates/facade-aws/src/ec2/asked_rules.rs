//! Rules of security groups as a request asks for them, in either of EC2's forms.

use model::network::{Direction, PortRange, Protocol, RulePeer, SecurityGroup, SecurityRule};

use super::endpoint_services;
use super::world::group_name;
use crate::failure::Failure;
use crate::ids;
use crate::params::Params;

/// The rules that a request speaks of, in either form.
pub(super) fn parse(
    params: &Params,
    groups: &[SecurityGroup],
    group: &SecurityGroup,
    direction: Direction,
) -> Result<Vec<SecurityRule>, Failure> {
    let permissions = params.structs("IpPermissions");
    let mut rules = Vec::new();
    if permissions.is_empty() {
        let peer = match (params.get("CidrIp"), params.get("SourceSecurityGroupName")) {
            (Some(_), None) => RulePeer { cidr: params.parsed("CidrIp")?, ..RulePeer::default() },
            (None, Some(name)) => peer_by_name(groups, group, name)?,
            _ => return Err(Failure::missing("IpPermissions")),
        };
        // A group alone stands for everything.
        let protocol = params.get("IpProtocol").or_else(|| (!peer.group.is_empty()).then_some("-1"));
        let protocol = protocol.ok_or_else(|| Failure::missing("IpProtocol"))?;
        rules.push(rule(params, protocol, direction, peer, "")?);
        return Ok(rules);
    }
    for permission in &permissions {
        let protocol = permission.require("IpProtocol")?;
        let mut add = |peer, description: &str| {
            rules.push(rule(permission, protocol, direction, peer, description)?);
            Ok::<_, Failure>(())
        };
        for (list, name) in [("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6")] {
            for entry in permission.structs(list) {
                entry.require(name)?;
                let peer = RulePeer { cidr: entry.parsed(name)?, ..RulePeer::default() };
                add(peer, entry.text("Description"))?;
            }
        }
        for entry in permission.structs("Groups") {
            let peer = match entry.get("GroupId") {
                Some(id) => {
                    let found = ids::by_id(groups, id)?;
                    RulePeer { group: found.metadata.name.clone(), ..RulePeer::default() }
                }
                None => peer_by_name(groups, group, entry.require("GroupName")?)?,
            };
            add(peer, entry.text("Description"))?;
        }
        for entry in permission.structs("PrefixListIds") {
            let name = entry.require("PrefixListId")?;
            let peer = match endpoint_services::network_of(name) {
                // Of a service's list there is no object: it is one network.
                Some(network) => RulePeer { cidr: Some(network), ..RulePeer::default() },
                None => RulePeer { prefix_list: name.to_owned(), ..RulePeer::default() },
            };
            add(peer, entry.text("Description"))?;
        }
    }
    if rules.is_empty() {
        return Err(Failure::missing("IpPermissions.1.IpRanges"));
    }
    Ok(rules)
}

fn peer_by_name(groups: &[SecurityGroup], group: &SecurityGroup, name: &str) -> Result<RulePeer, Failure> {
    let found = groups.iter().find(|g| g.spec.vpc == group.spec.vpc && group_name(g) == name);
    let none =
        || Failure::new("InvalidGroup.NotFound", format!("The security group '{name}' does not exist"));
    Ok(RulePeer { group: found.ok_or_else(none)?.metadata.name.clone(), ..RulePeer::default() })
}

pub(super) fn rule(
    params: &Params,
    protocol: &str,
    direction: Direction,
    peer: RulePeer,
    description: &str,
) -> Result<SecurityRule, Failure> {
    let named = match protocol {
        "-1" | "all" => "any",
        "icmpv6" => "icmp",
        other => other,
    };
    let protocol: Protocol =
        named.parse().map_err(|_| params.invalid("IpProtocol", protocol, "is no protocol"))?;
    let (from, to) = (params.number("FromPort")?, params.number("ToPort")?);
    let mut rule = SecurityRule {
        direction,
        protocol,
        peer,
        description: description.into(),
        ..SecurityRule::default()
    };
    match protocol {
        Protocol::Tcp | Protocol::Udp => {
            let (from, to) = match (from, to) {
                (Some(-1), Some(-1) | None) => (0, 65_535),
                (Some(from), Some(to)) => (from, to),
                _ => return Err(Failure::missing("FromPort")),
            };
            let port = |n: i64| {
                u16::try_from(n).map_err(|_| params.invalid("FromPort", &n.to_string(), "is no port"))
            };
            rule.ports = Some(PortRange { from: port(from)?, to: port(to)? });
        }
        Protocol::Icmp => {
            let byte = |n: Option<i64>| match n {
                None | Some(-1) => Ok(None),
                Some(n) => u8::try_from(n)
                    .map(Some)
                    .map_err(|_| params.invalid("FromPort", &n.to_string(), "is no type or code of ICMP")),
            };
            rule.icmp_type = byte(from)?;
            rule.icmp_code = rule.icmp_type.map_or(Ok(None), |_| byte(to))?;
        }
        _ => {}
    }
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::super::rules::{protocol_word, span};
    use super::*;
    use model::ObjectMeta;
    use model::network::SecurityGroupSpec;

    fn parsed(query: &str) -> Result<Vec<SecurityRule>, Failure> {
        let params = Params::parse(query.as_bytes(), &[]).expect("a form");
        let group =
            SecurityGroup::new(ObjectMeta::named("sg-00000000000000001"), SecurityGroupSpec::default());
        parse(&params, std::slice::from_ref(&group), &group, Direction::Ingress)
    }

    #[test]
    fn both_forms_say_the_same() {
        let flat = parsed("IpProtocol=tcp&FromPort=22&ToPort=22&CidrIp=10.0.0.0/8").expect("rules");
        let nested = parsed(
            "IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=22&IpPermissions.1.ToPort=22&\
             IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/8",
        );
        assert_eq!(Ok(flat.clone()), nested);
        assert_eq!((protocol_word(&flat[0]).as_str(), span(&flat[0])), ("tcp", (22, 22)));
    }

    #[test]
    fn peers_and_protocols() {
        let check = |query: &str, expected: &str| {
            let rules = parsed(&format!("IpPermissions.1.IpProtocol={query}")).expect(query);
            let words: Vec<String> =
                rules.iter().map(|rule| format!("{} {:?}", protocol_word(rule), span(rule))).collect();
            assert_eq!(words.join(", "), expected, "{query}");
        };
        let all = "&IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0&IpPermissions.1.Ipv6Ranges.1.CidrIpv6=::/0";
        check(&format!("-1{all}"), "-1 (-1, -1), -1 (-1, -1)");
        check(
            &format!("icmp&IpPermissions.1.FromPort=8&IpPermissions.1.ToPort=-1{all}"),
            "icmp (8, -1), icmpv6 (8, -1)",
        );
        check(
            &format!("6&IpPermissions.1.FromPort=1&IpPermissions.1.ToPort=2{all}"),
            "tcp (1, 2), tcp (1, 2)",
        );
        check(&format!("50{all}"), "50 (-1, -1), 50 (-1, -1)");
        check("-1&IpPermissions.1.Groups.1.GroupId=sg-00000000000000001", "-1 (-1, -1)");
        for (query, code) in [
            ("IpProtocol=tcp", "MissingParameter"),
            ("IpProtocol=tcp&CidrIp=0.0.0.0/0", "MissingParameter"),
            ("IpProtocol=tcp&FromPort=1&ToPort=70000&CidrIp=0.0.0.0/0", "InvalidParameterValue"),
            ("IpProtocol=x&CidrIp=0.0.0.0/0", "InvalidParameterValue"),
            ("IpProtocol=-1&CidrIp=10.0.0.1/8", "InvalidParameterValue"),
            (
                "IpPermissions.1.IpProtocol=-1&IpPermissions.1.Groups.1.GroupId=sg-1",
                "InvalidGroupId.Malformed",
            ),
        ] {
            assert_eq!(parsed(query).unwrap_err().code, code, "{query}");
        }
    }
}
