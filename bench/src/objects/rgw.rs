//! The peer: Ceph with its object gateway, one node of Debian's packages on loopback: a monitor, a manager, one OSD with
//! BlueStore on a file, and one gateway.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use identity::Secret;
use identity::aws::Signing;
use tokio::net::TcpStream;

use super::{Side, caller};
use crate::Result;
use crate::cloud;
use crate::line::{Endpoint, Line};

const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const STORE_BYTES: u64 = 24 << 30;
const KEY_ID: &str = "AKIABENCHBENCHBENCH0";
const SECRET: &str = "secretsecretsecretsecretsecretsecretsecr";
/// Who speaks to the monitor, and what they may.
const ENTITIES: [(&str, &[&str]); 4] = [
    ("mon.", &["--cap", "mon", "allow *"]),
    ("client.admin", &["--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"]),
    ("mgr.a", &["--cap", "mon", "allow profile mgr", "--cap", "osd", "allow *"]),
    ("osd.0", &["--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"]),
];

/// Ends when dropped.
pub(super) struct Rgw {
    daemons: Vec<Child>,
    folder: tempfile::TempDir,
    pub(super) side: Side,
}

impl Rgw {
    pub(super) async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (monitor, api) = (free()?, free()?);
        let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned();
        fs::write(folder.path().join("ceph.conf"), settings(folder.path(), monitor, &id))?;
        let signing = Signing {
            access_key_id: KEY_ID.into(),
            secret: Secret::new(SECRET),
            region: "default".into(),
            service: "s3".into(),
        };
        let endpoint = Arc::new(Endpoint::plain(api, &api.to_string(), signing));
        let side = Side { name: "Ceph RGW", endpoint, pids: Vec::new() };
        let mut rgw = Self { daemons: Vec::new(), folder, side };
        rgw.monitor(monitor, &id)?;
        rgw.disk()?;
        rgw.gateway(api).await?;
        rgw.side.pids = rgw.daemons.iter().map(Child::id).collect();
        Ok(rgw)
    }

    fn monitor(&mut self, at: SocketAddr, id: &str) -> Result<()> {
        for name in ["mon", "mgr", "osd"] {
            fs::create_dir(self.folder.path().join(name))?;
        }
        for (number, (name, caps)) in ENTITIES.into_iter().enumerate() {
            let create: &[&str] = if number == 0 { &["-C"] } else { &[] };
            self.tool("ceph-authtool", &[create, &["keyring", "--gen-key", "-n", name], caps].concat())?;
        }
        let place = format!("[v2:{at}]");
        self.tool("monmaptool", &["--create", "--fsid", id, "--addv", "a", &place, "monmap"])?;
        let mkfs = ["-i", "a", "--mkfs", "--monmap", "monmap", "--keyring", "keyring"];
        self.tool("ceph-mon", &[&mkfs[..], &ROOT].concat())?;
        self.daemon("ceph-mon", &["-i", "a"])?;
        self.ceph(&["-s"])?;
        self.daemon("ceph-mgr", &["-i", "a"])
    }

    fn disk(&mut self) -> Result<()> {
        let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned();
        self.ceph(&["osd", "new", &id])?;
        self.tool("ceph-osd", &[&["-i", "0", "--mkfs", "--osd-uuid", &id][..], &ROOT].concat())?;
        self.daemon("ceph-osd", &["-i", "0"])?;
        let deadline = Instant::now() + READY_WITHIN;
        while !self.ceph(&["osd", "stat"])?.contains("1 up") {
            if Instant::now() > deadline {
                return Err("Ceph's OSD does not come up".into());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    async fn gateway(&mut self, at: SocketAddr) -> Result<()> {
        let user = ["user", "create", "--uid=bench", "--display-name=bench"];
        let keys = ["--access-key", KEY_ID, "--secret-key", SECRET];
        self.tool("radosgw-admin", &[&user[..], &keys].concat())?;
        let frontend = format!("--rgw-frontends=beast endpoint={at}");
        self.daemon("radosgw", &["-n", "client.admin", &frontend])?;
        let deadline = Instant::now() + READY_WITHIN;
        while TcpStream::connect(at).await.is_err() {
            if Instant::now() > deadline {
                return Err("Ceph's gateway does not answer".into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        caller::make_bucket(&mut Line::new(&self.side.endpoint)).await
    }

    fn ceph(&self, arguments: &[&str]) -> Result<String> {
        self.tool("ceph", &[&["--connect-timeout", "15"], arguments].concat())
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        let has_settings = !["ceph-authtool", "monmaptool"].contains(&program);
        if has_settings {
            command.args(["-c", "ceph.conf"]);
        }
        command.args(arguments);
        command
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.command(program, arguments).output();
        let output = output.map_err(|e| format!("{program} cannot be started: {e}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("{program} {}: {}", arguments.join(" "), said.trim()).into())
    }

    fn daemon(&mut self, program: &str, arguments: &[&str]) -> Result<()> {
        let log = File::create(self.folder.path().join(format!("{program}.out")))?;
        let mut command = self.command(program, &[&["-f"], &ROOT[..], arguments].concat());
        let started = command.stdout(log.try_clone()?).stderr(log).spawn();
        self.daemons.push(started.map_err(|e| format!("{program} cannot be started: {e}"))?);
        Ok(())
    }
}

impl Drop for Rgw {
    fn drop(&mut self) {
        while let Some(daemon) = self.daemons.pop() {
            if let Err(e) = cloud::end(daemon) {
                eprintln!("a daemon of Ceph was not ended: {e}");
            }
        }
    }
}

const ROOT: [&str; 4] = ["--setuser", "root", "--setgroup", "root"];

fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// One copy of everything, and no log of requests.
fn settings(folder: &Path, monitor: SocketAddr, id: &str) -> String {
    let folder = folder.display();
    format!(
        "[global]\nfsid = {id}\nmon host = [v2:{monitor}]\npublic addr = 127.0.0.1\nrun dir = {folder}\n\
         admin socket = {folder}/$name.$pid.asok\nlog file = {folder}/$name.log\ncrash dir = {folder}\n\
         keyring = {folder}/keyring\nmon data = {folder}/mon\nmgr data = {folder}/mgr\nosd data = {folder}/osd\n\
         osd pool default size = 1\nosd pool default min size = 1\nosd pool default pg num = 8\n\
         osd pool default pgp num = 8\nosd crush chooseleaf type = 0\nmon allow pool size one = true\n\
         mgr initial modules =\nbluestore block size = {STORE_BYTES}\ndebug rgw = 0/0\ndebug osd = 0/0\n"
    )
}
