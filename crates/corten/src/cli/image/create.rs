//! `corten image create`: an image out of a disk of the cloud, as it is at the moment.

use std::time::Duration;

use model::ObjectMeta;
use model::compute::{Image, ImageFormat, ImageSource, ImageSpec};

use super::import::downloaded;
use crate::cli::api::Cloud;
use crate::cli::kind::{self, Target};
use crate::cli::{output, parse, wait};
use crate::failure::Failure;

/// Make an image out of the disk of an instance, of a volume, or of a snapshot, which may be in use
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The image's name
    #[arg(value_parser = parse::name)]
    name: String,
    /// The disk that this instance starts from
    #[arg(long, value_name = "INSTANCE", value_parser = parse::name,
          required_unless_present_any = ["from_volume", "from_snapshot"],
          conflicts_with_all = ["from_volume", "from_snapshot"])]
    from_instance: Option<String>,
    /// This volume
    #[arg(long, value_name = "VOLUME", value_parser = parse::name, conflicts_with = "from_snapshot")]
    from_volume: Option<String>,
    /// This snapshot of a volume
    #[arg(long, value_name = "SNAPSHOT", value_parser = parse::name)]
    from_snapshot: Option<String>,
    /// What it is, for people
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// How long to wait until it is ready
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse::duration)]
    timeout: Duration,
}

pub(super) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    let source = ImageSource {
        instance: args.from_instance.unwrap_or_default(),
        volume: args.from_volume.unwrap_or_default(),
        snapshot: args.from_snapshot.unwrap_or_default(),
        ..ImageSource::default()
    };
    let spec = ImageSpec {
        format: ImageFormat::Qcow2,
        source,
        description: args.description,
        ..ImageSpec::default()
    };
    cloud.api::<Image>().create(&Image::new(ObjectMeta::named(&args.name), spec)).await?;
    let target = Target::new(kind::of::<Image>(), &args.name)?;
    wait::until(&cloud, target, args.timeout, "ready", downloaded).await?;
    if cloud.global.quiet {
        return Ok(());
    }
    output::print(&format!("{} created\n", target.full_name()))
}
