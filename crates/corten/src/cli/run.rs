//! `corten run`: makes instances out of an image.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use model::compute::{
    Container, ContainersPayload, DiskPayload, EnvVar, Image, Instance, InstanceNetwork, InstanceSpec,
    InstanceVolume, Isolation, KernelPayload, OnHostLoss, Payload, PayloadKind, PlacementSpec, RestartPolicy,
    VolumeTemplate,
};
use model::network::Address;
use model::storage::{Volume, VolumeSource, VolumeSpec};
use model::{Bytes, CpuMillis, ObjectMeta, Resources};

use super::api::{Cloud, write_options};
use super::kind::{self, Target};
use super::{key, output, parse, wait};
use crate::failure::Failure;

/// Longest part of an image's name in a generated name.
const PREFIX_MAX: usize = 50;

/// What the subnet of a project's first network is called.
const DEFAULT_SUBNET: &str = "default";

/// Make an instance out of an image and start it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, of this project or a public one
    #[arg(long, value_parser = parse::name, required_unless_present = "boot_volume")]
    image: Option<String>,
    /// The instance's name; the image's with five characters more when not given
    #[arg(long, value_parser = parse::name)]
    name: Option<String>,
    /// Its size; `corten get instancetypes` lists them
    #[arg(long = "type", value_name = "TYPE")]
    instance_type: Option<String>,
    /// What separates it from others; vm for disks and kernels, namespace for OCI images when not given
    #[arg(long, value_parser = parse::isolation())]
    isolation: Option<Isolation>,
    /// Cores, as in 2 or 500m; in place of a type
    #[arg(long, value_parser = parse::cpu)]
    cpu: Option<CpuMillis>,
    /// Memory, as in 512Mi or 2Gi; in place of a type
    #[arg(long, value_parser = parse::bytes)]
    memory: Option<Bytes>,
    /// A script or cloud-init configuration for the guest, at most 64 KiB
    #[arg(long, value_name = "FILE", value_parser = parse::file)]
    user_data: Option<PathBuf>,
    /// The KeyPair to let in; a key of your own is made when not given
    #[arg(long, value_name = "NAME", value_parser = parse::name)]
    key: Option<String>,
    /// An environment variable of a container; can be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::pair)]
    env: Vec<(String, String)>,
    /// A label; can be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::pair)]
    label: Vec<(String, String)>,
    /// Only on this host
    #[arg(long, value_parser = parse::name)]
    host: Option<String>,
    /// The subnet of its network card, the default one when not given; can be repeated, for a card each
    #[arg(long, value_parser = parse::name)]
    subnet: Vec<String>,
    /// The address of its first card; any of the subnet when not given
    #[arg(long, value_name = "ADDR")]
    address: Option<IpAddr>,
    /// A SecurityGroup that its cards are in, the default one when not given; can be repeated
    #[arg(long, value_name = "GROUP", value_parser = parse::name)]
    security_group: Vec<String>,
    /// Give its first card a floating address, which goes with the instance
    #[arg(long)]
    public: bool,
    /// A Volume that it has from the start, for containers with the folder in which they see it; can be repeated
    #[arg(long, value_name = "VOLUME[:PATH]", value_parser = parse::volume)]
    volume: Vec<InstanceVolume>,
    /// Boot from this Volume, which outlives the instance; with --image it is made from that first
    #[arg(long, value_name = "VOLUME", value_parser = parse::name, conflicts_with = "count")]
    boot_volume: Option<String>,
    /// Encrypt the volume that is made to boot from
    #[arg(long, requires = "boot_volume", requires = "image")]
    encrypted: bool,
    /// What to do when it ends by itself
    #[arg(long, default_value = "on-failure", value_parser = parse::restart())]
    restart: RestartPolicy,
    /// When its host is lost, whether it waits for it or is started on another one, with its volumes of shared pools
    #[arg(long, value_name = "WORD", default_value = "wait", value_parser = parse::on_host_loss())]
    on_host_loss: OnHostLoss,
    /// How many; with --name they are numbered
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Check everything and make nothing
    #[arg(long)]
    dry_run: bool,
    /// Wait until it runs
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = parse::duration)]
    timeout: Duration,
    /// Arguments of the container's program, or the kernel's command line
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    let image = match &args.image {
        Some(name) => Some(find_image(&cloud, name).await?),
        None => None,
    };
    let mut spec = spec(&args, image.as_ref())?;
    if takes_a_key(&spec) && !args.dry_run && spec.key_pair.is_empty() {
        spec.key_pair = key::ensure(&cloud).await?;
    }
    let api = cloud.api::<Instance>().with(write_options(args.dry_run));
    let mut made = Vec::new();
    for index in 1..=args.count {
        let instance = Instance::new(metadata(&args, index), spec.clone());
        let answer = api.create(&instance).await?;
        if !cloud.global.quiet {
            let note = if args.dry_run { dry_run_note(&answer) } else { String::new() };
            let name = kind::full_name(kind::of::<Instance>(), &answer.metadata.name);
            output::print(&format!("{name} created{note}\n"))?;
        }
        if let (Some(volume), Some(_), false) = (&args.boot_volume, &args.image, cloud.global.quiet) {
            let name = kind::full_name(kind::of::<Volume>(), volume);
            output::print(&format!("{name} created{}\n", if args.dry_run { " (dry run)" } else { "" }))?;
        }
        made.push(answer.metadata.name);
    }
    if args.wait && !args.dry_run {
        for name in &made {
            let target = Target::new(kind::of::<Instance>(), name)?;
            wait::until(&cloud, target, args.timeout, "running", wait::runs).await?;
        }
    }
    Ok(())
}

