//! Attributes of load balancers, listeners and target groups. What this cloud does in one way only is shown, and another
//! way is refused.

use std::collections::BTreeMap;

use model::network::{
    Balancing, LoadBalancer, LoadBalancerSpec, TargetGroup, TargetGroupSpec, TargetProtocol,
};

use super::action::not_here;
use super::{Type, named_balancer, named_group, named_listener, refused};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::xml::Xml;

/// On a target group: how long a target that leaves is waited for. It is kept for those who read it again.
const DELAY: &str = "aws.corten.dev/deregistration-delay";
/// On a network load balancer: what its attribute of this name says. It is kept for those who read it again.
const CROSS_ZONE: &str = "aws.corten.dev/cross-zone";
const CROSS_ZONE_KEY: &str = "load_balancing.cross_zone.enabled";
const DELAY_USUAL: &str = "300";
const DELAY_MAX: u32 = 3600;
/// How long a connection may be silent, in seconds, as ELBv2 has it.
const IDLE_USUAL: u32 = 60;

pub(crate) const ACTIONS: &[Action] = &[
    Action::elb("DescribeLoadBalancerAttributes", &["LoadBalancerArn"], |c| Box::pin(of_balancer(c))),
    Action::elb("ModifyLoadBalancerAttributes", &["LoadBalancerArn", "Attributes"], |c| {
        Box::pin(modify_balancer(c))
    })
    .noting(
        "Deletion protection and the idle timeout; the others are as they are. Targets of every zone are served, whatever \
         cross_zone says: a load balancer is in one place.",
    ),
    Action::elb("DescribeListenerAttributes", &["ListenerArn"], |c| Box::pin(of_listener(c))),
    Action::elb("ModifyListenerAttributes", &["ListenerArn", "Attributes"], |c| Box::pin(modify_listener(c)))
        .noting("What is so may be said again."),
    Action::elb("DescribeTargetGroupAttributes", &["TargetGroupArn"], |c| Box::pin(of_group(c))),
    Action::elb("ModifyTargetGroupAttributes", &["TargetGroupArn", "Attributes"], |c| {
        Box::pin(modify_group(c))
    })
    .noting(
        "The algorithm, stickiness by source address and the PROXY protocol. Connections of a target that leaves go on \
         until they end, an hour at most, whatever the deregistration delay says.",
    ),
];

type Attributes = Vec<(&'static str, String)>;

fn written(attributes: &Attributes) -> Xml {
    let mut x = Xml::new();
    x.members("Attributes", attributes, |x, (key, value)| {
        x.text("Key", key).text("Value", value);
    });
    x
}

/// The attributes that a request sets.
fn asked(c: &Context) -> Result<BTreeMap<String, String>, Failure> {
    let mut found = BTreeMap::new();
    for attribute in c.params.structs("Attributes.member") {
        found.insert(attribute.require("Key")?.to_owned(), attribute.text("Value").to_owned());
    }
    if found.is_empty() { Err(Failure::missing("Attributes")) } else { Ok(found) }
}

/// An attribute that there is only in one way: that may be said again.
fn as_it_is(present: &Attributes, key: &str, value: &str) -> Result<(), Failure> {
    let shown: String = key.chars().take(100).collect();
    match present.iter().find(|(known, _)| *known == key) {
        Some((_, now)) if now == value => Ok(()),
        Some((_, now)) => Err(not_here(&format!("{shown} can only be '{now}' in this cloud"))),
        None => Err(not_here(&format!("Attribute key '{shown}' is not recognized"))),
    }
}

fn flag(key: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Failure::value(format!("{key} must be true or false"))),
    }
}

fn number(key: &str, value: &str, most: u32) -> Result<u32, Failure> {
    let number = value.parse().ok().filter(|n| *n <= most);
    number.ok_or_else(|| Failure::value(format!("{key} must be a number of at most {most}")))
}

