//! Which rule or route lets a packet through a tenant's networks, or stops it: a pure function over the cloud's
//! objects. It speaks of the first packet of a connection, for answers to what was let through pass by themselves.
//!
//! It says what should be. What a host has really programmed is the network driver's to check; a test holds the two
//! against each other on a real kernel.

mod acls;
mod endpoints;
mod objects;
mod path;
mod remedy;
mod rules;
mod services;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

pub use objects::Objects;
pub use walk::trace;

/// A packet that a port sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// What it claims to come from; the port's own address of the destination's family when `None`.
    pub source: Option<IpAddr>,
    pub destination: IpAddr,
    pub traffic: Traffic,
}

/// What is above IP in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "protocol")]
pub enum Traffic {
    /// The sender's and the receiver's port.
    Tcp {
        from: u16,
        to: u16,
    },
    Udp {
        from: u16,
        to: u16,
    },
    /// Type and code; ICMPv6 where the addresses are of that family.
    Icmp {
        kind: u8,
        code: u8,
    },
    /// Another protocol by its number (IANA).
    Other {
        number: u8,
    },
}

impl Traffic {
    /// The question of `ping` in the family of `destination` (RFC 792, RFC 4443).
    pub fn echo(destination: IpAddr) -> Self {
        Self::Icmp { kind: if destination.is_ipv4() { 8 } else { 128 }, code: 0 }
    }
}

/// As `corten security-group allow` takes it.
impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { to, .. } => write!(f, "tcp/{to}"),
            Self::Udp { to, .. } => write!(f, "udp/{to}"),
            Self::Icmp { .. } => f.write_str("icmp"),
            Self::Other { number } => write!(f, "{number}"),
        }
    }
}

/// The way of one packet, step by step, up to where it is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    pub source: End,
    pub destination: End,
    pub traffic: Traffic,
    pub steps: Vec<Step>,
    pub allowed: bool,
    /// What would let it through; empty when nothing has to, or nothing would.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// One end of a packet's way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// `None` where the port has no address of the family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The port of the cloud that has the address, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<PortAt>,
}

/// A port, as people find it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortAt {
    pub project: String,
    pub vpc: String,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instance: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub stage: Stage,
    pub passes: bool,
    pub what: String,
    /// The rule that lets it through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleAt>,
}

/// A rule of a security group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleAt {
    pub group: String,
    /// Its place in `spec.rules`, from 0.
    pub index: usize,
    pub text: String,
}

/// Where on its way a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Its port, and whether that carries packets.
    Port,
    /// Whether it may say that it comes from there.
    AntiSpoofing,
    /// A floating address becomes the port's own.
    Floating,
    /// The rules of its port.
    Egress,
    /// What crosses the edge of a subnet.
    Acl,
    /// Where it goes.
    Route,
    /// What the network itself answers.
    Service,
    /// The rules of the port that it arrives at.
    Ingress,
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::AntiSpoofing => "source",
            Self::Floating => "floating",
            Self::Egress => "egress",
            Self::Acl => "acl",
            Self::Route => "route",
            Self::Service => "service",
            Self::Ingress => "ingress",
        }
    }
}

impl Trace {
    /// Hosts that take part, the sender's first.
    pub fn hosts(&self) -> Vec<&str> {
        let ends = [&self.source, &self.destination];
        let mut hosts: Vec<&str> =
            ends.iter().filter_map(|end| end.port.as_ref()).map(|port| port.host.as_str()).collect();
        hosts.retain(|host| !host.is_empty());
        hosts.dedup();
        hosts
    }
}

impl fmt::Display for PortAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {} of vpc {}", self.name, self.vpc)?;
        if !self.instance.is_empty() {
            write!(f, ", instance {}", self.instance)?;
        }
        if !self.host.is_empty() {
            write!(f, ", on host {}", self.host)?;
        }
        Ok(())
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, &self.port) {
            (Some(address), Some(port)) => write!(f, "{address} ({port})"),
            (Some(address), None) => write!(f, "{address}"),
            (None, Some(port)) => write!(f, "{port}"),
            (None, None) => f.write_str("nobody"),
        }
    }
}

/// For people: the ends, a line per step, the verdict, and the remedy.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "from      {}", self.source)?;
        writeln!(f, "to        {} {}", self.destination, self.traffic)?;
        for step in &self.steps {
            let verdict = if step.passes { "pass" } else { "STOP" };
            writeln!(f, "{verdict}  {:<9} {}", step.stage.as_str(), step.what)?;
        }
        writeln!(f, "{}", if self.allowed { "allowed" } else { "stopped" })?;
        if !self.remedy.is_empty() {
            writeln!(f, "remedy: {}", self.remedy)?;
        }
        Ok(())
    }
}
