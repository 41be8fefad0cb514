//! Finds the records that answer a question in the directory, following aliases from zone to zone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::Query;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, NULL, PTR, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::directory::Directory;
use crate::zone::{Entry, RecordData, absolute};

/// Aliases that are followed in one answer; more are a loop.
const ALIASES_MAX: usize = 8;
/// Records of one answer.
const RECORDS_MAX: usize = 256;
/// Of names that exist by rule: addresses' own and localhost.
const FIXED_TTL: u32 = 60;

/// How a lookup ended. The names are those of zones, for negative answers.
#[derive(Debug)]
pub(super) enum Finding {
    Found,
    NoData(String),
    NoName(String),
    /// The name is not ours to answer.
    Outside(Name),
    Loop,
}

pub(super) fn look_up(directory: &Directory, question: &Query) -> (Vec<Record>, Finding) {
    let mut records = Vec::new();
    // Aliases are answered under the name that was asked, in its own letters (RFC 1035 leaves case to the asker).
    let mut name = question.name.clone();
    for _ in 0..=ALIASES_MAX {
        match look_up_one(directory, &name, question.query_type, &mut records) {
            Next::Done(finding) => return (records, finding),
            Next::Follow(target) => name = target,
        }
    }
    (Vec::new(), Finding::Loop)
}

enum Next {
    Done(Finding),
    Follow(Name),
}

fn look_up_one(directory: &Directory, name: &Name, kind: RecordType, records: &mut Vec<Record>) -> Next {
    let text = text_of(name);
    let Some(zone) = directory.zone_of(&text) else {
        return Next::Done(by_rule(directory, name, &text, kind, records));
    };
    let Some(entries) = zone.find(&text) else {
        return Next::Done(Finding::NoName(zone.name().to_owned()));
    };
    if let [Entry { ttl, data: RecordData::Cname(target) }] = entries
        && !matches!(kind, RecordType::CNAME | RecordType::ANY)
    {
        let Some(target) = absolute(target) else {
            return Next::Done(Finding::Loop);
        };
        records.push(Record::from_rdata(name.clone(), *ttl, RData::CNAME(CNAME(target.clone()))));
        return Next::Follow(target);
    }
    let before = records.len();
    let room = RECORDS_MAX.saturating_sub(before);
    let wanted = |entry: &Entry| {
        let data = rdata(&entry.data)?;
        (kind == RecordType::ANY || data.record_type() == kind)
            .then(|| Record::from_rdata(name.clone(), entry.ttl, data))
    };
    records.extend(entries.iter().filter_map(wanted).take(room));
    let is_found = records.len() > before;
    Next::Done(if is_found { Finding::Found } else { Finding::NoData(zone.name().to_owned()) })
}

/// Names that no zone has and that are answered by rule: reverse names, and names that must not leave a site
/// (RFC 6761, 6762, 7686).
fn by_rule(
    directory: &Directory,
    name: &Name,
    text: &str,
    kind: RecordType,
    records: &mut Vec<Record>,
) -> Finding {
    let last = text.rsplit('.').next().unwrap_or_default();
    match last {
        "arpa" => reverse(directory, name, text, kind, records),
        "localhost" => {
            let data = match kind {
                RecordType::A => RData::A(A(Ipv4Addr::LOCALHOST)),
                RecordType::AAAA => RData::AAAA(AAAA(Ipv6Addr::LOCALHOST)),
                _ => return Finding::NoData(last.to_owned()),
            };
            records.push(Record::from_rdata(name.clone(), FIXED_TTL, data));
            Finding::Found
        }
        "local" | "invalid" | "onion" => Finding::NoName(last.to_owned()),
        _ => Finding::Outside(name.clone()),
    }
}

fn reverse(
    directory: &Directory,
    name: &Name,
    text: &str,
    kind: RecordType,
    records: &mut Vec<Record>,
) -> Finding {
    let mut full = name.clone();
    full.set_fqdn(true);
    let Ok(net) = full.parse_arpa_name() else {
        return Finding::Outside(name.clone());
    };
    let address: IpAddr = net.addr();
    let is_whole = net.prefix_len() == net.max_prefix_len();
    let host = directory.reverse.get(&address).filter(|_| is_whole).and_then(|host| absolute(host));
    match host {
        Some(host) if matches!(kind, RecordType::PTR | RecordType::ANY) => {
            records.push(Record::from_rdata(name.clone(), FIXED_TTL, RData::PTR(PTR(host))));
            Finding::Found
        }
        Some(_) => Finding::NoData(text.to_owned()),
        None if directory.networks.iter().any(|own| own.contains(&net)) => {
            // Parts of a network's name exist, whole addresses that nobody has do not.
            if is_whole { Finding::NoName(text.to_owned()) } else { Finding::NoData(text.to_owned()) }
        }
        None => Finding::Outside(name.clone()),
    }
}

fn rdata(data: &RecordData) -> Option<RData> {
    Some(match data {
        RecordData::A(address) => RData::A(A(*address)),
        RecordData::Aaaa(address) => RData::AAAA(AAAA(*address)),
        RecordData::Cname(target) => RData::CNAME(CNAME(absolute(target)?)),
        RecordData::Ptr(target) => RData::PTR(PTR(absolute(target)?)),
        RecordData::Txt(pieces) => RData::TXT(TXT::new(pieces.clone())),
        RecordData::Mx { preference, exchange } => RData::MX(MX::new(*preference, absolute(exchange)?)),
        RecordData::Srv { priority, weight, port, target } => {
            RData::SRV(SRV::new(*priority, *weight, *port, absolute(target)?))
        }
        RecordData::Ns(host) => RData::NS(NS(absolute(host)?)),
        RecordData::Caa { flags, tag, value } => {
            let length = u8::try_from(tag.len()).ok()?;
            let bytes = [&[*flags, length], tag.as_bytes(), value.as_bytes()].concat();
            RData::Unknown { code: RecordType::CAA, rdata: NULL::with(bytes) }
        }
    })
}

/// Lower case, without the dot at the end, as zones keep names. Odd bytes come out escaped and match no zone's.
fn text_of(name: &Name) -> String {
    let mut text = name.to_ascii().to_ascii_lowercase();
    if text.ends_with('.') {
        text.pop();
    }
    text
}
