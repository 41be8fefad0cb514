//! Listeners.

use model::network::{
    Listener, ListenerProtocol, LoadBalancer, LoadBalancerSpec, TargetGroup, TargetGroupSpec, TargetProtocol,
};

use super::action::{self, Given, not_here};
use super::{
    Type, balancer_arn, certificates, find_balancer, find_listener, listed, listener_arn, listener_at,
    listener_id, named_balancer, named_listener, new_digits, no_listener, refused, tagging,
};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::tags;
use crate::xml::Xml;

/// What all that is encrypted here is encrypted by: TLS 1.2 or 1.3.
pub(super) const TLS_POLICY: &str = "ELBSecurityPolicy-TLS13-1-2-2021-06";

pub(crate) const ACTIONS: &[Action] = &[
    Action::elb(
        "CreateListener",
        &["LoadBalancerArn", "Protocol", "Port", "SslPolicy", "Certificates", "DefaultActions", "Tags"],
        |c| Box::pin(create(c)),
    )
    .noting(
        "HTTP, HTTPS, TCP, TLS and UDP. TLS is of version 1.2 or 1.3 (ELBSecurityPolicy-TLS13-1-2-2021-06). Requests go \
         to one target group; logins are not done. A client's own X-Forwarded-For is replaced.",
    ),
    Action::elb("DescribeListeners", &["LoadBalancerArn", "ListenerArns", "Marker", "PageSize"], |c| {
        Box::pin(describe(c))
    }),
    Action::elb(
        "ModifyListener",
        &["ListenerArn", "Port", "Protocol", "SslPolicy", "Certificates", "DefaultActions"],
        |c| Box::pin(modify(c)),
    ),
    Action::elb("DeleteListener", &["ListenerArn"], |c| Box::pin(delete(c))),
];

fn protocol_word(protocol: ListenerProtocol) -> &'static str {
    match protocol {
        ListenerProtocol::Http => "HTTP",
        ListenerProtocol::Https => "HTTPS",
        ListenerProtocol::Tcp => "TCP",
        ListenerProtocol::Tls => "TLS",
        ListenerProtocol::Udp => "UDP",
    }
}

fn protocol(kind: Type, word: &str) -> Result<ListenerProtocol, Failure> {
    let protocol = match word {
        "HTTP" => ListenerProtocol::Http,
        "HTTPS" => ListenerProtocol::Https,
        "TCP" => ListenerProtocol::Tcp,
        "TLS" => ListenerProtocol::Tls,
        "UDP" => ListenerProtocol::Udp,
        other => {
            let other: String = other.chars().take(40).collect();
            let message = format!("Protocol '{other}' is not supported by this cloud");
            return Err(Failure::new("UnsupportedProtocol", message));
        }
    };
    if protocol.reads_requests() != (kind == Type::Application) {
        let message =
            format!("Protocol '{word}' is not supported by load balancers of type '{}'", kind.word());
        return Err(Failure::new("UnsupportedProtocol", message));
    }
    Ok(protocol)
}

/// Whether what a listener takes in can go to a group.
pub(super) fn check_fits(listener: ListenerProtocol, given: &Given) -> Result<(), Failure> {
    let Some(target) = given.protocol else { return Ok(()) };
    let reads = matches!(target, TargetProtocol::Http | TargetProtocol::Https);
    if listener.fits(target) && listener.reads_requests() == reads {
        return Ok(());
    }
    let message = format!(
        "A listener of protocol {} cannot send to a target group of protocol {}",
        protocol_word(listener),
        super::groups::protocol_word(target)
    );
    Err(Failure::new("IncompatibleProtocols", message))
}

