//! Locks on ranges of a file that belong to the open file and not to the process (`F_OFD_SETLK`, fcntl(2)). They hold
//! between processes, also of several hosts where the file system carries locks from host to host, and end with the
//! last descriptor, however its process ends.

use std::fs::File;
use std::io;
use std::ops::Range;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Takes a range for this open file alone; false when another has a lock on a part of it. The file has to be open for
/// writing.
pub fn try_exclusive(file: &File, range: Range<i64>) -> io::Result<bool> {
    match set(file, libc::F_WRLCK, &range) {
        Ok(()) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Gives a range back at once: closing the file does so only when a program that is just being started, and has its
/// descriptors until it begins, has closed it as well.
pub fn release(file: &File, range: Range<i64>) -> io::Result<()> {
    set(file, libc::F_UNLCK, &range).map_err(Into::into)
}

fn set(file: &File, kind: i32, range: &Range<i64>) -> Result<(), Errno> {
    // `l_type` and `l_whence` are shorter than the constants that belong into them.
    #[allow(clippy::cast_possible_truncation)]
    let wanted = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: range.start,
        l_len: range.end - range.start,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&wanted)).map(drop)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn two_open_files_exclude_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let open = || File::options().create(true).append(true).open(dir.path().join("lock")).unwrap();
        let (one, other) = (open(), open());
        assert!(try_exclusive(&one, 100..300).unwrap());
        assert!(try_exclusive(&one, 100..300).unwrap(), "it is its own");
        assert!(!try_exclusive(&other, 299..301).unwrap(), "a part is taken");
        assert!(try_exclusive(&other, 300..301).unwrap(), "the rest is not");
        let still_open = one.try_clone().unwrap();
        release(&one, 100..300).unwrap();
        assert!(try_exclusive(&other, 100..300).unwrap());
        drop(other);
        // A program that another test starts at this moment has it until it is itself (fork, then execve).
        let deadline = Instant::now() + Duration::from_secs(10);
        while !try_exclusive(&still_open, 100..300).unwrap() {
            assert!(Instant::now() < deadline, "closed, it is given back as well");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
