//! The peer for containers and networks: a Docker daemon with its own containerd, on a private socket and data directory,
//! without networks or in a network namespace of its own, driven through its own API (so that no command line is measured).

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sys::namespace::within_network;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::Result;
use crate::cloud;

const READY_WITHIN: Duration = Duration::from_secs(30);
const END_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);
const IMAGE: &str = "measured";

/// Ends with its containers when dropped.
pub(crate) struct Docker {
    daemon: Child,
    directory: tempfile::TempDir,
    made: u32,
}

/// A container that was started.
pub(crate) struct Started {
    id: String,
    /// Of the two calls, create and start.
    pub(crate) answered: Duration,
    /// Until its first output was in its log.
    pub(crate) spoke: Duration,
}

impl Docker {
    pub(crate) async fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let daemon = spawn(directory.path())?;
        let docker = Self { daemon, directory, made: 0 };
        docker.ready().await?;
        Ok(docker)
    }

    /// With networks, and the filters that Docker makes for them, in this network namespace.
    pub(crate) async fn start_with_networks(namespace: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let place = fs::File::open(namespace)?;
        let mut command = command(directory.path())?;
        command.arg("--bip=172.31.255.1/24");
        let daemon = within_network(Some(&place), || command.spawn()).map_err(cannot_start)?;
        let docker = Self { daemon, directory, made: 0 };
        docker.ready().await?;
        Ok(docker)
    }

    pub(crate) async fn create_network(&self, name: &str) -> Result<()> {
        let body = serde_json::json!({ "Name": name, "Driver": "bridge" });
        self.post("/networks/create", &body.to_string()).await.map(drop)
    }

    pub(crate) async fn remove_network(&self, name: &str) -> Result<()> {
        self.call("DELETE", &format!("/networks/{name}"), "text/plain", b"").await.map(drop)
    }

    /// Makes a swarm of this daemon alone; what another needs to join it.
    pub(crate) async fn begin_swarm(&self, address: IpAddr) -> Result<String> {
        let body = serde_json::json!({
            "ListenAddr": swarm_port(address), "AdvertiseAddr": address.to_string(),
        });
        self.post("/swarm/init", &body.to_string()).await?;
        let told: serde_json::Value =
            serde_json::from_str(&self.call("GET", "/swarm", "text/plain", b"").await?)?;
        Ok(told["JoinTokens"]["Worker"].as_str().ok_or("docker named no token")?.to_owned())
    }

    pub(crate) async fn join_swarm(&self, address: IpAddr, manager: IpAddr, token: &str) -> Result<()> {
        let body = serde_json::json!({
            "ListenAddr": swarm_port(address), "AdvertiseAddr": address.to_string(),
            "RemoteAddrs": [swarm_port(manager)], "JoinToken": token,
        });
        self.post("/swarm/join", &body.to_string()).await.map(drop)
    }

    /// A network of the swarm that containers of any of its daemons can join.
    pub(crate) async fn create_overlay(&self, name: &str) -> Result<()> {
        let body = serde_json::json!({ "Name": name, "Driver": "overlay", "Attachable": true });
        self.post("/networks/create", &body.to_string()).await.map(drop)
    }

    /// The network namespace of a container, and its gateway.
    pub(crate) async fn place(&self, container: &Started) -> Result<(PathBuf, IpAddr)> {
        self.end_of(container, "Gateway").await
    }

    /// The network namespace of a container, and its address.
    pub(crate) async fn end(&self, container: &Started) -> Result<(PathBuf, IpAddr)> {
        self.end_of(container, "IPAddress").await
    }

    async fn end_of(&self, container: &Started, what: &str) -> Result<(PathBuf, IpAddr)> {
        let path = format!("/containers/{}/json", container.id);
        let told: serde_json::Value =
            serde_json::from_str(&self.call("GET", &path, "text/plain", b"").await?)?;
        let process = told["State"]["Pid"].as_u64().ok_or("docker did not name the process")?;
        let networks = told["NetworkSettings"]["Networks"].as_object().ok_or("docker named no network")?;
        let address = networks.values().find_map(|network| network[what].as_str()?.parse().ok());
        Ok((format!("/proc/{process}/ns/net").into(), address.ok_or("docker named no address")?))
    }

    /// Ends the daemon, starts it on the same data, and measures until it answers.
    pub(crate) async fn restart(&mut self) -> Result<Duration> {
        self.stop()?;
        let started = Instant::now();
        self.daemon = spawn(self.directory.path())?;
        self.ready().await?;
        Ok(started.elapsed())
    }

    /// Makes an image of one layer out of a tar archive.
    pub(crate) async fn import(&self, tar: &[u8]) -> Result<()> {
        self.call(
            "POST",
            &format!("/images/create?fromSrc=-&repo={IMAGE}&tag=latest"),
            "application/x-tar",
            tar,
        )
        .await
        .map(drop)
    }

    /// `docker run --detach --network none`, as its two API calls.
    pub(crate) async fn run(&mut self, command: &[&str]) -> Result<Started> {
        self.run_in("none", command).await
    }

    /// As [`Self::run`], in a network.
    pub(crate) async fn run_in(&mut self, network: &str, command: &[&str]) -> Result<Started> {
        self.made += 1;
        let body = serde_json::json!({
            "Image": IMAGE, "Cmd": command, "HostConfig": { "NetworkMode": network },
        });
        let started = Instant::now();
        let path = format!("/containers/create?name=measured-{}", self.made);
        let answer = self.post(&path, &body.to_string()).await?;
        let made: serde_json::Value = serde_json::from_str(&answer)?;
        let id = made["Id"].as_str().ok_or("docker did not name the container")?.to_owned();
        self.post(&format!("/containers/{id}/start"), "").await?;
        let answered = started.elapsed();
        let log = self.directory.path().join(format!("data/containers/{id}/{id}-json.log"));
        cloud::until_not_empty(&log).await?;
        Ok(Started { id, answered, spoke: started.elapsed() })
    }

    pub(crate) async fn remove(&self, container: Started) -> Result<()> {
        self.call("DELETE", &format!("/containers/{}?force=true", container.id), "text/plain", b"")
            .await
            .map(drop)
    }

    /// Of the daemon, its containerd and the shims; not of containers.
    pub(crate) fn processes(&self) -> Vec<u32> {
        cloud::processes_of(self.directory.path())
    }

    async fn ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            match self.call("GET", "/_ping", "text/plain", b"").await {
                Ok(_) => return Ok(()),
                Err(e) if Instant::now() > deadline => {
                    return Err(format!("dockerd does not answer: {e}").into());
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    async fn post(&self, path: &str, body: &str) -> Result<String> {
        self.call("POST", path, "application/json", body.as_bytes()).await
    }

    /// One call on a connection of its own. A local connection costs 0.1 ms.
    async fn call(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<String> {
        let mut stream = UnixStream::connect(self.directory.path().join("docker.sock")).await?;
        // HTTP/1.0, so that the answer comes unchunked and the connection ends with it.
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        let (_, content) = answer.split_once("\r\n\r\n").unwrap_or_default();
        if status.starts_with('2') {
            Ok(content.to_owned())
        } else {
            Err(format!("docker: {path}: {answer}").into())
        }
    }

    fn stop(&mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.daemon.id())?);
        kill(pid, Signal::SIGTERM)?;
        let deadline = Instant::now() + END_WITHIN;
        while self.daemon.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.daemon.kill()?;
                self.daemon.wait()?;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Err(e) = self.stop() {
            eprintln!("dockerd was not ended: {e}");
        }
        for pid in self.processes() {
            if let Ok(pid) = i32::try_from(pid) {
                // Gone already is as good.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

fn swarm_port(address: IpAddr) -> String {
    format!("{address}:2377")
}

fn spawn(directory: &Path) -> Result<Child> {
    command(directory)?.args(["--bridge=none", "--iptables=false"]).spawn().map_err(cannot_start)
}

fn cannot_start(error: std::io::Error) -> Box<dyn std::error::Error + Send + Sync> {
    format!("dockerd cannot be started: {error}").into()
}

fn command(directory: &Path) -> Result<Command> {
    let at = |name: &str| -> PathBuf { directory.join(name) };
    let log = fs::File::options().append(true).create(true).open(at("dockerd.log"))?;
    let mut command = Command::new("dockerd");
    command
        .arg("--host")
        .arg(format!("unix://{}", at("docker.sock").display()))
        .arg("--data-root")
        .arg(at("data"))
        .arg("--exec-root")
        .arg(at("exec"))
        .arg("--pidfile")
        .arg(at("pid"))
        .arg("--log-level=error")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Ok(command)
}
