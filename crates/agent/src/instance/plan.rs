//! Plans: from an object to everything a driver needs, with its files prepared. Preparing twice changes nothing.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use driver::{Boot, ContainerPlan, DiskLocation, DiskPlan, MountPlan, NicPlan, Plan, VmPlan};
use image::oci::Limits;
use model::compute::{ArtifactRole, Instance, Isolation, KeyPair, Machine, Payload};
use model::{Bytes, Uid};

use super::home::Home;
use super::{InstanceError, Instances};
use crate::blocking::blocking;
use crate::network::{Card, Resolver};

/// The file in a home that keeps the plan between starts, so that ports and addresses stay.
const PLAN_FILE: &str = "agent-plan.json";
pub(crate) const ROOT_DISK: &str = "root.qcow2";
const SEED_DISK: &str = "seed.img";
/// Who answers names; the container driver shows it to every container.
const RESOLV_CONF: &str = "resolv.conf";
/// The guest port that every virtual machine's own network forwards to.
const SSH_PORT: u16 = 22;

impl Instances {
    /// The plan of an instance; its files exist when this returns.
    pub(super) async fn plan(
        &self,
        instance: &Instance,
        volumes: Vec<DiskPlan>,
    ) -> Result<Plan, InstanceError> {
        let home = self.homes.ensure(&instance.metadata.uid)?;
        let known = read_plan(&home.dir);
        let mut plan = Plan {
            uid: instance.metadata.uid.clone(),
            label: instance.metadata.key(),
            cell: instance.spec.cell(),
            resources: instance.spec.resources,
            dir: home.dir.clone(),
            user_id: home.user_id,
            vm: None,
            containers: Vec::new(),
            mounts: Vec::new(),
        };
        if self.networks.is_none() && !instance.spec.networks.is_empty() {
            let why = "networks, which this host cannot make; `corten get host NAME -o yaml` says why under status.drivers";
            return Err(InstanceError::NoDriver(why.into()));
        }
        if matches!(instance.spec.isolation, Isolation::Vm | Isolation::MicroVm) {
            let cards = self.cards(instance).await?;
            let vm = self.vm_plan(instance, &home, known.as_ref(), &cards).await?;
            plan.vm = Some(VmPlan { volumes, ..vm });
            return keep_plan(&home.dir, known.as_ref(), plan);
        }
        if let Some(networks) = &self.networks
            && let Some(resolver) = networks.resolver(instance).await?
        {
            write_new(&home.dir.join(RESOLV_CONF), resolv_conf(&resolver).as_bytes(), "resolv.conf")?;
        }
        if let Payload::Containers(payload) = &instance.spec.payload {
            // In the order of the spec; containers boot from none.
            let targets = instance.spec.volumes.iter().map(|volume| PathBuf::from(&volume.mount));
            plan.mounts =
                volumes.into_iter().zip(targets).map(|(disk, target)| MountPlan { disk, target }).collect();
            for container in &payload.containers {
                plan.containers.push(self.container_plan(instance, container).await?);
            }
        }
        keep_plan(&home.dir, known.as_ref(), plan)
    }

    /// The instance's network cards, made.
    pub(super) async fn cards(&self, instance: &Instance) -> Result<Vec<Card>, InstanceError> {
        match &self.networks {
            Some(networks) => Ok(networks.cards(instance).await?),
            None => Ok(Vec::new()),
        }
    }

    async fn vm_plan(
        &self,
        instance: &Instance,
        home: &Home,
        known: Option<&Plan>,
        cards: &[Card],
    ) -> Result<VmPlan, InstanceError> {
        let project = &instance.metadata.namespace;
        let uid = &instance.metadata.uid;
        let mut disks = Vec::new();
        let boot = match &instance.spec.payload {
            Payload::Kernel(payload) => {
                let image = self.images.find(project, &payload.image).await?;
                let kernel = self.images.local(&image, ArtifactRole::Kernel).await?;
                let initrd = match image.status.artifact(ArtifactRole::Initrd) {
                    Some(_) => Some(self.images.local(&image, ArtifactRole::Initrd).await?),
                    None => None,
                };
                let given = if payload.cmdline.is_empty() { &image.spec.cmdline } else { &payload.cmdline };
                Boot::Kernel { kernel, initrd, cmdline: given.clone() }
            }
            Payload::Disk(payload) if !payload.volume.is_empty() => Boot::Firmware(instance.spec.firmware),
            Payload::Disk(payload) => {
                let image = self.images.find(project, &payload.image).await?;
                let base = self.images.local(&image, ArtifactRole::Disk).await?;
                let path = home.dir.join(ROOT_DISK);
                let size = image.status.virtual_size.max(instance.spec.resources.disk);
                clone_disk(base, path.clone(), size).await?;
                disks.push(DiskPlan::new(DiskLocation::qcow2(path), "root"));
                Boot::Firmware(instance.spec.firmware)
            }
            other => return Err(InstanceError::NoDriver(format!("{} in a virtual machine", other.kind()))),
        };
        if let Some(seed) = self.seed(instance, home).await? {
            disks.push(DiskPlan { read_only: true, ..DiskPlan::new(DiskLocation::raw(seed), "seed") });
        }
        let default_machine =
            if instance.spec.isolation == Isolation::MicroVm { Machine::MicroVm } else { Machine::Q35 };
        Ok(VmPlan {
            machine: instance.spec.machine.unwrap_or(default_machine),
            boot,
            disks,
            volumes: Vec::new(),
            nics: if cards.is_empty() {
                vec![user_nic(uid, known)?]
            } else {
                cards.iter().map(nic).collect()
            },
        })
    }

