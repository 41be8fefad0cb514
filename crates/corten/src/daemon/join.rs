//! `join`: makes this machine a host of a cloud that runs elsewhere, and from then on runs its agent.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::{Agent, AgentOptions, Images, Machine};
use client::Client;
use client::https::{Credential, Https, full};
use http_body_util::BodyExt;
use model::{ApiError, Timestamp};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use server::{Environment, Membership, SystemEnvironment};

use super::layout::{claim, write_file};
use super::remote::{RemoteBlobs, StreamListener};
use super::{Layout, drivers, endpoints, logs, runtime, serve, underlay};
use crate::failure::Failure;

const PREDECESSOR_GONE_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Joins with the token the first time; later starts use what was given then. Runs until told to stop.
pub(crate) fn join(
    url: &str,
    token: &str,
    name: Option<String>,
    own_underlay: Option<IpAddr>,
    data: PathBuf,
) -> Result<(), Failure> {
    let layout = Layout::prepare(&data)?;
    logs::to_stderr();
    // Held until this process ends, however it ends.
    let _alone = alone(&layout)?;
    claim(&layout)?;
    runtime()?.block_on(async {
        let membership = match load(&layout)? {
            Some(membership) => membership,
            None => apply(&layout, url, token, name).await?,
        };
        run(&layout, url, own_underlay, membership).await
    })
}

/// Two agents of one host would both start its guests. A predecessor that was just killed may hold the folder a
/// moment longer.
fn alone(layout: &Layout) -> Result<Flock<File>, Failure> {
    let path = layout.membership().with_extension("lock");
    let failed = |e: std::io::Error| Failure::failed(format!("{}: {e}", path.display()));
    let deadline = Instant::now() + PREDECESSOR_GONE_WITHIN;
    let mut file = File::options().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((again, Errno::EWOULDBLOCK)) if Instant::now() < deadline => {
                file = again;
                std::thread::sleep(LOOK_EVERY);
            }
            Err((_, Errno::EWOULDBLOCK)) => {
                let root = layout.root().display();
                return Err(Failure::failed(format!("the host in {root} is already run by another process"))
                    .hint("end that one with `corten down --data`, or name another folder"));
            }
            Err((_, e)) => return Err(failed(e.into())),
        }
    }
}

fn load(layout: &Layout) -> Result<Option<Membership>, Failure> {
    let path = layout.membership();
    let unusable = |e: &dyn std::fmt::Display| Failure::failed(format!("{}: {e}", path.display()));
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| unusable(&e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unusable(&e)),
    }
}

/// Presents the token. It carries the fingerprint of the cloud's authority behind a colon.
async fn apply(layout: &Layout, url: &str, token: &str, name: Option<String>) -> Result<Membership, Failure> {
    let Some((secret, fingerprint)) = token.split_once(':') else {
        return Err(Failure::usage(
            "the token is not complete; `corten host token` prints TOKEN:FINGERPRINT",
        ));
    };
    let ca = client::pin::authority(url, fingerprint).await?;
    let https = Https::new(url, &ca, &Credential::None).map_err(|e| Failure::usage(e.to_string()))?;
    let wish = serde_json::json!({
        "token": secret,
        "name": name.unwrap_or_else(serve::host_name),
        "address": own_address(url)?,
    });
    let request = http::Request::post("/join").body(full(wish.to_string()));
    let request = request.map_err(|e| Failure::usage(e.to_string()))?;
    let answer = https.send(request).await?.into_body().collect().await;
    let answer = answer.map_err(|e| Failure::failed(format!("the answer was cut off: {e}")))?.to_bytes();
    let membership: Membership = serde_json::from_slice(&answer)
        .map_err(|e| Failure::failed(format!("the answer cannot be read: {e}")))?;
    write_file(&layout.membership(), &answer, 0o600)
        .map_err(|e| Failure::failed(format!("{}: {e}", layout.membership().display())))?;
    Ok(membership)
}

async fn run(
    layout: &Layout,
    url: &str,
    own_underlay: Option<IpAddr>,
    membership: Membership,
) -> Result<(), Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::failed(e.to_string());
    let environment = SystemEnvironment::new();
    let incarnation = environment.uid().to_string();
    let now: Arc<dyn Fn() -> Timestamp + Send + Sync> = Arc::new(move || environment.now());
    let credential = Credential::Certificate {
        chain: membership.client.certificate.clone(),
        key: membership.client.key.clone(),
    };
    let https = Https::new(url, &membership.servers_ca, &credential).map_err(|e| failed(&e))?;
    let client = Client::new(Arc::new(https.clone()));
    let cache = Arc::new(image::Cache::open(layout.images()).map_err(|e| failed(&e))?);
    let own = own_address(url)?;
    let listener = StreamListener::bind(SocketAddr::new(own, 0), &membership).await?;
    let options = AgentOptions {
        host: membership.name.clone(),
        images: Images::new(
            cache,
            layout.layers(),
            Arc::new(RemoteBlobs::new(https.clone())),
            client.clone(),
        ),
        client,
        drivers: drivers::all(layout),
        volumes: Some(drivers::volumes(layout, &membership.name)),
        network: drivers::network(
            layout,
            underlay::of_joined(own_underlay, own)?,
            underlay::addresses_of(authority(url))?,
            Arc::new(endpoints::There::new(https)),
            &membership.servers_ca,
        ),
        instances_dir: layout.instances(),
        endpoint: listener.address().to_string(),
        incarnation,
        machine: {
            let root = layout.root().to_owned();
            Arc::new(move || Machine::read(&root))
        },
        now,
    };
    let _quick_moves = drivers::quick_moves(layout);
    let agent = start(options).await?;
    tracing::info!(host = membership.name, url, "joined");
    let serving = tokio::spawn(listener.serve(agent.streams()));
    serve::wait_for_signal().await?;
    serving.abort();
    Ok(())
}

async fn start(options: AgentOptions) -> Result<Agent, Failure> {
    Agent::start(options).await.map_err(|e: ApiError| e.into())
}

/// The address of this machine that the server sees: the one from which it is called.
fn own_address(url: &str) -> Result<IpAddr, Failure> {
    let authority = authority(url);
    underlay::towards(authority).map_err(|e| Failure::failed(format!("no way to {authority}: {e}")))
}

fn authority(url: &str) -> &str {
    url.strip_prefix("https://").unwrap_or(url).trim_end_matches('/')
}
