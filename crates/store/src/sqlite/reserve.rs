//! Space set aside while there is some, given back when there is none, so that a full store can still be emptied.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::directory::open_private;

#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    spent: bool,
}

impl Reserve {
    /// Sets the space aside; a disk that is full already leaves the reserve spent.
    pub(super) fn new(path: PathBuf, bytes: u64) -> io::Result<Self> {
        let held = fs::metadata(&path).is_ok_and(|found| found.len() == bytes);
        let mut reserve = Self { path, bytes, spent: !held };
        reserve.restore()?;
        Ok(reserve)
    }

    pub(super) fn is_spent(&self) -> bool {
        self.spent
    }

    pub(super) fn spend(&mut self) -> io::Result<()> {
        self.spent = true;
        give_back(&self.path)
    }

    /// Sets the space aside again if it was spent and there is room. Says whether it is there.
    pub(super) fn restore(&mut self) -> io::Result<bool> {
        if !self.spent {
            return Ok(true);
        }
        match self.fill() {
            Ok(()) => {
                self.spent = false;
                Ok(true)
            }
            Err(error) if no_room(&error) => {
                self.spend()?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Written, not just allocated: file systems differ in what they promise for holes.
    fn fill(&self) -> io::Result<()> {
        let mut file = open_private(&self.path)?;
        let block = vec![0; 64 * 1024];
        let mut left = self.bytes;
        while left > 0 {
            let count = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.write_all(&block[..count])?;
            left -= count as u64;
        }
        file.sync_all()
    }
}

/// Frees the space. Removing alone does not while a child that was just forked still has the file open.
pub(super) fn give_back(path: &Path) -> io::Result<()> {
    open_private(path)?.set_len(0)?;
    fs::remove_file(path)
}

fn no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