fn balancer(balancer: &LoadBalancer) -> Attributes {
    let fixed = |pairs: &[(&'static str, &str)]| -> Attributes {
        pairs.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
    };
    let mut all = vec![("deletion_protection.enabled", balancer.spec.protected.to_string())];
    all.extend(fixed(&[("access_logs.s3.enabled", "false")]));
    if Type::of(balancer) == Type::Network {
        let cross_zone = balancer.metadata.annotations.get(CROSS_ZONE).map_or("false", String::as_str);
        all.push((CROSS_ZONE_KEY, cross_zone.to_owned()));
        all.extend(fixed(&[
            ("dns_record.client_routing_policy", "any_availability_zone"),
            ("zonal_shift.config.enabled", "false"),
        ]));
        return all;
    }
    all.push((CROSS_ZONE_KEY, "true".into()));
    let idle = balancer.spec.idle_timeout_seconds.unwrap_or(IDLE_UNSAID);
    all.push(("idle_timeout.timeout_seconds", idle.to_string()));
    all.extend(fixed(&[
        ("connection_logs.s3.enabled", "false"),
        ("client_keep_alive.seconds", "3600"),
        ("routing.http2.enabled", "true"),
        ("routing.http.drop_invalid_header_fields.enabled", "false"),
        ("routing.http.desync_mitigation_mode", "defensive"),
        ("routing.http.preserve_host_header.enabled", "false"),
        ("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "false"),
        ("routing.http.xff_client_port.enabled", "false"),
        ("routing.http.xff_header_processing.mode", "append"),
        ("waf.fail_open.enabled", "false"),
        ("zonal_shift.config.enabled", "false"),
    ]));
    all
}

/// Of a balancer that says nothing of it: what its driver has.
const IDLE_UNSAID: u32 = 350;

async fn of_balancer(c: &Context) -> Answer {
    Ok(written(&balancer(&named_balancer(c).await?)))
}

async fn modify_balancer(c: &Context) -> Answer {
    let named = named_balancer(c).await?;
    let asked = asked(c)?;
    let changed = c.change::<LoadBalancerSpec>(&named.metadata.name, |found| {
        let present = balancer(found);
        for (key, value) in &asked {
            match key.as_str() {
                "deletion_protection.enabled" => found.spec.protected = flag(key, value)?,
                "idle_timeout.timeout_seconds" if Type::of(found) == Type::Application => {
                    let seconds = number(key, value, 4000)?;
                    if seconds == 0 {
                        return Err(Failure::value(format!("{key} must be 1 to 4000")));
                    }
                    found.spec.idle_timeout_seconds = Some(seconds);
                }
                CROSS_ZONE_KEY if Type::of(found) == Type::Network => {
                    flag(key, value)?;
                    found.metadata.annotations.insert(CROSS_ZONE.into(), value.clone());
                }
                _ => as_it_is(&present, key, value)?,
            }
        }
        Ok(())
    });
    Ok(written(&balancer(&changed.await.map_err(refused)?)))
}

/// How long a new load balancer of AWS's type lets connections be silent.
pub(super) fn usual_idle(kind: Type) -> Option<u32> {
    (kind == Type::Application).then_some(IDLE_USUAL)
}

fn listener(found: &LoadBalancer, at: usize) -> Attributes {
    let reads = found.spec.listeners[at].protocol.reads_requests();
    if reads {
        vec![("routing.http.response.server.enabled", "true".to_owned())]
    } else {
        vec![("tcp.idle_timeout.seconds", found.spec.idle_timeout_seconds.unwrap_or(IDLE_UNSAID).to_string())]
    }
}

async fn of_listener(c: &Context) -> Answer {
    let (balancer, at) = named_listener(c).await?;
    Ok(written(&listener(&balancer, at)))
}

async fn modify_listener(c: &Context) -> Answer {
    let (balancer, at) = named_listener(c).await?;
    let present = listener(&balancer, at);
    for (key, value) in &asked(c)? {
        as_it_is(&present, key, value)?;
    }
    c.end_dry_run()?;
    Ok(written(&present))
}

fn group(group: &TargetGroup) -> Attributes {
    let spec = &group.spec;
    let delay = group.metadata.annotations.get(DELAY).map_or(DELAY_USUAL, String::as_str);
    let by_source = spec.balancing == Balancing::SourceAddress;
    let mut all: Attributes = vec![
        ("deregistration_delay.timeout_seconds", delay.to_owned()),
        ("stickiness.enabled", by_source.to_string()),
        ("load_balancing.cross_zone.enabled", "use_load_balancer_configuration".into()),
        ("target_group_health.dns_failover.minimum_healthy_targets.count", "1".into()),
        ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off".into()),
        ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1".into()),
        ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off".into()),
    ];
    if matches!(spec.protocol, TargetProtocol::Http | TargetProtocol::Https) {
        let least = spec.balancing == Balancing::LeastConnections;
        let algorithm = if least { "least_outstanding_requests" } else { "round_robin" };
        all.extend([
            ("stickiness.type", if by_source { "source_ip" } else { "lb_cookie" }.to_owned()),
            ("stickiness.lb_cookie.duration_seconds", "86400".into()),
            ("stickiness.app_cookie.cookie_name", String::new()),
            ("stickiness.app_cookie.duration_seconds", "86400".into()),
            ("load_balancing.algorithm.type", algorithm.into()),
            ("load_balancing.algorithm.anomaly_mitigation", "off".into()),
            ("slow_start.duration_seconds", "0".into()),
        ]);
    } else {
        all.extend([
            ("stickiness.type", "source_ip".to_owned()),
            ("proxy_protocol_v2.enabled", spec.proxy_protocol.to_string()),
            ("preserve_client_ip.enabled", "false".into()),
            ("deregistration_delay.connection_termination.enabled", "false".into()),
            ("target_health_state.unhealthy.connection_termination.enabled", "false".into()),
            ("target_health_state.unhealthy.draining_interval_seconds", "0".into()),
        ]);
    }
    all
}

async fn of_group(c: &Context) -> Answer {
    Ok(written(&group(&named_group(c).await?)))
}

async fn modify_group(c: &Context) -> Answer {
    let named = named_group(c).await?;
    let asked = asked(c)?;
    let changed = c.change::<TargetGroupSpec>(&named.metadata.name, |found| set(found, &asked)).await?;
    Ok(written(&group(&changed)))
}

fn set(found: &mut TargetGroup, asked: &BTreeMap<String, String>) -> Result<(), Failure> {
    let present = group(found);
    let reads = matches!(found.spec.protocol, TargetProtocol::Http | TargetProtocol::Https);
    let sticky =
        asked.get("stickiness.enabled").map(|value| flag("stickiness.enabled", value)).transpose()?;
    for (key, value) in asked {
        match key.as_str() {
            "deregistration_delay.timeout_seconds" => {
                number(key, value, DELAY_MAX)?;
                found.metadata.annotations.insert(DELAY.into(), value.clone());
            }
            "load_balancing.algorithm.type" if reads => {
                let wanted = match value.as_str() {
                    "round_robin" => Balancing::RoundRobin,
                    "least_outstanding_requests" => Balancing::LeastConnections,
                    _ => return Err(not_here("The algorithm is round_robin or least_outstanding_requests")),
                };
                if found.spec.balancing != Balancing::SourceAddress || sticky == Some(false) {
                    found.spec.balancing = wanted;
                }
            }
            "proxy_protocol_v2.enabled" if found.spec.protocol == TargetProtocol::Tcp => {
                found.spec.proxy_protocol = flag(key, value)?;
            }
            "stickiness.enabled" if !reads => {
                let by_source = sticky.unwrap_or(false);
                found.spec.balancing =
                    if by_source { Balancing::SourceAddress } else { Balancing::RoundRobin };
            }
            "stickiness.enabled"
                if sticky == Some(true) && present.iter().all(|(k, v)| *k != key || v != value) =>
            {
                return Err(not_here("Stickiness by cookies is not supported by this cloud"));
            }
            "stickiness.enabled" => {
                if found.spec.balancing == Balancing::SourceAddress && sticky == Some(false) {
                    found.spec.balancing = Balancing::RoundRobin;
                }
            }
            // Of what is not switched on, anything may be said.
            "stickiness.type"
            | "stickiness.lb_cookie.duration_seconds"
            | "stickiness.app_cookie.duration_seconds"
                if reads && sticky != Some(true) => {}
            _ => as_it_is(&present, key, value)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use model::ObjectMeta;

    use super::*;

    fn change(protocol: TargetProtocol, pairs: &[(&str, &str)]) -> Result<TargetGroup, String> {
        let spec = TargetGroupSpec { protocol, port: 80, ..TargetGroupSpec::default() };
        let mut group = TargetGroup::new(ObjectMeta::named("g"), spec);
        let asked = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        set(&mut group, &asked).map(|()| group).map_err(|e| e.code.to_string())
    }

    #[test]
    fn attributes_are_done_or_refused() {
        let http = TargetProtocol::Http;
        let least = change(http, &[("load_balancing.algorithm.type", "least_outstanding_requests")]);
        assert_eq!(least.unwrap().spec.balancing, Balancing::LeastConnections);
        let sticky =
            change(TargetProtocol::Tcp, &[("stickiness.enabled", "true"), ("stickiness.type", "source_ip")]);
        assert_eq!(sticky.unwrap().spec.balancing, Balancing::SourceAddress);
        for (protocol, key, value) in [
            (http, "stickiness.enabled", "true"),
            (http, "slow_start.duration_seconds", "30"),
            (http, "proxy_protocol_v2.enabled", "true"),
            (TargetProtocol::Tcp, "preserve_client_ip.enabled", "true"),
            (http, "no.such", "1"),
        ] {
            assert_eq!(change(protocol, &[(key, value)]), Err("InvalidConfigurationRequest".into()), "{key}");
        }
        // What is so may be said again.
        let present = group(&change(http, &[("stickiness.enabled", "false")]).unwrap());
        let pairs: Vec<(&str, &str)> = present.iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert_eq!(group(&change(http, &pairs).unwrap()), present);
    }
}
