//! The peer: garage of crates.io, one node on loopback, with everything synced before it is acknowledged.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use identity::Secret;
use identity::aws::Signing;
use tokio::net::TcpStream;

use super::{BUCKET, Side};
use crate::Result;
use crate::line::Endpoint;

/// Where `bench/run` puts it when there is none on the path.
const OWN: &str = "target/tools/garage/bin/garage";
const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const REGION: &str = "garage";
const KEY_ID: &str = "GK31c2f218a2e44f485b94239e";
const SECRET: &str = "b892c0665f0ada8a4755dae98baa3b133590e11dae3bcc1f9d769d67f16c3835";

/// Ends when dropped.
pub(super) struct Garage {
    server: Child,
    config: PathBuf,
    _folder: tempfile::TempDir,
    pub(super) side: Side,
}

impl Garage {
    pub(super) async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("garage.toml");
        let api = free()?;
        fs::write(&config, settings(folder.path(), api, free()?))?;
        let mut command = tool(&config);
        command.arg("server").env("RUST_LOG", "warn");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = command.spawn().map_err(|e| format!("garage cannot be started: {e}"))?;
        let signing = Signing {
            access_key_id: KEY_ID.into(),
            secret: Secret::new(SECRET),
            region: REGION.into(),
            service: "s3".into(),
        };
        let endpoint = Arc::new(Endpoint::plain(api, &api.to_string(), signing));
        let side = Side { name: "garage", endpoint, pids: vec![server.id()] };
        let garage = Self { server, config, _folder: folder, side };
        let deadline = Instant::now() + READY_WITHIN;
        while TcpStream::connect(api).await.is_err() || garage.ask(&["status"]).is_err() {
            if Instant::now() > deadline {
                return Err("garage does not answer".into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        garage.prepare()?;
        Ok(garage)
    }

    /// A layout of one node, a key, and a bucket that it may use.
    fn prepare(&self) -> Result<()> {
        let node = self.ask(&["node", "id", "-q"])?;
        let node = node.trim().split('@').next().unwrap_or_default().to_owned();
        self.ask(&["layout", "assign", "-z", "here", "-c", "100G", &node])?;
        self.ask(&["layout", "apply", "--version", "1"])?;
        self.ask(&["key", "import", "--yes", KEY_ID, SECRET, "-n", BUCKET])?;
        self.ask(&["bucket", "create", BUCKET])?;
        self.ask(&["bucket", "allow", "--read", "--write", "--owner", BUCKET, "--key", BUCKET])?;
        Ok(())
    }

    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let output = tool(&self.config).args(arguments).stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("garage {}: {}", arguments.join(" "), said.trim()).into())
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn tool(config: &Path) -> Command {
    let mut command = Command::new(if Path::new(OWN).exists() { OWN } else { "garage" });
    command.arg("-c").arg(config);
    command
}

fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// LMDB is its own default and its fastest. Without the two words on fsync it acknowledges what is in memory alone.
fn settings(folder: &Path, api: SocketAddr, rpc: SocketAddr) -> String {
    let folder = folder.display();
    let secret = "5a".repeat(32);
    format!(
        "metadata_dir = \"{folder}/meta\"\ndata_dir = \"{folder}/data\"\ndb_engine = \"lmdb\"\n\
         metadata_fsync = true\ndata_fsync = true\nreplication_factor = 1\ncompression_level = \"none\"\n\
         rpc_bind_addr = \"{rpc}\"\nrpc_public_addr = \"{rpc}\"\nrpc_secret = \"{secret}\"\n\
         [s3_api]\napi_bind_addr = \"{api}\"\ns3_region = \"{REGION}\"\nroot_domain = \".s3.garage\"\n"
    )
}