/// The volume that the instance is to boot from: it is made with it, and outlives it.
fn volume_of(image: &Image, args: &Args) -> VolumeTemplate {
    let spec = VolumeSpec {
        source: VolumeSource { image: image.metadata.name.clone(), ..VolumeSource::default() },
        host: args.host.clone().unwrap_or_default(),
        encrypted: args.encrypted,
        ..VolumeSpec::default()
    };
    VolumeTemplate { spec, keep: true, ..VolumeTemplate::default() }
}

/// Where it would run, or why nowhere.
fn dry_run_note(instance: &Instance) -> String {
    let placement = instance.status.conditions.iter().find(|c| c.kind == "Scheduled");
    placement.map_or_else(|| " (dry run)".into(), |c| format!(" (dry run); {}", c.message))
}

async fn find_image(cloud: &Cloud, name: &str) -> Result<Image, Failure> {
    super::image::find(cloud, name).await?.ok_or_else(|| {
        Failure::not_found(format!("there is no image {name:?} in project {:?}", cloud.project()))
            .hint("`corten get images` lists them; `corten image build` and `corten image import` make one")
    })
}

fn spec(args: &Args, image: Option<&Image>) -> Result<InstanceSpec, Failure> {
    let mut payload = match image {
        Some(image) => payload(args, image)?,
        None if args.env.is_empty() && args.command.is_empty() => Payload::Disk(DiskPayload::default()),
        None => {
            return Err(Failure::usage("a machine that boots from a volume takes no --env and no command"));
        }
    };
    if let Some(volume) = &args.boot_volume {
        if !matches!(payload, Payload::Disk(_)) {
            return Err(Failure::usage("--boot-volume needs an image with a disk"));
        }
        let template = image.map(|image| Box::new(volume_of(image, args)));
        payload = Payload::Disk(DiskPayload { volume: volume.clone(), template, ..DiskPayload::default() });
    }
    let isolation = args.isolation.unwrap_or(match payload.kind() {
        PayloadKind::Containers => Isolation::Namespace,
        _ => Isolation::Vm,
    });
    Ok(InstanceSpec {
        isolation,
        payload,
        instance_type: args.instance_type.clone().unwrap_or_default(),
        resources: Resources {
            cpu: args.cpu.unwrap_or_default(),
            memory: args.memory.unwrap_or_default(),
            ..Resources::default()
        },
        restart_policy: args.restart,
        key_pair: args.key.clone().unwrap_or_default(),
        user_data: args.user_data.as_deref().map(super::cloud::read).transpose()?.unwrap_or_default(),
        networks: networks(args),
        volumes: args.volume.clone(),
        placement: PlacementSpec {
            host: args.host.clone().unwrap_or_default(),
            on_host_loss: args.on_host_loss,
            ..PlacementSpec::default()
        },
        ..InstanceSpec::default()
    })
}

/// The cards that were asked for; none leaves the choice to the cloud.
fn networks(args: &Args) -> Vec<InstanceNetwork> {
    let mut subnets = args.subnet.clone();
    if subnets.is_empty() && (args.public || args.address.is_some() || !args.security_group.is_empty()) {
        subnets.push(DEFAULT_SUBNET.into());
    }
    let card = |(number, subnet)| InstanceNetwork {
        subnet,
        address: args.address.filter(|_| number == 0).map(Address),
        security_groups: args.security_group.clone(),
        public_address: (args.public && number == 0).then_some(true),
        ..InstanceNetwork::default()
    };
    subnets.into_iter().enumerate().map(card).collect()
}

