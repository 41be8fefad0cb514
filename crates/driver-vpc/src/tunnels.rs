//! Who may send into the overlay of a VPC: hosts that have a part of it. A table of its own in the host's namespace,
//! shared by all VPCs of one cloud; what other clouds and programs do at the same UDP port is left alone. Works in the
//! host's namespace, one caller at a time.

use std::collections::BTreeSet;
use std::net::IpAddr;

use driver::VpcPlan;
use nft::{
    Actual, Base, ChainKind, Connection, Difference, Element, Family, Field, Hook, KeyType, Policy, Rule,
    Set, Table, key,
};

use crate::VpcOptions;
use crate::error::VpcError;
use crate::layout::other_hosts;

/// As of the host's other table.
const PRIORITY: i32 = -10;
const NETWORKS: &str = "networks";
const HOSTS: [&str; 2] = ["hosts4", "hosts6"];
const UDP: u8 = 17;

/// Lets the plan's hosts in, and nobody else.
pub(crate) fn ensure(options: &VpcOptions, plan: &VpcPlan) -> Result<(), VpcError> {
    let vni = plan.underlay.map(|_| plan.vni);
    let hosts = other_hosts(plan).collect();
    let (mut connection, wanted, actual) = read(options, plan.vni, vni, &hosts)?;
    if vni.is_none() && !actual.exists {
        return Ok(());
    }
    commit(&mut connection, &wanted, &actual)
}

/// What differs from the plan.
pub(crate) fn difference(options: &VpcOptions, plan: &VpcPlan) -> Result<Difference, VpcError> {
    let vni = plan.underlay.map(|_| plan.vni);
    let hosts = other_hosts(plan).collect();
    let (_, wanted, actual) = read(options, plan.vni, vni, &hosts)?;
    if vni.is_none() && !actual.exists {
        return Ok(Difference::default());
    }
    Ok(wanted.difference(&actual))
}

/// Forgets an overlay, and the table with the last one.
pub(crate) fn remove(options: &VpcOptions, vni: u32) -> Result<(), VpcError> {
    let (mut connection, wanted, actual) = read(options, vni, None, &BTreeSet::new())?;
    if !actual.exists {
        return Ok(());
    }
    if wanted.sets.get(NETWORKS).is_none_or(|set| set.elements.is_empty()) {
        return delete(&mut connection, options);
    }
    commit(&mut connection, &wanted, &actual)
}

/// Forgets all overlays, also those whose devices were gone before they could be asked for their numbers.
pub(crate) fn clear(options: &VpcOptions) -> Result<(), VpcError> {
    let mut connection = Connection::open()?;
    let tables = connection.tables().map_err(VpcError::filter("list the host's tables"))?;
    if tables.contains(&(Family::Inet, table_name(options))) {
        return delete(&mut connection, options);
    }
    Ok(())
}

fn delete(connection: &mut Connection, options: &VpcOptions) -> Result<(), VpcError> {
    let mut batch = nft::Batch::new();
    batch.delete_table(Family::Inet, &table_name(options));
    connection.commit(&batch).map_err(VpcError::filter("clear the host's table of overlays"))
}

fn table_name(options: &VpcOptions) -> String {
    format!("corten-{}-overlays", options.tag)
}

fn commit(connection: &mut Connection, wanted: &Table, actual: &Actual) -> Result<(), VpcError> {
    let difference = wanted.difference(actual);
    connection.commit(&difference.batch).map_err(VpcError::filter("write the host's table of overlays"))
}

/// The table as it should be and as it is. Of other overlays the kernel knows best; `own` is replaced by `vni`.
fn read(
    options: &VpcOptions,
    own: u32,
    vni: Option<u32>,
    hosts: &BTreeSet<IpAddr>,
) -> Result<(Connection, Table, Actual), VpcError> {
    let name = table_name(options);
    let mut connection = Connection::open()?;
    let actual = Actual::read(&mut connection, Family::Inet, &name)
        .map_err(VpcError::filter("read the host's table of overlays"))?;
    let own = number(own);
    let others = |set: &str| {
        let elements: Vec<Element> =
            actual.elements(set).filter(|element| !element.key.starts_with(&own)).cloned().collect();
        elements
    };
    let mut table = Table::new(Family::Inet, name);
    let network = vni.map(|vni| Element::new(&number(vni)[..]));
    table.set(Set::new(NETWORKS, &[KeyType::Mark]), others(NETWORKS).into_iter().chain(network));
    for ((set, key_type), v4) in
        HOSTS.into_iter().zip([KeyType::Ipv4Address, KeyType::Ipv6Address]).zip([true, false])
    {
        let members = hosts.iter().filter(|host| host.is_ipv4() == v4 && vni.is_some());
        let members = members.map(|host| Element::new([&own[..], &key([(*host).into()])].concat()));
        let elements = others(set).into_iter().chain(members);
        table.set(Set::new(set, &[KeyType::Mark, key_type]), elements);
    }
    let base =
        Base { kind: ChainKind::Filter, hook: Hook::Input, priority: PRIORITY, policy: Policy::Accept };
    table.base_chain("input", base, input(options.vxlan_port));
    Ok((connection, table, actual))
}

fn input(vxlan_port: u16) -> Vec<Rule> {
    let tunnel = |rule: Rule| rule.protocol(UDP).equal(Field::DestinationPort, vxlan_port);
    // What comes most often is asked about once.
    let known =
        |family: Rule, source, hosts| tunnel(family).in_set(&[Field::VxlanNetwork, source], hosts).accept();
    let stranger = tunnel(Rule::new()).in_set(&[Field::VxlanNetwork], NETWORKS);
    vec![
        known(Rule::new().ipv4(), Field::Ip4Source, HOSTS[0]),
        known(Rule::new().ipv6(), Field::Ip6Source, HOSTS[1]),
        stranger.drop().comment("no host of this network"),
    ]
}

/// As [`Field::VxlanNetwork`] has it: three bytes, and one that is zero.
fn number(vni: u32) -> [u8; 4] {
    (vni << 8).to_be_bytes()
}
