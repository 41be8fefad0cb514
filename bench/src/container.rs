//! A container, from the API call to its running process, beside the bare runtime with an equal bundle and Docker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{Client, DeleteOptions, ListParams, TypedEvent};
use model::compute::{
    Container, ContainersPayload, Instance, InstancePhase, InstanceSpec, Isolation, Payload,
};
use model::{Bytes, CpuMillis, ObjectMeta, Resources};
use serde_json::Value;
use sys::cgroup::Hidden;

use crate::Result;
use crate::cloud::{self, Cloud};
use crate::docker::Docker;
use crate::report::{Row, Verdict, times};
use crate::store::{Spread, spread};

const PAIRS: usize = 11;
/// The kernel takes the namespaces of the last container apart for a while; who comes next would wait for it.
const SETTLE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(30);
/// Says a word and stays.
pub(crate) const SPEAK: [&str; 3] = ["sh", "-c", "echo up; exec sleep 1000"];

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let scratch = tempfile::tempdir()?;
    // Where the second version of control groups has what the first lacks: crun serves no such host.
    let _controllers = Hidden::hold(&scratch.path().join("hugetlb"), "hugetlb");
    let cloud = Cloud::up()?;
    cloud.corten(&["image", "build", "busybox"])?;
    let client = cloud.connect()?;
    // The first one unpacks the image, and shows what an equal bundle is.
    let (first, _) = launch(&cloud, &client, "first").await?;
    let mut runc = Runc::like(&cloud, &first)?;
    let mut docker = Docker::start().await;
    if let Ok(docker) = &docker {
        docker.import(&archive(&cloud)?).await?;
    }
    remove(&client, &first).await?;
    let mut rounds = Vec::new();
    // The first round warms all three and does not count.
    for number in 0..=PAIRS {
        tokio::time::sleep(SETTLE).await;
        let (instance, corten) = launch(&cloud, &client, &format!("measured-{number}")).await?;
        remove(&client, &instance).await?;
        tokio::time::sleep(SETTLE).await;
        let runc = runc.run().await?;
        tokio::time::sleep(SETTLE).await;
        let docker = match &mut docker {
            Ok(docker) => {
                let started = docker.run(&SPEAK).await?;
                let times = Times { runs: started.answered, spoke: started.spoke };
                docker.remove(started).await?;
                Some(times)
            }
            Err(_) => None,
        };
        if number > 0 {
            rounds.push(Round { corten, runc, docker });
        }
    }
    Ok(rows(&rounds, docker.err().map(|e| e.to_string())))
}

/// Makes so many containers and waits until all run.
pub(crate) async fn run_some(cloud: &Cloud, count: usize) -> Result<()> {
    let client = cloud.connect()?;
    for number in 0..count {
        launch(cloud, &client, &format!("some-{number}")).await?;
    }
    Ok(())
}

/// The files of the image that containers here run from, as a tar archive.
pub(crate) fn archive(cloud: &Cloud) -> Result<Vec<u8>> {
    let layer = fs::read_dir(cloud.data().join("layers"))?.next().ok_or("no image is unpacked")??.path();
    let output = Command::new("tar").arg("-C").arg(layer).args(["-c", "."]).output()?;
    if output.status.success() { Ok(output.stdout) } else { Err("tar failed".into()) }
}

struct Round {
    corten: Times,
    runc: Times,
    docker: Option<Times>,
}

#[derive(Clone, Copy)]
struct Times {
    /// Known to run: a watch said so, or the call has answered.
    runs: Duration,
    /// Its first output is in its log.
    spoke: Duration,
}

