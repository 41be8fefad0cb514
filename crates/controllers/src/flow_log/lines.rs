//! From what a host has recorded to what a flow log says: which lines, and what of them. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::REGION;
use model::network::{FlowField, FlowLogSpec, FlowTraffic};

/// Of a port, what lines say of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) id: String,
    pub(super) subnet_id: String,
    pub(super) vpc_id: String,
    pub(super) instance_id: String,
    pub(super) addresses: Vec<IpAddr>,
}

/// What is to be written of a host's lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// With the line that names the fields before them.
    pub(super) lines: Vec<String>,
    /// When the last line ends that was looked at, in Unix seconds.
    pub(super) until: u64,
}

/// A line as hosts record it: in the words of AWS's version 2, and behind them the id of the interface and the name of its
/// subnet, as they were then.
struct Recorded<'a> {
    port: &'a str,
    end: u64,
    words: Vec<&'a str>,
    /// From a host that notes them.
    noted: Option<(&'a str, &'a str)>,
}

impl<'a> Recorded<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut words: Vec<&str> = line.split(' ').collect();
        let noted = match words.get(FlowField::DEFAULT.len()..)? {
            [] => None,
            [id, subnet] => Some((*id, *subnet)),
            _ => return None,
        };
        words.truncate(FlowField::DEFAULT.len());
        let of = |wanted: FlowField| FlowField::DEFAULT.iter().position(|field| *field == wanted);
        let port = words.get(of(FlowField::InterfaceId)?)?;
        let end = words.get(of(FlowField::End)?)?.parse().ok()?;
        Some(Self { port, end, words, noted })
    }

    fn word(&self, field: FlowField) -> &'a str {
        let at = FlowField::DEFAULT.iter().position(|known| *known == field);
        at.and_then(|at| self.words.get(at)).copied().unwrap_or("-")
    }

    /// That lines may be missing is said whatever is wanted.
    fn is_wanted(&self, traffic: FlowTraffic) -> bool {
        match (traffic, self.word(FlowField::Action)) {
            (FlowTraffic::All, _) | (_, "-") => true,
            (FlowTraffic::Accept, action) => action == "ACCEPT",
            (FlowTraffic::Reject, action) => action == "REJECT",
        }
    }

    fn say(&self, field: FlowField, version: u8, account: &str, interface: &Interface) -> String {
        let destination: Option<IpAddr> = self.word(FlowField::Dstaddr).parse().ok();
        let known = |word: &String| if word.is_empty() { "-".into() } else { word.clone() };
        match field {
            FlowField::Version => version.to_string(),
            FlowField::AccountId => account.to_owned(),
            FlowField::InterfaceId => interface.id.clone(),
            FlowField::VpcId => known(&interface.vpc_id),
            FlowField::SubnetId => known(&interface.subnet_id),
            FlowField::InstanceId => known(&interface.instance_id),
            FlowField::Region => REGION.into(),
            FlowField::Type => match destination {
                Some(address) if address.is_ipv4() => "IPv4".into(),
                Some(_) => "IPv6".into(),
                None => "-".into(),
            },
            FlowField::FlowDirection => match destination {
                Some(_) if interface.addresses.is_empty() => "-".into(),
                Some(address) if interface.addresses.contains(&address) => "ingress".into(),
                Some(_) => "egress".into(),
                None => "-".into(),
            },
            _ => self.word(field).to_owned(),
        }
    }
}

/// What is known of whom lines may be about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The name of the Vpc, and its id.
    pub(super) vpc: String,
    pub(super) vpc_id: String,
    /// Ports that there are and that the log covers, by their names.
    pub(super) interfaces: BTreeMap<String, Interface>,
    /// Ids by the subnets' names.
    pub(super) subnets: BTreeMap<String, String>,
}

impl Known {
    /// Whom a line is about, where the log covers it. Of a port that is gone only what its host noted is known.
    fn interface(&self, log: &FlowLogSpec, line: &Recorded<'_>) -> Option<Interface> {
        if let Some(interface) = self.interfaces.get(line.port) {
            return Some(interface.clone());
        }
        let (id, subnet) = line.noted.filter(|(_, subnet)| log.covers(line.port, subnet, &self.vpc))?;
        let subnet_id = self.subnets.get(subnet).cloned().unwrap_or_default();
        let vpc_id = self.vpc_id.clone();
        Some(Interface { id: id.to_owned(), subnet_id, vpc_id, ..Interface::default() })
    }
}

