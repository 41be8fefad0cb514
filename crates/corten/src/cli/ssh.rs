//! `corten ssh`: the system's ssh, with the caller's own key, to where the guest is reached.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use model::compute::{Instance, InstancePhase, Isolation};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

use super::api::Cloud;
use super::{forward, key, parse};
use crate::failure::Failure;

/// How long the guest may take until its ssh server answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long one connection may take to say that it is ssh.
const BANNER_WITHIN: Duration = Duration::from_secs(5);

/// Where guests listen.
const SSH: u16 = 22;

/// Log in to an instance, or run one command in it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The instance, or USER@NAME; root when no user is named
    #[arg(value_name = "NAME", value_parser = destination)]
    to: Destination,
    /// The command; a shell when not given
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Who at which instance.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Destination {
    user: String,
    instance: String,
}

/// How the instance's ssh server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Through the cloud, into the instance's network, from wherever the cloud is reached.
    Cloud,
    /// At a port of this host's loopback, for an instance in no network.
    Loopback(SocketAddr),
}

/// Becomes ssh; comes back only when that is impossible.
pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    let name = &args.to.instance;
    let silent = |_| {
        let seconds = ANSWER_WITHIN.as_secs();
        Failure::timed_out(format!("instance {name:?} does not answer ssh after {seconds} s"))
            .hint(format!("`corten logs {name}` and `corten explain instance/{name}` say more"))
    };
    let way = tokio::time::timeout(ANSWER_WITHIN, answering(&cloud, name)).await.map_err(silent)??;
    let key = key::private_key(&cloud.global.data)?;
    let mut ssh = Command::new("ssh");
    ssh.arg("-i").arg(key).args(["-l", &args.to.user]);
    // Guests come and go under the same names with other keys; the way to them is the cloud's own.
    for option in ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"] {
        ssh.args(["-o", option]);
    }
    match way {
        Way::Loopback(address) => {
            ssh.args(["-p", &address.port().to_string(), "--"]).arg(address.ip().to_string());
        }
        Way::Cloud => {
            let program = std::env::current_exe().map_err(Failure::io("this program cannot be found"))?;
            let program = program.display().to_string().replace('%', "%%").replace('\'', r"'\''");
            ssh.args(["-o", &format!("ProxyCommand='{program}' forward --stdio {name} {SSH}")]);
            ssh.envs(cloud.global.variables()).arg("--").arg(name);
        }
    }
    ssh.args(&args.command);
    Err(Failure::failed(format!("cannot run ssh: {}", ssh.exec())).hint("install the package openssh-client"))
}

/// Waits until an ssh server answers where the instance is reached.
async fn answering(cloud: &Cloud, name: &str) -> Result<Way, Failure> {
    let api = cloud.api::<Instance>();
    loop {
        let instance = api.get(name).await?;
        if let Some(way) = reached(&instance)?
            && speaks_ssh(cloud, name, way).await
        {
            return Ok(way);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How the instance is reached; nothing while that is still to be decided.
fn reached(instance: &Instance) -> Result<Option<Way>, Failure> {
    let name = &instance.metadata.name;
    let in_network = !instance.spec.networks.is_empty();
    match instance.status.phase {
        _ if !matches!(instance.spec.isolation, Isolation::Vm | Isolation::MicroVm) => {
            Err(Failure::failed(format!("instance {name:?} is no virtual machine and has no ssh server"))
                .hint(format!("`corten exec {name} -- CMD` runs a program in it")))
        }
        InstancePhase::Stopped | InstancePhase::Succeeded | InstancePhase::Failed => {
            Err(Failure::failed(format!("instance {name:?} does not run"))
                .hint(format!("`corten start {name}`")))
        }
        InstancePhase::Paused => Err(Failure::failed(format!("instance {name:?} is paused"))
            .hint(format!("`corten resume {name}` lets it go on"))),
        InstancePhase::Running if in_network => Ok(Some(Way::Cloud)),
        InstancePhase::Running if instance.status.ssh_endpoint.is_empty() => {
            Err(Failure::failed(format!("instance {name:?} cannot be reached by ssh from here"))
                .hint(format!("`corten console {name}` attaches to its console")))
        }
        _ => Ok(instance.status.ssh_endpoint.parse().ok().map(Way::Loopback)),
    }
}

async fn speaks_ssh(cloud: &Cloud, name: &str, way: Way) -> bool {
    let greeting = async {
        match way {
            Way::Loopback(address) => greets(TcpStream::connect(address).await.ok()?).await,
            Way::Cloud => greets(forward::open(cloud, name, SSH).await.ok()?).await,
        }
    };
    matches!(tokio::time::timeout(BANNER_WITHIN, greeting).await, Ok(Some(())))
}

async fn greets(mut server: impl AsyncRead + Unpin) -> Option<()> {
    let mut banner = [0; 4];
    server.read_exact(&mut banner).await.ok()?;
    (&banner == b"SSH-").then_some(())
}

fn destination(text: &str) -> Result<Destination, String> {
    let (user, name) = text.split_once('@').unwrap_or(("root", text));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if user.is_empty() || user.starts_with('-') || !user.chars().all(plain) {
        return Err(format!("{user:?} is not the name of a user"));
    }
    Ok(Destination { user: user.into(), instance: parse::instance(name)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(u, i)| Destination { user: u.into(), instance: i.into() });
            assert_eq!(destination(text).ok(), expected, "{text:?}");
        };
        check("web", Some(("root", "web")));
        check("debian@web", Some(("debian", "web")));
        check("instance/web", Some(("root", "web")));
        check("-oProxyCommand=x@web", None);
        check("-web", None);
        check("@web", None);
        check("a@b@c", None);
    }
}
