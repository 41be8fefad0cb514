//! One list of 25,000 running instances, whole objects, over HTTPS.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use client::https::{Credential, Https};
use client::{Client, ListParams, Transport, Verb};
use model::compute::{ArtifactRole, Image, Instance, InstancePhase};
use model::{ApiError, Condition, ConditionStatus, Reason, set_condition};
use server::http::{Backups, Blobs, Duplex, Extensions, Face, HostGateway, Listener, StreamRequest, Upload};
use server::pki::Authority;
use server::{ADMIN_GROUP, Principal};
use tokio::io::AsyncRead;

use crate::Result;
use crate::plane::{self, Plane};
use crate::report::{Row, Verdict};
use crate::store::{Spread, spread};

const INSTANCES: usize = 25_000;
const TIMES: usize = 11;
const GOAL_MS: f64 = 60.0;
/// Published, for lists of as many virtual machines.
const CLOUDSTACK_MS: f64 = 11_800.0;
const OPENNEBULA_MS: f64 = 6_400.0;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let plane = Plane::start().await?;
    fill(&plane).await?;
    let authority = Arc::new(Authority::generate()?);
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), &authority).await?;
    let endpoint = format!("https://{}", listener.address());
    let administrator = authority.client_identity("admin", &[ADMIN_GROUP])?;
    let credential = Credential::Certificate { chain: administrator.certificate, key: administrator.key };
    let https = Https::new(&endpoint, &authority.servers.certificate, &credential)?;
    let extensions = Extensions {
        hosts: Arc::new(Nothing),
        blobs: Arc::new(Nothing),
        backups: Arc::new(Nothing),
        authority,
        foreign: Vec::new(),
    };
    let serving = tokio::spawn(listener.serve(Face::new(plane.server.clone(), extensions)));
    let measured = lists(&https).await;
    serving.abort();
    let (transfer, decoded, mib) = measured?;
    let ratio = |peer: f64| format!("{:.0}x", peer / transfer.median);
    Ok(vec![Row {
        what: format!("list of {INSTANCES} instances, whole objects ({mib:.0} MiB), over HTTPS"),
        corten: format!(
            "{:.0} ms ({:.0} to {:.0}); {:.0} ms as typed objects",
            transfer.median, transfer.min, transfer.max, decoded.median
        ),
        peer: "CloudStack 11.8 s, OpenNebula 6.4 s (published)".into(),
        ratio: format!("{}, {}", ratio(CLOUDSTACK_MS), ratio(OPENNEBULA_MS)),
        goal: "<= 60 ms".into(),
        verdict: Verdict::of(transfer.median <= GOAL_MS),
        note: format!(
            "{TIMES} lists, one page, from the request to the last byte of the answer, on a warm connection; server \
             and client share the cores. The instances are bound to simulated hosts and say Running. The peers' \
             numbers are their own, from other hardware."
        ),
    }])
}

/// Until the last byte, until decoded, in milliseconds; and the size in MiB.
async fn lists(https: &Https) -> Result<(Spread, Spread, f64)> {
    let instances = Client::new(Arc::new(https.clone())).all::<Instance>();
    let (mut transfers, mut decoded, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..TIMES {
        let started = Instant::now();
        let reply = https.call(instances.request(Verb::List, "")).await?;
        transfers.push(ms(started.elapsed()));
        bytes = reply.body.len();
    }
    for _ in 0..TIMES {
        let started = Instant::now();
        let list = instances.list(&ListParams::default()).await?;
        decoded.push(ms(started.elapsed()));
        if list.items.len() != INSTANCES {
            return Err(format!("the list has {} instances, not {INSTANCES}", list.items.len()).into());
        }
    }
    Ok((spread(transfers), spread(decoded), bytes as f64 / f64::from(1 << 20)))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

async fn fill(plane: &Plane) -> Result<()> {
    let scheduler = plane.server.client(Principal::component("bench"));
    plane
        .each(INSTANCES, |client, number| {
            let scheduler = scheduler.clone();
            async move {
                let name = format!("instance-{number:06}");
                client.project::<Instance>("default").create(&plane::instance(name.clone())).await?;
                let instances = scheduler.project::<Instance>("default");
                let binding = serde_json::json!({
                    "host": plane::host_name(number % 5_000),
                    "message": "chosen out of 5000 hosts",
                });
                let mut instance = instances.create_below(&name, "binding", &binding).await?;
                instance.status.phase = InstancePhase::Running;
                instance.status.observed_generation = 1;
                instance.status.driver = "oci".into();
                instance.status.addresses = vec![format!("10.0.{}.{}", number / 250, number % 250 + 1)];
                let ready = Condition::new("Ready", ConditionStatus::True, "Running", "all containers run");
                set_condition(&mut instance.status.conditions, ready, plane.now());
                instances.update_status(&instance).await?;
                Ok(())
            }
        })
        .await
}

/// No host and no image is behind this server.
struct Nothing;

fn nothing<T>() -> std::result::Result<T, ApiError> {
    Err(ApiError::new(Reason::ServiceUnavailable, "this server has no hosts"))
}

#[async_trait]
impl HostGateway for Nothing {
    async fn open(
        &self,
        _host: &str,
        _request: StreamRequest,
    ) -> std::result::Result<Pin<Box<dyn Duplex>>, ApiError> {
        nothing()
    }
}

#[async_trait]
impl Backups for Nothing {
    async fn read(
        &self,
        _: model::storage::VolumeBackup,
    ) -> std::result::Result<Pin<Box<dyn AsyncRead + Send>>, ApiError> {
        nothing()
    }

    async fn write(&self, _: model::storage::VolumeBackup, _: Upload) -> std::result::Result<(), ApiError> {
        nothing()
    }
}

#[async_trait]
impl Blobs for Nothing {
    async fn upload(&self, _: Image, _: ArtifactRole, _: Upload) -> std::result::Result<(), ApiError> {
        nothing()
    }

    async fn open(&self, _: &str) -> std::result::Result<(Pin<Box<dyn AsyncRead + Send>>, u64), ApiError> {
        nothing()
    }
}
