//! The peer: `moto_server` of PyPI's `moto[server]`, alone on loopback, as its documentation starts it.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::Result;
use crate::cloud;

/// Where `bench/run` puts it when there is none on the path.
const OWN: &str = "target/tools/moto/bin/moto_server";
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Ends when dropped.
pub(super) struct Moto {
    server: Child,
    pub(super) address: SocketAddr,
}

impl Moto {
    pub(super) async fn start() -> Result<Self> {
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let program = if Path::new(OWN).exists() { OWN } else { "moto_server" };
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = command.spawn().map_err(|e| format!("{program} cannot be started: {e}"))?;
        let moto = Self { server, address };
        let deadline = Instant::now() + READY_WITHIN;
        while TcpStream::connect(address).await.is_err() {
            if Instant::now() > deadline {
                return Err("moto does not answer".into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(moto)
    }

    pub(super) fn processor_time(&self) -> Result<Duration> {
        cloud::processor_time(self.server.id())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