    /// The disk that tells the guest its name, keys and user data (cloud-init's NoCloud).
    async fn seed(&self, instance: &Instance, home: &Home) -> Result<Option<PathBuf>, InstanceError> {
        let path = home.dir.join(SEED_DISK);
        if path.exists() {
            return Ok(Some(path));
        }
        let mut keys = Vec::new();
        if !instance.spec.key_pair.is_empty() {
            let api = self.client.project::<KeyPair>(&instance.metadata.namespace);
            keys.push(api.get(&instance.spec.key_pair).await?.spec.public_key);
        }
        let seed = image::Seed {
            instance_id: format!("i-{}", instance.metadata.uid),
            hostname: instance.metadata.name.clone(),
            public_keys: keys,
            user_data: instance.spec.user_data.clone().into_bytes(),
            network_config: None,
        };
        let bytes = seed.image().map_err(|e| InstanceError::Image(format!("the seed disk: {e}")))?;
        write_new(&path, &bytes, "the seed disk")?;
        Ok(Some(path))
    }

    async fn container_plan(
        &self,
        instance: &Instance,
        container: &model::compute::Container,
    ) -> Result<ContainerPlan, InstanceError> {
        let image = self.images.find(&instance.metadata.namespace, &container.image).await?;
        let archive = self.images.local(&image, ArtifactRole::Oci).await?;
        let layers = self.images.layers_dir().to_owned();
        let given = container.clone();
        let (invocation, layers) = prepare(move || {
            let wrong = |e: image::oci::OciError| InstanceError::Image(e.to_string());
            let unpacked = image::oci::unpack(&archive, &layers, &Limits::default()).map_err(wrong)?;
            Ok((unpacked.config.invocation(&given).map_err(wrong)?, unpacked.layers))
        })
        .await?;
        Ok(ContainerPlan {
            name: container.name.clone(),
            layers,
            argv: invocation.argv,
            env: invocation.env,
            working_dir: invocation.working_dir,
            user: invocation.user,
            tty: container.tty,
        })
    }
}

async fn clone_disk(base: PathBuf, target: PathBuf, size: Bytes) -> Result<(), InstanceError> {
    if target.exists() {
        return Ok(());
    }
    prepare(move || {
        let unfinished = target.with_extension("new");
        let failed = |source| InstanceError::Host { what: "the root disk cannot be made".into(), source };
        match std::fs::remove_file(&unfinished) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        let size = (size.0 > 0).then_some(size);
        image::clone_disk(&base, &unfinished, size).map_err(|e| InstanceError::Image(e.to_string()))?;
        std::fs::rename(&unfinished, &target).map_err(failed)
    })
    .await
}

pub(super) fn nic(card: &Card) -> NicPlan {
    NicPlan::Tap {
        mac: card.port.spec.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        device: card.link.device.clone(),
        namespace: Some(card.link.namespace.clone()),
    }
}

fn resolv_conf(resolver: &Resolver) -> String {
    let mut text = String::new();
    if !resolver.domain.is_empty() {
        text = format!("search {}\n", resolver.domain);
    }
    for server in &resolver.servers {
        text.push_str("nameserver ");
        text.push_str(&server.to_string());
        text.push('\n');
    }
    text
}

/// A card in the driver's own network, with a port of this host for ssh: the one it had before, if any.
fn user_nic(uid: &Uid, known: Option<&Plan>) -> Result<NicPlan, InstanceError> {
    let before = known.and_then(|plan| plan.vm.as_ref()).and_then(|vm| vm.nics.first());
    if let Some(nic @ NicPlan::User { forwards, .. }) = before
        && forwards.iter().all(|(port, _)| TcpListener::bind(("127.0.0.1", *port)).is_ok())
    {
        return Ok(nic.clone());
    }
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    let port =
        free.map_err(|source| InstanceError::Host { what: "no free port for ssh".into(), source })?.port();
    Ok(NicPlan::User { mac: mac(uid), forwards: vec![(port, SSH_PORT)] })
}

/// A locally administered unicast address made from the uid (IEEE 802, section 8.4).
fn mac(uid: &Uid) -> String {
    let hex: String =
        uid.as_str().chars().filter(char::is_ascii_hexdigit).chain("0000000000".chars()).take(10).collect();
    let pairs: Vec<&str> = (0..5).map(|i| &hex[i * 2..i * 2 + 2]).collect();
    format!("02:{}", pairs.join(":"))
}

/// So that ports and addresses stay.
fn keep_plan(dir: &Path, known: Option<&Plan>, plan: Plan) -> Result<Plan, InstanceError> {
    if known != Some(&plan) {
        write_plan(dir, &plan)?;
    }
    Ok(plan)
}

fn read_plan(dir: &Path) -> Option<Plan> {
    serde_json::from_slice(&std::fs::read(dir.join(PLAN_FILE)).ok()?).ok()
}

fn write_plan(dir: &Path, plan: &Plan) -> Result<(), InstanceError> {
    let json = serde_json::to_vec(plan)
        .map_err(|e| InstanceError::Host { what: "the plan cannot be written".into(), source: e.into() })?;
    write_new(&dir.join(PLAN_FILE), &json, "the plan")
}

/// Writes a file whole or not at all.
fn write_new(path: &Path, bytes: &[u8], what: &str) -> Result<(), InstanceError> {
    let unfinished = path.with_extension("new");
    std::fs::write(&unfinished, bytes)
        .and_then(|()| std::fs::rename(&unfinished, path))
        .map_err(|source| InstanceError::Host { what: format!("{what} cannot be written"), source })
}

async fn prepare<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, InstanceError> + Send + 'static,
) -> Result<T, InstanceError> {
    let cut_off =
        |e| InstanceError::Host { what: "preparing was cut off".into(), source: std::io::Error::other(e) };
    blocking(work).await.unwrap_or_else(|e| Err(cut_off(e)))
}
