//! A jail for one program that reads bytes of a stranger: own mount, network and IPC namespaces, a root that
//! holds nothing but the program, its libraries and the files it was given, an unprivileged user, resource
//! limits, an empty environment. Knows no program by name.
//!
//! The root is a tmpfs that exists only in the program's own mount namespace: nothing to clean up, whatever
//! happens. Needs root. No process namespace (the program must be its first process then, and `exec` keeps the
//! caller's): the user is the program's alone instead.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, chdir, mkdir, pivot_root, setgroups, setresgid, setresuid};

/// What a program may see and use.
#[derive(Debug, Clone)]
pub struct Jail {
    program: PathBuf,
    files: Vec<Exposed>,
    user_id: u32,
    limits: Limits,
}

/// Ceilings the kernel enforces; the program gets a signal or an error beyond them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub address_space: u64,
    pub file_size: u64,
    pub cpu_seconds: u64,
    pub open_files: u64,
}

#[derive(Debug, Clone)]
struct Exposed {
    host: PathBuf,
    /// A bare name below the jail's root.
    inside: String,
    access: Access,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// Where the libraries are inside; the loader has its own fixed place.
const LIBRARIES: &str = "/lib";
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

impl Jail {
    pub fn new(program: impl Into<PathBuf>, user_id: u32, limits: Limits) -> Self {
        Self { program: program.into(), files: Vec::new(), user_id, limits }
    }

    /// Shows the file `host` as `/inside`. Its mode and owner are what they are: the jail's user must be able
    /// to read (and write) it.
    #[must_use]
    pub fn expose(mut self, host: impl Into<PathBuf>, inside: &str, access: Access) -> Self {
        self.files.push(Exposed { host: host.into(), inside: inside.to_owned(), access });
        self
    }

    /// The command that runs the program in this jail; the caller adds arguments and standard streams.
    pub fn command(&self) -> io::Result<Command> {
        if self.user_id == 0 || !Uid::effective().is_root() {
            let message = "a jail needs root outside and another user inside; run as root";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        let steps = self.steps()?;
        let mut command = Command::new("/program");
        command.env_clear().env("LD_LIBRARY_PATH", LIBRARIES).env("LC_ALL", "C");
        enter_before_exec(&mut command, steps);
        Ok(command)
    }

    /// Everything the child needs, allocated now: after `fork` it must not allocate.
    fn steps(&self) -> io::Result<Steps> {
        let program = self.program.canonicalize()?;
        let mut mounts = vec![Bind::new(&program, Path::new("/program"), Access::Read)?];
        for library in libraries(&program)? {
            let name = library.file_name().ok_or_else(|| io::Error::other("a library without a name"))?;
            let inside = Path::new(LIBRARIES).join(name);
            mounts.push(Bind::new(&library.canonicalize()?, &inside, Access::Read)?);
        }
        mounts.push(Bind::new(&Path::new(LOADER).canonicalize()?, Path::new(LOADER), Access::Read)?);
        for file in &self.files {
            if file.inside.is_empty() || file.inside.contains('/') {
                return Err(io::Error::other("a file of a jail has a bare name"));
            }
            mounts.push(Bind::new(
                &file.host.canonicalize()?,
                &Path::new("/").join(&file.inside),
                file.access,
            )?);
        }
        let id = self.user_id;
        Ok(Steps { mounts, user: Uid::from_raw(id), group: Gid::from_raw(id), limits: self.limits })
    }
}

/// The shared libraries `program` is linked to, as the loader itself finds them.
fn libraries(program: &Path) -> io::Result<Vec<PathBuf>> {
    let output = Command::new(LOADER).arg("--list").arg(program).env_clear().output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("{} is not a dynamic program", program.display())));
    }
    Ok(parse_libraries(&output.stdout))
}

/// Lines of `NAME => PATH (ADDRESS)`; the loader and the kernel's own page have no arrow.
fn parse_libraries(listing: &[u8]) -> Vec<PathBuf> {
    listing
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let arrow = line.windows(4).position(|window| window == b" => ")?;
            let path = line[arrow + 4..].split(|byte| *byte == b' ').next()?;
            path.starts_with(b"/").then(|| PathBuf::from(OsStr::from_bytes(path)))
        })
        .collect()
}

/// One file of the host below the new root.
#[derive(Debug)]
struct Bind {
    host: CString,
    /// Below [`ROOT`].
    inside: CString,
    access: Access,
}

/// A directory every Linux has; the jail's tmpfs covers it in the child's namespace only.
const ROOT: &CStr = c"/proc";
const ROOT_DIRS: [&CStr; 3] = [c"/proc/lib", c"/proc/lib64", c"/proc/old"];

impl Bind {
    fn new(host: &Path, inside: &Path, access: Access) -> io::Result<Self> {
        let below_root = [ROOT.to_bytes(), inside.as_os_str().as_bytes()].concat();
        let inside = CString::new(below_root)?;
        Ok(Self { host: CString::new(host.as_os_str().as_bytes())?, inside, access })
    }

    fn apply(&self) -> Result<(), Errno> {
        drop(open(
            self.inside.as_c_str(),
            OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC,
            Mode::S_IRUSR,
        )?);
        bind(&self.host, &self.inside)?;
        let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        if self.access == Access::Read {
            flags |= MsFlags::MS_RDONLY;
        }
        mount(None::<&CStr>, self.inside.as_c_str(), None::<&CStr>, flags, None::<&CStr>)
    }
}

fn bind(from: &CStr, to: &CStr) -> Result<(), Errno> {
    mount(Some(from), to, None::<&CStr>, MsFlags::MS_BIND, None::<&CStr>)
}

