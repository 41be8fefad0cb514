//! Making images here, from files of this host and no registry.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tar::{Builder, EntryType, Header};

use super::archive::{self, Documents, Imported};
use super::config::ImageConfig;
use super::document::{CONFIG_TYPE, Descriptor, LAYER_TYPE, MANIFEST_TYPE};
use super::error::{OciError, at, io};
use super::import::architecture;
use super::limits::Limits;
use crate::digest::Digest;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where Debian's busybox-static puts it.
const BUSYBOX: &str = "/bin/busybox";

/// The tar of one layer, in the making. Equal calls give equal bytes.
pub struct Layer(Builder<Vec<u8>>);

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Layer({} bytes)", self.0.get_ref().len())
    }
}

impl Default for Layer {
    fn default() -> Self {
        Self(Builder::new(Vec::new()))
    }
}

impl Layer {
    pub fn folder(&mut self, path: &str, mode: u32) -> Result<(), OciError> {
        self.add(EntryType::Directory, path, mode, &[])
    }

    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<(), OciError> {
        self.add(EntryType::Regular, path, mode, content)
    }

    pub fn link(&mut self, path: &str, target: &str) -> Result<(), OciError> {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        self.0.append_link(&mut header, path, target).map_err(io(format!("add {path}")))
    }

    fn add(&mut self, kind: EntryType, path: &str, mode: u32, content: &[u8]) -> Result<(), OciError> {
        let mut header = header(kind, mode, content.len() as u64);
        self.0.append_data(&mut header, path, content).map_err(io(format!("add {path}")))
    }

    fn finish(self) -> Result<Vec<u8>, OciError> {
        self.0.into_inner().map_err(io("finish a layer"))
    }
}

/// A small image of this host's static busybox with a link per applet; its program is `sh`.
pub fn busybox(out: &Path) -> Result<Imported, OciError> {
    let program = fs::read(BUSYBOX).map_err(|e| OciError::Io {
        what: format!("read {BUSYBOX} (apt-get install busybox-static)"),
        source: e,
    })?;
    let mut layer = Layer::default();
    for (path, mode) in [("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777), ("var", 0o755)] {
        layer.folder(path, mode)?;
    }
    layer.file("bin/busybox", 0o755, &program)?;
    for applet in applets()? {
        layer.link(&format!("bin/{applet}"), "busybox")?;
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
    layer.file("etc/passwd", 0o644, passwd.as_bytes())?;
    layer.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    let config = ImageConfig {
        cmd: vec!["sh".to_owned()],
        env: vec![super::config::env_var(PATH)],
        ..ImageConfig::default()
    };
    image(out, vec![layer], &config)
}

/// Writes an archive with these layers, lowest first, for this host's architecture.
pub fn image(out: &Path, layers: Vec<Layer>, config: &ImageConfig) -> Result<Imported, OciError> {
    let plain = layers.into_iter().map(Layer::finish).collect::<Result<Vec<_>, _>>()?;
    let blobs =
        plain.iter().map(|tar| gzip(tar)).collect::<io::Result<Vec<_>>>().map_err(io("compress a layer"))?;
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": config.entrypoint,
            "Cmd": config.cmd,
            "Env": config.env.iter().map(|v| format!("{}={}", v.name, v.value)).collect::<Vec<_>>(),
            "WorkingDir": config.working_dir,
            "User": config.user,
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": plain.iter().map(|tar| format!("sha256:{}", Digest::of(tar))).collect::<Vec<_>>(),
        },
    });
    let config = config.to_string().into_bytes();
    let describe = |kind: &str, blob: &[u8]| Descriptor::new(kind, Digest::of(blob), blob.len() as u64);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": describe(CONFIG_TYPE, &config),
        "layers": blobs.iter().map(|b| describe(&format!("{LAYER_TYPE}+gzip"), b)).collect::<Vec<_>>(),
    });
    let manifest = manifest.to_string().into_bytes();
    let descriptor = describe(MANIFEST_TYPE, &manifest);
    let documents = Documents::new(descriptor, manifest, &Limits::default(), |_| Ok(config))?;
    archive::write(out, documents, |layer| {
        let blob = blobs.iter().find(|blob| Digest::of(blob) == layer.digest);
        Ok(Box::new(blob.map(Vec::as_slice).unwrap_or_default()))
    })
}

/// What this busybox can be called as.
fn applets() -> Result<Vec<String>, OciError> {
    let program = PathBuf::from(BUSYBOX);
    let output = Command::new(&program).arg("--list").output().map_err(at("run", &program))?;
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names.lines().filter(|name| *name != "busybox").map(str::to_owned).collect())
}

fn gzip(tar: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    io::copy(&mut &*tar, &mut encoder)?;
    encoder.finish()
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}