fn payload(args: &Args, image: &Image) -> Result<Payload, Failure> {
    let name = || image.metadata.name.clone();
    let sort = image.spec.format.payload();
    if !args.env.is_empty() && sort != PayloadKind::Containers {
        return Err(Failure::usage(format!("--env is for OCI images, and {:?} is none", name()))
            .hint("hand values to a guest with --user-data"));
    }
    match sort {
        PayloadKind::Kernel => {
            Ok(Payload::Kernel(KernelPayload { image: name(), cmdline: args.command.join(" ") }))
        }
        PayloadKind::Containers => {
            let env =
                args.env.iter().map(|(name, value)| EnvVar { name: name.clone(), value: value.clone() });
            let container = Container {
                name: "main".into(),
                image: name(),
                args: args.command.clone(),
                env: env.collect(),
                ..Container::default()
            };
            Ok(Payload::Containers(ContainersPayload { containers: vec![container] }))
        }
        _ if args.command.is_empty() => {
            Ok(Payload::Disk(DiskPayload { image: name(), ..DiskPayload::default() }))
        }
        _ => Err(Failure::usage(format!("image {:?} is a disk, which takes no command", name()))
            .hint("run commands in the guest with --user-data")),
    }
}

/// Only a guest with a system of its own lets anybody in by key.
fn takes_a_key(spec: &InstanceSpec) -> bool {
    matches!(spec.isolation, Isolation::Vm | Isolation::MicroVm)
        && matches!(spec.payload, Payload::Disk(_) | Payload::Kernel(_))
}

fn metadata(args: &Args, index: u32) -> ObjectMeta {
    let mut meta = match &args.name {
        Some(name) if args.count == 1 => ObjectMeta::named(name),
        Some(name) => ObjectMeta::named(format!("{name}-{index}")),
        None => ObjectMeta {
            generate_name: {
                let from =
                    args.image.as_ref().or(args.boot_volume.as_ref()).map_or("instance", String::as_str);
                format!("{}-", &from[..from.len().min(PREFIX_MAX)])
            },
            ..ObjectMeta::default()
        },
    };
    meta.labels = args.label.iter().cloned().collect();
    meta
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use model::compute::{ImageFormat, ImageSpec};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Line::try_parse_from(["run", "--image", "app"].into_iter().chain(line.split_whitespace()))
            .unwrap()
            .args
    }

    fn image(format: ImageFormat) -> Image {
        Image::new(ObjectMeta::named("app"), ImageSpec { format, ..ImageSpec::default() })
    }

    #[test]
    fn the_format_decides_payload_and_isolation() {
        let check = |format, line: &str, expected: &str| {
            let spec = spec(&args(line), Some(&image(format)));
            let found = spec.map_or_else(|e| e.message, |s| format!("{} {}", s.cell(), takes_a_key(&s)));
            assert_eq!(found, expected, "{format:?} {line}");
        };
        check(ImageFormat::Qcow2, "", "vm/disk true");
        check(ImageFormat::Kernel, "", "vm/kernel true");
        check(ImageFormat::Kernel, "--isolation microvm", "microvm/kernel true");
        check(ImageFormat::Oci, "", "namespace/containers false");
        check(ImageFormat::Oci, "--isolation vm", "vm/containers false");
        check(ImageFormat::Raw, "-- true", "image \"app\" is a disk, which takes no command");
        check(ImageFormat::Kernel, "--env A=b", "--env is for OCI images, and \"app\" is none");
    }

    #[test]
    fn a_command_becomes_arguments_or_the_kernels_command_line() {
        let containers =
            spec(&args("--env A=b=c -- sleep 5"), Some(&image(ImageFormat::Oci))).unwrap().payload;
        let Payload::Containers(p) = containers else { panic!("not containers") };
        assert_eq!(p.containers[0].args, ["sleep", "5"]);
        assert_eq!(p.containers[0].env, [EnvVar { name: "A".into(), value: "b=c".into() }]);
        let kernel = spec(&args("-- quiet debug"), Some(&image(ImageFormat::Kernel))).unwrap().payload;
        assert_eq!(
            kernel,
            Payload::Kernel(KernelPayload { image: "app".into(), cmdline: "quiet debug".into() })
        );
    }

    #[test]
    fn names() {
        let name = |line: &str, index| {
            let meta = metadata(&args(line), index);
            (meta.name, meta.generate_name)
        };
        assert_eq!(name("--name web", 1), ("web".into(), String::new()));
        assert_eq!(name("--name web --count 2", 2), ("web-2".into(), String::new()));
        assert_eq!(name("", 1), (String::new(), "app-".into()));
    }
}
