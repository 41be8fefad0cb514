//! A real one-host cloud: the release binary, run as a user runs it, in a data directory and on a port of its own.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::Client;
use client::https::{Credential, Https};

use crate::Result;

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// Goes with its guests and data when dropped.
#[derive(Debug)]
pub(crate) struct Cloud {
    program: PathBuf,
    data: PathBuf,
    listen: SocketAddr,
    has_networks: bool,
    _parent: tempfile::TempDir,
}

impl Cloud {
    pub(crate) fn up() -> Result<Self> {
        Self::begin(true)
    }

    /// Guests have a card of their QEMU's own: what stands beside a QEMU that is started by hand.
    pub(crate) fn up_without_networks() -> Result<Self> {
        Self::begin(false)
    }

    fn begin(has_networks: bool) -> Result<Self> {
        // Guests run as users of their own and pass through to their files.
        let parent = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o711)).tempdir()?;
        let listen = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let program = program()?;
        let data = parent.path().join("cloud");
        let cloud = Self { program, data, listen, has_networks, _parent: parent };
        cloud.start()?;
        Ok(cloud)
    }

    /// `corten up --detach`; returns when it is ready.
    pub(crate) fn start(&self) -> Result<()> {
        let listen = self.listen.to_string();
        self.corten(&["up", "--listen", &listen, "--detach"]).map(drop)
    }

    /// `kill -9`, and at once a new daemon on the same data; does not wait for it. `last` is what this call
    /// answered the last time; before the first, the daemon is the one that was started detached.
    pub(crate) fn kill_and_spawn(&self, last: Option<Child>) -> Result<Child> {
        match last {
            Some(daemon) => end(daemon)?,
            None => kill_and_wait(self.pid()?)?,
        }
        let listen = self.listen.to_string();
        let mut command = self.command(&["up", "--listen", &listen]);
        Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    /// `corten down`: the daemon ends, guests and data stay.
    pub(crate) fn stop(&self) -> Result<()> {
        self.corten(&["down"]).map(drop)
    }

    /// A command of the command line; what it printed.
    pub(crate) fn corten(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("corten {}: {}", arguments.join(" "), said.trim()).into())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--data").arg(&self.data);
        if !self.has_networks {
            command.env("CORTEN_NETWORKS", "off");
        }
        command
    }

    /// A connection of its own as the administrator.
    pub(crate) fn connect(&self) -> Result<Client> {
        Ok(Client::new(Arc::new(self.https()?)))
    }

    pub(crate) fn https(&self) -> Result<Https> {
        let read = |name: &str| fs::read_to_string(self.data.join(name));
        let credential = Credential::Certificate { chain: read("admin.crt")?, key: read("admin.key")? };
        Ok(Https::new(&format!("https://{}", self.listen), &read("ca.crt")?, &credential)?)
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// The daemon's process.
    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(fs::read_to_string(self.data.join("corten.pid"))?.trim().parse()?)
    }

    /// Where the drivers of this cloud keep what a reboot ends. Known by the name of the one container or machine
    /// in it, so it must have one.
    pub(crate) fn run_dir(&self) -> Result<PathBuf> {
        let process =
            processes().into_iter().find(|process| process.mentions(&self.data) && process.runs("conmon"));
        let bundle = process.and_then(|process| process.value_of("--bundle"));
        let bundle = bundle.ok_or("no container of this cloud runs")?;
        // DIR/oci/sandboxes/UID/containers/NAME
        let run_dir = Path::new(&bundle).ancestors().nth(5);
        run_dir.map(Path::to_owned).ok_or_else(|| format!("{bundle} is not where bundles lie").into())
    }

    /// Of the daemon and of what it runs beside guests.
    pub(crate) fn processes(&self) -> Vec<u32> {
        processes_of(&self.data)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if let Err(e) = self.corten(&["down", "--purge"]) {
            eprintln!("the cloud in {} was not removed: {e}", self.data.display());
        }
    }
}

/// `kill -9` of a child.
pub(crate) fn end(mut child: Child) -> Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// `kill -9` of a process that is not our child; returns when it is gone.
fn kill_and_wait(pid: u32) -> Result<()> {
    if !Command::new("kill").args(["-9", &pid.to_string()]).status()?.success() {
        return Err(format!("process {pid} cannot be killed").into());
    }
    let stat = PathBuf::from(format!("/proc/{pid}/stat"));
    // A zombie (state Z) has let go of everything.
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z")) {
        std::thread::yield_now();
    }
    Ok(())
}

/// The binary under test lies beside this one.
pub(crate) fn program() -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("corten");
    if program.exists() { Ok(program) } else { Err("corten is not built: use bench/run".into()) }
}

/// A process of this machine.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) arguments: Vec<String>,
}

impl Process {
    fn mentions(&self, path: &Path) -> bool {
        let path = path.display().to_string();
        self.arguments.iter().any(|argument| argument.contains(&path))
    }

    fn runs(&self, program: &str) -> bool {
        self.arguments.first().and_then(|first| first.rsplit('/').next()) == Some(program)
    }

    fn value_of(&self, option: &str) -> Option<String> {
        self.arguments.windows(2).find(|pair| pair[0] == option).map(|pair| pair[1].clone())
    }
}

pub(crate) fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let arguments = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        let mut arguments: Vec<String> = arguments.collect();
        // The line ends with a zero.
        arguments.pop();
        Some(Process { pid, arguments })
    })
    .collect()
}

/// What a process has used of the processors so far, in the kernel's ticks of 10 ms.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; utime and stime are the 14th and 15th field (proc(5)).
    let fields =
        stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').skip(11)).ok_or("a process without stat")?;
    let ticks: u64 = fields.take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// The processes that have a directory in their command line: those that work for whoever owns it.
pub(crate) fn processes_of(directory: &Path) -> Vec<u32> {
    let own = processes().into_iter().filter(|process| process.mentions(directory));
    own.map(|process| process.pid).collect()
}

/// Waits until there is something in a file.
pub(crate) async fn until_not_empty(file: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !fs::metadata(file).is_ok_and(|file| file.len() > 0) {
        if Instant::now() > deadline {
            return Err(format!("nothing was written to {}", file.display()).into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