fn rows(rounds: &[Round], no_docker: Option<String>) -> Vec<Row> {
    let line = |what: &str, goal: bool, of: fn(&Times) -> Duration| {
        let ours = ms(rounds.iter().map(|round| of(&round.corten)));
        let bare = ms(rounds.iter().map(|round| of(&round.runc)));
        let ratio = spread(rounds.iter().map(|r| of(&r.corten).as_secs_f64() / of(&r.runc).as_secs_f64()));
        Row {
            what: format!("container: API call to {what}"),
            corten: format!("{:.1} ms", ours.median),
            peer: format!("bare runc: {:.1} ms", bare.median),
            ratio: times(ratio),
            goal: if goal { "<= 1.5x".into() } else { String::new() },
            verdict: if goal { Verdict::of(ratio.median <= 1.5) } else { Verdict::None },
            ..Row::default()
        }
    };
    let mut running = line("Running seen by a watch", true, |times| times.runs);
    running.note = "runc is given the bundle that Corten made (system-call filter, mounts, limits, command), with its \
                    root filesystem mounted before the clock starts, and makes all namespaces itself; its time ends \
                    when `runc run --detach` returns. Corten's holds HTTPS, the durable object, scheduling, binding, \
                    the overlay, network namespace, conmon, crun, and the durable status. The wish for quick moves \
                    between control groups that Corten's daemon holds also makes the peers quicker, by a third. On \
                    a host with control groups of both versions the benchmark gives hugetlb to the first, or crun \
                    would refuse."
        .into();
    let mut spoke = line("its first output in the log", false, |times| times.spoke);
    spoke.note =
        "the process itself has written a byte; both logs are looked at 5,000 times a second.".into();
    let docker = match no_docker {
        Some(why) => Row::failed("container: Docker", &why),
        None => docker_row(rounds),
    };
    vec![running, spoke, docker]
}

fn docker_row(rounds: &[Round]) -> Row {
    let both = || rounds.iter().filter_map(|round| Some((round.corten, round.docker?)));
    let ratio = spread(both().map(|(ours, docker)| docker.runs.as_secs_f64() / ours.runs.as_secs_f64()));
    Row {
        what: "container: API call to Running, beside Docker".into(),
        corten: format!("{:.1} ms", ms(both().map(|(ours, _)| ours.runs)).median),
        peer: format!("Docker 20.10 API, network none: {:.0} ms", ms(both().map(|(_, docker)| docker.runs)).median),
        ratio: times(ratio),
        goal: ">= 10x".into(),
        verdict: Verdict::of(ratio.median >= 10.0),
        note: "Docker's create and start calls over its unix socket, without its command line, the same files as its \
               image; it writes no object durably and places nothing."
            .into(),
    }
}

fn ms(durations: impl Iterator<Item = Duration>) -> Spread {
    spread(durations.map(|duration| duration.as_secs_f64() * 1e3))
}

/// Creates an instance and waits until a watch says Running and its log has a byte.
async fn launch(cloud: &Cloud, client: &Client, name: &str) -> Result<(Instance, Times)> {
    let instances = client.project::<Instance>("default");
    let version = instances.list(&ListParams::default()).await?.resource_version;
    let mut watch =
        instances.watch(&ListParams { resource_version: version, ..ListParams::default() }).await?;
    let wanted = instance(name);
    let started = Instant::now();
    let created = instances.create(&wanted).await?;
    let log = cloud.data().join(format!("instances/{}/main.log", created.metadata.uid));
    let spoke = async {
        cloud::until_not_empty(&log).await?;
        Result::Ok(started.elapsed())
    };
    let runs = async {
        loop {
            match watch.next().await.ok_or("the watch ended early")?? {
                TypedEvent::Applied(seen) if seen.metadata.name == name => match seen.status.phase {
                    InstancePhase::Running => return Result::Ok((seen, started.elapsed())),
                    InstancePhase::Failed => {
                        return Err(format!("{name} failed: {:?}", seen.status.conditions).into());
                    }
                    _ => {}
                },
                _ => {}
            }
        }
    };
    let both = async { tokio::try_join!(runs, spoke) };
    let ((seen, runs), spoke) = tokio::time::timeout(PATIENCE, both).await??;
    Ok((Arc::unwrap_or_clone(seen), Times { runs, spoke }))
}

