//! What `qemu-img` (package qemu-utils) does with disks, wherever they are.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use model::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use sys::command::{CommandError, run};
use sys::memory_file;

use crate::{DiskFormat, DiskKey, DiskLocation, DriverError, KEY_HEADER};

const QEMU_IMG: &str = "qemu-img";
/// A look at a header.
const LOOK_MAX: Duration = Duration::from_secs(30);
/// A whole disk is written.
const WRITE_MAX: Duration = Duration::from_secs(6 * 3600);
/// Rounds of the function that makes a slot's key of the given one. That one is random and as long as the slot's: there
/// is nothing to guess, and nothing to slow down.
const ROUNDS_MS: u32 = 10;
/// So much of an encrypted disk is zero at first, that nobody finds a filesystem or a table of partitions in the noise.
const ZEROS: u64 = 1 << 20;

/// How large the disk in a file is, of a format that is stated.
pub async fn size_in(path: &Path, format: DiskFormat) -> Result<Bytes, DriverError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Info {
        virtual_size: u64,
    }
    let path = path.to_string_lossy();
    let told = run(QEMU_IMG, ["info", "--output", "json", "-f", format.driver(), &path], LOOK_MAX).await;
    let told = told.map_err(failed("info"))?;
    let info: Info =
        serde_json::from_slice(&told).map_err(|e| DriverError::failed("reading what qemu-img says", e))?;
    Ok(Bytes(info.virtual_size))
}

/// The node of a verified image of the cache: it stands on nothing, whatever its header says.
pub fn image_node(path: &Path) -> Value {
    json!({
        "driver": "qcow2", "backing": null, "file": { "driver": "file", "filename": path.to_string_lossy() },
    })
}

/// The node of a raw file.
pub fn raw_node(path: &Path) -> Value {
    json!({ "driver": "raw", "file": { "driver": "file", "filename": path.to_string_lossy() } })
}

/// Writes what a node shows to a disk that is as large at least, and of which nothing was ever written.
pub async fn fill(from: &Value, to: &DiskLocation) -> Result<(), DriverError> {
    // Who runs here may read the keyring, and needs no key on a command line.
    let to = to.without_key();
    let (from, to) = (format!("json:{from}"), format!("json:{}", to.node("to", "", false)));
    let args = ["convert", "-q", "-n", "--target-is-zero", "-W", &from, &to];
    run(QEMU_IMG, args, WRITE_MAX).await.map(drop).map_err(failed("convert"))
}

/// Makes a raw file of an encrypted disk that has nothing in it: noise but for its beginning.
pub async fn make_encrypted(path: &Path, size: Bytes, key: &DiskKey) -> Result<(), DriverError> {
    let secret = Secret::of(key)?;
    let mut args = words(&["create", "-q", "-f", "luks"]);
    args.extend(secret.object());
    args.extend(words(&["-o", &format!("key-secret={},iter-time={ROUNDS_MS}", Secret::ID)]));
    args.extend([path.into(), size.0.to_string().into()]);
    run(QEMU_IMG, args, WRITE_MAX).await.map_err(failed("create"))?;
    let made = std::fs::metadata(path).map_err(|e| DriverError::failed("making an encrypted disk", e))?.len();
    if made != size.0 + KEY_HEADER.0 {
        let why = format!("its header has {} bytes, not {}", made.saturating_sub(size.0), KEY_HEADER.0);
        return Err(DriverError::failed("making an encrypted disk", why));
    }
    let zeros = vec![0; usize::try_from(size.0.min(ZEROS)).unwrap_or_default()];
    let zeros =
        memory_file::holding(&zeros).map_err(|e| DriverError::failed("making an encrypted disk", e))?;
    let zeros = raw_node(&memory_file::path_of(&zeros));
    write_encrypted(&secret, &zeros, &DiskLocation::raw(path)).await
}

/// Writes what an image shows to an encrypted disk: all of it, since zeros are noise there else.
pub async fn encrypt_image(image: &Path, to: &DiskLocation, key: &DiskKey) -> Result<(), DriverError> {
    write_encrypted(&Secret::of(key)?, &image_node(image), to).await
}

async fn write_encrypted(secret: &Secret<'_>, from: &Value, to: &DiskLocation) -> Result<(), DriverError> {
    let to = DiskKey::node("plain", Secret::ID, &to.without_key().node("to", "", false));
    let mut args = words(&["convert", "-q", "-n", "-O", "luks"]);
    args.extend(secret.object());
    args.extend([format!("json:{from}").into(), format!("json:{to}").into()]);
    run(QEMU_IMG, args, WRITE_MAX).await.map(drop).map_err(failed("convert"))
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
        let file = file.map_err(|e| DriverError::failed("handing over a volume's key", e))?;
        Ok(Self { key, file })
    }

    fn object(&self) -> [OsString; 2] {
        let file = memory_file::path_of(&self.file);
        let object = self.key.object_of_file(Self::ID, &file.to_string_lossy());
        ["--object".into(), object.to_string().into()]
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn failed(what: &'static str) -> impl Fn(CommandError) -> DriverError {
    move |e| DriverError::failed(format!("qemu-img {what} (packages qemu-utils, qemu-block-extra)"), e)
}
