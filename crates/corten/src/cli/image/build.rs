//! `corten image build`: guest images made out of this machine's packages, then imported like any other file.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use image::Task;
use image::build::{Packages, Tiny};
use model::ObjectMeta;
use model::compute::{ArtifactRole, Image, ImageFormat, ImageSpec, Visibility};

use super::upload::{self, Part};
use crate::cli::api::Cloud;
use crate::cli::parse;
use crate::cli::progress::Progress;
use crate::failure::Failure;

/// Make an image out of Debian packages
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// tiny: a kernel and busybox, in seconds; tiny-disk: the same as a bootable disk; debian: a cloud image
    /// with cloud-init, in minutes; busybox: an OCI image
    #[arg(value_enum)]
    what: What,
    /// The image's name; what is built when not given
    #[arg(long, value_parser = parse::name)]
    name: Option<String>,
    /// Let every project start from it; only in project system
    #[arg(long)]
    public: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Tiny,
    TinyDisk,
    Debian,
    Busybox,
}

pub(super) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    let name = args.name.unwrap_or_else(|| args.what.word().to_owned());
    if cloud.api::<Image>().find(&name).await?.is_some() {
        return Err(Failure::failed(format!("there is an image {name:?} already"))
            .hint(format!("build under another --name, or remove it with `corten image rm {name}`")));
    }
    let mut progress = Progress::new(cloud.global.quiet);
    progress.say(&format!("building {name}"));
    let place = Place::make(&cloud.global.data)?;
    let (what, folders) = (args.what, (place.packages.clone(), place.out.clone()));
    let built = tokio::task::spawn_blocking(move || build(what, &folders.0, &folders.1)).await;
    let built = built.map_err(|e| Failure::failed(format!("the build ended early: {e}")))??;
    drop(progress);
    let spec = ImageSpec {
        format: built.format,
        cmdline: built.cmdline,
        visibility: if args.public { Visibility::Public } else { Visibility::Private },
        ..ImageSpec::default()
    };
    upload::create(&cloud, &Image::new(ObjectMeta::named(&name), spec), &built.parts).await
}

impl What {
    fn word(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::TinyDisk => "tiny-disk",
            Self::Debian => "debian",
            Self::Busybox => "busybox",
        }
    }
}

/// Files ready to be sent.
struct Built {
    format: ImageFormat,
    cmdline: String,
    parts: Vec<Part>,
}

fn build(what: What, packages: &Path, out: &Path) -> Result<Built, Failure> {
    let one = |format, role, path| Built { format, cmdline: String::new(), parts: vec![Part { role, path }] };
    match what {
        What::Tiny => {
            let tiny = tiny(packages, out)?;
            // The kernel comes last: it makes the image complete.
            let parts = vec![
                Part { role: ArtifactRole::Initrd, path: tiny.initrd },
                Part { role: ArtifactRole::Kernel, path: tiny.kernel },
            ];
            Ok(Built { format: ImageFormat::Kernel, cmdline: tiny.cmdline, parts })
        }
        What::TinyDisk => {
            let tiny = tiny(packages, &out.join("tiny"))?;
            let path = image::build::tiny_disk(&tiny, out).map_err(|e| failed(&e))?;
            Ok(one(ImageFormat::Qcow2, ArtifactRole::Disk, path))
        }
        What::Debian => {
            let path = image::build::debian(out, &Task::default()).map_err(|e| failed(&e))?;
            Ok(one(ImageFormat::Qcow2, ArtifactRole::Disk, path))
        }
        What::Busybox => {
            let path = out.join("busybox.tar");
            image::oci::build::busybox(&path).map_err(|e| failed(&e))?;
            Ok(one(ImageFormat::Oci, ArtifactRole::Oci, path))
        }
    }
}

fn tiny(packages: &Path, out: &Path) -> Result<Tiny, Failure> {
    let packages = Packages::open(packages).map_err(|e| failed(&e))?;
    image::build::tiny(out, &packages).map_err(|e| failed(&e))
}

/// An error with all that caused it, in one line.
fn failed(error: &dyn Error) -> Failure {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    Failure::failed(text)
}

/// Where a build works: beside the cloud's data, where downloaded packages stay for the next time, or in a
/// folder of its own that goes away.
struct Place {
    packages: PathBuf,
    out: PathBuf,
    remove: PathBuf,
}

impl Place {
    fn make(data: &Path) -> Result<Self, Failure> {
        let own = format!("out.{}", std::process::id());
        let kept = data.join("build");
        if data.is_dir() && fs::create_dir_all(kept.join(&own)).is_ok() {
            let out = kept.join(own);
            return Ok(Self { packages: kept.join("packages"), remove: out.clone(), out });
        }
        let root = std::env::temp_dir().join(format!("corten-build.{}", std::process::id()));
        let out = root.join("out");
        fs::create_dir_all(&out).map_err(Failure::io(format!("cannot make {}", out.display())))?;
        Ok(Self { packages: root.join("packages"), out, remove: root })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left over takes room and does no harm.
        let _ = fs::remove_dir_all(&self.remove);
    }
}
