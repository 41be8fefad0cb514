//! Encrypted volumes: LUKS in the blocks of a volume's qcow2 files, so that layers, snapshots, merges and backups hold
//! what is encrypted and need no key. Only making one does.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;

use driver::{DiskKey, DriverError, KEY_HEADER};
use model::Bytes;
use sys::memory_file;

use crate::header;
use crate::merge::TIME_MAX;
use crate::pool::{QEMU_IMG, failed};

/// Rounds of the function that makes a slot's key of the given one. That one is random and as long as the slot's: there
/// is nothing to guess, and nothing to slow down.
const ROUNDS_MS: u32 = 10;
/// So much of a disk is zero at first, that nobody finds a filesystem or a table of partitions in the noise.
const ZEROS: u64 = 1 << 20;

/// Makes a raw file of an encrypted disk that has nothing in it: noise but for its beginning.
pub(crate) async fn make(path: &Path, size: Bytes, key: &DiskKey) -> Result<(), DriverError> {
    let secret = Secret::of(key)?;
    let mut args = words(&["create", "-q", "-f", "luks"]);
    args.extend(secret.object());
    args.extend(words(&["-o", &format!("key-secret={},iter-time={ROUNDS_MS}", Secret::ID)]));
    args.extend([path.into(), size.0.to_string().into()]);
    run(args).await?;
    let made = std::fs::metadata(path).map_err(failed("making an encrypted disk"))?.len();
    if made != size.0 + KEY_HEADER.0 {
        let why = format!("its header has {} bytes, not {}", made.saturating_sub(size.0), KEY_HEADER.0);
        return Err(DriverError::failed("making an encrypted disk", why));
    }
    let zeros = vec![0; usize::try_from(size.0.min(ZEROS)).unwrap_or_default()];
    let zeros = memory_file::holding(&zeros).map_err(failed("making an encrypted disk"))?;
    let below = format!("file.driver=file,file.filename={}", escaped(path));
    write(&secret, "raw", &memory_file::path_of(&zeros), &below).await
}

/// Writes what an image shows to an encrypted disk in a qcow2 file: all of it, since zeros are noise there else.
pub(crate) async fn write_image(image: &Path, to: &Path, key: &DiskKey) -> Result<(), DriverError> {
    header::check(image, &[None]).map_err(failed("reading the image"))?;
    let below = format!("file.driver=qcow2,file.file.driver=file,file.file.filename={}", escaped(to));
    write(&Secret::of(key)?, "qcow2", image, &below).await
}

async fn write(secret: &Secret<'_>, format: &str, from: &Path, below: &str) -> Result<(), DriverError> {
    let mut args = words(&["convert", "-q", "-n", "-f", format, "--target-image-opts"]);
    args.extend(secret.object());
    args.extend([from.into(), format!("driver=luks,key-secret={},{below}", Secret::ID).into()]);
    run(args).await
}

async fn run(args: Vec<OsString>) -> Result<(), DriverError> {
    let done = sys::command::run(QEMU_IMG, args, TIME_MAX).await;
    done.map(drop).map_err(|e| DriverError::failed("qemu-img", e))
}

/// A key where qemu-img finds it, and nobody else does.
struct Secret<'a> {
    key: &'a DiskKey,
    file: File,
}

impl<'a> Secret<'a> {
    const ID: &'static str = "key";

    fn of(key: &'a DiskKey) -> Result<Self, DriverError> {
        let file = memory_file::holding(key.expose().as_bytes());
        let file = file.map_err(|e: io::Error| DriverError::failed("handing over a volume's key", e))?;
        Ok(Self { key, file })
    }

    fn object(&self) -> [OsString; 2] {
        let file = memory_file::path_of(&self.file);
        let object = self.key.object_of_file(Self::ID, &file.to_string_lossy());
        ["--object".into(), object.to_string().into()]
    }
}

/// A value of `a=b,c=d`, where commas are doubled.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}
