//! `corten image import`: an image from a file of this machine, or from a URL that the cloud fetches.

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::compute::{ArtifactRole, Image, ImageFormat, ImagePhase, ImageSource, ImageSpec, Visibility};
use model::{ConditionStatus, ObjectMeta};
use serde_json::Value;

use super::upload::{self, Part};
use crate::cli::api::{Cloud, typed};
use crate::cli::kind::{self, Target};
use crate::cli::progress::transferred;
use crate::cli::wait::{self, Verdict};
use crate::cli::{output, parse};
use crate::failure::Failure;

/// Make an image out of a file or a URL
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File of this machine, folder with an OCI layout, or http(s) URL; not with --kernel
    #[arg(value_name = "PATH|URL", required_unless_present = "kernel", conflicts_with = "kernel")]
    source: Option<String>,
    /// The image's name
    #[arg(long, value_parser = parse::name)]
    name: String,
    /// The file's format; goes without saying for .qcow2, .vmdk, .vhdx, .iso, .img and .raw
    #[arg(long, value_parser = parse::format())]
    format: Option<ImageFormat>,
    /// File or URL of a kernel, for format kernel
    #[arg(long, value_name = "PATH|URL")]
    kernel: Option<String>,
    /// File or URL of the initrd, for format kernel
    #[arg(long, value_name = "PATH|URL")]
    initrd: Option<String>,
    /// The kernel's command line, for format kernel
    #[arg(long, default_value = "", hide_default_value = true)]
    cmdline: String,
    /// Expected digest of the file, 64 hexadecimal digits
    #[arg(long, value_name = "DIGEST", default_value = "", hide_default_value = true)]
    sha256: String,
    /// Let every project start from it; only in project system
    #[arg(long)]
    public: bool,
    /// What it is, for people
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// How long to wait for a download
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse::duration)]
    timeout: Duration,
}

pub(super) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    let plan = plan(&args)?;
    match plan {
        Plan::Upload { spec, parts } => {
            for part in &parts {
                readable(&part.path)?;
            }
            upload::create(&cloud, &Image::new(ObjectMeta::named(&args.name), spec), &parts).await
        }
        Plan::Download(spec) => {
            let image = Image::new(ObjectMeta::named(&args.name), spec);
            cloud.api::<Image>().create(&image).await?;
            let target = Target::new(kind::of::<Image>(), &args.name)?;
            wait::until(&cloud, target, args.timeout, "ready", downloaded).await?;
            output::print(&format!("{} imported\n", target.full_name()))
        }
    }
}

/// Who sends the bytes.
#[derive(Debug, PartialEq)]
enum Plan {
    Upload { spec: ImageSpec, parts: Vec<Part> },
    Download(ImageSpec),
}

fn plan(args: &Args) -> Result<Plan, Failure> {
    let source = args.source.as_deref().or(args.kernel.as_deref()).unwrap_or_default();
    let format = match args.format {
        Some(format) => format,
        None if args.kernel.is_some() => ImageFormat::Kernel,
        None => declared(source)?,
    };
    if args.kernel.is_some() && format != ImageFormat::Kernel {
        return Err(Failure::usage(format!(
            "--kernel makes an image of format kernel, not {}",
            format.as_str()
        )));
    }
    if format != ImageFormat::Kernel && (args.initrd.is_some() || !args.cmdline.is_empty()) {
        return Err(Failure::usage("--initrd and --cmdline are for format kernel only"));
    }
    let mut spec = ImageSpec {
        format,
        source: ImageSource::default(),
        sha256: args.sha256.clone(),
        visibility: if args.public { Visibility::Public } else { Visibility::Private },
        cmdline: args.cmdline.clone(),
        description: args.description.clone(),
    };
    let initrd = args.initrd.as_deref();
    if is_url(source) {
        if initrd.is_some_and(|initrd| !is_url(initrd)) {
            return Err(Failure::usage("kernel and initrd must both be files or both be URLs"));
        }
        spec.source = ImageSource {
            url: source.into(),
            initrd_url: initrd.unwrap_or_default().into(),
            ..ImageSource::default()
        };
        return Ok(Plan::Download(spec));
    }
    if initrd.is_some_and(is_url) {
        return Err(Failure::usage("kernel and initrd must both be files or both be URLs"));
    }
    // The kernel comes last: it makes the image complete.
    let initrd = initrd.map(|path| Part { role: ArtifactRole::Initrd, path: path.into() });
    let main = Part { role: role(format), path: PathBuf::from(source) };
    Ok(Plan::Upload { spec, parts: initrd.into_iter().chain([main]).collect() })
}

