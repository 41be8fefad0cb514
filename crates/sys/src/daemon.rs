//! Starting a program that survives us: not our child, own session, nothing inherited but what is given, its
//! privileges gone before its first instruction. What it is afterwards is `process`'s affair.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{Identity, Stat, boot_id};

/// A program to start, and the little world it gets. Its environment is empty but for PATH.
#[derive(Debug)]
pub struct Daemon<'a> {
    pub program: &'a Path,
    pub args: &'a [OsString],
    pub directory: &'a Path,
    /// Takes standard output and standard error; standard input is empty.
    pub output: File,
    /// Kept open under their numbers; everything else is closed.
    pub inherit: &'a [BorrowedFd<'a>],
    /// The `cgroup.procs` files of the groups to join before the program starts.
    pub cgroups: &'a [File],
    /// User and group id to become, with no further groups; `None` stays what we are.
    pub user_id: Option<u32>,
    pub limits: &'a [(ResourceLimit, u64)],
}

/// Limits of setrlimit(2), soft and hard alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceLimit {
    OpenFiles,
    CoreBytes,
    LockedBytes,
}

impl Daemon<'_> {
    /// Returns when the program runs, or with the reason why it could not be started.
    pub fn spawn(self) -> io::Result<Identity> {
        let (mut report, reporter) = io::pipe()?;
        let steps = Steps {
            reporter: reporter.as_raw_fd(),
            cgroups: self.cgroups.iter().map(AsRawFd::as_raw_fd).collect(),
            inherit: self.inherit.iter().map(AsRawFd::as_raw_fd).collect(),
            limits: self.limits.iter().map(|(limit, value)| (limit.number(), *value)).collect(),
            user_id: self.user_id,
        };
        let mut command = Command::new(self.program);
        command
            .args(self.args)
            .env_clear()
            .env("PATH", PATH)
            .current_dir(self.directory)
            .stdin(Stdio::null())
            .stdout(self.output.try_clone()?)
            .stderr(self.output);
        // SAFETY: `Steps::take` makes system calls only; it neither allocates nor locks.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || steps.take());
        }
        let mut between = command.spawn().map_err(|e| named(self.program, &e))?;
        between.wait()?;
        drop(reporter);
        let mut text = Vec::new();
        report.read_to_end(&mut text)?;
        let stat = Stat::parse(&text)
            .ok_or_else(|| io::Error::other("the started process did not tell who it is"))?;
        Ok(Identity { pid: stat.pid, start_ticks: stat.start_ticks, boot_id: boot_id()? })
    }
}

/// Where programs are looked for, by us and by what we start.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(crate) fn named(program: impl AsRef<OsStr>, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", program.as_ref().to_string_lossy()))
}

impl ResourceLimit {
    fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Self::OpenFiles => libc::RLIMIT_NOFILE,
            Self::CoreBytes => libc::RLIMIT_CORE,
            Self::LockedBytes => libc::RLIMIT_MEMLOCK,
        }
    }
}

/// What happens between fork and exec, prepared so that nothing is left to allocate.
struct Steps {
    reporter: RawFd,
    cgroups: Vec<RawFd>,
    inherit: Vec<RawFd>,
    limits: Vec<(libc::__rlimit_resource_t, u64)>,
    user_id: Option<u32>,
}

impl Steps {
    /// Runs in the child. It forks once more, so that the program belongs to init and we never have to reap
    /// it; whoever returns from here goes on to exec, and tells our parent why if that fails.
    #[allow(unsafe_code)]
    fn take(&self) -> io::Result<()> {
        // SAFETY: plain system calls on integers and on memory of this frame.
        unsafe {
            check(libc::setsid())?;
            // Not fork(3): its handlers take locks that another thread may have held at the first fork.
            match libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) {
                0 => {}
                -1 => return Err(io::Error::last_os_error()),
                _ => libc::_exit(0),
            }
            for group in &self.cgroups {
                check_size(libc::write(*group, b"0".as_ptr().cast(), 1))?;
            }
            self.report()?;
            let all = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
            check(libc::close_range(3, libc::c_uint::MAX, all))?;
            for fd in &self.inherit {
                check(libc::fcntl(*fd, libc::F_SETFD, 0))?;
            }
            libc::umask(0o077);
            for (resource, value) in &self.limits {
                let limit = libc::rlimit { rlim_cur: *value, rlim_max: *value };
                check(libc::setrlimit(*resource, &raw const limit))?;
            }
            if let Some(id) = self.user_id {
                check(libc::setgroups(0, std::ptr::null()))?;
                check(libc::setresgid(id, id, id))?;
                check(libc::setresuid(id, id, id))?;
            }
            check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        }
    }

    /// Our own stat line tells pid and start time at once, while nobody can have taken our pid yet.
    #[allow(unsafe_code)]
    unsafe fn report(&self) -> io::Result<()> {
        let mut line = [0_u8; 1024];
        // SAFETY: the path ends in NUL, the buffer's length is passed with it.
        unsafe {
            let stat = libc::open(c"/proc/self/stat".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            check(stat)?;
            let length = check_size(libc::read(stat, line.as_mut_ptr().cast(), line.len()))?;
            libc::close(stat);
            check_size(libc::write(self.reporter, line.as_ptr().cast(), length)).map(|_| ())
        }
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn check_size(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
