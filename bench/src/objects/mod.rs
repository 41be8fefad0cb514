//! Objects beside garage and Ceph's RGW, one client for all: small ones written, read and listed; and big ones beside the
//! disk itself. Every side answers a write only after it is on the disk, and how often each asks the disk for that is
//! counted.
//!
//! Not equal, in the peers' favour: they speak without TLS, and their callers are not looked up in a cloud.

mod big;
mod caller;
mod garage;
mod listing;
mod rgw;
mod small;
mod syncs;

use std::sync::Arc;

use crate::Result;
use crate::cloud::Cloud;
use crate::line::Endpoint;
use crate::report::Row;
use garage::Garage;
use rgw::Rgw;

const BUCKET: &str = "bench";

/// A side to be measured.
#[derive(Clone)]
struct Side {
    name: &'static str,
    endpoint: Arc<Endpoint>,
    /// Those that write.
    pids: Vec<u32>,
}

/// A peer, and what small objects are to be in multiples of its own: PUT, GET and LIST.
struct Peer {
    side: Side,
    goals: [Option<f64>; 3],
}

/// How much is done: all of it, or a little to see that everything runs.
#[derive(Clone, Copy)]
struct Extent {
    pairs: usize,
    each_ms: u64,
    listed: usize,
}

impl Extent {
    /// `CORTEN_BENCH_SMALL` is set where somebody tries the measurement itself.
    fn chosen() -> Self {
        if std::env::var_os("CORTEN_BENCH_SMALL").is_some() {
            Self { pairs: 2, each_ms: 500, listed: 2_500 }
        } else {
            Self { pairs: 5, each_ms: 3_000, listed: 100_000 }
        }
    }
}

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let extent = Extent::chosen();
    let cloud = Cloud::up()?;
    cloud.corten(&["bucket", "create", BUCKET])?;
    let endpoint = Arc::new(Endpoint::of_cloud(&cloud, "s3")?);
    let ours = Side { name: "Corten", endpoint, pids: vec![cloud.pid()?] };
    let mut rows = Vec::new();
    // One peer at a time, so that none works while another is measured.
    match Garage::start().await {
        Ok(garage) => {
            let peer = Peer { side: garage.side.clone(), goals: [Some(5.0), Some(3.0), Some(10.0)] };
            rows.extend(beside(&ours, &peer, extent).await);
        }
        Err(e) => rows.push(Row::failed("objects beside garage", &e.to_string())),
    }
    match Rgw::start().await {
        Ok(rgw) => {
            let peer = Peer { side: rgw.side.clone(), goals: [Some(20.0), Some(3.0), Some(10.0)] };
            rows.extend(beside(&ours, &peer, extent).await);
        }
        Err(e) => rows.push(Row::failed("objects beside Ceph RGW", &e.to_string())),
    }
    rows.extend(big::measure(&ours, &cloud, extent).await?);
    Ok(rows)
}

/// All rows of one peer; one that cannot be measured does not take the others with it.
async fn beside(ours: &Side, peer: &Peer, extent: Extent) -> Vec<Row> {
    let name = peer.side.name;
    let mut rows = small::measure(ours, peer, extent)
        .await
        .unwrap_or_else(|e| vec![Row::failed(&format!("small objects beside {name}"), &e.to_string())]);
    rows.push(
        listing::measure(ours, peer, extent)
            .await
            .unwrap_or_else(|e| Row::failed(&format!("lists beside {name}"), &e.to_string())),
    );
    rows
}