async fn remove(client: &Client, instance: &Instance) -> Result<()> {
    let instances = client.project::<Instance>("default");
    instances.delete(&instance.metadata.name, &DeleteOptions::default()).await?;
    let deadline = Instant::now() + PATIENCE;
    while instances.find(&instance.metadata.name).await?.is_some() {
        if Instant::now() > deadline {
            return Err(format!("{} does not go", instance.metadata.name).into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn instance(name: &str) -> Instance {
    let container = Container {
        name: "main".into(),
        image: "busybox".into(),
        command: SPEAK.map(str::to_owned).to_vec(),
        ..Container::default()
    };
    let spec = InstanceSpec {
        isolation: Isolation::Namespace,
        payload: Payload::Containers(ContainersPayload { containers: vec![container] }),
        resources: Resources { cpu: CpuMillis(100), memory: Bytes::mib(32), ..Resources::default() },
        // `sleep` as a container's first process does not hear SIGTERM.
        stop_grace_seconds: Some(0),
        ..InstanceSpec::default()
    };
    Instance::new(ObjectMeta::in_project("default", name), spec)
}

/// The bare runtime, with a bundle like that of a container of Corten.
struct Runc {
    directory: tempfile::TempDir,
    layers: Vec<PathBuf>,
}

impl Runc {
    fn like(cloud: &Cloud, instance: &Instance) -> Result<Self> {
        let uid = &instance.metadata.uid;
        let sandbox = cloud.run_dir()?.join(format!("oci/sandboxes/{uid}"));
        let read = |path: PathBuf| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
        let mut config = read(sandbox.join("containers/main/config.json"))?;
        let plan = read(sandbox.join("plan.json"))?;
        let layers = plan["containers"][0]["layers"].as_array().ok_or("the plan names no layers")?;
        let layers: Vec<PathBuf> =
            layers.iter().filter_map(|layer| layer.as_str().map(PathBuf::from)).collect();
        let directory = tempfile::tempdir()?;
        own(&mut config, directory.path())?;
        fs::write(directory.path().join("config.json"), config.to_string())?;
        let runc = Self { directory, layers };
        runc.mount()?;
        Ok(runc)
    }

    async fn run(&mut self) -> Result<Times> {
        let log = self.directory.path().join("log");
        let output = fs::File::create(&log)?;
        let mut command = self.command(&["run", "--detach", "--bundle"]);
        command.arg(self.directory.path()).arg("measured");
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let started = Instant::now();
        let status = command.status()?;
        let runs = started.elapsed();
        if !status.success() {
            return Err(format!("runc: {}", fs::read_to_string(&log)?).into());
        }
        cloud::until_not_empty(&log).await?;
        let spoke = started.elapsed();
        if !self.command(&["delete", "--force", "measured"]).status()?.success() {
            return Err("runc cannot delete its container".into());
        }
        Ok(Times { runs, spoke })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.directory.path().join("state")).args(arguments);
        command
    }

    fn mount(&self) -> Result<()> {
        let at = |name: &str| self.directory.path().join(name);
        for name in ["upper", "work", "rootfs"] {
            fs::create_dir(at(name))?;
        }
        let lower: Vec<String> = self.layers.iter().map(|layer| layer.display().to_string()).collect();
        let (upper, work) = (at("upper"), at("work"));
        let options =
            format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper.display(), work.display());
        let status = Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &options])
            .arg(at("rootfs"))
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err("the overlay of the bare runtime cannot be mounted".into())
        }
    }
}

impl Drop for Runc {
    fn drop(&mut self) {
        let _ = self.command(&["delete", "--force", "measured"]).stderr(Stdio::null()).status();
        let _ = Command::new("umount").arg(self.directory.path().join("rootfs")).status();
    }
}

/// Makes a bundle's configuration independent of the sandbox it is of: own namespaces, own cgroup, own files.
fn own(config: &mut Value, directory: &Path) -> Result<()> {
    config["root"]["path"] = directory.join("rootfs").display().to_string().into();
    config["linux"]["cgroupsPath"] = "/measured-runc".into();
    let namespaces = config["linux"]["namespaces"].as_array_mut().ok_or("the bundle has no namespaces")?;
    for namespace in namespaces.iter_mut().filter_map(Value::as_object_mut) {
        namespace.remove("path");
    }
    let mounts = config["mounts"].as_array_mut().ok_or("the bundle has no mounts")?;
    for mount in mounts.iter_mut().filter(|mount| mount["type"] == "bind") {
        let source = PathBuf::from(mount["source"].as_str().unwrap_or_default());
        let copy = directory.join(source.file_name().ok_or("a mount without a file")?);
        fs::copy(&source, &copy)?;
        mount["source"] = copy.display().to_string().into();
    }
    Ok(())
}
