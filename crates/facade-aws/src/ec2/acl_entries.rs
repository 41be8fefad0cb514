//! Entries of network ACLs.

use model::network::{
    ACL_RULE_MAX, AclAction, AclRule, Cidr, Direction, NetworkAclSpec, PortRange, Protocol,
};

use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;

/// Most entries of one direction.
const ENTRIES_MAX: usize = 40;
const ENTRY: &[&str] = &[
    "NetworkAclId",
    "RuleNumber",
    "Egress",
    "Protocol",
    "RuleAction",
    "CidrBlock",
    "Ipv6CidrBlock",
    "Icmp",
    "PortRange",
];

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("CreateNetworkAclEntry", ENTRY, |c| Box::pin(create(c)))
        .noting("Up to 40 of each direction. Answers need an entry of their own, as with AWS."),
    Action::ec2("ReplaceNetworkAclEntry", ENTRY, |c| Box::pin(replace(c))),
    Action::ec2("DeleteNetworkAclEntry", &["NetworkAclId", "RuleNumber", "Egress"], |c| Box::pin(delete(c))),
];

/// Which entry is meant: its direction and number.
fn place(c: &Context) -> Result<(Direction, u16), Failure> {
    let text = c.params.require("RuleNumber")?;
    let number = text.parse().ok().filter(|number| (1..=ACL_RULE_MAX).contains(number));
    let number = number.ok_or_else(|| c.params.invalid("RuleNumber", text, "must be 1 to 32766"))?;
    c.params.require("Egress")?;
    let egress = c.params.flag("Egress")? == Some(true);
    Ok((if egress { Direction::Egress } else { Direction::Ingress }, number))
}

fn entry(c: &Context) -> Result<AclRule, Failure> {
    let (direction, number) = place(c)?;
    let cidr = match (c.params.has("CidrBlock"), c.params.has("Ipv6CidrBlock")) {
        (true, true) => {
            let message = "Only one of CidrBlock and Ipv6CidrBlock can be specified";
            return Err(Failure::new("InvalidParameterCombination", message));
        }
        (_, true) => super::vpcs::range(c, "Ipv6CidrBlock")?,
        _ => super::vpcs::range(c, "CidrBlock")?,
    };
    if cidr.is_v4() == c.params.has("Ipv6CidrBlock") {
        return Err(Failure::value(format!("{cidr} is a network of the other family")));
    }
    let protocol = protocol(c, &cidr)?;
    let action = match c.params.require("RuleAction")? {
        "allow" => AclAction::Allow,
        "deny" => AclAction::Deny,
        other => return Err(c.params.invalid("RuleAction", other, "must be allow or deny")),
    };
    let (icmp_type, icmp_code) = if protocol == Protocol::Icmp { icmp(c)? } else { (None, None) };
    let has_ports = matches!(protocol, Protocol::Tcp | Protocol::Udp);
    let ports = if has_ports { Some(ports(c)?) } else { None };
    Ok(AclRule { number, direction, action, protocol, ports, icmp_type, icmp_code, cidr: Some(cidr) })
}

fn protocol(c: &Context, cidr: &Cidr) -> Result<Protocol, Failure> {
    let text = c.params.require("Protocol")?;
    match text {
        "-1" | "all" => return Ok(Protocol::Any),
        // Of the other family: it would never match.
        "1" if !cidr.is_v4() => return Err(c.params.invalid("Protocol", text, "is that of IPv4; use 58")),
        "58" if cidr.is_v4() => return Err(c.params.invalid("Protocol", text, "is that of IPv6; use 1")),
        _ => {}
    }
    let named = text.parse::<Protocol>().ok().filter(|_| text != "any");
    named.ok_or_else(|| c.params.invalid("Protocol", text, "must be -1 or the number of a protocol"))
}

/// -1 is any.
fn icmp(c: &Context) -> Result<(Option<u8>, Option<u8>), Failure> {
    let read = |name: &str| {
        let text = c.params.require(name)?;
        match text {
            "-1" => Ok(None),
            text => text.parse().map(Some).map_err(|_| c.params.invalid(name, text, "must be -1 to 255")),
        }
    };
    match (read("Icmp.Type")?, read("Icmp.Code")?) {
        (None, Some(_)) => Err(Failure::value("Icmp.Code needs an Icmp.Type other than -1")),
        found => Ok(found),
    }
}

fn ports(c: &Context) -> Result<PortRange, Failure> {
    let read = |name: &str| {
        let text = c.params.require(name)?;
        text.parse::<u16>().map_err(|_| c.params.invalid(name, text, "must be 0 to 65535"))
    };
    let range = PortRange { from: read("PortRange.From")?, to: read("PortRange.To")? };
    if range.from > range.to {
        return Err(Failure::value("PortRange.From must not be more than PortRange.To"));
    }
    Ok(range)
}

fn is_at(rule: &AclRule, (direction, number): (Direction, u16)) -> bool {
    rule.direction == direction && rule.number == number
}

fn missing((_, number): (Direction, u16)) -> Failure {
    let message = format!("The network acl entry identified by {number} does not exist.");
    Failure::new("InvalidNetworkAclEntry.NotFound", message)
}

/// Changes the rules of the ACL that the request names.
async fn change(c: &Context, mut edit: impl FnMut(&mut Vec<AclRule>) -> Result<(), Failure>) -> Answer {
    let mut acl = super::acls::find(c, c.params.require("NetworkAclId")?).await?;
    if c.dry_run {
        // A default one may not have an object yet.
        edit(&mut acl.spec.rules)?;
        c.end_dry_run()?;
    }
    c.change::<NetworkAclSpec>(&acl.metadata.name, |acl| edit(&mut acl.spec.rules)).await?;
    Ok(super::done())
}

async fn create(c: &Context) -> Answer {
    let rule = entry(c)?;
    let at = (rule.direction, rule.number);
    change(c, |rules| {
        if rules.iter().any(|known| is_at(known, at)) {
            let message = format!("The network acl entry identified by {} already exists.", at.1);
            return Err(Failure::new("NetworkAclEntryAlreadyExists", message));
        }
        if rules.iter().filter(|known| known.direction == at.0).count() >= ENTRIES_MAX {
            let message = format!("A network ACL has at most {ENTRIES_MAX} entries of each direction");
            return Err(Failure::new("NetworkAclEntryLimitExceeded", message));
        }
        rules.push(rule.clone());
        Ok(())
    })
    .await
}

async fn replace(c: &Context) -> Answer {
    let rule = entry(c)?;
    let at = (rule.direction, rule.number);
    change(c, |rules| {
        let known = rules.iter_mut().find(|known| is_at(known, at)).ok_or_else(|| missing(at))?;
        known.clone_from(&rule);
        Ok(())
    })
    .await
}

async fn delete(c: &Context) -> Answer {
    let at = place(c)?;
    change(c, |rules| {
        let before = rules.len();
        rules.retain(|known| !is_at(known, at));
        if rules.len() == before { Err(missing(at)) } else { Ok(()) }
    })
    .await
}
