//! Which layout and version a path is in, and the text that stands there.

use bytes::Bytes;

use super::instance::Instance;
use super::{ec2, nocloud, openstack};

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Text(&'static str, Bytes),
    /// The keys of the instance's role.
    Role(String),
    Nothing,
}

const PLAIN: &str = "text/plain";
const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";

/// Parts of a path, decoded; `None`: it is no path of ours. Doubled slashes count once, as EC2 has it.
pub(super) fn parts(path: &str) -> Option<Vec<String>> {
    const PARTS_MAX: usize = 16;
    let parts: Option<Vec<String>> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
    parts.filter(|parts| parts.len() <= PARTS_MAX)
}

pub(super) fn is_version(name: &str) -> bool {
    name == "latest" || ec2::VERSIONS.contains(&name)
}

pub(super) fn find(instance: &Instance, parts: &[&str]) -> Place {
    match parts {
        [] => {
            let versions: Vec<&str> = ec2::VERSIONS.into_iter().chain(["latest"]).collect();
            Place::Text(PLAIN, versions.join("\n").into())
        }
        ["openstack"] => Place::Text(PLAIN, openstack::VERSIONS.join("\n").into()),
        ["openstack", version, rest @ ..] if openstack::VERSIONS.contains(version) => {
            let kind = match rest {
                [] => PLAIN,
                ["user_data"] => OCTETS,
                _ => JSON,
            };
            text(kind, openstack::tree(instance).find(rest))
        }
        ["latest", "nocloud", rest @ ..] => text(PLAIN, nocloud::tree(instance).find(rest)),
        [version, rest @ ..] if is_version(version) => find_ec2(instance, rest),
        _ => Place::Nothing,
    }
}

fn find_ec2(instance: &Instance, parts: &[&str]) -> Place {
    match parts {
        ["user-data"] => text(OCTETS, instance.user_data.clone()),
        ["meta-data", "iam", "security-credentials", name] => match &instance.role {
            Some(role) if role.name == *name => Place::Role(role.name.clone()),
            _ => Place::Nothing,
        },
        [] => {
            let listing = ec2::tree(instance).find(&[]).unwrap_or_default();
            let mut listing = String::from_utf8_lossy(&listing).into_owned();
            if instance.user_data.is_some() {
                listing.push_str("\nuser-data");
            }
            Place::Text(PLAIN, listing.into())
        }
        _ => text(PLAIN, ec2::tree(instance).find(parts)),
    }
}

fn text(kind: &'static str, text: Option<Bytes>) -> Place {
    text.map_or(Place::Nothing, |text| Place::Text(kind, text))
}

fn decode(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}