fn write(c: &Context, x: &mut Xml, balancer: &LoadBalancer, listener: &Listener, groups: &[TargetGroup]) {
    x.text("ListenerArn", listener_arn(c, balancer, listener))
        .text("LoadBalancerArn", balancer_arn(c, balancer))
        .text("Port", listener.port)
        .text("Protocol", protocol_word(listener.protocol));
    if listener.protocol.is_encrypted() {
        x.members("Certificates", [&listener.tls], |x, secret| {
            x.text("CertificateArn", certificates::arn(c, secret));
        })
        .text("SslPolicy", TLS_POLICY);
    }
    action::write(c, x, "DefaultActions", listener.action(), groups);
}

fn shown(c: &Context, balancer: &LoadBalancer, at: usize, groups: &[TargetGroup]) -> Xml {
    let mut x = Xml::new();
    x.members("Listeners", balancer.spec.listeners.get(at), |x, listener| {
        write(c, x, balancer, listener, groups);
    });
    x
}

async fn describe(c: &Context) -> Answer {
    let arns = c.params.list("ListenerArns.member");
    let mut found: Vec<(LoadBalancer, usize)> = Vec::new();
    if let Some(arn) = c.params.get("LoadBalancerArn") {
        if !arns.is_empty() {
            return Err(Failure::value("Either LoadBalancerArn or ListenerArns is given"));
        }
        let balancer = find_balancer(c, arn).await?;
        found.extend((0..balancer.spec.listeners.len()).map(|i| (balancer.clone(), i)));
    } else if arns.is_empty() {
        return Err(Failure::value("You must specify either listener ARNs or a load balancer ARN"));
    }
    for arn in &arns {
        found.push(find_listener(c, arn).await?);
    }
    let groups = c.list_if_allowed::<TargetGroupSpec>().await?;
    let key = |b: &LoadBalancer, i: usize| listener_arn(c, b, &b.spec.listeners[i]);
    let items = found.into_iter().map(|(b, i)| (key(&b, i), (b, i))).collect();
    listed(c, "Listeners", items, |x, (b, i)| write(c, x, b, &b.spec.listeners[*i], &groups))
}

/// The port that a request names.
fn port(c: &Context) -> Result<Option<u16>, Failure> {
    let Some(text) = c.params.get("Port") else { return Ok(None) };
    let port = text.parse().ok().filter(|port| *port > 0);
    port.map(Some).ok_or_else(|| c.params.invalid("Port", text, "must be 1 to 65535"))
}

fn check_policy(c: &Context) -> Result<(), Failure> {
    match c.params.get("SslPolicy") {
        None | Some(TLS_POLICY) => Ok(()),
        Some(other) => {
            let other: String = other.chars().take(80).collect();
            let message = format!("SSL policy '{other}' not found; there is {TLS_POLICY}");
            Err(Failure::new("SSLPolicyNotFound", message))
        }
    }
}

/// The secret behind the certificate that a listener shows first.
async fn certificate(c: &Context) -> Result<Option<String>, Failure> {
    let mut given = c.params.structs("Certificates.member");
    let Some(first) = given.pop() else { return Ok(None) };
    if !given.is_empty() {
        return Err(Failure::value("One certificate is given; AddListenerCertificates adds others"));
    }
    certificates::find(c, first.require("CertificateArn")?).await.map(Some)
}

async fn create(c: &Context) -> Answer {
    let balancer = named_balancer(c).await?;
    let kind = Type::of(&balancer);
    let groups = c.list::<TargetGroupSpec>().await?;
    let given = action::given(c, "DefaultActions", &groups)?;
    let given = given.ok_or_else(|| Failure::missing("DefaultActions"))?;
    check_policy(c)?;
    let mut listener = Listener {
        name: new_digits(c),
        port: port(c)?.ok_or_else(|| Failure::missing("Port"))?,
        protocol: protocol(kind, c.params.require("Protocol")?)?,
        ..Listener::default()
    };
    check_fits(listener.protocol, &given)?;
    given.put_into_listener(&mut listener);
    let certificate = certificate(c).await?;
    match (listener.protocol.is_encrypted(), certificate) {
        (true, Some(secret)) => listener.tls = secret,
        (true, None) => {
            let message = "A certificate must be specified for HTTPS and TLS listeners";
            return Err(Failure::new("CertificateNotFound", message));
        }
        (false, Some(_)) => return Err(not_here("Certificates are for HTTPS and TLS listeners")),
        (false, None) => {}
    }
    let tags = tags::named(&c.params, "Tags.member")?;
    let id = listener.name.clone();
    let changed = c.change::<LoadBalancerSpec>(&balancer.metadata.name, |balancer| {
        if taken(balancer, &listener, None) {
            return Err(duplicate());
        }
        balancer.spec.listeners.push(listener.clone());
        tagging::put(balancer, &id, tags.clone());
        Ok(())
    });
    let changed = changed.await.map_err(refused)?;
    let at = changed.spec.listeners.iter().position(|listener| listener.name == id);
    Ok(shown(c, &changed, at.unwrap_or_default(), &groups))
}

