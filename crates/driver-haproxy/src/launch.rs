//! Starting HAProxy, and having it take another configuration. Blocks; `driver` moves it off the runtime's threads.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use driver::DriverError;
use model::Uid;
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use sys::cgroup::{Cgroup, CgroupError, Cgroups, Limits};
use sys::command::last_words;
use sys::daemon::{Daemon, ResourceLimit};
use sys::namespace::within_network;

use crate::config::{Rendered, Room};
use crate::driver::HaproxyOptions;
use crate::folder::Folder;
use crate::socket;

/// Of one balancer, with the workers that end their last connections.
const MEMORY_MAX_BYTES: u64 = 1 << 30;
const CPU_MAX_MILLIS: u64 = 4000;
const THREADS_MAX: u64 = 256;
/// How long a new worker may take until it answers; a thousand servers take well below a second.
const READY_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Servers of which nothing is known; the number is the form's version.
const NO_STATE: &[u8] = b"1\n";
/// Between two reloads: each leaves a worker behind for as long as it has connections.
const RELOADS_APART: Duration = Duration::from_secs(1);

/// When each balancer was last reloaded.
#[derive(Debug, Default)]
pub(crate) struct Reloads(Mutex<HashMap<Uid, Instant>>);

impl Reloads {
    fn wait_for_turn(&self, uid: &Uid) {
        let last = self.0.lock().get(uid).copied();
        if let Some(rest) = last.and_then(|last| RELOADS_APART.checked_sub(last.elapsed())) {
            std::thread::sleep(rest);
        }
        self.0.lock().insert(uid.clone(), Instant::now());
    }

    pub(crate) fn forget(&self, uid: &Uid) {
        self.0.lock().remove(uid);
    }
}

/// Settings of a balancer's namespace.
const SETTINGS: &[(&str, &str)] = &[
    // Every port may be listened on without privileges.
    ("ipv4/ip_unprivileged_port_start", "0"),
    // Connections to servers come from the same address: as many ports as there are.
    ("ipv4/ip_local_port_range", "10240 65535"),
    ("core/somaxconn", "4096"),
    // Datagrams are translated and passed on, by the device that they came in by.
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/accept_dad", "0"),
];

pub(crate) fn cgroup(root: &str, uid: &Uid) -> Result<Cgroup, CgroupError> {
    Cgroups::detect(root).and_then(|cgroups| cgroups.group(&format!("haproxy-{uid}")))
}

/// Sets up a balancer's namespace.
pub(crate) fn prepare_namespace(folder: &Folder) -> io::Result<()> {
    within_network(Some(&File::open(folder.namespace())?), || {
        for (name, value) in SETTINGS {
            let path = Path::new("/proc/sys/net").join(name);
            match fs::write(&path, value) {
                // A kernel without IPv6 has no settings of it.
                Err(e) if e.kind() == io::ErrorKind::NotFound && name.starts_with("ipv6") => {}
                Err(e) => return Err(io::Error::new(e.kind(), format!("{}: {e}", path.display()))),
                Ok(()) => {}
            }
        }
        Ok(())
    })
}

/// Has a program run by this configuration. Nothing is done where one does already.
pub(crate) fn ensure(
    options: &HaproxyOptions,
    uid: &Uid,
    folder: &Folder,
    wanted: &Rendered,
    room: Room,
    reloads: &Reloads,
) -> Result<(), DriverError> {
    let at = |what: &'static str| move |e: io::Error| DriverError::failed(what, e);
    let running = folder.process().map_err(at("looking for haproxy"))?;
    if running.is_some() && socket::digest(folder).as_deref() == Some(&wanted.digest) {
        return Ok(());
    }
    for file in &wanted.files {
        folder.write(&file.name, &file.content).map_err(at("writing a file of the configuration"))?;
    }
    check(&options.program, folder, wanted)?;
    if let Some(process) = running {
        reloads.wait_for_turn(uid);
        // What is known of servers goes over: one that is down stays so, instead of getting its share until the
        // first check.
        let state = socket::ask(folder, "show servers state").unwrap_or_default();
        folder.write("state", state.as_bytes()).map_err(at("keeping the state of servers"))?;
        fs::rename(folder.next_config(), folder.config()).map_err(at("writing the configuration"))?;
        process.signal(Signal::SIGUSR2).map_err(at("reloading haproxy"))?;
    } else {
        folder.write("state", NO_STATE).map_err(at("keeping the state of servers"))?;
        fs::rename(folder.next_config(), folder.config()).map_err(at("writing the configuration"))?;
        start(options, uid, folder, room)?;
    }
    wait_until_ready(folder, &wanted.digest)?;
    forget_files(folder, wanted).map_err(at("removing files that are no longer used"))
}