/// The format a file name declares. Names are the user's own word; contents are never guessed at.
fn declared(source: &str) -> Result<ImageFormat, Failure> {
    let path = source.split(['?', '#']).next().filter(|_| is_url(source)).unwrap_or(source);
    let extension = Path::new(path).extension().and_then(|e| e.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "qcow2" => Ok(ImageFormat::Qcow2),
        "vmdk" => Ok(ImageFormat::Vmdk),
        "vhd" => Ok(ImageFormat::Vhd),
        "vhdx" => Ok(ImageFormat::Vhdx),
        "ova" => Ok(ImageFormat::Ova),
        "iso" => Ok(ImageFormat::Iso),
        "img" | "raw" => Ok(ImageFormat::Raw),
        _ => Err(Failure::usage(format!("the name {path:?} does not say which format it has"))
            .hint("say so with --format: raw, qcow2, vmdk, vhd, vhdx, ova, iso, kernel or oci")),
    }
}

pub(super) fn role(format: ImageFormat) -> ArtifactRole {
    match format {
        ImageFormat::Kernel => ArtifactRole::Kernel,
        ImageFormat::Oci => ArtifactRole::Oci,
        _ => ArtifactRole::Disk,
    }
}

fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

fn readable(path: &Path) -> Result<(), Failure> {
    std::fs::File::open(path).map(drop).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Failure::not_found(format!("there is no file {}", path.display())),
        _ => Failure::io(format!("cannot read {}", path.display()))(e),
    })
}

pub(super) fn downloaded(object: Option<&Value>) -> Result<Verdict, Failure> {
    let Some(object) = object else {
        return Ok(Verdict::Failed(Failure::not_found("the image was deleted meanwhile")));
    };
    let image: Image = typed(object)?;
    Ok(match image.status.phase {
        ImagePhase::Ready => Verdict::Done,
        ImagePhase::Failed => {
            let unmet = image.status.conditions.iter().find(|c| c.status == ConditionStatus::False);
            let why = unmet.map_or("the import failed", |c| c.message.as_str());
            Verdict::Failed(Failure::failed(why).hint(format!(
                "remove it with `corten image rm {}` before you try again",
                image.metadata.name
            )))
        }
        ImagePhase::Pending => {
            let unmet = image.status.conditions.iter().find(|c| c.status == ConditionStatus::False);
            Verdict::Wait(unmet.map_or_else(|| "waiting to begin".into(), |c| c.message.clone()))
        }
        ImagePhase::Importing => {
            Verdict::Wait(format!("received {}", transferred(image.status.received.0, 0)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn planned(line: &str) -> String {
        let words = ["import", "--name", "x"].into_iter().chain(line.split_whitespace());
        let args = match Line::try_parse_from(words) {
            Ok(line) => line.args,
            Err(e) => return e.kind().to_string(),
        };
        match plan(&args) {
            Ok(Plan::Download(spec)) => {
                format!("{} {} {}", spec.format.as_str(), spec.source.url, spec.source.initrd_url)
            }
            Ok(Plan::Upload { spec, parts }) => {
                let parts = parts.iter().map(|p| format!(" {}={}", p.role.as_str(), p.path.display()));
                format!("{}{}", spec.format.as_str(), parts.collect::<String>())
            }
            Err(failure) => failure.message,
        }
    }

    #[test]
    fn what_is_sent_and_what_is_fetched() {
        let check = |line: &str, expected: &str| assert_eq!(planned(line), expected, "{line}");
        check("disk.qcow2", "qcow2 disk=disk.qcow2");
        check("a.IMG", "raw disk=a.IMG");
        check("a.img --format qcow2", "qcow2 disk=a.img");
        check("app.tar --format oci", "oci oci=app.tar");
        check("--kernel k --initrd i", "kernel initrd=i kernel=k");
        check("k --format kernel", "kernel kernel=k");
        check("https://h/d.qcow2?x=1", "qcow2 https://h/d.qcow2?x=1 ");
        check("--kernel https://h/k --initrd https://h/i", "kernel https://h/k https://h/i");
    }

    #[test]
    fn what_is_refused() {
        let check = |line: &str, expected: &str| {
            let found = planned(line);
            assert!(found.contains(expected), "{line}: {found}");
        };
        check("disk", "does not say which format");
        check("https://h/qcow2", "does not say which format");
        check("--kernel k --format iso", "--kernel makes an image of format kernel");
        check("d.iso --initrd i", "for format kernel only");
        check("--kernel https://h/k --initrd i", "both be URLs");
        check("--kernel k --initrd https://h/i", "both be URLs");
        check("", "required");
        check("a.img --kernel k", "cannot be used");
        check("a --format docx", "isn't valid");
    }
}
