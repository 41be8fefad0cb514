//! `corten ssh`: the system's ssh, with the caller's own key, to where the guest is reached.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use model::compute::{Instance, InstancePhase, Isolation};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::api::Cloud;
use super::{key, parse};
use crate::failure::Failure;

/// How long the guest may take until its ssh server answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long one connection may take to say that it is ssh.
const BANNER_WITHIN: Duration = Duration::from_secs(5);

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

/// Becomes ssh; comes back only when that is impossible.
pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    let address = match tokio::time::timeout(ANSWER_WITHIN, answering(&cloud, &args.to.instance)).await {
        Ok(address) => address?,
        Err(_) => {
            return Err(Failure::timed_out(format!(
                "instance {:?} does not answer ssh after {} s",
                args.to.instance,
                ANSWER_WITHIN.as_secs()
            ))
            .hint(format!(
                "`corten logs {0}` and `corten explain instance/{0}` say more",
                args.to.instance
            )));
        }
    };
    let key = key::private_key(&cloud.global.data)?;
    let mut ssh = Command::new("ssh");
    ssh.arg("-i").arg(key).args(["-p", &address.port().to_string(), "-l", &args.to.user]);
    // Guests come and go on the same addresses with other keys; the way to them is this host's own.
    for option in ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"] {
        ssh.args(["-o", option]);
    }
    ssh.arg("--").arg(address.ip().to_string()).args(&args.command);
    Err(Failure::failed(format!("cannot run ssh: {}", ssh.exec())).hint("install the package openssh-client"))
}

/// Waits until an ssh server answers where the instance is reached.
async fn answering(cloud: &Cloud, name: &str) -> Result<SocketAddr, Failure> {
    let api = cloud.api::<Instance>();
    loop {
        let instance = api.get(name).await?;
        if let Some(address) = reached(&instance)?
            && speaks_ssh(address).await
        {
            return Ok(address);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Where the instance is reached; nothing while that is still to be decided.
fn reached(instance: &Instance) -> Result<Option<SocketAddr>, Failure> {
    let name = &instance.metadata.name;
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
        InstancePhase::Running if instance.status.ssh_endpoint.is_empty() => {
            Err(Failure::failed(format!("instance {name:?} cannot be reached by ssh from here"))
                .hint(format!("`corten console {name}` attaches to its console")))
        }
        _ => Ok(instance.status.ssh_endpoint.parse().ok()),
    }
}

async fn speaks_ssh(address: SocketAddr) -> bool {
    let greeting = async {
        let mut stream = TcpStream::connect(address).await?;
        let mut banner = [0; 4];
        stream.read_exact(&mut banner).await.map(|_| banner)
    };
    matches!(tokio::time::timeout(BANNER_WITHIN, greeting).await, Ok(Ok(banner)) if &banner == b"SSH-")
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