/// Asks the program what it thinks of the configuration, as the user that it will run as.
fn check(program: &Path, folder: &Folder, wanted: &Rendered) -> Result<(), DriverError> {
    use std::os::unix::process::CommandExt;
    let user = user(folder)?;
    folder
        .write("next.cfg", wanted.text.as_bytes())
        .map_err(|e| DriverError::failed("writing the configuration", e))?;
    let output = Command::new(program)
        .args(["-c", "-f"])
        .arg(folder.next_config())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .uid(user)
        .gid(user)
        .output()
        .map_err(|e| DriverError::failed("checking the configuration", e))?;
    if output.status.success() {
        return Ok(());
    }
    let words = last_words(&[output.stdout, output.stderr].concat());
    Err(DriverError::Invalid(format!("haproxy refuses the configuration: {}", complaints(&words))))
}

/// What is wrong, without times, processes and the summary.
fn complaints(words: &str) -> String {
    let alerts = words.lines().filter(|line| line.contains("[ALERT]"));
    let text = alerts.map(|line| line.split_once(": ").map_or(line, |(_, what)| what).trim());
    let all: Vec<&str> = text.filter(|line| !line.starts_with("Fatal errors")).collect();
    if all.is_empty() { words.to_owned() } else { all.join("; ") }
}

fn user(folder: &Folder) -> Result<u32, DriverError> {
    let missing = || DriverError::NotFound(format!("at {}", folder.path().display()));
    folder.user_id().filter(|id| *id > 0).ok_or_else(missing)
}

fn start(options: &HaproxyOptions, uid: &Uid, folder: &Folder, room: Room) -> Result<(), DriverError> {
    let at = |what: &'static str| move |e: io::Error| DriverError::failed(what, e);
    let limited = |e: CgroupError| DriverError::failed("limiting haproxy", e);
    let group = cgroup(&options.cgroup, uid).map_err(limited)?;
    let limits = Limits {
        cpu_millis: Some(CPU_MAX_MILLIS),
        memory_bytes: Some(MEMORY_MAX_BYTES),
        pids: Some(THREADS_MAX),
    };
    group.ensure(&limits).map_err(limited)?;
    let entrances = group.entrances().map_err(limited)?;
    let args: Vec<OsString> = vec!["-W".into(), "-f".into(), folder.config().into()];
    let user = user(folder)?;
    let output = folder.open_log().map_err(at("opening the log"))?;
    let namespace = File::open(folder.namespace()).map_err(at("opening the network namespace"))?;
    let identity = within_network(Some(&namespace), || {
        Daemon {
            program: &options.program,
            args: &args,
            directory: Path::new("/"),
            output,
            inherit: &[],
            cgroups: &entrances,
            user_id: Some(user),
            limits: &[(ResourceLimit::OpenFiles, room.open_files), (ResourceLimit::CoreBytes, 0)],
        }
        .spawn()
    })
    .map_err(at("starting haproxy"))?;
    folder.keep_started(&identity).map_err(at("keeping who was started"))
}

fn wait_until_ready(folder: &Folder, digest: &str) -> Result<(), DriverError> {
    let give_up = Instant::now() + READY_WITHIN;
    while Instant::now() < give_up {
        if socket::digest(folder).as_deref() == Some(digest) {
            return Ok(());
        }
        if folder.process().is_ok_and(|process| process.is_none()) {
            break;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let words = fs::read(folder.log()).unwrap_or_default();
    Err(DriverError::failed("haproxy does not take up its work", complaints(&last_words(&words))))
}

fn forget_files(folder: &Folder, wanted: &Rendered) -> io::Result<()> {
    for entry in fs::read_dir(folder.path())? {
        let name = entry?.file_name();
        let used = wanted.files.iter().any(|file| *file.name == *name);
        if Path::new(&name).extension().is_some_and(|end| end == "pem" || end == "body") && !used {
            fs::remove_file(folder.path().join(name))?;
        }
    }
    Ok(())
}