#[derive(Debug)]
struct Steps {
    mounts: Vec<Bind>,
    user: Uid,
    group: Gid,
    limits: Limits,
}

impl Steps {
    /// In the child, before `exec`. Order matters: what needs privilege comes before it is given up.
    fn enter(&self) -> Result<(), Errno> {
        close_on_exec_all()?;
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC)?;
        self.change_root()?;
        self.limit()?;
        setgroups(&[])?;
        setresgid(self.group, self.group, self.group)?;
        // Leaving user 0 drops every capability.
        setresuid(self.user, self.user, self.user)?;
        no_new_privileges()
    }

    fn change_root(&self) -> Result<(), Errno> {
        let none = None::<&CStr>;
        // Nothing mounted from here on may appear outside.
        mount(none, c"/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some(c"tmpfs"), ROOT, Some(c"tmpfs"), flags, Some(c"size=64k,mode=0755"))?;
        for dir in ROOT_DIRS {
            mkdir(dir, Mode::S_IRWXU | Mode::S_IRGRP | Mode::S_IXGRP | Mode::S_IROTH | Mode::S_IXOTH)?;
        }
        self.mounts.iter().try_for_each(Bind::apply)?;
        pivot_root(ROOT, c"/proc/old")?;
        chdir(c"/")?;
        umount2(c"/old", MntFlags::MNT_DETACH)?;
        let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, c"/", none, flags, none)
    }

    fn limit(&self) -> Result<(), Errno> {
        let limits = [
            (Resource::RLIMIT_AS, self.limits.address_space),
            (Resource::RLIMIT_FSIZE, self.limits.file_size),
            (Resource::RLIMIT_CPU, self.limits.cpu_seconds),
            (Resource::RLIMIT_NOFILE, self.limits.open_files),
            (Resource::RLIMIT_CORE, 0),
        ];
        limits.into_iter().try_for_each(|(resource, limit)| setrlimit(resource, limit, limit))
    }
}

/// Whatever this process holds open, also by accident, ends with `exec`.
#[allow(unsafe_code)]
fn close_on_exec_all() -> Result<(), Errno> {
    // SAFETY: only sets a flag on descriptors; takes no pointers.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Errno::result(result).map(drop)
}

#[allow(unsafe_code)]
fn no_new_privileges() -> Result<(), Errno> {
    // SAFETY: sets a flag of the calling thread; takes no pointers.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
}

#[allow(unsafe_code)]
fn enter_before_exec(command: &mut Command, steps: Steps) {
    // SAFETY: `enter` makes system calls only, with memory that was allocated before `fork`; it neither
    // allocates, locks nor panics, so it may run in the child of a process with threads.
    unsafe {
        command.pre_exec(move || steps.enter().map_err(io::Error::from));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LIMITS: Limits =
        Limits { address_space: 1 << 30, file_size: 1 << 20, cpu_seconds: 60, open_files: 32 };

    /// What `program` prints in a jail with one file to read and one to write, and whether it succeeded.
    fn run(program: &str, arguments: &[&str]) -> (String, bool) {
        let folder = std::env::temp_dir()
            .join(format!("corten-jail-{}-{:?}", std::process::id(), { std::thread::current().id() }));
        std::fs::create_dir_all(&folder).unwrap();
        let (given, wanted) = (folder.join("given"), folder.join("wanted"));
        std::fs::write(&given, "given").unwrap();
        std::fs::write(&wanted, "").unwrap();
        // Open to all: what the jail refuses then, it refuses for its own reasons.
        for file in [&given, &wanted] {
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o666)).unwrap();
        }
        let output = Jail::new(program, 2_000_199_999, LIMITS)
            .expose(&given, "from", Access::Read)
            .expose(&wanted, "to", Access::Write)
            .command()
            .unwrap()
            .args(arguments)
            .output()
            .unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.success())
    }

    #[test]
    fn a_jail_holds_the_program_its_libraries_and_its_files() {
        assert_eq!(run("/bin/ls", &["/"]), ("from\nlib\nlib64\nold\nprogram\nto\n".into(), true));
        assert_eq!(run("/bin/ls", &["/old"]), (String::new(), true), "nothing of the host is left there");
        assert_eq!(run("/bin/cat", &["/from"]), ("given".into(), true));
        assert_eq!(run("/bin/cat", &["/etc/passwd"]), (String::new(), false));
        assert_eq!(run("/bin/cat", &["/old/etc/passwd"]), (String::new(), false));
    }

    #[test]
    fn a_jailed_program_is_nobody_and_knows_nothing() {
        assert_eq!(run("/usr/bin/id", &["-u"]), ("2000199999\n".into(), true));
        assert_eq!(run("/usr/bin/env", &[]), ("LC_ALL=C\nLD_LIBRARY_PATH=/lib\n".into(), true));
        assert_eq!(run("/usr/bin/touch", &["/new"]), (String::new(), false));
        assert_eq!(run("/usr/bin/truncate", &["--size=0", "/from"]), (String::new(), false));
        assert_eq!(run("/usr/bin/truncate", &["--size=4K", "/to"]), (String::new(), true));
        assert_eq!(run("/usr/bin/truncate", &["--size=2M", "/to"]), (String::new(), false));
    }

    #[test]
    fn a_jail_needs_another_user_than_root() {
        assert!(Jail::new("/bin/ls", 0, LIMITS).command().is_err());
    }

    #[test]
    fn reads_the_loaders_listing() {
        let listing =
            b"\tlinux-vdso.so.1 (0x1)\n\tlibz.so.1 => /lib/x/libz.so.1 (0x2)\n\t/lib64/ld.so (0x3)\n";
        assert_eq!(parse_libraries(listing), [PathBuf::from("/lib/x/libz.so.1")]);
    }
}