/// Of a host's lines those that end later than `after`, of ports that the log covers.
pub(super) fn tell(log: &FlowLogSpec, account: &str, known: &Known, recorded: &str, after: u64) -> Told {
    let fields = log.line();
    let version = fields.iter().map(|field| field.since()).max().unwrap_or(2);
    let mut told = Told { until: after, ..Told::default() };
    for line in recorded.lines().filter_map(Recorded::read).filter(|line| line.end > after) {
        told.until = told.until.max(line.end);
        let interface = known.interface(log, &line).filter(|_| line.is_wanted(log.traffic));
        let Some(interface) = interface else { continue };
        let words: Vec<String> =
            fields.iter().map(|field| line.say(*field, version, account, &interface)).collect();
        told.lines.push(words.join(" "));
    }
    if !told.lines.is_empty() {
        let names: Vec<&str> = fields.iter().map(|field| field.as_str()).collect();
        told.lines.insert(0, names.join(" "));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = "\
2 team web-0 10.0.0.10 10.0.0.20 40000 80 6 3 300 100 160 ACCEPT OK
2 team web-0 10.0.0.20 10.0.0.10 80 40000 6 2 200 100 160 ACCEPT OK
2 team db-0 10.0.0.9 10.0.0.30 1 22 6 1 60 100 160 REJECT OK
2 team gone-0 10.0.0.9 10.0.0.31 1 22 6 1 60 100 160 REJECT OK
2 team went-0 10.0.0.9 10.0.0.32 1 22 6 1 60 100 160 REJECT OK eni-3 web
2 team web-0 10.0.0.9 10.0.0.10 1 23 6 1 60 160 220 REJECT OK
2 team web-0 - - - - - - - 160 220 - SKIPDATA
a line that is cut of
";

    fn known() -> Known {
        let interface = |id: &str, address: &str| Interface {
            id: id.into(),
            subnet_id: "subnet-1".into(),
            vpc_id: "vpc-1".into(),
            instance_id: "i-1".into(),
            addresses: vec![address.parse().unwrap()],
        };
        let mut interfaces = BTreeMap::from([("web-0".to_owned(), interface("eni-1", "10.0.0.10"))]);
        let alone = Interface { instance_id: String::new(), ..interface("eni-2", "10.0.0.30") };
        interfaces.insert("db-0".into(), alone);
        let subnets = BTreeMap::from([("web".to_owned(), "subnet-1".to_owned())]);
        Known { vpc: "main".into(), vpc_id: "vpc-1".into(), interfaces, subnets }
    }

    fn told(log: &FlowLogSpec, after: u64) -> (Vec<String>, u64) {
        let Told { lines, until } = tell(log, "012345678901", &known(), RECORDED, after);
        (lines, until)
    }

    const HEAD: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes \
                        start end action log-status";

    #[test]
    fn lines_are_told_once_and_in_the_words_of_aws() {
        let log = FlowLogSpec::default();
        let (lines, until) = told(&log, 160);
        assert_eq!(until, 220);
        assert_eq!(
            lines,
            [
                HEAD,
                "2 012345678901 eni-1 10.0.0.9 10.0.0.10 1 23 6 1 60 160 220 REJECT OK",
                "2 012345678901 eni-1 - - - - - - - 160 220 - SKIPDATA",
            ]
        );
        assert_eq!(told(&log, 220), (Vec::new(), 220), "nothing is new");
        assert_eq!(
            told(&log, 0).0.len(),
            6,
            "of a port that is gone, and of which nothing is noted, nothing is said"
        );
    }

    #[test]
    fn a_port_that_is_gone_is_told_by_what_was_noted() {
        let line = "2 012345678901 eni-3 10.0.0.9 10.0.0.32 1 22 6 1 60 100 160 REJECT OK";
        let tells = |log: FlowLogSpec| told(&log, 0).0.iter().any(|told| told == line);
        assert!(tells(FlowLogSpec { vpc: "main".into(), ..FlowLogSpec::default() }));
        assert!(tells(FlowLogSpec { subnet: "web".into(), ..FlowLogSpec::default() }));
        assert!(tells(FlowLogSpec { port: "went-0".into(), ..FlowLogSpec::default() }));
        assert!(!tells(FlowLogSpec { subnet: "other".into(), ..FlowLogSpec::default() }));
        let fields = ["instance-id", "subnet-id", "vpc-id", "flow-direction"];
        let fields = fields.iter().filter_map(|word| FlowField::named(word)).collect();
        let lines = told(&FlowLogSpec { subnet: "web".into(), fields, ..FlowLogSpec::default() }, 0).0;
        assert!(lines.contains(&"- subnet-1 vpc-1 -".to_owned()), "{lines:?}");
    }

    #[test]
    fn what_is_wanted_is_told() {
        let log = |traffic| FlowLogSpec { traffic, ..FlowLogSpec::default() };
        let actions = |traffic| {
            let lines = told(&log(traffic), 0).0;
            let word = |line: &String| line.rsplit(' ').nth(1).unwrap_or_default().to_owned();
            lines.iter().skip(1).map(word).collect::<Vec<_>>()
        };
        assert_eq!(actions(FlowTraffic::Accept), ["ACCEPT", "ACCEPT", "-"]);
        assert_eq!(actions(FlowTraffic::Reject), ["REJECT", "REJECT", "-"]);
    }

    #[test]
    fn a_line_says_what_it_is_asked_for() {
        let words =
            ["dstport", "instance-id", "flow-direction", "type", "vpc-id", "subnet-id", "region", "version"];
        let fields = words.iter().filter_map(|word| FlowField::named(word)).collect();
        let log = FlowLogSpec { fields, ..FlowLogSpec::default() };
        let lines = told(&log, 0).0;
        assert_eq!(lines[0], words.join(" "));
        assert_eq!(lines[1], "80 i-1 egress IPv4 vpc-1 subnet-1 my-corten-1 5");
        assert_eq!(lines[2], "40000 i-1 ingress IPv4 vpc-1 subnet-1 my-corten-1 5");
        assert_eq!(lines[3], "22 - ingress IPv4 vpc-1 subnet-1 my-corten-1 5");
        assert_eq!(lines[5], "- i-1 - - vpc-1 subnet-1 my-corten-1 5");
    }
}
