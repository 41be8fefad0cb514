//! What is on its way into pools that keep no files: the files that volumes are made of, and what is being made just now.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use model::Bytes;
use parking_lot::Mutex;

use crate::{DriverError, VolumePlace};

/// A folder of this host, and what this process makes.
#[derive(Debug)]
pub struct Making {
    folder: PathBuf,
    now: Mutex<HashSet<String>>,
}

/// Something is being made as long as this lives.
#[derive(Debug)]
pub struct Begun<'a> {
    making: &'a Making,
    what: String,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.making.now.lock().remove(&self.what);
    }
}

impl Making {
    /// The folder is made when it is needed.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), now: Mutex::default() }
    }

    pub fn begin(&self, what: &str) -> Begun<'_> {
        self.now.lock().insert(what.to_owned());
        Begun { making: self, what: what.to_owned() }
    }

    /// What is not was left by a process before, and can go.
    pub fn has_begun(&self, what: &str) -> bool {
        self.now.lock().contains(what)
    }

    /// Where the file is that a volume is made of.
    pub fn fill(&self, place: &VolumePlace) -> PathBuf {
        self.folder.join(format!("{}.{}.raw", place.pool, place.uid))
    }

    /// The same, when nothing is there.
    pub fn new_fill(&self, place: &VolumePlace) -> Result<PathBuf, DriverError> {
        self.remove_fill(place)?;
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        Ok(self.fill(place))
    }

    /// The same, with a file of so many zeros.
    pub fn empty_fill(&self, place: &VolumePlace, size: Bytes) -> Result<PathBuf, DriverError> {
        let path = self.new_fill(place)?;
        File::create(&path).and_then(|file| file.set_len(size.0)).map_err(failed)?;
        Ok(path)
    }

    pub fn remove_fill(&self, place: &VolumePlace) -> Result<(), DriverError> {
        match std::fs::remove_file(self.fill(place)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(DriverError::failed("removing what was left", e))
            }
            _ => Ok(()),
        }
    }
}

fn failed(e: io::Error) -> DriverError {
    DriverError::failed("making a volume's file", e)
}
