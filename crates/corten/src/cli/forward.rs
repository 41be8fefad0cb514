//! `corten forward`: TCP ports of a guest on the caller's own loopback, by way of the cloud.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use model::compute::{Instance, InstancePhase};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::api::Cloud;
use super::kind::{self, Target};
use super::{output, parse};
use crate::failure::Failure;

/// Connections at the same time, of all ports together.
const CONNECTIONS_MAX: usize = 256;
/// After an error of the listener that passes, such as too many open files.
const AGAIN: Duration = Duration::from_millis(100);

/// Reach TCP ports of an instance at ports of this machine's loopback, until Ctrl-C
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_parser = parse::instance)]
    name: String,
    /// The instance's port, here at the same number or at LOCAL; 0 is any free one
    #[arg(required = true, value_name = "[LOCAL:]REMOTE", value_parser = mapping)]
    ports: Vec<Mapping>,
    /// Carry one connection on standard input and output, as for ssh's ProxyCommand
    #[arg(long)]
    stdio: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mapping {
    local: u16,
    remote: u16,
}

fn mapping(text: &str) -> Result<Mapping, String> {
    let (local, remote) = text.split_once(':').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("{text:?} is not a port, 1 to 65535"));
    let mapping = Mapping { local: number(local)?, remote: number(remote)? };
    if mapping.remote == 0 { Err("the instance's port must be 1 to 65535".into()) } else { Ok(mapping) }
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    let instance = cloud.api::<Instance>().get(&args.name).await?;
    check_runs(&instance)?;
    if args.stdio {
        return on_stdio(&cloud, &args).await;
    }
    let mut listeners = Vec::new();
    for mapping in &args.ports {
        listeners.push((listen(mapping.local).await?, mapping.remote));
    }
    let mut told = String::new();
    for (listener, remote) in &listeners {
        let local = listener.local_addr().map_err(Failure::io("cannot listen"))?;
        // Writing to a String cannot fail.
        let _ = writeln!(told, "{local} -> {}:{remote}", args.name);
    }
    output::print(&told)?;
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = JoinSet::new();
    for (listener, remote) in listeners {
        let path = path(&cloud, &args.name, remote)?;
        tasks.spawn(serve(cloud.clone(), listener, path, Arc::clone(&slots)));
    }
    // The tasks go on for ever; what is open ends with this process.
    until_told_to_stop().await
}

async fn on_stdio(cloud: &Cloud, args: &Args) -> Result<(), Failure> {
    let [one] = args.ports.as_slice() else {
        return Err(Failure::usage("--stdio carries one port; name exactly one"));
    };
    let guest = open(cloud, &args.name, one.remote).await?;
    let (mut from_guest, mut to_guest) = tokio::io::split(guest);
    let up = async move {
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut to_guest).await;
        let _ = to_guest.shutdown().await;
    };
    // What the caller has still to say is of no use to a guest that has ended. The reader of standard input is a
    // thread that may wait for ever: the process does not.
    tokio::spawn(up);
    let _ = tokio::io::copy(&mut from_guest, &mut tokio::io::stdout()).await;
    std::process::exit(0);
}

/// A connection to a TCP port of an instance, by way of the cloud.
pub(super) async fn open(
    cloud: &Cloud,
    name: &str,
    port: u16,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, Failure> {
    Ok(cloud.https.upgrade(Method::POST, &path(cloud, name, port)?).await?)
}

fn check_runs(instance: &Instance) -> Result<(), Failure> {
    let name = &instance.metadata.name;
    match instance.status.phase {
        InstancePhase::Stopped | InstancePhase::Succeeded | InstancePhase::Failed => {
            Err(Failure::failed(format!("instance {name:?} does not run"))
                .hint(format!("`corten start {name}`")))
        }
        _ if instance.spec.networks.is_empty() => {
            Err(Failure::failed(format!("instance {name:?} is in no network"))
                .hint(format!("`corten exec {name} -- CMD` runs a program in it")))
        }
        _ => Ok(()),
    }
}

async fn listen(local: u16) -> Result<TcpListener, Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, local));
    TcpListener::bind(address).await.map_err(|e| {
        Failure::io(format!("cannot listen at {address}"))(e)
            .hint("name another port, as in 8080:80, or 0:80 for any")
    })
}

fn path(cloud: &Cloud, name: &str, remote: u16) -> Result<String, Failure> {
    let target = Target::new(kind::of::<Instance>(), name)?;
    Ok(format!("{}?port={remote}", cloud.path_below(target, "forward")))
}

async fn serve(cloud: Cloud, listener: TcpListener, path: String, slots: Arc<Semaphore>) {
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((caller, _)) = listener.accept().await else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let (cloud, path) = (cloud.clone(), path.clone());
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(failure) = carry(&cloud, caller, &path).await {
                eprintln!("{failure}");
            }
        });
    }
}

/// Both ways, until both sides have said all they have to say. That a side breaks off is its own affair.
async fn carry(cloud: &Cloud, mut caller: TcpStream, path: &str) -> Result<(), Failure> {
    let mut guest = cloud.https.upgrade(Method::POST, path).await?;
    let _ = tokio::io::copy_bidirectional(&mut caller, &mut guest).await;
    Ok(())
}

async fn until_told_to_stop() -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::io("signals cannot be awaited"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::io("signals cannot be awaited"))?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        for (text, local, remote) in [("80", 80, 80), ("8080:80", 8080, 80), ("0:22", 0, 22)] {
            assert_eq!(mapping(text), Ok(Mapping { local, remote }), "{text}");
        }
        for wrong in ["", "0", "80:0", "x:80", "80:", "70000", "1:2:3", "-1"] {
            assert!(mapping(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_run_is_said_first() {
        use model::ObjectMeta;
        use model::compute::{InstanceNetwork, InstanceSpec};
        let networks = vec![InstanceNetwork { subnet: "s".into(), ..InstanceNetwork::default() }];
        let spec = InstanceSpec { networks, ..InstanceSpec::default() };
        let mut instance = Instance::new(ObjectMeta::in_project("p", "web"), spec);
        instance.status.phase = InstancePhase::Running;
        assert_eq!(check_runs(&instance), Ok(()));
        instance.status.phase = InstancePhase::Stopped;
        assert_eq!(check_runs(&instance).unwrap_err().message, "instance \"web\" does not run");
        instance.status.phase = InstancePhase::Running;
        instance.spec.networks.clear();
        assert_eq!(check_runs(&instance).unwrap_err().message, "instance \"web\" is in no network");
    }
}
