//! Debian packages as a source of files: downloaded with apt into a folder, read, never installed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::BuildError;
use crate::digest::Digest;
use crate::tool::Tool;

const QUERY_LIMIT: Duration = Duration::from_mins(1);
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(15);
const UNPACK_LIMIT: Duration = Duration::from_mins(2);

/// A folder of downloaded packages.
#[derive(Debug)]
pub struct Packages {
    dir: PathBuf,
}

/// Files of packages by their path, which begins with `/`.
pub(super) type Files = BTreeMap<String, PackagedFile>;

#[derive(Debug)]
pub(super) enum PackagedFile {
    Regular(Vec<u8>),
    /// A symbolic link's target.
    Link(String),
}

impl Packages {
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, BuildError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(BuildError::at(&dir))?;
        Ok(Self { dir })
    }

    /// The packages' files that `wanted` picks by path, downloaded when they are not here yet.
    pub(super) fn files(&self, names: &[&str], wanted: impl Fn(&str) -> bool) -> Result<Files, BuildError> {
        let mut files = Files::new();
        for package in self.fetch(names)? {
            unpack(&package, &wanted, &mut files)?;
        }
        Ok(files)
    }

    fn fetch(&self, names: &[&str]) -> Result<Vec<PathBuf>, BuildError> {
        // One download at a time, whoever else uses this folder: the next finds everything here.
        let lock = self.dir.join("lock");
        let _locked =
            File::create(&lock).and_then(|file| file.lock().map(|()| file)).map_err(BuildError::at(&lock))?;
        // apt says nothing about a package whose file lies in its working directory: always an empty one.
        let work = self.dir.join("work");
        let _ = fs::remove_dir_all(&work);
        fs::create_dir(&work).map_err(BuildError::at(&work))?;
        self.fetch_through(&work, names)
    }

    fn fetch_through(&self, work: &Path, names: &[&str]) -> Result<Vec<PathBuf>, BuildError> {
        let apt = |limit, arguments: &[&str]| {
            Tool::new("apt-get", limit).args(arguments).args(names).current_dir(work).output()
        };
        let listing = apt(QUERY_LIMIT, &["download", "--print-uris", "-qq"])?;
        let offers = parse_offers(&String::from_utf8_lossy(&listing));
        if offers.len() < names.len() {
            return Err(BuildError::UnknownPackage { name: names.join(", ") });
        }
        let path = |offer: &Offer| self.dir.join(&offer.file);
        if !offers.iter().all(|offer| offer.is_at(&path(offer))) {
            // apt's own user cannot write here; as root apt warns and goes on, which is what is wanted.
            apt(DOWNLOAD_LIMIT, &["download", "-qq", "-o", "APT::Sandbox::User=root"])?;
            for offer in &offers {
                let from = work.join(&offer.file);
                if !offer.is_at(&from) {
                    return Err(BuildError::WrongDigest { name: offer.file.clone() });
                }
                fs::rename(&from, path(offer)).map_err(BuildError::at(&from))?;
            }
        }
        Ok(offers.iter().map(path).collect())
    }
}

/// The name of the first package `name` depends on: what a meta package stands for today.
pub(super) fn dependency(name: &str) -> Result<String, BuildError> {
    let listing = Tool::new("apt-cache", QUERY_LIMIT).args(["depends", "--important", name]).output()?;
    String::from_utf8_lossy(&listing)
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: ").map(str::to_owned))
        .ok_or_else(|| BuildError::UnknownPackage { name: name.to_owned() })
}

/// One file the package mirror offers.
#[derive(Debug, PartialEq)]
struct Offer {
    file: String,
    digest: Digest,
}

impl Offer {
    fn is_at(&self, path: &Path) -> bool {
        Digest::of_file(path).is_ok_and(|(digest, _)| digest == self.digest)
    }
}

/// Lines of `'URI' FILE SIZE SHA256:HEX`.
fn parse_offers(listing: &str) -> Vec<Offer> {
    listing
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let file = words.next()?.to_owned();
            let digest = words.nth(1)?.strip_prefix("SHA256:")?.parse().ok()?;
            (!file.contains('/')).then_some(Offer { file, digest })
        })
        .collect()
}

fn unpack(package: &Path, wanted: &impl Fn(&str) -> bool, files: &mut Files) -> Result<(), BuildError> {
    let tool = Tool::new("dpkg-deb", UNPACK_LIMIT).args([OsStr::new("--fsys-tarfile"), package.as_os_str()]);
    tool.stream(|stdout| {
        for entry in tar::Archive::new(stdout).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().trim_start_matches('.').to_owned();
            let kind = entry.header().entry_type();
            if !wanted(&path) {
                continue;
            }
            if kind.is_file() {
                let mut data = Vec::new();
                entry.read_to_end(&mut data)?;
                files.insert(path, PackagedFile::Regular(data));
            } else if let Some(target) = entry.link_name()?.filter(|_| kind.is_symlink()) {
                files.insert(path, PackagedFile::Link(target.to_string_lossy().into_owned()));
            }
        }
        Ok(())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_apt_offers() {
        let hex = "ab".repeat(32);
        let listing = format!("'http://host/p/x_1%3a2.deb' x_1%3a2.deb 928188 SHA256:{hex}\nW: noise\n");
        let offers = parse_offers(&listing);
        assert_eq!(offers, [Offer { file: "x_1%3a2.deb".into(), digest: hex.parse().unwrap() }]);
    }

    #[test]
    fn an_offer_cannot_name_a_file_elsewhere() {
        let listing = format!("'http://host/x' ../../etc/x 1 SHA256:{}\n", "ab".repeat(32));
        assert_eq!(parse_offers(&listing), []);
    }
}