/// Whether another listener has the port.
fn taken(balancer: &LoadBalancer, listener: &Listener, own: Option<usize>) -> bool {
    let is_udp = |listener: &Listener| listener.protocol == ListenerProtocol::Udp;
    balancer
        .spec
        .listeners
        .iter()
        .enumerate()
        .any(|(i, other)| Some(i) != own && other.port == listener.port && is_udp(other) == is_udp(listener))
}

fn duplicate() -> Failure {
    Failure::new("DuplicateListener", "A listener already exists on this port for this load balancer")
}

async fn modify(c: &Context) -> Answer {
    let (balancer, _) = named_listener(c).await?;
    let arn = c.params.require("ListenerArn")?;
    let kind = Type::of(&balancer);
    let groups = c.list::<TargetGroupSpec>().await?;
    let given = action::given(c, "DefaultActions", &groups)?;
    check_policy(c)?;
    let (port, certificate) = (port(c)?, certificate(c).await?);
    let asked = c.params.get("Protocol").map(|word| protocol(kind, word)).transpose()?;
    let changed = change(c, &balancer, arn, |balancer, at| {
        let mut listener = balancer.spec.listeners[at].clone();
        // Its id is to stay what it is.
        listener.name = listener_id(&listener);
        listener.port = port.unwrap_or(listener.port);
        listener.protocol = asked.unwrap_or(listener.protocol);
        if let Some(given) = given.clone() {
            check_fits(listener.protocol, &given)?;
            given.put_into_listener(&mut listener);
        }
        if let Some(secret) = &certificate {
            listener.tls.clone_from(secret);
        }
        if !listener.protocol.is_encrypted() {
            listener.tls.clear();
            listener.more_tls.clear();
        } else if listener.tls.is_empty() {
            let message = "A certificate must be specified for HTTPS and TLS listeners";
            return Err(Failure::new("CertificateNotFound", message));
        }
        if taken(balancer, &listener, Some(at)) {
            return Err(duplicate());
        }
        balancer.spec.listeners[at] = listener;
        Ok(())
    })
    .await?;
    let at = listener_at(&changed, arn).ok_or_else(|| no_listener(arn))?;
    Ok(shown(c, &changed, at, &groups))
}

/// Changes a balancer at one of its listeners.
pub(super) async fn change(
    c: &Context,
    balancer: &LoadBalancer,
    arn: &str,
    mut edit: impl FnMut(&mut LoadBalancer, usize) -> Result<(), Failure>,
) -> Result<LoadBalancer, Failure> {
    let changed = c.change::<LoadBalancerSpec>(&balancer.metadata.name, |balancer| {
        let at = listener_at(balancer, arn).ok_or_else(|| no_listener(arn))?;
        edit(balancer, at)?;
        tagging::forget_gone(balancer);
        Ok(())
    });
    changed.await.map_err(refused)
}

async fn delete(c: &Context) -> Answer {
    let (balancer, _) = named_listener(c).await?;
    change(c, &balancer, c.params.require("ListenerArn")?, |balancer, at| {
        balancer.spec.listeners.remove(at);
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}
