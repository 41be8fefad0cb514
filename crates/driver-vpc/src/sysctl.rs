//! Settings of the network namespace that the calling thread is in (proc(5), below /proc/sys/net).

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::VpcError;

/// Set before there are devices, which take `default` over. Forwarding comes first: turning it on resets others.
const OF_A_VPC: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
    // What a socket accepts keeps the mark of the first packet, which names the port it came in by.
    ("ipv4/tcp_fwmark_accept", "1"),
    // Sources are checked per port by the filter, which also knows ports that may send from any.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/default/proxy_arp", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv6/conf/all/proxy_ndp", "1"),
    ("ipv6/conf/default/proxy_ndp", "1"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    // No link-local addresses but those we set.
    ("ipv6/conf/default/addr_gen_mode", "1"),
];

pub(crate) fn prepare_vpc() -> Result<(), VpcError> {
    OF_A_VPC.iter().try_for_each(|(name, value)| set(name, value))
}

/// Connections that begin from now on are counted.
pub(crate) fn count_flows() -> Result<(), VpcError> {
    set("netfilter/nf_conntrack_acct", "1")
}

/// A device of the host's answers for IPv6 addresses of others.
pub(crate) fn answer_for_others(device: &str) -> Result<(), VpcError> {
    set(&format!("ipv6/conf/{device}/proxy_ndp"), "1")
}

/// What the host's own namespace needs to pass on packets of an uplink.
pub(crate) fn prepare_host(with_ipv6: bool) -> Result<(), VpcError> {
    set("ipv4/ip_forward", "1")?;
    if !with_ipv6 || read("ipv6/conf/all/forwarding").as_deref() == Some("1") {
        return Ok(());
    }
    // A host that forwards stops listening to router advertisements unless it is told twice.
    let devices = std::fs::read_dir(path("ipv6/conf")).into_iter().flatten().flatten();
    for device in devices.filter_map(|entry| entry.file_name().into_string().ok()) {
        let listens = format!("ipv6/conf/{device}/accept_ra");
        if read(&listens).as_deref() == Some("1") {
            set(&listens, "2")?;
        }
    }
    set("ipv6/conf/all/forwarding", "1")
}

/// A namespace that bridges has no addresses, and answers for nobody.
pub(crate) fn only_bridge() -> Result<(), VpcError> {
    set("ipv4/ip_forward", "0")?;
    set("ipv4/conf/default/proxy_arp", "0")?;
    set("ipv6/conf/all/disable_ipv6", "1")?;
    set("ipv6/conf/default/disable_ipv6", "1")
}

/// The containers' end of a port that was just made: it is told its addresses and takes none from advertisements.
pub(crate) fn ignore_advertisements(device: &str) -> Result<(), VpcError> {
    match write(&format!("ipv6/conf/{device}/accept_ra"), "0") {
        // A kernel without IPv6.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        written => written.map_err(VpcError::system(format!("have {device} ignore advertisements"))),
    }
}

/// Writes what differs. A kernel without IPv6 has none of its settings, which is no failure here.
fn set(name: &str, value: &str) -> Result<(), VpcError> {
    let found = read(name);
    if found.as_deref() == Some(value) || found.is_none() && name.starts_with("ipv6/") {
        return Ok(());
    }
    write(name, value).map_err(VpcError::system(format!("set net/{name} to {value}")))
}

fn write(name: &str, value: &str) -> io::Result<()> {
    // Never made where it is missing.
    File::options().write(true).open(path(name))?.write_all(value.as_bytes())
}

fn read(name: &str) -> Option<String> {
    std::fs::read_to_string(path(name)).ok().map(|value| value.trim().to_owned())
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(name)
}
