//! Networks of tenants: what packets pay for the filter, how soon a new network answers, and what changes cost on a host
//! that has much already. The driver itself, on hosts that are network namespaces; no API, no agent.

mod changes;
mod ends;
mod first;
mod overlay;
mod path;

use std::net::IpAddr;
use std::time::Duration;

use driver::VpcPlan;
use driver_vpc::lab::Lab;

use crate::Result;
use crate::report::Row;
use crate::store::{Spread, spread};

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let mut rows = path::measure().await?;
    rows.extend(first::measure().await?);
    rows.extend(changes::measure().await?);
    Ok(rows)
}

fn ms(durations: impl IntoIterator<Item = Duration>) -> Spread {
    spread(durations.into_iter().map(|duration| duration.as_secs_f64() * 1e3))
}

/// `3.2 ms (2.9 to 4.0)`.
fn milliseconds(spread: Spread) -> String {
    format!("{:.1} ms ({:.1} to {:.1})", spread.median, spread.min, spread.max)
}

/// Addresses of so many ports, from 10.0.1.0 on.
fn addresses(count: u16) -> impl Iterator<Item = IpAddr> {
    (0..count).map(|number| {
        let [high, low] = number.to_be_bytes();
        IpAddr::from([10, 0, high + 1, low])
    })
}

async fn ensure(lab: &Lab, host: usize, plan: &VpcPlan) -> Result<Duration> {
    let began = std::time::Instant::now();
    driver::NetworkDriver::ensure(&lab.hosts[host].driver, plan).await?;
    Ok(began.elapsed())
}

/// An image of one program that is all programs.
fn busybox() -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let script = "set -e; mkdir bin; cp \"$(command -v busybox)\" bin/busybox; ln -s busybox bin/sh; ln -s busybox bin/sleep; \
                  ln -s busybox bin/echo; tar -c bin";
    let output = std::process::Command::new("sh").args(["-c", script]).current_dir(folder.path()).output()?;
    if output.status.success() { Ok(output.stdout) } else { Err("busybox is not there".into()) }
}
